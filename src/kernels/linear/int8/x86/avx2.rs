//! The kernel for AVX2: pairs of 16-bit products, which no sum of two can overflow.
//!
//! The instruction that multiplies bytes would saturate.

use std::arch::x86_64::*;

use super::super::block::{Block, Shape, words_of_rows};
use super::super::quantize_rows::Row;
use super::vectors::{load_i16s, store_i32s};
use crate::kernels::linear::prefetch_cursor::PrefetchCursor;

const MR: usize = 6;
const NR: usize = 8 * NR_VECTORS;
/// NR in vectors. With six rows there are registers left for a vector of each operand.
const NR_VECTORS: usize = 2;

pub(super) const SHAPE: Shape = Shape { mr: MR, nr: NR, kr: 2, sign_mask: 0 };

kernel! {
    features: "avx2",
    heights: 1 2 3 4 5 6,
    splat: _mm256_set1_epi32,
    load: load_i16s of 16,
    store: store_i32s,
    start: |_row| 0,
    step: |sum, weights, word| _mm256_add_epi32(sum, _mm256_madd_epi16(weights, word)),
}
