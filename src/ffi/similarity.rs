//! `bge_similarity` and `bge_similarity_pairwise`.

use super::boundary::{CallerRows, Grid, Span, guard, read_options};
use super::constants::*;
use super::types::*;
use crate::error::{Result, error};
use crate::{Metric, similarity, similarity_pairwise};

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
