//! The kernel for AVX-512 without its 8-bit dot products: pairs of 16-bit products, as with AVX2.

use std::arch::x86_64::*;

use super::super::block::{Block, Shape, words_of_rows};
use super::super::quantize_rows::Row;
use super::vectors::{load_wide_i16s, store_wide};
use crate::kernels::linear::prefetch_cursor::PrefetchCursor;

const MR: usize = 12;
const NR: usize = 16 * NR_VECTORS;
/// NR in vectors. With twelve rows there are registers left for a vector of each operand.
const NR_VECTORS: usize = 2;

pub(super) const SHAPE: Shape = Shape { mr: MR, nr: NR, kr: 2, sign_mask: 0 };

kernel! {
    features: "avx512f,avx512bw",
    heights: 1 2 3 4 5 6 7 8 9 10 11 12,
    splat: _mm512_set1_epi32,
    load: load_wide_i16s of 32,
    store: store_wide,
    start: |_row| 0,
    step: |sum, weights, word| _mm512_add_epi32(sum, _mm512_madd_epi16(weights, word)),
}
