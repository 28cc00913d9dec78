//! The two linear layers with which bge-m3 makes sparse weights and multi-vectors of the encoder's
//! final states.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::{EncoderConfig, first_existing, is_present, read_file};
use crate::error::{Result, error};

/// bge-m3's have 4 MB.
const HEAD_BYTES_MAX: u64 = 256 << 20;

/// What a model has beside its encoder. Never invented: a layer of random numbers would give
/// results that look like others.
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
    /// Why there is none, as a sentence for whoever asks for what it makes.
    Missing(String),
}

/// `x Wᵀ + b`, with the weight as PyTorch stores it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Linear {
    /// `rows` of `columns`.
    pub weight: Vec<f32>,
    /// `rows` numbers.
    pub bias: Vec<f32>,
    pub rows: usize,
    pub columns: usize,
}

impl Heads {
    /// Looks in the model's directory, where FlagEmbedding keeps them, then beside the encoder.
    pub fn read(dir: &Path, transformer_dir: &Path, encoder: &EncoderConfig) -> Result<Self> {
        let dirs = [dir, transformer_dir];
        let sparse = Head::read("sparse_linear", "sparse weights", &dirs, encoder.hidden)?;
        if let Head::Read { file, linear } = &sparse
            && linear.rows != 1
        {
            return Err(error!(
                ModelInvalid,
                "{}: the tensor \"weight\" has the shape [{}, {}], but a token has one sparse \
                 weight, so it has to be [1, {}]",
                file.display(),
                linear.rows,
                linear.columns,
                linear.columns
            ));
        }
        let multi = Head::read("colbert_linear", "multi-vectors", &dirs, encoder.hidden)?;
        Ok(Self { sparse, multi })
    }
}

impl Head {
    fn read(name: &str, makes: &str, dirs: &[&Path], hidden: usize) -> Result<Self> {
        let candidates = |ending: &str| -> Vec<PathBuf> {
            dirs.iter().map(|dir| dir.join(format!("{name}.{ending}"))).collect()
        };
        let file = first_existing(&candidates("safetensors"));
        if is_present(&file) {
            let linear = Linear::read(&file, hidden)?;
            return Ok(Self::Read { file, linear });
        }
        // The place to read PyTorch's own format, once this library can.
        let pickled = first_existing(&candidates("pt"));
        Ok(Self::Missing(if is_present(&pickled) {
            format!(
                "the model has {}, but heads in a .pt file are not read yet, so there are no \
                 {makes}; save its weight and bias as {name}.safetensors beside it",
                pickled.display()
            )
        } else {
            format!("the model has no {name}.safetensors, so there are no {makes}")
        }))
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
    fn read(file: &Path, hidden: usize) -> Result<Self> {
        let name = file.display();
        let bytes = read_file(file, HEAD_BYTES_MAX)?;
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|e| error!(ModelInvalid, "{name} is not a whole safetensors file: {e}"))?;
        // Something else in there could mean that the layer does more than this.
        if let Some(other) =
            tensors.names().into_iter().find(|key| !matches!(*key, "weight" | "bias"))
        {
            return Err(error!(
                ModelInvalid,
                "{name} has the tensor {other:?}; it may have \"weight\" and \"bias\" only"
            ));
        }
        let numbers = |key: &str, shape_is_right: &dyn Fn(&[usize]) -> bool, wanted: &str| {
            let tensor = tensors
                .tensor(key)
                .map_err(|_| error!(ModelInvalid, "{name} lacks the tensor {key:?}"))?;
            let (shape, dtype) = (tensor.shape(), tensor.dtype());
            if !shape_is_right(shape) || dtype != Dtype::F32 {
                return Err(error!(
                    ModelInvalid,
                    "{name}: the tensor {key:?} has the shape {shape:?} and the type {dtype:?}; \
                     it has to be {wanted} and F32"
                ));
            }
            let number =
                |bytes: &[u8]| bytes.try_into().map(f32::from_le_bytes).unwrap_or_default();
            Ok((tensor.data().chunks_exact(4).map(number).collect::<Vec<f32>>(), shape[0]))
        };
        let (weight, rows) = numbers(
            "weight",
            &|shape| matches!(shape, [rows, columns] if *rows > 0 && *columns == hidden),
            &format!("[.., {hidden}]"),
        )?;
        let (bias, _) = numbers("bias", &|shape| shape == [rows], &format!("[{rows}]"))?;
        Ok(Self { weight, bias, rows, columns: hidden })
    }

    /// What a hash is taken of: the numbers, whatever file they came in.
    pub fn bytes(&self) -> Vec<u8> {
        self.weight.iter().chain(&self.bias).flat_map(|x| x.to_le_bytes()).collect()
    }
}
