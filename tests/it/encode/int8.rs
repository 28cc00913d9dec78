//! Weights of 8-bit integers: near the vectors of 32 bits, and the same with any batch-mates.

use bge::ErrorKind::Unsupported;
use bge::{ComputeType, EncodeOptions, Model, OpenOptions, Outputs};

use crate::directory::torch_file::form;
use crate::encode::golden::{cosine, default_model};
use crate::support::models::{Copy, WEIGHTS, tiny_dir};

fn open_as(dir: &std::path::Path, compute_type: ComputeType, threads: usize) -> Model {
    let options = OpenOptions { compute_type, threads, ..OpenOptions::default() };
    Model::open(dir, &options).unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
}

/// The library refuses integers where they would be slower.
pub fn is_refused_here() -> bool {
    #[cfg(target_arch = "x86_64")]
    let refused = !std::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let refused = true;
    if refused {
        let options = OpenOptions { compute_type: ComputeType::Int8, ..OpenOptions::default() };
        assert_eq!(Model::open(tiny_dir("cls"), &options).unwrap_err().kind(), Unsupported);
        println!("skipped: this processor has neither AVX-512 VNNI nor AVX2");
    }
    refused
}

const TEXTS: [&str; 6] = [
    "Orang-orang ada di luar.",
    "",
    "Seorang pria bertopi biru berdiri di persimpangan jalan.",
    "di di luar di luar",
    "这是一个文本向量化的测试句子",
    "nul \0 inside",
];

#[test]
fn a_text_has_the_same_numbers_alone_in_a_batch_and_on_any_number_of_threads() {
    if is_refused_here() {
        return;
    }
    let options = EncodeOptions {
        outputs: Outputs { dense: true, sparse: true, multi: false, tokens: true },
        ..EncodeOptions::default()
    };
    let model = open_as(&tiny_dir("heads"), ComputeType::Int8, 1);
    let together = model.encode(&TEXTS, &options).unwrap();
    let more = open_as(&tiny_dir("heads"), ComputeType::Int8, 2).encode(&TEXTS, &options).unwrap();
    assert_eq!(together, more);
    for (index, text) in TEXTS.iter().enumerate() {
        let alone = model.encode(&[text], &options).unwrap();
        assert_eq!(alone.dense, together.dense[index * alone.dim..][..alone.dim], "{text:?}");
        let (ours, others) = (alone.sparse.unwrap(), together.sparse.as_ref().unwrap());
        assert!(ours.of(0).eq(others.of(index)), "{text:?}");
        assert_eq!(alone.tokens.unwrap().of(0), together.tokens.as_ref().unwrap().of(index));
    }
}

#[test]
fn vectors_are_near_those_of_32_bits_but_not_the_same() {
    if is_refused_here() {
        return;
    }
    for name in ["cls", "mean", "deep", "v6", "bert-cased"] {
        let whole = open_as(&tiny_dir(name), ComputeType::Fp32, 1);
        let model = open_as(&tiny_dir(name), ComputeType::Int8, 1);
        assert_eq!((whole.info().precision, model.info().precision), ("fp32", "int8"));
        assert_ne!(whole.fingerprint().unwrap(), model.fingerprint().unwrap());
        for text in TEXTS {
            let encode = |model: &Model| model.encode(&[text], &EncodeOptions::default()).unwrap();
            let (whole, ours) = (encode(&whole).dense, encode(&model).dense);
            let cosine = cosine(&whole, &ours);
            // Random weights forgive less than trained ones.
            assert!(cosine > 0.99, "{name}, {text:?}: {cosine}");
            assert_ne!(whole, ours, "{name}, {text:?}");
        }
    }
}

#[test]
fn a_trained_model_keeps_its_vectors() {
    if is_refused_here() {
        return;
    }
    let Some(dir) = default_model() else { return };
    let (whole, ours) = (
        open_as(&dir, ComputeType::Fp32, 0).encode(&TEXTS, &EncodeOptions::default()).unwrap(),
        open_as(&dir, ComputeType::Int8, 0).encode(&TEXTS, &EncodeOptions::default()).unwrap(),
    );
    for (index, text) in TEXTS.iter().enumerate() {
        let row = index * whole.dim..(index + 1) * whole.dim;
        let cosine = cosine(&whole.dense[row.clone()], &ours.dense[row]);
        assert!(cosine > 0.998, "{text:?}: {cosine}");
    }
}

#[test]
fn weights_of_16_bits_are_quantised_as_the_same_numbers_in_32() {
    if is_refused_here() {
        return;
    }
    let copy = Copy::of("mean");
    let vector = || {
        let model = open_as(&copy.dir, ComputeType::Int8, 1);
        model.encode(&TEXTS, &EncodeOptions::default()).unwrap().dense
    };
    copy.write(WEIGHTS, form("mean-bf16.safetensors"));
    let narrow = vector();
    let wide = crate::directory::weights_of_16_bits::widened(&copy.read(WEIGHTS));
    copy.write(WEIGHTS, wide);
    assert_eq!(vector(), narrow);
}

#[test]
fn an_export_computes_in_what_its_author_chose() {
    let options = OpenOptions { compute_type: ComputeType::Int8, ..OpenOptions::default() };
    let e = Model::open(tiny_dir("exports/aapot"), &options).unwrap_err();
    assert_eq!(e.kind(), Unsupported);
    assert!(e.to_string().contains("compute_type is int8"), "{e}");
}
