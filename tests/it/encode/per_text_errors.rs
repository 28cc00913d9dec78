//! Errors of single texts: distinguished from those of the call, and without effect on other texts.

use bge::ErrorKind::{InvalidArgument, NotFinite, TextTooLong, Timeout};
use bge::{Embeddings, EncodeOptions, ErrorKind, Model, Outputs, SparseWeights};

use crate::directory::torch_file::form;
use crate::support::models::{BGE, Copy, WEIGHTS, open, tiny_dir};

const WORDS: &str = "embeddings.word_embeddings.weight";
/// The greatest difference of a vector from itself with other batch-mates.
const BATCH_TOLERANCE: f32 = 2e-6;
/// The id of "lu" in every tiny model, a piece of "luar".
const LU: usize = 822;
/// The third and the last two have that token.
const TEXTS: [&str; 7] = [
    "di di",
    "",
    "di luar",
    "Seorang pria bertopi biru berdiri di persimpangan jalan.",
    "a",
    "Orang-orang ada di luar.",
    "luar luar luar",
];
const WITH_LU: [usize; 3] = [2, 5, 6];

fn own() -> EncodeOptions {
    EncodeOptions { per_text_errors: true, ..EncodeOptions::default() }
}

fn asking(dense: bool, sparse: bool, multi: bool) -> EncodeOptions {
    let outputs = Outputs { dense, sparse, multi, tokens: false };
    EncodeOptions { outputs, ..own() }
}

fn faults(results: &Embeddings) -> Vec<(usize, ErrorKind)> {
    results.errors.iter().map(|e| (e.text_index().unwrap(), e.kind())).collect()
}

fn all_with_lu() -> Vec<(usize, ErrorKind)> {
    WITH_LU.map(|text| (text, NotFinite)).to_vec()
}

/// Where a tensor of a safetensors file begins, counted from the start of the data.
fn begin(header: &serde_json::Value, tensor: &str) -> usize {
    header[tensor]["data_offsets"][0].as_u64().unwrap() as usize
}

/// Overwrites one number of a tensor.
fn damage(copy: &Copy, file: &str, tensor: &str, index: usize, number: &[u8]) {
    copy.weights(file, |header, data| {
        let at = begin(header, tensor) + index * number.len();
        data[at..at + number.len()].copy_from_slice(number);
    });
}

fn dense_of(results: &Embeddings, text: usize) -> &[f32] {
    &results.dense[text * results.dim..][..results.dim]
}

fn entries(sparse: &SparseWeights, text: usize) -> (Vec<u32>, Vec<f32>) {
    sparse.of(text).unzip()
}

/// Asserts that the texts that did not fail have the same results, and the others none.
fn same_but_for_faults(ours: &Embeddings, sound: &Embeddings, tolerance: f32) {
    let near = |a: &[f32], b: &[f32]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
    };
    let nan = |row: &[f32]| row.iter().all(|x| x.is_nan());
    for text in 0..ours.usage.len() {
        let failed = ours.error_of(text).is_some();
        assert_eq!(ours.usage[text], sound.usage[text]);
        if !ours.dense.is_empty() {
            let (a, b) = (dense_of(ours, text), dense_of(sound, text));
            assert!(if failed { nan(a) } else { near(a, b) }, "text {text}: {a:?} is not {b:?}");
        }
        if let (Some(a), Some(b)) = (&ours.sparse, &sound.sparse) {
            let ((ids, a), (sound_ids, b)) = (entries(a, text), entries(b, text));
            assert!(if failed { ids.is_empty() } else { ids == sound_ids && near(&a, &b) });
        }
        let rows = [(&ours.multi, &sound.multi), (&ours.tokens, &sound.tokens)];
        for (a, b) in rows.into_iter().filter_map(|(a, b)| a.as_ref().zip(b.as_ref())) {
            assert_eq!(a.offsets, b.offsets);
            assert!(if failed { nan(a.of(text)) } else { near(a.of(text), b.of(text)) });
        }
    }
}

#[test]
fn a_damaged_word_fails_the_texts_that_have_it_and_no_others() {
    let outputs = Outputs { dense: true, sparse: true, multi: true, tokens: true };
    let everything = EncodeOptions { outputs, ..own() };
    let tokens = Outputs { dense: false, sparse: false, multi: false, tokens: true };
    let tokens = EncodeOptions { outputs: tokens, ..own() };
    for (name, options) in
        [("heads", &everything), ("mean", &own()), ("deep", &own()), ("cls", &tokens)]
    {
        let sound = open(&tiny_dir(name)).unwrap().encode(&TEXTS, options).unwrap();
        assert_eq!(faults(&sound), []);
        let copy = Copy::of(name);
        let whole = copy.read(WEIGHTS);
        let hidden = open(&copy.dir).unwrap().info().dense_dim;
        for (column, number) in
            [(0, f32::NAN), (hidden - 1, f32::INFINITY), (1, f32::NEG_INFINITY), (2, -f32::NAN)]
        {
            copy.write(WEIGHTS, &whole);
            damage(&copy, WEIGHTS, WORDS, LU * hidden + column, &number.to_le_bytes());
            let model = open(&copy.dir).unwrap();
            let ours = model.encode(&TEXTS, options).unwrap();
            assert_eq!(faults(&ours), all_with_lu(), "{name}: {number} in column {column}");
            // The same texts in one batch: the results of the others are equal to the bit.
            same_but_for_faults(&ours, &sound, 0.0);
            assert_eq!(model.stats().failures, 0);
        }
    }
}

#[test]
fn a_damaged_word_in_16_bits_is_found_too() {
    let copy = Copy::of("mean");
    let file = form("mean-f16.safetensors");
    copy.write(WEIGHTS, &file);
    let sound = open(&copy.dir).unwrap().encode(&TEXTS, &own()).unwrap();
    let hidden = sound.dim;
    for bits in [0x7c00_u16, 0xfc00, 0x7e00] {
        copy.write(WEIGHTS, &file);
        damage(&copy, WEIGHTS, WORDS, LU * hidden + 3, &bits.to_le_bytes());
        let ours = open(&copy.dir).unwrap().encode(&TEXTS, &own()).unwrap();
        assert_eq!(faults(&ours), all_with_lu(), "{bits:#x}");
        same_but_for_faults(&ours, &sound, 0.0);
    }
}

#[test]
fn a_head_with_a_number_that_is_not_finite_fails_what_it_makes_and_nothing_else() {
    let (sparse, multi) = ("sparse_linear.safetensors", "colbert_linear.safetensors");
    let sound = open(&tiny_dir("heads")).unwrap().encode(&TEXTS, &asking(true, true, true));
    let sound = sound.unwrap();
    for (file, tensor, number) in [
        (sparse, "weight", f32::NAN),
        (sparse, "bias", f32::INFINITY),
        (sparse, "bias", f32::NEG_INFINITY),
        (multi, "weight", f32::NAN),
        (multi, "bias", f32::INFINITY),
    ] {
        let copy = Copy::of("heads");
        damage(&copy, file, tensor, 0, &number.to_le_bytes());
        let model = open(&copy.dir).unwrap();
        let (asked, rest) = match file == sparse {
            true => (asking(true, true, false), asking(true, false, true)),
            false => (asking(true, false, true), asking(true, true, false)),
        };
        let ours = model.encode(&TEXTS, &asked).unwrap();
        // A text of special tokens alone has no sparse weight that could be wrong.
        let bad = (0..TEXTS.len()).filter(|&text| file == multi || !TEXTS[text].is_empty());
        assert_eq!(faults(&ours), bad.map(|text| (text, NotFinite)).collect::<Vec<_>>());
        same_but_for_faults(&ours, &sound, BATCH_TOLERANCE);
        let ours = model.encode(&TEXTS, &rest).unwrap();
        assert_eq!(faults(&ours), []);
        same_but_for_faults(&ours, &sound, BATCH_TOLERANCE);
    }
}

#[test]
fn finite_weights_whose_numbers_grow_too_large_are_found() {
    let copy = Copy::of("mean");
    damage(&copy, WEIGHTS, "encoder.layer.0.output.LayerNorm.weight", 0, &f32::MAX.to_le_bytes());
    let ours = open(&copy.dir).unwrap().encode(&TEXTS, &own()).unwrap();
    assert!(!ours.errors.is_empty());
    let e = &ours.errors[0];
    assert!(e.to_string().contains("dense vector is") && e.to_string().contains("fp32"), "{e}");
    // Whatever is not among the errors is a vector.
    for text in 0..TEXTS.len() {
        let finite = dense_of(&ours, text).iter().all(|x| x.is_finite());
        assert_eq!(finite, ours.error_of(text).is_none());
    }
}

fn with_a_damaged_word() -> (Copy, Model) {
    let copy = Copy::of("cls");
    damage(&copy, WEIGHTS, WORDS, LU * 32, &f32::NAN.to_le_bytes());
    let model = open(&copy.dir).unwrap();
    (copy, model)
}

#[test]
fn the_command_answers_such_a_text_with_the_error() {
    let (copy, _model) = with_a_damaged_word();
    let input = copy.around().join("input.jsonl");
    std::fs::write(&input, TEXTS.map(|text| format!("{text:?}\n")).concat()).unwrap();
    let mut command = std::process::Command::new(BGE);
    command.arg("encode").arg(&copy.dir).stdin(std::fs::File::open(input).unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let answers = String::from_utf8(output.stdout).unwrap();
    assert_eq!(answers.lines().count(), TEXTS.len());
    for (text, answer) in answers.lines().enumerate() {
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
        let code = WITH_LU.contains(&text).then_some("BGE_ERROR_NOT_FINITE");
        assert_eq!(answer["code"].as_str(), code, "{answer}");
        assert_eq!(answer["dense"].is_array(), code.is_none());
    }
}

#[test]
fn without_errors_of_their_own_a_bad_text_fails_its_call_and_no_other() {
    let (_copy, model) = with_a_damaged_word();
    let e = model.encode(&TEXTS, &EncodeOptions::default()).unwrap_err();
    assert_eq!((e.kind(), e.text_index()), (NotFinite, Some(2)));
    assert_eq!(model.stats().failures, 1);
    model.encode(&["di di"], &EncodeOptions::default()).unwrap();
}

#[test]
fn calls_that_share_runs_with_bad_texts_get_their_vectors() {
    let (_copy, model) = with_a_damaged_word();
    let sound = open(&tiny_dir("cls")).unwrap().encode(&TEXTS, &own()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (model, sound) = (&model, &sound);
            scope.spawn(move || {
                for _ in 0..40 {
                    if thread % 2 == 0 {
                        let ours = model.encode(&TEXTS, &own()).unwrap();
                        assert_eq!(faults(&ours), all_with_lu());
                        same_but_for_faults(&ours, sound, BATCH_TOLERANCE);
                    } else {
                        let texts = ["di di", "a"];
                        let ours = model.encode(&texts, &EncodeOptions::default()).unwrap();
                        for (at, text) in [(0, 0), (1, 4)] {
                            let pairs = dense_of(&ours, at).iter().zip(dense_of(sound, text));
                            pairs.for_each(|(a, b)| assert!((a - b).abs() <= BATCH_TOLERANCE));
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn a_text_that_is_too_long_has_nothing_and_the_others_all() {
    let model = open(&tiny_dir("heads")).unwrap();
    let options = EncodeOptions { reject_long: true, max_tokens: 8, ..asking(true, true, true) };
    let long = [3, 5, 6];
    let ours = model.encode(&TEXTS, &options).unwrap();
    assert_eq!(faults(&ours), long.map(|text| (text, TextTooLong)));
    let e = ours.error_of(5).unwrap();
    assert!(e.to_string().contains("more than 8 tokens"), "{e}");
    let (sparse, multi) = (ours.sparse.as_ref().unwrap(), ours.multi.as_ref().unwrap());
    for text in 0..TEXTS.len() {
        let alone = model.encode(&TEXTS[text..=text], &options).unwrap();
        assert_eq!(alone.usage[0], ours.usage[text]);
        if long.contains(&text) {
            assert_eq!(faults(&alone), [(0, TextTooLong)]);
            assert!(dense_of(&ours, text).iter().all(|x| x.is_nan()));
            assert_eq!((ours.usage[text].tokens, ours.usage[text].truncated), (0, false));
            assert_eq!((sparse.of(text).count(), multi.of(text).len()), (0, 0));
        } else {
            let pairs = dense_of(&ours, text).iter().zip(&alone.dense);
            pairs.for_each(|(a, b)| assert!((a - b).abs() <= BATCH_TOLERANCE));
            assert_eq!(multi.of(text).len(), (ours.usage[text].tokens - 1) * multi.dim);
        }
    }
    let (told, outcome) = std::sync::mpsc::channel();
    model.encode_async(&TEXTS, &options, move |result| told.send(result).unwrap()).unwrap();
    let theirs = outcome.recv().unwrap().unwrap();
    assert_eq!(faults(&theirs), faults(&ours));
    // Without a text that is fit for the model, too.
    let bad = [TEXTS[3]; 2];
    let (told, outcome) = std::sync::mpsc::channel();
    model.encode_async(&bad, &options, move |result| told.send(result).unwrap()).unwrap();
    assert_eq!(faults(&outcome.recv().unwrap().unwrap()), [(0, TextTooLong), (1, TextTooLong)]);
    let e = model.encode(&TEXTS, &EncodeOptions { per_text_errors: false, ..options });
    let e = e.unwrap_err();
    assert_eq!((e.kind(), e.text_index()), (TextTooLong, Some(3)));
}

#[test]
fn faults_of_the_call_stay_its_own() {
    let model = open(&tiny_dir("cls")).unwrap();
    let kind = |options: EncodeOptions| model.encode(&TEXTS, &options).unwrap_err().kind();
    assert_eq!(kind(EncodeOptions { max_tokens: 1, ..own() }), InvalidArgument);
    assert_eq!(kind(EncodeOptions { prompt: Some("unknown".into()), ..own() }), InvalidArgument);
    let at_once = Some(std::time::Duration::ZERO);
    assert_eq!(kind(EncodeOptions { timeout: at_once, ..own() }), Timeout);
    model.close();
    assert_eq!(kind(own()), ErrorKind::Closed);
    // Even if no text would have come as far as the model.
    let options = EncodeOptions { reject_long: true, max_tokens: 2, ..own() };
    let e = model.encode(&["di"], &options).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Closed);
}
