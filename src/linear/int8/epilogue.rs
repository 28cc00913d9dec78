//! From exact sums to activations: scales, bias and GELU.
//!
//! Written once in plain multiplications and additions, which the compiler turns into the vectors
//! of each kernel, so that all kernels return the same bits.

use super::Activation;
use super::activations::Row;

/// Writes the activations of one row for as many outputs as `y` has.
#[inline(always)]
pub(super) fn finish(
    sums: &[i32],
    row: Row,
    weight_sums: &[i32],
    scales: &[f32],
    bias: &[f32],
    activation: Activation,
    y: &mut [f32],
) {
    // The scale of the weight comes first: whatever the scale of the row is, only a result that
    // is itself too large overflows.
    let terms = sums.iter().zip(weight_sums).zip(scales).zip(bias);
    let linear = terms.map(
        #[inline(always)]
        |(((&sum, &weight_sum), scale), bias)| {
            // What the zero of the row, which is not 0, has added to the products.
            let sum = sum.wrapping_sub(row.zero.wrapping_mul(weight_sum));
            sum as f32 * scale * row.scale + bias
        },
    );
    match activation {
        Activation::None => y.iter_mut().zip(linear).for_each(
            #[inline(always)]
            |(y, x)| *y = x,
        ),
        Activation::Gelu => y.iter_mut().zip(linear).for_each(
            #[inline(always)]
            |(y, x)| *y = gelu(x),
        ),
    }
}

#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function to within 5e-7, and ±1 exactly where that is the nearest number.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    // The minimax rational approximation on [-4, 4] that Eigen and XLA use.
    const NUMERATOR: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_5e-5,
        -7.349_906e-4,
        -2.954_6e-3,
        -1.609_603_4e-2,
    ];
    const DENOMINATOR: [f32; 5] =
        [-1.456_607_2e-5, -2.133_740_5e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    /// From here on the nearest number to the error function is 1.
    const ONE: f32 = 3.832_507;
    let square = x * x;
    let polynomial = |coefficients: &[f32]| {
        let (&first, rest) = coefficients.split_first().unwrap_or((&0.0, &[]));
        rest.iter().fold(first, |sum, coefficient| sum * square + coefficient)
    };
    let quotient = x * polynomial(&NUMERATOR) / polynomial(&DENOMINATOR);
    // False for NaN, which stays NaN.
    if x.abs() >= ONE { 1.0_f32.copysign(x) } else { quotient }
}
