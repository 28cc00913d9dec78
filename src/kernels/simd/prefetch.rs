//! Prefetching of memory that will be read or written soon.

/// Prefetches the cache line of an address, which may be any.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect that a program can observe, whatever the address is.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Bytes of a cache line. The widest vectors are as large, and should not straddle two lines.
pub(crate) const CACHE_LINE: usize = 64;

/// Prefetch distance, in bytes: how far ahead of the read data memory is requested.
pub(crate) const PREFETCH_DISTANCE: usize = 4096;

/// Prefetches the cache lines of `bytes` bytes from an address on.
#[inline(always)]
pub(crate) fn prefetch_lines(address: *const u8, bytes: usize) {
    for line in 0..bytes.div_ceil(CACHE_LINE) {
        prefetch(address.wrapping_add(line * CACHE_LINE));
    }
}
