//! The kernel for AVX-512 without its 8-bit dot products: pairs of 16-bit products, as with AVX2.

use std::arch::x86_64::*;

use super::super::kernel::{Block, Shape, lines};
use super::{load_wide_i16s, store_wide};
use crate::linear::Ahead;

const ROWS: usize = 12;
const COLUMNS: usize = 16 * VECTORS;
/// Vectors of sums for a row. With twelve rows there are registers left for a vector of each operand.
const VECTORS: usize = 2;

pub(super) const SHAPE: Shape = Shape { rows: ROWS, columns: COLUMNS, group: 2, flip: 0 };

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn run(block: &mut Block<'_, '_>) {
    macro_rules! by_height {
        ($($height:literal)*) => {
            |words, rows, panel, ahead, sums| match rows.len() {
                $($height => tile::<$height>(words, panel, ahead, sums),)*
                _ => tile::<ROWS>(words, panel, ahead, sums),
            }
        };
    }
    block.run::<ROWS, COLUMNS>(SHAPE.group, by_height!(1 2 3 4 5 6 7 8 9 10 11));
}

#[target_feature(enable = "avx512f,avx512bw")]
fn tile<const M: usize>(
    words: &[i32],
    panel: &[u8],
    ahead: Ahead,
    out: &mut [[i32; COLUMNS]; ROWS],
) {
    let mut sums = [[_mm512_setzero_si512(); VECTORS]; M];
    let (vectors, _) = panel.as_chunks::<32>();
    let (groups, _) = vectors.as_chunks::<VECTORS>();
    let lines = lines::<M>(words, groups.len());
    for (place, group) in groups.iter().enumerate() {
        ahead.ask(place, group);
        let mut weights = [_mm512_setzero_si512(); VECTORS];
        for (vector, bytes) in weights.iter_mut().zip(group) {
            *vector = load_wide_i16s(bytes);
        }
        for (sums, line) in sums.iter_mut().zip(lines) {
            let word = _mm512_set1_epi32(line[place]);
            for (sum, &vector) in sums.iter_mut().zip(&weights) {
                *sum = _mm512_add_epi32(*sum, _mm512_madd_epi16(vector, word));
            }
        }
    }
    store_rows!(sums by store_wide to out: 0 1 2 3 4 5 6 7 8 9 10 11);
}
