//! `bge_similarity`, `bge_similarity_pairwise` and `bge_similarity_top_k`.

use ndarray::ArrayView2;

use super::boundary::{CallerRows, Grid, Span, guard, read_options};
use super::constants::*;
use super::types::*;
use crate::error::{Result, error};
use crate::{Metric, similarity, similarity_pairwise, similarity_top_k};

const THREADS_MAX: u32 = 1024;

/// Compares every row of `a` with every row of `b`.
///
/// Rows are vectors of `dim` floats from anywhere; no model is involved. The
/// score of row i of `a` and row j of `b` goes to
/// `scores[i * scores_stride + j]`. `scores`, from its first float to its last,
/// must not overlap `a` or `b`, which may be the same; what lies between rows
/// is never touched. No rows, no scores: that is no error. A NaN in a row makes
/// that row's scores NaN.
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
        let metric = metric_of(metric)?;
        let layout = Layout::of(options, dim, b_rows)?;
        if a_rows == 0 || b_rows == 0 {
            return Ok(());
        }
        let a_grid = Grid { rows: a_rows, width: dim, stride: layout.a_stride };
        let b_grid = Grid { rows: b_rows, width: dim, stride: layout.b_stride };
        let grid = Grid { rows: a_rows, width: b_rows, stride: layout.scores_stride };
        let written = Span::new(scores, grid.extent("scores")?, "scores");
        written.check_apart(Span::new(a, a_grid.extent("a")?, "a"))?;
        written.check_apart(Span::new(b, b_grid.extent("b")?, "b"))?;
        let (a, b) = (a_grid.view(a, "a")?, b_grid.view(b, "b")?);
        let scores = grid.view_mut(scores, "scores")?;
        similarity(metric, a, b, layout.threads, scores)
    })
}

/// Compares row i of `a` with row i of `b`, for `rows` rows, into `scores[i]`.
/// Otherwise like `bge_similarity`; it runs on the calling thread alone, and
/// `scores_stride` is not used.
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
        let metric = metric_of(metric)?;
        let layout = Layout::of(options, dim, 0)?;
        if rows == 0 {
            return Ok(());
        }
        let a_grid = Grid { rows, width: dim, stride: layout.a_stride };
        let b_grid = Grid { rows, width: dim, stride: layout.b_stride };
        let written = Span::new(scores, rows, "scores");
        written.check_apart(Span::new(a, a_grid.extent("a")?, "a"))?;
        written.check_apart(Span::new(b, b_grid.extent("b")?, "b"))?;
        let (a, b) = (a_grid.view(a, "a")?, b_grid.view(b, "b")?);
        let mut scores = CallerRows::new(scores, Grid::line(rows), "scores")?;
        similarity_pairwise(metric, a, b, scores.row(0))
    })
}

/// Finds for each row of `queries` the `k` rows of `corpus` that are most alike,
/// without a matrix of all scores: exact search, by brute force.
///
/// The best of query i goes to `indices[i * k]`, as the number of its row in
/// `corpus`, and its score to `scores[i * scores_stride]`; the next best follows
/// each. `scores_stride` is `k` by default, and `indices` has `k` numbers for each
/// query. Of rows with equal scores the first comes first. Scores are the very
/// numbers of `bge_similarity`, with the same `metric`, and so are distances:
/// negated. A score that is NaN, as for a row with NaN, is never among the best.
/// Where fewer than `k` rows can be found, `BGE_NO_ROW` and NaN stand for the
/// rest. No `corpus_rows`: nothing else stands there. No `query_rows` or a `k` of
/// 0: nothing is written, and that is no error.
///
/// Rows are vectors of `dim` floats from anywhere; no model is involved, and
/// `corpus` may be a mapped file: it is read from its first row to its last, once
/// for every 1024 queries. Of the options, `a_stride` is that of `queries` and
/// `b_stride` that of `corpus`. Neither `indices` nor `scores` may overlap what is
/// read, or each other.
///
/// However large the corpus is, beside it a call takes no more than this: 8 * `dim`
/// bytes for each of 1024 queries at a time, and on each thread 64 * `k` for each
/// of them and 0.9 MB; and 16 * `k` for each query in all. `k` counts as
/// `corpus_rows` where it is more. With vectors of length 1, `BGE_METRIC_DOT` gives
/// the cosine too, in less time.
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
        let metric = metric_of(metric)?;
        let layout = Layout::of(options, dim, k)?;
        if query_rows == 0 || k == 0 {
            return Ok(());
        }
        let queries_grid = Grid { rows: query_rows, width: dim, stride: layout.a_stride };
        let corpus_grid = Grid { rows: corpus_rows, width: dim, stride: layout.b_stride };
        let indices_grid = Grid { rows: query_rows, width: k, stride: k };
        let scores_grid = Grid { rows: query_rows, width: k, stride: layout.scores_stride };
        let read = [
            Span::new(queries, queries_grid.extent("queries")?, "queries"),
            Span::new(corpus, corpus_grid.extent("corpus")?, "corpus"),
        ];
        let written_indices = Span::new(indices, indices_grid.extent("indices")?, "indices");
        let written_scores = Span::new(scores, scores_grid.extent("scores")?, "scores");
        written_indices.check_apart(written_scores)?;
        for read in read {
            written_indices.check_apart(read)?;
            written_scores.check_apart(read)?;
        }
        let queries = queries_grid.view(queries, "queries")?;
        let corpus = match corpus_rows {
            0 => ArrayView2::from_shape((0, dim), &[]).map_err(|e| error!(Internal, "{e}"))?,
            _ => corpus_grid.view(corpus, "corpus")?,
        };
        let mut indices = CallerRows::new(indices, indices_grid, "indices")?;
        let mut scores = CallerRows::new(scores, scores_grid, "scores")?;
        let found = similarity_top_k(metric, queries, corpus, k, layout.threads)?;
        for (query, hits) in found.iter().enumerate() {
            let (indices, scores) = (indices.row(query), scores.row(query));
            for (place, (index, score)) in indices.iter_mut().zip(scores).enumerate() {
                let hit = hits.get(place);
                *index = hit.map_or(BGE_NO_ROW, |hit| hit.row as u64);
                *score = hit.map_or(f32::NAN, |hit| hit.score);
            }
        }
        Ok(())
    })
}

pub(super) fn constant_of(metric: Metric) -> bge_metric {
    match metric {
        Metric::Cosine => BGE_METRIC_COSINE,
        Metric::Dot => BGE_METRIC_DOT,
        Metric::Euclidean => BGE_METRIC_EUCLIDEAN,
        Metric::Manhattan => BGE_METRIC_MANHATTAN,
    }
}

fn metric_of(metric: bge_metric) -> Result<Metric> {
    match metric {
        BGE_METRIC_COSINE => Ok(Metric::Cosine),
        BGE_METRIC_DOT => Ok(Metric::Dot),
        BGE_METRIC_EUCLIDEAN => Ok(Metric::Euclidean),
        BGE_METRIC_MANHATTAN => Ok(Metric::Manhattan),
        other => Err(error!(
            InvalidArgument,
            "metric is {other}; the known ones are {BGE_METRIC_COSINE} to {BGE_METRIC_MANHATTAN}"
        )),
    }
}

pub(super) struct Layout {
    pub threads: usize,
    a_stride: usize,
    b_stride: usize,
    pub scores_stride: usize,
}

impl Layout {
    pub fn of(options: *const bge_similarity_options, dim: usize, b_rows: usize) -> Result<Self> {
        if dim == 0 {
            return Err(error!(InvalidArgument, "dim is 0; a vector has at least 1 float"));
        }
        let Some(options) = read_options(options)? else {
            return Ok(Self { threads: 1, a_stride: dim, b_stride: dim, scores_stride: b_rows });
        };
        if options.threads > THREADS_MAX {
            return Err(error!(
                InvalidArgument,
                "threads is {}; it may be at most {THREADS_MAX}", options.threads
            ));
        }
        Ok(Self {
            threads: options.threads.max(1) as usize,
            a_stride: stride(options.a_stride, dim, "a_stride", "floats")?,
            b_stride: stride(options.b_stride, dim, "b_stride", "floats")?,
            scores_stride: stride(options.scores_stride, b_rows, "scores_stride", "floats")?,
        })
    }
}

/// The stride that a caller chose, or the width of a row.
pub(super) fn stride(chosen: usize, width: usize, name: &str, unit: &str) -> Result<usize> {
    match chosen {
        0 => Ok(width),
        chosen if chosen >= width => Ok(chosen),
        chosen => Err(error!(
            InvalidArgument,
            "{name} is {chosen}, less than the {width} {unit} of a row"
        )),
    }
}
