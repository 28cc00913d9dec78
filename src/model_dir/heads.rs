//! The two linear layers by which bge-m3 computes sparse weights and multi-vectors from the
//! encoder's final states.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::files::is_present;
use super::formats::small_tensors::Layer;
use crate::error::{Result, error};

/// FlagEmbedding reads and writes the second only.
const ENDINGS: [&str; 2] = ["safetensors", "pt"];

/// The heads beside an encoder. A missing head is never replaced by random numbers, whose results
/// would look like real ones.
#[derive(Debug)]
pub(crate) struct Heads {
    pub sparse: Head,
    pub multi: Head,
}

#[derive(Debug)]
pub(crate) enum Head {
    Read {
        file: PathBuf,
        linear: Linear,
    },
    /// The reason why there is none, as a sentence for a caller who asks for its output.
    Missing(String),
}

/// `x Wᵀ + b`, with the weight in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Linear {
    /// `rows` rows of `columns` numbers.
    pub weight: Vec<f32>,
    /// `rows` numbers.
    pub bias: Vec<f32>,
    pub rows: usize,
    pub columns: usize,
}

impl Heads {
    /// Looks in the folder that the caller names, or else in the model's own: its directory, where
    /// FlagEmbedding keeps heads, and the folder of the encoder.
    pub fn read(own: [&Path; 2], named: Option<&Path>, hidden: usize) -> Result<Self> {
        let Some(named) = named else { return Self::read_from(&own, "the model", hidden) };
        let kind = std::fs::metadata(named).map_err(|e| {
            error!(ModelNotFound, "heads_dir: the folder {named:?} cannot be read: {e}")
        })?;
        if !kind.is_dir() {
            return Err(error!(
                ModelNotFound,
                "heads_dir: {} is not a directory; give the one that holds the heads",
                named.display()
            ));
        }
        let heads = Self::read_from(&[named], &format!("{} (heads_dir)", named.display()), hidden)?;
        if let (Head::Missing(_), Head::Missing(_)) = (&heads.sparse, &heads.multi) {
            return Err(error!(
                ModelNotFound,
                "heads_dir: {} has no head; it has to hold sparse_linear or colbert_linear, as .pt \
                 or .safetensors",
                named.display()
            ));
        }
        Ok(heads)
    }

    pub fn none(why: &str) -> Self {
        Self { sparse: Head::Missing(why.into()), multi: Head::Missing(why.into()) }
    }

    fn read_from(dirs: &[&Path], whose: &str, hidden: usize) -> Result<Self> {
        // A token has one sparse weight, and a vector of any length.
        let sparse = Head::read("sparse_linear", "sparse weights", dirs, whose, Some(1), hidden)?;
        let multi = Head::read("colbert_linear", "multi-vectors", dirs, whose, None, hidden)?;
        Ok(Self { sparse, multi })
    }
}

impl Head {
    fn read(
        name: &str,
        makes: &str,
        dirs: &[&Path],
        whose: &str,
        rows: Option<usize>,
        hidden: usize,
    ) -> Result<Self> {
        // The encoder often lies in the model's own directory.
        let dirs = dirs.iter().collect::<BTreeSet<_>>();
        let files =
            dirs.iter().flat_map(|dir| ENDINGS.map(|end| dir.join(format!("{name}.{end}"))));
        let mut files = files.filter(|file| is_present(file));
        let Some(file) = files.next() else {
            return Ok(Self::Missing(format!(
                "{whose} has neither {name}.pt nor {name}.safetensors, so there are no {makes}; the \
                 option heads_dir can name a folder with heads"
            )));
        };
        let linear = Linear::read(&file, rows, hidden)?;
        for other in files {
            if Linear::read(&other, rows, hidden)? != linear {
                return Err(error!(
                    ModelInvalid,
                    "{} and {} hold different numbers; remove the one that is not to be used",
                    file.display(),
                    other.display()
                ));
            }
        }
        Ok(Self::Read { file, linear })
    }

    pub fn linear(&self) -> Option<&Linear> {
        match self {
            Self::Read { linear, .. } => Some(linear),
            Self::Missing(_) => None,
        }
    }

    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Read { file, .. } => Some(file),
            Self::Missing(_) => None,
        }
    }
}

impl Linear {
    fn read(file: &Path, rows: Option<usize>, hidden: usize) -> Result<Self> {
        let layer = Layer::open(file, &["weight", "bias"])?;
        // At least one, so that a head of no rows is refused below.
        let rows = rows.or(layer.shape("weight").first().copied()).unwrap_or(1).max(1);
        let weight = layer.read("weight", &[rows, hidden])?;
        let bias = layer.read("bias", &[rows])?;
        Ok(Self { weight, bias, rows, columns: hidden })
    }
}
