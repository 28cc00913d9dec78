//! A ceiling for the memory of one session, whose graph is a stranger's.
//!
//! ONNX Runtime bounds an arena only if it is made apart and registered with the environment, from
//! which a session takes it while it is made. So it is registered for that moment alone.

use std::ptr;

use ort::AsPointer;
use ort::environment::Environment;
use ort::session::builder::SessionBuilder;
use parking_lot::MutexGuard;

/// For what else an arena can be told.
const DEFAULT: i32 = -1;

/// Makes a session whose arena takes at most so many bytes. The guard is what sessions are made
/// under: there is one place for the arena.
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

/// The arena that sessions made now take.
struct Registered<'a> {
    environment: &'a Environment,
    memory: *mut ort::sys::OrtMemoryInfo,
}

impl<'a> Registered<'a> {
    fn new(environment: &'a Environment, bytes: usize) -> ort::Result<Self> {
        let api = ort::api();
        let mut this = Self { environment, memory: ptr::null_mut() };
        let mut config = ptr::null_mut();
        // SAFETY: the places for what is made live until the calls have returned.
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
        // SAFETY: the environment lives as long as the process, both others were just made, and
        // nothing is kept of the latter, so that it may be released.
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
        // SAFETY: the environment lives, and the description was made above and is released once.
        // The arena itself is held by the sessions that have taken it.
        unsafe {
            let environment = self.environment.ptr().cast_mut();
            let status = (api.UnregisterAllocator)(environment, self.memory);
            // That there is none is what is wanted.
            let _ = ort::Error::result_from_status(status);
            (api.ReleaseMemoryInfo)(self.memory);
        }
    }
}
