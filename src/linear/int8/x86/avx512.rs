//! The kernel for AVX-512 without its 8-bit dot products: pairs of 16-bit products, as with AVX2.

use std::arch::x86_64::*;

use super::super::activations::Row;
use super::super::kernel::{Block, Shape, lines};
use super::{load_wide_i16s, store_wide};
use crate::linear::Ahead;

const ROWS: usize = 12;
const COLUMNS: usize = 16 * VECTORS;
/// Vectors of sums for a row. With twelve rows there are registers left for a vector of each operand.
const VECTORS: usize = 2;

pub(super) const SHAPE: Shape = Shape { rows: ROWS, columns: COLUMNS, group: 2, flip: 0 };

kernel! {
    features: "avx512f,avx512bw",
    heights: 1 2 3 4 5 6 7 8 9 10 11 12,
    splat: _mm512_set1_epi32,
    load: load_wide_i16s of 32,
    store: store_wide,
    start: |_row| 0,
    step: |sum, weights, word| _mm512_add_epi32(sum, _mm512_madd_epi16(weights, word)),
}
