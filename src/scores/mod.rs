//! How alike texts are by their sparse weights or their multi-vectors, by FlagEmbedding's rules.

mod multi;
mod sparse;

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::error::{Result, error};

/// The sparse weights of one text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparseText<'a> {
    /// Token ids, ascending and each at most once.
    pub ids: &'a [u32],
    /// The weight of each of those tokens.
    pub weights: &'a [f32],
}

/// For each text of `a` and each of `b`, the sum over the tokens that both have of the product of
/// their weights. Uses at most `threads` threads.
pub fn similarity_sparse(
    a: &[SparseText<'_>],
    b: &[SparseText<'_>],
    threads: usize,
    scores: ArrayViewMut2<'_, f32>,
) -> Result<()> {
    check_shape((a.len(), b.len()), &scores)?;
    for (name, texts) in [("a", a), ("b", b)] {
        if let Some(index) = sparse::unordered(texts) {
            return Err(error!(
                InvalidArgument,
                "the ids of text {index} of {name} do not ascend, or are not as many as its \
                 weights"
            ));
        }
    }
    sparse::score(a, b, threads, scores);
    Ok(())
}

/// For each text of `a` and each of `b`, the mean over the rows of the first of the greatest dot
/// product with a row of the second. A text without rows scores 0. Uses at most `threads` threads.
pub fn similarity_multi(
    a: &[ArrayView2<'_, f32>],
    b: &[ArrayView2<'_, f32>],
    threads: usize,
    scores: ArrayViewMut2<'_, f32>,
) -> Result<()> {
    check_shape((a.len(), b.len()), &scores)?;
    let mut widths = a.iter().chain(b).map(|rows| rows.ncols());
    let width = widths.next().unwrap_or_default();
    if let Some(other) = widths.find(|&other| other != width) {
        return Err(error!(
            InvalidArgument,
            "rows of {width} and of {other} numbers cannot be compared"
        ));
    }
    multi::score(a, b, threads, scores);
    Ok(())
}

fn check_shape(texts: (usize, usize), scores: &ArrayViewMut2<'_, f32>) -> Result<()> {
    if scores.dim() != texts {
        return Err(error!(
            InvalidArgument,
            "scores of {:?} for {texts:?} texts: expected as many rows and columns as texts",
            scores.dim()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
