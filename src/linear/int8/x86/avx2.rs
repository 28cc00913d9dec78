//! The kernel for AVX2: pairs of 16-bit products, which no sum of two can overflow.
//!
//! The instruction that multiplies bytes would saturate.

use std::arch::x86_64::*;

use super::super::kernel::{Block, Shape, lines};
use super::{load_i16s, store_i32s};
use crate::linear::Ahead;

const ROWS: usize = 6;
const COLUMNS: usize = 8 * VECTORS;
/// Vectors of sums for a row. With six rows there are registers left for a vector of each operand.
const VECTORS: usize = 2;

pub(super) const SHAPE: Shape = Shape { rows: ROWS, columns: COLUMNS, group: 2, flip: 0 };

#[target_feature(enable = "avx2")]
pub(super) fn run(block: &mut Block<'_, '_>) {
    block.run::<ROWS, COLUMNS>(SHAPE.group, |words, rows, panel, ahead, sums| match rows.len() {
        1 => tile::<1>(words, panel, ahead, sums),
        2 => tile::<2>(words, panel, ahead, sums),
        3 => tile::<3>(words, panel, ahead, sums),
        4 => tile::<4>(words, panel, ahead, sums),
        5 => tile::<5>(words, panel, ahead, sums),
        _ => tile::<6>(words, panel, ahead, sums),
    });
}

#[target_feature(enable = "avx2")]
fn tile<const M: usize>(
    words: &[i32],
    panel: &[u8],
    ahead: Ahead,
    out: &mut [[i32; COLUMNS]; ROWS],
) {
    let mut sums = [[_mm256_setzero_si256(); VECTORS]; M];
    let (vectors, _) = panel.as_chunks::<16>();
    let (groups, _) = vectors.as_chunks::<VECTORS>();
    let lines = lines::<M>(words, groups.len());
    for (place, group) in groups.iter().enumerate() {
        ahead.ask(place, group);
        let mut weights = [_mm256_setzero_si256(); VECTORS];
        for (vector, bytes) in weights.iter_mut().zip(group) {
            *vector = load_i16s(bytes);
        }
        for (sums, line) in sums.iter_mut().zip(lines) {
            let word = _mm256_set1_epi32(line[place]);
            for (sum, &vector) in sums.iter_mut().zip(&weights) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(vector, word));
            }
        }
    }
    store_rows!(sums by store_i32s to out: 0 1 2 3 4 5);
}
