//! The command's sparse and multi-vector scores, its weights and its precisions.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use bge::{EncodeOptions, Formula, Precision, Ranges, quantize};
use ndarray::{Array2, ArrayView2};
use serde_json::{Value, json};

use crate::similarity::compute_score::golden;
use crate::support::models::{BGE, open, tiny_dir};

fn bge(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(BGE);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The command may end before it has read anything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn succeeded(args: &[&str], input: &str) -> String {
    let output = bge(args, input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.as_ref()), (Some(0), ""), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(args: &[&str], code: i32, words: &str) {
    let output = bge(args, "\"a\"\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(said.contains(words), "{args:?}: {said}");
    assert!(output.stdout.is_empty());
}

fn heads() -> String {
    tiny_dir("heads").to_str().unwrap().into()
}

#[test]
fn similarity_takes_every_mode() {
    let heads = heads();
    for row in golden().rows.iter().filter(|row| row.of_weights[0].scores.sparse > 0.1) {
        for (mode, weights, expected) in [
            ("dense", None, row.of_weights[0].scores.dense),
            ("sparse", None, row.of_weights[0].scores.sparse),
            ("multi", None, row.of_weights[0].scores.colbert),
            ("sparse+dense", None, row.of_weights[0].scores.sparse_dense.unwrap()),
            ("all", None, row.of_weights[0].scores.all.unwrap()),
            ("sparse+dense", Some("0.4,0.2,0.4"), row.of_weights[2].scores.sparse_dense.unwrap()),
            ("all", Some("1, 0.3,1"), row.of_weights[3].scores.all.unwrap()),
        ] {
            let [query, passage] = &row.pair;
            let mut args = vec!["similarity", &heads, "--json", "--mode", mode, query, passage];
            args.extend(weights.iter().flat_map(|weights| ["--weights", *weights]));
            let scores: Value = serde_json::from_str(&succeeded(&args, "")).unwrap();
            let ours = scores["scores"][0]["score"].as_f64().unwrap() as f32;
            assert!((ours - expected).abs() < 1e-5, "{mode}, {weights:?}: {ours}, {expected}");
        }
    }
}

#[test]
fn modes_and_weights_that_cannot_be_are_refused() {
    let (heads, cls) = (heads(), tiny_dir("cls").to_str().unwrap().to_string());
    let similarity = |more: &[&str], code, words| {
        refused(&[&["similarity", &heads, "a", "b"], more].concat(), code, words);
    };
    similarity(&["--mode", "colbert"], 2, "sparse+dense");
    similarity(&["--weights", "1,1,1"], 2, "--weights is for --mode sparse+dense and all");
    similarity(&["--mode", "all", "--metric", "dot"], 2, "--metric is for --mode dense");
    similarity(&["--mode", "all", "--weights", "1,1"], 2, "2 weights; it takes three");
    similarity(&["--mode", "all", "--weights", "1,b,1"], 2, "invalid float");
    similarity(&["--mode", "all", "--weights=-1,1,1"], 2, "the weight of dense is -1");
    similarity(&["--mode", "sparse+dense", "--weights", "0,0,1"], 2, "all 0");
    refused(&["similarity", &cls, "--mode", "all", "a", "b"], 3, "sparse_linear");
}

#[test]
fn encode_writes_codes_of_the_library() {
    let heads = heads();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("ranges.json");
    let (min, max) = ([-0.3f32; 32], [0.25f32; 32]);
    std::fs::write(&file, json!({"min": min, "max": max}).to_string()).unwrap();
    let texts = ["Orang-orang ada di luar.", "a"];
    let vectors =
        open(&tiny_dir("heads")).unwrap().encode(&texts, &EncodeOptions::default()).unwrap();
    let vectors = ArrayView2::from_shape((2, 32), &vectors.dense).unwrap().to_owned();
    let input = texts.map(|text| format!("{text:?}\n")).concat();
    for (name, precision, signed) in [
        ("int8", Precision::Int8, true),
        ("uint8", Precision::Uint8, false),
        ("binary", Precision::Binary, true),
        ("ubinary", Precision::Ubinary, false),
    ] {
        let mut args = vec!["encode", &heads, "--precision", name, "--chunk", "1"];
        if name.ends_with("int8") {
            args.extend(["--ranges", file.to_str().unwrap()]);
        }
        let mut codes = Array2::zeros((2, precision.bytes(32)));
        let ranges = Some(Ranges { min: &min, max: &max });
        quantize(precision, vectors.view(), ranges, Formula::St6, codes.view_mut()).unwrap();
        let said = succeeded(&args, &input);
        assert_eq!(said.lines().count(), 2);
        for (line, codes) in said.lines().zip(codes.rows()) {
            let line: Value = serde_json::from_str(line).unwrap();
            let expected: Vec<i16> =
                codes.iter().map(|&c| if signed { (c as i8).into() } else { c.into() }).collect();
            assert_eq!(line["dense"], json!(expected), "{name}");
        }
    }
}

#[test]
fn ranges_that_do_not_fit_are_refused_before_any_text() {
    let heads = heads();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("ranges.json");
    let encode = |more: &[&str], words| refused(&[&["encode", &heads], more].concat(), 2, words);
    encode(&["--precision", "int8"], "int8 and uint8 need --ranges");
    encode(&["--precision", "int4"], "ubinary");
    encode(&["--ranges", "x"], "--precision");
    encode(&["--precision", "binary", "--ranges", "x"], "bits have no ranges");
    encode(&["--precision", "int8", "--ranges", "no-such-file"], "no-such-file");
    for (text, words) in [
        ("{\"min\":[0],\"max\":[1]}", "1 minima, and vectors 32 dimensions"),
        ("{\"min\":[0]}", "missing field `max`"),
        ("{\"min\":[0],\"max\":[1],\"mean\":[1]}", "unknown field `mean`"),
        ("{\"min\":[\"0\"],\"max\":[1]}", "invalid type"),
        ("[]", "ranges.json"),
        ("{", "ranges.json"),
    ] {
        std::fs::write(&file, text).unwrap();
        encode(&["--precision", "uint8", "--ranges", file.to_str().unwrap()], words);
    }
}
