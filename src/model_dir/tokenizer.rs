//! The files that decide the tokens of a text, and the rules by which they are read.
//!
//! transformers does not simply run `tokenizer.json`. Before version 5 it runs the file with the
//! additions of `tokenizer_config.json` and the files beside it. Since version 5 it takes the
//! vocabulary from the file, and builds the pipeline of the tokenizer's class anew. The directory
//! names the version that a model was made with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::files::{first_existing, is_present, read_file};
use super::json::{check_encoding, read_json_if_present};
use super::settings;
use crate::error::{Error, Result, error};

/// XLM-RoBERTa's tokenizer.json has 17 MB, and none in common use is larger.
const TOKENIZER_BYTES_MAX: u64 = 256 << 20;
/// XLM-RoBERTa's SentencePiece model has 5 MB.
const SENTENCEPIECE_BYTES_MAX: u64 = 16 << 20;
const CONFIG: &str = "tokenizer_config.json";
/// The first version of sentence-transformers that does not remove white space around texts.
const FIRST_UNSTRIPPED: (u64, u64) = (5, 4);

/// The files of a tokenizer.
pub(crate) struct TokenizerFiles {
    pub vocabulary: Vocabulary,
    /// `None`: `tokenizer.json` is run as it is.
    pub rules: Option<TransformersRules>,
}

/// The file with the vocabulary.
pub(crate) struct Vocabulary {
    pub file: PathBuf,
    pub format: VocabularyFormat,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VocabularyFormat {
    /// `tokenizer.json`.
    TokenizerJson,
    /// `sentencepiece.bpe.model`.
    SentencePiece,
    /// `vocab.txt`, a token a line.
    Lines,
}

/// The rules and files by which transformers would build the tokenizer.
pub(crate) struct TransformersRules {
    pub class: TokenizerClass,
    pub version: Transformers,
    /// Whether sentence-transformers removes white space around texts before they are tokenized.
    pub strip: bool,
    /// The path of `tokenizer_config.json`, for messages.
    pub config_file: PathBuf,
    pub settings: TokenizerSettings,
    /// `special_tokens_map.json`.
    pub special_tokens_map: Map<String, Value>,
    /// `added_tokens.json`: ids by their tokens, in the order of the file.
    pub added_tokens: Vec<(String, i64)>,
}

/// Ranges of versions of transformers with the same rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transformers {
    Before5,
    Since5,
}

/// The classes of transformers' tokenizers that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenizerClass {
    XlmRoberta,
    Camembert,
    Bert,
    /// The classes that only run `tokenizer.json`.
    Generic,
}

const CLASSES: [(&str, TokenizerClass); 8] = [
    ("XLMRobertaTokenizer", TokenizerClass::XlmRoberta),
    ("CamembertTokenizer", TokenizerClass::Camembert),
    ("BertTokenizer", TokenizerClass::Bert),
    ("DistilBertTokenizer", TokenizerClass::Bert),
    ("PreTrainedTokenizerFast", TokenizerClass::Generic),
    ("PreTrainedTokenizer", TokenizerClass::Generic),
    ("TokenizersBackend", TokenizerClass::Generic),
    // This class has a BPE model, which is not supported. If the file holds another model, only the
    // file counts.
    ("RobertaTokenizer", TokenizerClass::Generic),
];

impl TokenizerClass {
    /// Its usual name in transformers.
    pub fn name(self) -> &'static str {
        CLASSES.iter().find(|(_, class)| *class == self).map_or("", |(name, _)| name)
    }
}

/// `tokenizer_config.json`, without the keys for padding, decoding and chats.
#[derive(Default, Deserialize)]
pub(crate) struct TokenizerSettings {
    tokenizer_class: Option<String>,
    pub add_prefix_space: Option<bool>,
    pub do_lower_case: Option<bool>,
    pub strip_accents: Option<bool>,
    pub tokenize_chinese_chars: Option<bool>,
    #[serde(default)]
    pub split_special_tokens: Option<bool>,
    truncation_side: Option<String>,
    do_basic_tokenize: Option<bool>,
    never_split: Option<Value>,
    pub added_tokens_decoder: Option<BTreeMap<i64, Value>>,
    /// All other keys, among them the special tokens.
    #[serde(flatten)]
    pub tokens: Map<String, Value>,
}

impl TokenizerSettings {
    /// Whether long texts are truncated at their beginning.
    pub fn cuts_left(&self, file: &Path) -> Result<Option<bool>> {
        match self.truncation_side.as_deref() {
            None => Ok(None),
            Some("right") => Ok(Some(false)),
            Some("left") => Ok(Some(true)),
            Some(other) => Err(error!(
                ModelInvalid,
                "{}: truncation_side is {other:?}; it may be \"right\" or \"left\"",
                file.display()
            )),
        }
    }
}

/// The keys of `config.json` that name the version and the class of the tokenizer.
#[derive(Default, Deserialize)]
struct ConfigJson {
    model_type: Option<String>,
    tokenizer_class: Option<String>,
    transformers_version: Option<String>,
}

/// The keys of `config_sentence_transformers.json` that name versions.
#[derive(Default, Deserialize)]
struct VersionsJson {
    #[serde(default, rename = "__version__")]
    version: Option<Versions>,
}

#[derive(Default, Deserialize)]
struct Versions {
    sentence_transformers: Option<String>,
    transformers: Option<String>,
}

impl TokenizerFiles {
    /// `dirs` are the folders that may hold the files: first that of the transformer.
    pub fn read(dirs: &[PathBuf], model_dir: &Path, raw: bool) -> Result<Self> {
        let vocabulary = Vocabulary::read(dirs, raw)?;
        if raw {
            return Ok(Self { vocabulary, rules: None });
        }
        let own_dir = vocabulary.file.parent().map(Path::to_path_buf);
        let beside: Vec<PathBuf> = own_dir.iter().chain(dirs).cloned().collect();
        let file = |name: &str| {
            first_existing(&beside.iter().map(|dir| dir.join(name)).collect::<Vec<_>>())
        };
        let config_file = file(CONFIG);
        let settings: TokenizerSettings = read_json_if_present(&config_file)?;
        if is_present(&config_file) {
            settings::TOKENIZER_CONFIG.check(&config_file)?;
        }
        let config: ConfigJson = read_json_if_present(&file("config.json"))?;
        let versions: VersionsJson =
            read_json_if_present(&model_dir.join("config_sentence_transformers.json"))?;
        let versions = versions.version.unwrap_or_default();
        let (version, strip) = rules_of(&versions, config.transformers_version.as_deref());
        let class = class_of(&settings, &config, &config_file)?;
        let rules = TransformersRules {
            class,
            version,
            strip,
            special_tokens_map: read_json_if_present(&file("special_tokens_map.json"))?,
            added_tokens: added_tokens(&file("added_tokens.json"))?,
            config_file,
            settings,
        };
        rules.check(&vocabulary)?;
        Ok(Self { vocabulary, rules: Some(rules) })
    }
}

impl Vocabulary {
    fn read(dirs: &[PathBuf], raw: bool) -> Result<Self> {
        use VocabularyFormat::{Lines, SentencePiece, TokenizerJson};
        let formats = [
            ("tokenizer.json", TokenizerJson, TOKENIZER_BYTES_MAX),
            ("sentencepiece.bpe.model", SentencePiece, SENTENCEPIECE_BYTES_MAX),
            ("vocab.txt", Lines, SENTENCEPIECE_BYTES_MAX),
        ];
        let formats = if raw { &formats[..1] } else { &formats[..] };
        for (name, format, bytes_max) in formats {
            let file = first_existing(&dirs.iter().map(|dir| dir.join(name)).collect::<Vec<_>>());
            if is_present(&file) {
                let bytes = read_file(&file, *bytes_max)?;
                if *format == TokenizerJson {
                    check_encoding(&file, &bytes)?;
                }
                return Ok(Self { file, format: *format, bytes });
            }
        }
        Err(error!(
            ModelNotFound,
            "{} does not exist, nor does sentencepiece.bpe.model or vocab.txt beside it; the model \
             directory is incomplete",
            dirs[0].join("tokenizer.json").display()
        ))
    }
}

impl TransformersRules {
    /// Refuses settings that are not supported, by their names.
    fn check(&self, vocabulary: &Vocabulary) -> Result<()> {
        let settings = &self.settings;
        let refuse = |key: &str, value: &str| -> Error {
            error!(
                Unsupported,
                "{}: {key} is {value}, which is not supported; remove it, save the tokenizer \
                 again, or open with BGE_OPEN_RAW_TOKENIZER, which runs tokenizer.json alone",
                self.config_file.display()
            )
        };
        if settings.split_special_tokens == Some(true) && self.version == Transformers::Before5 {
            // Early versions 4 ignored it, and later ones followed it.
            return Err(refuse("split_special_tokens", "true"));
        }
        if vocabulary.format == VocabularyFormat::Lines && self.version == Transformers::Before5 {
            if settings.do_basic_tokenize == Some(false) {
                return Err(refuse("do_basic_tokenize", "false"));
            }
            if settings.never_split.as_ref().is_some_and(|value| !value.is_null()) {
                return Err(refuse("never_split", "set"));
            }
        }
        let wanted = match vocabulary.format {
            VocabularyFormat::TokenizerJson => return Ok(()),
            VocabularyFormat::SentencePiece => {
                [TokenizerClass::XlmRoberta, TokenizerClass::Camembert].as_slice()
            }
            VocabularyFormat::Lines => [TokenizerClass::Bert].as_slice(),
        };
        if wanted.contains(&self.class) {
            return Ok(());
        }
        Err(error!(
            Unsupported,
            "{} does not go with the class of the tokenizer, which is {} by {} and config.json; \
             add the tokenizer.json that transformers saves",
            vocabulary.file.display(),
            self.class.name(),
            self.config_file.display()
        ))
    }
}

fn added_tokens(file: &Path) -> Result<Vec<(String, i64)>> {
    let map: BTreeMap<String, i64> = read_json_if_present(file)?;
    let mut tokens: Vec<(String, i64)> = map.into_iter().collect();
    tokens.sort_by_key(|(_, id)| *id);
    Ok(tokens)
}

/// The rules of the version of transformers that the directory names, or else of the version of
/// sentence-transformers, or else the current rules.
fn rules_of(versions: &Versions, of_config: Option<&str>) -> (Transformers, bool) {
    let sentence = versions.sentence_transformers.as_deref().and_then(major_minor);
    let transformers = versions.transformers.as_deref().or(of_config).and_then(major_minor);
    let before_5 = match (transformers, sentence) {
        (Some((major, _)), _) => major < 5,
        (None, Some(sentence)) => sentence < FIRST_UNSTRIPPED,
        (None, None) => false,
    };
    let strip = sentence.map_or(before_5, |sentence| sentence < FIRST_UNSTRIPPED);
    (if before_5 { Transformers::Before5 } else { Transformers::Since5 }, strip)
}

fn major_minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    let major = parts.next()?.parse().ok()?;
    Some((major, parts.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

fn class_of(
    settings: &TokenizerSettings,
    config: &ConfigJson,
    config_file: &Path,
) -> Result<TokenizerClass> {
    let said = settings.tokenizer_class.as_deref().or(config.tokenizer_class.as_deref());
    let Some(said) = said else {
        return Ok(match config.model_type.as_deref() {
            Some("xlm-roberta") => TokenizerClass::XlmRoberta,
            Some("camembert") => TokenizerClass::Camembert,
            Some("bert") => TokenizerClass::Bert,
            _ => TokenizerClass::Generic,
        });
    };
    let name = said.strip_suffix("Fast").filter(|_| said != "PreTrainedTokenizerFast");
    let name = name.unwrap_or(said);
    let found = CLASSES.iter().find(|(known, _)| *known == name);
    found.map(|(_, class)| *class).ok_or_else(|| {
        error!(
            Unsupported,
            "{}: tokenizer_class is {said:?}; supported are {}; BGE_OPEN_RAW_TOKENIZER runs \
             tokenizer.json as it is, whatever the class",
            config_file.display(),
            CLASSES.map(|(name, _)| name).join(", ")
        )
    })
}
