//! How alike texts are by their sparse weights or their multi-vectors, by FlagEmbedding's rules.

use std::cmp::Ordering;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};

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
/// their weights.
pub fn similarity_sparse(
    a: &[SparseText<'_>],
    b: &[SparseText<'_>],
    mut scores: ArrayViewMut2<'_, f32>,
) -> Result<()> {
    check_shape((a.len(), b.len()), &scores)?;
    for (name, texts) in [("a", a), ("b", b)] {
        for (index, text) in texts.iter().enumerate() {
            if text.ids.len() != text.weights.len() || !text.ids.is_sorted_by(|x, y| x < y) {
                return Err(error!(
                    InvalidArgument,
                    "the ids of text {index} of {name} do not ascend, or are not as many as its \
                     weights"
                ));
            }
        }
    }
    for ((row, column), score) in scores.indexed_iter_mut() {
        *score = sparse_score(a[row], b[column]);
    }
    Ok(())
}

fn sparse_score(a: SparseText<'_>, b: SparseText<'_>) -> f32 {
    let (mut at_a, mut at_b, mut sum) = (0, 0, 0.0f64);
    while let (Some(id_a), Some(id_b)) = (a.ids.get(at_a), b.ids.get(at_b)) {
        match id_a.cmp(id_b) {
            Ordering::Less => at_a += 1,
            Ordering::Greater => at_b += 1,
            Ordering::Equal => {
                sum += f64::from(a.weights[at_a]) * f64::from(b.weights[at_b]);
                at_a += 1;
                at_b += 1;
            }
        }
    }
    sum as f32
}

/// For each text of `a` and each of `b`, the mean over the rows of the first of the greatest dot
/// product with a row of the second. A text without rows scores 0.
pub fn similarity_multi(
    a: &[ArrayView2<'_, f32>],
    b: &[ArrayView2<'_, f32>],
    mut scores: ArrayViewMut2<'_, f32>,
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
    for ((row, column), score) in scores.indexed_iter_mut() {
        *score = multi_score(a[row], b[column]);
    }
    Ok(())
}

fn multi_score(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> f32 {
    if a.nrows() == 0 || b.nrows() == 0 {
        return 0.0;
    }
    let mut products = Array2::zeros((a.nrows(), b.nrows()));
    general_mat_mul(1.0, &a, &b.t(), 0.0, &mut products);
    // Not f32::max, which would pass over a NaN.
    let greater = |max: f32, &x: &f32| if max.is_nan() || x <= max { max } else { x };
    let sum: f64 = products
        .rows()
        .into_iter()
        .map(|row| f64::from(row.iter().fold(f32::NEG_INFINITY, greater)))
        .sum();
    (sum / a.nrows() as f64) as f32
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
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn only_tokens_that_both_texts_have_count() {
        let a = SparseText { ids: &[4, 7, 9], weights: &[0.5, 2.0, 1.0] };
        let b = SparseText { ids: &[5, 7, 9, 11], weights: &[8.0, 0.25, 3.0, 8.0] };
        let none = SparseText { ids: &[], weights: &[] };
        let mut scores = Array2::from_elem((2, 2), f32::NAN);
        similarity_sparse(&[a, none], &[b, a], scores.view_mut()).unwrap();
        assert_eq!(scores, array![[3.5, 5.25], [0.0, 0.0]]);
        for ids in [&[7, 4, 9], &[4, 4, 9]] {
            let bad = SparseText { ids, ..a };
            similarity_sparse(&[a], &[bad], scores.view_mut()).unwrap_err();
            similarity_sparse(&[a, bad], &[a, a], scores.view_mut()).unwrap_err();
        }
    }

    #[test]
    fn each_row_counts_with_the_row_that_is_most_alike() {
        let a = array![[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]];
        let b = array![[1.0, 0.0], [-1.0, 0.0]];
        let mut scores = Array2::zeros((2, 2));
        let texts = [a.view(), b.view()];
        similarity_multi(&texts, &texts, scores.view_mut()).unwrap();
        let expected = array![[1.0, 1.6 / 3.0], [(1.0 - 0.0) / 2.0, 1.0]];
        for (score, expected) in scores.iter().zip(&expected) {
            assert!((score - expected).abs() < 1e-6, "{score} is not {expected}");
        }
        let empty = Array2::zeros((0, 2));
        similarity_multi(&[empty.view()], &texts, Array2::zeros((1, 2)).view_mut()).unwrap();
        let wide = Array2::zeros((1, 3));
        similarity_multi(&[wide.view()], &texts, Array2::zeros((1, 2)).view_mut()).unwrap_err();
        let bad = array![[f32::NAN, 1.0], [1.0, 0.0]];
        let mut one = Array2::zeros((1, 1));
        similarity_multi(&[b.view()], &[bad.view()], one.view_mut()).unwrap();
        assert!(one[[0, 0]].is_nan());
    }
}
