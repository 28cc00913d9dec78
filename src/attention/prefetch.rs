//! Hints about memory that will be read or written soon.

/// Asks for the cache line of an address.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that anybody sees, whatever the address is.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The size of a cache line and of the widest vector, which none should straddle.
pub(crate) const LINE: usize = 64;

/// From what is read to what has to be asked for, for it to come from memory meanwhile: bytes.
pub(crate) const SOON: usize = 4096;

/// Asks for so many bytes behind an address.
#[inline(always)]
pub(crate) fn prefetch_lines(address: *const u8, bytes: usize) {
    for line in 0..bytes.div_ceil(LINE) {
        prefetch(address.wrapping_add(line * LINE));
    }
}
