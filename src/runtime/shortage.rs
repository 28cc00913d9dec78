//! What keeps a shortage of memory, while ONNX Runtime is started, from ending the process or from
//! disabling it for good.

use std::ffi::CStr;
use std::ptr;

use ort::sys::{OrtApi, OrtEnv, OrtLoggingLevel};

/// Has the system's loader find what unwinds exceptions. glibc looks for it when the first exception
/// passes through one of its own functions, and ends the process if there is no memory for that.
pub(super) fn load_unwinder() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let mut frame = ptr::null_mut();
        // SAFETY: there is room for the one address that it may write.
        unsafe { libc::backtrace(&mut frame, 1) };
    }
}

/// What ONNX Runtime takes to start, and some more. It writes to the error stream where it has less.
const STARTING_BYTES: usize = 64 << 20;

/// Starts ONNX Runtime and stops it again. The error is its own, as the rest of a sentence.
///
/// What it registers at the first start, it cannot register twice; so if memory runs out meanwhile, it
/// can never be started again. But this library can be unloaded, as long as `ort` has not got it.
pub(super) fn try_start(api: &OrtApi) -> Result<(), String> {
    let mut room = Vec::<u8>::new();
    if room.try_reserve_exact(STARTING_BYTES).is_err() {
        return Err(format!("it takes up to {STARTING_BYTES} bytes to start: out of memory"));
    }
    drop(room);
    let mut environment: *mut OrtEnv = ptr::null_mut();
    // SAFETY: the arguments are those of the function, whose table is that of the loaded library; the
    // environment is released once, and only if it was made.
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

/// Whether a message says that memory ran out, for which ONNX Runtime and the system's loader have no
/// code.
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
