//! The epilogue: exact integer sums to activations, by scales and bias.
//!
//! Written once in plain multiplications and additions, which the compiler turns into the vectors
//! of each kernel, so that all kernels return the same bits.

use super::quantize_rows::Row;

/// Writes the activations of one row for as many outputs as `y` has.
#[inline(always)]
pub(super) fn dequantize(
    sums: &[i32],
    row: Row,
    weight_sums: &[i32],
    scales: &[f32],
    bias: &[f32],
    y: &mut [f32],
) {
    // The scale of the weight is multiplied first: then only a result that is itself too large
    // overflows, whatever the scale of the row.
    let terms = sums.iter().zip(weight_sums).zip(scales).zip(bias);
    y.iter_mut().zip(terms).for_each(
        #[inline(always)]
        |(y, (((&sum, &weight_sum), scale), bias))| {
            // The zero of the row is not 0: its contribution to the products is subtracted.
            let sum = sum.wrapping_sub(row.zero.wrapping_mul(weight_sum));
            *y = sum as f32 * scale * row.scale + bias;
        },
    );
}
