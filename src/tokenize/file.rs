//! Reads a `tokenizer.json` in one pass, and refuses what could take more time or memory than any
//! real tokenizer.

use std::collections::HashMap;
use std::fmt;

use ahash::AHashMap;
use serde::Deserialize;
use serde::de::{
    DeserializeOwned, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{AddedToken, PostProcessor, PostProcessorWrapper, PreTokenizerWrapper};

use super::limits;
use super::model::{Pipeline, Segmenter};
use super::nesting;
use super::normalizer::Normalizer;
use super::unigram::{NO_MEMORY, Unigram, Vocab};
use crate::error::{Error, Result, error};

/// The parts of a `tokenizer.json`, before they form a pipeline.
pub(super) struct TokenizerFile {
    pub segmenter: Segmenter,
    pub normalizer: Option<Normalizer>,
    pub pre_tokenizer: Option<PreTokenizerWrapper>,
    pub post_processor: Option<PostProcessorWrapper>,
    /// The tokens with their ids in the file.
    pub added_tokens: Vec<(i64, AddedToken)>,
    /// Whether long texts are truncated at their beginning.
    pub cuts_left: bool,
}

#[derive(Deserialize)]
struct Json<'a> {
    version: Option<String>,
    truncation: Option<TruncationJson>,
    #[serde(default)]
    added_tokens: Vec<AddedTokenJson>,
    #[serde(borrow)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow)]
    post_processor: Option<&'a RawValue>,
    model: ModelJson,
}

#[derive(Deserialize)]
struct TruncationJson {
    #[serde(default)]
    direction: DirectionJson,
}

#[derive(Default, Deserialize, PartialEq)]
enum DirectionJson {
    Left,
    #[default]
    Right,
}

#[derive(Deserialize)]
struct AddedTokenJson {
    id: i64,
    #[serde(flatten)]
    token: AddedToken,
}

/// The part `model`, of the type that it names or that its fields imply.
pub(super) enum ModelJson {
    Unigram { vocab: Vocab, unk_id: Option<usize>, byte_fallback: bool },
    WordPiece { vocab: HashMap<String, u32>, unk_token: String, prefix: String, chars_max: usize },
    Unsupported(&'static str),
}

impl TokenizerFile {
    /// Reads the file. Errors name it by `file`.
    pub fn read(json: &[u8], file: &str) -> Result<Self> {
        let is_no_tokenizer = |e: &dyn fmt::Display| match e.to_string() {
            why if why.contains(NO_MEMORY) => error!(OutOfMemory, "{file} cannot be read: {why}"),
            why => error!(ModelInvalid, "{file} is not a tokenizer: {why}"),
        };
        let json: Json<'_> = serde_json::from_slice(json).map_err(|e| is_no_tokenizer(&e))?;
        if let Some(version) = json.version.filter(|version| version != "1.0") {
            return Err(error!(
                Unsupported,
                "{file}: the version is {version:?}; only \"1.0\" is supported"
            ));
        }
        for part in [json.normalizer, json.pre_tokenizer, json.post_processor].into_iter().flatten()
        {
            nesting::check(part.get().as_bytes(), file)?;
        }
        let pre_tokenizer = part::<Value>(json.pre_tokenizer, file)?;
        if let Some(part) = &pre_tokenizer {
            limits::check_pre_tokenizer(part, file)?;
        }
        let segmenter = json.model.segmenter(file)?;
        let post_processor = part::<PostProcessorWrapper>(json.post_processor, file)?;
        if let Some(processor) = &post_processor {
            limits::check_special_count(processor.added_tokens(false), file)?;
        }
        let added_tokens = json.added_tokens.into_iter().map(|it| (it.id, it.token));
        Ok(Self {
            segmenter,
            normalizer: json.normalizer.map(|it| Normalizer::read(it, file)).transpose()?,
            pre_tokenizer: pre_tokenizer
                .map(serde_json::from_value)
                .transpose()
                .map_err(|e| is_no_tokenizer(&e))?,
            post_processor,
            added_tokens: added_tokens.collect(),
            cuts_left: json.truncation.is_some_and(|it| it.direction == DirectionJson::Left),
        })
    }

    /// The pipeline that the file describes, as the crate `tokenizers` would build it.
    pub fn into_pipeline(self, file: &str) -> Result<Pipeline> {
        let mut pipeline = Pipeline::new(self.segmenter);
        let fault = |e: tokenizers::Error| is_not_usable(file, &e);
        pipeline
            .with_normalizer(self.normalizer)
            .map_err(fault)?
            .with_pre_tokenizer(self.pre_tokenizer)
            .with_post_processor(self.post_processor);
        let tokens = self.added_tokens.into_iter().map(|(_, token)| token);
        pipeline.add_tokens(tokens).map_err(fault)?;
        Ok(pipeline)
    }
}

/// The error of a vocabulary, which is `OutOfMemory` if there was no memory for it.
pub(super) fn vocabulary_error(file: &str, why: String) -> Error {
    match why.contains(NO_MEMORY) {
        true => error!(OutOfMemory, "{file} cannot be read: {why}"),
        false => error!(ModelInvalid, "{file}: {why}"),
    }
}

pub(super) fn is_not_usable(file: &str, e: &tokenizers::Error) -> Error {
    error!(ModelInvalid, "{file} is not a tokenizer that can be used: {e}")
}

fn part<T: DeserializeOwned>(json: Option<&RawValue>, file: &str) -> Result<Option<T>> {
    let read = json.map(|json| serde_json::from_str(json.get())).transpose();
    read.map_err(|e| error!(ModelInvalid, "{file} is not a tokenizer: {e}"))
}

impl ModelJson {
    pub fn segmenter(self, file: &str) -> Result<Segmenter> {
        match self {
            Self::Unigram { vocab, unk_id, byte_fallback } => {
                let unigram = Unigram::new(vocab, unk_id, byte_fallback);
                let unigram = unigram.map_err(|e| vocabulary_error(file, e))?;
                Ok(Segmenter::Unigram(unigram))
            }
            Self::WordPiece { vocab, unk_token, prefix, chars_max } => {
                let model = WordPiece::builder()
                    .vocab(vocab.into_iter().collect::<AHashMap<_, _>>())
                    .unk_token(unk_token)
                    .continuing_subword_prefix(prefix)
                    .max_input_chars_per_word(chars_max)
                    .build()
                    .map_err(|e| is_not_usable(file, &e))?;
                Ok(Segmenter::WordPiece(model))
            }
            Self::Unsupported(kind) => Err(error!(
                Unsupported,
                "{file}: the model is {kind}; only Unigram and WordPiece are supported"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for ModelJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ModelVisitor)
    }
}

struct ModelVisitor;

/// The vocabulary: a list of pieces with their scores, or the ids of words.
enum VocabJson {
    Pieces(Vocab),
    Words(HashMap<String, u32>),
}

impl<'de> Deserialize<'de> for VocabJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = VocabJson;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of pieces and their scores, or the ids of words")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<VocabJson, A::Error> {
                Vocab::from_list(list).map(VocabJson::Pieces)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<VocabJson, A::Error> {
                let words = serde::de::value::MapAccessDeserializer::new(map);
                HashMap::deserialize(words).map(VocabJson::Words)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Visitor<'de> for ModelVisitor {
    type Value = ModelJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the model of a tokenizer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ModelJson, A::Error> {
        let (mut kind, mut vocab, mut merges) = (None::<String>, None, false);
        let (mut unk_id, mut byte_fallback) = (None, false);
        let (mut unk_token, mut prefix, mut chars_max) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "type" => kind = map.next_value()?,
                "vocab" => vocab = Some(map.next_value::<VocabJson>()?),
                "unk_id" => unk_id = map.next_value()?,
                "byte_fallback" => byte_fallback = map.next_value()?,
                "unk_token" => unk_token = map.next_value::<Option<String>>()?,
                "continuing_subword_prefix" => prefix = map.next_value::<Option<String>>()?,
                "max_input_chars_per_word" => chars_max = Some(map.next_value()?),
                other => {
                    merges |= other == "merges";
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        // Old files do not name their type.
        let kind = kind.as_deref().unwrap_or(match &vocab {
            _ if merges => "BPE",
            Some(VocabJson::Pieces(_)) | None => "Unigram",
            Some(VocabJson::Words(_)) if chars_max.is_some() => "WordPiece",
            Some(VocabJson::Words(_)) => "WordLevel",
        });
        match (kind, vocab) {
            ("BPE", _) => Ok(ModelJson::Unsupported("BPE")),
            ("WordLevel", _) => Ok(ModelJson::Unsupported("WordLevel")),
            ("Unigram", Some(VocabJson::Pieces(vocab))) => {
                Ok(ModelJson::Unigram { vocab, unk_id, byte_fallback })
            }
            ("WordPiece", Some(VocabJson::Words(vocab))) => {
                let lacks = |key| A::Error::custom(format!("the model lacks {key:?}"));
                Ok(ModelJson::WordPiece {
                    vocab,
                    unk_token: unk_token.ok_or_else(|| lacks("unk_token"))?,
                    prefix: prefix.ok_or_else(|| lacks("continuing_subword_prefix"))?,
                    chars_max: chars_max.ok_or_else(|| lacks("max_input_chars_per_word"))?,
                })
            }
            ("Unigram" | "WordPiece", Some(_)) => {
                Err(A::Error::custom(format!("the vocabulary is not that of a {kind} model")))
            }
            ("Unigram" | "WordPiece", None) => Err(A::Error::custom("the model has no \"vocab\"")),
            _ => Err(A::Error::custom(format!("the model is {kind:?}, which is unknown"))),
        }
    }
}
