//! Faults in a safetensors file: each ends in an error that names the file and the fault.

use bge::ErrorKind::{self, ModelInvalid, Unsupported};
use serde_json::{Value, json};

use crate::support::models::{Copy, LFS_POINTER, WEIGHTS, join, split};

const WORDS: &str = "embeddings.word_embeddings.weight";
const NORM: &str = "embeddings.LayerNorm.weight";
const BIAS: &str = "encoder.layer.0.intermediate.dense.bias";

#[test]
fn a_file_cut_anywhere_is_said_to_be_incomplete() {
    let copy = Copy::of("mean");
    let whole = copy.read(WEIGHTS);
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let last = whole.len() - 1;
    let cuts =
        [0, 1, 7, 8, 9, 100, header - 1, header, header + 1, whole.len() / 2, last - 3, last];
    let everywhere = (0..whole.len()).step_by(whole.len() / 97);
    for cut in cuts.into_iter().chain(everywhere) {
        copy.write(WEIGHTS, &whole[..cut]);
        let has = format!("has {cut} bytes");
        copy.is_refused(&cut.to_string(), ModelInvalid, &[WEIGHTS, &has, "download it again"]);
    }
    copy.write(WEIGHTS, [whole.as_slice(), b"x"].concat());
    copy.is_refused("a byte more", ModelInvalid, &[WEIGHTS, &format!("has {} bytes", last + 2)]);
    copy.write(WEIGHTS, LFS_POINTER);
    copy.is_refused("pointer", ModelInvalid, &[WEIGHTS, "git lfs pull"]);
    // The page that a web server may return instead of the file.
    copy.write(WEIGHTS, "<!doctype html><title>404</title>");
    copy.is_refused("page", ModelInvalid, &[WEIGHTS, "not a safetensors file"]);
}

#[test]
fn a_header_that_claims_too_much_is_not_believed() {
    let copy = Copy::of("mean");
    let whole = copy.read(WEIGHTS);
    for (length, words) in [
        (0, ["its header is not valid", "EOF"]),
        (1, ["its header is not valid", "line 1"]),
        (whole.len() as u64 - 7, ["its header alone", "download it again"]),
        ((16 << 20) + 1, ["16777217", "at most 16777216"]),
        (1 << 63, ["9223372036854775808", "at most"]),
        (u64::MAX, ["18446744073709551615", "at most"]),
    ] {
        let mut changed = whole.clone();
        changed[..8].copy_from_slice(&u64::to_le_bytes(length));
        copy.write(WEIGHTS, &changed);
        copy.is_refused(&length.to_string(), ModelInvalid, &words);
    }
}

#[test]
fn a_header_that_is_no_list_of_tensors_is_refused() {
    let deep = format!("{{\"a\": {}", "[".repeat(1 << 20));
    let many = format!("{{\"a\": {{\"dtype\": \"F32\", \"shape\": [1{}", ", 1".repeat(1 << 20));
    let long = format!("{{\"a\": {{\"dtype\": \"{}\"}}}}", "x".repeat(1 << 20));
    let copy = Copy::of("mean");
    for header in ["", "x", "[]", "17", "null", "{\"a\": 1}", "\0\0\0\0", &deep, &many, &long] {
        copy.write(WEIGHTS, join(header, b""));
        let case = &header[..header.len().min(20)];
        copy.is_refused(case, ModelInvalid, &[WEIGHTS, "its header is not valid"]);
    }
    copy.write(WEIGHTS, join("{}", b""));
    copy.is_refused("no tensors", ModelInvalid, &["lack the tensor", WORDS]);
    copy.write(WEIGHTS, join("{\"__metadata__\": {\"format\": \"pt\"}}", b""));
    copy.is_refused("only metadata", ModelInvalid, &["lack the tensor", WORDS]);
}

fn offsets(header: &Value, tensor: &str) -> [u64; 2] {
    serde_json::from_value(header[tensor]["data_offsets"].clone()).unwrap()
}

#[test]
fn tensors_that_do_not_fill_the_file_are_refused() {
    type Change = fn(&mut Value);
    let cases: &[(&str, Change, &[&str])] = &[
        (
            "overlap",
            |h| {
                let [begin, end] = offsets(h, BIAS);
                h[BIAS]["data_offsets"] = json!([begin - 4, end - 4]);
            },
            &["its header is not valid", "offset"],
        ),
        (
            "two at one place",
            |h| {
                h["copy"] = h[BIAS].clone();
            },
            &["its header is not valid", "offset"],
        ),
        (
            "gap",
            |h| {
                h.as_object_mut().unwrap().remove(BIAS);
            },
            &["its header is not valid", "offset"],
        ),
        (
            "backwards",
            |h| {
                let [begin, end] = offsets(h, BIAS);
                h[BIAS]["data_offsets"] = json!([end, begin]);
            },
            &["its header is not valid", "offset"],
        ),
        (
            "shorter than its shape",
            |h| h[BIAS]["shape"] = json!([21]),
            &["its header is not valid", "shape"],
        ),
        (
            "huge",
            |h| h[BIAS]["shape"] = json!([1_u64 << 63]),
            &["its header is not valid", "overflow"],
        ),
        (
            "product too large",
            |h| h[BIAS]["shape"] = json!([1_u64 << 32, 1_u64 << 32, 0]),
            &["its header is not valid", "overflow"],
        ),
        (
            "beyond 64 bits",
            |h| h[BIAS]["shape"] = json!([1e30]),
            &["its header is not valid", "1e+30"],
        ),
        ("negative", |h| h[BIAS]["shape"] = json!([-20]), &["its header is not valid", "-20"]),
        (
            "far away",
            |h| {
                h["far"] = json!({
                    "dtype": "F32", "shape": [1], "data_offsets": [1_u64 << 63, (1_u64 << 63) + 4]
                });
            },
            &["its header is not valid", "far"],
        ),
        (
            "past the end",
            |h| {
                let end = h
                    .as_object()
                    .unwrap()
                    .values()
                    .filter_map(|tensor| tensor["data_offsets"][1].as_u64())
                    .max()
                    .unwrap();
                let length = 1_u64 << 59;
                h["more"] = json!({
                    "dtype": "U8", "shape": [length], "data_offsets": [end, end + length]
                });
            },
            &["its header describes", "download it again"],
        ),
        ("unknown type", |h| h[BIAS]["dtype"] = json!("F31"), &["its header is not valid", "F31"]),
    ];
    let copy = Copy::of("mean");
    let whole = copy.read(WEIGHTS);
    for (case, change, words) in cases {
        copy.write(WEIGHTS, &whole);
        copy.weights(WEIGHTS, |header, _| change(header));
        copy.is_refused(case, ModelInvalid, words);
        copy.is_refused(case, ModelInvalid, &[WEIGHTS]);
    }
}

/// Removes a tensor and its bytes from a file, and returns its entry.
fn take(header: &mut Value, data: &mut Vec<u8>, name: &str) -> Value {
    let [begin, end] = offsets(header, name);
    let taken = header.as_object_mut().unwrap().remove(name).unwrap();
    data.drain(begin as usize..end as usize);
    for tensor in header.as_object_mut().unwrap().values_mut() {
        let Some(offsets) = tensor.get_mut("data_offsets") else { continue };
        for offset in offsets.as_array_mut().unwrap() {
            let at = offset.as_u64().unwrap();
            if at >= end {
                *offset = json!(at - (end - begin));
            }
        }
    }
    taken
}

/// Puts a tensor of zeros at the end of a file.
fn put(
    header: &mut Value,
    data: &mut Vec<u8>,
    name: &str,
    dtype: &str,
    shape: Value,
    bytes: usize,
) {
    let begin = data.len();
    data.resize(begin + bytes, 0);
    header[name] = json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()] });
}

#[test]
fn tensors_that_an_encoder_cannot_have_are_refused() {
    let wrong_shape = ["has the shape", "but config.json makes it [15]"];
    type Case = (&'static str, &'static str, Value, usize, ErrorKind, [&'static str; 2]);
    let cases: [Case; 10] = [
        ("half floats", "F16", json!([16]), 32, ModelInvalid, wrong_shape),
        (
            "bytes of halves",
            "U8",
            json!([15]),
            15,
            Unsupported,
            ["U8", "save the model in float32"],
        ),
        (
            "integers",
            "I64",
            json!([15]),
            120,
            Unsupported,
            ["I64", "only F32, F16 and BF16 are supported"],
        ),
        (
            "doubles",
            "F64",
            json!([15]),
            120,
            Unsupported,
            ["F64", "only F32, F16 and BF16 are supported"],
        ),
        (
            "bytes",
            "F8_E4M3",
            json!([15]),
            15,
            Unsupported,
            ["F8_E4M3", "only F32, F16 and BF16 are supported"],
        ),
        ("longer", "F32", json!([16]), 64, ModelInvalid, wrong_shape),
        ("two dimensions", "F32", json!([15, 1]), 60, ModelInvalid, wrong_shape),
        ("a number", "F32", json!([]), 4, ModelInvalid, wrong_shape),
        ("nothing", "F32", json!([0]), 0, ModelInvalid, wrong_shape),
        ("nothing of much", "F32", json!([0, 1_u64 << 40]), 0, ModelInvalid, wrong_shape),
    ];
    let copy = Copy::of("mean");
    let whole = copy.read(WEIGHTS);
    for (case, dtype, shape, bytes, kind, words) in cases {
        copy.write(WEIGHTS, &whole);
        copy.weights(WEIGHTS, |header, data| {
            take(header, data, NORM);
            put(header, data, NORM, dtype, shape, bytes);
        });
        copy.is_refused(case, kind, &words);
        copy.is_refused(case, kind, &[WEIGHTS, NORM]);
    }
    let (header, _) = split(&whole);
    for name in header.as_object().unwrap().keys() {
        if name == "__metadata__" || name.starts_with("pooler.") {
            continue;
        }
        copy.write(WEIGHTS, &whole);
        copy.weights(WEIGHTS, |header, data| {
            take(header, data, name);
        });
        copy.is_refused("taken out", ModelInvalid, &["lack the tensor", name]);
    }
}

#[test]
fn two_encoders_in_one_file_are_refused() {
    let copy = Copy::of("mean");
    copy.weights(WEIGHTS, |header, data| {
        put(header, data, &format!("teacher.{WORDS}"), "F32", json!([1, 1]), 4);
    });
    copy.is_refused("two", ModelInvalid, &["several encoders", "\"teacher.\""]);
}

#[test]
fn a_tokenizer_larger_than_the_word_embedding_table_is_refused() {
    let copy = Copy::of("mean");
    copy.json("config.json", |v| v["vocab_size"] = json!(1500));
    copy.weights(WEIGHTS, |header, data| {
        take(header, data, WORDS);
        put(header, data, WORDS, "F32", json!([1500, 15]), 1500 * 15 * 4);
    });
    copy.is_refused("ids", ModelInvalid, &["tokenizer.json", "1500", "do not belong together"]);
}
