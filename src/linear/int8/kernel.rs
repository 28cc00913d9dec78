//! Which instructions multiply, and the walk over a block that all of them share.

use std::sync::LazyLock;

use super::activations::Row;
use super::epilogue::finish;
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Activation, portable};
use crate::attention::vectorize;
use crate::gelu::Gelu;
use crate::linear::Ahead;

/// How a kernel wants its operands.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// The most rows of activations in a tile.
    pub rows: usize,
    /// The rows of the weight in a panel, which are columns of the result.
    pub columns: usize,
    /// How many elements along the sum are multiplied at once: they share a word.
    pub group: usize,
    /// The bits of a weight that are inverted: the highest, where the kernel adds 128 to each.
    pub flip: u8,
}

/// A way to multiply that this processor has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
    #[cfg(target_arch = "x86_64")]
    Vnni(x86::Vnni),
}

impl Kernel {
    /// How many there are for this kind of processor.
    #[cfg(test)]
    pub(super) const COUNT: usize = if cfg!(target_arch = "x86_64") { 4 } else { 1 };

    /// All that this processor has, the fastest first.
    pub(super) fn available() -> Vec<Self> {
        let mut kernels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(x86::Vnni::detect().map(Self::Vnni));
            kernels.extend(x86::Avx512::detect().map(Self::Avx512));
            kernels.extend(x86::Avx2::detect().map(Self::Avx2));
        }
        kernels.push(Self::Portable);
        kernels
    }

    /// The fastest one.
    pub(in crate::linear) fn of_this_processor() -> Self {
        static KERNEL: LazyLock<Kernel> =
            LazyLock::new(|| Kernel::available().into_iter().next().unwrap_or(Kernel::Portable));
        *KERNEL
    }

    /// How it packs a weight, in words that are part of the key of a file in `cache_dir`: other words
    /// have every file packed anew.
    pub fn packing(self) -> &'static str {
        match self {
            Self::Portable => "Portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "Avx2(Avx2(()))",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "Avx512(Avx512(()))",
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(_) => "Vnni(Vnni(()))",
        }
    }

    pub(super) fn shape(self) -> Shape {
        match self {
            Self::Portable => portable::SHAPE,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => x86::Avx2::SHAPE,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => x86::Avx512::SHAPE,
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(_) => x86::Vnni::SHAPE,
        }
    }

    pub(super) fn run(self, block: &mut Block<'_, '_>) {
        match self {
            Self::Portable => portable::run(block),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2.run(block),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(avx512) => avx512.run(block),
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(vnni) => vnni.run(block),
        }
    }
}

/// Rows of activations times panels of a weight.
pub(super) struct Block<'a, 'y> {
    /// Words that a row of activations has.
    pub inputs: usize,
    /// Of one row of activations after another.
    pub words: &'a [i32],
    pub rows: &'a [Row],
    pub panels: &'a [u8],
    /// Of the rows of the weight, as the bias.
    pub scales: &'a [f32],
    pub weight_sums: &'a [i32],
    pub bias: &'a [f32],
    pub activation: Activation,
    /// One slice for each row.
    pub y: &'a mut [&'y mut [f32]],
}

impl Block<'_, '_> {
    /// Calls `multiply` for every tile and panel: it gets the words of the tile's rows, these rows, the
    /// panel and what to ask for meanwhile, and writes a sum for each row and column.
    #[inline(always)]
    pub(super) fn run<const ROWS: usize, const COLUMNS: usize>(
        &mut self,
        group: usize,
        multiply: impl Fn(&[i32], &[Row], &[u8], Ahead, &mut [[i32; COLUMNS]; ROWS]),
    ) {
        let mut sums = [[0; COLUMNS]; ROWS];
        for column in (0..self.scales.len()).step_by(COLUMNS) {
            let width = COLUMNS.min(self.scales.len() - column);
            let columns = column..column + width;
            let scales = &self.scales[columns.clone()];
            let weight_sums = &self.weight_sums[columns.clone()];
            let bias = &self.bias[columns.clone()];
            let panel_len = COLUMNS * self.inputs * group;
            let panel = &self.panels[column / COLUMNS * panel_len..][..panel_len];
            let tiles = self.rows.len().div_ceil(ROWS);
            for (tile, rows) in self.rows.chunks(ROWS).enumerate() {
                let first = tile * ROWS;
                let ahead = Ahead::of(panel, self.inputs, tile, tiles);
                let words = &self.words[first * self.inputs..][..rows.len() * self.inputs];
                multiply(words, rows, panel, ahead, &mut sums);
                let y = &mut self.y[first..][..rows.len()];
                for ((row, sums), y) in rows.iter().zip(&sums).zip(&mut *y) {
                    let y = &mut y[columns.clone()];
                    finish(&sums[..width], *row, weight_sums, scales, bias, y);
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
pub(super) fn lines<const M: usize>(words: &[i32], width: usize) -> [&[i32]; M] {
    std::array::from_fn(|row| &words[row * width..][..width])
}
