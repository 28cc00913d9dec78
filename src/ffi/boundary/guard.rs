//! The guard around the body of every exported function: it catches panics and writes errors.

use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::caller::Caller;
use super::super::constants::*;
use super::super::types::*;
use crate::error::{Error, Result, error};
use crate::log::{self, LogLevel};
use crate::memory;

/// Runs the body of an exported function. The only place that catches panics and writes errors.
pub(in crate::ffi) fn guard(
    error: *mut bge_error,
    body: impl FnOnce() -> Result<()>,
) -> bge_status {
    let _caller = Caller::enter();
    keep_panics_quiet();
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(bug(&*panic)));
    match outcome {
        Ok(()) => BGE_OK,
        Err(e) => {
            let filled = c_error(&e);
            if !error.is_null() {
                // SAFETY: not NULL, and so a bge_error of the caller, by the header. It may be
                // uninitialized, and it may be misaligned: no error about this argument can be
                // reported.
                unsafe { error.write_unaligned(filled) };
            }
            e.kind().code()
        }
    }
}

/// Runs the body of an exported function that has no way to report an error.
pub(in crate::ffi) fn guard_or<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    let _caller = Caller::enter();
    keep_panics_quiet();
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        log::line(LogLevel::Error, || bug(&*panic).to_string());
        otherwise
    })
}

fn bug(panic: &(dyn std::any::Any + Send)) -> Error {
    let words = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    if words == memory::SHORTAGE {
        return error!(OutOfMemory, "there is no memory for what the call needs");
    }
    error!(Internal, "a bug in libbge was caught: {words}")
}

/// Sets the panic hook of the standard library inside libbge.so. A host that is written in Rust has
/// a hook of its own, and a Rust program that uses the crate does not call exported functions.
fn keep_panics_quiet() {
    if !cfg!(test) {
        log::log_panics();
    }
}

pub(in crate::ffi) fn c_error(e: &Error) -> bge_error {
    let mut filled = bge_error {
        code: e.kind().code(),
        runtime_code: e.runtime_code(),
        text_index: e.text_index().map_or(BGE_NO_TEXT, |index| index as u64),
        message: [0; 1008],
    };
    // A NUL would end the message for a C reader.
    let message = e.to_string().replace('\0', "\\0");
    let message = if message.is_empty() { "no message".into() } else { message };
    let mut end = message.len().min(filled.message.len() - 1);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    for (to, from) in filled.message.iter_mut().zip(&message.as_bytes()[..end]) {
        *to = *from as c_char;
    }
    filled
}
