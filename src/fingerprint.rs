//! A name for everything that decides the vector of a text.

use std::fs::File;
use std::path::PathBuf;

use crate::error::{Result, error};
use crate::model_dir::ModelDir;

/// What is hashed.
pub(crate) struct Identity {
    /// All that decides a vector but the weights, in words.
    settings: String,
    weight_files: Vec<PathBuf>,
}

impl Identity {
    pub fn of(dir: &ModelDir, max_tokens: usize) -> Self {
        let tokenizer = blake3::hash(&dir.tokenizer_json);
        let prompt = dir.default_prompt.as_ref().and_then(|name| dir.prompts.get(name));
        let settings = format!(
            "libbge fingerprint 1\n{:?}\npooling {}\nnormalize {}\nmax_tokens {max_tokens}\n\
             prompt {prompt:?}\ntokenizer {tokenizer}\nprecision fp32\n",
            dir.encoder,
            dir.pooling.name(),
            dir.normalize,
        );
        Self { settings, weight_files: dir.weights.files.clone() }
    }

    /// Reads all weights. The names of files do not count, only what is in them.
    pub fn hash(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.settings.as_bytes());
        for path in &self.weight_files {
            let failed = |e| error!(ModelNotFound, "{} cannot be read: {e}", path.display());
            let file = File::open(path).map_err(failed)?;
            hasher.update_reader(file).map_err(failed)?;
        }
        Ok(hasher.finalize().to_hex()[..32].to_string())
    }
}
