//! Sparse weights and multi-vectors against FlagEmbedding, with each other and with dense vectors
//! in one run.

use std::collections::BTreeMap;

use bge::ErrorKind::{ModelInvalid, Unsupported};
use bge::{Embeddings, EncodeOptions, Model, OpenOptions, Outputs};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde::Deserialize;

use crate::support::models::{Copy, open, tiny_dir, vector};

pub const SPARSE: &str = "sparse_linear.safetensors";
pub const MULTI: &str = "colbert_linear.safetensors";
pub const REFERENCE_TOLERANCE: f32 = 1e-5;
pub const BATCH_TOLERANCE: f32 = 2e-6;
pub const HIDDEN: usize = 32;
pub const MULTI_DIM: usize = 8;

#[derive(Deserialize)]
pub struct Row {
    pub text: String,
    pub ids: Vec<u32>,
    pub truncated: bool,
    pub dense: Vec<f32>,
    pub sparse: BTreeMap<u32, f32>,
    pub multi: Vec<Vec<f32>>,
}

impl Row {
    pub fn reference(&self) -> OfText {
        OfText {
            dense: self.dense.clone(),
            sparse: self.sparse.clone(),
            multi: self.multi.concat(),
            tokens: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct TokenRow {
    text: String,
    tokens: Vec<Vec<f32>>,
}

/// The results of a text by output, empty for outputs that were not requested.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfText {
    pub dense: Vec<f32>,
    pub sparse: BTreeMap<u32, f32>,
    pub multi: Vec<f32>,
    pub tokens: Vec<f32>,
}

/// The results that FlagEmbedding computed with the heads of a folder.
pub fn golden(folder: &str) -> Vec<Row> {
    let golden = std::fs::read_to_string(tiny_dir(folder).join("golden.json")).unwrap();
    serde_json::from_str(&golden).unwrap()
}

fn model() -> Model {
    Model::open(tiny_dir("heads"), &OpenOptions::default()).unwrap()
}

pub fn asking(dense: bool, sparse: bool, multi: bool) -> EncodeOptions {
    let outputs = Outputs { dense, sparse, multi, tokens: false };
    EncodeOptions { outputs, ..EncodeOptions::default() }
}

fn asking_by(bits: u8) -> EncodeOptions {
    let bit = |bit: u8| bits & 1 << bit != 0;
    let outputs = Outputs { dense: bit(0), sparse: bit(1), multi: bit(2), tokens: bit(3) };
    EncodeOptions { outputs, ..EncodeOptions::default() }
}

fn all() -> EncodeOptions {
    asking_by(15)
}

pub fn of_text(results: &Embeddings, text: usize) -> OfText {
    let row = text * results.dim..(text + 1) * results.dim;
    OfText {
        dense: results.dense.get(row).unwrap_or_default().to_vec(),
        sparse: results.sparse.as_ref().map(|s| s.of(text).collect()).unwrap_or_default(),
        multi: results.multi.as_ref().map(|m| m.of(text).to_vec()).unwrap_or_default(),
        tokens: results.tokens.as_ref().map(|t| t.of(text).to_vec()).unwrap_or_default(),
    }
}

/// The part of the results that options request.
fn part_of(whole: &OfText, options: &EncodeOptions) -> OfText {
    let (asked, whole) = (options.outputs, whole.clone());
    OfText {
        dense: if asked.dense { whole.dense } else { Vec::new() },
        sparse: if asked.sparse { whole.sparse } else { BTreeMap::new() },
        multi: if asked.multi { whole.multi } else { Vec::new() },
        tokens: if asked.tokens { whole.tokens } else { Vec::new() },
    }
}

/// The largest difference between numbers, relative for those of final states, which are not
/// scaled; where a weight that is absent counts as zero: rounding
/// may decide on which side of zero it falls.
pub fn difference(a: &OfText, b: &OfText) -> f32 {
    let lengths = |of: &OfText| (of.dense.len(), of.multi.len(), of.tokens.len());
    assert_eq!(lengths(a), lengths(b));
    let weight = |of: &OfText, id| of.sparse.get(id).copied().unwrap_or(0.0);
    let ids = a.sparse.keys().chain(b.sparse.keys());
    let numbers = a.dense.iter().zip(&b.dense).chain(a.multi.iter().zip(&b.multi));
    numbers
        .map(|(a, b)| (a - b).abs())
        .chain(a.tokens.iter().zip(&b.tokens).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)))
        .chain(ids.map(|id| (weight(a, id) - weight(b, id)).abs()))
        // Not f32::max, which would pass over a NaN.
        .fold(0.0, |max, x| if x <= max { max } else { x })
}

#[test]
fn all_outputs_match_the_reference_alone_and_together() {
    let (model, rows) = (model(), golden("heads"));
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let three = asking(true, true, true);
    let together = model.encode(&texts, &three).unwrap();
    for (index, row) in rows.iter().enumerate() {
        let reference = row.reference();
        let alone = model.encode(&[&row.text], &three).unwrap();
        for (results, at) in [(&alone, 0), (&together, index)] {
            let ours = of_text(results, at);
            let difference = difference(&ours, &reference);
            assert!(difference <= REFERENCE_TOLERANCE, "{:?}: {difference}", row.text);
            assert_eq!(ours.multi.len(), (row.ids.len() - 1) * MULTI_DIM, "{:?}", row.text);
            assert!(ours.sparse.iter().all(|(&id, &weight)| id > 3 && weight > 0.0));
            assert_eq!(results.usage[at].tokens, row.ids.len());
            assert_eq!(results.usage[at].truncated, row.truncated);
        }
    }
    // The texts contain the tokens that they are meant to contain.
    let has = |id| rows.iter().any(|row| row.ids[1..row.ids.len() - 1].contains(&id));
    assert!([0, 1, 2, 3, 1500].into_iter().all(has));
    assert!(rows.iter().any(|row| row.truncated && !row.sparse.is_empty()));
}

#[test]
fn token_embeddings_are_those_of_sentence_transformers() {
    let golden = std::fs::read_to_string(tiny_dir("token_embeddings.json")).unwrap();
    let rows: Vec<TokenRow> = serde_json::from_str(&golden).unwrap();
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    // A model that scales its vectors, a caller that wants them scaled, and no heads.
    let model = open(&tiny_dir("v6")).unwrap();
    assert_eq!(model.info().token_dim, HIDDEN);
    let options = EncodeOptions { normalize: true, ..asking_by(8) };
    let together = model.encode(&texts, &options).unwrap();
    for (index, row) in rows.iter().enumerate() {
        let reference = OfText { tokens: row.tokens.concat(), ..OfText::default() };
        let alone = model.encode(&[&row.text], &options).unwrap();
        for (results, at) in [(&alone, 0), (&together, index)] {
            let difference = difference(&of_text(results, at), &reference);
            assert!(difference <= REFERENCE_TOLERANCE, "{:?}: {difference}", row.text);
            assert_eq!(results.usage[at].tokens, row.tokens.len());
        }
    }
    let length = |row: &Vec<f32>| row.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!(rows.iter().flat_map(|row| &row.tokens).all(|row| length(row) > 1.5));
}

#[test]
fn what_is_not_asked_for_is_not_there_and_changes_nothing() {
    let model = model();
    let texts = ["Orang-orang ada di luar.", "", "di di luar di luar"];
    let whole = model.encode(&texts, &all()).unwrap();
    for bits in 0..16 {
        let options = asking_by(bits);
        let part = model.encode(&texts, &options).unwrap();
        let there = Outputs {
            dense: !part.dense.is_empty(),
            sparse: part.sparse.is_some(),
            multi: part.multi.is_some(),
            tokens: part.tokens.is_some(),
        };
        assert_eq!(there, options.outputs);
        for text in 0..texts.len() {
            let expected = part_of(&of_text(&whole, text), &options);
            assert!(difference(&of_text(&part, text), &expected) <= BATCH_TOLERANCE);
        }
    }
    let nothing = model.encode::<&str>(&[], &all()).unwrap();
    assert_eq!(nothing.sparse.unwrap().offsets, [0]);
    assert_eq!(nothing.multi.unwrap().offsets, [0]);
    assert_eq!(nothing.tokens.unwrap().offsets, [0]);
}

#[test]
fn a_text_has_the_same_results_in_any_company_and_on_any_thread() {
    let (model, rows) = (model(), golden("heads"));
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let alone: Vec<OfText> =
        texts.iter().map(|text| of_text(&model.encode(&[text], &all()).unwrap(), 0)).collect();
    let mut runner = TestRunner::new(Config { cases: 48, ..Config::default() });
    let batch = (1..16u8, prop::collection::vec(0..texts.len(), 1..30));
    let outcome = runner.run(&prop::collection::vec(batch, 1..6), |batches| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = batches
                .iter()
                .map(|(bits, batch)| {
                    let (model, texts) = (&model, &texts);
                    let options = asking_by(*bits);
                    let encode = move || {
                        let texts: Vec<&str> = batch.iter().map(|&index| texts[index]).collect();
                        model.encode(&texts, &options).unwrap()
                    };
                    (bits, batch, scope.spawn(encode))
                })
                .collect();
            for (bits, batch, thread) in threads {
                let results = thread.join().unwrap();
                for (at, &index) in batch.iter().enumerate() {
                    let expected = part_of(&alone[index], &asking_by(*bits));
                    let difference = difference(&of_text(&results, at), &expected);
                    prop_assert!(difference <= BATCH_TOLERANCE, "differs by {difference}");
                }
            }
            Ok(())
        })
    });
    outcome.unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn asynchronous_calls_get_the_same() {
    let model = model();
    let (told, outcome) = std::sync::mpsc::channel();
    let texts = ["Orang-orang ada di luar.", "a"];
    model.encode_async(&texts, &all(), move |result| told.send(result).unwrap()).unwrap();
    let theirs = outcome.recv().unwrap().unwrap();
    let ours = model.encode(&texts, &all()).unwrap();
    for text in 0..2 {
        assert!(difference(&of_text(&ours, text), &of_text(&theirs, text)) <= BATCH_TOLERANCE);
    }
}

#[test]
fn pooling_by_mean_leaves_the_other_outputs_alone() {
    let copy = Copy::of("heads");
    copy.json("1_Pooling/config.json", |config| {
        config["pooling_mode_cls_token"] = false.into();
        config["pooling_mode_mean_tokens"] = true.into();
    });
    let (mean, cls) = (open(&copy.dir).unwrap(), model());
    let text = ["Orang-orang ada di luar."];
    let mut ours = of_text(&mean.encode(&text, &all()).unwrap(), 0);
    let expected = of_text(&cls.encode(&text, &all()).unwrap(), 0);
    let only = mean.encode(&text, &EncodeOptions::default()).unwrap().dense;
    assert!(only.iter().zip(&ours.dense).all(|(a, b)| (a - b).abs() <= BATCH_TOLERANCE));
    ours.dense.clone_from(&expected.dense);
    assert!(difference(&ours, &expected) <= BATCH_TOLERANCE);
}

#[test]
fn a_model_without_a_head_refuses_what_the_head_would_make_and_does_the_rest() {
    let copy = Copy::of("heads");
    copy.remove(MULTI);
    for (without_sparse, words) in [(false, ""), (true, "the model has neither sparse_linear.pt")] {
        if without_sparse {
            copy.remove(SPARSE);
        }
        let model = open(&copy.dir).unwrap();
        let outputs = Outputs { dense: true, sparse: !without_sparse, multi: false, tokens: true };
        assert_eq!((model.info().outputs, model.info().multi_dim), (outputs, 0));
        model.encode(&["a"], &asking(true, !without_sparse, false)).unwrap();
        let e = model.encode(&["a"], &asking(false, false, true)).unwrap_err();
        assert_eq!(e.kind(), Unsupported);
        assert!(e.to_string().contains("the model has neither colbert_linear.pt"), "{e}");
        let e = model.encode_async(&["a"], &all(), |_| panic!("refused")).unwrap_err();
        assert!(e.to_string().contains(words), "{e}");
    }
}

#[test]
fn a_tokenizer_that_numbers_the_special_tokens_otherwise_is_refused_with_a_sparse_head_only() {
    let copy = Copy::of("heads");
    let tokenizer = String::from_utf8(copy.read("tokenizer.json")).unwrap();
    copy.write("tokenizer.json", tokenizer.replace("<unk>", "<what>"));
    copy.is_refused("renamed", ModelInvalid, &["tokenizer.json", "<what>", "<unk>"]);
    copy.remove(SPARSE);
    open(&copy.dir).unwrap();
}

#[test]
fn heads_change_the_fingerprint_and_no_dense_vector() {
    let copy = Copy::of("heads");
    let fingerprint = || open(&copy.dir).unwrap().fingerprint().unwrap().to_string();
    let (whole, dense) = (fingerprint(), vector(&copy.dir));
    let mut seen = vec![whole.clone()];
    for file in [SPARSE, MULTI] {
        let before = copy.read(file);
        let mut changed = before.clone();
        *changed.last_mut().unwrap() ^= 1;
        copy.write(file, &changed);
        seen.push(fingerprint());
        copy.remove(file);
        seen.push(fingerprint());
        copy.write(file, before);
    }
    assert_eq!(fingerprint(), whole);
    copy.remove(SPARSE);
    copy.remove(MULTI);
    seen.push(fingerprint());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6);
    for (a, b) in vector(&copy.dir).iter().zip(&dense) {
        assert!((a - b).abs() <= BATCH_TOLERANCE);
    }
}
