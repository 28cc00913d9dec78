//! Tiles of the product, in the registers of whatever vectors there are.

use pulp::{Simd, WithSimd};

use super::{STRIDE, VECTORS};
use crate::attention::{mul_add, prefetch};
use crate::gelu::Gelu;
use crate::linear::{Activation, Ahead};

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
    /// Room for each row's part in a run. None: rows are read where they are.
    pub scratch: &'a mut [f32],
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
            for (row, x) in scratch.chunks_exact_mut(STRIDE).zip(x.chunks_exact(inputs)) {
                row[..length].copy_from_slice(&x[start..start + length]);
            }
            let (x, stride) =
                if scratch.is_empty() { (&x[start..], inputs) } else { (&*scratch, STRIDE) };
            let (is_first, is_last) = (index == 0, index == last);
            let panels = panels.chunks_exact(length * width);
            for ((first, panel), bias) in (0..).step_by(width).zip(panels).zip(bias.chunks(width)) {
                let count = bias.len();
                let tiles = y.len().div_ceil(height);
                let tiles_of = x.chunks(height * stride).zip(y.chunks_mut(height));
                for (tile, (x, y)) in tiles_of.enumerate() {
                    let bias = is_first.then_some(bias);
                    let ahead = Ahead::of(panel, length, tile, tiles);
                    let tile = Tile { x, stride, panel, ahead, bias, first, y: &mut *y };
                    if count == width {
                        multiply(simd, tile);
                    } else {
                        multiply_some(simd, count, tile);
                    }
                    if is_last && activation == Activation::Gelu {
                        simd.vectorize(Gelu { columns: first..first + count, rows: y });
                    }
                }
            }
        }
    }
}

/// Some rows of activations times a panel.
struct Tile<'a, 'y> {
    x: &'a [f32],
    /// From one row to the next one.
    stride: usize,
    panel: &'a [f32],
    ahead: Ahead,
    /// What the sums are added to: this for each row, or else what is in the row already.
    bias: Option<&'a [f32]>,
    /// The first column that is written.
    first: usize,
    y: &'a mut [&'y mut [f32]],
}

/// Multiplies where only some of a panel's columns are there, in other memory.
#[inline(always)]
fn multiply_some<S: Simd>(simd: S, count: usize, tile: Tile<'_, '_>) {
    const WIDTH: usize = VECTORS * 16;
    let (mut whole_bias, mut whole_y) = ([0.0; WIDTH], [[0.0; WIDTH]; ROWS]);
    let Tile { first, bias, y, .. } = tile;
    for (whole, y) in whole_y.iter_mut().zip(&*y) {
        whole[..count].copy_from_slice(&y[first..][..count]);
    }
    let bias = bias.map(|bias| {
        whole_bias[..count].copy_from_slice(bias);
        &whole_bias[..]
    });
    let mut rows = whole_y.each_mut().map(|row| &mut row[..]);
    multiply(simd, Tile { bias, first: 0, y: &mut rows[..y.len()], ..tile });
    for (y, whole) in y.iter_mut().zip(&whole_y) {
        y[first..][..count].copy_from_slice(&whole[..count]);
    }
}

/// Runs a tile by its height.
#[inline(always)]
fn multiply<S: Simd>(simd: S, tile: Tile<'_, '_>) {
    macro_rules! by_height {
        ($($height:literal)*) => {
            match tile.y.len() {
                $($height => simd.vectorize(Height::<$height>(tile)),)*
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

/// A [`Tile`] of `M` rows.
struct Height<'a, 'y, const M: usize>(Tile<'a, 'y>);

impl<const M: usize> WithSimd for Height<'_, '_, M> {
    type Output = ();

    #[expect(clippy::needless_range_loop, reason = "what iterators lend leaves registers")]
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tile { x, stride, panel, ahead, bias, first, y } = self.0;
        let (weights, _) = S::as_simd_f32s(panel).0.as_chunks::<VECTORS>();
        assert!(x.len() >= (M - 1) * stride + weights.len(), "rows end too early");
        let columns = first..first + VECTORS * S::F32_LANES;
        // Where the results go, which is hardly ever in the cache.
        for y in y.iter() {
            prefetch(y[columns.clone()].as_ptr());
            prefetch(y[columns.end - 1..].as_ptr());
        }
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; M];
        for (column, weights) in weights.iter().enumerate() {
            ahead.ask(column, weights);
            let weights = *weights;
            for row in 0..M {
                // SAFETY: checked above. A check of each would take as long as the products.
                let x = simd.splat_f32s(unsafe { *x.get_unchecked(row * stride + column) });
                for vector in 0..VECTORS {
                    sums[row][vector] = mul_add(simd, x, weights[vector], sums[row][vector]);
                }
            }
        }
        let bias = bias.map(|bias| S::as_simd_f32s(bias).0);
        // The compiler does not unroll a loop of so much, and would put all sums in memory.
        macro_rules! rows {
            ($($row:literal)*) => {$(
                if $row < M {
                    let y = S::as_mut_simd_f32s(&mut y[$row][columns.clone()]).0;
                    for vector in 0..VECTORS {
                        let before = bias.map_or(y[vector], |bias| bias[vector]);
                        y[vector] = simd.add_f32s(sums[$row][vector], before);
                    }
                }
            )*};
        }
        rows!(0 1 2 3 4 5 6 7 8 9 10 11);
    }
}
