//! Model directories with random faults: they open or are refused, and nothing else happens.
//!
//! `BGE_FUZZ_TIMES=100` tries a hundred times as many.

use bge::{EncodeOptions, ErrorKind};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::directory::modules::chain;
use crate::directory::torch_file::{Archive, TORCH, bare, form};
use crate::support::models::{Copy, JSON_FILES, MODULES, POOLING, WEIGHTS, open};

/// One fault in the bytes of a file. Positions are fractions of its length.
#[derive(Clone, Debug)]
enum Fault {
    Flip { at: f64, mask: u8 },
    Cut { at: f64 },
    Remove { at: f64, count: usize },
    Insert { at: f64, bytes: Vec<u8> },
    Repeat { from: f64, to: f64, count: usize },
}

fn fault() -> impl Strategy<Value = Fault> {
    let place = 0.0..1.0;
    prop_oneof![
        4 => (place.clone(), 1..=u8::MAX).prop_map(|(at, mask)| Fault::Flip { at, mask }),
        1 => place.clone().prop_map(|at| Fault::Cut { at }),
        2 => (place.clone(), 1..40_usize).prop_map(|(at, count)| Fault::Remove { at, count }),
        2 => (place.clone(), prop::collection::vec(any::<u8>(), 1..16))
            .prop_map(|(at, bytes)| Fault::Insert { at, bytes }),
        // Printable, so that texts and numbers change more often than break.
        3 => (place.clone(), "[0-9eE.+\\-\\[\\]{}\",:a-z]{1,4}")
            .prop_map(|(at, text)| Fault::Insert { at, bytes: text.into_bytes() }),
        2 => (place.clone(), place, 1..200_usize)
            .prop_map(|(from, to, count)| Fault::Repeat { from, to, count }),
    ]
}

impl Fault {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let place = |fraction: &f64| (fraction * length as f64) as usize;
        match self {
            Self::Flip { at, mask } => {
                if let Some(byte) = bytes.get_mut(place(at)) {
                    *byte ^= mask;
                }
            }
            Self::Cut { at } => bytes.truncate(place(at)),
            Self::Remove { at, count } => {
                bytes.drain(place(at)..length.min(place(at) + count));
            }
            Self::Insert { at, bytes: more } => {
                bytes.splice(place(at)..place(at), more.iter().copied());
            }
            Self::Repeat { from, to, count } => {
                let part = bytes[place(from)..length.min(place(from) + count)].to_vec();
                bytes.splice(place(to)..place(to), part);
            }
        }
    }
}

const NUMBERS: &[&str] =
    &["0", "1", "-1", "2", "15", "0.5", "1e30", "4294967296", "9223372036854775808"];

/// Any JSON value, those that are at home in a model among them.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(NUMBERS).prop_map(|n| serde_json::from_str(n).unwrap()),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(&["", "cls", "mean", "F16", "I64", "..", "gelu", "\0"][..])
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{0,8}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// Counts the values within a value, and replaces the one at which the count ends.
fn replace(within: &mut Value, turn: &mut usize, with: &Value) {
    if *turn == 0 {
        *within = with.clone();
    }
    *turn = turn.wrapping_sub(1);
    match within {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, turn, with)),
        Value::Object(map) => map.values_mut().for_each(|item| replace(item, turn, with)),
        _ => {}
    }
}

fn opens_or_is_refused(copy: &Copy) -> Result<(), TestCaseError> {
    match open(&copy.dir) {
        Ok(model) => {
            let texts = ["Orang-orang ada di luar.", ""];
            match model.encode(&texts, &EncodeOptions::default()) {
                Ok(encoded) => prop_assert_eq!(encoded.dense.len(), 2 * model.info().dense_dim),
                // Damaged weights may still be numbers, and be too large ones.
                Err(e) => prop_assert_eq!(e.kind(), ErrorKind::NotFinite, "{}", e),
            }
        }
        Err(e) => {
            let usual = [
                ErrorKind::ModelNotFound,
                ErrorKind::ModelInvalid,
                ErrorKind::Unsupported,
                ErrorKind::InvalidUtf8,
            ];
            prop_assert!(usual.contains(&e.kind()), "{:?}", e);
            let named = copy.dir.to_str().unwrap();
            prop_assert!(e.to_string().contains(named), "names no file: {}", e);
        }
    }
    Ok(())
}

fn run<S: Strategy>(cases: u32, input: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: std::fmt::Debug,
{
    let times = std::env::var("BGE_FUZZ_TIMES").map_or(1, |times| times.parse().unwrap());
    let cases = cases * times;
    // Failures are to become tests with a name, not files.
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(input, test).unwrap_or_else(|e| panic!("{e}"));
}

fn damaged(cases: u32, copy: &Copy, files: &[&str]) {
    let whole: Vec<Vec<u8>> = files.iter().map(|file| copy.read(file)).collect();
    let input = (0..files.len(), prop::collection::vec(fault(), 1..4));
    run(cases, &input, |(file, faults)| {
        let mut bytes = whole[file].clone();
        faults.iter().for_each(|fault| fault.apply(&mut bytes));
        copy.write(files[file], bytes);
        let outcome = opens_or_is_refused(copy);
        copy.write(files[file], &whole[file]);
        outcome
    });
}

#[test]
fn a_json_file_with_damaged_bytes_is_survived() {
    damaged(150, &Copy::of("mean"), &JSON_FILES);
}

#[test]
fn weights_with_damaged_bytes_are_survived() {
    damaged(50, &Copy::of("mean"), &[WEIGHTS]);
}

#[test]
fn modules_with_damaged_bytes_are_survived() {
    let files = [
        MODULES,
        POOLING,
        "2_Dense/config.json",
        "3_LayerNorm/config.json",
        "2_Dense/pytorch_model.bin",
        "3_LayerNorm/pytorch_model.bin",
    ];
    damaged(150, &chain("legacy chain"), &files);
    damaged(50, &chain("dense, projected residual"), &["2_Dense/model.safetensors"]);
}

#[test]
fn a_safetensors_header_with_damaged_bytes_is_survived() {
    let copy = Copy::of("mean");
    let whole = copy.read(WEIGHTS);
    let start = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    run(150, &prop::collection::vec(fault(), 1..3), |faults| {
        let mut header = whole[8..start].to_vec();
        faults.iter().for_each(|fault| fault.apply(&mut header));
        let length = (header.len() as u64).to_le_bytes();
        copy.write(WEIGHTS, [&length[..], &header, &whole[start..]].concat());
        opens_or_is_refused(&copy)
    });
}

#[test]
fn any_value_in_any_place_of_a_json_file_is_survived() {
    any_value(200, &Copy::of("mean"), &JSON_FILES);
}

#[test]
fn any_value_in_any_place_of_the_json_files_of_modules_is_survived() {
    let files = [MODULES, POOLING, "2_Dense/config.json", "3_LayerNorm/config.json"];
    any_value(150, &chain("dense, norm, normalize"), &files);
}

fn any_value(cases: u32, copy: &Copy, files: &[&str]) {
    let input = (0..files.len(), 0..24_usize, value());
    run(cases, &input, |(file, mut turn, with)| {
        let whole = copy.read(files[file]);
        copy.json(files[file], |value| replace(value, &mut turn, &with));
        let outcome = opens_or_is_refused(copy);
        copy.write(files[file], whole);
        outcome
    });
}

#[test]
fn any_value_in_any_place_of_a_safetensors_header_is_survived() {
    let copy = Copy::of("mean");
    let whole = copy.read(WEIGHTS);
    run(100, &(0..200_usize, value()), |(mut turn, with)| {
        copy.write(WEIGHTS, &whole);
        copy.weights(WEIGHTS, |header, _| replace(header, &mut turn, &with));
        opens_or_is_refused(&copy)
    });
}

#[test]
fn a_file_of_torch_with_damaged_bytes_is_survived() {
    let copy = bare("mean");
    let whole = form("mean.bin");
    // Most of the file is numbers; the directory at its end lists the entries.
    let list = rawzip::ZipArchive::from_slice(&whole).unwrap().directory_offset() as usize;
    let begin = prop::sample::select(vec![0, list]);
    run(150, &(begin, prop::collection::vec(fault(), 1..4)), |(begin, faults)| {
        let mut part = whole[begin..].to_vec();
        faults.iter().for_each(|fault| fault.apply(&mut part));
        copy.write(TORCH, [&whole[..begin], &part].concat());
        opens_or_is_refused(&copy)
    });
}

#[test]
fn a_pickle_of_torch_with_damaged_bytes_is_survived() {
    let copy = bare("mean");
    run(150, &prop::collection::vec(fault(), 1..3), |faults| {
        let mut archive = Archive::of(&form("mean.bin"));
        faults.iter().for_each(|fault| fault.apply(archive.pickle()));
        copy.write(TORCH, archive.bytes());
        opens_or_is_refused(&copy)
    });
}
