//! Linear layers in 8-bit integers: weights quantized once, activations row by row.
//!
//! Every output channel of a weight has a scale of its own, and so has every row of activations.
//! The products are summed exactly, so that what comes out for a row depends on that row and the
//! weight only: not on the other rows, the number of threads, or the processor.

mod activations;
mod epilogue;
mod kernel;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

use std::ops::Range;

use super::{Activation, Cut, Panels, Part, Product, count_rows, parts_of, run_parts};
use crate::attention::ParallelFor;
use crate::memory;
use activations::Activations;
use kernel::Block;

pub(crate) use activations::quantize_row;
pub(super) use kernel::Kernel;

/// The largest magnitude of a quantized weight: -128 is left out, so that both signs are alike.
const LARGEST: f32 = 127.0;
/// From the least to the greatest quantized activation.
const STEPS: f32 = 255.0;
/// The most columns whose products surely fit a sum of 32 bits, and what is taken from it.
const COLUMNS_MAX: usize = (i32::MAX / (2 * 128 * 127)) as usize;
/// Activations of a block, whose rows are multiplied by one panel after another: small enough to
/// stay in the second cache level beside such a panel.
const BLOCK_ELEMENTS: usize = 1 << 16;
/// The least rows of a block, as far as there are so many: each block reads all of the weight.
const BLOCK_ROWS_MIN: usize = 48;

/// Activations that are quantized before they are multiplied: as many bytes are held, however long
/// a run is, and a thousand rows of the widest layer of bge-m3 are enough for all threads.
const STRETCH_ELEMENTS: usize = 1 << 22;

/// What the operands of a stretch take at most: two bytes for an activation where products are of
/// 16 bits, and as much again for where the results go and for the heap they come from.
pub(crate) const WORKING_BYTES: usize = 4 * STRETCH_ELEMENTS;

/// A linear layer's weight, quantized per output channel and packed for this processor.
///
/// The rows lie in panels. A panel holds, for each group of columns that the kernel multiplies at
/// once, these columns of all its rows.
pub(crate) struct PackedMatrix {
    pub(super) kernel: Kernel,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// One for each row; NaN where the row holds a number that is not finite.
    pub(super) scales: Vec<f32>,
    /// Of each row, the sum of its quantized numbers.
    pub(super) sums: Vec<i32>,
    /// What a row of activations is multiplied with, element by element, before it is quantized;
    /// empty for nothing.
    pub(super) factors: Vec<f32>,
    pub(super) panels: Panels,
    /// Why there is nothing to multiply by.
    pub(super) unusable: Option<String>,
}

pub(super) fn is_worth_it() -> bool {
    !matches!(Kernel::of_this_processor(), Kernel::Portable)
}

/// The bytes of all panels.
pub(super) fn panels_len(rows: usize, columns: usize) -> usize {
    panels_len_for(Kernel::of_this_processor(), rows, columns)
}

fn panels_len_for(kernel: Kernel, rows: usize, columns: usize) -> usize {
    let shape = kernel.shape();
    let padded = |count: usize, of: usize| count.div_ceil(of).saturating_mul(of);
    padded(rows, shape.columns).saturating_mul(padded(columns, shape.group))
}

impl PackedMatrix {
    /// `weight` holds `rows` (output channels) of `columns`, as PyTorch stores them.
    pub(super) fn quantize(weight: &[f32], rows: usize, columns: usize, panels: &mut [u8]) -> Self {
        Self::for_kernel(Kernel::of_this_processor(), weight, rows, columns, panels)
    }

    fn for_kernel(
        kernel: Kernel,
        weight: &[f32],
        rows: usize,
        columns: usize,
        panels: &mut [u8],
    ) -> Self {
        if let Some(why) = misfit(weight.len(), rows, columns) {
            return Self::unusable(kernel, rows, columns, why);
        }
        Self::pack(kernel, rows, columns, panels, |row, quantized| {
            quantize_row(&weight[row * columns..][..columns], quantized)
        })
    }

    /// What was quantized before: a scale for each row, and a factor for each column, which were
    /// divided by it when the rows were quantized.
    pub(super) fn stored(
        weight: &[i8],
        scales: &[f32],
        factors: Vec<f32>,
        panels: &mut [u8],
    ) -> Self {
        Self::stored_for(Kernel::of_this_processor(), weight, scales, factors, panels)
    }

    fn stored_for(
        kernel: Kernel,
        weight: &[i8],
        scales: &[f32],
        factors: Vec<f32>,
        panels: &mut [u8],
    ) -> Self {
        let (rows, columns) = (scales.len(), factors.len());
        if let Some(why) = misfit(weight.len(), rows, columns) {
            return Self::unusable(kernel, rows, columns, why);
        }
        let packed = Self::pack(kernel, rows, columns, panels, |row, quantized| {
            quantized.copy_from_slice(&weight[row * columns..][..columns]);
            scales[row]
        });
        Self { factors, ..packed }
    }

    fn unusable(kernel: Kernel, rows: usize, columns: usize, why: String) -> Self {
        Self {
            kernel,
            rows,
            columns,
            scales: Vec::new(),
            sums: Vec::new(),
            factors: Vec::new(),
            panels: Panels::default(),
            unusable: Some(why),
        }
    }

    /// `quantized_row` writes a row and returns its scale.
    fn pack(
        kernel: Kernel,
        rows: usize,
        columns: usize,
        panels: &mut [u8],
        mut quantized_row: impl FnMut(usize, &mut [i8]) -> f32,
    ) -> Self {
        let shape = kernel.shape();
        let padded = columns.next_multiple_of(shape.group);
        let panel_len = shape.columns * padded;
        let memory = (memory::zeros(rows), memory::zeros(rows), memory::zeros::<i8>(panel_len));
        let (Ok(mut scales), Ok(mut sums), Ok(mut quantized)) = memory else {
            return Self::unusable(kernel, rows, columns, "out of memory".into());
        };
        let bytes = panels.chunks_exact_mut(panel_len.max(1));
        let of_panels = scales.chunks_mut(shape.columns).zip(sums.chunks_mut(shape.columns));
        for (panel, ((scales, sums), bytes)) in of_panels.zip(bytes).enumerate() {
            let lines = quantized.chunks_exact_mut(padded.max(1));
            for (lane, ((scale, sum), line)) in scales.iter_mut().zip(sums).zip(lines).enumerate() {
                *scale = quantized_row(panel * shape.columns + lane, &mut line[..columns]);
                *sum = line[..columns].iter().map(|&element| i32::from(element)).sum();
            }
            // What is behind the last row of all is never looked at.
            let groups = bytes.chunks_exact_mut(shape.columns * shape.group);
            for (index, group) in groups.enumerate() {
                let lines = quantized.chunks_exact(padded);
                for (lane, line) in group.chunks_exact_mut(shape.group).zip(lines) {
                    let elements = &line[index * shape.group..][..shape.group];
                    for (byte, &element) in lane.iter_mut().zip(elements) {
                        *byte = element as u8 ^ shape.flip;
                    }
                }
            }
        }
        let (factors, panels) = (Vec::new(), Panels::default());
        Self { kernel, rows, columns, scales, sums, factors, panels, unusable: None }
    }

    /// Whether a row is quantized for this matrix as it is for another one.
    fn takes_rows_as(&self, other: &Self) -> bool {
        let group = |matrix: &Self| matrix.kernel.shape().group;
        (self.columns, group(self), &self.factors) == (other.columns, group(other), &other.factors)
    }

    fn panels(&self, range: Range<usize>) -> &[u8] {
        let shape = self.kernel.shape();
        let panel_len = shape.columns * self.columns.next_multiple_of(shape.group);
        &self.panels.bytes()[range.start * panel_len..range.end * panel_len]
    }
}

/// Why so many elements are no weight to multiply with.
fn misfit(elements: usize, rows: usize, columns: usize) -> Option<String> {
    if rows.checked_mul(columns) != Some(elements) {
        return Some(format!("a weight of {elements} elements, not {rows} x {columns}"));
    }
    (columns > COLUMNS_MAX)
        .then(|| format!("a weight of {columns} columns, the limit is {COLUMNS_MAX}"))
}

/// See [`super::linear`]. A row of x that holds a number that is not finite becomes a row of NaN, and a
/// row whose numbers and 0 lie nearer together than [`activations::SMALLEST`] says counts as zeros.
pub(super) fn linear(
    x: &[f32],
    mut products: Vec<Product<'_, PackedMatrix>>,
    parallel_for: &ParallelFor<'_>,
) -> Result<(), String> {
    // Those that want the same integers of a row share them.
    while let Some(first) = products.first().map(|product| product.matrix) {
        let (alike, others) =
            products.into_iter().partition(|product| product.matrix.takes_rows_as(first));
        products = others;
        linear_alike(x, first, alike, parallel_for)?;
    }
    Ok(())
}

/// By matrices that take rows as `first` does, which is one of them.
fn linear_alike(
    x: &[f32],
    first: &PackedMatrix,
    mut products: Vec<Product<'_, PackedMatrix>>,
    parallel_for: &ParallelFor<'_>,
) -> Result<(), String> {
    let inputs = first.columns;
    let mut counts = Vec::new();
    for Product { matrix, bias, y, .. } in &products {
        let shape = (matrix.rows, inputs);
        counts.push(count_rows(matrix.unusable.as_deref(), x, shape, bias, y)?);
    }
    let count = counts.first().copied().unwrap_or_default();
    if counts.iter().any(|&other| other != count) {
        // Without inputs, results alone tell it.
        return Err(format!("linear layer: results of {counts:?} rows"));
    }
    // Without inputs there is nothing to hold.
    let stretch = STRETCH_ELEMENTS.checked_div(inputs).map_or(count, |rows| rows.max(1));
    let group = first.kernel.shape().group;
    for start in (0..count).step_by(stretch.max(1)) {
        let rows = start..count.min(start + stretch);
        let x = &x[rows.start * inputs..rows.end * inputs];
        let activations =
            Activations::quantize(x, rows.len(), inputs, &first.factors, group, parallel_for)?;
        let of_stretch = products.iter_mut().map(|Product { matrix, bias, activation, y }| {
            let y = &mut y[rows.start * matrix.rows..rows.end * matrix.rows];
            Product { matrix: *matrix, bias, activation: *activation, y }
        });
        multiply(&activations, of_stretch, parallel_for)?;
    }
    Ok(())
}

fn multiply<'a>(
    activations: &Activations,
    products: impl Iterator<Item = Product<'a, PackedMatrix>>,
    parallel_for: &ParallelFor<'_>,
) -> Result<(), String> {
    let mut parts = Vec::new();
    for Product { matrix, bias, activation, y } in products {
        if y.is_empty() {
            continue;
        }
        let (inputs, outputs) = (matrix.columns, matrix.rows);
        let shape = matrix.kernel.shape();
        let block_rows = (BLOCK_ELEMENTS / inputs.max(1)).max(BLOCK_ROWS_MIN);
        let cut = Cut {
            rows: block_rows.next_multiple_of(shape.rows),
            tile: shape.rows,
            panel: shape.columns,
            products: 1 << 21,
            parts: 256,
            panels: 1,
        };
        let of_matrix = parts_of(y, (outputs, inputs), cut).into_iter();
        parts.extend(of_matrix.map(|part| (matrix, bias, activation, part)));
    }
    run_parts(parts, parallel_for, |(matrix, bias, activation, Part { rows, columns, mut y })| {
        let shape = matrix.kernel.shape();
        let panels = columns.start / shape.columns..columns.end.div_ceil(shape.columns);
        matrix.kernel.run(&mut Block {
            inputs: matrix.columns.div_ceil(shape.group),
            words: activations.words(rows.clone()),
            rows: &activations.rows[rows],
            panels: matrix.panels(panels),
            scales: &matrix.scales[columns.clone()],
            weight_sums: &matrix.sums[columns.clone()],
            bias: &bias[columns],
            activation,
            y: &mut y,
        });
        Some(())
    })
}
