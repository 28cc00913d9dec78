//! Every setting that a file of a model directory can have, and how it is handled. No setting that
//! changes a vector is ignored.
//!
//! The tables of `docs/settings.md` are generated from this one, and a test sets each key to
//! another value. Keys that are not listed are ignored, as sentence-transformers and transformers
//! ignore keys that they do not know.

mod tokenizer;

use std::path::Path;

use serde_json::{Map, Value};

use super::json::read_json;
use crate::error::{Result, error};
pub(super) use tokenizer::TOKENIZER_CONFIG;

/// How a setting is handled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// Its value is followed.
    Honored,
    /// Its values may be these, as JSON, or null, an empty list or an empty map. Any other value is
    /// refused.
    Only(&'static [&'static str]),
    /// Its value may be a map of these keys with any values, or null. Any other key is refused.
    OnlyKeys(&'static [&'static str]),
    /// No value of it can change a vector.
    Harmless,
}

/// A key of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub key: &'static str,
    pub fate: Fate,
    /// A short description.
    pub note: &'static str,
    /// A value, as JSON, that differs from the usual one.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the tests set it"))]
    pub other: &'static str,
}

/// A file, or several of the same kind, and its settings.
#[derive(Debug)]
pub(crate) struct File {
    #[cfg_attr(not(test), expect(dead_code, reason = "only the table for readers has it"))]
    pub name: &'static str,
    pub settings: &'static [Setting],
}

const fn setting(
    key: &'static str,
    fate: Fate,
    other: &'static str,
    note: &'static str,
) -> Setting {
    Setting { key, fate, note, other }
}

use Fate::{Harmless, Honored, Only, OnlyKeys};

/// The settings of `transformers`, versions 4 and 5.
pub(super) const CONFIG: File = File {
    name: "config.json",
    settings: &[
        setting("model_type", Honored, r#""distilbert""#, "the architecture"),
        setting("num_hidden_layers", Honored, "1", ""),
        setting("hidden_size", Honored, "16", ""),
        setting("num_attention_heads", Honored, "2", ""),
        setting("intermediate_size", Honored, "32", ""),
        setting("vocab_size", Honored, "1400", ""),
        setting("max_position_embeddings", Honored, "100", ""),
        setting("type_vocab_size", Honored, "2", ""),
        setting("pad_token_id", Honored, "3", "where positions begin, but for BERT"),
        setting("layer_norm_eps", Honored, "0.5", ""),
        setting("hidden_act", Only(&[r#""gelu""#]), r#""relu""#, "the exact one, by erf"),
        setting(
            "position_embedding_type",
            Only(&[r#""absolute""#, "null"]),
            r#""relative_key""#,
            "",
        ),
        setting("is_decoder", Only(&["false"]), "true", "only encoders are supported"),
        setting("add_cross_attention", Only(&["false"]), "true", "only encoders are supported"),
        setting("is_encoder_decoder", Only(&["false"]), "true", "only encoders are supported"),
        setting("pruned_heads", Only(&[]), r#"{"0": [1]}"#, "heads that were taken out"),
        setting("quantization_config", Only(&[]), r#"{"load_in_8bit": true}"#, "weights by others"),
        setting("adapters", Only(&[]), r#"{"adapters": {"a": "b"}}"#, "of the library adapters"),
        setting("auto_map", Only(&[]), r#"{"AutoModel": "m.Own"}"#, "code of the author's own"),
        setting("chunk_size_feed_forward", Harmless, "8", "the same sums in parts"),
        setting("dtype", Harmless, r#""float16""#, "vectors are computed in fp32"),
        setting("torch_dtype", Harmless, r#""bfloat16""#, "vectors are computed in fp32"),
        setting("attn_implementation", Harmless, r#""eager""#, "the same attention"),
        setting("_attn_implementation_autoset", Harmless, "true", "the same attention"),
        setting("use_cache", Harmless, "false", "of decoders"),
        setting("tie_word_embeddings", Harmless, "false", "of a language model's head"),
        setting("output_hidden_states", Harmless, "true", "more outputs, which no pooling reads"),
        setting("output_attentions", Harmless, "true", "more outputs, which no pooling reads"),
        setting("output_past", Harmless, "true", "of decoders"),
        setting("return_dict", Harmless, "false", "the form of the outputs"),
        setting("use_return_dict", Harmless, "false", "the form of the outputs"),
        setting("torchscript", Harmless, "true", "how weights are shared"),
        setting("hidden_dropout_prob", Harmless, "0.9", "of training"),
        setting("attention_probs_dropout_prob", Harmless, "0.9", "of training"),
        setting("classifier_dropout", Harmless, "0.9", "of training"),
        setting("initializer_range", Harmless, "9", "of training"),
        setting("initializer_factor", Harmless, "9", "of training"),
        setting("gradient_checkpointing", Harmless, "true", "of training"),
        setting(
            "architectures",
            Harmless,
            r#"["XLMRobertaForMaskedLM"]"#,
            "only the encoder is used",
        ),
        setting("num_labels", Harmless, "7", "of a classifier's head"),
        setting("id2label", Harmless, r#"{"0": "a"}"#, "of a classifier's head"),
        setting("label2id", Harmless, r#"{"a": 0}"#, "of a classifier's head"),
        setting("problem_type", Harmless, r#""regression""#, "of a classifier's head"),
        setting("finetuning_task", Harmless, r#""sts""#, "of a classifier's head"),
        setting(
            "sentence_transformers",
            Harmless,
            r#"{"version": "6"}"#,
            "of a cross-encoder's head",
        ),
        setting("task_specific_params", Harmless, r#"{"a": 1}"#, "of pipelines"),
        setting("bos_token_id", Harmless, "7", "the tokenizer decides"),
        setting("eos_token_id", Harmless, "7", "the tokenizer decides"),
        setting("sep_token_id", Harmless, "7", "the tokenizer decides"),
        setting("cls_token_id", Harmless, "7", "the tokenizer decides"),
        setting("mask_token_id", Harmless, "7", "the tokenizer decides"),
        setting("decoder_start_token_id", Harmless, "7", "of decoders"),
        setting(
            "tokenizer_class",
            Honored,
            r#""PreTrainedTokenizerFast""#,
            "unless tokenizer_config.json has it",
        ),
        setting("prefix", Harmless, r#""query: ""#, "of pipelines"),
        setting("pooler_fc_size", Harmless, "768", "of BERT's own pooling"),
        setting("pooler_num_attention_heads", Harmless, "12", "of BERT's own pooling"),
        setting("pooler_num_fc_layers", Harmless, "3", "of BERT's own pooling"),
        setting("pooler_size_per_head", Harmless, "128", "of BERT's own pooling"),
        setting("pooler_type", Harmless, r#""first""#, "of BERT's own pooling"),
        setting("directionality", Harmless, r#""bidi""#, "of BERT's first versions"),
        setting("_name_or_path", Harmless, r#""somewhere""#, "where it was loaded from"),
        setting("_commit_hash", Harmless, r#""0""#, "where it was loaded from"),
        setting("transformers_version", Honored, r#""4.0""#, "whose rules make tokens"),
    ],
};

/// The value that sentence-transformers since 5.4 writes for an encoder of texts.
const TEXT_ALONE: &str =
    r#"{"text": {"method": "forward", "method_output_name": "last_hidden_state"}}"#;
/// Arguments that do not change what transformers computes.
const MODEL_ARGUMENTS: &[&str] = &[
    "add_pooling_layer",
    "attn_implementation",
    "device_map",
    "dtype",
    "low_cpu_mem_usage",
    "torch_dtype",
    "trust_remote_code",
    "use_safetensors",
];
/// sentence-transformers itself drops the first.
const TOKENIZER_ARGUMENTS: &[&str] = &["trust_remote_code", "use_fast"];
const CONFIG_ARGUMENTS: &[&str] = &["trust_remote_code"];

/// The settings of `sentence_transformers`, versions 2 to 6.
pub(super) const SENTENCE: File = File {
    name: "sentence_bert_config.json",
    settings: &[
        setting("max_seq_length", Honored, "5", ""),
        setting("do_lower_case", Honored, "true", ""),
        setting(
            "transformer_task",
            Only(&[r#""feature-extraction""#]),
            r#""fill-mask""#,
            "others are of rerankers and sparse encoders",
        ),
        setting("modality_config", Only(&[TEXT_ALONE, "null"]), r#"{"image": {}}"#, "text alone"),
        setting("module_output_name", Only(&[r#""token_embeddings""#, "null"]), r#""scores""#, ""),
        setting(
            "processing_kwargs",
            Only(&[]),
            r#"{"text": {"padding": true}}"#,
            "of the tokenizer",
        ),
        setting("query_length", Only(&[]), "32", "of multi-vector encoders"),
        setting("document_length", Only(&[]), "32", "of multi-vector encoders"),
        setting("query_expansion", Only(&[]), r#"{"length": 32}"#, "of multi-vector encoders"),
        setting(
            "tokenizer_name_or_path",
            Only(&[]),
            r#""elsewhere""#,
            "a tokenizer from elsewhere",
        ),
        setting("model_args", OnlyKeys(MODEL_ARGUMENTS), r#"{"subfolder": "x"}"#, ""),
        setting("model_kwargs", OnlyKeys(MODEL_ARGUMENTS), r#"{"variant": "x"}"#, ""),
        setting("tokenizer_args", OnlyKeys(TOKENIZER_ARGUMENTS), r#"{"model_max_length": 9}"#, ""),
        setting(
            "processor_kwargs",
            OnlyKeys(TOKENIZER_ARGUMENTS),
            r#"{"do_lower_case": true}"#,
            "",
        ),
        setting("config_args", OnlyKeys(CONFIG_ARGUMENTS), r#"{"hidden_act": "relu"}"#, ""),
        setting("config_kwargs", OnlyKeys(CONFIG_ARGUMENTS), r#"{"num_hidden_layers": 1}"#, ""),
        setting("unpad_inputs", Harmless, "false", "rows are never padded here"),
        setting("cache_dir", Harmless, r#""x""#, "where downloads are kept"),
        setting("backend", Harmless, r#""onnx""#, "what computes in Python"),
    ],
};

pub(super) const PROMPTS: File = File {
    name: "config_sentence_transformers.json",
    settings: &[
        setting("prompts", Honored, r#"{"query": "tanya: "}"#, "null stands for an empty prompt"),
        setting("default_prompt_name", Honored, r#""absent""#, ""),
        setting("truncate_dim", Honored, "8", ""),
        setting("similarity_fn_name", Honored, r#""dot""#, "told, and not applied"),
        setting(
            "model_type",
            Only(&[r#""SentenceTransformer""#, "null"]),
            r#""SparseEncoder""#,
            "others are of rerankers and other encoders",
        ),
        setting(
            "__version__",
            Honored,
            r#"{"sentence_transformers": "3.0.1", "transformers": "4.41.2"}"#,
            "whose rules make tokens",
        ),
        setting("requirements", Harmless, r#"["torch>=9"]"#, "packages of Python"),
    ],
};

#[cfg(test)]
pub(super) const MODULES: File = File {
    name: "modules.json, of each module",
    settings: &[
        setting("type", Honored, r#""own.Pooling""#, "a class of sentence-transformers itself"),
        setting("path", Honored, r#""elsewhere""#, ""),
        setting("idx", Harmless, "7", "the order of the list counts"),
        setting("name", Harmless, r#""seven""#, ""),
        setting("kwargs", Harmless, r#"["task"]"#, "what a call in Python may pass on to it"),
    ],
};

#[cfg(test)]
pub(super) const POOLING: File = File {
    name: "config.json of a Pooling",
    settings: &[
        setting("word_embedding_dimension", Honored, "7", "has to be hidden_size"),
        setting("embedding_dimension", Honored, "7", "has to be hidden_size"),
        setting("pooling_mode", Honored, r#""max""#, ""),
        setting("pooling_mode_cls_token", Honored, "false", ""),
        setting("pooling_mode_max_tokens", Honored, "true", ""),
        setting("pooling_mode_mean_tokens", Honored, "true", ""),
        setting("pooling_mode_mean_sqrt_len_tokens", Honored, "true", ""),
        setting("pooling_mode_weightedmean_tokens", Honored, "true", ""),
        setting("pooling_mode_lasttoken", Honored, "true", ""),
        setting("include_prompt", Honored, "false", ""),
    ],
};

pub(super) const DENSE: File = File {
    name: "config.json of a Dense",
    settings: &[
        setting("in_features", Honored, "7", "has to be what comes in"),
        setting("out_features", Honored, "7", ""),
        setting("bias", Honored, "false", ""),
        setting("activation_function", Honored, r#""torch.nn.modules.activation.ReLU""#, ""),
        setting("use_residual", Honored, "true", ""),
        setting("module_input_name", Only(&[VECTOR, "null"]), r#""token_embeddings""#, ""),
        setting("module_output_name", Only(&[VECTOR, "null"]), r#""other""#, ""),
    ],
};

const VECTOR: &str = r#""sentence_embedding""#;

pub(super) const NORMALIZE: File = File {
    name: "config.json of a Normalize",
    settings: &[
        setting("module_input_name", Only(&[VECTOR, "null"]), r#""token_embeddings""#, ""),
        setting("module_output_name", Only(&[VECTOR, "null"]), r#""other""#, ""),
    ],
};

#[cfg(test)]
pub(super) const LAYER_NORM: File = File {
    name: "config.json of a LayerNorm",
    settings: &[setting("dimension", Honored, "7", "has to be what comes in")],
};

#[cfg(test)]
pub(super) const DROPOUT: File = File {
    name: "config.json of a Dropout",
    settings: &[setting("dropout", Harmless, "0.9", "of training")],
};

impl File {
    /// Refuses settings of the file that this library does not support. The file has to exist.
    pub fn check(&self, path: &Path) -> Result<()> {
        let said: Map<String, Value> = read_json(path)?;
        for Setting { key, fate, note, .. } in self.settings {
            let Some(value) = said.get(*key) else { continue };
            let name = path.display();
            let why = if note.is_empty() { String::new() } else { format!(" ({note})") };
            match fate {
                Only([]) if !is_nothing(value) => {
                    return Err(error!(
                        Unsupported,
                        "{name}: {key} is {value}{why}, which is not supported; of a model that was \
                         saved without it, it is null or not there"
                    ));
                }
                Only(accepted @ [_, ..])
                    if !accepted.iter().any(|accepted| is_same(accepted, value)) =>
                {
                    return Err(error!(
                        Unsupported,
                        "{name}: {key} is {value}; only {} is supported{why}",
                        accepted.join(" or ")
                    ));
                }
                OnlyKeys(accepted) => {
                    let unknown = match value {
                        Value::Object(map) => {
                            map.iter().find(|(key, _)| !accepted.contains(&key.as_str()))
                        }
                        _ => None,
                    };
                    if let Some((argument, value)) = unknown {
                        return Err(error!(
                            Unsupported,
                            "{name}: {key} has {argument:?}: {value}, which is not supported; of \
                             these arguments, {} are",
                            accepted.join(", ")
                        ));
                    }
                }
                Honored | Only(_) | Harmless => {}
            }
        }
        Ok(())
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn is_same(accepted: &str, value: &Value) -> bool {
    serde_json::from_str::<Value>(accepted).is_ok_and(|accepted| accepted == *value)
}

#[cfg(test)]
mod tests;
