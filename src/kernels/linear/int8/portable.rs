//! The kernel for any processor, against which the other kernels are tested.

use super::block::{Block, Shape, words_of_rows};

const MR: usize = 4;
const NR: usize = 16;

pub(super) const SHAPE: Shape = Shape { mr: MR, nr: NR, kr: 1, sign_mask: 0 };

pub(super) fn run(block: &mut Block<'_, '_>) {
    block.for_each_tile::<MR, NR>(SHAPE.kr, |words, rows, panel, _, sums| match rows.len() {
        1 => tile::<1>(words, panel, sums),
        2 => tile::<2>(words, panel, sums),
        3 => tile::<3>(words, panel, sums),
        _ => tile::<4>(words, panel, sums),
    });
}

fn tile<const M: usize>(words: &[i32], panel: &[u8], out: &mut [[i32; NR]; MR]) {
    // A local array, which stays in registers.
    let mut sums = [[0; NR]; M];
    let (groups, _) = panel.as_chunks::<NR>();
    let lines = words_of_rows::<M>(words, groups.len());
    for (index, weights) in groups.iter().enumerate() {
        for (line, sums) in lines.iter().zip(&mut sums) {
            let word = line[index];
            for (&weight, sum) in weights.iter().zip(sums) {
                // The product fits 16 bits, which even old vectors multiply.
                *sum += i32::from(word as i16 * i16::from(weight as i8));
            }
        }
    }
    out[..M].copy_from_slice(&sums);
}
