//! The chain of sentence-transformers modules: a transformer, a pooling, and the modules after it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Number;

use super::config::SIZE_MAX;
use super::files::{MODULES_FILE, first_existing, is_present, stays_inside};
use super::formats::small_tensors::read_tensors;
use super::heads::Linear;
use super::json::read_json;
use super::pooling::Pooling;
use super::{hints, settings};
use crate::error::{Result, error};

/// Far longer than any real chain.
const MODULES_MAX: usize = 64;

/// A module after the pooling, which maps a vector to a vector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Module {
    Dense(Dense),
    LayerNorm {
        weight: Vec<f32>,
        bias: Vec<f32>,
    },
    Normalize,
    /// Has an effect in training only.
    Dropout,
}

/// `activation(x Wᵀ + b)`, plus the residual.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dense {
    /// The bias is zeros if the module has none.
    pub linear: Linear,
    pub activation: Activation,
    pub residual: Residual,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Residual {
    None,
    /// The vector before the module.
    Input,
    /// The vector before the module times a matrix of the shape of the weight.
    Projected(Vec<f32>),
}

/// The modules of torch with these names, without arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Elu,
    Gelu,
    Identity,
    LeakyRelu,
    Mish,
    Relu,
    Relu6,
    Selu,
    Sigmoid,
    Silu,
    Softplus,
    Softsign,
    Tanh,
}

pub(crate) const ACTIVATIONS: [(&str, Activation); 13] = [
    ("ELU", Activation::Elu),
    ("GELU", Activation::Gelu),
    ("Identity", Activation::Identity),
    ("LeakyReLU", Activation::LeakyRelu),
    ("Mish", Activation::Mish),
    ("ReLU", Activation::Relu),
    ("ReLU6", Activation::Relu6),
    ("SELU", Activation::Selu),
    ("Sigmoid", Activation::Sigmoid),
    ("SiLU", Activation::Silu),
    ("Softplus", Activation::Softplus),
    ("Softsign", Activation::Softsign),
    ("Tanh", Activation::Tanh),
];

impl Activation {
    /// The activation with a class path of Python.
    fn from_path(path: &str) -> Option<Self> {
        // torch defines the classes in two modules, and exports them from a third.
        let class = ["torch.nn.modules.activation.", "torch.nn.modules.linear.", "torch.nn."]
            .iter()
            .find_map(|module| path.strip_prefix(module))?;
        ACTIVATIONS.iter().find(|(name, _)| *name == class).map(|(_, activation)| *activation)
    }

    fn name(self) -> String {
        let found = ACTIVATIONS.iter().find(|(_, activation)| *activation == self);
        found.map_or(String::new(), |(name, _)| name.to_ascii_lowercase())
    }
}

impl Module {
    /// A description, such as `dense 384->256 tanh`.
    pub fn name(&self) -> String {
        match self {
            Self::Dense(Dense { linear, activation, residual }) => format!(
                "dense {}->{} {}{}",
                linear.columns,
                linear.rows,
                activation.name(),
                if *residual == Residual::None { "" } else { " residual" }
            ),
            Self::LayerNorm { .. } => "layernorm".into(),
            Self::Normalize => "normalize".into(),
            Self::Dropout => "dropout".into(),
        }
    }

    /// All of its numbers, one after another.
    pub fn numbers(&self) -> impl Iterator<Item = f32> {
        let (first, second, third): (&[f32], &[f32], &[f32]) = match self {
            Self::Dense(Dense { linear, residual, .. }) => {
                let projection: &[f32] = match residual {
                    Residual::Projected(weight) => weight,
                    Residual::None | Residual::Input => &[],
                };
                (&linear.weight, &linear.bias, projection)
            }
            Self::LayerNorm { weight, bias } => (weight, bias, &[]),
            Self::Normalize | Self::Dropout => (&[], &[], &[]),
        };
        first.iter().chain(second).chain(third).copied()
    }
}

/// The modules that turn the states of a text's tokens into its vector.
#[derive(Clone, Debug)]
pub(crate) struct SentenceModules {
    pub pooling: Pooling,
    /// The modules after the pooling.
    pub modules: Vec<Module>,
    /// The length of a vector after the last module.
    pub dim: usize,
}

/// `modules.json`, whose order was checked. No other file has been read yet.
#[derive(Debug)]
pub(super) struct Chain {
    pub transformer_dir: PathBuf,
    pooling_dir: PathBuf,
    /// The kinds and folders of the modules after the transformer.
    others: Vec<(Kind, PathBuf)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Transformer,
    Pooling,
    Dense,
    LayerNorm,
    Normalize,
    Dropout,
}

#[derive(Deserialize)]
struct ModuleJson {
    #[serde(rename = "type")]
    class: String,
    #[serde(default)]
    path: String,
}

impl Chain {
    pub fn read(dir: &Path) -> Result<Self> {
        let file = dir.join(MODULES_FILE);
        let name = file.display();
        if !is_present(&file) {
            return Err(hints::no_modules(dir));
        }
        let modules: Vec<ModuleJson> = read_json(&file)?;
        if modules.len() > MODULES_MAX {
            return Err(error!(
                Unsupported,
                "{name} has {} modules; at most {MODULES_MAX} are supported",
                modules.len()
            ));
        }
        let kinds = modules.iter().map(|module| kind(&module.class, &file));
        let kinds = kinds.collect::<Result<Vec<_>>>()?;
        let is_late = |kind: &Kind| !matches!(kind, Kind::Transformer | Kind::Pooling);
        match kinds.as_slice() {
            [Kind::Transformer, Kind::Pooling, others @ ..] if others.iter().all(is_late) => {}
            [Kind::Transformer] if hints::is_cross_encoder(dir) => {
                return Err(hints::cross_encoder(dir));
            }
            _ => {
                return Err(error!(
                    Unsupported,
                    "{name}: the modules are {kinds:?}; supported is a Transformer, then one \
                     Pooling, then any of the others"
                ));
            }
        }
        let dirs = modules.iter().map(|module| module_dir(dir, &file, &module.path));
        let mut dirs = dirs.collect::<Result<Vec<_>>>()?.into_iter();
        let (transformer_dir, pooling_dir) =
            (dirs.next().unwrap_or_default(), dirs.next().unwrap_or_default());
        Ok(Self {
            transformer_dir,
            pooling_dir,
            others: kinds.into_iter().skip(2).zip(dirs).collect(),
        })
    }

    /// Reads the modules after the transformer, whose rows have the length `hidden`.
    pub fn resolve(&self, hidden: usize) -> Result<SentenceModules> {
        let file = self.pooling_dir.join("config.json");
        let pooling = Pooling::read(&file, hidden)?;
        let mut dim = pooling.modes.len() * hidden;
        if dim > SIZE_MAX {
            return Err(error!(
                ModelInvalid,
                "{}: {} modes of {hidden} numbers make vectors of more than {SIZE_MAX}",
                file.display(),
                pooling.modes.len()
            ));
        }
        let mut modules = Vec::new();
        for (kind, dir) in &self.others {
            let module = match kind {
                Kind::Dense => Module::Dense(read_dense(dir, dim)?),
                Kind::LayerNorm => read_layer_norm(dir, dim)?,
                Kind::Normalize => read_normalize(dir)?,
                // `read` has made sure that there is no other.
                Kind::Dropout | Kind::Transformer | Kind::Pooling => Module::Dropout,
            };
            if let Module::Dense(dense) = &module {
                dim = dense.linear.rows;
            }
            modules.push(module);
        }
        Ok(SentenceModules { pooling, modules, dim })
    }
}

/// The classes of sentence-transformers after the name of the package, as versions 2 to 6 write or
/// import them.
const CLASSES: [(Kind, &[&str]); 6] = [
    (
        Kind::Transformer,
        &[
            "models.Transformer",
            "models.Transformer.Transformer",
            "base.modules.Transformer",
            "base.modules.transformer.Transformer",
            "sentence_transformer.modules.Transformer",
        ],
    ),
    (
        Kind::Pooling,
        &[
            "models.Pooling",
            "models.Pooling.Pooling",
            "models.pooling.Pooling",
            "sentence_transformer.modules.Pooling",
            "sentence_transformer.modules.pooling.Pooling",
        ],
    ),
    (
        Kind::Dense,
        &[
            "models.Dense",
            "models.Dense.Dense",
            "base.modules.Dense",
            "base.modules.dense.Dense",
            "sentence_transformer.modules.Dense",
        ],
    ),
    (
        Kind::LayerNorm,
        &[
            "models.LayerNorm",
            "models.LayerNorm.LayerNorm",
            "models.layer_norm.LayerNorm",
            "sentence_transformer.modules.LayerNorm",
            "sentence_transformer.modules.layer_norm.LayerNorm",
        ],
    ),
    (
        Kind::Normalize,
        &[
            "models.Normalize",
            "models.Normalize.Normalize",
            "base.modules.Normalize",
            "base.modules.normalize.Normalize",
            "sentence_transformer.modules.Normalize",
            "sentence_transformer.modules.normalize.Normalize",
        ],
    ),
    (
        Kind::Dropout,
        &[
            "models.Dropout",
            "models.Dropout.Dropout",
            "models.dropout.Dropout",
            "sentence_transformer.modules.Dropout",
            "sentence_transformer.modules.dropout.Dropout",
        ],
    ),
];

/// The kind of a class, by its whole path: a class of the same name from elsewhere is the author's
/// own, and may do anything.
fn kind(class: &str, file: &Path) -> Result<Kind> {
    let path = class.strip_prefix("sentence_transformers.").unwrap_or_default();
    let found = CLASSES.iter().find(|(_, paths)| paths.contains(&path));
    found.map(|(kind, _)| *kind).ok_or_else(|| {
        let own = match class.starts_with("sentence_transformers.") {
            true => "",
            false => "is no class of sentence-transformers but code of the author's own, which is \
                      never run, and ",
        };
        error!(
            Unsupported,
            "{}: the module {class:?} {own}is not supported; Transformer, Pooling, Dense, LayerNorm, \
             Normalize and Dropout are",
            file.display()
        )
    })
}

/// The folder of a module, which has to lie within the model directory.
fn module_dir(dir: &Path, file: &Path, path: &str) -> Result<PathBuf> {
    let relative = Path::new(path);
    if !stays_inside(relative) {
        return Err(error!(
            ModelInvalid,
            "{}: the path {path:?} of a module leads out of the model directory",
            file.display()
        ));
    }
    Ok(dir.join(relative))
}

#[derive(Deserialize)]
struct DenseJson {
    in_features: Number,
    out_features: Number,
    // The defaults are those of the class.
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "tanh")]
    activation_function: String,
    #[serde(default)]
    use_residual: bool,
}

fn yes() -> bool {
    true
}

fn tanh() -> String {
    "torch.nn.modules.activation.Tanh".into()
}

fn read_dense(dir: &Path, dim: usize) -> Result<Dense> {
    let file = dir.join("config.json");
    let json: DenseJson = read_json(&file)?;
    settings::DENSE.check(&file)?;
    fits(&file, "in_features", &json.in_features, dim)?;
    let rows = (json.out_features.as_u64())
        .filter(|rows| (1..=SIZE_MAX as u64).contains(rows))
        .ok_or_else(|| {
            error!(
                ModelInvalid,
                "{}: out_features is {}, not a whole number 1 to {SIZE_MAX}",
                file.display(),
                json.out_features
            )
        })? as usize;
    let activation = Activation::from_path(&json.activation_function).ok_or_else(|| {
        error!(
            Unsupported,
            "{}: activation_function is {:?}; of torch.nn.modules, {} are supported",
            file.display(),
            json.activation_function,
            ACTIVATIONS.map(|(name, _)| name).join(", ")
        )
    })?;
    let mut wanted = vec![("linear.weight", vec![rows, dim])];
    if json.bias {
        wanted.push(("linear.bias", vec![rows]));
    }
    let projected = json.use_residual && rows != dim;
    if projected {
        wanted.push(("residual.weight", vec![rows, dim]));
    }
    let mut tensors = read_tensors(&weight_file(dir)?, &wanted)?;
    let residual = match (json.use_residual, projected) {
        (false, _) => Residual::None,
        (true, false) => Residual::Input,
        (true, true) => Residual::Projected(tensors.pop().unwrap_or_default()),
    };
    let bias = if json.bias { tensors.pop().unwrap_or_default() } else { vec![0.0; rows] };
    let weight = tensors.pop().unwrap_or_default();
    Ok(Dense { linear: Linear { weight, bias, rows, columns: dim }, activation, residual })
}

#[derive(Deserialize)]
struct LayerNormJson {
    dimension: Number,
}

fn read_layer_norm(dir: &Path, dim: usize) -> Result<Module> {
    let file = dir.join("config.json");
    let json: LayerNormJson = read_json(&file)?;
    fits(&file, "dimension", &json.dimension, dim)?;
    let wanted = [("norm.weight", vec![dim]), ("norm.bias", vec![dim])];
    let mut tensors = read_tensors(&weight_file(dir)?, &wanted)?;
    let bias = tensors.pop().unwrap_or_default();
    Ok(Module::LayerNorm { weight: tensors.pop().unwrap_or_default(), bias })
}

/// Checks the folder of a Normalize module. Before version 6 it holds no file, or does not exist.
fn read_normalize(dir: &Path) -> Result<Module> {
    let file = dir.join("config.json");
    if is_present(&file) {
        settings::NORMALIZE.check(&file)?;
    }
    Ok(Module::Normalize)
}

fn fits(file: &Path, key: &str, value: &Number, dim: usize) -> Result<()> {
    if value.as_u64() == Some(dim as u64) {
        return Ok(());
    }
    Err(error!(
        ModelInvalid,
        "{}: {key} is {value}, but the modules before it make vectors of {dim} numbers",
        file.display()
    ))
}

fn weight_file(dir: &Path) -> Result<PathBuf> {
    let file =
        first_existing(&["model.safetensors", "pytorch_model.bin"].map(|name| dir.join(name)));
    match is_present(&file) {
        true => Ok(file),
        false => Err(error!(
            ModelNotFound,
            "{} has neither model.safetensors nor pytorch_model.bin; copy the folder of the module \
             with its weights",
            dir.display()
        )),
    }
}
