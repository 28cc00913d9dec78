//! ONNX exports as people publish them, against the outputs of the weights that they were exported
//! from.

use std::path::Path;

use bge::ErrorKind::{InvalidArgument, ModelInvalid, ModelNotFound, Unsupported};
use bge::{EncodeOptions, ErrorKind, Model, OpenOptions, Outputs};

use crate::directory::good_directory::hub_cache;
use crate::encode::sparse_and_multi::{
    BATCH_TOLERANCE, OfText, REFERENCE_TOLERANCE, Row, difference, golden, of_text,
};
use crate::support::models::{Copy, LFS_POINTER, fingerprint, open, tiny_dir, vector};

const DENSE: Outputs = Outputs { dense: true, sparse: false, multi: false, tokens: false };
const STATES: Outputs = Outputs { tokens: true, ..DENSE };
const ALL: Outputs = Outputs { sparse: true, multi: true, ..DENSE };
const DATA: &str = "model.onnx_data";

/// The name of each kind, its file, its outputs, and the greatest difference from the reference.
const KINDS: [(&str, &str, Outputs, f32); 7] = [
    ("baai", "onnx/model.onnx", STATES, REFERENCE_TOLERANCE),
    ("optimum", "model.onnx", STATES, REFERENCE_TOLERANCE),
    ("aapot", "model.onnx", ALL, REFERENCE_TOLERANCE),
    ("yuniko", "bge_m3_model.onnx", ALL, REFERENCE_TOLERANCE),
    ("newtechstudio", "model.onnx", ALL, REFERENCE_TOLERANCE),
    ("fixed", "model.onnx", DENSE, REFERENCE_TOLERANCE),
    // Numbers of 16 bits; a sparse weight may be greater than 1.
    ("int32-fp16", "model.onnx", ALL, 4e-3),
];

fn export(kind: &str) -> String {
    format!("exports/{kind}")
}

fn reference(row: &Row, outputs: Outputs) -> OfText {
    OfText {
        dense: row.dense.clone(),
        sparse: if outputs.sparse { row.sparse.clone() } else { Default::default() },
        multi: if outputs.multi { row.multi.concat() } else { Vec::new() },
        tokens: Vec::new(),
    }
}

fn asking(outputs: Outputs) -> EncodeOptions {
    EncodeOptions { outputs, ..EncodeOptions::default() }
}

#[test]
fn every_kind_gives_what_the_weights_give_alone_and_together() {
    let (rows, weights) = (golden("heads"), open(&tiny_dir("heads")).unwrap());
    for (kind, _, outputs, tolerance) in KINDS {
        let model = open(&tiny_dir(&export(kind))).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(model.info().outputs, outputs, "{kind}");
        // A text that this export cuts and the reference did not has another vector.
        let max_tokens = model.info().max_tokens;
        let rows: Vec<&Row> = rows
            .iter()
            .filter(|row| {
                row.ids.len() < max_tokens || row.ids.len() == max_tokens && !row.truncated
            })
            .collect();
        assert!(rows.len() > 12, "{kind}");
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let together = model.encode(&texts, &asking(outputs)).unwrap();
        for (index, row) in rows.iter().enumerate() {
            let mut reference = reference(row, outputs);
            if outputs.tokens {
                let states = weights.encode(&[&row.text], &asking(outputs)).unwrap();
                reference.tokens = of_text(&states, 0).tokens;
            }
            let alone = model.encode(&[&row.text], &asking(outputs)).unwrap();
            for (results, at) in [(&alone, 0), (&together, index)] {
                let difference = difference(&of_text(results, at), &reference);
                assert!(difference <= tolerance, "{kind}: {:?}: {difference}", row.text);
            }
        }
    }
}

#[test]
fn texts_are_cut_where_the_position_table_ends() {
    let rows = golden("heads");
    let long = rows.iter().find(|row| row.truncated).unwrap();
    for kind in ["baai", "aapot"] {
        let model = open(&tiny_dir(&export(kind))).unwrap();
        assert_eq!(model.info().max_tokens, 128, "{kind}");
        let results = model.encode(&[&long.text], &asking(DENSE)).unwrap();
        assert!(results.usage[0].truncated);
        let difference = difference(&of_text(&results, 0), &reference(long, DENSE));
        assert!(difference <= REFERENCE_TOLERANCE, "{kind}: {difference}");
    }
    assert_eq!(open(&tiny_dir(&export("fixed"))).unwrap().info().max_tokens, 32);
}

/// One range of numbers is taken for all texts of a run, so that whatever shares it would count.
#[test]
fn a_quantised_export_gives_a_text_the_same_in_any_company() {
    let rows = golden("heads");
    let model = open(&tiny_dir(&export("int8"))).unwrap();
    assert_eq!(model.info().precision, "int8");
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let together = model.encode(&texts, &asking(ALL)).unwrap();
    for (index, row) in rows.iter().enumerate() {
        let ours = of_text(&together, index);
        let alone = of_text(&model.encode(&[&row.text], &asking(ALL)).unwrap(), 0);
        assert_eq!(difference(&ours, &alone), 0.0, "{:?}", row.text);
        let cosine: f32 = ours.dense.iter().zip(&row.dense).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.95, "{:?}: {cosine}", row.text);
    }
}

#[test]
fn an_export_with_states_uses_heads_that_lie_beside_it() {
    let copy = Copy::of(&export("baai"));
    for head in ["sparse_linear.safetensors", "colbert_linear.safetensors"] {
        std::fs::copy(tiny_dir("heads").join(head), copy.path(head)).unwrap();
    }
    let model = open(&copy.dir).unwrap();
    assert_eq!(model.info().outputs, Outputs { tokens: true, ..ALL });
    assert_eq!((model.info().multi_dim, model.info().token_dim), (8, 32));
    for row in golden("heads") {
        let results = model.encode(&[&row.text], &asking(ALL)).unwrap();
        let difference = difference(&of_text(&results, 0), &reference(&row, ALL));
        assert!(difference <= REFERENCE_TOLERANCE, "{:?}: {difference}", row.text);
    }
    let without = open(&tiny_dir(&export("fixed"))).unwrap();
    let e = without.encode(&["a"], &asking(ALL)).unwrap_err();
    assert_eq!(e.kind(), Unsupported);
    assert!(e.to_string().contains("model.onnx gives no states of tokens"), "{e}");
}

#[test]
fn an_export_is_used_where_the_caller_names_it() {
    let copy = Copy::of("heads");
    let weights = vector(&copy.dir);
    std::fs::create_dir(copy.path("onnx")).unwrap();
    for file in ["model.onnx", DATA, "Constant_7_attr__value"] {
        let from = tiny_dir(&export("baai")).join("onnx").join(file);
        std::fs::copy(from, copy.path("onnx").join(file)).unwrap();
    }
    assert_eq!(open(&copy.dir).unwrap().info().layers, 2, "weights come first");
    let named = |file: &Path| {
        let onnx_file = Some(file.to_path_buf());
        Model::open(&copy.dir, &OpenOptions { onnx_file, threads: 1, ..OpenOptions::default() })
    };
    for file in [Path::new("onnx/model.onnx"), &copy.path("onnx/model.onnx")] {
        let model = named(file).unwrap();
        let dense = model.encode(&["Orang-orang ada di luar."], &asking(DENSE)).unwrap().dense;
        let largest = dense.iter().zip(&weights).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest <= BATCH_TOLERANCE, "{largest}");
        let other = fingerprint(&copy.dir);
        assert_ne!(model.fingerprint().unwrap(), other);
    }
    assert_eq!(named(Path::new("onnx/other.onnx")).err().unwrap().kind(), ModelNotFound);
}

#[test]
fn the_cache_of_the_hub_is_no_obstacle() {
    for (kind, ..) in KINDS {
        let root = tempfile::TempDir::new().unwrap();
        let dir = hub_cache(&export(kind), root.path());
        assert_eq!(vector(&dir), vector(&tiny_dir(&export(kind))), "{kind}");
        assert_eq!(fingerprint(&dir), fingerprint(&tiny_dir(&export(kind))), "{kind}");
    }
}

/// Replaces bytes by others of the same number.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|&at| bytes[at..].starts_with(from.as_bytes()))
        .collect();
    assert!(!places.is_empty(), "{from}");
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// A copy of an export with other names in its graph.
fn renamed(kind: &str, names: &[(&str, &str)]) -> Copy {
    let copy = Copy::of(&export(kind));
    let file = KINDS.iter().find(|(name, ..)| *name == kind).unwrap().1;
    let rename = |bytes: Vec<u8>, (from, to): &(&str, &str)| replaced(&bytes, from, to);
    copy.write(file, names.iter().fold(copy.read(file), rename));
    copy
}

#[test]
fn outputs_without_a_known_name_are_told_by_their_shape() {
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("optimum", &[("last_hidden_state", "the_hidden_states")]),
        ("aapot", &[("sparse_vecs", "sparse_vecz")]),
        ("aapot", &[("colbert_vecs", "colbert_vecz"), ("dense_vecs", "dense_vecz")]),
        ("newtechstudio", &[("sparse", "spa_se"), ("colbert", "c_lbert")]),
    ];
    for (kind, names) in cases {
        let model = open(&renamed(kind, names).dir).unwrap_or_else(|e| panic!("{names:?}: {e}"));
        let original = open(&tiny_dir(&export(kind))).unwrap();
        let options = asking(original.info().outputs);
        let texts = ["Orang-orang ada di luar.", "di di"];
        let encode = |model: &Model| model.encode(&texts, &options).unwrap();
        assert_eq!(encode(&model), encode(&original), "{names:?}");
    }
}

#[test]
fn what_cannot_be_told_apart_or_fed_is_refused_with_what_was_found() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case<'_>; 4] = [
        (
            "optimum",
            &[("last_hidden_state", "the_hidden_states"), ("pooler_output", "pooled_output")],
            &["the_hidden_states [2, 7, 32]", "pooled_output [2, 32]"],
        ),
        (
            "baai",
            &[("token_embeddings", "dense_embeddings")],
            &["dense_embeddings [2, 7, 32]", "has not the shape"],
        ),
        (
            "optimum",
            &[("token_type_ids", "token_type_idz")],
            &["\"token_type_idz\" is unknown", "position_ids"],
        ),
        ("aapot", &[("input_ids", "input_idz")], &["input_idz"]),
    ];
    for (kind, names, words) in cases {
        renamed(kind, names).is_refused(&format!("{names:?}"), Unsupported, words);
    }
}

#[test]
fn files_that_are_missing_damaged_or_elsewhere_are_named() {
    let copy = Copy::of(&export("optimum"));
    let whole = copy.read("model.onnx");
    let data = copy.read(DATA);
    let refused = |case: &str, kind: ErrorKind, words: &[&str]| copy.is_refused(case, kind, words);
    copy.write("model.onnx", replaced(&whole, DATA, "../../etc/passw"));
    refused("outside", ModelInvalid, &["../../etc/passw", "outside its folder"]);
    copy.write("model.onnx", replaced(&whole, DATA, "/etc/../../etc/"));
    refused("absolute", ModelInvalid, &["outside its folder"]);
    for length in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        copy.write("model.onnx", &whole[..length]);
        refused(&format!("cut at {length}"), ModelInvalid, &["model.onnx"]);
    }
    copy.write("model.onnx", LFS_POINTER);
    refused("pointer", ModelInvalid, &["git lfs pull", "model.onnx"]);
    copy.write("model.onnx", "{}");
    refused("no graph", ModelInvalid, &["model.onnx"]);
    copy.write("model.onnx", &whole);
    copy.write(DATA, LFS_POINTER);
    refused("data pointer", ModelInvalid, &["git lfs pull", DATA]);
    copy.write(DATA, &data[..1000]);
    refused("cut data", ModelInvalid, &["model.onnx"]);
    copy.remove(DATA);
    refused("no data", ModelNotFound, &[DATA, "does not exist"]);
    copy.remove("model.onnx");
    refused("nothing", ModelNotFound, &["an ONNX file"]);
}

#[test]
fn of_several_files_one_has_to_be_named() {
    let copy = Copy::of(&export("yuniko"));
    let graph = copy.read("bge_m3_model.onnx");
    copy.write("bge_m3_tokenizer.onnx", "not looked at");
    open(&copy.dir).unwrap();
    copy.write("another.onnx", &graph);
    copy.is_refused("two", Unsupported, &["another.onnx", "bge_m3_model.onnx", "onnx_file"]);
    copy.write("model.onnx", &graph);
    open(&copy.dir).unwrap();
}

#[test]
fn a_directory_has_to_say_what_an_export_does_not() {
    let copy = Copy::of(&export("optimum"));
    copy.remove("modules.json");
    copy.is_refused("pooling", Unsupported, &["modules.json", "pooling"]);
    let copy = Copy::of(&export("aapot"));
    copy.remove("config.json");
    open(&copy.dir).unwrap();
    copy.remove("tokenizer_config.json");
    copy.is_refused("length", ModelNotFound, &["tokenizer_config.json", "how long"]);
    let copy = Copy::of(&export("aapot"));
    copy.json("config.json", |json| json["hidden_size"] = 16.into());
    // It has no output of states that could disagree with config.json.
    open(&copy.dir).unwrap();
    let copy = Copy::of(&export("baai"));
    copy.json("config.json", |json| json["hidden_size"] = 16.into());
    copy.is_refused("states", ModelInvalid, &["hidden_size 16"]);
    copy.json("config.json", |json| json["pad_token_id"] = (-1).into());
    copy.is_refused("pad", ModelInvalid, &["pad_token_id"]);
    let e = Model::open(
        tiny_dir(&export("fixed")),
        &OpenOptions { max_tokens: 33, ..OpenOptions::default() },
    );
    assert_eq!(e.unwrap_err().kind(), InvalidArgument);
}
