//! Linear layers in 32-bit floats.
//!
//! The columns of a weight are taken in runs. A run holds one panel after another, and a panel as
//! many rows as two vectors have lanes: the first column of all of them, then the second. So
//! whoever multiplies reads the weight from its beginning to its end. Each number of a result is
//! summed within a run first, and the sums of runs are added in their order.

mod kernel;

#[cfg(test)]
mod tests;

use pulp::{Simd, WithSimd, bytemuck};

use super::{Cut, Panels, Part, Product, count_rows, parts_of, run_parts};
use crate::attention::{ParallelFor, Scratch, vectorize};
use kernel::{Block, ROWS};

/// Vectors of sums for a row of a tile.
const VECTORS: usize = 2;
/// Columns of a run: few enough for a panel's part to stay in the second cache level, and a tile of
/// activations in the first.
const RUN: usize = 512;
/// From one row's part in a run to the next one's: no multiple of a large power of two, which would
/// put all rows of a tile to the same few places of the cache.
const STRIDE: usize = RUN + 16;
/// The most rows that are multiplied by one panel after another, whose parts in a run stay in the
/// second cache level: a multiple of the rows of a tile.
const BLOCK_ROWS: usize = 120;

/// A weight, or why there is nothing to multiply by.
#[derive(Default)]
pub(crate) struct PackedMatrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) panels: Panels,
    pub(super) unusable: Option<String>,
}

/// The rows of a panel.
fn width() -> usize {
    struct Width;
    impl WithSimd for Width {
        type Output = usize;

        fn with_simd<S: Simd>(self, _: S) -> usize {
            VECTORS * S::F32_LANES
        }
    }
    vectorize(Width)
}

/// The columns of a run, which are as many in each but the last.
fn run(columns: usize) -> usize {
    columns.div_ceil(columns.div_ceil(RUN))
}

/// With narrow vectors ONNX Runtime, whose kernels are written for each of them, is faster.
pub(super) fn is_worth_it() -> bool {
    cfg!(target_arch = "x86_64") && width() >= 16
}

/// All that the order of numbers in panels depends on.
pub(super) fn packing() -> [usize; 2] {
    [width(), RUN]
}

/// The bytes of all panels.
pub(super) fn panels_len(rows: usize, columns: usize) -> usize {
    let padded = rows.div_ceil(width()).saturating_mul(width());
    padded.saturating_mul(columns).saturating_mul(size_of::<f32>())
}

impl PackedMatrix {
    pub(super) fn pack(weight: &[f32], rows: usize, columns: usize, panels: &mut [u8]) -> Self {
        if weight.is_empty() || rows.checked_mul(columns) != Some(weight.len()) {
            let why = format!("a weight of {} elements, not {rows} x {columns}", weight.len());
            return Self { rows, columns, unusable: Some(why), ..Self::default() };
        }
        let width = width();
        let mut rest: &mut [f32] = bytemuck::cast_slice_mut(panels);
        for start in (0..columns).step_by(run(columns)) {
            let run = start..columns.min(start + run(columns));
            for first in (0..rows).step_by(width) {
                let (panel, behind) = std::mem::take(&mut rest).split_at_mut(width * run.len());
                rest = behind;
                let lanes = first..rows.min(first + width);
                for (lane, row) in lanes.enumerate() {
                    let row = &weight[row * columns..][run.clone()];
                    panel[lane..].iter_mut().step_by(width).zip(row).for_each(|(to, &x)| *to = x);
                }
            }
        }
        Self { rows, columns, ..Self::default() }
    }

    /// Of each run, the panels of some rows, which begin with a panel.
    fn runs(&self, rows: std::ops::Range<usize>) -> Vec<&[f32]> {
        let width = width();
        let padded = self.rows.next_multiple_of(width);
        let rows = rows.start..rows.end.next_multiple_of(width);
        let run = run(self.columns);
        let panels = |start: usize| {
            let columns = run.min(self.columns - start);
            &self.panels.floats()[start * padded..][rows.start * columns..rows.end * columns]
        };
        (0..self.columns).step_by(run).map(panels).collect()
    }
}

/// See [`super::linear`].
pub(super) fn linear(
    x: &[f32],
    products: Vec<Product<'_, PackedMatrix>>,
    parallel_for: &ParallelFor<'_>,
) -> Result<(), String> {
    let mut parts = Vec::new();
    for Product { matrix, bias, activation, y } in products {
        let shape @ (_, inputs) = (matrix.rows, matrix.columns);
        let count = count_rows(matrix.unusable.as_deref(), x, shape, bias, y)?;
        if y.is_empty() {
            continue;
        }
        // A part that copies rows has to be large, but for few rows that is little beside loading the
        // weight.
        let panels = match count > BLOCK_ROWS / 4 {
            true if copies_rows(inputs) => 12,
            true => 4,
            false => 1,
        };
        let panel = width();
        let cut = Cut { rows: BLOCK_ROWS, tile: ROWS, panel, products: 1 << 20, parts: 32, panels };
        let of_matrix = parts_of(y, shape, cut).into_iter();
        parts.extend(of_matrix.map(|part| (matrix, bias, activation, part)));
    }
    run_parts(parts, parallel_for, |(matrix, bias, activation, Part { rows, columns, mut y })| {
        Scratch::with(|scratch| {
            let inputs = matrix.columns;
            let copied = if copies_rows(inputs) { rows.len() } else { 0 };
            let Some([scratch]) = scratch.split([copied * STRIDE]) else { return };
            vectorize(Block {
                inputs,
                x: &x[rows.start * inputs..rows.end * inputs],
                runs: matrix.runs(columns.clone()),
                bias: &bias[columns],
                activation,
                y: &mut y,
                scratch,
            });
        })
    })
}

/// Rows at distances of 4 KB would all be in the same few places of the cache.
fn copies_rows(inputs: usize) -> bool {
    inputs.is_multiple_of(1024)
}
