//! Scores of dense vectors: each row of a matrix with each row of another, or row by row.

mod few_rows;
mod many_rows;
mod order;
mod pairwise;
mod scorer;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use pulp::Simd;

use super::metric::Metric;
use super::shape::check_widths;
use crate::error::{Result, error};
use crate::parallel;

pub(super) use order::{LANES_MAX, ROWS_TOGETHER, Sink};
pub use pairwise::similarity_pairwise;
pub(super) use scorer::Scorer;

/// Multiplications that take as long as starting a thread.
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
    // The shorter matrix gets the layout of a kernel, and the longer one is divided among threads.
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
        let scorer = Scorer::new(metric, a);
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

/// The scores of each row of the second matrix are a row, so that lanes lie side by side.
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

pub(super) fn threads_for(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, most: usize) -> usize {
    let work = a.len().saturating_mul(b.nrows());
    most.clamp(1, 1 + work / THREAD_WORK_MIN)
}
