//! All that handles a raw pointer: checks on the way in, the guard around every call, and what is
//! written on the way out.
//!
//! Soundness rests on the header's rules: a pointer that is not NULL points at as much memory as
//! the function says, until the call returns. What can be checked is checked.

use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Once;

use super::types::*;
use crate::error::{Error, ErrorKind, Result, error};
use crate::log::{self, LogLevel};

/// Runs the body of an exported function. The only place that catches panics and writes errors.
pub(super) fn guard(error: *mut bge_error, body: impl FnOnce() -> Result<()>) -> bge_status {
    keep_panics_quiet();
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(bug(&*panic)));
    match outcome {
        Ok(()) => BGE_OK,
        Err(e) => {
            let filled = c_error(&e);
            // SAFETY: `error` is NULL or points at a bge_error of the caller, by the header.
            if let Some(error) = unsafe { error.as_mut() } {
                *error = filled;
            }
            status_of(e.kind())
        }
    }
}

/// Runs the body of an exported function that has no way to report an error.
pub(super) fn guard_or<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
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
    error!(Internal, "a bug in libbge was caught: {words}")
}

/// Rust prints a panic before it can be caught, but the streams belong to the host.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if !cfg!(test) {
            std::panic::set_hook(Box::new(|panic| {
                log::line(LogLevel::Error, || panic.to_string());
            }));
        }
    });
}

pub(super) fn status_of(kind: ErrorKind) -> bge_status {
    match kind {
        ErrorKind::InvalidArgument => BGE_ERROR_INVALID_ARGUMENT,
        ErrorKind::InvalidUtf8 => BGE_ERROR_INVALID_UTF8,
        ErrorKind::TextTooLong => BGE_ERROR_TEXT_TOO_LONG,
        ErrorKind::BufferTooSmall => BGE_ERROR_BUFFER_TOO_SMALL,
        ErrorKind::Unsupported => BGE_ERROR_UNSUPPORTED,
        ErrorKind::ModelNotFound => BGE_ERROR_MODEL_NOT_FOUND,
        ErrorKind::ModelInvalid => BGE_ERROR_MODEL_INVALID,
        ErrorKind::RuntimeUnavailable => BGE_ERROR_RUNTIME_UNAVAILABLE,
        ErrorKind::OutOfMemory => BGE_ERROR_OUT_OF_MEMORY,
        ErrorKind::Cancelled => BGE_ERROR_CANCELLED,
        ErrorKind::Timeout => BGE_ERROR_TIMEOUT,
        ErrorKind::QueueFull => BGE_ERROR_QUEUE_FULL,
        ErrorKind::Closed => BGE_ERROR_CLOSED,
        ErrorKind::Inference => BGE_ERROR_INFERENCE,
        ErrorKind::Internal => BGE_ERROR_INTERNAL,
    }
}

pub(super) fn c_error(e: &Error) -> bge_error {
    let mut filled = bge_error {
        code: status_of(e.kind()),
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

/// What a handle points at.
pub(super) fn handle<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: NULL, or a handle that the library made and the caller has not released.
    unsafe { pointer.as_ref() }.ok_or_else(|| error!(InvalidArgument, "{name} is NULL"))
}

/// Gives the caller a new handle.
pub(super) fn into_handle<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Takes a handle back from the caller. NULL gives nothing.
pub(super) fn take_handle<T>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: NULL, or a handle from `into_handle` that is released once, by the header.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}

/// Stores a result where the caller wants it.
pub(super) fn store<T>(place: *mut T, value: T, name: &str) -> Result<()> {
    check_aligned(place, name)?;
    if place.is_null() {
        return Err(error!(InvalidArgument, "{name} is NULL"));
    }
    // SAFETY: not NULL, aligned, and the caller's, by the header.
    unsafe { place.write(value) };
    Ok(())
}

/// A string of the caller, or `None` for NULL.
pub(super) fn string<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and ends in NUL, by the header.
    let bytes = unsafe { CStr::from_ptr(pointer) };
    let text = bytes.to_str().map_err(|e| error!(InvalidUtf8, "{name} is not UTF-8: {e}"))?;
    Ok(Some(text))
}

/// The texts of a call, checked to be UTF-8.
pub(super) fn texts<'a>(
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
) -> Result<Vec<&'a str>> {
    let pointers = slice(texts, count, "texts")?;
    let lengths = if lengths.is_null() { None } else { Some(slice(lengths, count, "lengths")?) };
    let mut checked = Vec::new();
    checked
        .try_reserve_exact(count)
        .map_err(|_| error!(OutOfMemory, "there is no memory for {count} texts"))?;
    for (index, &pointer) in pointers.iter().enumerate() {
        let bytes = match lengths.map(|lengths| lengths[index]) {
            Some(0) => &[],
            _ if pointer.is_null() => {
                return Err(error!(InvalidArgument, "texts[{index}] is NULL").at_text(index));
            }
            Some(length) => {
                slice(pointer.cast::<u8>(), length, "a text").map_err(|e| e.at_text(index))?
            }
            // SAFETY: not NULL, and ends in NUL since no lengths are given, by the header.
            None => unsafe { CStr::from_ptr(pointer) }.to_bytes(),
        };
        let text = std::str::from_utf8(bytes).map_err(|e| {
            error!(
                InvalidUtf8,
                "texts[{index}] is not UTF-8: the byte at offset {} does not belong there",
                e.valid_up_to()
            )
            .at_text(index)
        })?;
        checked.push(text);
    }
    Ok(checked)
}

fn check_aligned<T>(pointer: *const T, name: &str) -> Result<()> {
    if pointer.is_aligned() {
        Ok(())
    } else {
        Err(error!(
            InvalidArgument,
            "{name} is {pointer:p}, which is not a multiple of {}",
            align_of::<T>()
        ))
    }
}

fn check_array<T>(pointer: *const T, length: usize, name: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(error!(InvalidArgument, "{name} is NULL, but has {length} elements to hold"));
    }
    check_aligned(pointer, name)?;
    if length > isize::MAX as usize / size_of::<T>() {
        return Err(error!(InvalidArgument, "{name} cannot have {length} elements"));
    }
    Ok(())
}

/// An array to read. If it is empty, the pointer does not matter.
pub(super) fn slice<'a, T>(pointer: *const T, length: usize, name: &str) -> Result<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    check_array(pointer, length, name)?;
    // SAFETY: not NULL, aligned, no larger than memory, and the caller's to read, by the header.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// An array to write. If it is empty, the pointer does not matter.
pub(super) fn slice_mut<'a, T>(pointer: *mut T, length: usize, name: &str) -> Result<&'a mut [T]> {
    if length == 0 {
        return Ok(&mut []);
    }
    check_array(pointer, length, name)?;
    // SAFETY: not NULL, aligned, no larger than memory, and the caller's to write, by the header;
    // nothing else refers to it during the call, which the callers of this function check where
    // two arrays are given.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, length) })
}

/// An array to write that the caller may leave out.
pub(super) fn optional_slice_mut<'a, T>(
    pointer: *mut T,
    length: usize,
    name: &str,
) -> Result<Option<&'a mut [T]>> {
    if pointer.is_null() { Ok(None) } else { slice_mut(pointer, length, name).map(Some) }
}

/// A struct that begins with its size in bytes and may grow at its end.
///
/// # Safety
///
/// `repr(C)`, begins with a `u32` of that meaning, has no padding, and all zeros is a value.
pub(super) unsafe trait GrowingStruct: Copy {
    /// Its size in the first release that had it.
    const FIRST_SIZE: usize;
    const NAME: &'static str;
}

macro_rules! sized {
    ($($name:ident: $size:literal),+ $(,)?) => {
        $(
            // SAFETY: `repr(C)`, of integers and pointers; tests/c/layout.c checks the padding.
            unsafe impl GrowingStruct for $name {
                const FIRST_SIZE: usize = $size;
                const NAME: &'static str = stringify!($name);
            }
            const _: () = assert!(size_of::<$name>() >= $size);
        )+
    };
}

sized! {
    bge_open_options: 40,
    bge_encode_options: 32,
    bge_embeddings: 104,
    bge_similarity_options: 32,
    bge_info: 64,
    bge_stats: 72,
}

/// Reads a struct of an older, an equal or a newer caller. What an older one does not have is
/// zero; what only a newer one has must be.
pub(super) fn read_sized<T: GrowingStruct>(pointer: *const T) -> Result<T> {
    let size = size_of_caller(pointer)?;
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's struct has `size` bytes, by its own word.
    let bytes = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), size) };
    if bytes[known..].iter().any(|&byte| byte != 0) {
        return Err(error!(
            Unsupported,
            "{} has {size} bytes, and this library knows {known} of them; \
             a member after those is set",
            T::NAME
        ));
    }
    // SAFETY: all zeros is a value of T, and a copy of the caller's first bytes is one, as long as
    // they are not more than T has.
    unsafe {
        let mut value = std::mem::zeroed::<T>();
        ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast::<u8>(), known);
        Ok(value)
    }
}

/// Reads options that may be NULL.
pub(super) fn read_options<T: GrowingStruct>(pointer: *const T) -> Result<Option<T>> {
    if pointer.is_null() { Ok(None) } else { read_sized(pointer).map(Some) }
}

/// Writes as much of a struct as the caller has room for.
pub(super) fn write_sized<T: GrowingStruct>(pointer: *mut T, mut value: T) -> Result<()> {
    let size = size_of_caller(pointer)?;
    // SAFETY: T begins with a u32, and the caller's struct has `size` bytes, by its own word.
    unsafe {
        (&raw mut value).cast::<u32>().write(size as u32);
        let known = size.min(size_of::<T>());
        ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), pointer.cast::<u8>(), known);
    }
    Ok(())
}

fn size_of_caller<T: GrowingStruct>(pointer: *const T) -> Result<usize> {
    const LARGEST: usize = 4096;
    if pointer.is_null() {
        return Err(error!(InvalidArgument, "{} is NULL", T::NAME));
    }
    check_aligned(pointer, T::NAME)?;
    // SAFETY: not NULL, and every such struct begins with this member.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    if !(T::FIRST_SIZE..=LARGEST).contains(&size) {
        return Err(error!(
            InvalidArgument,
            "{}.struct_size is {size}, not at least {}; start from its _INIT value",
            T::NAME,
            T::FIRST_SIZE
        ));
    }
    Ok(size)
}

/// A pointer of the caller that a callback will get back.
pub(super) struct UserData(pub *mut c_void);

// SAFETY: the library never looks behind it; by the header, the callback may run on any thread.
unsafe impl Send for UserData {}
// SAFETY: likewise.
unsafe impl Sync for UserData {}

/// An array of the caller that is written by another thread before its callback runs.
pub(super) struct CallerArray<T> {
    pointer: *mut T,
    length: usize,
}

// SAFETY: by the header, nobody else touches the memory until the callback has returned.
unsafe impl<T: Send> Send for CallerArray<T> {}

impl<T> CallerArray<T> {
    pub fn of(slice: &mut [T]) -> Self {
        Self { pointer: slice.as_mut_ptr(), length: slice.len() }
    }

    pub fn as_mut(&mut self) -> &mut [T] {
        // SAFETY: checked by `slice_mut` before, and still the caller's, by the header.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.length) }
    }
}

/// Tells a callback of the caller how its call ended.
pub(super) fn call_back(callback: bge_encode_callback, user_data: &UserData, e: Option<&Error>) {
    let Some(callback) = callback else { return };
    match e {
        // SAFETY: the caller's function, called as the header says.
        None => unsafe { callback(user_data.0, BGE_OK, ptr::null()) },
        Some(e) => {
            let error = c_error(e);
            // SAFETY: likewise.
            unsafe { callback(user_data.0, error.code, &error) };
        }
    }
}

/// Hands a line to a log callback of the caller.
pub(super) fn log_back(
    callback: unsafe extern "C" fn(*mut c_void, bge_log_level, *const c_char),
    user_data: &UserData,
    level: bge_log_level,
    line: &str,
) {
    let line = CString::new(line.replace('\0', "\\0")).unwrap_or_default();
    // SAFETY: the caller's function, called as the header says.
    unsafe { callback(user_data.0, level, line.as_ptr()) };
}

/// Refuses an array to write that shares memory with one to read.
pub(super) fn check_apart<T>(written: &[T], read: &[T], names: &str) -> Result<()> {
    let (written, read) = (written.as_ptr_range(), read.as_ptr_range());
    let empty = written.is_empty() || read.is_empty();
    if !empty && written.start < read.end && read.start < written.end {
        return Err(error!(InvalidArgument, "{names} overlap"));
    }
    Ok(())
}
