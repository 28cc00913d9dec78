//! The forms that a model directory may have, and when two directories have the same fingerprint.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bge::{EncodeOptions, Metric};
use serde_json::json;

use crate::support::models::{
    Copy, WEIGHTS, copy_tree, fingerprint, join, open, split, tiny_dir, vector,
};

/// Lays a model out as the cache of the Hugging Face hub does: every file a link to a blob.
pub fn hub_cache(model: &str, root: &Path) -> PathBuf {
    let repository = root.join("models--some one--tiny");
    let snapshot = repository.join("snapshots/5617a9f61b028005a4858fdac845db406aefb181");
    let blobs = repository.join("blobs");
    copy_tree(&tiny_dir(model), &snapshot);
    std::fs::create_dir_all(&blobs).unwrap();
    link_files(&snapshot, &blobs, "../../blobs");
    snapshot
}

fn link_files(folder: &Path, blobs: &Path, up: &str) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            link_files(&path, blobs, &format!("../{up}"));
            continue;
        }
        let hash = blake3::hash(&std::fs::read(&path).unwrap()).to_hex();
        std::fs::rename(&path, blobs.join(hash.as_str())).unwrap();
        symlink(format!("{up}/{hash}"), path).unwrap();
    }
}

#[track_caller]
fn is_the_same(dir: &Path, as_model: &str) {
    let original = tiny_dir(as_model);
    assert_eq!(vector(dir), vector(&original), "{}", dir.display());
    assert_eq!(fingerprint(dir), fingerprint(&original), "{}", dir.display());
}

#[test]
fn a_model_in_the_cache_of_the_hub_is_opened_where_it_lies() {
    for model in ["cls", "sharded", "v6"] {
        let root = tempfile::tempdir().unwrap();
        let snapshot = hub_cache(model, root.path());
        assert!(snapshot.join("config.json").is_symlink());
        is_the_same(&snapshot, model);
        let link = root.path().join("link");
        symlink(&snapshot, &link).unwrap();
        is_the_same(&link, model);
    }
}

#[test]
fn shards_may_lie_in_different_folders() {
    let copy = Copy::of("sharded");
    let elsewhere = copy.around().join("else/where");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let shard = "model-00001-of-00002.safetensors";
    std::fs::rename(copy.path(shard), elsewhere.join("blob")).unwrap();
    symlink("../else/where/blob", copy.path(shard)).unwrap();
    is_the_same(&copy.dir, "sharded");
}

#[test]
fn a_model_may_lie_at_any_utf8_path() {
    let copy = Copy::of("cls");
    for name in
        ["with spaces and 'quotes\"", "модель 模型 é", "a%20b;c=d,e#f?g", "-rf", "new\nline"]
    {
        let dir = copy.around().join(name);
        copy_tree(&copy.dir, &dir);
        is_the_same(&dir, "cls");
    }
    let slash = PathBuf::from(format!("{}///", copy.dir.display()));
    is_the_same(&slash, "cls");
    is_the_same(&copy.path("1_Pooling/.."), "cls");
    // Cargo runs tests in the folder of the package.
    is_the_same(Path::new("tests/tiny/cls"), "cls");
    is_the_same(Path::new("./tests/../tests/tiny/cls/"), "cls");
}

#[test]
fn a_hard_link_to_the_weights_is_followed() {
    let copy = Copy::of("cls");
    std::fs::hard_link(copy.path(WEIGHTS), copy.around().join("second name")).unwrap();
    is_the_same(&copy.dir, "cls");
}

#[test]
fn the_transformer_may_lie_in_a_folder_of_its_own() {
    let copy = Copy::of("cls");
    let folder = copy.path("0_Transformer");
    std::fs::create_dir(&folder).unwrap();
    for file in ["config.json", "sentence_bert_config.json", WEIGHTS] {
        std::fs::rename(copy.path(file), folder.join(file)).unwrap();
    }
    copy.json("modules.json", |v| v[0]["path"] = json!("0_Transformer"));
    // The tokenizer may have stayed outside.
    is_the_same(&copy.dir, "cls");
    std::fs::rename(copy.path("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    is_the_same(&copy.dir, "cls");
}

#[test]
fn files_and_tensors_that_an_encoder_does_not_read_are_passed_over() {
    let copy = Copy::of("cls");
    for file in ["README.md", "model.safetensors.index.json", "pytorch_model.bin", ".gitattributes"]
    {
        copy.write(file, "not read");
    }
    copy.weights(WEIGHTS, |header, data| {
        for (name, dtype, bytes) in
            [("lm_head.bias", "F32", 8), ("position_ids", "I64", 16), ("flag", "BOOL", 2)]
        {
            let begin = data.len();
            data.resize(begin + bytes, 7);
            header[name] = json!({
                "dtype": dtype, "shape": [2], "data_offsets": [begin, data.len()]
            });
        }
        header["empty"] = json!({
            "dtype": "F32", "shape": [0], "data_offsets": [data.len(), data.len()]
        });
        header["__metadata__"] = json!({"format": "pt", "note": "another"});
    });
    is_the_same(&copy.dir, "cls");
}

#[test]
fn weights_may_begin_at_any_byte() {
    let copy = Copy::of("cls");
    let (header, data) = split(&copy.read(WEIGHTS));
    let original = vector(&tiny_dir("cls"));
    for spaces in 0..8 {
        let header = format!("{header}{}", " ".repeat(spaces));
        let length = (header.len() as u64).to_le_bytes();
        copy.write(WEIGHTS, [&length, header.as_bytes(), &data].concat());
        let difference =
            vector(&copy.dir).iter().zip(&original).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference <= 1e-6, "{spaces} spaces: differs by {difference}");
    }
}

#[test]
fn the_longest_text_is_capped_by_the_position_table() {
    for said in ["129", "8192", "512.0", "1e30", "1000000000000000019884624838656", "null"] {
        let copy = Copy::of("cls");
        copy.write("sentence_bert_config.json", format!("{{\"max_seq_length\": {said}}}"));
        let model = open(&copy.dir).unwrap();
        assert_eq!(model.info().max_tokens, 128, "{said}");
        let usage =
            model.encode(&["di ".repeat(1000).as_str()], &Default::default()).unwrap().usage;
        assert_eq!((usage[0].tokens, usage[0].truncated), (128, true), "{said}");
    }
    let copy = Copy::of("cls");
    copy.write("sentence_bert_config.json", "{\"max_seq_length\": 2}");
    let model = open(&copy.dir).unwrap();
    assert_eq!(model.encode(&["a"], &Default::default()).unwrap().usage[0].tokens, 2);
}

#[test]
fn shards_and_one_file_have_the_same_fingerprint() {
    let copy = Copy::of("sharded");
    let (mut header, mut data) = (json!({}), Vec::new());
    for shard in ["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"] {
        let (tensors, bytes) = split(&copy.read(shard));
        for (name, mut tensor) in tensors.as_object().unwrap().clone() {
            if name == "__metadata__" {
                continue;
            }
            for offset in tensor["data_offsets"].as_array_mut().unwrap() {
                *offset = json!(offset.as_u64().unwrap() + data.len() as u64);
            }
            // Together with a prefix, as a model with a head on top has.
            header[format!("roberta.{name}")] = tensor;
        }
        data.extend(bytes);
        copy.remove(shard);
    }
    copy.remove("model.safetensors.index.json");
    copy.write(WEIGHTS, join(&header.to_string(), &data));
    is_the_same(&copy.dir, "sharded");
}

#[test]
fn whatever_can_change_a_vector_changes_the_fingerprint() {
    let original = fingerprint(&tiny_dir("default-prompt"));
    type Case = (&'static str, fn(&Copy));
    let cases: [Case; 9] = [
        ("weights", |copy| {
            copy.weights(WEIGHTS, |header, data| {
                let at = &header["encoder.layer.1.output.LayerNorm.bias"]["data_offsets"][0];
                data[at.as_u64().unwrap() as usize] ^= 1;
            });
        }),
        ("tensors exchanged", |copy| {
            copy.weights(WEIGHTS, |header, _| {
                let key = "encoder.layer.0.attention.self.key.weight";
                let query = "encoder.layer.0.attention.self.query.weight";
                let taken = header[key].take();
                header[key] = header[query].take();
                header[query] = taken;
            });
        }),
        ("tokenizer", |copy| {
            copy.json("tokenizer.json", |v| v["model"]["vocab"][1000][1] = json!(-1.0));
        }),
        ("pooling", |copy| {
            copy.json("1_Pooling/config.json", |v| {
                v["pooling_mode_cls_token"] = json!(false);
                v["pooling_mode_mean_tokens"] = json!(true);
            });
        }),
        ("normalize", |copy| {
            copy.json("modules.json", |v| {
                v.as_array_mut().unwrap().pop();
            });
        }),
        ("longest text", |copy| {
            copy.json("sentence_bert_config.json", |v| v["max_seq_length"] = json!(127));
        }),
        ("eps", |copy| copy.json("config.json", |v| v["layer_norm_eps"] = json!(1e-6))),
        ("heads", |copy| copy.json("config.json", |v| v["num_attention_heads"] = json!(8))),
        ("default prompt", |copy| {
            copy.json("config_sentence_transformers.json", |v| {
                v["default_prompt_name"] = json!("passage");
            });
        }),
    ];
    let mut seen = vec![original];
    for (case, change) in cases {
        let copy = Copy::of("default-prompt");
        change(&copy);
        let changed = fingerprint(&copy.dir);
        assert!(!seen.contains(&changed), "{case}");
        seen.push(changed);
    }
}

#[test]
fn what_cannot_change_a_vector_leaves_the_fingerprint() {
    let copy = Copy::of("default-prompt");
    copy.json("config_sentence_transformers.json", |v| v["prompts"]["passage"] = json!("x"));
    copy.json("config.json", |v| v["transformers_version"] = json!("5.22.0"));
    copy.write("README.md", "# another");
    assert_eq!(fingerprint(&copy.dir), fingerprint(&tiny_dir("default-prompt")));
    // Another version has other tokens for some texts.
    copy.json("config.json", |v| v["transformers_version"] = json!("4.33.0"));
    assert_ne!(fingerprint(&copy.dir), fingerprint(&tiny_dir("default-prompt")));
}

#[test]
fn weights_that_were_cut_since_have_no_fingerprint() {
    let copy = Copy::of("cls");
    let model = open(&copy.dir).unwrap();
    // Another file of that name: the one that is mapped stays whole.
    let whole = copy.read(WEIGHTS);
    copy.remove(WEIGHTS);
    let e = model.fingerprint().unwrap_err();
    assert_eq!(e.kind(), bge::ErrorKind::ModelNotFound, "{e}");
    copy.write(WEIGHTS, &whole[..whole.len() / 2]);
    let e = model.fingerprint().unwrap_err();
    assert_eq!(e.kind(), bge::ErrorKind::ModelInvalid, "{e}");
    assert!(e.to_string().contains("has become shorter"), "{e}");
    copy.write(WEIGHTS, whole);
    assert_eq!(model.fingerprint().unwrap(), fingerprint(&tiny_dir("cls")));
}

#[test]
fn what_bert_leaves_out_of_config_json_has_the_defaults_of_transformers() {
    let copy = Copy::of("bert-cased");
    copy.json("config.json", |v| {
        for key in ["type_vocab_size", "layer_norm_eps", "hidden_act", "pad_token_id"] {
            v.as_object_mut().unwrap().remove(key).unwrap();
        }
    });
    is_the_same(&copy.dir, "bert-cased");
    // It is for training alone.
    copy.json("config.json", |v| v["pad_token_id"] = json!(null));
    is_the_same(&copy.dir, "bert-cased");
}

#[test]
fn bert_takes_as_many_tokens_as_its_position_table_has_rows() {
    let copy = Copy::of("bert-uncased");
    assert_eq!(open(&copy.dir).unwrap().info().max_tokens, 64);
    copy.write("sentence_bert_config.json", "{}");
    assert_eq!(open(&copy.dir).unwrap().info().max_tokens, 128);
    copy.json("tokenizer_config.json", |v| v["model_max_length"] = json!(1e30));
    assert_eq!(open(&copy.dir).unwrap().info().max_tokens, 128);
}

#[test]
fn vectors_are_compared_as_the_directory_says() {
    let copy = Copy::of("prompts");
    let unchanged = fingerprint(&copy.dir);
    // The last ones are not names of sentence-transformers, or not for single vectors: version 6
    // passes over them.
    for (said, metric) in [
        (json!(null), Metric::Cosine),
        (json!("cosine"), Metric::Cosine),
        (json!("dot"), Metric::Dot),
        (json!("euclidean"), Metric::Euclidean),
        (json!("manhattan"), Metric::Manhattan),
        (json!("dot_score"), Metric::Cosine),
        (json!("cos_sim"), Metric::Cosine),
        (json!("Dot"), Metric::Cosine),
        (json!("maxsim"), Metric::Cosine),
        (json!(""), Metric::Cosine),
    ] {
        copy.json("config_sentence_transformers.json", |v| v["similarity_fn_name"] = said.clone());
        let model = open(&copy.dir).unwrap();
        assert_eq!(model.info().similarity, metric, "{said}");
        assert_eq!(model.fingerprint().unwrap(), unchanged);
    }
    copy.remove("config_sentence_transformers.json");
    assert_eq!(open(&copy.dir).unwrap().info().similarity, Metric::Cosine);
}

#[test]
fn a_prompt_that_a_model_lacks_is_refused_with_those_that_it_has() {
    let refused = |name: &str| {
        let options = EncodeOptions { prompt: Some("other".into()), ..EncodeOptions::default() };
        open(&tiny_dir(name)).unwrap().encode(&["a"], &options).unwrap_err()
    };
    for (name, words) in [
        ("prompts", ["\"other\"", "[\"passage\", \"query\"]"]),
        ("cls", ["\"other\"", "has no prompts"]),
        ("cls", ["config_sentence_transformers.json", "\"prompts\""]),
        ("heads", ["\"other\"", "has no prompts"]),
    ] {
        let e = refused(name);
        assert_eq!(e.kind(), bge::ErrorKind::InvalidArgument, "{e}");
        assert!(words.iter().all(|word| e.to_string().contains(word)), "{name}: {e}");
        assert!(!e.to_string().contains("[]"), "{e}");
    }
}

#[test]
fn an_empty_prompt_is_none_and_keeps_the_default_away() {
    let copy = Copy::of("default-prompt");
    copy.json("config_sentence_transformers.json", |v| v["prompts"]["empty"] = json!(""));
    let vector = |dir: &Path, prompt: Option<&str>| {
        let options = EncodeOptions { prompt: prompt.map(Into::into), ..EncodeOptions::default() };
        open(dir).unwrap().encode(&["a"], &options).unwrap().dense
    };
    let without = vector(&copy.dir, Some(""));
    assert_eq!(vector(&copy.dir, Some("empty")), without);
    assert_ne!(vector(&copy.dir, None), without);
    copy.json("config_sentence_transformers.json", |v| v["default_prompt_name"] = json!("empty"));
    assert_eq!(vector(&copy.dir, None), without);
}

#[test]
fn roberta_and_camembert_are_xlm_roberta_by_another_name() {
    let copy = Copy::of("cls");
    copy.write("tokenizer_config.json", r#"{"tokenizer_class": "XLMRobertaTokenizer"}"#);
    for name in ["roberta", "camembert"] {
        copy.json("config.json", |v| v["model_type"] = json!(name));
        is_the_same(&copy.dir, "cls");
    }
}
