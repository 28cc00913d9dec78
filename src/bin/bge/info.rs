//! `bge info`: the description of a model directory.

use std::path::Path;

use bge::{Model, Outputs};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::print;

/// The most weight files that are listed: an ONNX export may have one for each of its tensors.
const ITEMS_SHOWN: usize = 8;

/// Names and values, the most useful first.
struct Facts(Vec<(&'static str, Value)>);

pub(crate) fn run(dir: &Path, model: &Model, as_json: bool) -> Result<(), Failure> {
    let facts = facts(dir, model)?;
    if as_json {
        let text = serde_json::to_string_pretty(&facts).map_err(std::io::Error::from)?;
        return print(&format!("{text}\n"));
    }
    print(&facts.0.iter().map(|(name, value)| line(name, value)).collect::<String>())
}

fn facts(dir: &Path, model: &Model) -> Result<Facts, Failure> {
    let info = model.info();
    let prompts: serde_json::Map<_, _> =
        info.prompts.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    Ok(Facts(vec![
        ("directory", json!(dir)),
        ("fingerprint", json!(model.fingerprint()?)),
        ("weight_files", json!(info.weight_files)),
        ("precision", json!(info.precision)),
        ("modules", json!(info.modules)),
        ("layers", json!(info.layers)),
        ("heads", json!(info.heads)),
        ("intermediate", json!(info.intermediate)),
        ("vocabulary", json!(info.vocab_size)),
        ("tokenizer", json!(info.tokenizer)),
        ("pooling", json!(info.pooling)),
        ("include_prompt", json!(info.include_prompt)),
        ("normalize", json!(info.normalize)),
        ("lower_case", json!(info.lower_case)),
        ("outputs", json!(outputs(info.outputs))),
        ("dense_dim", json!(info.dense_dim)),
        ("multi_dim", json!(info.multi_dim)),
        ("token_dim", json!(info.token_dim)),
        ("max_tokens", json!(info.max_tokens)),
        ("prompts", prompts.into()),
        ("default_prompt", json!(info.default_prompt)),
        ("similarity", json!(info.similarity.name())),
        ("device", json!(info.device)),
        ("threads", json!(info.threads)),
        ("max_batch_tokens", json!(info.max_batch_tokens)),
        ("runtime", json!(info.runtime)),
        ("runtime_library", json!(info.runtime_library)),
    ]))
}

fn outputs(outputs: Outputs) -> Vec<&'static str> {
    let Outputs { dense, sparse, multi, tokens } = outputs;
    let named = [(dense, "dense"), (sparse, "sparse"), (multi, "multi"), (tokens, "tokens")];
    named.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect()
}

impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

fn line(name: &str, value: &Value) -> String {
    let value = match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".into(),
        Value::Array(items) => {
            let shown = items.iter().take(ITEMS_SHOWN).map(words).collect::<Vec<_>>().join(", ");
            match items.len().saturating_sub(ITEMS_SHOWN) {
                0 => shown,
                more => format!("{shown} and {more} more"),
            }
        }
        Value::Object(entries) if entries.is_empty() => "none".into(),
        // Quoted, to show a space at the end of a prompt.
        Value::Object(entries) => entries
            .iter()
            .map(|(name, text)| format!("{name} {text}"))
            .collect::<Vec<_>>()
            .join(", "),
        value => value.to_string(),
    };
    format!("{name:<17} {value}\n")
}

fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}
