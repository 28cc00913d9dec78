//! The kernel for AVX-512 VNNI: one instruction multiplies 64 pairs and adds four to each sum.

use std::arch::x86_64::*;

use super::super::activations::Row;
use super::super::kernel::{Block, Shape, lines};
use super::{load_wide, store_wide};
use crate::linear::Ahead;

const ROWS: usize = 6;
const COLUMNS: usize = 16 * VECTORS;
/// Vectors of sums for a row. With six rows there are registers left for a vector of each operand.
const VECTORS: usize = 4;

/// The instruction takes one operand without a sign: the weights, with 128 added.
pub(super) const SHAPE: Shape = Shape { rows: ROWS, columns: COLUMNS, group: 4, flip: 0x80 };

// A sum begins with what the 128 on the weights add up to. It may pass the 32 bits on the way, in a
// circle, and returns.
kernel! {
    features: "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    heights: 1 2 3 4 5 6,
    splat: _mm512_set1_epi32,
    load: load_wide of 64,
    store: store_wide,
    start: |row| row.sum.wrapping_mul(-128),
    step: |sum, weights, word| _mm512_dpbusd_epi32(sum, weights, word),
}
