//! Directories that sentence-transformers opens and that differ a little from most.

use bge::EncodeOptions;
use bge::ErrorKind::ModelInvalid;
use serde_json::{Value, json};

use crate::support::models::{Copy, PROMPTS, WEIGHTS, fingerprint, open, tiny_dir, vector};

/// Renames the tensors of a model.
fn renamed(model: &str, rename: impl Fn(&str) -> String) -> Copy {
    let copy = Copy::of(model);
    copy.weights(WEIGHTS, |header, _| {
        let tensors = std::mem::take(header.as_object_mut().unwrap());
        let renamed = tensors.into_iter().map(|(name, value)| match name.as_str() {
            "__metadata__" => (name, value),
            _ => (rename(&name), value),
        });
        *header = Value::Object(renamed.collect());
    });
    copy
}

fn old(name: &str) -> String {
    name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
}

#[test]
fn the_numbers_of_a_layer_norm_may_have_their_old_names() {
    for (model, prefix) in
        [("bert-uncased", "bert."), ("bert-uncased", ""), ("mean", "roberta."), ("cls", "model.")]
    {
        let copy = renamed(model, |name| format!("{prefix}{}", old(name)));
        assert_eq!(vector(&copy.dir), vector(&tiny_dir(model)), "{model} {prefix}");
        assert_eq!(fingerprint(&copy.dir), fingerprint(&tiny_dir(model)), "{model} {prefix}");
    }
    // One of them, as a model that was changed by hand.
    let copy = renamed("mean", |name| match name {
        "embeddings.LayerNorm.weight" => old(name),
        _ => name.into(),
    });
    assert_eq!(vector(&copy.dir), vector(&tiny_dir("mean")));
    copy.weights(WEIGHTS, |header, data| {
        let end = data.len();
        data.extend_from_slice(&[0; 60]);
        header["embeddings.LayerNorm.weight"] =
            json!({"dtype": "F32", "shape": [15], "data_offsets": [end, end + 60]});
    });
    copy.is_refused("both", ModelInvalid, &["LayerNorm.gamma", "LayerNorm.weight", "two names"]);
}

#[test]
fn a_prompt_that_is_null_is_an_empty_one() {
    let copy = Copy::of("mean");
    copy.json(PROMPTS, |v| v["prompts"] = json!({"query": null, "passage": "di: "}));
    let model = open(&copy.dir).unwrap();
    let encode = |prompt: Option<&str>| {
        let options =
            EncodeOptions { prompt: prompt.map(str::to_string), ..EncodeOptions::default() };
        model.encode(&["Orang-orang ada di luar."], &options).unwrap().dense
    };
    assert_eq!(encode(Some("query")), encode(None));
    assert_ne!(encode(Some("passage")), encode(None));
    copy.json(PROMPTS, |v| v["prompts"] = json!(null));
    assert_eq!(vector(&copy.dir), vector(&tiny_dir("mean")));
    copy.json(PROMPTS, |v| v["prompts"] = json!({"query": 1}));
    copy.is_refused("number", ModelInvalid, &[PROMPTS, "prompts.query"]);
}

#[test]
fn the_settings_of_a_tokenizer_may_have_many_added_tokens() {
    let copy = Copy::of("mean");
    let token = |id: usize| {
        let token = json!({
            "content": format!("[unused{id}]"), "lstrip": false, "normalized": false,
            "rstrip": false, "single_word": false, "special": false,
            "note": "as a file of five megabytes and more has them for twenty-five thousand tokens"
        });
        (id.to_string(), token)
    };
    let decoder: serde_json::Map<String, Value> = (0..25_000).map(token).collect();
    copy.remove("sentence_bert_config.json");
    let config = json!({"model_max_length": 64, "as_many": decoder}).to_string();
    assert!(config.len() > 4 << 20);
    copy.write("tokenizer_config.json", config);
    assert_eq!(open(&copy.dir).unwrap().info().max_tokens, 64);
}
