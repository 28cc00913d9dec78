//! The kernel for any processor, which the others are tested against.

use super::kernel::{Block, Shape};

const ROWS: usize = 4;
const COLUMNS: usize = 16;

pub(super) const SHAPE: Shape = Shape { rows: ROWS, columns: COLUMNS, group: 1, flip: 0 };

pub(super) fn run(block: &mut Block<'_, '_>) {
    block.run::<ROWS, COLUMNS>(SHAPE.group, |words, rows, panel, sums| {
        *sums = [[0; COLUMNS]; ROWS];
        let (weights, _) = panel.as_chunks::<COLUMNS>();
        for (words, weights) in words.chunks_exact(rows.len()).zip(weights) {
            for (&word, sums) in words.iter().zip(sums.iter_mut()) {
                for (&weight, sum) in weights.iter().zip(sums) {
                    // The product fits 16 bits, which even old vectors multiply.
                    *sum += i32::from(word as i16 * i16::from(weight as i8));
                }
            }
        }
    });
}
