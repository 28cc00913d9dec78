//! The rows of a corpus that are most similar to each query, without a matrix of all scores.

use std::array::from_fn;
use std::cmp::Ordering;

use ndarray::{ArrayView2, Axis};
use pulp::Simd;

use super::dense::{LANES_MAX, ROWS_TOGETHER, Scorer, Sink, threads_for};
use super::metric::Metric;
use super::shape::check_widths;
use crate::error::Result;
use crate::parallel;

/// A row of a corpus, and its score with a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The index of the row in the corpus.
    pub row: usize,
    /// A greater score means more similar.
    pub score: f32,
}

/// For each row of `queries`, the `k` most similar rows of `corpus`, best first, and of equal
/// scores the row with the least index; all rows, if there are fewer. A score that is NaN is never
/// a hit. The scores are, bit by bit, those of [`similarity`](crate::similarity()).
///
/// Uses at most `threads` threads. Beside the hits it takes the memory of 1024 queries twice, and
/// on each thread that of `4 * k` hits for each of them and 0.9 MB.
pub fn similarity_top_k(
    metric: Metric,
    queries: ArrayView2<'_, f32>,
    corpus: ArrayView2<'_, f32>,
    k: usize,
    threads: usize,
) -> Result<Vec<Vec<Hit>>> {
    check_widths(queries, corpus)?;
    let k = k.min(corpus.nrows());
    if k == 0 {
        return Ok(vec![Vec::new(); queries.nrows()]);
    }
    let threads = threads_for(queries, corpus, threads);
    let mut hits = Vec::with_capacity(queries.nrows());
    for queries in queries.axis_chunks_iter(Axis(0), ROWS_TOGETHER) {
        let scorer = Scorer::new(metric, queries);
        let block = scorer.block_rows();
        let blocks = corpus.axis_chunks_iter(Axis(0), block).enumerate();
        let all = || Best::new(queries.nrows(), k);
        let mut of_threads = parallel::fold(threads, blocks, all, |best, (index, rows)| {
            scorer.score(rows, index * block, best);
        });
        let mut best = of_threads.pop().unwrap_or_else(all);
        for other in of_threads {
            best.merge(other);
        }
        hits.extend(best.hits());
    }
    Ok(hits)
}

/// Orders hits by descending score, and equal scores by row.
fn by_rank(a: &Hit, b: &Hit) -> Ordering {
    b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal).then(a.row.cmp(&b.row))
}

/// The best hits of queries so far.
struct Best {
    k: usize,
    /// At most `2 * k` for each query, which are reduced to the `k` best whenever they are that
    /// many.
    candidates: Vec<Vec<Hit>>,
    /// The score that a later row has to exceed to be among the `k` best of a query. NaN while
    /// fewer than `k` are known: then every row is.
    bars: Vec<f32>,
}

impl Best {
    fn new(queries: usize, k: usize) -> Self {
        let mut bars = vec![f32::NAN; queries];
        // It is read in whole vectors, and lanes without a query must never have a hit.
        bars.resize(queries.next_multiple_of(LANES_MAX), f32::INFINITY);
        Self { k, candidates: vec![Vec::new(); queries], bars }
    }

    /// Whether any of the scores of queries from `first` exceeds a bar, or cannot be compared.
    #[inline(always)]
    fn is_any_above<S: Simd, const W: usize>(
        &self,
        simd: S,
        first: usize,
        scores: &[[S::f32s; W]],
    ) -> bool {
        let vectors = S::as_simd_f32s(&self.bars[first..]).0;
        let bars: [S::f32s; W] = from_fn(|vector| vectors[vector]);
        let mut above = simd.splat_f32s(0.0);
        for scores in scores {
            for (&scores, bars) in scores.iter().zip(bars) {
                let below = simd.less_than_or_equal_f32s(scores, bars);
                above = simd.select_f32s(below, above, simd.splat_f32s(1.0));
            }
        }
        simd.reduce_max_f32s(above) > 0.0
    }

    /// Adds a row, which must come after all rows that were added before.
    fn add(&mut self, query: usize, hit: Hit) {
        let Some(candidates) = self.candidates.get_mut(query) else { return };
        if hit.score.is_nan() || hit.score <= self.bars[query] {
            return;
        }
        candidates.push(hit);
        if candidates.len() == 2 * self.k {
            self.shorten(query);
        }
    }

    fn shorten(&mut self, query: usize) {
        let candidates = &mut self.candidates[query];
        if candidates.len() > self.k {
            let (_, last, _) = candidates.select_nth_unstable_by(self.k - 1, by_rank);
            self.bars[query] = last.score;
            candidates.truncate(self.k);
        }
    }

    /// Merges the hits of other rows.
    fn merge(&mut self, mut other: Self) {
        for query in 0..self.candidates.len() {
            self.shorten(query);
            other.shorten(query);
            self.candidates[query].append(&mut other.candidates[query]);
        }
    }

    fn hits(mut self) -> Vec<Vec<Hit>> {
        (0..self.candidates.len()).for_each(|query| self.shorten(query));
        for hits in &mut self.candidates {
            hits.sort_unstable_by(by_rank);
            hits.shrink_to_fit();
        }
        self.candidates
    }
}

impl Sink for Best {
    #[inline(always)]
    fn take<S: Simd, const W: usize>(
        &mut self,
        simd: S,
        first: usize,
        row: usize,
        scores: &[[S::f32s; W]],
    ) {
        // Nearly always no score is above its bar.
        if !self.is_any_above(simd, first, scores) {
            return;
        }
        for (row, scores) in (row..).zip(scores) {
            for (first, &scores) in (first..).step_by(S::F32_LANES).zip(scores) {
                if !self.is_any_above(simd, first, &[[scores]]) {
                    continue;
                }
                let mut numbers = [0.0; LANES_MAX];
                simd.partial_store_f32s(&mut numbers, scores);
                for (lane, &score) in numbers[..S::F32_LANES].iter().enumerate() {
                    self.add(first + lane, Hit { row, score });
                }
            }
        }
    }
}
