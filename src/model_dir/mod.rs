//! A sentence-transformers model directory, read and checked before anything is loaded.
//!
//! Nothing here guesses: what decides a vector is either said by a file of the directory, or the
//! directory is refused with the name of the file and the value.

mod config;
mod modules;
mod safetensors;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub(crate) use config::EncoderConfig;
pub(crate) use modules::Pooling;
pub(crate) use safetensors::Weights;
use serde::de::DeserializeOwned;

use crate::error::{Result, error};

/// No JSON file of a model is larger, but for the tokenizer.
const JSON_BYTES_MAX: u64 = 4 << 20;
/// XLM-RoBERTa's tokenizer.json has 17 MB.
const TOKENIZER_BYTES_MAX: u64 = 256 << 20;

/// All that a model directory says.
pub(crate) struct ModelDir {
    pub encoder: EncoderConfig,
    pub weights: Weights,
    pub pooling: Pooling,
    /// Whether vectors are scaled to length 1 by the model itself.
    pub normalize: bool,
    /// The longest text in tokens, special tokens included.
    pub max_tokens: usize,
    /// Texts that may be put in front, by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt that is used when none is named.
    pub default_prompt: Option<String>,
    pub tokenizer_file: PathBuf,
    pub tokenizer_json: Vec<u8>,
}

impl ModelDir {
    pub fn read(path: &Path) -> Result<Self> {
        let kind = std::fs::metadata(path).map_err(|e| {
            error!(ModelNotFound, "the model directory {} cannot be read: {e}", path.display())
        })?;
        if !kind.is_dir() {
            return Err(error!(
                ModelNotFound,
                "{} is a file; give the directory that holds modules.json",
                path.display()
            ));
        }
        let modules = modules::read(path)?;
        let encoder = EncoderConfig::read(&modules.transformer_dir)?;
        modules.pooling_fits(&encoder)?;
        let max_tokens = config::max_tokens(&modules.transformer_dir, &encoder)?;
        let prompts = config::Prompts::read(path)?;
        let weights = Weights::locate(&modules.transformer_dir, &encoder)?;
        let tokenizer_file = first_existing(&[
            modules.transformer_dir.join("tokenizer.json"),
            path.join("tokenizer.json"),
        ]);
        let tokenizer_json = read_file(&tokenizer_file, TOKENIZER_BYTES_MAX)?;
        Ok(Self {
            encoder,
            weights,
            pooling: modules.pooling,
            normalize: modules.normalize,
            max_tokens,
            prompts: prompts.prompts,
            default_prompt: prompts.default,
            tokenizer_file,
            tokenizer_json,
        })
    }
}

fn first_existing(candidates: &[PathBuf]) -> PathBuf {
    candidates.iter().find(|p| p.exists()).unwrap_or(&candidates[0]).clone()
}

/// Reads a file whole, if it is a regular file of at most `bytes_max`.
fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let file = open_file(path)?;
    let length = file_length(path, &file)?;
    if length > bytes_max {
        return Err(error!(
            ModelInvalid,
            "{} has {length} bytes; at most {bytes_max} are expected of such a file",
            path.display()
        ));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(bytes_max)
        .read_to_end(&mut bytes)
        .map_err(|e| error!(ModelNotFound, "{} cannot be read: {e}", path.display()))?;
    if bytes.starts_with(b"version https://git-lfs") {
        return Err(error!(
            ModelInvalid,
            "{} is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`",
            path.display()
        ));
    }
    Ok(bytes)
}

fn open_file(path: &Path) -> Result<File> {
    // Asked before opening: opening a pipe would wait for a writer for ever.
    let kind = std::fs::metadata(path)
        .map_err(|e| error!(ModelNotFound, "{} cannot be read: {e}", path.display()))?;
    if !kind.is_file() {
        return Err(error!(ModelInvalid, "{} is not a regular file", path.display()));
    }
    File::open(path).map_err(|e| error!(ModelNotFound, "{} cannot be read: {e}", path.display()))
}

fn file_length(path: &Path, file: &File) -> Result<u64> {
    let metadata = file
        .metadata()
        .map_err(|e| error!(ModelNotFound, "{} cannot be read: {e}", path.display()))?;
    Ok(metadata.len())
}

/// Reads a JSON file of the model.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_file(path, JSON_BYTES_MAX)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| error!(ModelInvalid, "{} is not what it should be: {e}", path.display()))
}

/// Reads a JSON file that a model may lack.
fn read_json_if_present<T: DeserializeOwned + Default>(path: &Path) -> Result<T> {
    if path.exists() { read_json(path) } else { Ok(T::default()) }
}
