//! An encoder loaded into ONNX Runtime.

use super::gpu::tensorrt::Engines;
use super::options::SessionOptions;
use super::packed_rows::{PackedInputs, PackedOutputs};
use super::packed_session::PackedSession;
use crate::device::{ComputeType, Device};
use crate::error::Result;
use crate::model_dir::EncoderParts;
use crate::stop::StillWanted;

/// An encoder in memory, ready to run.
pub(crate) enum EncoderSession {
    Packed(PackedSession),
    /// TensorRT takes padded rows: inputs are padded for it, and its outputs packed again.
    TensorRt(Engines),
}

impl EncoderSession {
    /// Loads the encoder.
    pub fn open(
        parts: EncoderParts<'_>,
        compute_type: ComputeType,
        options: &SessionOptions,
    ) -> Result<Self> {
        match options.device {
            Device::Cpu | Device::Cuda(_) => {
                PackedSession::open(parts, compute_type, options).map(Self::Packed)
            }
            Device::TensorRt(_) => Engines::open(parts, compute_type, options).map(Self::TensorRt),
        }
    }

    /// Runs the encoder, and passes its outputs to `read`. Meanwhile it calls `still_wanted` from
    /// time to time; once that returns false, the batch ends early with an error.
    pub fn run<T>(
        &self,
        inputs: &PackedInputs,
        still_wanted: &StillWanted,
        read: impl FnOnce(PackedOutputs<'_>) -> T,
    ) -> Result<T> {
        match self {
            Self::Packed(session) => session.run(inputs, still_wanted, read),
            Self::TensorRt(engines) => engines.run(inputs, still_wanted, read),
        }
    }
}
