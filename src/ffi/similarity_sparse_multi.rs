//! `bge_similarity_sparse`, `bge_similarity_multi` and `bge_similarity_hybrid`.

use ndarray::ArrayView2;

use super::boundary::{CallerRows, Grid, Span, guard, slice};
use super::layout::Layout;
use super::types::*;
use crate::error::{Result, error};
use crate::{SparseText, similarity_hybrid, similarity_multi, similarity_sparse};

/// Compares every text of `a` with every text of `b` by their sparse weights:
/// the sum, over the tokens that both have, of the product of their weights.
///
/// Texts lie as `bge_encode` stores them: entries `a_offsets[i]` to
/// `a_offsets[i + 1]` of `a_ids` and `a_weights` are those of text i, for
/// `a_count` texts. Ids must ascend within a text. The score of text i of `a`
/// and text j of `b` is stored in `scores[i * scores_stride + j]`;
/// `scores_stride` is `b_count` by default. Of the options, `threads` and
/// `scores_stride` are used. No array may overlap `scores`. Without texts in
/// `a` or `b` there are no scores, and the call succeeds.
///
/// Returns `BGE_OK`, or `BGE_ERROR_INVALID_ARGUMENT`: offsets or ids do not
/// ascend, an array is NULL, misaligned or overlaps `scores`, or an option is
/// out of range.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_similarity_sparse(
    a_offsets: *const u64,
    a_ids: *const u32,
    a_weights: *const f32,
    a_count: usize,
    b_offsets: *const u64,
    b_ids: *const u32,
    b_weights: *const f32,
    b_count: usize,
    options: *const bge_similarity_options,
    scores: *mut f32,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let layout = Layout::read(options, 1)?;
        let grid = layout.scores(a_count, b_count)?;
        if grid.is_empty() {
            return Ok(());
        }
        let written = grid.span(scores, "scores")?;
        let a = sparse_texts((a_offsets, a_ids, a_weights), a_count, written, "a")?;
        let b = sparse_texts((b_offsets, b_ids, b_weights), b_count, written, "b")?;
        similarity_sparse(&a, &b, layout.threads, grid.view_mut(scores, "scores")?)
    })
}

/// Compares every text of `a` with every text of `b` by their multi-vectors:
/// the mean, over the rows of the text of `a`, of the greatest dot product with
/// a row of the text of `b`. Therefore pass queries as `a`. A text without rows
/// scores 0.
///
/// This is FlagEmbedding's `colbert_score`. Its `compute_score` pads the
/// passages of a batch with rows of zeros, so that a greatest product below 0
/// counts as 0 there, except for the longest passage; this function counts it
/// as it is.
///
/// Texts lie as `bge_encode` stores them: rows `a_offsets[i]` to `a_offsets[i +
/// 1]` of `a`, of `dim` floats each, are those of text i, for `a_count` texts.
/// The score of text i of `a` and text j of `b` is stored in `scores[i *
/// scores_stride + j]`; `scores_stride` is `b_count` by default. Of the
/// options, `threads` and `scores_stride` are used. No array may overlap
/// `scores`. Without texts in `a` or `b` there are no scores, and the call
/// succeeds.
///
/// Returns `BGE_OK`, or `BGE_ERROR_INVALID_ARGUMENT`: offsets do not ascend,
/// `dim` is 0, an array is NULL, misaligned or overlaps `scores`, or an option
/// is out of range.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_similarity_multi(
    a_offsets: *const u64,
    a: *const f32,
    a_count: usize,
    b_offsets: *const u64,
    b: *const f32,
    b_count: usize,
    dim: usize,
    options: *const bge_similarity_options,
    scores: *mut f32,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let layout = Layout::read(options, dim)?;
        let grid = layout.scores(a_count, b_count)?;
        if grid.is_empty() {
            return Ok(());
        }
        let written = grid.span(scores, "scores")?;
        let a = multi_texts((a_offsets, a), a_count, dim, written, "a")?;
        let b = multi_texts((b_offsets, b), b_count, dim, written, "b")?;
        similarity_multi(&a, &b, layout.threads, grid.view_mut(scores, "scores")?)
    })
}

/// Combines `count` scores of several kinds as FlagEmbedding's `compute_score`
/// does: stores in `scores[i]` the mean of `dense[i]`, `sparse[i]` and
/// `multi[i]`, weighted by the three `weights` in this order.
///
/// A kind that is NULL is omitted, with its weight; at least one kind is
/// required. `weights` may be NULL: 1 each. A weight that is used must be
/// finite and not negative, and the sum of these weights greater than 0.
/// `scores` must not overlap another array. A NaN makes its mean NaN.
///
/// Returns `BGE_OK`, or `BGE_ERROR_INVALID_ARGUMENT`: every kind is NULL, a
/// weight is not allowed, or an array is misaligned or overlaps `scores`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_similarity_hybrid(
    dense: *const f32,
    sparse: *const f32,
    multi: *const f32,
    count: usize,
    weights: *const f32,
    scores: *mut f32,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let written = Span::new(scores, count, "scores");
        let part = |pointer: *const f32, length: usize, name: &str| {
            if pointer.is_null() {
                return Ok(None);
            }
            written.check_apart(Span::new(pointer, length, name))?;
            slice(pointer, length, name).map(Some)
        };
        let (dense, sparse, multi) = (
            part(dense, count, "dense")?,
            part(sparse, count, "sparse")?,
            part(multi, count, "multi")?,
        );
        let weights = match part(weights, 3, "weights")? {
            Some(&[dense, sparse, multi]) => [dense, sparse, multi],
            _ => [1.0; 3],
        };
        let mut scores = CallerRows::new(scores, Grid::line(count), "scores")?;
        similarity_hybrid(dense, sparse, multi, weights, scores.row(0))
    })
}

type SparsePointers = (*const u64, *const u32, *const f32);

fn sparse_texts<'a>(
    (offsets, ids, weights): SparsePointers,
    count: usize,
    written: Span<'_>,
    name: &str,
) -> Result<Vec<SparseText<'a>>> {
    let (ranges, total) = ranges(offsets, count, written, name)?;
    written.check_apart(Span::new(ids, total, &format!("{name}_ids")))?;
    written.check_apart(Span::new(weights, total, &format!("{name}_weights")))?;
    let ids = slice(ids, total, &format!("{name}_ids"))?;
    let weights = slice(weights, total, &format!("{name}_weights"))?;
    let text = |range: std::ops::Range<usize>| SparseText {
        ids: &ids[range.clone()],
        weights: &weights[range],
    };
    Ok(ranges.into_iter().map(text).collect())
}

fn multi_texts<'a>(
    (offsets, rows): (*const u64, *const f32),
    count: usize,
    dim: usize,
    written: Span<'_>,
    name: &str,
) -> Result<Vec<ArrayView2<'a, f32>>> {
    let (ranges, total) = ranges(offsets, count, written, name)?;
    let floats = Grid { rows: total, width: dim, stride: dim }.extent(name)?;
    written.check_apart(Span::new(rows, floats, name))?;
    let rows = slice(rows, floats, name)?;
    let text = |range: std::ops::Range<usize>| {
        let numbers = &rows[range.start * dim..range.end * dim];
        ArrayView2::from_shape((range.len(), dim), numbers)
            .map_err(|e| error!(Internal, "{name} does not make rows: {e}"))
    };
    ranges.into_iter().map(text).collect()
}

/// The range of each text, and the number of entries or rows of all texts.
fn ranges(
    offsets: *const u64,
    count: usize,
    written: Span<'_>,
    name: &str,
) -> Result<(Vec<std::ops::Range<usize>>, usize)> {
    let name = format!("{name}_offsets");
    let boundaries = count.saturating_add(1);
    written.check_apart(Span::new(offsets, boundaries, &name))?;
    let offsets = slice(offsets, boundaries, &name)?;
    if let Some(index) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
        return Err(error!(
            InvalidArgument,
            "{name}[{index}] is {}, more than the {} after it",
            offsets[index],
            offsets[index + 1]
        ));
    }
    let ranges = offsets.windows(2).map(|pair| pair[0] as usize..pair[1] as usize).collect();
    Ok((ranges, offsets.last().map_or(0, |&end| end as usize)))
}
