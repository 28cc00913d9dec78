//! The walk over a block of a product, which all kernels share.

use super::dequantize::dequantize;
use super::quantize_rows::Row;
use crate::kernels::gelu::Gelu;
use crate::kernels::linear::prefetch_cursor::PrefetchCursor;
use crate::kernels::linear::product::Activation;
use crate::kernels::simd::vectorize;

/// The sizes of a kernel's tiles, and how it reads its operands.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// MR: the most rows of activations in a tile.
    pub mr: usize,
    /// NR: the rows of the weight in a panel, which are columns of the result.
    pub nr: usize,
    /// KR: the elements along the sum that are multiplied at once, which share a word.
    pub kr: usize,
    /// The bits of a weight that are inverted: the highest, where the kernel takes weights without
    /// a sign, with 128 added.
    pub sign_mask: u8,
}

/// Rows of activations times panels of a weight.
pub(super) struct Block<'a, 'y> {
    /// The words of a row of activations.
    pub inputs: usize,
    /// The words of one row of activations after another.
    pub words: &'a [i32],
    pub rows: &'a [Row],
    pub panels: &'a [u8],
    /// The scales of the rows of the weight; the sums and the bias are theirs, too.
    pub scales: &'a [f32],
    pub weight_sums: &'a [i32],
    pub bias: &'a [f32],
    pub activation: Activation,
    /// One slice for each row.
    pub y: &'a mut [&'y mut [f32]],
}

impl Block<'_, '_> {
    /// Calls `multiply` for every tile and panel, and dequantizes the sums. `multiply` gets the
    /// words of the tile's rows, these rows, the panel and what to prefetch, and writes a sum for
    /// each row and column.
    #[inline(always)]
    pub(super) fn for_each_tile<const MR: usize, const NR: usize>(
        &mut self,
        kr: usize,
        multiply: impl Fn(&[i32], &[Row], &[u8], PrefetchCursor, &mut [[i32; NR]; MR]),
    ) {
        let mut sums = [[0; NR]; MR];
        for column in (0..self.scales.len()).step_by(NR) {
            let width = NR.min(self.scales.len() - column);
            let columns = column..column + width;
            let scales = &self.scales[columns.clone()];
            let weight_sums = &self.weight_sums[columns.clone()];
            let bias = &self.bias[columns.clone()];
            let panel_len = NR * self.inputs * kr;
            let panel = &self.panels[column / NR * panel_len..][..panel_len];
            let tiles = self.rows.len().div_ceil(MR);
            for (tile, rows) in self.rows.chunks(MR).enumerate() {
                let first = tile * MR;
                let prefetched = PrefetchCursor::new(panel, self.inputs, tile, tiles);
                let words = &self.words[first * self.inputs..][..rows.len() * self.inputs];
                multiply(words, rows, panel, prefetched, &mut sums);
                let y = &mut self.y[first..][..rows.len()];
                for ((row, sums), y) in rows.iter().zip(&sums).zip(&mut *y) {
                    let y = &mut y[columns.clone()];
                    dequantize(&sums[..width], *row, weight_sums, scales, bias, y);
                }
                if self.activation == Activation::Gelu {
                    vectorize(Gelu { rows: y, columns: columns.clone() });
                }
            }
        }
    }
}

/// The words of each row of a tile.
#[inline(always)]
pub(super) fn words_of_rows<const M: usize>(words: &[i32], width: usize) -> [&[i32]; M] {
    std::array::from_fn(|row| &words[row * width..][..width])
}
