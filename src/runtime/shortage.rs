//! Starting ONNX Runtime when memory is short, so that it neither ends the process nor stays
//! unusable for good.

use std::ffi::CStr;
use std::ptr;

use ort::sys::{OrtApi, OrtEnv, OrtLoggingLevel};

/// Has the system's loader load the library that unwinds exceptions. glibc would otherwise load it
/// when the first exception passes through one of its own functions, and ends the process if there
/// is no memory for that.
pub(super) fn load_unwinder() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let mut frame = ptr::null_mut();
        // SAFETY: the array holds the one address that may be written.
        unsafe { libc::backtrace(&mut frame, 1) };
    }
}

/// The memory that ONNX Runtime needs to start, with some more. With less it writes to the error
/// stream.
const STARTING_BYTES: usize = 64 << 20;

/// Starts ONNX Runtime and stops it again. The error is ONNX Runtime's, as the rest of a sentence.
///
/// ONNX Runtime registers some of its parts when it starts, and cannot register them twice: if
/// memory runs out meanwhile, it can never be started again. But this library can be unloaded, as
/// long as `ort` has not loaded it.
pub(super) fn try_start(api: &OrtApi) -> Result<(), String> {
    let mut room = Vec::<u8>::new();
    if room.try_reserve_exact(STARTING_BYTES).is_err() {
        return Err(format!("it takes up to {STARTING_BYTES} bytes to start: out of memory"));
    }
    drop(room);
    let mut environment: *mut OrtEnv = ptr::null_mut();
    // SAFETY: the arguments have the types of the function, whose table is that of the loaded
    // library. The environment is released once, and only if it was created.
    unsafe {
        let level = OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL;
        let status = (api.CreateEnv)(level, c"bge".as_ptr(), &mut environment);
        if status.0.is_null() {
            (api.ReleaseEnv)(environment);
            return Ok(());
        }
        let message =
            CStr::from_ptr((api.GetErrorMessage)(status.0)).to_string_lossy().into_owned();
        (api.ReleaseStatus)(status.0);
        Err(message)
    }
}

/// Whether a message says that memory ran out. ONNX Runtime and the system's loader have no code
/// for it, so these are words of their messages, as of ONNX Runtime 1.31.
pub(super) fn is_named_by(message: &str) -> bool {
    let words = [
        "Failed to allocate memory",
        "bad_alloc",
        "BFCArena",
        "out of memory",
        "annot allocate memory",
        "failed to map segment",
    ];
    words.iter().any(|words| message.contains(words))
}
