//! Handles, single values, strings and arrays of the caller.

use std::ffi::{CStr, c_char};

use crate::error::{Result, error};

/// The object behind a handle.
pub(in crate::ffi) fn handle<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    check_aligned(pointer, name)?;
    // SAFETY: NULL, or a handle that the library created and the caller has not released.
    unsafe { pointer.as_ref() }.ok_or_else(|| error!(InvalidArgument, "{name} is NULL"))
}

/// Moves a value to the heap, where the caller owns it by a handle.
pub(in crate::ffi) fn into_handle<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Takes the value of a handle back from the caller. `None` for NULL.
pub(in crate::ffi) fn take_handle<T>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: NULL, or a handle from `into_handle` that is released once, by the header.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}

/// Writes a result to an address that the caller passed.
pub(in crate::ffi) fn store<T>(result: *mut T, value: T, name: &str) -> Result<()> {
    check_writable(result, name)?;
    // SAFETY: not NULL, aligned, and the caller's, by the header.
    unsafe { result.write(value) };
    Ok(())
}

/// Refuses an address that [`store`] could not write to, before the result is computed.
pub(in crate::ffi) fn check_writable<T>(result: *mut T, name: &str) -> Result<()> {
    if result.is_null() {
        return Err(error!(InvalidArgument, "{name} is NULL"));
    }
    check_aligned(result, name)
}

/// A string of the caller, or `None` for NULL.
pub(in crate::ffi) fn string<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and ends in NUL, by the header.
    let bytes = unsafe { CStr::from_ptr(pointer) };
    let text = bytes.to_str().map_err(|e| error!(InvalidUtf8, "{name} is not UTF-8: {e}"))?;
    Ok(Some(text))
}

/// The texts of a call, each with an error if it is not UTF-8. Fails if an array is invalid.
pub(in crate::ffi) fn texts<'a>(
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

pub(super) fn check_aligned<T>(pointer: *const T, name: &str) -> Result<()> {
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

pub(super) fn check_array<T>(pointer: *const T, length: usize, name: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(error!(InvalidArgument, "{name} is NULL, but {length} elements are needed"));
    }
    check_aligned(pointer, name)?;
    if length > isize::MAX as usize / size_of::<T>() {
        return Err(error!(InvalidArgument, "{name} cannot have {length} elements"));
    }
    Ok(())
}

/// An array to read. The pointer to an empty one is not checked.
pub(in crate::ffi) fn slice<'a, T>(
    pointer: *const T,
    length: usize,
    name: &str,
) -> Result<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    check_array(pointer, length, name)?;
    // SAFETY: not NULL, aligned, no larger than memory, and the caller's to read, by the header.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}
