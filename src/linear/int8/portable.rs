//! The kernel for any processor, which the others are tested against.

use super::kernel::{Block, Shape, lines};

const ROWS: usize = 4;
const COLUMNS: usize = 16;

pub(super) const SHAPE: Shape = Shape { rows: ROWS, columns: COLUMNS, group: 1, flip: 0 };

pub(super) fn run(block: &mut Block<'_, '_>) {
    block.run::<ROWS, COLUMNS>(SHAPE.group, |words, rows, panel, _, sums| match rows.len() {
        1 => tile::<1>(words, panel, sums),
        2 => tile::<2>(words, panel, sums),
        3 => tile::<3>(words, panel, sums),
        _ => tile::<4>(words, panel, sums),
    });
}

fn tile<const M: usize>(words: &[i32], panel: &[u8], out: &mut [[i32; COLUMNS]; ROWS]) {
    // Of its own, so that it stays in registers.
    let mut sums = [[0; COLUMNS]; M];
    let (groups, _) = panel.as_chunks::<COLUMNS>();
    let lines = lines::<M>(words, groups.len());
    for (place, weights) in groups.iter().enumerate() {
        for (line, sums) in lines.iter().zip(&mut sums) {
            let word = line[place];
            for (&weight, sum) in weights.iter().zip(sums) {
                // The product fits 16 bits, which even old vectors multiply.
                *sum += i32::from(word as i16 * i16::from(weight as i8));
            }
        }
    }
    out[..M].copy_from_slice(&sums);
}
