//! The numbers of the encoder, its longest text and its prompts, from the JSON files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{read_json, read_json_if_present};
use crate::error::{Result, error};

/// Far beyond any encoder there is; keep absurd numbers out of every later product.
const SIZE_MAX: usize = 1 << 24;
const LAYERS_MAX: usize = 1000;

/// The shape of an XLM-RoBERTa encoder, from `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EncoderConfig {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub vocab: usize,
    pub positions: usize,
    pub token_types: usize,
    pub pad_id: u32,
    pub layer_norm_eps: f32,
}

#[derive(Deserialize)]
struct ConfigJson {
    model_type: String,
    num_hidden_layers: usize,
    hidden_size: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    // The two defaults are those of transformers' XLMRobertaConfig.
    #[serde(default = "one")]
    pad_token_id: u32,
    #[serde(default = "default_eps")]
    layer_norm_eps: f64,
    #[serde(default = "gelu")]
    hidden_act: String,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default)]
    add_cross_attention: bool,
}

fn one() -> u32 {
    1
}

fn default_eps() -> f64 {
    1e-12
}

fn gelu() -> String {
    "gelu".into()
}

impl EncoderConfig {
    pub fn read(dir: &Path) -> Result<Self> {
        let file = dir.join("config.json");
        let json: ConfigJson = read_json(&file)?;
        let name = file.display();
        if json.model_type != "xlm-roberta" {
            return Err(error!(
                Unsupported,
                "{name}: model_type is {:?}; only \"xlm-roberta\" is supported", json.model_type
            ));
        }
        if json.hidden_act != "gelu" {
            return Err(error!(
                Unsupported,
                "{name}: hidden_act is {:?}; only \"gelu\" (exact, by erf) is supported",
                json.hidden_act
            ));
        }
        if let Some(kind) = json.position_embedding_type.filter(|kind| kind != "absolute") {
            return Err(error!(
                Unsupported,
                "{name}: position_embedding_type is {kind:?}; only \"absolute\" is supported"
            ));
        }
        if json.is_decoder || json.add_cross_attention {
            return Err(error!(
                Unsupported,
                "{name}: is_decoder or add_cross_attention is set; only encoders are supported"
            ));
        }
        let sizes = [
            ("num_hidden_layers", json.num_hidden_layers, LAYERS_MAX),
            ("hidden_size", json.hidden_size, SIZE_MAX),
            ("num_attention_heads", json.num_attention_heads, SIZE_MAX),
            ("intermediate_size", json.intermediate_size, SIZE_MAX),
            ("vocab_size", json.vocab_size, SIZE_MAX),
            ("max_position_embeddings", json.max_position_embeddings, SIZE_MAX),
            ("type_vocab_size", json.type_vocab_size, SIZE_MAX),
        ];
        for (key, value, max) in sizes {
            if value == 0 || value > max {
                return Err(error!(ModelInvalid, "{name}: {key} is {value}, not 1 to {max}"));
            }
        }
        if !json.hidden_size.is_multiple_of(json.num_attention_heads) {
            return Err(error!(
                ModelInvalid,
                "{name}: hidden_size {} is not a multiple of num_attention_heads {}",
                json.hidden_size,
                json.num_attention_heads
            ));
        }
        if !(json.layer_norm_eps >= 0.0 && json.layer_norm_eps < 1.0) {
            return Err(error!(
                ModelInvalid,
                "{name}: layer_norm_eps is {}, not 0 to 1", json.layer_norm_eps
            ));
        }
        if json.pad_token_id as usize >= json.vocab_size {
            return Err(error!(
                ModelInvalid,
                "{name}: pad_token_id {} is not below vocab_size {}",
                json.pad_token_id,
                json.vocab_size
            ));
        }
        Ok(Self {
            layers: json.num_hidden_layers,
            hidden: json.hidden_size,
            heads: json.num_attention_heads,
            intermediate: json.intermediate_size,
            vocab: json.vocab_size,
            positions: json.max_position_embeddings,
            token_types: json.type_vocab_size,
            pad_id: json.pad_token_id,
            layer_norm_eps: json.layer_norm_eps as f32,
        })
    }

    /// The longest text that the position table allows: positions begin after the padding id.
    pub fn position_limit(&self) -> usize {
        self.positions.saturating_sub(self.pad_id as usize + 1)
    }
}

/// The names under which sentence-transformers looks for its own settings; the first one wins.
const SENTENCE_CONFIGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

#[derive(Default, Deserialize)]
struct SentenceConfigJson {
    max_seq_length: Option<u64>,
    #[serde(default)]
    do_lower_case: bool,
}

#[derive(Default, Deserialize)]
struct TokenizerConfigJson {
    // A float, since transformers writes 1e30 for "no limit".
    model_max_length: Option<f64>,
}

/// The longest text in tokens: what the author said, capped by the position table.
pub(super) fn max_tokens(dir: &Path, encoder: &EncoderConfig) -> Result<usize> {
    let file = SENTENCE_CONFIGS.iter().map(|name| dir.join(name)).find(|path| path.exists());
    let (said, said_by) = match &file {
        Some(file) => {
            let json: SentenceConfigJson = read_json(file)?;
            if json.do_lower_case {
                return Err(error!(
                    Unsupported,
                    "{}: do_lower_case is true; only models that keep the case are supported",
                    file.display()
                ));
            }
            (json.max_seq_length, file.clone())
        }
        None => (None, dir.join(SENTENCE_CONFIGS[0])),
    };
    let limit = encoder.position_limit();
    let (tokens, said_by) = match said {
        Some(tokens) => (usize::try_from(tokens).unwrap_or(usize::MAX), said_by),
        None => {
            let file = dir.join("tokenizer_config.json");
            let json: TokenizerConfigJson = read_json_if_present(&file)?;
            // `as` saturates, which is what 1e30 asks for.
            (json.model_max_length.map_or(limit, |length| length as usize), file)
        }
    };
    let tokens = tokens.min(limit);
    if tokens < 2 {
        return Err(error!(
            ModelInvalid,
            "{}: texts may have {tokens} tokens at most, fewer than the two special tokens",
            said_by.display()
        ));
    }
    Ok(tokens)
}

/// `config_sentence_transformers.json`: what may be put in front of a text.
#[derive(Default, Deserialize)]
pub(super) struct Prompts {
    #[serde(default)]
    pub prompts: BTreeMap<String, String>,
    #[serde(default, rename = "default_prompt_name")]
    pub default: Option<String>,
}

impl Prompts {
    pub fn read(dir: &Path) -> Result<Self> {
        let file = dir.join("config_sentence_transformers.json");
        let read: Self = read_json_if_present(&file)?;
        if let Some(name) = &read.default
            && !read.prompts.contains_key(name)
        {
            return Err(error!(
                ModelInvalid,
                "{}: default_prompt_name {name:?} is not among the prompts",
                file.display()
            ));
        }
        Ok(read)
    }
}
