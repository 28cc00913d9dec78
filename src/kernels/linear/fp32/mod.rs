//! Linear layers in 32-bit floats.
//!
//! Each number of a result is summed within a step of KC columns first, and the sums of steps are
//! added in their order.

mod blocking;
mod microkernel;
mod packed_matrix;

#[cfg(test)]
mod tests;

use super::blocking::{Blocking, Part, divide};
use super::product::{KERNEL, Product, count_rows};
use crate::kernels::parts::{ParallelFor, run_each};
use crate::kernels::simd::{Scratch, vectorize};
use blocking::{MC, ROW_STRIDE, copies_rows, nr};
use microkernel::{Block, MR};

pub(crate) use packed_matrix::{PackedMatrix, packing, panels_len};

/// Whether this processor's vectors are wide enough: with narrow ones ONNX Runtime, whose kernels
/// are written for each of them, is faster.
pub(super) fn is_worth_it() -> bool {
    cfg!(target_arch = "x86_64") && nr() >= 16
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
        let count = count_rows(x, shape, bias, y)?;
        if y.is_empty() {
            continue;
        }
        // Copying rows pays in large parts only. For few rows it costs little beside loading the
        // weight.
        let min_panels = match count > MC / 4 {
            true if copies_rows(inputs) => 12,
            true => 4,
            false => 1,
        };
        let (min_products, max_parts) = (1 << 20, 32);
        let blocking = Blocking { mc: MC, mr: MR, nr: nr(), min_products, max_parts, min_panels };
        let of_matrix = divide(y, shape, blocking).into_iter();
        parts.extend(of_matrix.map(|part| (matrix, bias, activation, part)));
    }
    run_each(KERNEL, parts, parallel_for, |(matrix, bias, activation, part)| {
        let Part { rows, columns, mut y } = part;
        Scratch::with(|scratch| {
            let inputs = matrix.columns;
            let copied = if copies_rows(inputs) { rows.len() } else { 0 };
            let Some([scratch]) = scratch.split([copied * ROW_STRIDE]) else { return };
            vectorize(Block {
                inputs,
                x: &x[rows.start * inputs..rows.end * inputs],
                steps: matrix.steps(columns.clone()),
                bias: &bias[columns],
                activation,
                y: &mut y,
                scratch,
            });
        })
    })
}
