//! `bge_similarity`, `bge_similarity_pairwise` and `bge_similarity_top_k`.

use super::boundary::{CallerRows, Grid, guard};
use super::constants::*;
use super::enums::metric_from;
use super::layout::Layout;
use super::types::*;
use crate::{similarity, similarity_pairwise, similarity_top_k};

/// Compares every row of `a` with every row of `b`.
///
/// Rows are vectors of `dim` floats from any source; no model is involved. The
/// score of row i of `a` and row j of `b` is stored in `scores[i *
/// scores_stride + j]`; `scores_stride` is `b_rows` by default. `scores`, from
/// its first float to its last, must not overlap `a` or `b`, which may be the
/// same; gaps between rows are never touched. Without rows in `a` or `b` there
/// are no scores, and the call succeeds. A NaN in a row makes the scores of
/// that row NaN.
///
/// Returns `BGE_OK`, or `BGE_ERROR_INVALID_ARGUMENT`: the metric is unknown,
/// `dim` is 0, an array is NULL, misaligned or overlaps `scores`, or an option
/// is out of range.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_similarity(
    metric: bge_metric,
    a: *const f32,
    a_rows: usize,
    b: *const f32,
    b_rows: usize,
    dim: usize,
    options: *const bge_similarity_options,
    scores: *mut f32,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let metric = metric_from(metric)?;
        let layout = Layout::read(options, dim)?;
        let grid = layout.scores(a_rows, b_rows)?;
        if grid.is_empty() {
            return Ok(());
        }
        let written = [grid.span(scores, "scores")?];
        let a = layout.a(a_rows).view(a, "a", &written)?;
        let b = layout.b(b_rows).view(b, "b", &written)?;
        let scores = grid.view_mut(scores, "scores")?;
        similarity(metric, a, b, layout.threads, scores)
    })
}

/// Compares row i of `a` with row i of `b`, for `rows` rows, and stores the
/// score in `scores[i]`.
///
/// Rows are vectors of `dim` floats from any source; no model is involved. It
/// runs on the calling thread alone. Of the options, `a_stride` and `b_stride`
/// are used. `scores` must not overlap `a` or `b`, which may be the same.
/// Without rows there are no scores, and the call succeeds. A NaN in a row
/// makes its score NaN.
///
/// Returns `BGE_OK`, or `BGE_ERROR_INVALID_ARGUMENT`: the metric is unknown,
/// `dim` is 0, an array is NULL, misaligned or overlaps `scores`, or an option
/// is out of range.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_similarity_pairwise(
    metric: bge_metric,
    a: *const f32,
    b: *const f32,
    rows: usize,
    dim: usize,
    options: *const bge_similarity_options,
    scores: *mut f32,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let metric = metric_from(metric)?;
        let layout = Layout::read(options, dim)?;
        if rows == 0 {
            return Ok(());
        }
        let written = [Grid::line(rows).span(scores, "scores")?];
        let a = layout.a(rows).view(a, "a", &written)?;
        let b = layout.b(rows).view(b, "b", &written)?;
        let mut scores = CallerRows::new(scores, Grid::line(rows), "scores")?;
        similarity_pairwise(metric, a, b, scores.row(0))
    })
}

/// Finds for each row of `queries` the `k` rows of `corpus` with the highest
/// scores, without a matrix of all scores. The search is exact: it compares
/// every pair of rows.
///
/// The best row of query i is stored in `indices[i * k]`, by its number in
/// `corpus`, and its score in `scores[i * scores_stride]`; the next best
/// follows each. `scores_stride` is `k` by default, and `indices` has `k`
/// numbers for each query. Of rows with equal scores the first comes first. The
/// scores are the numbers that `bge_similarity` computes with the same
/// `metric`, so that distances are negated. A score that is NaN, as that of a
/// row with NaN, is never among the best. Where fewer than `k` rows are found,
/// which includes a `corpus_rows` of 0, the remaining indices are `BGE_NO_ROW`
/// and their scores NaN. With a `query_rows` or a `k` of 0 nothing is written,
/// and the call succeeds.
///
/// Rows are vectors of `dim` floats from any source; no model is involved, and
/// `corpus` may be a mapped file: it is read from its first row to its last,
/// once for every 1024 queries. Of the options, `a_stride` is the stride of
/// `queries` and `b_stride` that of `corpus`. Neither `indices` nor `scores`
/// may overlap the rows, or each other.
///
/// The memory that a call takes does not depend on the size of the corpus: 8 *
/// `dim` bytes for each of 1024 queries at a time; on each thread 0.9 MB, and
/// 64 * `k` bytes for each of these queries; and 16 * `k` bytes for each query
/// in all. In these figures `k` is at most `corpus_rows`. With vectors of
/// length 1, `BGE_METRIC_DOT` computes the cosine in less time.
///
/// Returns `BGE_OK`, or `BGE_ERROR_INVALID_ARGUMENT`: the metric is unknown,
/// `dim` is 0, an array is NULL, misaligned or overlaps another, or an option
/// is out of range.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_similarity_top_k(
    metric: bge_metric,
    queries: *const f32,
    query_rows: usize,
    corpus: *const f32,
    corpus_rows: usize,
    dim: usize,
    k: usize,
    options: *const bge_similarity_options,
    indices: *mut u64,
    scores: *mut f32,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let metric = metric_from(metric)?;
        let layout = Layout::read(options, dim)?;
        let scores_grid = layout.scores(query_rows, k)?;
        if scores_grid.is_empty() {
            return Ok(());
        }
        let indices_grid = Grid { rows: query_rows, width: k, stride: k };
        let written = [indices_grid.span(indices, "indices")?, scores_grid.span(scores, "scores")?];
        written[0].check_apart(written[1])?;
        let queries = layout.a(query_rows).view(queries, "queries", &written)?;
        let corpus = layout.b(corpus_rows).view(corpus, "corpus", &written)?;
        let mut indices = CallerRows::new(indices, indices_grid, "indices")?;
        let mut scores = CallerRows::new(scores, scores_grid, "scores")?;
        let found = similarity_top_k(metric, queries, corpus, k, layout.threads)?;
        for (query, hits) in found.iter().enumerate() {
            let (indices, scores) = (indices.row(query), scores.row(query));
            for (rank, (index, score)) in indices.iter_mut().zip(scores).enumerate() {
                let hit = hits.get(rank);
                *index = hit.map_or(BGE_NO_ROW, |hit| hit.row as u64);
                *score = hit.map_or(f32::NAN, |hit| hit.score);
            }
        }
        Ok(())
    })
}
