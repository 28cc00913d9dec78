//! The kernels for x86-64, and all that is unsafe about them.

/// Stores the sums of a tile's rows. The compiler does not unroll a loop of so much, and would put all
/// sums in memory before.
macro_rules! store_rows {
    ($sums:ident by $store:ident to $out:ident: $($row:literal)*) => {$(
        if $row < $sums.len() {
            for (&sum, out) in $sums[$row].iter().zip($out[$row].as_chunks_mut().0) {
                $store(sum, out);
            }
        }
    )*};
}

mod avx2;
mod avx512;
mod vnni;

use std::arch::x86_64::*;

use super::kernel::{Block, Shape};

/// Says that this processor has AVX2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(super) const SHAPE: Shape = avx2::SHAPE;

    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(super) fn run(self, block: &mut Block<'_, '_>) {
        // SAFETY: `detect` is the only one that makes this value, and found what `run` asks for.
        unsafe { avx2::run(block) }
    }
}

/// Says that this processor has AVX-512.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(super) const SHAPE: Shape = avx512::SHAPE;

    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        has.then_some(Self(()))
    }

    pub(super) fn run(self, block: &mut Block<'_, '_>) {
        // SAFETY: `detect` is the only one that makes this value, and found what `run` asks for.
        unsafe { avx512::run(block) }
    }
}

/// Says that this processor has AVX-512 with its 8-bit dot products.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vnni(());

impl Vnni {
    pub(super) const SHAPE: Shape = vnni::SHAPE;

    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        has.then_some(Self(()))
    }

    pub(super) fn run(self, block: &mut Block<'_, '_>) {
        // SAFETY: `detect` is the only one that makes this value, and found what `run` asks for.
        unsafe { vnni::run(block) }
    }
}

#[target_feature(enable = "avx2")]
fn load_i16s(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: the array is as long as what is read, which need not be aligned.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

#[target_feature(enable = "avx2")]
fn store_i32s(sums: __m256i, out: &mut [i32; 8]) {
    // SAFETY: the array is as long as what is written, which need not be aligned.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sums) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn load_wide_i16s(bytes: &[u8; 32]) -> __m512i {
    // SAFETY: the array is as long as what is read, which need not be aligned.
    _mm512_cvtepi8_epi16(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f")]
fn load_wide(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the array is as long as what is read, which need not be aligned.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn store_wide(sums: __m512i, out: &mut [i32; 16]) {
    // SAFETY: the array is as long as what is written, which need not be aligned.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sums) }
}
