//! A name for everything that decides the vector of a text.
//!
//! Of the weights, the encoder's tensors are hashed one by one in the order of their names. So the
//! same model has the same fingerprint wherever it lies, as safetensors or as torch's own file, in
//! one or in shards, with or without a prefix before its keys and other tensors beside them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::error::{Result, error};
use crate::model_dir::{
    EncoderConfig, Linear, ModelDir, Module, Network, NumberType, SentenceModules, Weights,
};
use crate::tokenize::Tokenizer;

/// What is hashed.
pub(crate) struct Identity {
    /// All that decides a vector but the weights, in words.
    settings: String,
    tensors: Vec<Bytes>,
}

/// The bytes of a tensor.
struct Bytes {
    name: String,
    file: PathBuf,
    offset: u64,
    length: u64,
    /// Written after the length, unless the numbers have 32 bits: two types have numbers of 16.
    number_type: &'static str,
}

impl Identity {
    pub fn of(
        dir: &ModelDir,
        tokenizer: &Tokenizer,
        max_tokens: usize,
        precision: &str,
    ) -> Result<Self> {
        let vocabulary = blake3::hash(&dir.tokenizer.vocabulary.bytes);
        let prompt = dir.default_prompt.as_ref().and_then(|name| dir.prompts.get(name));
        let network = match &dir.network {
            Network::Weights { config, .. } => format!("{config:?}"),
            Network::Export(_) => "export".into(),
        };
        let full_dim = dir.sentence.as_ref().map_or(usize::MAX, |sentence| sentence.dim);
        let truncate_dim = dir.truncate_dim.filter(|dim| *dim < full_dim);
        let mut settings = format!(
            "libbge fingerprint 1\n{network}\nprecision {precision}\nmax_tokens {max_tokens}\n\
             prompt {prompt:?}\ntokenizer {vocabulary}\nlower_case {}\n\
             truncate_dim {truncate_dim:?}\n",
            dir.lower_case
        );
        if dir.tokenizer.rules.is_some() {
            settings += &format!("tokenizer rules {}\n", tokenizer.rules());
        }
        if let Some(SentenceModules { pooling, modules, .. }) = &dir.sentence {
            settings += &format!("{pooling:?}\n");
            for module in modules.iter().filter(|module| **module != Module::Dropout) {
                settings += &format!("module {} {}\n", module.name(), hash(module.numbers()));
            }
        }
        for (name, head) in [("sparse", &dir.heads.sparse), ("multi", &dir.heads.multi)] {
            if let Some(Linear { weight, bias, rows, columns }) = head.linear() {
                // As numbers, so that another format of the same head is the same.
                let numbers = hash(weight.iter().chain(bias).copied());
                settings += &format!("{name} {rows}x{columns} {numbers}\n");
            }
        }
        let tensors = match &dir.network {
            Network::Weights { weights, .. } => tensors(weights),
            Network::Export(export) => whole_files(&export.files)?,
        };
        Ok(Self { settings, tensors })
    }

    /// Reads all weights. The names of files do not count, only what is in them.
    pub fn hash(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.settings.as_bytes());
        for Bytes { name, file, offset, length, number_type } in &self.tensors {
            hasher.update(format!("{name} {length}{number_type}\n").as_bytes());
            let before = hasher.count();
            let failed = |e| error!(ModelNotFound, "{} cannot be read: {e}", file.display());
            let mut opened = File::open(file).map_err(failed)?;
            opened.seek(SeekFrom::Start(*offset)).map_err(failed)?;
            hasher.update_reader(opened.take(*length)).map_err(failed)?;
            if hasher.count() - before != *length {
                return Err(error!(
                    ModelInvalid,
                    "{} has become shorter since the model was opened; open it again",
                    file.display()
                ));
            }
        }
        Ok(hasher.finalize().to_hex()[..32].to_string())
    }
}

/// A name for what a graph is made of.
pub(crate) fn hash_of_weights(
    config: &EncoderConfig,
    weights: &Weights,
    multi: Option<&Linear>,
) -> Result<String> {
    let head = multi.map(|head| hash(head.weight.iter().chain(&head.bias).copied()));
    Identity { settings: format!("{config:?}\n{head:?}\n"), tensors: tensors(weights) }.hash()
}

fn tensors(weights: &Weights) -> Vec<Bytes> {
    weights
        .in_order()
        .map(|(name, file, weight)| Bytes {
            name: name.to_string(),
            file,
            offset: weight.place.offset,
            length: weight.place.length,
            number_type: match weight.number_type {
                NumberType::F32 => "",
                NumberType::F16 => " f16",
                NumberType::BF16 => " bf16",
                NumberType::I8 => " i8",
            },
        })
        .collect()
}

/// The files of an export, in the order in which it names them.
fn whole_files(files: &[PathBuf]) -> Result<Vec<Bytes>> {
    let whole = |(index, file): (usize, &PathBuf)| {
        let metadata = file
            .metadata()
            .map_err(|e| error!(ModelNotFound, "{} cannot be read: {e}", file.display()))?;
        Ok(Bytes {
            name: format!("file {index}"),
            file: file.clone(),
            offset: 0,
            length: metadata.len(),
            number_type: "",
        })
    };
    files.iter().enumerate().map(whole).collect()
}

fn hash(numbers: impl Iterator<Item = f32>) -> blake3::Hash {
    blake3::hash(&numbers.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())
}
