//! How alike vectors are: cosine, dot product, Euclidean and Manhattan distance, with the signs of
//! sentence-transformers, so that a greater score always means more alike.

use std::borrow::Cow;

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2, Axis, s};

use crate::error::{Result, error};
use crate::parallel;
use crate::pooling::normalize;

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The cosine of the angle, -1 to 1. A vector of length 0 scores 0.
    Cosine,
    /// The dot product.
    Dot,
    /// The Euclidean distance, negated.
    Euclidean,
    /// The Manhattan distance, negated.
    Manhattan,
}

impl Metric {
    /// As sentence-transformers calls it in `similarity_fn_name`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
            Self::Manhattan => "manhattan",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [Self::Cosine, Self::Dot, Self::Euclidean, Self::Manhattan];
        all.into_iter().find(|metric| metric.name() == name)
    }
}

/// Rows of these many are scaled at a time: enough for the matrix product to be fast, and little
/// enough memory for a million rows.
const BLOCK_ROWS: usize = 256;
/// Fewer multiplications than this are done before a second thread has started.
const THREAD_WORK_MIN: usize = 1 << 20;

/// Compares every row of `a` with every row of `b`; the score of `a[i]` and `b[j]` goes to
/// `scores[i, j]`. Uses at most `threads` threads.
pub fn similarity(
    metric: Metric,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    threads: usize,
    mut scores: ArrayViewMut2<'_, f32>,
) -> Result<()> {
    if a.ncols() != b.ncols() || scores.dim() != (a.nrows(), b.nrows()) {
        return Err(error!(
            InvalidArgument,
            "rows of {} and of {} numbers into scores of {:?}: expected equal rows into {:?}",
            a.ncols(),
            b.ncols(),
            scores.dim(),
            (a.nrows(), b.nrows())
        ));
    }
    let work = a.len().saturating_mul(b.nrows());
    let threads = threads.clamp(1, 1 + work / THREAD_WORK_MIN);
    // The longer side is divided, so that a single query uses all threads too.
    let divide_a = a.nrows() >= b.nrows();
    let rows_per_thread = a.nrows().max(b.nrows()).div_ceil(threads).max(1);
    let axis = Axis(if divide_a { 0 } else { 1 });
    let parts = scores.axis_chunks_iter_mut(axis, rows_per_thread).enumerate();
    parallel::for_each(threads, parts, |(index, part)| {
        let rows = index * rows_per_thread..index * rows_per_thread + part.len_of(axis);
        let (a, b) = if divide_a {
            (a.slice(s![rows, ..]), b.view())
        } else {
            (a.view(), b.slice(s![rows, ..]))
        };
        compare(metric, a, b, part);
    });
    Ok(())
}

/// Compares row i of `a` with row i of `b`, into `scores[i]`.
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
    for ((a, b), score) in a.rows().into_iter().zip(b.rows()).zip(scores) {
        let (a, b) = (a.insert_axis(Axis(0)), b.insert_axis(Axis(0)));
        let mut one = [0.0];
        compare(metric, a, b, ArrayViewMut2::from(std::slice::from_mut(&mut one)));
        *score = one[0];
    }
    Ok(())
}

fn compare(
    metric: Metric,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    mut scores: ArrayViewMut2<'_, f32>,
) {
    match metric {
        Metric::Dot => general_mat_mul(1.0, &a, &b.t(), 0.0, &mut scores),
        Metric::Cosine => cosine(a, b, scores),
        Metric::Euclidean => {
            by_distance(a, b, scores, |difference| difference * difference, f32::sqrt)
        }
        Metric::Manhattan => by_distance(a, b, scores, f32::abs, |sum| sum),
    }
}

fn cosine(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, mut scores: ArrayViewMut2<'_, f32>) {
    for (b, mut scores) in b
        .axis_chunks_iter(Axis(0), 4 * BLOCK_ROWS)
        .zip(scores.axis_chunks_iter_mut(Axis(1), 4 * BLOCK_ROWS))
    {
        let b = normalized(b);
        for (a, mut scores) in a
            .axis_chunks_iter(Axis(0), BLOCK_ROWS)
            .zip(scores.axis_chunks_iter_mut(Axis(0), BLOCK_ROWS))
        {
            general_mat_mul(1.0, &normalized(a), &b.t(), 0.0, &mut scores);
        }
    }
}

fn normalized(rows: ArrayView2<'_, f32>) -> ndarray::Array2<f32> {
    let mut rows = rows.as_standard_layout().into_owned();
    for mut row in rows.rows_mut() {
        if let Some(row) = row.as_slice_mut() {
            normalize(row);
        }
    }
    rows
}

fn by_distance(
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    mut scores: ArrayViewMut2<'_, f32>,
    term: impl Fn(f32) -> f32 + Copy,
    finish: impl Fn(f32) -> f32 + Copy,
) {
    let arch = pulp::Arch::new();
    for (a, mut scores) in a.rows().into_iter().zip(scores.rows_mut()) {
        let a = end_to_end(a);
        for (b, score) in b.rows().into_iter().zip(scores.iter_mut()) {
            let b = end_to_end(b);
            *score = -finish(arch.dispatch(
                #[inline(always)]
                || sum_of_differences(&a, &b, term),
            ));
        }
    }
}

/// A row as it lies, or a copy if its numbers lie apart, as in a matrix that was transposed.
fn end_to_end(row: ArrayView1<'_, f32>) -> Cow<'_, [f32]> {
    row.to_slice().map_or_else(|| row.to_vec().into(), Cow::Borrowed)
}

/// In lanes, which the compiler turns into vector instructions, and which keep the sum exact
/// enough.
#[inline(always)]
fn sum_of_differences(a: &[f32], b: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_lanes.remainder(), b_lanes.remainder());
    for (a, b) in a_lanes.zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane] - b[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| term(a - b)).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn rows_may_lie_apart_in_every_metric() {
        let transposed = Array2::from_shape_fn((5, 3), |(i, j)| (i * 3 + j * j) as f32 - 4.0);
        let rows = transposed.t();
        let end_to_end = rows.as_standard_layout().into_owned();
        for metric in [Metric::Cosine, Metric::Dot, Metric::Euclidean, Metric::Manhattan] {
            let scores = |rows: ArrayView2<'_, f32>| {
                let mut scores = Array2::from_elem((3, 3), f32::NAN);
                similarity(metric, rows, rows, 1, scores.view_mut()).unwrap();
                scores
            };
            let (apart, expected) = (scores(rows), scores(end_to_end.view()));
            for (apart, expected) in apart.iter().zip(&expected) {
                assert!((apart - expected).abs() <= 1e-5, "{metric:?}: {apart}, not {expected}");
            }
        }
    }
}
