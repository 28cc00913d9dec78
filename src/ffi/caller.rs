//! Shields the library from two properties of the calling thread: its floating-point environment
//! (rounding and traps), and that another thread may cancel it.
//!
//! Rust and ONNX Runtime assume the default floating-point environment, in which a vector does not
//! depend on the calling thread; and neither can be unwound by `pthread_cancel`. Threads that a
//! call starts inherit its environment.

use std::ffi::c_int;

/// `fenv_t`, which no system makes larger than this.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Environment([u8; 64]);

unsafe extern "C" {
    fn fegetenv(environment: *mut Environment) -> c_int;
    fn fesetenv(environment: *const Environment) -> c_int;
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

/// `FE_DFL_ENV` of glibc and musl.
const DEFAULT: *const Environment = std::ptr::without_provenance(usize::MAX);
/// `PTHREAD_CANCEL_DISABLE` of glibc and musl.
const CANCEL_DISABLE: c_int = 1;

/// While this value lives, the calling thread has the default environment and cannot be cancelled.
/// Its drop restores the thread's own state.
pub(super) struct Caller {
    environment: Environment,
    cancel_state: c_int,
}

impl Caller {
    pub fn enter() -> Self {
        let mut caller = Self { environment: Environment([0; 64]), cancel_state: 0 };
        // SAFETY: each pointer is to memory that the function may write, or a constant that the
        // system defines for it; none of the functions can fail with these arguments.
        unsafe {
            pthread_setcancelstate(CANCEL_DISABLE, &mut caller.cancel_state);
            fegetenv(&mut caller.environment);
            fesetenv(DEFAULT);
        }
        caller
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let mut disabled = 0;
        // SAFETY: both values come from `enter` on the same thread.
        unsafe {
            fesetenv(&self.environment);
            pthread_setcancelstate(self.cancel_state, &mut disabled);
        }
    }
}
