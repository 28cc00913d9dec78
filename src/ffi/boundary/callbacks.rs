//! Calls of the callbacks that the caller passed.

use std::ffi::{CString, c_char, c_void};
use std::ptr;

use super::super::constants::*;
use super::super::types::*;
use super::guard::c_error;
use crate::error::Error;

/// The `user_data` of a callback.
pub(in crate::ffi) struct UserData(pub *mut c_void);

// SAFETY: the library never dereferences it; by the header, the callback may run on any thread.
unsafe impl Send for UserData {}
// SAFETY: the library only copies it.
unsafe impl Sync for UserData {}

/// Calls the callback of an asynchronous call with its outcome.
pub(in crate::ffi) fn call_back(
    callback: bge_encode_callback,
    user_data: &UserData,
    e: Option<&Error>,
) {
    let Some(callback) = callback else { return };
    match e {
        // SAFETY: the caller's function, called as the header says.
        None => unsafe { callback(user_data.0, BGE_OK, ptr::null()) },
        Some(e) => {
            let error = c_error(e);
            // SAFETY: the caller's function, called as the header says.
            unsafe { callback(user_data.0, error.code, &error) };
        }
    }
}

/// Calls the callback of `bge_prepare`.
pub(in crate::ffi) fn progress_back(
    callback: bge_prepare_callback,
    user_data: &UserData,
    done: usize,
    total: usize,
) {
    if let Some(callback) = callback {
        // SAFETY: the caller's function, called as the header says.
        unsafe { callback(user_data.0, done, total) };
    }
}

/// Calls the log callback with a line.
pub(in crate::ffi) fn log_back(
    callback: unsafe extern "C-unwind" fn(*mut c_void, bge_log_level, *const c_char),
    user_data: &UserData,
    level: bge_log_level,
    line: &str,
) {
    let line = CString::new(line.replace('\0', "\\0")).unwrap_or_default();
    // SAFETY: the caller's function, called as the header says.
    unsafe { callback(user_data.0, level, line.as_ptr()) };
}
