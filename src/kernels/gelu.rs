//! GELU of rows plus a bias, in place: the rows between the two linear layers of a feed-forward
//! block are four times as long as the others, and the largest memory that a batch needs.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::parts::{ParallelFor, run_each};
use super::simd::{exp2, mul_add, vectorize};

/// Elements of a part: some ten microseconds of work, which pay for waking another thread.
const PART_ELEMENTS: usize = 1 << 15;

/// Replaces each x of `rows` by gelu(x + b), where b is the element of `bias` for its column:
/// z Φ(z), by the error function and not by tanh. `parallel_for` runs the independent parts.
///
/// # Errors
/// When the lengths do not fit together, or `parallel_for` did not run each part.
pub(crate) fn add_and_gelu(
    rows: &mut [f32],
    bias: &[f32],
    parallel_for: &ParallelFor<'_>,
) -> Result<(), String> {
    let width = bias.len();
    if width == 0 || !rows.len().is_multiple_of(width) {
        return Err(format!("gelu: rows of {} elements, a bias of {width}", rows.len()));
    }
    let part = (PART_ELEMENTS / width).max(1) * width;
    run_each("gelu", rows.chunks_mut(part), parallel_for, |rows| {
        vectorize(Part { rows, bias });
        Some(())
    })
}

struct Part<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (bias, bias_rest) = S::as_simd_f32s(self.bias);
        let bias_rest = simd.partial_load_f32s(bias_rest);
        for row in self.rows.chunks_exact_mut(self.bias.len()) {
            let (row, rest) = S::as_mut_simd_f32s(row);
            for (x, &bias) in row.iter_mut().zip(bias) {
                *x = gelu(simd, simd.add_f32s(*x, bias));
            }
            let x = simd.partial_load_f32s(rest);
            simd.partial_store_f32s(rest, gelu(simd, simd.add_f32s(x, bias_rest)));
        }
    }
}

/// Applies GELU to some columns of some rows, which a product has just written. It is a pass of its
/// own, since its constants would leave the micro-kernel too few registers for the sums of a tile.
pub(crate) struct Gelu<'a, 'y> {
    pub rows: &'a mut [&'y mut [f32]],
    pub columns: Range<usize>,
}

impl WithSimd for Gelu<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for row in self.rows {
            let (whole, rest) = S::as_mut_simd_f32s(&mut row[self.columns.clone()]);
            for x in whole {
                *x = gelu(simd, *x);
            }
            if !rest.is_empty() {
                let last = simd.partial_load_f32s(rest);
                simd.partial_store_f32s(rest, gelu(simd, last));
            }
        }
    }
}

/// x Φ(x), to within 1e-7 of |x|: max(x, 0) - |x| Φ(-|x|), of which the second part is a power of
/// two.
#[inline(always)]
fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// Minimax polynomial of log2(Φ(x)) for x ≤ 0, where errors count as much as Φ(x) is large. It
    /// falls on, beyond where that vanishes.
    const LOGARITHM: [f32; 8] = [
        -3.937_766e-5,
        -1.861_800_7e-4,
        1.369_368e-4,
        7.063_420_5e-3,
        5.249_618e-2,
        -4.592_082e-1,
        1.151_105_2,
        -1.0,
    ];
    // Minus its magnitude. NaN stays what it is in all that follows.
    let negative = simd.or_f32s(x, simd.splat_f32s(-0.0));
    let mut logarithm = simd.splat_f32s(-2.834_910_7e-6);
    for coefficient in LOGARITHM {
        logarithm = mul_add(simd, logarithm, negative, simd.splat_f32s(coefficient));
    }
    let half = simd.splat_f32s(0.5);
    let positive = mul_add(simd, simd.neg_f32s(half), negative, simd.mul_f32s(half, x));
    // Infinity times 0 would be NaN.
    let finite = simd.max_f32s(simd.splat_f32s(f32::MIN), negative);
    mul_add(simd, finite, exp2(simd, logarithm), positive)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::testing::in_order;

    fn expected(x: f32) -> f64 {
        let x = f64::from(x);
        0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
    }

    fn check(x: f32, y: f32) {
        let expected = expected(x);
        let near = 1e-7 * f64::from(x.abs()) + 1e-45;
        assert!((f64::from(y) - expected).abs() <= near, "gelu({x}) is {y} instead of {expected}");
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            width in prop_oneof![1..70_usize, Just(1536), Just(4096)],
            count in 0..20_usize,
            seed in prop::collection::vec(-12.0..12.0_f32, 64),
        ) {
            let number = |index: usize| seed[index % 64] + (index / 64 % 97) as f32 * 0.01;
            let bias: Vec<f32> = (0..width).map(|index| number(index * 7) * 0.1).collect();
            let before: Vec<f32> = (0..width * count).map(number).collect();
            let mut rows = before.clone();
            add_and_gelu(&mut rows, &bias, &in_order).unwrap();
            for (index, (&x, &y)) in before.iter().zip(&rows).enumerate() {
                check(x + bias[index % width], y);
            }
        }
    }

    #[test]
    fn is_exact_to_the_last_digits_everywhere() {
        let before: Vec<f32> = (-120_000..=120_000).map(|index| index as f32 * 1e-4).collect();
        let mut rows = before.clone();
        add_and_gelu(&mut rows, &vec![0.0; before.len()], &in_order).unwrap();
        before.iter().zip(&rows).for_each(|(&x, &y)| check(x, y));
    }

    #[test]
    fn a_number_has_the_same_result_at_every_place() {
        let mut rows = vec![0.7_f32; 3 * 53];
        add_and_gelu(&mut rows, &[0.1; 53], &in_order).unwrap();
        assert!(rows.iter().all(|y| y.to_bits() == rows[0].to_bits()));
    }

    #[test]
    fn what_is_not_finite_stays_so_and_extremes_do_not_become_so() {
        let mut rows = [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN, 1e20, -1e20, -0.0, 1e-40];
        add_and_gelu(&mut rows, &[0.0; 8], &in_order).unwrap();
        assert!(rows[0].is_nan());
        assert_eq!(rows[1..7], [f32::INFINITY, f32::MAX, 0.0, 1e20, 0.0, 0.0]);
        assert!((0.0..1e-39).contains(&rows[7]));
    }

    #[test]
    fn what_does_not_fit_or_is_left_out_is_an_error_and_nothing_runs_twice() {
        assert!(add_and_gelu(&mut [1.0; 7], &[0.0; 4], &in_order).is_err());
        assert!(add_and_gelu(&mut [1.0; 7], &[], &in_order).is_err());
        assert!(add_and_gelu(&mut [], &[0.0; 4], &in_order).is_ok());
        let never = |_: usize, _: &(dyn Fn(usize) + Sync)| {};
        assert!(add_and_gelu(&mut [1.0; 8], &[0.0; 4], &never).is_err());
        let twice = |count: usize, body: &(dyn Fn(usize) + Sync)| {
            (0..2 * count).for_each(|index| body(index / 2));
        };
        let (mut once, mut again) = ([1.0; 8], [1.0; 8]);
        add_and_gelu(&mut once, &[0.5; 4], &in_order).unwrap();
        add_and_gelu(&mut again, &[0.5; 4], &twice).unwrap();
        assert_eq!(once, again);
    }
}
