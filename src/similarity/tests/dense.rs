//! Scores and the best of them against sums in 64 bits.

use ndarray::{Array2, ArrayView1, ArrayView2, s};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{Metric, similarity, similarity_pairwise, similarity_top_k};

fn naive(metric: Metric, a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| term(a.into(), b.into())).sum()
    };
    let squares = |row: ArrayView1<'_, f32>| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let norms = (squares(a) * squares(b)).sqrt();
    match metric {
        Metric::Cosine if norms == 0.0 => 0.0,
        Metric::Cosine => sum(&|a, b| a * b) / norms,
        Metric::Dot => sum(&|a, b| a * b),
        Metric::Euclidean => -sum(&|a, b| (a - b) * (a - b)).sqrt(),
        Metric::Manhattan => -sum(&|a, b| (a - b).abs()),
    }
}

/// What 264 roundings can make of the numbers that are summed: those of a run of 256, and of the
/// rest.
fn tolerance(metric: Metric, a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    264.0 / f64::from(1 << 24)
        * match metric {
            Metric::Cosine => 1.0,
            Metric::Dot => a.iter().zip(b).map(|(a, b)| f64::from(a * b).abs()).sum(),
            Metric::Euclidean | Metric::Manhattan => naive(metric, a, b).abs(),
        }
}

fn scores(
    metric: Metric,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    threads: usize,
) -> Array2<f32> {
    let mut scores = Array2::from_elem((a.nrows(), b.nrows()), f32::NAN);
    similarity(metric, a, b, threads, scores.view_mut()).unwrap();
    scores
}

fn rows(count: usize, dim: usize, seed: u32) -> Array2<f32> {
    Array2::from_shape_fn((count, dim), |(row, column)| {
        let mixed = (row as u32 * 7919 + column as u32 + 1).wrapping_mul(2_654_435_761 ^ seed);
        (mixed >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    })
}

#[test]
fn rows_may_lie_apart_in_every_metric() {
    let transposed = Array2::from_shape_fn((5, 3), |(i, j)| (i * 3 + j * j) as f32 - 4.0);
    let end_to_end = transposed.t().as_standard_layout().into_owned();
    for metric in Metric::ALL {
        let expected = scores(metric, end_to_end.view(), end_to_end.view(), 1);
        assert_eq!(scores(metric, transposed.t(), transposed.t(), 1), expected, "{metric:?}");
    }
}

#[test]
fn scores_are_those_of_loops_and_the_same_whichever_side_is_longer() {
    // Panels and steps that are whole and that are not, and sums of several runs.
    for (a_rows, b_rows, dim) in [(1, 1, 1), (9, 100, 300), (33, 7, 1024), (1100, 3, 5)] {
        let (a, b) = (rows(a_rows, dim, 1), rows(b_rows, dim, 2));
        for metric in Metric::ALL {
            let ours = scores(metric, a.view(), b.view(), 2);
            for ((i, j), &score) in ours.indexed_iter() {
                let expected = naive(metric, a.row(i), b.row(j));
                let tolerance = tolerance(metric, a.row(i), b.row(j));
                assert!((f64::from(score) - expected).abs() <= tolerance, "{metric:?} {score}");
            }
            assert_eq!(scores(metric, b.view(), a.view(), 1), ours.t(), "{metric:?}");
            let mut pairs = vec![0.0; a_rows.min(b_rows)];
            let first = s![..pairs.len(), ..];
            similarity_pairwise(metric, a.slice(first), b.slice(first), &mut pairs).unwrap();
            for (i, score) in pairs.iter().enumerate() {
                assert_eq!(score.to_bits(), ours[[i, i]].to_bits(), "{metric:?} {score}");
            }
        }
    }
}

#[test]
fn the_best_are_those_of_a_stable_sort_of_all_scores_bit_by_bit() {
    let shapes = (1..40usize, 0..700usize, 1..70usize, 0..80usize, 0..5usize, 2..200u32);
    TestRunner::new(Config::with_cases(40))
        .run(&shapes, |(queries, count, dim, k, threads, values)| {
            // Few values, so that many scores are equal.
            let few = |x: f32| (x * values as f32).round();
            let (queries, corpus) = (rows(queries, dim, 3).map(|&x| few(x)), rows(count, dim, 4));
            let corpus = corpus.map(|&x| few(x));
            for metric in Metric::ALL {
                let all = scores(metric, queries.view(), corpus.view(), 1);
                let found =
                    similarity_top_k(metric, queries.view(), corpus.view(), k, threads).unwrap();
                prop_assert_eq!(found.len(), queries.nrows());
                for (hits, all) in found.iter().zip(all.rows()) {
                    let mut order: Vec<usize> = (0..count).collect();
                    order.sort_by(|&a, &b| all[b].partial_cmp(&all[a]).unwrap());
                    let expected: Vec<(usize, u32)> =
                        order.iter().take(k).map(|&row| (row, all[row].to_bits())).collect();
                    let hits: Vec<(usize, u32)> =
                        hits.iter().map(|hit| (hit.row, hit.score.to_bits())).collect();
                    prop_assert_eq!(hits, expected);
                }
            }
            Ok(())
        })
        .unwrap();
}

/// Rows of one sum and of sixteen, of whole chunks and not.
#[test]
fn a_score_has_the_same_bits_whatever_is_beside_its_rows() {
    for dim in [1, 127, 128, 129, 300, 1024, 2048, 2065, 4100] {
        let (a, b) = (rows(70, dim, 5), rows(75, dim, 6));
        for metric in Metric::ALL {
            let all = scores(metric, a.view(), b.view(), 1);
            // Few rows, in tiles that are full and that are not; and panels likewise.
            for count in [1, 3, 7, 13, 16, 17, 30] {
                let some = scores(metric, a.slice(s![..count, ..]), b.view(), 1);
                for (&score, &expected) in some.iter().zip(all.slice(s![..count, ..])) {
                    assert_eq!(score.to_bits(), expected.to_bits(), "{metric:?} {count} {dim}");
                }
            }
        }
    }
}

#[test]
fn more_queries_than_pass_together_and_rows_that_lie_apart() {
    let (queries, corpus) = (rows(1500, 6, 1), rows(6, 400, 2));
    let found = similarity_top_k(Metric::Dot, queries.view(), corpus.t(), 1, 3).unwrap();
    let all = scores(Metric::Dot, queries.view(), corpus.t(), 1);
    for (hits, all) in found.iter().zip(all.rows()) {
        let best = all.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!((hits.len(), hits[0].score, all[hits[0].row]), (1, best, best));
    }
    similarity_top_k(Metric::Dot, queries.view(), corpus.view(), 1, 1).unwrap_err();
}
