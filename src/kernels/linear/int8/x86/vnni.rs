//! The kernel for AVX-512 VNNI: one instruction multiplies 64 pairs and adds four to each sum.

use std::arch::x86_64::*;

use super::super::block::{Block, Shape, words_of_rows};
use super::super::quantize_rows::Row;
use super::vectors::{load_wide, store_wide};
use crate::kernels::linear::prefetch_cursor::PrefetchCursor;

const MR: usize = 6;
const NR: usize = 16 * NR_VECTORS;
/// NR in vectors. With six rows there are registers left for a vector of each operand.
const NR_VECTORS: usize = 4;

/// The instruction takes one operand without a sign: the weights, with 128 added.
pub(super) const SHAPE: Shape = Shape { mr: MR, nr: NR, kr: 4, sign_mask: 0x80 };

// A sum begins with minus 128 times the sum of its row, which the 128 on the weights adds. The sum
// may wrap around on the way: the final value fits, so wrapping cancels.
kernel! {
    features: "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    heights: 1 2 3 4 5 6,
    splat: _mm512_set1_epi32,
    load: load_wide of 64,
    store: store_wide,
    start: |row| row.sum.wrapping_mul(-128),
    step: |sum, weights, word| _mm512_dpbusd_epi32(sum, weights, word),
}
