//! A limit of the memory of one session, whose graph comes from a stranger.
//!
//! ONNX Runtime limits an arena only if it is created apart and registered with the environment,
//! from which a session takes it when it is created. So the arena is registered for that moment
//! only.

use std::ptr;

use ort::AsPointer;
use ort::environment::Environment;
use ort::session::builder::SessionBuilder;
use parking_lot::MutexGuard;

/// Leaves the other settings of an arena at their defaults.
const DEFAULT: i32 = -1;

/// Creates a session whose arena takes at most `bytes` bytes. The guard is the lock under which
/// sessions are created: the environment holds one registered arena at a time.
pub(super) fn with_ceiling<T>(
    environment: &Environment,
    bytes: usize,
    builder: SessionBuilder,
    _creating: &MutexGuard<'_, ()>,
    make: impl FnOnce(SessionBuilder) -> ort::Result<T>,
) -> ort::Result<T> {
    let builder = builder.with_env_allocators()?;
    let registered = Registered::new(environment, bytes)?;
    let made = make(builder);
    drop(registered);
    made
}

/// The registered arena, which sessions use that are created while it lives.
struct Registered<'a> {
    environment: &'a Environment,
    memory: *mut ort::sys::OrtMemoryInfo,
}

impl<'a> Registered<'a> {
    fn new(environment: &'a Environment, bytes: usize) -> ort::Result<Self> {
        let api = ort::api();
        let mut this = Self { environment, memory: ptr::null_mut() };
        let mut config = ptr::null_mut();
        // SAFETY: the memory for the results lives until the calls have returned.
        unsafe {
            let status = (api.CreateCpuMemoryInfo)(
                ort::sys::OrtAllocatorType::OrtArenaAllocator,
                ort::sys::OrtMemType::OrtMemTypeDefault,
                &mut this.memory,
            );
            ort::Error::result_from_status(status)?;
            let status = (api.CreateArenaCfg)(bytes, DEFAULT, DEFAULT, DEFAULT, &mut config);
            ort::Error::result_from_status(status)?;
        }
        // SAFETY: the environment lives as long as the process, and the description and the
        // settings were just created. ONNX Runtime copies what it needs of them, so they may be
        // released.
        unsafe {
            let environment = environment.ptr().cast_mut();
            let status = (api.CreateAndRegisterAllocator)(environment, this.memory, config);
            (api.ReleaseArenaCfg)(config);
            ort::Error::result_from_status(status)?;
        }
        Ok(this)
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        if self.memory.is_null() {
            return;
        }
        let api = ort::api();
        // SAFETY: the environment lives, and the description was created above and is released
        // once. The sessions that use the arena hold it.
        unsafe {
            let environment = self.environment.ptr().cast_mut();
            let status = (api.UnregisterAllocator)(environment, self.memory);
            // An error says that there is none any more, which is the goal.
            let _ = ort::Error::result_from_status(status);
            (api.ReleaseMemoryInfo)(self.memory);
        }
    }
}
