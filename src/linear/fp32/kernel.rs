//! Tiles of the product, in the registers of whatever vectors there are.

use pulp::{Simd, WithSimd};

use super::{RUN, STRIDE, VECTORS};
use crate::attention::mul_add;
use crate::gelu::gelu;
use crate::linear::{Activation, prefetch, prefetch_behind};

/// The most rows of a tile, where there are 32 registers and where there are 16: with a sum for each
/// row and vector, registers are left for the weights and an activation.
pub(super) const ROWS: usize = 12;
const ROWS_OF_FEW: usize = 6;

/// Some rows of activations times some panels of a weight.
pub(super) struct Block<'a, 'y> {
    pub inputs: usize,
    pub x: &'a [f32],
    /// Of each run of columns, the panels.
    pub runs: Vec<&'a [f32]>,
    /// Of the rows of the weight that lie in the panels.
    pub bias: &'a [f32],
    pub activation: Activation,
    /// One slice for each row.
    pub y: &'a mut [&'y mut [f32]],
    /// A row's part in a run each.
    pub scratch: &'a mut [[f32; STRIDE]],
}

impl WithSimd for Block<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { inputs, x, runs, bias, activation, y, scratch } = self;
        let width = VECTORS * S::F32_LANES;
        let most = if S::REGISTER_COUNT >= 32 { ROWS } else { ROWS_OF_FEW };
        // Tiles of like heights: a low one has as many weights to load.
        let height = y.len().div_ceil(y.len().div_ceil(most));
        let last = runs.len() - 1;
        let run = super::run(inputs);
        for (index, panels) in runs.iter().enumerate() {
            let start = index * run;
            let length = run.min(inputs - start);
            for (row, x) in scratch.iter_mut().zip(x.chunks_exact(inputs)) {
                row[..length].copy_from_slice(&x[start..start + length]);
            }
            let ending = Ending {
                is_first: index == 0,
                gelu: index == last && activation == Activation::Gelu,
            };
            let panels = panels.chunks_exact(length * width);
            for ((first, panel), bias) in (0..).step_by(width).zip(panels).zip(bias.chunks(width)) {
                let columns = first..first + bias.len();
                let bias = vectors(simd, bias);
                for (x, y) in scratch.chunks(height).zip(y.chunks_mut(height)) {
                    tile_of(simd, x, panel, bias, ending, columns.clone(), y);
                }
            }
        }
    }
}

/// What becomes of the sums of a run.
#[derive(Clone, Copy)]
struct Ending {
    /// The bias is added to them, else what is there already.
    is_first: bool,
    gelu: bool,
}

#[inline(always)]
fn tile_of<S: Simd>(
    simd: S,
    x: &[[f32; STRIDE]],
    panel: &[f32],
    bias: [S::f32s; VECTORS],
    ending: Ending,
    columns: std::ops::Range<usize>,
    y: &mut [&mut [f32]],
) {
    macro_rules! by_height {
        ($($height:literal)*) => {
            match y.len() {
                $($height => tile::<S, $height>(simd, x, panel, bias, ending, columns, y),)*
                _ => {}
            }
        };
    }
    if S::REGISTER_COUNT >= 32 {
        by_height!(1 2 3 4 5 6 7 8 9 10 11 12);
    } else {
        by_height!(1 2 3 4 5 6);
    }
}

/// Loops count, since arrays that iterators give out would not stay in registers.
#[inline(always)]
fn tile<S: Simd, const M: usize>(
    simd: S,
    x: &[[f32; STRIDE]],
    panel: &[f32],
    bias: [S::f32s; VECTORS],
    ending: Ending,
    columns: std::ops::Range<usize>,
    y: &mut [&mut [f32]],
) {
    let Some(x) = x.first_chunk::<M>() else { return };
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; M];
    let (weights, _) = S::as_simd_f32s(panel).0.as_chunks::<VECTORS>();
    // Where the results go, which is hardly ever in the cache.
    for y in y.iter() {
        prefetch(y[columns.clone()].as_ptr());
        prefetch(y[columns.end - 1..].as_ptr());
    }
    for (column, weights) in weights.iter().enumerate().take(RUN) {
        prefetch_behind(weights);
        let weights = *weights;
        for row in 0..M {
            let x = simd.splat_f32s(x[row][column]);
            for vector in 0..VECTORS {
                sums[row][vector] = mul_add(simd, x, weights[vector], sums[row][vector]);
            }
        }
    }
    for row in 0..M {
        let y = &mut y[row][columns.clone()];
        let (whole, rest) = S::as_mut_simd_f32s(y);
        for vector in 0..VECTORS {
            if let Some(y) = whole.get_mut(vector) {
                let before = if ending.is_first { bias[vector] } else { *y };
                *y = simd.add_f32s(sums[row][vector], before);
            } else if vector == whole.len() {
                let before =
                    if ending.is_first { bias[vector] } else { simd.partial_load_f32s(rest) };
                simd.partial_store_f32s(rest, simd.add_f32s(sums[row][vector], before));
            }
        }
    }
    if ending.gelu {
        for y in y {
            let (whole, rest) = S::as_mut_simd_f32s(&mut y[columns.clone()]);
            whole.iter_mut().for_each(|y| *y = gelu(simd, *y));
            let last = simd.partial_load_f32s(rest);
            simd.partial_store_f32s(rest, gelu(simd, last));
        }
    }
}

/// Numbers for the lanes of a panel, and zeros behind them.
#[inline(always)]
fn vectors<S: Simd>(simd: S, numbers: &[f32]) -> [S::f32s; VECTORS] {
    let (whole, rest) = S::as_simd_f32s(numbers);
    let mut vectors = [simd.splat_f32s(0.0); VECTORS];
    vectors.iter_mut().zip(whole).for_each(|(vector, &whole)| *vector = whole);
    if let Some(vector) = vectors.get_mut(whole.len()) {
        *vector = simd.partial_load_f32s(rest);
    }
    vectors
}
