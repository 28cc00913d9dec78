//! Functions of the whole library: log, status names, version.

use std::ffi::{c_char, c_void};

use super::boundary::{UserData, guard_or, log_back};
use super::constants::*;
use super::types::*;
use crate::error::ErrorKind;
use crate::log::{LogLevel, clear_log_sink, set_log_sink};

/// Sends log lines up to `max_level`, of every model in the process, to
/// `callback`. With a NULL `callback` or `BGE_LOG_OFF` no lines are sent, which
/// is the initial state. When this returns, the previous callback is not
/// running and will never run again.
#[unsafe(no_mangle)]
pub extern "C" fn bge_set_log_callback(
    callback: bge_log_callback,
    user_data: *mut c_void,
    max_level: bge_log_level,
) {
    guard_or((), || {
        let (Some(callback), Some(max_level)) = (callback, LogLevel::up_to(max_level)) else {
            return clear_log_sink();
        };
        let user_data = UserData(user_data);
        set_log_sink(max_level, move |level, line| {
            log_back(callback, &user_data, level.code(), line);
        });
    });
}

/// Returns the name of a status, e.g. `BGE_ERROR_TIMEOUT`. Never NULL: the name
/// of an unknown status is `BGE_ERROR_UNKNOWN`. The string is static.
#[unsafe(no_mangle)]
pub extern "C" fn bge_status_name(status: bge_status) -> *const c_char {
    if status == BGE_OK {
        return c"BGE_OK".as_ptr();
    }
    ErrorKind::from_code(status).map_or(c"BGE_ERROR_UNKNOWN", ErrorKind::c_name).as_ptr()
}

/// Returns the version of the running library as a number like `BGE_VERSION`.
#[unsafe(no_mangle)]
pub extern "C" fn bge_version() -> u32 {
    VERSION
}

/// Returns version and build as text, e.g. `0.1.0 (9f2c1d3)`. The string is
/// static.
#[unsafe(no_mangle)]
pub extern "C" fn bge_version_string() -> *const c_char {
    VERSION_TEXT.as_ptr().cast()
}

/// Set by build.rs, a NUL at its end.
const VERSION_TEXT: &str = concat!(env!("BGE_VERSION_TEXT"), "\0");

const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
    + number(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
    + number(env!("CARGO_PKG_VERSION_PATCH"));

const fn number(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("cargo gives version parts as numbers"),
    }
}
