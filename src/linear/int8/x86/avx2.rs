//! The kernel for AVX2: pairs of 16-bit products, which no sum of two can overflow.
//!
//! The instruction that multiplies bytes would saturate.

use std::arch::x86_64::*;

use super::super::activations::Row;
use super::super::kernel::{Block, Shape, lines};
use super::{load_i16s, store_i32s};
use crate::linear::Ahead;

const ROWS: usize = 6;
const COLUMNS: usize = 8 * VECTORS;
/// Vectors of sums for a row. With six rows there are registers left for a vector of each operand.
const VECTORS: usize = 2;

pub(super) const SHAPE: Shape = Shape { rows: ROWS, columns: COLUMNS, group: 2, flip: 0 };

kernel! {
    features: "avx2",
    heights: 1 2 3 4 5 6,
    splat: _mm256_set1_epi32,
    load: load_i16s of 16,
    store: store_i32s,
    start: |_row| 0,
    step: |sum, weights, word| _mm256_add_epi32(sum, _mm256_madd_epi16(weights, word)),
}
