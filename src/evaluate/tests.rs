//! Measures against those of sentence-transformers, and inputs without a measure.

use std::collections::BTreeMap;

use ndarray::Array2;
use serde::Deserialize;

use super::*;
use crate::{Metric, similarity_top_k};

/// The output of `tests/golden/evaluate.py`.
#[derive(Deserialize)]
struct Golden {
    triplets: Vec<Triplets>,
    pairs: Vec<Pairs>,
    retrieval: Vec<Queries>,
    by: BTreeMap<String, Measured>,
}

type Rows = Vec<Vec<f32>>;
type Metrics = BTreeMap<String, Option<f64>>;

#[derive(Deserialize)]
struct Triplets {
    anchors: Rows,
    positives: Rows,
    negatives: Rows,
}

#[derive(Deserialize)]
struct Pairs {
    a: Rows,
    b: Rows,
    grades: Vec<f64>,
}

#[derive(Deserialize)]
struct Queries {
    queries: Rows,
    corpus: Rows,
    relevant: Vec<Vec<usize>>,
}

#[derive(Deserialize)]
struct Measured {
    triplets: Vec<Metrics>,
    pairs: Vec<Metrics>,
    retrieval: Vec<Metrics>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/evaluate.json")).unwrap()
}

fn rows(rows: &Rows) -> Array2<f32> {
    Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).unwrap()
}

fn assert_near(what: &str, ours: &[(String, f64)], expected: &Metrics) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    for (name, ours) in ours {
        let expected = expected[name].unwrap_or(f64::NAN);
        let near = (ours - expected).abs() <= 1e-6 || ours.is_nan() && expected.is_nan();
        assert!(near, "{what}, {name}: {ours}, not {expected}");
    }
}

#[test]
fn triplets_are_measured_by_either_definition() {
    let golden = golden();
    for (definition, by) in
        [(TripletDefinition::Current, "current"), (TripletDefinition::V3_0, "3.0")]
    {
        for (index, case) in golden.triplets.iter().enumerate() {
            let (anchors, positives) = (rows(&case.anchors), rows(&case.positives));
            let negatives = rows(&case.negatives);
            let ours =
                evaluate_triplets(anchors.view(), positives.view(), negatives.view(), definition)
                    .unwrap();
            let names = EVALUATED_METRICS.map(|metric| format!("{}_accuracy", metric.name()));
            let mut ours_named: Vec<_> = names.into_iter().zip(ours.accuracy).collect();
            ours_named.push(("max_accuracy".into(), ours.max));
            assert_near(&format!("{by} {index}"), &ours_named, &golden.by[by].triplets[index]);
        }
    }
}

/// The measures on the seed model's card: for vectors of length 1 and without ties, the inverted
/// dot product is 1 minus the other.
#[test]
fn the_old_dot_accuracy_is_the_complement() {
    let case = &golden().triplets[1];
    let distinct: Vec<usize> =
        (0..case.anchors.len()).filter(|&row| case.positives[row] != case.negatives[row]).collect();
    let part = |all: &Rows| rows(&distinct.iter().map(|&row| all[row].clone()).collect());
    let [anchors, positives, negatives] =
        [&case.anchors, &case.positives, &case.negatives].map(part);
    let of = |definition| {
        evaluate_triplets(anchors.view(), positives.view(), negatives.view(), definition).unwrap()
    };
    let (now, then) = (of(TripletDefinition::Current), of(TripletDefinition::V3_0));
    assert!((then.accuracy[1] - (1.0 - now.accuracy[1])).abs() < 1e-12);
    assert_eq!(then.accuracy[0], now.accuracy[0]);
    assert!(now.accuracy[1] > 0.3 && now.accuracy[1] < 0.7);
}

#[test]
fn correlations_are_those_of_scipy_with_ties_and_without_spread() {
    let golden = golden();
    for (index, case) in golden.pairs.iter().enumerate() {
        let ours = evaluate_similarity(rows(&case.a).view(), rows(&case.b).view(), &case.grades);
        let ours = ours.unwrap();
        let mut named = Vec::new();
        for (metric, of) in EVALUATED_METRICS.iter().zip(ours.by_metric) {
            named.push((format!("pearson_{}", metric.name()), of.pearson));
            named.push((format!("spearman_{}", metric.name()), of.spearman));
        }
        named.push(("pearson_max".into(), ours.max.pearson));
        named.push(("spearman_max".into(), ours.max.spearman));
        for by in ["current", "3.0"] {
            assert_near(&format!("{by} {index}"), &named, &golden.by[by].pairs[index]);
        }
    }
}

#[test]
fn retrieval_is_measured_as_by_sentence_transformers() {
    let golden = golden();
    for (index, case) in golden.retrieval.iter().enumerate() {
        let mut named = Vec::new();
        for metric in [Metric::Cosine, Metric::Dot] {
            let (queries, corpus) = (rows(&case.queries), rows(&case.corpus));
            let (queries, corpus) = (queries.view(), corpus.view());
            let hits = similarity_top_k(metric, queries, corpus, RETRIEVAL_DEPTH, 1).unwrap();
            let rankings: Vec<Vec<usize>> =
                hits.iter().map(|hits| hits.iter().map(|hit| hit.row).collect()).collect();
            let ours = evaluate_retrieval(&rankings, &case.relevant).unwrap();
            for (name, values) in [
                ("accuracy", &ours.accuracy[..]),
                ("precision", &ours.precision),
                ("recall", &ours.recall),
                ("ndcg", &ours.ndcg),
                ("mrr", &ours.mrr),
                ("map", &ours.map),
            ] {
                for (depth, value) in values {
                    named.push((format!("{}_{name}@{depth}", metric.name()), *value));
                }
            }
        }
        assert_near(&format!("current {index}"), &named, &golden.by["current"].retrieval[index]);
        // Version 3.0 ranks equal scores in the accidental order of its heap, as in the second
        // case.
        if index != 1 {
            assert_near(&format!("3.0 {index}"), &named, &golden.by["3.0"].retrieval[index]);
        }
    }
}

#[test]
fn nothing_to_measure_is_an_error() {
    let none = Array2::zeros((0, 3));
    let one = Array2::zeros((1, 3));
    let current = TripletDefinition::Current;
    evaluate_triplets(none.view(), none.view(), none.view(), current).unwrap_err();
    evaluate_triplets(one.view(), one.view(), none.view(), current).unwrap_err();
    evaluate_similarity(one.view(), one.view(), &[1.0]).unwrap_err();
    evaluate_similarity(one.view(), one.view(), &[1.0, 2.0]).unwrap_err();
    evaluate_retrieval(&[], &[]).unwrap_err();
    evaluate_retrieval(&[vec![0]], &[vec![]]).unwrap_err();
    evaluate_retrieval(&[vec![0]], &[vec![0], vec![1]]).unwrap_err();
}

#[test]
fn a_nan_makes_correlations_nan() {
    let of = correlation(&[1.0, f64::NAN, 3.0], &[1.0, 2.0, 3.0]).unwrap();
    assert!(of.pearson.is_nan() && of.spearman.is_nan());
    let of = correlation(&[1.0, 2.0, 4.0], &[1.0, 4.0, 16.0]).unwrap();
    assert!(of.pearson < 1.0 && (of.spearman - 1.0).abs() < 1e-12);
    let of = correlation(&[0.0, -0.0, 4.0], &[3.0, 3.0, 1.0]).unwrap();
    assert!((of.spearman + 1.0).abs() < 1e-12);
}
