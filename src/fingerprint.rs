//! A name for everything that decides the vector of a text.
//!
//! Of the weights, the encoder's tensors are hashed one by one in the order of their names. So the
//! same model has the same fingerprint wherever it lies, as safetensors or as torch's own file, in
//! one or in shards, with or without a prefix before its keys and other tensors beside them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::error::{Result, error};
use crate::model_dir::{ModelDir, Module, Network, NumberType, Weights};

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
    pub fn of(dir: &ModelDir, max_tokens: usize) -> Result<Self> {
        let tokenizer = blake3::hash(&dir.tokenizer_json);
        let prompt = dir.default_prompt.as_ref().and_then(|name| dir.prompts.get(name));
        let (network, precision) = match &dir.network {
            Network::Weights { config, .. } => (format!("{config:?}"), "fp32"),
            Network::Export(export) => ("export".into(), export.precision),
        };
        let mut settings = format!(
            "libbge fingerprint 1\n{}\npooling {}\nnormalize {}\nmax_tokens {max_tokens}\n\
             prompt {prompt:?}\ntokenizer {tokenizer}\nprecision {}\n",
            network,
            dir.sentence.as_ref().map_or("none".into(), |sentence| sentence.pooling.name()),
            modules_of(dir) == [&Module::Normalize],
            precision,
        );
        settings += &more_settings(dir);
        // Nothing is added for a model without heads: its fingerprint is as it was before there
        // were any. Hashed as numbers, so that another format of the same head is the same.
        for (name, head) in [("sparse", &dir.heads.sparse), ("multi", &dir.heads.multi)] {
            if let Some(linear) = head.linear() {
                let hash = blake3::hash(&linear.bytes());
                settings += &format!("{name} {}x{} {hash}\n", linear.rows, linear.columns);
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

/// What a model may have beyond one that pools and then perhaps normalises. Nothing is added for
/// those: their fingerprints are as they were before there were others.
fn more_settings(dir: &ModelDir) -> String {
    let mut settings = String::new();
    if dir.sentence.as_ref().is_some_and(|sentence| !sentence.pooling.include_prompt) {
        settings += "include_prompt false\n";
    }
    let modules = modules_of(dir);
    if !matches!(modules.as_slice(), [] | [Module::Normalize]) {
        for module in modules {
            let numbers: Vec<u8> = module.numbers().flat_map(f32::to_le_bytes).collect();
            settings += &format!("module {} {}\n", module.name(), blake3::hash(&numbers));
        }
    }
    let full = dir.sentence.as_ref().map_or(usize::MAX, |sentence| sentence.dim);
    if let Some(dim) = dir.truncate_dim.filter(|dim| *dim < full) {
        settings += &format!("truncate_dim {dim}\n");
    }
    if dir.lower_case {
        settings += "lower_case\n";
    }
    settings
}

/// The modules after the pooling that do something.
fn modules_of(dir: &ModelDir) -> Vec<&Module> {
    let all = dir.sentence.iter().flat_map(|sentence| &sentence.modules);
    all.filter(|module| **module != Module::Dropout).collect()
}
