//! From exact sums to activations: scales and bias.
//!
//! Written once in plain multiplications and additions, which the compiler turns into the vectors
//! of each kernel, so that all kernels return the same bits.

use super::activations::Row;

/// Writes the activations of one row for as many outputs as `y` has.
#[inline(always)]
pub(super) fn finish(
    sums: &[i32],
    row: Row,
    weight_sums: &[i32],
    scales: &[f32],
    bias: &[f32],
    y: &mut [f32],
) {
    // The scale of the weight comes first: whatever the scale of the row is, only a result that
    // is itself too large overflows.
    let terms = sums.iter().zip(weight_sums).zip(scales).zip(bias);
    y.iter_mut().zip(terms).for_each(
        #[inline(always)]
        |(y, (((&sum, &weight_sum), scale), bias))| {
            // What the zero of the row, which is not 0, has added to the products.
            let sum = sum.wrapping_sub(row.zero.wrapping_mul(weight_sum));
            *y = sum as f32 * scale * row.scale + bias;
        },
    );
}
