//! Sparse, multi-vector and hybrid scores against their definitions.

use ndarray::{Array2, ArrayView2, array};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{SparseText, similarity_hybrid, similarity_multi, similarity_sparse};

#[test]
fn only_tokens_that_both_texts_have_count() {
    let a = SparseText { ids: &[4, 7, 9], weights: &[0.5, 2.0, 1.0] };
    let b = SparseText { ids: &[5, 7, 9, 11], weights: &[8.0, 0.25, 3.0, 8.0] };
    let none = SparseText { ids: &[], weights: &[] };
    let mut scores = Array2::from_elem((2, 2), f32::NAN);
    similarity_sparse(&[a, none], &[b, a], 1, scores.view_mut()).unwrap();
    assert_eq!(scores, array![[3.5, 5.25], [0.0, 0.0]]);
    for ids in [&[7, 4, 9], &[4, 4, 9]] {
        let bad = SparseText { ids, ..a };
        similarity_sparse(&[a], &[bad], 1, scores.view_mut()).unwrap_err();
        similarity_sparse(&[a, bad], &[a, a], 1, scores.view_mut()).unwrap_err();
    }
}

#[test]
fn each_row_counts_with_the_row_that_is_most_alike() {
    let a = array![[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]];
    let b = array![[1.0, 0.0], [-1.0, 0.0]];
    let mut scores = Array2::zeros((2, 2));
    let texts = [a.view(), b.view()];
    similarity_multi(&texts, &texts, 1, scores.view_mut()).unwrap();
    let expected = array![[1.0, 1.6 / 3.0], [(1.0 - 0.0) / 2.0, 1.0]];
    for (score, expected) in scores.iter().zip(&expected) {
        assert!((score - expected).abs() < 1e-6, "{score} is not {expected}");
    }
    let empty = Array2::zeros((0, 2));
    similarity_multi(&[empty.view()], &texts, 1, Array2::zeros((1, 2)).view_mut()).unwrap();
    let wide = Array2::zeros((1, 3));
    similarity_multi(&[wide.view()], &texts, 1, Array2::zeros((1, 2)).view_mut()).unwrap_err();
    let bad = array![[f32::NAN, 1.0], [1.0, 0.0]];
    let mut one = Array2::zeros((1, 1));
    similarity_multi(&[b.view()], &[bad.view()], 1, one.view_mut()).unwrap();
    assert!(one[[0, 0]].is_nan());
}

/// Ids from anywhere, with many that differ by what the index's bits cannot tell.
fn sparse_text() -> impl Strategy<Value = Vec<(u32, f32)>> {
    let id =
        (0..4u32, 0..20u32).prop_map(|(high, low)| (high * 0x4000_0000).wrapping_add(low * 37));
    let id = prop_oneof![4 => id, 1 => any::<u32>(), 1 => Just(u32::MAX), 4 => 0..600u32];
    prop::collection::btree_map(id, -2.0f32..2.0, 0..300)
        .prop_map(|text| text.into_iter().collect())
}

fn split(texts: &[Vec<(u32, f32)>]) -> Vec<(Vec<u32>, Vec<f32>)> {
    texts.iter().map(|text| text.iter().copied().unzip()).collect()
}

fn views(texts: &[(Vec<u32>, Vec<f32>)]) -> Vec<SparseText<'_>> {
    texts.iter().map(|(ids, weights)| SparseText { ids, weights }).collect()
}

fn naive_sparse(a: &[(u32, f32)], b: &[(u32, f32)]) -> f32 {
    let b: std::collections::BTreeMap<u32, f32> = b.iter().copied().collect();
    let product = |&(id, weight): &(u32, f32)| {
        b.get(&id).map_or(0.0, |&other| f64::from(weight) * f64::from(other))
    };
    a.iter().map(product).sum::<f64>() as f32
}

#[test]
fn sparse_scores_are_those_of_a_map_whichever_side_is_longer_and_on_any_threads() {
    let texts = || prop::collection::vec(sparse_text(), 0..6);
    TestRunner::new(Config::with_cases(16))
        .run(&(texts(), texts(), 1..60usize, 0..4usize), |(a, b, times, threads)| {
            // Beyond the block of texts that are indexed together.
            let b: Vec<_> = b.iter().cycle().take(b.len() * times).cloned().collect();
            for (a, b) in [(&a, &b), (&b, &a), (&b, &b[..b.len().min(20)].to_vec())] {
                let (a_parts, b_parts) = (split(a), split(b));
                let mut scores = Array2::from_elem((a.len(), b.len()), f32::NAN);
                similarity_sparse(&views(&a_parts), &views(&b_parts), threads, scores.view_mut())
                    .unwrap();
                for ((row, column), &score) in scores.indexed_iter() {
                    let expected = naive_sparse(&a[row], &b[column]);
                    // The order of the sum differs where ids share a bit.
                    prop_assert!((score - expected).abs() <= 1e-6 * expected.abs().max(1.0));
                }
            }
            Ok(())
        })
        .unwrap();
}

fn rows(count: usize, dim: usize, seed: u32) -> Array2<f32> {
    Array2::from_shape_fn((count, dim), |(row, column)| {
        let mixed = (row as u32 * 7919 + column as u32 + 1).wrapping_mul(2_654_435_761 ^ seed);
        (mixed >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    })
}

fn naive_multi(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> f64 {
    let dot = |x: ndarray::ArrayView1<'_, f32>, y: ndarray::ArrayView1<'_, f32>| {
        x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>()
    };
    let best = |x| b.rows().into_iter().map(|y| dot(x, y)).fold(f64::NEG_INFINITY, f64::max);
    match (a.nrows(), b.nrows()) {
        (0, _) | (_, 0) => 0.0,
        (count, _) => a.rows().into_iter().map(best).sum::<f64>() / count as f64,
    }
}

#[test]
fn multi_scores_are_those_of_loops_for_any_shape_and_on_any_threads() {
    for dim in [1, 7, 64, 130] {
        let counts = [0, 1, 5, 6, 7, 16, 31, 33, 64, 70];
        let texts: Vec<_> = counts.iter().map(|&count| rows(count, dim, count as u32)).collect();
        let views: Vec<_> = texts.iter().map(|text| text.view()).collect();
        for (a, b) in [(&views[..], &views[..]), (&views[..2], &views), (&views, &views[7..8])] {
            for threads in [0, 1, 3] {
                let mut scores = Array2::from_elem((a.len(), b.len()), f32::NAN);
                similarity_multi(a, b, threads, scores.view_mut()).unwrap();
                for ((row, column), &score) in scores.indexed_iter() {
                    let expected = naive_multi(a[row], b[column]);
                    let tolerance = 2e-6 * expected.abs().max(1.0);
                    assert!((f64::from(score) - expected).abs() < tolerance, "{score}, {expected}");
                }
            }
        }
    }
}

#[test]
fn a_single_pair_is_the_same_on_one_thread_and_on_many() {
    // Large enough to be divided, the rows not evenly.
    let (query, text) = (rows(40, 512, 1), rows(1003, 512, 2));
    let score = |text: ArrayView2<'_, f32>, threads| {
        let mut scores = Array2::zeros((1, 1));
        similarity_multi(&[query.view()], &[text], threads, scores.view_mut()).unwrap();
        scores[[0, 0]]
    };
    let one = score(text.view(), 1);
    assert!((f64::from(one) - naive_multi(query.view(), text.view())).abs() < 1e-4);
    assert_eq!(score(text.view(), 2), one);
    assert_eq!(score(text.view(), 7), one);
    let columns = text.t().as_standard_layout().into_owned();
    assert_eq!(score(columns.t(), 2), one);
    for place in [0, 500, 1002] {
        let mut bad = text.clone();
        bad[[place, 3]] = f32::NAN;
        assert!(score(bad.view(), 1).is_nan() && score(bad.view(), 3).is_nan());
    }
}

#[test]
fn a_hybrid_score_is_the_weighted_mean_of_those_given() {
    let (dense, sparse, multi) = ([0.5, 1.0], [0.25, 0.0], [1.0, f32::NAN]);
    let mut scores = [7.0; 2];
    let (d, s, m) = (Some(&dense[..]), Some(&sparse[..]), Some(&multi[..]));
    let mut hybrid =
        |d, s, m, weights| similarity_hybrid(d, s, m, weights, &mut scores).map(|()| scores);
    assert_eq!(hybrid(d, s, None, [3.0, 1.0, f32::NAN]).unwrap(), [1.75 / 4.0, 0.75]);
    assert_eq!(hybrid(d, None, None, [1e-30, 0.0, 0.0]).unwrap(), dense);
    let all = hybrid(d, s, m, [1.0, 1.0, 2.0]).unwrap();
    assert_eq!(all[0], 2.75 / 4.0);
    assert!(all[1].is_nan());
    for (d, s, m, weights, words) in [
        (None, None, None, [1.0; 3], "all missing"),
        (d, s, None, [0.0, 0.0, 1.0], "the weights of dense and sparse are all 0"),
        (d, None, m, [0.0, 1.0, 0.0], "the weights of dense and multi are all 0"),
        (d, s, m, [1.0, -0.5, 1.0], "the weight of sparse is -0.5"),
        (d, s, m, [1.0, 1.0, f32::INFINITY], "the weight of multi is inf"),
        (d, s, m, [f32::NAN, 1.0, 1.0], "the weight of dense is NaN"),
        (d, Some(&sparse[..1]), None, [1.0; 3], "sparse has 1 scores, and 2 are"),
    ] {
        let e = hybrid(d, s, m, weights).unwrap_err();
        assert!(e.to_string().contains(words), "{e}");
    }
}

#[test]
fn sparse_scores_of_many_texts_are_the_same_on_any_threads() {
    // More entries than one thread is given, and a last part that is not whole.
    let weights: Vec<f32> = (0..300).map(|entry| 1.0 / (entry + 1) as f32).collect();
    let ids: Vec<Vec<u32>> = (0..1001)
        .map(|text| (0..300).map(|entry| entry * (text % 7 + 1) + text).collect())
        .collect();
    let texts: Vec<_> = ids.iter().map(|ids| SparseText { ids, weights: &weights }).collect();
    let on = |threads| {
        let mut scores = Array2::from_elem((3, texts.len()), f32::NAN);
        similarity_sparse(&texts[5..8], &texts, threads, scores.view_mut()).unwrap();
        scores
    };
    let one = on(1);
    assert!(one.iter().all(|score| score.is_finite()) && one[[0, 5]] > 1.0);
    assert_eq!(on(2), one);
    assert_eq!(on(5), one);
}
