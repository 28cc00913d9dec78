//! Scores of two matrices row by row, equal to the bit to those of the matrix of all scores.

use ndarray::{ArrayView1, ArrayView2};
use pulp::{Simd, WithSimd};

use super::few_rows::sum_of_pair;
use super::order::DIM_MIN;
use crate::error::{Result, error};
use crate::kernels::normalize::normalize;
use crate::kernels::simd::vectorize;
use crate::similarity::metric::{Difference, Metric, Product, SquaredDifference, Term, with_term};

/// Compares row i of `a` with row i of `b`, into `scores[i]`. The score is, bit by bit, that of
/// [`similarity`](crate::similarity()).
pub fn similarity_pairwise(
    metric: Metric,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    scores: &mut [f32],
) -> Result<()> {
    if a.dim() != b.dim() || scores.len() != a.nrows() {
        return Err(error!(
            InvalidArgument,
            "{:?} and {:?} into {} scores: expected equal shapes, and a score for each row",
            a.dim(),
            b.dim(),
            scores.len()
        ));
    }
    let normalizes = metric.normalizes();
    with_term!(metric, |term| vectorize(Pairs { a, b, normalizes, term, scores }));
    Ok(())
}

struct Pairs<'a, T> {
    a: ArrayView2<'a, f32>,
    b: ArrayView2<'a, f32>,
    normalizes: bool,
    term: T,
    scores: &'a mut [f32],
}

impl<T: Term> WithSimd for Pairs<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, b, normalizes, term, scores } = self;
        let (mut a_copy, mut b_copy) = (Vec::new(), Vec::new());
        for ((a, b), score) in a.rows().into_iter().zip(b.rows()).zip(scores) {
            let a = contiguous(a, normalizes, &mut a_copy);
            let b = contiguous(b, normalizes, &mut b_copy);
            let sum = if a.len() < DIM_MIN {
                single_sum(simd, a, b, term)
            } else {
                sum_of_pair(simd, a, b, term)
            };
            *score = first_lane(simd, term.finish(simd, simd.splat_f32s(sum)));
        }
    }
}

/// A row as it lies in memory, or a copy if it is strided or has to be scaled to length 1.
#[inline(always)]
fn contiguous<'a>(row: ArrayView1<'a, f32>, normalizes: bool, copy: &'a mut Vec<f32>) -> &'a [f32] {
    match row.to_slice() {
        Some(slice) if !normalizes => slice,
        _ => {
            copy.clear();
            copy.extend(row);
            if normalizes {
                normalize(copy);
            }
            copy
        }
    }
}

/// The sum of the terms in their order.
#[inline(always)]
fn single_sum<S: Simd>(simd: S, a: &[f32], b: &[f32], term: impl Term) -> f32 {
    let mut sum = simd.splat_f32s(0.0);
    for (&a, &b) in a.iter().zip(b) {
        sum = term.add(simd, simd.splat_f32s(a), simd.splat_f32s(b), sum);
    }
    // The matrix adds each partial sum to a total, which turns -0 into 0.
    0.0 + first_lane(simd, sum)
}

#[inline(always)]
fn first_lane<S: Simd>(simd: S, vector: S::f32s) -> f32 {
    let mut first = [0.0];
    simd.partial_store_f32s(&mut first, vector);
    first[0]
}
