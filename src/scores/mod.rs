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

/// The mean of those score arrays that are given, weighted: score by score, the sum of weight times
/// score through the sum of the weights. The weights are of dense, sparse and multi-vector scores,
/// finite and not negative, and one of those used is greater than zero.
pub fn similarity_hybrid(
    dense: Option<&[f32]>,
    sparse: Option<&[f32]>,
    multi: Option<&[f32]>,
    weights: [f32; 3],
    scores: &mut [f32],
) -> Result<()> {
    let given: Vec<_> = [("dense", dense), ("sparse", sparse), ("multi", multi)]
        .into_iter()
        .zip(weights)
        .filter_map(|((name, part), weight)| part.map(|part| (name, part, weight)))
        .collect();
    if given.is_empty() {
        return Err(error!(
            InvalidArgument,
            "dense, sparse and multi are all missing; at least one array of scores is needed"
        ));
    }
    for &(name, part, weight) in &given {
        if part.len() != scores.len() {
            return Err(error!(
                InvalidArgument,
                "{name} has {} scores, and {} are to be written",
                part.len(),
                scores.len()
            ));
        }
        if !weight.is_finite() || weight < 0.0 {
            return Err(error!(
                InvalidArgument,
                "the weight of {name} is {weight}; a weight is a finite number that is not \
                 negative"
            ));
        }
    }
    let total: f64 = given.iter().map(|&(.., weight)| f64::from(weight)).sum();
    if total == 0.0 {
        let names: Vec<&str> = given.iter().map(|&(name, ..)| name).collect();
        return Err(error!(
            InvalidArgument,
            "the weights of {} are all 0; one has to be greater",
            names.join(" and ")
        ));
    }
    for (index, score) in scores.iter_mut().enumerate() {
        let term =
            |&(_, part, weight): &(&str, &[f32], f32)| f64::from(weight) * f64::from(part[index]);
        *score = (given.iter().map(term).sum::<f64>() / total) as f32;
    }
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
