//! Chains of modules: their vectors against sentence-transformers' own, and their descriptions.

use std::collections::BTreeMap;

use bge::{EncodeOptions, ErrorKind, Model, OpenOptions, Outputs};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::models::{Copy, POOLING, PROMPTS, SENTENCE, fingerprint, open, tiny_dir};

/// The greatest difference of a number from the reference's.
const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Case {
    name: String,
    base: String,
    files: BTreeMap<String, Value>,
    weights: BTreeMap<String, String>,
    calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    texts: Vec<String>,
    prompt: Option<String>,
    truncate_dim: usize,
    normalize: bool,
    dense: Vec<Vec<f32>>,
}

impl Case {
    fn lay_out(&self) -> Copy {
        let copy = Copy::of(&self.base);
        let place = |file: &String| {
            std::fs::create_dir_all(copy.path(file).parent().unwrap()).unwrap();
        };
        for (file, content) in &self.files {
            place(file);
            copy.write(file, content.to_string());
        }
        for (file, name) in &self.weights {
            place(file);
            std::fs::copy(tiny_dir("modules").join(name), copy.path(file)).unwrap();
        }
        copy
    }
}

impl Call {
    fn options(&self) -> EncodeOptions {
        EncodeOptions {
            prompt: self.prompt.clone(),
            truncate_dim: self.truncate_dim,
            normalize: self.normalize,
            ..EncodeOptions::default()
        }
    }

    fn texts(&self) -> Vec<String> {
        let text = |text: &String| match text.as_str() {
            "di * 200" => "di ".repeat(200),
            text => text.into(),
        };
        self.texts.iter().map(text).collect()
    }
}

fn cases() -> Vec<Case> {
    let golden = std::fs::read(tiny_dir("modules").join("golden.json")).unwrap();
    serde_json::from_slice(&golden).unwrap()
}

/// A directory with the chain of that name.
pub fn chain(name: &str) -> Copy {
    let case = cases().into_iter().find(|case| case.name == name);
    case.unwrap_or_else(|| panic!("there is no chain {name:?}")).lay_out()
}

#[track_caller]
fn assert_close(case: &str, ours: &[f32], reference: &[f32]) {
    assert_eq!(ours.len(), reference.len(), "{case}");
    for (index, (a, b)) in ours.iter().zip(reference).enumerate() {
        // So that a NaN is not close to anything.
        assert!((a - b).abs() <= TOLERANCE, "{case}: number {index} is {a}, not {b}");
    }
}

fn matches_reference(case: &Case, model: &Model) {
    for call in &case.calls {
        let (texts, options) = (call.texts(), call.options());
        assert_eq!(texts.len(), call.dense.len(), "{}", case.name);
        // Texts that read all rows and texts that read one, each with batch-mates of both kinds.
        let batch: Vec<&str> = texts.iter().chain(&texts).map(String::as_str).collect();
        let together = model.encode(&batch, &options).unwrap();
        for (index, reference) in call.dense.iter().enumerate() {
            let name = format!("{}, {:?}, text {index}", case.name, call.prompt);
            let alone = model.encode(&[&texts[index]], &options).unwrap();
            assert_eq!(alone.dim, reference.len(), "{name}");
            assert_close(&name, &alone.dense, reference);
            for place in [index, index + texts.len()] {
                assert_close(&name, &together.dense[place * alone.dim..][..alone.dim], reference);
            }
        }
    }
}

#[test]
fn every_chain_matches_the_reference() {
    let cases = cases();
    assert_eq!(cases.len(), 55);
    for case in &cases {
        let copy = case.lay_out();
        // The reference's modules were given the ids of the file as it is.
        let options = OpenOptions { threads: 1, raw_tokenizer: true, ..OpenOptions::default() };
        let model = Model::open(&copy.dir, &options);
        let model = model.unwrap_or_else(|e| panic!("{}: {e}", case.name));
        matches_reference(case, &model);
    }
}

#[test]
fn all_kinds_of_rows_in_one_run_do_not_disturb_each_other() {
    let copy = Copy::of("heads");
    copy.write(POOLING, json!({"pooling_mode": ["lasttoken", "cls"]}).to_string());
    copy.write(PROMPTS, json!({"prompts": {"query": "query: "}}).to_string());
    let every = Outputs { dense: true, sparse: true, multi: true, tokens: false };
    for include_prompt in [true, false] {
        copy.json(POOLING, |v| v["include_prompt"] = json!(include_prompt));
        let model = open(&copy.dir).unwrap();
        for prompt in [None, Some("query".into())] {
            let dense = EncodeOptions { prompt: prompt.clone(), ..EncodeOptions::default() };
            let all = EncodeOptions { prompt, outputs: every, ..EncodeOptions::default() };
            let texts = ["", "a", "Orang-orang ada di luar."];
            let few_rows = model.encode(&texts, &dense).unwrap().dense;
            assert_close("every row", &model.encode(&texts, &all).unwrap().dense, &few_rows);
        }
    }
}

#[test]
fn a_prompt_is_left_out_of_pooling_only_where_the_model_says_so() {
    let encode = |copy: &Copy, text: &str, prompt: &str| {
        let options = EncodeOptions { prompt: Some(prompt.into()), ..EncodeOptions::default() };
        open(&copy.dir).unwrap().encode(&[text], &options).unwrap().dense
    };
    let left_out = chain("prompt left out");
    assert_ne!(encode(&left_out, "query: a", ""), encode(&left_out, "a", "query"));
    left_out.json(POOLING, |v| v["include_prompt"] = json!(true));
    assert_eq!(encode(&left_out, "query: a", ""), encode(&left_out, "a", "query"));
}

#[test]
fn a_prompt_longer_than_a_text_may_be_leaves_the_last_token() {
    let copy = chain("prompt left out");
    copy.json(PROMPTS, |v| v["prompts"]["query"] = json!("di ".repeat(1000)));
    let model = open(&copy.dir).unwrap();
    let encode = |prompt: Option<&str>, text: &str, max_tokens| {
        let options =
            EncodeOptions { prompt: prompt.map(Into::into), max_tokens, ..Default::default() };
        model.encode(&[text], &options).unwrap().dense
    };
    for max_tokens in [2, 3, 128] {
        let vector = encode(Some("query"), "a", max_tokens);
        let (first, last) = (&vector[..32], &vector[5 * 32..]);
        assert_eq!(first, last, "{max_tokens}");
        assert_close("max, mean", &vector[32..96], &[last, last].concat());
    }
}

#[test]
fn a_call_may_cut_vectors_to_any_length_that_they_have() {
    let copy = chain("cut by the model");
    let model = open(&copy.dir).unwrap();
    assert_eq!((model.info().dense_dim, model.info().full_dim), (12, 32));
    assert!(!model.info().normalize);
    let encode = |truncate_dim, normalize| {
        let options = EncodeOptions { truncate_dim, normalize, ..EncodeOptions::default() };
        model.encode(&["a", "b"], &options)
    };
    let full = encode(32, false).unwrap();
    for dim in 1..=32 {
        let cut = encode(dim, false).unwrap();
        assert_eq!(cut.dim, dim);
        for (cut, full) in cut.dense.chunks(dim).zip(full.dense.chunks(32)) {
            assert_eq!(cut, &full[..dim]);
        }
        for vector in encode(dim, true).unwrap().dense.chunks(dim) {
            let square: f32 = vector.iter().map(|x| x * x).sum();
            assert!((square - 1.0).abs() < 1e-5, "{dim}: {square}");
        }
    }
    assert_eq!(encode(0, false).unwrap(), encode(12, false).unwrap());
    for dim in [33, 1 << 24, usize::MAX] {
        let e = encode(dim, false).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidArgument, "{e}");
        let said = format!("truncate_dim is {dim}; it may be 1 to 32, or 0 for the default");
        assert_eq!(e.to_string(), said);
    }
}

#[test]
fn texts_are_lowered_as_python_does_and_counted_so() {
    let (lower, plain) = (chain("small letters"), Copy::of("mean"));
    plain.json(SENTENCE, |v| v["do_lower_case"] = json!(false));
    let lower = open(&lower.dir).unwrap();
    let encode = |text: &str| lower.encode(&[text], &EncodeOptions::default()).unwrap();
    for (text, as_python) in [
        ("ORANG-Orang", "orang-orang"),
        ("ΟΔΟΣ ΟΔΟΣ. Σ ΣΑ", "οδος οδος. σ σα"),
        ("İẞ", "i\u{307}ß"),
        ("<MASK>", "<mask>"),
    ] {
        assert_eq!(encode(text), encode(as_python), "{text}");
        assert_eq!(
            lower.count_tokens(text).unwrap(),
            open(&plain.dir).unwrap().count_tokens(as_python).unwrap(),
            "{text}"
        );
    }
    assert!(lower.info().lower_case);
}

#[test]
fn what_a_model_is_made_of_is_told() {
    let said = |name: &str| open(&chain(name).dir).unwrap().info().clone();
    let info = said("two modes, dense");
    assert_eq!(info.pooling, "cls+mean");
    assert_eq!(info.modules, ["transformer", "pooling", "dense 64->24 tanh", "normalize"]);
    assert!(info.normalize && info.include_prompt && !info.lower_case);
    assert_eq!((info.dense_dim, info.full_dim), (24, 24));
    let info = said("normalize, norm, dropout, dense");
    assert_eq!(
        info.modules[2..],
        ["normalize", "layernorm", "dropout", "dense 32->8 tanh", "dense 8->12 gelu"]
    );
    assert!(!info.normalize);
    assert_eq!(said("dense, residual").modules[2], "dense 32->32 tanh residual");
    assert_eq!(
        said("legacy all modes").pooling,
        "cls+max+mean+mean_sqrt_len_tokens+weightedmean+lasttoken"
    );
    assert!(!said("prompt left out").include_prompt);
}

#[test]
fn what_decides_a_vector_is_part_of_the_fingerprint() {
    let print = |name: &str| fingerprint(&chain(name).dir);
    // Whoever keeps one beside vectors has to find it again.
    assert_eq!(fingerprint(&tiny_dir("cls")), "008ae5974a776eaf16c186ec68062919");
    assert_eq!(fingerprint(&tiny_dir("mean")), "c0c43048991f60d2972d9bb84e3cc044");
    let copy = Copy::of("cls");
    copy.json("modules.json", |v| {
        v.as_array_mut()
            .unwrap()
            .push(json!({"type": "sentence_transformers.models.Dropout", "path": "3"}));
    });
    assert_eq!(fingerprint(&copy.dir), fingerprint(&tiny_dir("cls")));

    // The same model in other files.
    assert_eq!(print("dense, old weights"), print("dense, activation not said"));
    assert_eq!(print("dense torch.float16"), print("dense torch.float16, old"));
    assert_eq!(print("legacy no mode"), print("legacy mean"));
    assert_eq!(print("cut to more than there is"), print("legacy cls"));

    let others = [
        "legacy cls",
        "legacy mean",
        "legacy max",
        "legacy all modes",
        "cut by the call",
        "cut by the model",
        "dense, old weights",
        "dense, activation exported",
        "dense torch.float16",
        "dense torch.bfloat16",
        "legacy chain",
        "prompt left out",
        "small letters",
    ];
    let mut prints: Vec<String> = others.map(print).into();
    let shorter = chain("legacy chain");
    shorter.json("modules.json", |v| {
        v.as_array_mut().unwrap().pop();
    });
    // Normalized before its LayerNorm, not after.
    let reordered = chain("legacy chain");
    reordered.json("modules.json", |v| v.as_array_mut().unwrap().swap(3, 5));
    prints.extend([shorter, reordered].map(|copy| fingerprint(&copy.dir)));
    let count = prints.len();
    prints.sort_unstable();
    prints.dedup();
    assert_eq!(prints.len(), count);
}
