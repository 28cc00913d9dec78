//! The names of the encoder's tensors: the expected ones, their prefix, their old forms, and those
//! of adapters.

use std::path::Path;

use super::config::EncoderConfig;
use super::formats::Tensors;
use crate::error::{Result, error};

pub(super) const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";

/// Every tensor that the encoder reads, with its shape. A file may hold others, such as a pooler or
/// the head of a language model.
pub(super) fn expected_tensors(c: &EncoderConfig) -> Vec<(String, Vec<usize>)> {
    let mut expected = vec![
        (WORD_EMBEDDINGS.to_string(), vec![c.vocab, c.hidden]),
        ("embeddings.position_embeddings.weight".into(), vec![c.positions, c.hidden]),
        ("embeddings.token_type_embeddings.weight".into(), vec![c.token_types, c.hidden]),
        ("embeddings.LayerNorm.weight".into(), vec![c.hidden]),
        ("embeddings.LayerNorm.bias".into(), vec![c.hidden]),
    ];
    let linears = [
        ("attention.self.query", c.hidden, c.hidden),
        ("attention.self.key", c.hidden, c.hidden),
        ("attention.self.value", c.hidden, c.hidden),
        ("attention.output.dense", c.hidden, c.hidden),
        ("intermediate.dense", c.intermediate, c.hidden),
        ("output.dense", c.hidden, c.intermediate),
    ];
    for layer in 0..c.layers {
        for (name, rows, columns) in linears {
            let name = format!("encoder.layer.{layer}.{name}");
            expected.push((format!("{name}.weight"), vec![rows, columns]));
            expected.push((format!("{name}.bias"), vec![rows]));
        }
        for norm in ["attention.output.LayerNorm", "output.LayerNorm"] {
            let name = format!("encoder.layer.{layer}.{norm}");
            expected.push((format!("{name}.weight"), vec![c.hidden]));
            expected.push((format!("{name}.bias"), vec![c.hidden]));
        }
    }
    expected
}

/// Parts of the names of tensors that change what an encoder computes: those of adapters, by the
/// library peft and by AdapterHub's.
const ADAPTERS: [&str; 10] = [
    "lora_",
    "base_layer.",
    "modules_to_save.",
    "hada_w",
    "lokr_w",
    "ia3_l",
    "oft_",
    "vera_lambda",
    "prompt_embeddings",
    ".adapters.",
];

/// Refuses the tensors of adapters, which would be missing from every vector.
pub(super) fn check_no_adapter(tensors: &Tensors, dir: &Path) -> Result<()> {
    let is_adapter = |key: &&String| ADAPTERS.iter().any(|part| key.contains(part));
    match tensors.keys().filter(is_adapter).min() {
        None => Ok(()),
        Some(key) => Err(error!(
            Unsupported,
            "{}: the weights have the tensor {key:?}, which is of an adapter and not applied here; merge \
             it into the weights with merge_and_unload() of the library peft, and save the model again",
            dir.display()
        )),
    }
}

/// The name that a tensor is stored under: BERT's first versions had other names for the tensors of
/// a LayerNorm, and transformers takes either.
pub(super) fn named(tensors: &Tensors, key: String) -> Result<String> {
    let old = match key.rsplit_once(".LayerNorm.") {
        Some((of, "weight")) => format!("{of}.LayerNorm.gamma"),
        Some((of, "bias")) => format!("{of}.LayerNorm.beta"),
        _ => return Ok(key),
    };
    match (tensors.contains_key(&key), tensors.contains_key(&old)) {
        (true, true) => Err(error!(
            ModelInvalid,
            "the weights have both {key:?} and {old:?}, which are two names for one tensor; remove one"
        )),
        (false, true) => Ok(old),
        _ => Ok(key),
    }
}

/// The prefix of every name: none, or `roberta.` if a head was trained on top.
pub(super) fn key_prefix(tensors: &Tensors, dir: &Path) -> Result<String> {
    let mut prefixes: Vec<&str> =
        tensors.keys().filter_map(|key| key.strip_suffix(WORD_EMBEDDINGS)).collect();
    prefixes.sort_unstable();
    match prefixes.as_slice() {
        [prefix] => Ok(prefix.to_string()),
        [] => Err(error!(
            ModelInvalid,
            "{}: the weights lack the tensor {WORD_EMBEDDINGS:?}",
            dir.display()
        )),
        several => Err(error!(
            ModelInvalid,
            "{}: the weights hold several encoders, under the prefixes {several:?}",
            dir.display()
        )),
    }
}
