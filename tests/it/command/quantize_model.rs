//! `bge quantize` and its function: the directory that it writes, its error, and what it refuses.

use std::path::{Path, PathBuf};

use bge::ErrorKind::{InvalidArgument, ModelInvalid, Unsupported};
use bge::{
    ComputeType, EncodeOptions, Model, OpenOptions, Outputs, QuantizeOptions, QuantizedModel,
    quantize_model,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::encode::golden::{cosine, default_model};
use crate::support::models::{Copy, LFS_POINTER, WEIGHTS, fingerprint, open, split, tiny_dir};

const INT8: &str = "model.int8.safetensors";
const TEXTS: [&str; 5] = [
    "Orang-orang ada di luar.",
    "",
    "Seorang pria bertopi biru berdiri di persimpangan jalan.",
    "这是一个文本向量化的测试句子",
    "di di luar di luar",
];

fn quantize(dir: &Path, out: &Path) -> bge::Result<QuantizedModel> {
    let options = QuantizeOptions { threads: 1, ..QuantizeOptions::default() };
    quantize_model(dir, out, &TEXTS, &options, &mut |_, done, all| assert!(done <= all))
}

/// A tiny model in 8 bits, as a copy to be changed.
fn quantized(name: &str) -> Copy {
    let copy = Copy::of(name);
    let source = copy.around().join("source");
    std::fs::rename(&copy.dir, &source).unwrap();
    quantize(&source, &copy.dir).unwrap_or_else(|e| panic!("{name}: {e}"));
    copy
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn what_is_written_opens_as_it_is_and_gives_nearly_the_same() {
    let options = EncodeOptions::default();
    for name in ["cls", "mean", "deep", "v6", "bert-cased", "prefixed", "sharded"] {
        let copy = quantized(name);
        let source = open(&copy.around().join("source")).unwrap();
        let model = open(&copy.dir).unwrap();
        assert_eq!((source.info().precision, model.info().precision), ("fp32", "int8"));
        let asked =
            OpenOptions { compute_type: ComputeType::Int8, threads: 1, ..OpenOptions::default() };
        let asked = Model::open(&copy.dir, &asked).unwrap();
        assert_eq!(asked.fingerprint().unwrap(), model.fingerprint().unwrap());
        assert_ne!(source.fingerprint().unwrap(), model.fingerprint().unwrap());
        let together = model.encode(&TEXTS, &options).unwrap();
        assert_eq!(asked.encode(&TEXTS, &options).unwrap(), together);
        for (index, text) in TEXTS.iter().enumerate() {
            let alone = model.encode(&[text], &options).unwrap().dense;
            assert_eq!(alone, together.dense[index * together.dim..][..together.dim], "{text:?}");
            let whole = source.encode(&[text], &options).unwrap().dense;
            let cosine = cosine(&whole, &alone);
            // Random weights forgive less than trained ones.
            assert!(cosine > 0.99, "{name}, {text:?}: {cosine}");
            assert_ne!(whole, alone, "{name}, {text:?}");
        }
    }
}

#[test]
fn weights_of_16_bits_are_written_as_the_same_numbers_in_32() {
    let copy = Copy::of("mean");
    let narrow = crate::directory::torch_file::form("mean-bf16.safetensors");
    let written = |weights: &[u8], name: &str| {
        copy.write(WEIGHTS, weights);
        let out = copy.around().join(name);
        quantize(&copy.dir, &out).unwrap();
        split(&std::fs::read(out.join(INT8)).unwrap()).1
    };
    let wide = crate::directory::weights_of_16_bits::widened(&narrow);
    assert_eq!(written(&narrow, "narrow"), written(&wide, "wide"));
}

#[test]
fn all_but_the_weights_is_copied_and_nothing_is_left_over() {
    let copy = Copy::of("heads");
    copy.write("README.md", "of the author");
    copy.write(".gitattributes", "hidden");
    copy.write("pytorch_model.bin.index.json", "another form");
    std::fs::create_dir(copy.path("onnx")).unwrap();
    copy.write("onnx/model.onnx", "another form");
    let out = copy.around().join("out");
    let written = quantize(&copy.dir, &out).unwrap();
    assert_eq!(entries(copy.around()), [copy.dir.clone(), out.clone()]);
    let names = |dir: &Path| -> Vec<String> {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_string();
        entries(dir).into_iter().map(name).collect()
    };
    let other = [".gitattributes", "pytorch_model.bin.index.json", "onnx", WEIGHTS];
    let mut expected: Vec<String> =
        names(&copy.dir).into_iter().filter(|name| !other.contains(&name.as_str())).collect();
    expected.push(INT8.into());
    expected.sort();
    assert_eq!(names(&out), expected);
    for name in expected.iter().filter(|name| *name != INT8 && !out.join(name).is_dir()) {
        assert_eq!(std::fs::read(out.join(name)).unwrap(), copy.read(name), "{name}");
    }
    assert_eq!(written.bytes_after, std::fs::metadata(out.join(INT8)).unwrap().len());
    assert!(written.bytes_after < written.bytes_before);
    assert_eq!((written.texts, written.compared, written.compared_are_known), (5, 5, true));
    assert!(written.cosine_least > 0.99 && written.cosine_least <= written.cosine_mean);
    let (source, model) = (open(&copy.dir).unwrap(), open(&out).unwrap());
    assert_eq!(source.info().outputs, model.info().outputs);
    let outputs = Outputs { dense: true, sparse: true, multi: true, tokens: true };
    model.encode(&TEXTS, &EncodeOptions { outputs, ..EncodeOptions::default() }).unwrap();

    let (header, data) = split(&std::fs::read(out.join(INT8)).unwrap());
    let words = &header["__metadata__"];
    assert_eq!(words["libbge_int8"], "1");
    assert_eq!(words["source_fingerprint"], source.fingerprint().unwrap());
    let layer = "encoder.layer.0.output.dense";
    for (name, dtype) in [
        ("embeddings.word_embeddings.weight".to_string(), "I8"),
        ("embeddings.word_embeddings.weight_scale".to_string(), "F32"),
        (format!("{layer}.weight"), "I8"),
        (format!("{layer}.weight_scale"), "F32"),
        (format!("{layer}.input_factor"), "F32"),
        (format!("{layer}.bias"), "F32"),
    ] {
        assert_eq!(header[&name]["dtype"], dtype, "{name}");
    }
    // An integer times its scale is the number, to half a scale.
    let [begin, end] = range(&header, "embeddings.word_embeddings.weight");
    let integers: Vec<f32> = data[begin..end].iter().map(|&byte| f32::from(byte as i8)).collect();
    let [begin, end] = range(&header, "embeddings.word_embeddings.weight_scale");
    let scales = floats(&data[begin..end]);
    let (header, data) = split(&copy.read(WEIGHTS));
    let [begin, end] = range(&header, "embeddings.word_embeddings.weight");
    let whole = floats(&data[begin..end]);
    let width = whole.len() / scales.len();
    for (index, (whole, integer)) in whole.iter().zip(integers).enumerate() {
        let scale = scales[index / width];
        assert!((whole - integer * scale).abs() <= 0.5001 * scale, "{index}");
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
}

fn range(header: &Value, tensor: &str) -> [usize; 2] {
    serde_json::from_value(header[tensor]["data_offsets"].clone()).unwrap()
}

#[derive(Deserialize)]
struct Row {
    text: String,
    dense: Vec<f32>,
}

#[test]
fn a_written_model_is_computed_as_documented() {
    let dir = tiny_dir("int8");
    let golden = std::fs::read_to_string(dir.join("golden.json")).unwrap();
    let rows: Vec<Row> = serde_json::from_str(&golden).unwrap();
    assert!(rows.len() > 4);
    let model = open(&dir).unwrap();
    for Row { text, dense } in rows {
        let ours = model.encode(&[&text], &EncodeOptions::default()).unwrap().dense;
        // Two roundings differ by one step; with fp32 instead of the integers the difference is
        // 1e-2.
        let worst = ours.iter().zip(&dense).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3 && cosine(&ours, &dense) > 0.99999, "{text:?}: {worst}");
    }
}

#[test]
fn calibration_helps_a_trained_model() {
    let Some(dir) = default_model() else { return };
    let root = tempfile::TempDir::new().unwrap();
    let options = QuantizeOptions::default();
    let written =
        quantize_model(dir, root.path().join("out"), &[], &options, &mut |_, _, _| ()).unwrap();
    assert!((written.texts, written.compared) == (48, 12) && !written.compared_are_known);
    assert!(written.cosine_mean > 0.999 && written.cosine_least > 0.998, "{written:?}");
    assert!(written.bytes_after * 39 < written.bytes_before * 10, "{written:?}");
}

#[test]
fn what_cannot_be_quantised_or_written_is_refused_and_leaves_nothing() {
    let copy = quantized("cls");
    let source = copy.around().join("source");
    let new = copy.around().join("new");
    let before = entries(copy.around());
    let refused = |dir: &Path, out: &Path, kind, words: &str| {
        let e = quantize(dir, out).unwrap_err();
        assert_eq!(e.kind(), kind, "{e}");
        assert!(e.to_string().contains(words), "{e}");
        assert_eq!(entries(copy.around()), before);
    };
    refused(&source, &copy.dir, InvalidArgument, "exists");
    refused(&source, &source, InvalidArgument, "exists");
    refused(&source, &source.join("within"), InvalidArgument, "lies within");
    refused(&source, &copy.around().join("no/parent"), InvalidArgument, "cannot be written");
    refused(&source, Path::new("/"), InvalidArgument, "cannot be made a directory");
    refused(&copy.dir, &new, Unsupported, "already");
    refused(&tiny_dir("exports/aapot"), &new, Unsupported, "ONNX export");
    for alpha in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
        let options = QuantizeOptions { alpha, ..QuantizeOptions::default() };
        let e = quantize_model(&source, &new, &TEXTS, &options, &mut |_, _, _| ()).unwrap_err();
        assert!(e.kind() == InvalidArgument && e.to_string().contains("alpha"), "{e}");
    }
    // The row of a word that no text has, so that it is first read when it is quantized.
    let damaged = Copy::of("cls");
    damaged.weights(WEIGHTS, |header, data| {
        let [_, end] = range(header, "embeddings.word_embeddings.weight");
        data[end - 4..end].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    refused(&damaged.dir, &new, ModelInvalid, "NaN or infinity");
}

#[test]
fn files_cut_or_of_others_are_refused() {
    let copy = quantized("mean");
    let whole = copy.read(INT8);
    for cut in (0..whole.len()).step_by(whole.len() / 61).chain([whole.len() - 1]) {
        copy.write(INT8, &whole[..cut]);
        copy.is_refused(&cut.to_string(), ModelInvalid, &[INT8, "download it again"]);
    }
    copy.write(INT8, LFS_POINTER);
    copy.is_refused("pointer", ModelInvalid, &[INT8, "git lfs pull"]);
    copy.write(INT8, Copy::of("mean").read(WEIGHTS));
    copy.is_refused("floats", ModelInvalid, &[INT8, "libbge_int8", "did not write it"]);
    copy.write(INT8, quantized("cls").read(INT8));
    copy.is_refused("another model", ModelInvalid, &[INT8, "config.json makes it"]);
    copy.write(INT8, &whole);
    copy.write(WEIGHTS, Copy::of("mean").read(WEIGHTS));
    copy.is_refused("both", ModelInvalid, &[INT8, WEIGHTS, "keep one"]);
    // Integers under the name of floats are refused.
    copy.remove(INT8);
    copy.write(WEIGHTS, &whole);
    copy.is_refused("renamed", Unsupported, &["I8", "only F32"]);
}

#[test]
fn numbers_and_types_that_nobody_writes_are_refused() {
    let copy = quantized("mean");
    let whole = copy.read(INT8);
    let layer = "encoder.layer.0.intermediate.dense";
    let (scale, factor) = (format!("{layer}.weight_scale"), format!("{layer}.input_factor"));
    let words = "embeddings.word_embeddings.weight_scale";
    for (tensor, number) in [
        (scale.as_str(), f32::NAN),
        (&scale, f32::INFINITY),
        (&scale, -1.0),
        (&factor, f32::NAN),
        (&factor, 0.0),
        (&factor, -1.0),
        (words, f32::NEG_INFINITY),
        (words, -1e-3),
    ] {
        copy.write(INT8, &whole);
        copy.weights(INT8, |header, data| {
            let [begin, _] = range(header, tensor);
            data[begin + 4..begin + 8].copy_from_slice(&number.to_le_bytes());
        });
        let says = ["number 1 of", tensor, &number.to_string(), "`bge quantize`"];
        copy.is_refused(tensor, ModelInvalid, &says);
    }
    let weight = format!("{layer}.weight");
    copy.write(INT8, &whole);
    copy.weights(INT8, |header, data| data[range(header, &weight)[0] + 2] = 0x80);
    copy.is_refused("-128", ModelInvalid, &["number 2 of", &weight, "-128"]);
    for version in ["0", "2", ""] {
        copy.write(INT8, &whole);
        copy.weights(INT8, |header, _| header["__metadata__"]["libbge_int8"] = json!(version));
        copy.is_refused(version, Unsupported, &["libbge_int8", &format!("{version:?}")]);
    }
    for (tensor, dtype) in [(&weight, "U8"), (&scale, "I32")] {
        copy.write(INT8, &whole);
        copy.weights(INT8, |header, _| header[tensor]["dtype"] = json!(dtype));
        copy.is_refused(dtype, ModelInvalid, &[tensor, dtype, "write the directory anew"]);
    }
    for name in [&weight, &scale, &factor] {
        copy.write(INT8, &whole);
        copy.weights(INT8, |header, _| {
            let tensor = header.as_object_mut().unwrap().remove(name.as_str()).unwrap();
            header["other"] = tensor;
        });
        copy.is_refused("taken out", ModelInvalid, &["lack the tensor", name]);
    }
    copy.write(INT8, &whole);
    let before = fingerprint(&copy.dir);
    // A scale that is another decides other vectors.
    copy.weights(INT8, |header, data| {
        let [begin, _] = range(header, &scale);
        data[begin..begin + 4].copy_from_slice(&0.5_f32.to_le_bytes());
    });
    assert_ne!(fingerprint(&copy.dir), before);
}

#[cfg(feature = "cli")]
#[test]
fn the_command_writes_and_tells_how_near_it_is() {
    use crate::command::streams::{assert_failed, assert_succeeded, bge, stdout};
    let copy = Copy::of("cls");
    let path = |name: &str| copy.around().join(name).to_str().unwrap().to_string();
    let (dir, texts) = (copy.dir.to_str().unwrap(), path("texts"));
    std::fs::write(&texts, "plain text\n\n\"a JSON string\\n\"\n  \n\"not JSON\" at all\r\n")
        .unwrap();
    let output = bge(&["quantize", dir, &path("out"), "--texts", &texts, "--threads", "1"]);
    assert_succeeded(&output);
    let line = stdout(&output);
    assert!(line.starts_with(&path("out")) && line.lines().count() == 1, "{line}");
    assert!(line.contains("with 3 texts; cosine to fp32 of these 3: mean 0.99"), "{line}");
    let output = bge(&["quantize", dir, &path("built-in")]);
    assert_succeeded(&output);
    assert!(stdout(&output).contains("with 48 texts; cosine to fp32 of others 12: mean 0.9"));
    assert!(stdout(&bge(&["info", &path("out")])).contains("precision         int8\n"));

    assert_failed(&bge(&["quantize", dir, &path("out")]), 2, "exists");
    assert_failed(&bge(&["quantize", dir, &path("new"), "--alpha", "2"]), 2, "alpha is 2");
    assert_failed(&bge(&["quantize", &path("out"), &path("new")]), 3, "already");
    assert_failed(&bge(&["quantize", &path("missing"), &path("new")]), 3, "missing");
    for (content, words) in [(&b"\n \n"[..], "holds no text"), (b"a\n\xff\n", "line 2")] {
        std::fs::write(&texts, content).unwrap();
        let output = bge(&["quantize", dir, &path("new"), "--texts", &texts]);
        assert_failed(&output, 1, words);
    }
    let missing = bge(&["quantize", dir, &path("new"), "--texts", &path("missing")]);
    assert_failed(&missing, 1, "cannot be read");
    assert!(!Path::new(&path("new")).exists());
}
