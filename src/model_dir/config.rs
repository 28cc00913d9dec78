//! The shape of the encoder, its longest text and its prompts, from the JSON files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Number, Value};

use super::files::{first_existing, is_present};
use super::json::{read_json, read_json_if_present};
use super::settings;
use crate::error::{Result, error};
use crate::similarity::Metric;

/// The limit of every size: far beyond any encoder, and small enough for products of sizes not to
/// overflow.
pub(super) const SIZE_MAX: usize = 1 << 24;
const LAYERS_MAX: usize = 1000;
/// The two special tokens around every text.
const TOKENS_MIN: usize = 2;

/// The shape of an encoder, from `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EncoderConfig {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub vocab: usize,
    pub positions: usize,
    pub token_types: usize,
    pub numbering: Numbering,
    pub layer_norm_eps: f32,
}

/// Which row of the position table a token uses. The supported architectures differ in nothing
/// else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// BERT: the position of the token in the text, from 0 on.
    FromZero,
    /// RoBERTa: positions start at the row after that of the padding id.
    AfterPadding(u32),
}

impl Numbering {
    /// The longest text that a table of `positions` rows allows.
    pub fn longest(self, positions: usize) -> usize {
        match self {
            Self::FromZero => positions,
            Self::AfterPadding(pad) => positions.saturating_sub(pad as usize + 1),
        }
    }
}

#[derive(Deserialize)]
struct ConfigJson {
    model_type: String,
    num_hidden_layers: Number,
    hidden_size: Number,
    num_attention_heads: Number,
    intermediate_size: Number,
    vocab_size: Number,
    max_position_embeddings: Number,
    // The defaults are those of transformers, and the same for all architectures.
    #[serde(default = "two")]
    type_vocab_size: Number,
    // This default is that of XLMRobertaConfig. The key makes no difference to BERT, and may be
    // null.
    #[serde(default = "one")]
    pad_token_id: Value,
    #[serde(default = "default_eps")]
    layer_norm_eps: f64,
}

fn two() -> Number {
    2.into()
}

fn one() -> Value {
    1.into()
}

fn default_eps() -> f64 {
    1e-12
}

impl EncoderConfig {
    pub fn read(dir: &Path) -> Result<Self> {
        let file = dir.join("config.json");
        let json: ConfigJson = read_json(&file)?;
        let name = file.display();
        let from_zero = match json.model_type.as_str() {
            "bert" => true,
            "xlm-roberta" | "roberta" | "camembert" => false,
            other => {
                return Err(error!(
                    Unsupported,
                    "{name}: model_type is {other:?}; only \"xlm-roberta\", \"roberta\", \
                     \"camembert\" and \"bert\" are supported"
                ));
            }
        };
        settings::CONFIG.check(&file)?;
        let number = |key: &str, value: Value, min: usize, max: usize| {
            let fits = |value: &usize| (min..=max).contains(value);
            value.as_u64().and_then(|value| usize::try_from(value).ok()).filter(fits).ok_or_else(
                || {
                    error!(
                        ModelInvalid,
                        "{name}: {key} is {value}, not a whole number {min} to {max}"
                    )
                },
            )
        };
        let size = |key, value: Number| number(key, value.into(), 1, SIZE_MAX);
        let hidden = size("hidden_size", json.hidden_size)?;
        let heads = size("num_attention_heads", json.num_attention_heads)?;
        let vocab = size("vocab_size", json.vocab_size)?;
        if !hidden.is_multiple_of(heads) {
            return Err(error!(
                ModelInvalid,
                "{name}: hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
            ));
        }
        if !(json.layer_norm_eps >= 0.0 && json.layer_norm_eps < 1.0) {
            return Err(error!(
                ModelInvalid,
                "{name}: layer_norm_eps is {}, not 0 to 1", json.layer_norm_eps
            ));
        }
        let numbering = if from_zero {
            Numbering::FromZero
        } else {
            // The padding id is a row of the word embedding table.
            Numbering::AfterPadding(number("pad_token_id", json.pad_token_id, 0, vocab - 1)? as u32)
        };
        Ok(Self {
            layers: number("num_hidden_layers", json.num_hidden_layers.into(), 1, LAYERS_MAX)?,
            hidden,
            heads,
            intermediate: size("intermediate_size", json.intermediate_size)?,
            vocab,
            positions: size("max_position_embeddings", json.max_position_embeddings)?,
            token_types: size("type_vocab_size", json.type_vocab_size)?,
            numbering,
            layer_norm_eps: json.layer_norm_eps as f32,
        })
    }
}

/// The names under which sentence-transformers looks for its own settings; the first file found
/// counts.
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
    // A float, since transformers writes "no limit" as 1e30, which some files repeat.
    max_seq_length: Option<f64>,
    #[serde(default)]
    do_lower_case: bool,
}

#[derive(Default, Deserialize)]
struct TokenizerConfigJson {
    model_max_length: Option<f64>,
}

/// How a text is prepared before it is encoded.
pub(super) struct TextRules {
    /// The longest text in tokens: the author's setting, limited by the position table.
    pub max_tokens: usize,
    pub lower_case: bool,
}

impl TextRules {
    /// `positions` is the number of rows of the position table, if it is known.
    pub fn read(dir: &Path, positions: Option<(usize, Numbering)>) -> Result<Self> {
        let file = first_existing(&SENTENCE_CONFIGS.map(|name| dir.join(name)));
        let json: SentenceConfigJson = read_json_if_present(&file)?;
        if is_present(&file) {
            settings::SENTENCE.check(&file)?;
        }
        let said = json.max_seq_length.map(|length| (file, "max_seq_length", length));
        Ok(Self { max_tokens: max_tokens(dir, positions, said)?, lower_case: json.do_lower_case })
    }
}

fn max_tokens(
    dir: &Path,
    positions: Option<(usize, Numbering)>,
    said: Option<(PathBuf, &'static str, f64)>,
) -> Result<usize> {
    let limit = positions.map(|(positions, numbering)| numbering.longest(positions));
    if let (Some((positions, numbering)), Some(limit @ ..TOKENS_MIN)) = (positions, limit) {
        return Err(error!(
            ModelInvalid,
            "{}: max_position_embeddings {positions}{} leaves texts {limit} tokens; the two \
             special tokens alone need {TOKENS_MIN}",
            dir.join("config.json").display(),
            match numbering {
                Numbering::FromZero => String::new(),
                Numbering::AfterPadding(pad) => format!(" with pad_token_id {pad}"),
            }
        ));
    }
    let said = match said {
        Some(said) => Some(said),
        None => {
            let file = dir.join("tokenizer_config.json");
            let json: TokenizerConfigJson = read_json_if_present(&file)?;
            json.model_max_length.map(|length| (file, "model_max_length", length))
        }
    };
    match said {
        None => limit.ok_or_else(|| {
            error!(
                ModelNotFound,
                "{}: neither config.json nor tokenizer_config.json says how long a text may be; \
                 copy one of them beside the ONNX file",
                dir.display()
            )
        }),
        Some((file, key, length)) if length < TOKENS_MIN as f64 || length.fract() != 0.0 => {
            Err(error!(
                ModelInvalid,
                "{}: {key} is {length}, not a whole number of tokens, {TOKENS_MIN} or more",
                file.display()
            ))
        }
        // `as` saturates, so 1e30 means no limit.
        Some((_, _, length)) => Ok((length as usize).min(limit.unwrap_or(SIZE_MAX))),
    }
}

/// `config_sentence_transformers.json`: prompts, the dimensions that vectors are truncated to, and
/// the metric.
pub(super) struct Prompts {
    pub prompts: BTreeMap<String, String>,
    pub default_prompt: Option<String>,
    pub truncate_dim: Option<usize>,
    pub similarity: Metric,
}

#[derive(Default, Deserialize)]
struct PromptsJson {
    // sentence-transformers treats a prompt that is null as an empty one.
    prompts: Option<BTreeMap<String, Option<String>>>,
    default_prompt_name: Option<String>,
    truncate_dim: Option<Number>,
    similarity_fn_name: Option<String>,
}

impl Prompts {
    pub fn read(dir: &Path) -> Result<Self> {
        let file = dir.join("config_sentence_transformers.json");
        let PromptsJson { prompts, default_prompt_name, truncate_dim, similarity_fn_name } =
            read_json_if_present(&file)?;
        if is_present(&file) {
            settings::PROMPTS.check(&file)?;
        }
        let prompts: BTreeMap<String, String> = (prompts.unwrap_or_default().into_iter())
            .map(|(name, prompt)| (name, prompt.unwrap_or_default()))
            .collect();
        if let Some(name) = &default_prompt_name
            && !prompts.contains_key(name)
        {
            return Err(error!(
                ModelInvalid,
                "{}: default_prompt_name {name:?} is not among the prompts {:?}",
                file.display(),
                prompts.keys().collect::<Vec<_>>()
            ));
        }
        let dim = |dim: Number| {
            let whole = dim.as_u64().filter(|dim| *dim > 0);
            whole.and_then(|dim| usize::try_from(dim).ok()).ok_or_else(|| {
                error!(
                    ModelInvalid,
                    "{}: truncate_dim is {dim}, not a whole number of 1 or more",
                    file.display()
                )
            })
        };
        let truncate_dim = truncate_dim.map(dim).transpose()?;
        // sentence-transformers ignores names that are no metric for single vectors, such as
        // `maxsim`.
        let similarity =
            similarity_fn_name.as_deref().and_then(Metric::named).unwrap_or(Metric::Cosine);
        Ok(Self { prompts, default_prompt: default_prompt_name, truncate_dim, similarity })
    }
}
