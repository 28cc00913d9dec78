//! Vectors against the reference's, and against themselves with other batch-mates.

use std::path::{Path, PathBuf};

use bge::{EncodeOptions, Model, OpenOptions};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde::Deserialize;

/// The greatest difference of a number of a vector from the reference's.
const REFERENCE_TOLERANCE: f32 = 1e-5;
const REFERENCE_COSINE_MIN: f64 = 0.999999;
/// The greatest difference of a vector from itself, alone or in any batch.
const BATCH_TOLERANCE: f32 = 2e-6;

#[derive(Deserialize)]
struct Row {
    text: String,
    prompt: Option<String>,
    ids: Vec<u32>,
    truncated: bool,
    dense: Vec<f32>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn open(dir: &Path) -> Model {
    Model::open(dir, &OpenOptions::default()).unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
}

fn tiny(name: &str) -> (Model, Vec<Row>) {
    let dir = root().join("tests/tiny").join(name);
    let golden = std::fs::read_to_string(dir.join("golden.json")).unwrap();
    (open(&dir), serde_json::from_str(&golden).unwrap())
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let difference = |(a, b): (&f32, &f32)| (a - b).abs();
    // Not f32::max, which would pass over a NaN.
    a.iter().zip(b).map(difference).fold(0.0, |max, x| if x <= max { max } else { x })
}

pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn assert_reference(name: &str, text: &str, ours: &[f32], reference: &[f32]) {
    let text: String = text.chars().take(40).collect();
    let difference = largest_difference(ours, reference);
    assert!(difference <= REFERENCE_TOLERANCE, "{name}: {text:?} differs by {difference}");
    let cosine = cosine(ours, reference);
    assert!(cosine >= REFERENCE_COSINE_MIN, "{name}: {text:?} has the cosine {cosine}");
}

fn matches_reference(name: &str) {
    let (model, rows) = tiny(name);
    let all_at_once: Vec<&str> =
        rows.iter().filter(|row| row.prompt.is_none()).map(|row| row.text.as_str()).collect();
    let together = model.encode(&all_at_once, &EncodeOptions::default()).unwrap();
    for (index, row) in rows.iter().enumerate() {
        let options = EncodeOptions { prompt: row.prompt.clone(), ..EncodeOptions::default() };
        let alone = model.encode(&[&row.text], &options).unwrap();
        assert_reference(name, &row.text, &alone.dense, &row.dense);
        assert_eq!(alone.usage[0].tokens, row.ids.len(), "{name}: {:?}", row.text);
        assert_eq!(alone.usage[0].truncated, row.truncated, "{name}: {:?}", row.text);
        if row.prompt.is_none() {
            let in_batch = &together.dense[index * together.dim..][..together.dim];
            assert_reference(name, &row.text, in_batch, &row.dense);
        }
    }
}

macro_rules! reference {
    ($($test:ident: $name:literal),+ $(,)?) => {
        $(#[test] fn $test() { matches_reference($name); })+
    };
}

reference! {
    cls_pooling_matches_the_reference: "cls",
    mean_pooling_without_normalize_matches_the_reference: "mean",
    five_layers_match_the_reference: "deep",
    texts_of_511_512_and_513_tokens_match_the_reference: "long",
    shards_match_the_reference: "sharded",
    keys_with_a_prefix_match_the_reference: "prefixed",
    version_6_files_match_the_reference: "v6",
    version_6_files_with_mean_pooling_match_the_reference: "v6-mean",
    named_prompts_match_the_reference: "prompts",
    a_default_prompt_matches_the_reference: "default-prompt",
    bert_matches_the_reference: "bert-uncased",
    bert_that_keeps_the_case_in_version_6_files_matches_the_reference: "bert-cased",
}

#[test]
fn an_empty_prompt_name_switches_the_default_prompt_off() {
    let (model, rows) = tiny("default-prompt");
    let encode = |text: &str, prompt: Option<&str>| {
        let options = EncodeOptions { prompt: prompt.map(Into::into), ..EncodeOptions::default() };
        model.encode(&[text], &options).unwrap().dense
    };
    let with_default = &rows.iter().find(|row| row.text == "a").unwrap().dense;
    assert!(largest_difference(&encode("a", Some("")), with_default) > 0.01);
    assert_eq!(encode("query: a", Some("")), encode("a", None));
}

#[derive(Deserialize)]
struct DefaultGolden {
    rows: Vec<DefaultRow>,
}

#[derive(Deserialize)]
struct DefaultRow {
    text: String,
    ids: Vec<u32>,
    mean: Vec<f32>,
}

/// `make test` fetches the model and sets BGE_TEST_MODEL; without it, the model may be missing.
pub fn default_model() -> Option<PathBuf> {
    let dir = root().join(".cache/models/multilingual-e5-small");
    if dir.exists() || std::env::var_os("BGE_TEST_MODEL").is_some() {
        return Some(dir);
    }
    println!("skipped: {} does not exist; `make model` fetches it", dir.display());
    None
}

#[test]
fn default_model_matches_the_reference() {
    let Some(dir) = default_model() else { return };
    let golden = root().join("tests/golden/multilingual-e5-small.json");
    let golden: DefaultGolden =
        serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    assert_eq!(golden.rows.len(), 23);
    let model = open(&dir);
    let texts: Vec<&str> = golden.rows.iter().map(|row| row.text.as_str()).collect();
    let vectors = model.encode(&texts, &EncodeOptions::default()).unwrap();
    for (index, row) in golden.rows.iter().enumerate() {
        assert_eq!(vectors.usage[index].tokens, row.ids.len(), "{:?}", row.text);
        let ours = &vectors.dense[index * vectors.dim..][..vectors.dim];
        assert_reference("multilingual-e5-small", &row.text, ours, &row.mean);
    }
}

#[test]
fn a_text_has_the_same_vector_in_any_batch_and_on_any_thread() {
    for name in ["cls", "long"] {
        let (model, rows) = tiny(name);
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let options = EncodeOptions { prompt: Some(String::new()), ..EncodeOptions::default() };
        let alone: Vec<Vec<f32>> =
            texts.iter().map(|text| model.encode(&[text], &options).unwrap().dense).collect();
        let mut runner = TestRunner::new(Config { cases: 48, ..Config::default() });
        let batches = prop::collection::vec(
            prop::collection::vec(0..texts.len(), 1..40),
            // As many threads at once as there are batches.
            1..5,
        );
        let outcome = runner.run(&batches, |batches| {
            std::thread::scope(|scope| {
                let encode = |batch: &Vec<usize>| {
                    let texts: Vec<&str> = batch.iter().map(|&index| texts[index]).collect();
                    model.encode(&texts, &options).unwrap()
                };
                let threads: Vec<_> = batches
                    .iter()
                    .map(|batch| (batch, scope.spawn(move || encode(batch))))
                    .collect();
                for (batch, thread) in threads {
                    let vectors = thread.join().unwrap();
                    for (ours, &index) in vectors.dense.chunks_exact(vectors.dim).zip(batch) {
                        let difference = largest_difference(ours, &alone[index]);
                        prop_assert!(difference <= BATCH_TOLERANCE, "differs by {difference}");
                    }
                }
                Ok(())
            })
        });
        outcome.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
