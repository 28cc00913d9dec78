//! Loads and stores of vectors from and to arrays.

use std::arch::x86_64::*;

#[target_feature(enable = "avx2")]
pub(super) fn load_i16s(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: the array is as long as what is read, which need not be aligned.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

#[target_feature(enable = "avx2")]
pub(super) fn store_i32s(sums: __m256i, out: &mut [i32; 8]) {
    // SAFETY: the array is as long as what is written, which need not be aligned.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sums) }
}

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load_wide_i16s(bytes: &[u8; 32]) -> __m512i {
    // SAFETY: the array is as long as what is read, which need not be aligned.
    _mm512_cvtepi8_epi16(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f")]
pub(super) fn load_wide(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the array is as long as what is read, which need not be aligned.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
pub(super) fn store_wide(sums: __m512i, out: &mut [i32; 16]) {
    // SAFETY: the array is as long as what is written, which need not be aligned.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sums) }
}
