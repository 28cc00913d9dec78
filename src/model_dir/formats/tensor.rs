//! The tensors of a file: where their bytes lie, and how their numbers are stored.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::Dtype;

use crate::error::Result;
use crate::memory;
use crate::model_dir::files::cannot_read;

/// The stored type of a weight's numbers. Numbers of 16 bits are converted to 32 bits, which is
/// exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberType {
    F32,
    F16,
    BF16,
    /// Integers, which have to be multiplied by a scale.
    I8,
}

impl NumberType {
    /// The number type of a tensor that an author stores, or `None` if it is not supported.
    pub fn new(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    /// The numbers in 32 bits, which is exact.
    pub fn widened(self, bytes: &[u8]) -> Result<Vec<f32>> {
        let mut numbers = memory::with_room(bytes.len() / self.width())?;
        let pairs = || bytes.as_chunks::<2>().0.iter();
        match self {
            Self::F32 => {
                let fours = bytes.as_chunks::<4>().0.iter();
                numbers.extend(fours.map(|&four| f32::from_le_bytes(four)));
            }
            Self::F16 => numbers.extend(pairs().map(|&two| f16::from_le_bytes(two).to_f32())),
            Self::BF16 => numbers.extend(pairs().map(|&two| bf16::from_le_bytes(two).to_f32())),
            Self::I8 => numbers.extend(bytes.iter().map(|&byte| f32::from(byte as i8))),
        }
        Ok(numbers)
    }

    /// The bytes of a number.
    pub fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::I8 => 1,
        }
    }
}

/// The location of a tensor's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorLocation {
    /// The file, relative to [`Weights::folder`](crate::model_dir::Weights::folder).
    pub file: String,
    pub offset: u64,
    pub length: u64,
    pub shape: Vec<usize>,
}

/// A tensor as a file describes it, whether an encoder can use it or not.
pub(crate) struct Stored {
    pub place: TensorLocation,
    pub dtype: Dtype,
    /// Whether its numbers lie row after row, without gaps.
    pub contiguous: bool,
}

pub(crate) type Tensors = HashMap<String, Stored>;

/// Reads which tensors a file holds. The second argument is the name of the file relative to
/// [`Weights::folder`](crate::model_dir::Weights::folder).
pub(crate) type ReadHeader = fn(&Path, &str) -> Result<Tensors>;

/// Reads the numbers at a location, widened to 32 bits.
pub(crate) fn read_numbers(
    file: &Path,
    place: &TensorLocation,
    number_type: NumberType,
) -> Result<Vec<f32>> {
    number_type.widened(&read_bytes(file, place)?)
}

pub(crate) fn read_bytes(file: &Path, place: &TensorLocation) -> Result<Vec<u8>> {
    let failed = |e| cannot_read(file, &e);
    // The length was checked against that of the file, so it is bounded.
    memory::read(open_at(file, place).map_err(failed)?, place.length)?.map_err(failed)
}

pub(crate) fn open_at(file: &Path, place: &TensorLocation) -> std::io::Result<impl Read + use<>> {
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(place.offset))?;
    Ok(file.take(place.length))
}
