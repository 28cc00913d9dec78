//! Linear layers in 8-bit integers: weights quantized once, activations row by row.
//!
//! Every output channel of a weight has a scale of its own, and so has every row of activations.
//! The products are summed exactly, so that a row of the result depends on its row of activations
//! and the weight only: not on the other rows, the number of threads, or the processor.

mod block;
mod dequantize;
mod dispatch;
mod packed_matrix;
mod portable;
mod quantize_rows;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

use super::blocking::{Blocking, Part, divide};
use super::product::{KERNEL, Product, count_rows};
use crate::kernels::parts::{ParallelFor, run_each};
use block::Block;
use quantize_rows::Activations;

pub(crate) use dispatch::Kernel;
pub(crate) use packed_matrix::{PackedMatrix, panels_len};
pub(crate) use quantize_rows::quantize_row;

/// Activations of a block, whose rows are multiplied by one panel after another: few enough to stay
/// in the second cache level beside a panel.
const BLOCK_ELEMENTS: usize = 1 << 16;
/// Least MC: each block reads all of the weight.
const MC_MIN: usize = 48;

/// Activations that are quantized before they are multiplied. It bounds the memory of a batch, and
/// a thousand rows of the widest layer of bge-m3 are enough for all threads.
const CHUNK_ELEMENTS: usize = 1 << 22;

/// The most bytes that the operands of a chunk take: two bytes for an activation where products
/// have 16 bits, and as much again for the memory of the results and of the heap.
pub(crate) const WORKING_BYTES: usize = 4 * CHUNK_ELEMENTS;

/// Whether this processor has a kernel that is faster than products in floats.
pub(super) fn is_worth_it() -> bool {
    !matches!(Kernel::of_this_processor(), Kernel::Portable)
}

/// See [`super::linear`]. A row of x that holds a number that is not finite becomes a row of NaN,
/// and a row whose range with 0 is smaller than [`quantize_rows::SMALLEST`] allows counts as zeros.
pub(super) fn linear(
    x: &[f32],
    mut products: Vec<Product<'_, PackedMatrix>>,
    parallel_for: &ParallelFor<'_>,
) -> Result<(), String> {
    // Products that quantize rows to the same integers share them.
    while let Some(first) = products.first().map(|product| product.matrix) {
        let (sharing, others) =
            products.into_iter().partition(|product| product.matrix.shares_rows_with(first));
        products = others;
        linear_of_shared_rows(x, first, sharing, parallel_for)?;
    }
    Ok(())
}

/// Computes products that share the quantized rows of `first`, which is the matrix of one of them.
fn linear_of_shared_rows(
    x: &[f32],
    first: &PackedMatrix,
    mut products: Vec<Product<'_, PackedMatrix>>,
    parallel_for: &ParallelFor<'_>,
) -> Result<(), String> {
    let inputs = first.columns;
    let mut counts = Vec::new();
    for Product { matrix, bias, y, .. } in &products {
        let shape = (matrix.rows, inputs);
        counts.push(count_rows(x, shape, bias, y)?);
    }
    let count = counts.first().copied().unwrap_or_default();
    if counts.iter().any(|&other| other != count) {
        // Without inputs, only the results say how many rows there are.
        return Err(format!("linear layer: results of {counts:?} rows"));
    }
    // Without inputs there is nothing to quantize.
    let chunk = CHUNK_ELEMENTS.checked_div(inputs).map_or(count, |rows| rows.max(1));
    let kr = first.kernel.shape().kr;
    for start in (0..count).step_by(chunk.max(1)) {
        let rows = start..count.min(start + chunk);
        let x = &x[rows.start * inputs..rows.end * inputs];
        let activations =
            Activations::quantize(x, rows.len(), inputs, &first.factors, kr, parallel_for)?;
        let of_chunk = products.iter_mut().map(|Product { matrix, bias, activation, y }| {
            let y = &mut y[rows.start * matrix.rows..rows.end * matrix.rows];
            Product { matrix: *matrix, bias, activation: *activation, y }
        });
        multiply(&activations, of_chunk, parallel_for)?;
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
        let block_rows = (BLOCK_ELEMENTS / inputs.max(1)).max(MC_MIN);
        let blocking = Blocking {
            mc: block_rows.next_multiple_of(shape.mr),
            mr: shape.mr,
            nr: shape.nr,
            min_products: 1 << 21,
            max_parts: 256,
            min_panels: 1,
        };
        let of_matrix = divide(y, (outputs, inputs), blocking).into_iter();
        parts.extend(of_matrix.map(|part| (matrix, bias, activation, part)));
    }
    run_each(KERNEL, parts, parallel_for, |(matrix, bias, activation, part)| {
        let Part { rows, columns, mut y } = part;
        let shape = matrix.kernel.shape();
        let panels = columns.start / shape.nr..columns.end.div_ceil(shape.nr);
        matrix.kernel.run(&mut Block {
            inputs: matrix.columns.div_ceil(shape.kr),
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
