//! How alike vectors are: cosine, dot product, Euclidean and Manhattan distance, with the signs of
//! sentence-transformers, so that a greater score always means more alike.

mod kernel;
mod top_k;

use std::borrow::Cow;

use kernel::{ROWS_TOGETHER, Scorer, Sink};
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis};
use pulp::Simd;
pub use top_k::{Hit, similarity_top_k};

use crate::error::{Result, error};
use crate::kernels::simd::ARCH;
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
    check_widths(a, b)?;
    if scores.dim() != (a.nrows(), b.nrows()) {
        return Err(error!(
            InvalidArgument,
            "scores are {:?}: expected {:?}",
            scores.dim(),
            (a.nrows(), b.nrows())
        ));
    }
    let threads = threads_for(a, b, threads);
    // The shorter side is arranged for the kernel, and the longer one is divided among threads.
    let (a, b) = if a.nrows() <= b.nrows() {
        (a, b)
    } else {
        scores = scores.reversed_axes();
        (b, a)
    };
    for (a, mut scores) in a
        .axis_chunks_iter(Axis(0), ROWS_TOGETHER)
        .zip(scores.axis_chunks_iter_mut(Axis(0), ROWS_TOGETHER))
    {
        let scorer = Scorer::of(metric, a);
        let block = scorer.block_rows();
        let parts =
            b.axis_chunks_iter(Axis(0), block).zip(scores.axis_chunks_iter_mut(Axis(1), block));
        parallel::for_each(threads, parts, |(rows, mut scores)| {
            let mut lines = Array2::zeros((rows.nrows(), a.nrows()));
            scorer.score(rows, 0, &mut lines);
            scores.assign(&lines.t());
        });
    }
    Ok(())
}

/// A line for each row of the second matrix, so that lanes lie side by side.
impl Sink for Array2<f32> {
    #[inline(always)]
    fn take<S: Simd, const W: usize>(
        &mut self,
        simd: S,
        first: usize,
        row: usize,
        scores: &[[S::f32s; W]],
    ) {
        let lanes = self.ncols();
        let Some(numbers) = self.as_slice_mut() else { return };
        for (line, scores) in numbers[row * lanes..].chunks_exact_mut(lanes).zip(scores) {
            for (lanes, &scores) in line[first..].chunks_mut(S::F32_LANES).zip(scores) {
                simd.partial_store_f32s(lanes, scores);
            }
        }
    }
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
        *score = compare(metric, &end_to_end(a), &end_to_end(b));
    }
    Ok(())
}

fn compare(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    ARCH.dispatch(
        #[inline(always)]
        || match metric {
            Metric::Dot => sum(a, b, |a, b| a * b),
            Metric::Cosine => {
                let (mut a, mut b) = (a.to_vec(), b.to_vec());
                normalize(&mut a);
                normalize(&mut b);
                sum(&a, &b, |a, b| a * b)
            }
            Metric::Euclidean => -sum(a, b, |a, b| (a - b) * (a - b)).sqrt(),
            Metric::Manhattan => -sum(a, b, |a, b| (a - b).abs()),
        },
    )
}

/// A row as it lies, or a copy if its numbers lie apart, as in a matrix that was transposed.
fn end_to_end(row: ArrayView1<'_, f32>) -> Cow<'_, [f32]> {
    row.to_slice().map_or_else(|| row.to_vec().into(), Cow::Borrowed)
}

/// In lanes, which the compiler turns into vector instructions, and which keep the sum exact
/// enough.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<16>();
    let (b_lanes, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += term(a, b);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(&a, &b)| term(a, b)).sum();
    sums.iter().sum::<f32>() + rest
}

fn check_widths(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Result<()> {
    if a.ncols() == b.ncols() {
        return Ok(());
    }
    Err(error!(
        InvalidArgument,
        "rows of {} and of {} numbers cannot be compared",
        a.ncols(),
        b.ncols()
    ))
}

fn threads_for(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, most: usize) -> usize {
    let work = a.len().saturating_mul(b.nrows());
    most.clamp(1, 1 + work / THREAD_WORK_MIN)
}

#[cfg(test)]
mod tests;
