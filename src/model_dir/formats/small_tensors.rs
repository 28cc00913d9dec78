//! Small layers beside the encoder: the few tensors of a file, as 32-bit numbers.

use std::path::{Path, PathBuf};

use super::tensor::{NumberType, Stored, Tensors, read_numbers};
use super::{safetensors, torch_zip};
use crate::error::{Result, error};
use crate::model_dir::files::{file_length, open_file};

/// The larger of bge-m3's heads has 4 MB in fp32.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A file that holds certain tensors and no others.
pub(crate) struct Layer {
    file: PathBuf,
    tensors: Tensors,
}

impl Layer {
    /// Reads which tensors a `.safetensors` file or one of `torch.save` holds. It has to hold all
    /// of `names` and no others, since others could mean that the layer does more.
    pub fn open(file: &Path, names: &[&str]) -> Result<Self> {
        let name = file.display();
        let bytes = file_length(file, &open_file(file)?)?;
        if bytes > FILE_BYTES_MAX {
            return Err(error!(
                ModelInvalid,
                "{name} has {bytes} bytes, but such a file has at most {FILE_BYTES_MAX}; is it the \
                 right one?"
            ));
        }
        let is_safetensors = file.extension().is_some_and(|ending| ending == "safetensors");
        let read_header =
            if is_safetensors { safetensors::read_header } else { torch_zip::read_header };
        let tensors = read_header(file, "")?;
        if let Some(lacking) = names.iter().find(|name| !tensors.contains_key(**name)) {
            return Err(error!(ModelInvalid, "{name} lacks the tensor {lacking:?}"));
        }
        if let Some(other) = tensors.keys().filter(|key| !names.contains(&key.as_str())).min() {
            return Err(error!(
                ModelInvalid,
                "{name} has the tensor {other:?}; it may have {names:?} only"
            ));
        }
        Ok(Self { file: file.to_path_buf(), tensors })
    }

    /// The shape of a tensor, or an empty one if there is no tensor of that name.
    pub fn shape(&self, tensor: &str) -> &[usize] {
        self.tensors.get(tensor).map_or(&[], |stored| &stored.place.shape)
    }

    /// Reads the numbers of a tensor, which has to have this shape.
    pub fn read(&self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let name = self.file.display();
        let Stored { place, dtype, contiguous } = self
            .tensors
            .get(tensor)
            .ok_or_else(|| error!(Internal, "{name} was not asked for the tensor {tensor:?}"))?;
        if place.shape != shape {
            return Err(error!(
                ModelInvalid,
                "{name}: the tensor {tensor:?} has the shape {:?}, but this model needs {shape:?}",
                place.shape
            ));
        }
        let number_type = NumberType::new(*dtype).ok_or_else(|| {
            error!(
                Unsupported,
                "{name}: the tensor {tensor:?} has the type {dtype:?}; only F32, F16 and BF16 are \
                 supported, so save the layer in float32"
            )
        })?;
        if !contiguous {
            return Err(error!(
                Unsupported,
                "{name}: the numbers of the tensor {tensor:?} do not lie row after row; call \
                 .contiguous() on it before torch.save"
            ));
        }
        read_numbers(&self.file, place, number_type)
    }
}

/// Reads tensors by name and shape from a file that holds no others.
pub(crate) fn read_tensors(file: &Path, wanted: &[(&str, Vec<usize>)]) -> Result<Vec<Vec<f32>>> {
    let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    let layer = Layer::open(file, &names)?;
    let read = |(name, shape): &(&str, Vec<usize>)| {
        let numbers = layer.read(name, shape)?;
        match numbers.iter().find(|number| !number.is_finite()) {
            None => Ok(numbers),
            Some(number) => Err(error!(
                ModelInvalid,
                "{}: the tensor {name:?} holds {number}, which is not a number to compute with",
                file.display()
            )),
        }
    };
    wanted.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of IEEE 754.
    fn half(bits: u16) -> f64 {
        let fraction = f64::from(bits & 0x3ff);
        let magnitude = match bits >> 10 & 0x1f {
            0 => fraction * 2_f64.powi(-24),
            0x1f if fraction == 0.0 => f64::INFINITY,
            0x1f => f64::NAN,
            exponent => (1024.0 + fraction) * 2_f64.powi(i32::from(exponent) - 25),
        };
        if bits >> 15 == 0 { magnitude } else { -magnitude }
    }

    #[test]
    fn every_number_of_16_bits_is_widened_exactly() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let halves = NumberType::F16.widened(&bytes).unwrap();
        let brains = NumberType::BF16.widened(&bytes).unwrap();
        assert_eq!((halves.len(), brains.len()), (1 << 16, 1 << 16));
        for bits in 0..=u16::MAX {
            let (wide, expected) = (halves[usize::from(bits)], half(bits));
            let is_same = f64::from(wide) == expected
                && wide.is_sign_negative() == expected.is_sign_negative();
            assert!(is_same || wide.is_nan() && expected.is_nan(), "{bits:#x}: {wide}");
            let (wide, expected) = (brains[usize::from(bits)], u32::from(bits) << 16);
            assert!(
                wide.to_bits() == expected || wide.is_nan() && f32::from_bits(expected).is_nan()
            );
        }
        assert_eq!(NumberType::F32.widened(&1.5_f32.to_le_bytes()).unwrap(), [1.5]);
    }
}
