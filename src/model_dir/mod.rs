//! A sentence-transformers model directory, read and checked before anything is loaded.
//!
//! Nothing is guessed: every setting that decides a vector is in a file of the directory, or else
//! the directory is refused with the name of the file and the value.

mod config;
mod files;
mod formats;
mod heads;
mod hints;
mod json;
mod modules;
mod onnx_export;
mod pooling;
mod quantized_weights;
mod settings;
mod tensor_names;
mod tokenizer;
mod weight_files;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) use config::{EncoderConfig, Numbering};
use files::{MODULES_FILE, is_present};
pub(crate) use formats::NumberType;
pub(crate) use heads::{Head, Heads, Linear};
#[cfg(test)]
pub(crate) use modules::ACTIVATIONS;
use modules::Chain;
pub(crate) use modules::{Activation, Dense, Module, Residual, SentenceModules};
pub(crate) use onnx_export::{Export, Graph};
pub(crate) use pooling::{Pooling, PoolingMode};
pub(crate) use quantized_weights::{
    FILE as INT8_FILE, VERSION, VERSION_KEY, factor_of, is_quantized, scale_of,
};
pub(crate) use tokenizer::{
    TokenizerClass, TokenizerFiles, Transformers, TransformersRules, Vocabulary, VocabularyFormat,
};
pub(crate) use weights::{Weight, Weights};

use crate::error::{Error, Result, error};
use crate::similarity::Metric;

/// The most bytes of a message: what fits the buffer of a C caller.
const MESSAGE_BYTES_MAX: usize = 1000;

/// The contents of a model directory.
pub(crate) struct ModelDir {
    /// The folder of the transformer: the directory itself, or one in it.
    pub transformer_dir: PathBuf,
    pub network: Network,
    pub heads: Heads,
    /// The modules that turn the states of a text's tokens into its vector. `None` for an export in
    /// a directory without them.
    pub sentence: Option<SentenceModules>,
    /// The dimensions that vectors are truncated to, unless a call sets its own or vectors are
    /// shorter.
    pub truncate_dim: Option<usize>,
    /// Whether texts are lowercased before they are tokenized.
    pub lower_case: bool,
    /// The longest text in tokens, special tokens included.
    pub max_tokens: usize,
    /// The prompts by name.
    pub prompts: BTreeMap<String, String>,
    /// The name of the prompt that is used by default.
    pub default_prompt: Option<String>,
    /// The metric that the author configured.
    pub similarity: Metric,
    pub tokenizer: TokenizerFiles,
}

/// The network that computes the states of tokens.
pub(crate) enum Network {
    /// The author's weights, for a graph that this library builds.
    Weights { config: EncoderConfig, weights: Weights },
    /// A graph of the author's.
    Export(Export),
}

/// The parts of an encoder over the author's weights, which its graph is written from.
#[derive(Clone, Copy)]
pub(crate) struct EncoderParts<'a> {
    pub config: &'a EncoderConfig,
    pub weights: &'a Weights,
    /// The head for multi-vectors, if there is one: it is part of the graph.
    pub multi: Option<&'a Linear>,
}

impl EncoderParts<'_> {
    /// The length of a row of a multi-vector. Zero: there is no head for multi-vectors.
    pub fn multi_dim(&self) -> usize {
        self.multi.map_or(0, |head| head.rows)
    }
}

impl ModelDir {
    /// `onnx_file` is an export to use instead of the weights, relative to the directory. Heads
    /// come from the folder `heads_dir`, if it is given. With `raw_tokenizer`, `tokenizer.json` is
    /// run as it is.
    pub fn read(
        path: &Path,
        onnx_file: Option<&Path>,
        heads_dir: Option<&Path>,
        raw_tokenizer: bool,
    ) -> Result<Self> {
        Self::read_all(path, onnx_file, heads_dir, raw_tokenizer).map_err(bounded)
    }

    fn read_all(
        path: &Path,
        onnx_file: Option<&Path>,
        heads_dir: Option<&Path>,
        raw_tokenizer: bool,
    ) -> Result<Self> {
        let kind = std::fs::metadata(path).map_err(|e| hints::no_directory(path, &e))?;
        if !kind.is_dir() {
            return Err(error!(
                ModelNotFound,
                "{} is not a directory; give the one that holds modules.json",
                path.display()
            ));
        }
        let said = is_present(&path.join(MODULES_FILE));
        let chain = if said { Some(Chain::read(path)?) } else { None };
        let transformer_dir = chain
            .as_ref()
            .map_or_else(|| path.to_path_buf(), |chain| chain.transformer_dir.clone());
        let export = match onnx_file {
            Some(file) => Some(path.join(file)),
            None if weight_files::are_present(&transformer_dir) => None,
            None => Export::find(&transformer_dir)?,
        };
        if export.is_none() {
            hints::check_no_adapter([path, &transformer_dir])?;
        }
        if let (None, None) = (&chain, &export) {
            // Only an export can do without `modules.json`, so this is an error.
            Chain::read(path)?;
        }
        let network = Network::read(&transformer_dir, export)?;
        let hidden = network.hidden();
        let sentence = match (&chain, hidden) {
            (Some(chain), Some(hidden)) => Some(chain.resolve(hidden)?),
            _ => None,
        };
        let text = config::TextRules::read(&transformer_dir, network.positions())?;
        let prompts = config::Prompts::read(path)?;
        let heads = match hidden {
            Some(hidden) => Heads::read([path, &transformer_dir], heads_dir, hidden)?,
            None => Heads::none("config.json does not say the hidden_size, so no heads are read"),
        };
        let mut tokenizer_dirs = vec![transformer_dir.clone(), path.to_path_buf()];
        if let Network::Export(export) = &network {
            tokenizer_dirs.extend(export.file.parent().map(Path::to_path_buf));
        }
        let tokenizer = TokenizerFiles::read(&tokenizer_dirs, path, raw_tokenizer)?;
        Ok(Self {
            transformer_dir,
            network,
            heads,
            sentence,
            truncate_dim: prompts.truncate_dim,
            lower_case: text.lower_case,
            max_tokens: text.max_tokens,
            similarity: prompts.similarity,
            prompts: prompts.prompts,
            default_prompt: prompts.default_prompt,
            tokenizer,
        })
    }
}

impl Network {
    /// Reads the export, or else the weights of the folder.
    fn read(dir: &Path, export: Option<PathBuf>) -> Result<Self> {
        if let Some(file) = export {
            return Ok(Self::Export(Export::read(&file, dir)?));
        }
        let config = EncoderConfig::read(dir)?;
        let weights = Weights::locate(dir, &config)?;
        Ok(Self::Weights { config, weights })
    }

    fn hidden(&self) -> Option<usize> {
        match self {
            Self::Weights { config, .. } => Some(config.hidden),
            Self::Export(export) => export.config.hidden(),
        }
    }

    fn positions(&self) -> Option<(usize, Numbering)> {
        match self {
            Self::Weights { config, .. } => Some((config.positions, config.numbering)),
            Self::Export(export) => export.config.positions(),
        }
    }

    /// The rows of the word embedding table, if they are known.
    pub fn vocab(&self) -> Option<usize> {
        match self {
            Self::Weights { config, .. } => Some(config.vocab),
            Self::Export(export) => export.config.vocab(),
        }
    }

    /// The files of the weights.
    pub fn files(&self) -> &[PathBuf] {
        match self {
            Self::Weights { weights, .. } => &weights.files,
            Self::Export(export) => &export.files,
        }
    }
}

/// Shortens a message that quotes megabytes of a hostile file in its middle: its beginning names
/// the file, and its end the remedy.
fn bounded(e: Error) -> Error {
    let message = e.to_string();
    if message.len() <= MESSAGE_BYTES_MAX {
        return e;
    }
    let boundary = |at: &usize| message.is_char_boundary(*at);
    let head = (0..=MESSAGE_BYTES_MAX * 2 / 3).rev().find(boundary).unwrap_or_default();
    let tail = (message.len() - MESSAGE_BYTES_MAX / 4..).find(boundary).unwrap_or(message.len());
    Error::new(e.kind(), format!("{} ... {}", &message[..head], &message[tail..]))
}
