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

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn run(block: &mut Block<'_, '_>) {
    block.run::<ROWS, COLUMNS>(SHAPE.group, |words, rows, panel, ahead, sums| match rows.len() {
        1 => tile::<1>(words, rows, panel, ahead, sums),
        2 => tile::<2>(words, rows, panel, ahead, sums),
        3 => tile::<3>(words, rows, panel, ahead, sums),
        4 => tile::<4>(words, rows, panel, ahead, sums),
        5 => tile::<5>(words, rows, panel, ahead, sums),
        _ => tile::<6>(words, rows, panel, ahead, sums),
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tile<const M: usize>(
    words: &[i32],
    rows: &[Row],
    panel: &[u8],
    ahead: Ahead,
    out: &mut [[i32; COLUMNS]; ROWS],
) {
    let mut sums = [[_mm512_setzero_si512(); VECTORS]; M];
    for row in 0..M {
        // What the 128 on the weights add up to. A sum may pass the 32 bits on the way, in a
        // circle, and returns.
        sums[row] = [_mm512_set1_epi32(rows[row].sum.wrapping_mul(-128)); VECTORS];
    }
    let (vectors, _) = panel.as_chunks::<64>();
    let (groups, _) = vectors.as_chunks::<VECTORS>();
    let lines = lines::<M>(words, groups.len());
    for (place, group) in groups.iter().enumerate() {
        ahead.ask(place, group);
        let mut weights = [_mm512_setzero_si512(); VECTORS];
        for (vector, bytes) in weights.iter_mut().zip(group) {
            *vector = load_wide(bytes);
        }
        for (sums, line) in sums.iter_mut().zip(lines) {
            let word = _mm512_set1_epi32(line[place]);
            for (sum, &vector) in sums.iter_mut().zip(&weights) {
                *sum = _mm512_dpbusd_epi32(*sum, vector, word);
            }
        }
    }
    store_rows!(sums by store_wide to out: 0 1 2 3 4 5);
}
