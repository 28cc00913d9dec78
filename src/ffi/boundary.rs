//! All that handles a raw pointer: checks on the way in, the guard around every call, and what is
//! written on the way out.
//!
//! Soundness rests on the header's rules: a pointer that is not NULL points at as much memory as
//! the function says, until the call returns. What can be checked is checked.

use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};

use super::caller::Caller;
use super::constants::*;
use super::types::*;
use crate::error::{Error, ErrorKind, Result, error};
use crate::log::{self, LogLevel};
use crate::memory;

/// Runs the body of an exported function. The only place that catches panics and writes errors.
pub(super) fn guard(error: *mut bge_error, body: impl FnOnce() -> Result<()>) -> bge_status {
    let _caller = Caller::enter();
    keep_panics_quiet();
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(bug(&*panic)));
    match outcome {
        Ok(()) => BGE_OK,
        Err(e) => {
            let filled = c_error(&e);
            if !error.is_null() {
                // SAFETY: not NULL, so a bge_error of the caller, by the header. Written without a
                // look at what was there, which may never have been set, or its alignment: this is
                // the one argument about which no error can be reported.
                unsafe { error.write_unaligned(filled) };
            }
            status_of(e.kind())
        }
    }
}

/// Runs the body of an exported function that has no way to report an error.
pub(super) fn guard_or<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
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

/// The hook is that of the standard library inside libbge.so, not the host's, even if the host is
/// written in Rust. A Rust program that uses the crate never comes here.
fn keep_panics_quiet() {
    if !cfg!(test) {
        log::log_panics();
    }
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
        ErrorKind::NotFinite => BGE_ERROR_NOT_FINITE,
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
    check_aligned(pointer, name)?;
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
    check_place(place, name)?;
    // SAFETY: not NULL, aligned, and the caller's, by the header.
    unsafe { place.write(value) };
    Ok(())
}

/// Refuses a place that [`store`] could not write to, before work is done for it.
pub(super) fn check_place<T>(place: *mut T, name: &str) -> Result<()> {
    if place.is_null() {
        return Err(error!(InvalidArgument, "{name} is NULL"));
    }
    check_aligned(place, name)
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

/// The texts of a call, each checked to be UTF-8. Fails as a whole if the arrays are at fault.
pub(super) fn texts<'a>(
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
) -> Result<Vec<Result<&'a str>>> {
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
        });
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
        return Err(error!(InvalidArgument, "{name} is NULL, but {length} elements are needed"));
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

/// How rows lie in memory. What lies between them is not the library's: another thread may be at
/// work there, so no reference may cover it.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub rows: usize,
    pub width: usize,
    pub stride: usize,
}

impl Grid {
    /// A plain array.
    pub fn line(length: usize) -> Self {
        Self { rows: 1, width: length, stride: length }
    }

    /// The elements from the first of the first row to the last of the last one.
    pub fn extent(self, name: &str) -> Result<usize> {
        let Self { rows, width, stride } = self;
        match rows {
            0 => Some(0),
            _ => (rows - 1).checked_mul(stride).and_then(|gone| gone.checked_add(width)),
        }
        .ok_or_else(|| {
            error!(InvalidArgument, "{name}: {rows} rows of {stride} do not fit into memory")
        })
    }

    /// The stride of a single row is not used, and may be too large to be one.
    fn step(self) -> usize {
        if self.rows > 1 { self.stride } else { self.width }
    }

    /// Rows to read.
    pub fn view<'a>(self, pointer: *const f32, name: &str) -> Result<ArrayView2<'a, f32>> {
        check_array(pointer, self.extent(name)?, name)?;
        let shape = (self.rows, self.width).strides((self.step(), 1));
        // SAFETY: not NULL, aligned, no larger than memory, and the caller's to read, by the
        // header.
        Ok(unsafe { ArrayView2::from_shape_ptr(shape, pointer) })
    }

    /// Rows to write.
    pub fn view_mut<'a, T>(self, pointer: *mut T, name: &str) -> Result<ArrayViewMut2<'a, T>> {
        check_array(pointer, self.extent(name)?, name)?;
        let shape = (self.rows, self.width).strides((self.step(), 1));
        // SAFETY: as for `view`, and the caller's to write; rows do not overlap, since a stride is
        // no less than the width; that nothing else here refers to them has been checked by
        // `Span::check_apart`.
        Ok(unsafe { ArrayViewMut2::from_shape_ptr(shape, pointer) })
    }
}

/// Rows of the caller that are filled after inference, perhaps by another thread.
pub(super) struct CallerRows<T> {
    pointer: *mut T,
    grid: Grid,
}

// SAFETY: by the header, nobody else touches the memory until the callback has returned.
unsafe impl<T: Send> Send for CallerRows<T> {}

impl<T> CallerRows<T> {
    pub fn new(pointer: *mut T, grid: Grid, name: &str) -> Result<Self> {
        let extent = grid.extent(name)?;
        if extent > 0 {
            check_array(pointer, extent, name)?;
        }
        Ok(Self { pointer, grid })
    }

    pub fn row(&mut self, index: usize) -> &mut [T] {
        assert!(index < self.grid.rows);
        if self.grid.width == 0 {
            return &mut [];
        }
        // SAFETY: within what `new` checked, and still the caller's, by the header; only one row
        // is lent at a time.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.pointer.add(index * self.grid.step()),
                self.grid.width,
            )
        }
    }
}

/// Where an array of the caller lies, to find out whether two share memory.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    name: &'a str,
    start: usize,
    end: usize,
}

impl<'a> Span<'a> {
    /// NULL is nowhere.
    pub fn new<T>(pointer: *const T, length: usize, name: &'a str) -> Self {
        let start = pointer.addr();
        let length = if pointer.is_null() { 0 } else { length };
        Self { name, start, end: start.saturating_add(length.saturating_mul(size_of::<T>())) }
    }

    /// Refuses arrays that share memory.
    pub fn check_apart(self, other: Self) -> Result<()> {
        let empty = self.start == self.end || other.start == other.end;
        if !empty && self.start < other.end && other.start < self.end {
            return Err(error!(InvalidArgument, "{} and {} overlap", self.name, other.name));
        }
        Ok(())
    }
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
    bge_open_options: 80,
    bge_encode_options: 40,
    bge_embeddings: 136,
    bge_similarity_options: 32,
    bge_quantize_options: 32,
    bge_info: 72,
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

/// Writes as much of a struct as the caller has room for, and zeros where it has more.
pub(super) fn write_sized<T: GrowingStruct>(pointer: *mut T, mut value: T) -> Result<()> {
    let size = size_of_caller(pointer)?;
    // SAFETY: T begins with a u32, and the caller's struct has `size` bytes, by its own word.
    unsafe {
        (&raw mut value).cast::<u32>().write(size as u32);
        let known = size.min(size_of::<T>());
        let to = pointer.cast::<u8>();
        ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), to, known);
        ptr::write_bytes(to.add(known), 0, size - known);
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

/// Tells a callback of the caller how far something has come.
pub(super) fn progress_back(
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

/// Hands a line to a log callback of the caller.
pub(super) fn log_back(
    callback: unsafe extern "C-unwind" fn(*mut c_void, bge_log_level, *const c_char),
    user_data: &UserData,
    level: bge_log_level,
    line: &str,
) {
    let line = CString::new(line.replace('\0', "\\0")).unwrap_or_default();
    // SAFETY: the caller's function, called as the header says.
    unsafe { callback(user_data.0, level, line.as_ptr()) };
}
