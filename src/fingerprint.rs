//! The fingerprint of a model: a hash of everything that decides the vector of a text.
//!
//! The encoder's tensors are hashed one by one in the order of their names. So the same model has
//! the same fingerprint in every directory, as safetensors or as torch's own file, in one file or
//! in shards, with or without a prefix before its keys and further tensors beside them.

use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::error::{Result, error};
use crate::model_dir::{
    EncoderConfig, EncoderParts, Linear, ModelDir, Module, Network, NumberType, Numbering, Pooling,
    PoolingMode, SentenceModules, Weights,
};
use crate::tokenize::Tokenizer;

/// The input of the hash.
pub(crate) struct Identity {
    /// Everything but the weights that decides a vector, in words.
    settings: String,
    tensors: Vec<Bytes>,
}

/// Where the bytes of a tensor are.
struct Bytes {
    name: String,
    file: PathBuf,
    offset: u64,
    length: u64,
    /// Hashed after the length, except for 32 bits: two types of numbers have 16.
    number_type: &'static str,
}

impl Identity {
    pub fn new(
        dir: &ModelDir,
        tokenizer: &Tokenizer,
        max_tokens: usize,
        precision: &str,
    ) -> Result<Self> {
        let vocabulary = blake3::hash(&dir.tokenizer.vocabulary.bytes);
        let prompt = dir.default_prompt.as_ref().and_then(|name| dir.prompts.get(name));
        let network = match &dir.network {
            Network::Weights { config, .. } => encoder_words(config),
            Network::Export(_) => "export".into(),
        };
        let full_dim = dir.sentence.as_ref().map_or(usize::MAX, |sentence| sentence.dim);
        let truncate_dim = dir.truncate_dim.filter(|dim| *dim < full_dim);
        let mut settings = format!(
            "libbge fingerprint 1\n{network}\nprecision {precision}\nmax_tokens {max_tokens}\n\
             prompt {}\ntokenizer {vocabulary}\nlower_case {}\n\
             truncate_dim {}\n",
            option_words(prompt.map(|prompt| format!("{prompt:?}"))),
            dir.lower_case,
            option_words(truncate_dim)
        );
        if dir.tokenizer.rules.is_some() {
            settings += &format!("tokenizer rules {}\n", tokenizer.rules());
        }
        if let Some(SentenceModules { pooling, modules, .. }) = &dir.sentence {
            settings += &format!("{}\n", pooling_words(pooling));
            for module in modules.iter().filter(|module| **module != Module::Dropout) {
                settings += &format!("module {} {}\n", module.name(), hash(module.numbers()));
            }
        }
        for (name, head) in [("sparse", &dir.heads.sparse), ("multi", &dir.heads.multi)] {
            if let Some(Linear { weight, bias, rows, columns }) = head.linear() {
                // Hashed as numbers, so that the file format of a head does not matter.
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

    /// Computes the hash, for which all weights are read. The names of files do not matter.
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

/// A hash of the sources of a graph.
pub(crate) fn hash_of_weights(parts: EncoderParts<'_>) -> Result<String> {
    let EncoderParts { config, weights, multi } = parts;
    let head = multi.map(|head| hash(head.weight.iter().chain(&head.bias).copied()));
    let head = option_words(head.map(|hash| format!("Hash(\"{hash}\")")));
    let settings = format!("{}\n{head}\n", encoder_words(config));
    Identity { settings, tensors: tensors(weights) }.hash()
}

/// The shape of an encoder, in words that no renaming in the sources may change: users keep the
/// fingerprint beside their vectors.
fn encoder_words(config: &EncoderConfig) -> String {
    let EncoderConfig {
        layers,
        hidden,
        heads,
        intermediate,
        vocab,
        positions,
        token_types,
        numbering,
        layer_norm_eps,
    } = config;
    let numbering = match numbering {
        Numbering::FromZero => "FromZero".to_string(),
        Numbering::AfterPadding(padding) => format!("AfterPadding({padding})"),
    };
    format!(
        "EncoderConfig {{ layers: {layers}, hidden: {hidden}, heads: {heads}, \
         intermediate: {intermediate}, vocab: {vocab}, positions: {positions}, \
         token_types: {token_types}, numbering: {numbering}, layer_norm_eps: {layer_norm_eps:?} }}"
    )
}

/// The pooling, in words that no renaming in the sources may change.
fn pooling_words(pooling: &Pooling) -> String {
    let Pooling { modes, include_prompt } = pooling;
    let word = |mode: &PoolingMode| match mode {
        PoolingMode::Cls => "Cls",
        PoolingMode::Max => "Max",
        PoolingMode::Mean => "Mean",
        PoolingMode::MeanSqrtLen => "MeanSqrtLen",
        PoolingMode::WeightedMean => "WeightedMean",
        PoolingMode::LastToken => "LastToken",
    };
    let modes = modes.iter().map(word).collect::<Vec<_>>().join(", ");
    format!("Pooling {{ modes: [{modes}], include_prompt: {include_prompt} }}")
}

fn option_words(value: Option<impl Display>) -> String {
    value.map_or("None".into(), |value| format!("Some({value})"))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Fingerprints that are kept beside vectors, and the names of files in `cache_dir`, hash these
    /// words.
    #[test]
    fn the_words_of_a_fingerprint_never_change() {
        let mut config = EncoderConfig {
            layers: 24,
            hidden: 1024,
            heads: 16,
            intermediate: 4096,
            vocab: 250_002,
            positions: 8194,
            token_types: 1,
            numbering: Numbering::AfterPadding(1),
            layer_norm_eps: 1e-5,
        };
        assert_eq!(
            encoder_words(&config),
            "EncoderConfig { layers: 24, hidden: 1024, heads: 16, intermediate: 4096, vocab: 250002, \
             positions: 8194, token_types: 1, numbering: AfterPadding(1), layer_norm_eps: 1e-5 }"
        );
        config.numbering = Numbering::FromZero;
        config.layer_norm_eps = 0.001;
        assert!(encoder_words(&config).ends_with("numbering: FromZero, layer_norm_eps: 0.001 }"));
        let mut pooling = Pooling { modes: vec![PoolingMode::Cls], include_prompt: true };
        assert_eq!(pooling_words(&pooling), "Pooling { modes: [Cls], include_prompt: true }");
        pooling.modes = [
            PoolingMode::Max,
            PoolingMode::Mean,
            PoolingMode::MeanSqrtLen,
            PoolingMode::WeightedMean,
            PoolingMode::LastToken,
        ]
        .into();
        pooling.include_prompt = false;
        assert_eq!(
            pooling_words(&pooling),
            "Pooling { modes: [Max, Mean, MeanSqrtLen, WeightedMean, LastToken], include_prompt: false }"
        );
        assert_eq!(option_words(Some("x")), "Some(x)");
        assert_eq!(option_words(None::<usize>), "None");
    }
}
