//! The chain of sentence-transformers modules: Transformer, Pooling, Normalize.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{is_present, read_json};
use crate::error::{Result, error};

/// How the rows of a text become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The row of the first token.
    Cls,
    /// The average of all rows.
    Mean,
}

impl Pooling {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Mean => "mean",
        }
    }
}

#[derive(Debug)]
pub(super) struct Modules {
    pub transformer_dir: PathBuf,
    pub pooling: Pooling,
    pub normalize: bool,
    pooling_file: PathBuf,
    pooling_dim: Option<usize>,
}

impl Modules {
    pub fn pooling_fits(&self, hidden: usize) -> Result<()> {
        match self.pooling_dim {
            Some(dim) if dim != hidden => Err(error!(
                ModelInvalid,
                "{}: the dimension is {dim}, but config.json has hidden_size {hidden}; the files are of \
                 different models",
                self.pooling_file.display()
            )),
            _ => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct ModuleJson {
    #[serde(rename = "type")]
    class: String,
    #[serde(default)]
    path: String,
}

pub(super) const FILE: &str = "modules.json";

pub(super) fn read(dir: &Path) -> Result<Modules> {
    let file = dir.join(FILE);
    let name = file.display();
    if !is_present(&file) {
        return Err(error!(
            ModelNotFound,
            "{name} does not exist, so the pooling is unknown; give a directory that \
             sentence-transformers has saved"
        ));
    }
    let chain: Vec<ModuleJson> = read_json(&file)?;
    // Versions before and after 5 write different module paths; the class name stayed the same.
    let classes: Vec<String> = chain
        .iter()
        .map(|module| module.class.rsplit('.').next().unwrap_or_default().to_ascii_lowercase())
        .collect();
    for (class, module) in classes.iter().zip(&chain) {
        if !["transformer", "pooling", "normalize"].contains(&class.as_str()) {
            return Err(error!(
                Unsupported,
                "{name}: the module {:?} is not supported; \
                 Transformer, Pooling and Normalize are",
                module.class
            ));
        }
    }
    let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
    let normalize = match classes.as_slice() {
        ["transformer", "pooling"] => false,
        ["transformer", "pooling", "normalize"] => true,
        _ => {
            return Err(error!(
                Unsupported,
                "{name}: the modules are {classes:?}; \
                 supported is a transformer, then pooling, then perhaps normalize"
            ));
        }
    };
    let transformer_dir = module_dir(dir, &file, &chain[0].path)?;
    let pooling_file = module_dir(dir, &file, &chain[1].path)?.join("config.json");
    let (pooling, pooling_dim) = read_pooling(&pooling_file)?;
    Ok(Modules { transformer_dir, pooling, normalize, pooling_file, pooling_dim })
}

/// The folder of a module, which has to lie within the model directory.
fn module_dir(dir: &Path, file: &Path, path: &str) -> Result<PathBuf> {
    let relative = Path::new(path);
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !relative.components().all(inside) {
        return Err(error!(
            ModelInvalid,
            "{}: the path {path:?} of a module leads out of the model directory",
            file.display()
        ));
    }
    Ok(dir.join(relative))
}

#[derive(Deserialize)]
struct PoolingJson {
    word_embedding_dimension: Option<usize>,
    embedding_dimension: Option<usize>,
    // Since version 6 one key, a string or a list, in place of the flags below.
    pooling_mode: Option<PoolingMode>,
    pooling_mode_cls_token: Option<bool>,
    pooling_mode_mean_tokens: Option<bool>,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
    include_prompt: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum PoolingMode {
    One(String),
    Several(Vec<String>),
}

fn read_pooling(file: &Path) -> Result<(Pooling, Option<usize>)> {
    let name = file.display();
    if !is_present(file) {
        return Err(error!(
            ModelNotFound,
            "{name} does not exist, so the pooling is unknown; copy the folder of the pooling \
             module too"
        ));
    }
    let json: PoolingJson = read_json(file)?;
    let modes: Vec<&str> = match &json.pooling_mode {
        Some(PoolingMode::One(mode)) => vec![mode],
        Some(PoolingMode::Several(modes)) => modes.iter().map(String::as_str).collect(),
        None => [
            ("cls", json.pooling_mode_cls_token.unwrap_or(false)),
            // sentence-transformers' own default for a file that does not say.
            ("mean", json.pooling_mode_mean_tokens.unwrap_or(true)),
            ("max", json.pooling_mode_max_tokens),
            ("mean_sqrt_len_tokens", json.pooling_mode_mean_sqrt_len_tokens),
            ("weightedmean", json.pooling_mode_weightedmean_tokens),
            ("lasttoken", json.pooling_mode_lasttoken),
        ]
        .into_iter()
        .filter_map(|(mode, on)| on.then_some(mode))
        .collect(),
    };
    if json.include_prompt == Some(false) {
        return Err(error!(
            Unsupported,
            "{name}: include_prompt is false; only pooling over the prompt too is supported"
        ));
    }
    let pooling = match modes.as_slice() {
        ["cls"] => Pooling::Cls,
        ["mean"] => Pooling::Mean,
        _ => {
            return Err(error!(
                Unsupported,
                "{name}: the pooling modes are {modes:?}; supported is one of \"cls\" and \"mean\""
            ));
        }
    };
    Ok((pooling, json.word_embedding_dimension.or(json.embedding_dimension)))
}
