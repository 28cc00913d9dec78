//! `bge_similarity` and `bge_similarity_pairwise`.

use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};

use super::boundary::{check_apart, guard, read_options, slice, slice_mut};
use super::types::*;
use crate::error::{Result, error};
use crate::{Metric, similarity, similarity_pairwise};

const THREADS_MAX: u32 = 1024;

/// Compares every row of `a` with every row of `b`.
///
/// Rows are vectors of `dim` floats from anywhere; no model is involved. The
/// score of `a[i]` and `b[j]` goes to `scores[i * b_rows + j]`. `scores` must
/// not overlap `a` or `b`, which may be the same. No rows, no scores: that is
/// no error. A NaN in a row makes that row's scores NaN.
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
        let a = slice(a, extent(a_rows, layout.a_stride, dim, "a")?, "a")?;
        let b = slice(b, extent(b_rows, layout.b_stride, dim, "b")?, "b")?;
        let room = extent(a_rows, layout.scores_stride, b_rows, "scores")?;
        let scores = slice_mut(scores, room, "scores")?;
        check_apart(scores, a, "scores and a")?;
        check_apart(scores, b, "scores and b")?;
        let a = rows(a, a_rows, dim, layout.a_stride)?;
        let b = rows(b, b_rows, dim, layout.b_stride)?;
        let shape = (a_rows, b_rows).strides((layout.scores_stride, 1));
        let scores = ArrayViewMut2::from_shape(shape, scores).map_err(bad_shape)?;
        similarity(metric, a, b, layout.threads, scores)
    })
}

/// Compares row i of `a` with row i of `b`, for `rows` rows, into `scores[i]`.
/// Otherwise like `bge_similarity`; it runs on the calling thread alone.
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
        let a = slice(a, extent(rows, layout.a_stride, dim, "a")?, "a")?;
        let b = slice(b, extent(rows, layout.b_stride, dim, "b")?, "b")?;
        let scores = slice_mut(scores, rows, "scores")?;
        check_apart(scores, a, "scores and a")?;
        check_apart(scores, b, "scores and b")?;
        let a = self::rows(a, rows, dim, layout.a_stride)?;
        let b = self::rows(b, rows, dim, layout.b_stride)?;
        similarity_pairwise(metric, a, b, scores)
    })
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

struct Layout {
    threads: usize,
    a_stride: usize,
    b_stride: usize,
    scores_stride: usize,
}

impl Layout {
    fn of(options: *const bge_similarity_options, dim: usize, b_rows: usize) -> Result<Self> {
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
        let stride = |stride: usize, width: usize, name: &str| match stride {
            0 => Ok(width),
            stride if stride >= width => Ok(stride),
            stride => Err(error!(
                InvalidArgument,
                "{name} is {stride}, less than the {width} floats of a row"
            )),
        };
        Ok(Self {
            threads: options.threads.max(1) as usize,
            a_stride: stride(options.a_stride, dim, "a_stride")?,
            b_stride: stride(options.b_stride, dim, "b_stride")?,
            scores_stride: stride(options.scores_stride, b_rows, "scores_stride")?,
        })
    }
}

/// The floats from the first of the first row to the last of the last one.
fn extent(rows: usize, stride: usize, width: usize, name: &str) -> Result<usize> {
    (rows - 1).checked_mul(stride).and_then(|floats| floats.checked_add(width)).ok_or_else(|| {
        error!(InvalidArgument, "{name}: {rows} rows of {stride} floats do not fit into memory")
    })
}

fn rows(data: &[f32], rows: usize, dim: usize, stride: usize) -> Result<ArrayView2<'_, f32>> {
    ArrayView2::from_shape((rows, dim).strides((stride, 1)), data).map_err(bad_shape)
}

fn bad_shape(e: ndarray::ShapeError) -> crate::Error {
    error!(Internal, "rows that were checked do not make a matrix: {e}")
}
