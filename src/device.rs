//! Where a model runs, and the numbers that it computes with.

use std::fmt;
use std::str::FromStr;

use crate::error::{self, error};
use crate::numbered::numbered;

/// Where inference runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// This processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(u32),
    /// An NVIDIA GPU, by its number, with engines that TensorRT has built for it beforehand.
    TensorRt(u32),
}

impl Device {
    /// The number of its kind in `include/bge.h`.
    pub const fn code(self) -> u32 {
        match self {
            Self::Cpu => 0,
            Self::Cuda(_) => 1,
            Self::TensorRt(_) => 2,
        }
    }

    /// The device with this number among those of its kind.
    pub fn from_code(code: u32, index: u32) -> error::Result<Self> {
        let kinds = [Self::Cpu, Self::Cuda(index), Self::TensorRt(index)];
        match kinds.into_iter().find(|kind| kind.code() == code) {
            Some(Self::Cpu) if index != 0 => Err(error!(
                InvalidArgument,
                "device_index is {index}, but there is one CPU device, 0"
            )),
            Some(device) => Ok(device),
            None => Err(error!(
                InvalidArgument,
                "device is {code}; the known ones are 0 (CPU), 1 (CUDA) and 2 (TensorRT)"
            )),
        }
    }

    /// The device of the same kind whose number is greater by `count`.
    pub(crate) fn after(self, count: usize) -> Self {
        // Saturating: a number that no GPU has stays such a number.
        let behind = |index: u32| index.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        match self {
            Self::Cpu => Self::Cpu,
            Self::Cuda(index) => Self::Cuda(behind(index)),
            Self::TensorRt(index) => Self::TensorRt(behind(index)),
        }
    }

    /// The names of `count` devices from this one on, as `cuda:0-3`.
    pub(crate) fn names(self, count: usize) -> String {
        match (count, self.after(count.saturating_sub(1))) {
            (2.., Self::Cuda(last) | Self::TensorRt(last)) => format!("{self}-{last}"),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::TensorRt(index) => write!(f, "tensorrt:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
        match (kind, index.parse()) {
            ("cpu", Ok(0)) => Ok(Self::Cpu),
            ("cuda", Ok(index)) => Ok(Self::Cuda(index)),
            ("tensorrt", Ok(index)) => Ok(Self::TensorRt(index)),
            _ => Err(format!("{name:?} is none of cpu, cuda, cuda:0, tensorrt, tensorrt:0")),
        }
    }
}

numbered! {
    /// The numbers that weights are multiplied in.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum ComputeType: u32 {
        /// Floating point of 32 bits.
        #[default]
        Fp32 = 0,
        /// Integers of 8 bits, with a scale for each row of a weight and for each token. Everything
        /// else stays in 32 bits. On the CPU only.
        Int8 = 1,
        /// Floating point of 16 bits, states of tokens included. Sums within a product, LayerNorm,
        /// and all that follows the last layer have 32 bits. On a GPU only.
        Fp16 = 2,
        /// Floating point of 32 bits, rounded to 19 bits in products. On a GPU only.
        Tf32 = 3,
        /// As [`Fp16`](Self::Fp16), with the range of 32-bit numbers, and 8 significant bits. On
        /// TensorRT only.
        Bf16 = 4,
    }
}

impl ComputeType {
    /// The name that the command has for it, such as `fp32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
            Self::Fp16 => "fp16",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }
}
