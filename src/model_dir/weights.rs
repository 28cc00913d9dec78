//! The location of each weight of the encoder: its file, offset and length.
//!
//! Only headers are read. ONNX Runtime maps the bytes themselves from the author's file.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::config::EncoderConfig;
use super::files::{cannot_read, common_folder, not_utf8, relative_location};
use super::formats::{
    NumberType, Stored, TensorLocation, Tensors, open_at, read_bytes, read_numbers,
};
use super::quantized_weights::{self, factor_of, scale_of};
use super::tensor_names::{check_no_adapter, expected_tensors, key_prefix, named};
use super::weight_files::{WeightFiles, weight_files};
use crate::error::{Result, error};

/// A weight: the location of its bytes, and the type of its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weight {
    pub place: TensorLocation,
    pub number_type: NumberType,
}

/// The weights of the encoder, by their names in transformers without any prefix.
#[derive(Debug)]
pub(crate) struct Weights {
    /// The real folder of the files, without symbolic links in its path: ONNX Runtime refuses files
    /// behind links, which is how the Hugging Face cache keeps them.
    pub folder: String,
    /// The real files.
    pub files: Vec<PathBuf>,
    /// Whether `bge quantize` wrote them, as integers of 8 bits.
    pub quantized: bool,
    tensors: BTreeMap<String, Weight>,
}

impl Weights {
    /// The name of a tensor of 16-bit numbers, if there is one.
    pub fn of_16_bits(&self) -> Option<&str> {
        let mut tensors = self.tensors.iter();
        let (name, _) = tensors
            .find(|(_, weight)| matches!(weight.number_type, NumberType::F16 | NumberType::BF16))?;
        Some(name)
    }

    pub fn locate(dir: &Path, encoder: &EncoderConfig) -> Result<Self> {
        let WeightFiles { files, index, read_header, quantized } = weight_files(dir)?;
        let folder = common_folder(&files);
        // ONNX Runtime takes paths as text.
        let folder_text = folder.to_str().ok_or_else(|| not_utf8(&folder))?;
        let mut tensors = Tensors::new();
        for file in &files {
            let location = relative_location(file, &folder)?;
            for (name, tensor) in read_header(file, &location)? {
                if let Some(Stored { place: other, .. }) = tensors.get(&name) {
                    return Err(error!(
                        ModelInvalid,
                        "{} and {} both hold the tensor {name:?}; the files are of different models",
                        folder.join(&other.file).display(),
                        file.display()
                    ));
                }
                tensors.insert(name, tensor);
            }
        }
        check_no_adapter(&tensors, dir)?;
        let prefix = key_prefix(&tensors, dir)?;
        let (folder_text, none) = (folder_text.to_string(), BTreeMap::new());
        let mut weights = Self { folder: folder_text, files, quantized, tensors: none };
        let mut expected = expected_tensors(encoder);
        if quantized {
            expected = quantized_weights::expected_tensors(expected);
        }
        for (name, shape) in expected {
            let key = named(&tensors, format!("{prefix}{name}"))?;
            let Stored { place: tensor, dtype, contiguous } =
                tensors.remove(&key).ok_or_else(|| {
                    error!(
                        ModelInvalid,
                        "{}: the weights lack the tensor {key:?}, which config.json asks for",
                        dir.display()
                    )
                })?;
            let file = folder.join(&tensor.file);
            if let Some(index) = &index {
                index.agrees(&key, &file)?;
            }
            if tensor.shape != shape {
                return Err(error!(
                    ModelInvalid,
                    "{}: the tensor {key:?} has the shape {:?}, but config.json makes it {shape:?}",
                    file.display(),
                    tensor.shape
                ));
            }
            let number_type = match quantized {
                true => quantized_weights::number_type(&file, &name, &shape, dtype)?,
                false => NumberType::new(dtype).ok_or_else(|| {
                    error!(
                        Unsupported,
                        "{}: the tensor {key:?} has the type {dtype:?}; only F32, F16 and BF16 are \
                         supported, so save the model in float32",
                        file.display()
                    )
                })?,
            };
            if !contiguous {
                return Err(error!(
                    Unsupported,
                    "{}: the numbers of the tensor {key:?} do not lie row after row; call \
                     .contiguous() on it before torch.save",
                    file.display()
                ));
            }
            weights.tensors.insert(name, Weight { place: tensor, number_type });
        }
        if quantized {
            check_scales(&weights)?;
        }
        Ok(weights)
    }

    /// The encoder's tensors by name, each with its file.
    pub fn in_order(&self) -> impl Iterator<Item = (&str, PathBuf, &Weight)> {
        self.tensors.iter().map(|(name, weight)| {
            (name.as_str(), Path::new(&self.folder).join(&weight.place.file), weight)
        })
    }

    /// The numbers of a tensor that [`expected_tensors`] names, and its shape.
    pub fn read(&self, name: &str) -> Result<(Vec<f32>, &[usize])> {
        let Weight { place, number_type } = self.get(name)?;
        let file = Path::new(&self.folder).join(&place.file);
        Ok((read_numbers(&file, place, *number_type)?, &place.shape))
    }

    /// A reader of the bytes of a tensor.
    pub fn open(&self, name: &str) -> Result<impl Read> {
        let place = &self.get(name)?.place;
        let file = Path::new(&self.folder).join(&place.file);
        open_at(&file, place).map_err(|e| cannot_read(&file, &e))
    }

    /// The size of all tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.values().map(|weight| weight.place.length).sum()
    }

    /// All tensors by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Weight)> {
        self.tensors.iter().map(|(name, weight)| (name.as_str(), weight))
    }

    /// The integers of a tensor that is stored in 8 bits.
    pub fn read_integers(&self, name: &str) -> Result<Vec<i8>> {
        let place = &self.get(name)?.place;
        let file = Path::new(&self.folder).join(&place.file);
        let integers: Vec<i8> =
            read_bytes(&file, place)?.into_iter().map(|byte| byte as i8).collect();
        if let Some(index) = integers.iter().position(|&integer| integer == i8::MIN) {
            return Err(error!(
                ModelInvalid,
                "{}: number {index} of the tensor {name:?} is -128, and the least that `bge quantize` \
                 writes is -127; the file is damaged, so write the directory anew",
                file.display()
            ));
        }
        Ok(integers)
    }

    /// A tensor that [`expected_tensors`] names.
    pub fn get(&self, name: &str) -> Result<&Weight> {
        self.tensors
            .get(name)
            .ok_or_else(|| error!(Internal, "the graph asked for an unknown weight {name:?}"))
    }
}

/// Refuses scales and factors that are not finite, negative, or a factor of zero.
fn check_scales(weights: &Weights) -> Result<()> {
    for (name, weight) in weights.all().filter(|(_, weight)| weight.number_type == NumberType::I8) {
        let (scale, factor) = (scale_of(name), factor_of(name));
        debug_assert_eq!(weight.place.shape.len(), 2);
        let zero_is_sound = |name: &String| *name == scale;
        for name in [Some(scale.clone()), factor].into_iter().flatten() {
            let (numbers, _) = weights.read(&name)?;
            let sound = |x: f32| x.is_finite() && (x > 0.0 || (x == 0.0 && zero_is_sound(&name)));
            if let Some(index) = numbers.iter().position(|&x| !sound(x)) {
                return Err(error!(
                    ModelInvalid,
                    "{}: number {index} of the tensor {name:?} is {}, which is no scale; the file is \
                     damaged, so write the directory anew with `bge quantize`",
                    weights.files[0].display(),
                    numbers[index]
                ));
            }
        }
    }
    Ok(())
}
