//! The micro-kernel: tiles of the product in registers, for vectors of any width.

use pulp::{Simd, WithSimd};

use super::blocking::{NR_VECTORS, ROW_STRIDE, kc};
use crate::kernels::gelu::Gelu;
use crate::kernels::linear::prefetch_cursor::PrefetchCursor;
use crate::kernels::linear::product::Activation;
use crate::kernels::simd::{mul_add, prefetch};

/// MR: the most rows of a tile on a processor with 32 vector registers. Besides a sum for each row
/// and vector, registers are left for the weights and an activation.
pub(super) const MR: usize = 12;
/// MR on a processor with 16 vector registers.
const MR_OF_16_REGISTERS: usize = 6;

/// Some rows of activations times some panels of a weight.
pub(super) struct Block<'a, 'y> {
    pub inputs: usize,
    pub x: &'a [f32],
    /// The panels of each step along the sum.
    pub steps: Vec<&'a [f32]>,
    /// An element for each row of the weight that lies in the panels.
    pub bias: &'a [f32],
    pub activation: Activation,
    /// One slice for each row.
    pub y: &'a mut [&'y mut [f32]],
    /// Memory for the elements of each row in a step. If it is empty, rows are read where they are.
    pub scratch: &'a mut [f32],
}

impl WithSimd for Block<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { inputs, x, steps, bias, activation, y, scratch } = self;
        let nr = NR_VECTORS * S::F32_LANES;
        let most = if S::REGISTER_COUNT >= 32 { MR } else { MR_OF_16_REGISTERS };
        // Tiles of about equal heights, since a low one loads as many weights as a high one.
        let height = y.len().div_ceil(y.len().div_ceil(most));
        let last = steps.len() - 1;
        let kc = kc(inputs);
        for (index, panels) in steps.iter().enumerate() {
            let start = index * kc;
            let length = kc.min(inputs - start);
            for (row, x) in scratch.chunks_exact_mut(ROW_STRIDE).zip(x.chunks_exact(inputs)) {
                row[..length].copy_from_slice(&x[start..start + length]);
            }
            let (x, stride) =
                if scratch.is_empty() { (&x[start..], inputs) } else { (&*scratch, ROW_STRIDE) };
            let (is_first, is_last) = (index == 0, index == last);
            let panels = panels.chunks_exact(length * nr);
            for ((first, panel), bias) in (0..).step_by(nr).zip(panels).zip(bias.chunks(nr)) {
                let count = bias.len();
                let tiles = y.len().div_ceil(height);
                let tiles_of = x.chunks(height * stride).zip(y.chunks_mut(height));
                for (tile, (x, y)) in tiles_of.enumerate() {
                    let bias = is_first.then_some(bias);
                    let prefetched = PrefetchCursor::new(panel, length, tile, tiles);
                    let tile = Tile { x, stride, panel, prefetched, bias, first, y: &mut *y };
                    if count == nr {
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
    prefetched: PrefetchCursor,
    /// The sums are added to this, or else to the sums of earlier steps that are in the row
    /// already.
    bias: Option<&'a [f32]>,
    /// The first column that is written.
    first: usize,
    y: &'a mut [&'y mut [f32]],
}

/// Multiplies the last panel if it has fewer than NR columns, by way of memory for a whole one.
#[inline(always)]
fn multiply_some<S: Simd>(simd: S, count: usize, tile: Tile<'_, '_>) {
    const WIDTH: usize = NR_VECTORS * 16;
    let (mut whole_bias, mut whole_y) = ([0.0; WIDTH], [[0.0; WIDTH]; MR]);
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

/// Multiplies a tile by the code for its height.
#[inline(always)]
fn multiply<S: Simd>(simd: S, tile: Tile<'_, '_>) {
    macro_rules! by_height {
        ($($height:literal)*) => {
            match tile.y.len() {
                $($height => simd.vectorize(TileOf::<$height>(tile)),)*
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

/// A [`Tile`] of exactly `M` rows.
struct TileOf<'a, 'y, const M: usize>(Tile<'a, 'y>);

impl<const M: usize> WithSimd for TileOf<'_, '_, M> {
    type Output = ();

    #[expect(clippy::needless_range_loop, reason = "with iterators the sums leave the registers")]
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tile { x, stride, panel, prefetched, bias, first, y } = self.0;
        let (weights, _) = S::as_simd_f32s(panel).0.as_chunks::<NR_VECTORS>();
        assert!(x.len() >= (M - 1) * stride + weights.len(), "rows end too early");
        let columns = first..first + NR_VECTORS * S::F32_LANES;
        // The memory of the results is hardly ever in the cache.
        for y in y.iter() {
            prefetch(y[columns.clone()].as_ptr());
            prefetch(y[columns.end - 1..].as_ptr());
        }
        let mut sums = [[simd.splat_f32s(0.0); NR_VECTORS]; M];
        for (column, weights) in weights.iter().enumerate() {
            prefetched.prefetch(column, weights);
            let weights = *weights;
            for row in 0..M {
                // SAFETY: the assertion above covers every index. A check of each would take as
                // long as the products.
                let x = simd.splat_f32s(unsafe { *x.get_unchecked(row * stride + column) });
                for vector in 0..NR_VECTORS {
                    sums[row][vector] = mul_add(simd, x, weights[vector], sums[row][vector]);
                }
            }
        }
        let bias = bias.map(|bias| S::as_simd_f32s(bias).0);
        // Unrolled by hand: the compiler does not unroll a loop this long, and would keep the sums
        // in memory.
        macro_rules! rows {
            ($($row:literal)*) => {$(
                if $row < M {
                    let y = S::as_mut_simd_f32s(&mut y[$row][columns.clone()]).0;
                    for vector in 0..NR_VECTORS {
                        let before = bias.map_or(y[vector], |bias| bias[vector]);
                        y[vector] = simd.add_f32s(sums[$row][vector], before);
                    }
                }
            )*};
        }
        rows!(0 1 2 3 4 5 6 7 8 9 10 11);
    }
}
