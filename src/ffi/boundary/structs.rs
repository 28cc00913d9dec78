//! Structs that begin with their size, so that a later release can add members.

use std::ptr;

use super::super::types::*;
use super::pointers::check_aligned;
use crate::error::{Result, error};

/// A struct that begins with its size in bytes and may grow at its end.
///
/// # Safety
///
/// `repr(C)`, begins with a `u32` of that meaning, has no padding, and all zeros is a value.
pub(in crate::ffi) unsafe trait GrowingStruct: Copy {
    /// The size of the struct in the first release that had it.
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
    bge_encode_result: 152,
    bge_similarity_options: 32,
    bge_quantize_options: 32,
    bge_info: 72,
    bge_stats: 72,
}

/// The struct with every member at its default.
pub(in crate::ffi) fn zeroed<T: GrowingStruct>() -> T {
    // SAFETY: all zeros is a value of T.
    unsafe { std::mem::zeroed() }
}

/// Reads a struct of an older, an equal or a newer caller. Members that an older caller lacks are
/// zero; members that only a newer caller has must be zero.
pub(in crate::ffi) fn read_sized<T: GrowingStruct>(pointer: *const T) -> Result<T> {
    let size = size_of_caller(pointer)?;
    let known = size.min(size_of::<T>());
    // SAFETY: by the header, the caller's struct has as many bytes as its `struct_size` says.
    let bytes = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), size) };
    if bytes[known..].iter().any(|&byte| byte != 0) {
        return Err(error!(
            Unsupported,
            "{} has {size} bytes, and this library knows {known} of them; \
             a member after those is set",
            T::NAME
        ));
    }
    // SAFETY: all zeros is a value of T, and so is a copy of the caller's first bytes, which are at
    // most as many as T has.
    unsafe {
        let mut value = zeroed::<T>();
        ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast::<u8>(), known);
        Ok(value)
    }
}

/// Reads options that may be NULL.
pub(in crate::ffi) fn read_options<T: GrowingStruct>(pointer: *const T) -> Result<Option<T>> {
    if pointer.is_null() { Ok(None) } else { read_sized(pointer).map(Some) }
}

/// Writes as many bytes of a struct as the caller's has, and zeros where the caller's has more.
pub(in crate::ffi) fn write_sized<T: GrowingStruct>(pointer: *mut T, mut value: T) -> Result<()> {
    let size = size_of_caller(pointer)?;
    // SAFETY: T begins with a u32, and the caller's struct has `struct_size` bytes, by the header.
    unsafe {
        (&raw mut value).cast::<u32>().write(size as u32);
        let known = size.min(size_of::<T>());
        let to = pointer.cast::<u8>();
        ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), to, known);
        ptr::write_bytes(to.add(known), 0, size - known);
    }
    Ok(())
}

/// A struct of the caller that is written after inference, perhaps by another thread.
pub(in crate::ffi) struct CallerStruct<T>(*mut T);

// SAFETY: by the header, no other code touches the struct until the callback has returned; the
// pointers that are written into it come from the thread that writes.
unsafe impl<T: GrowingStruct> Send for CallerStruct<T> {}

impl<T: GrowingStruct> CallerStruct<T> {
    pub fn new(pointer: *mut T) -> Result<Self> {
        size_of_caller(pointer)?;
        Ok(Self(pointer))
    }

    pub fn write(&mut self, value: T) -> Result<()> {
        write_sized(self.0, value)
    }
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
