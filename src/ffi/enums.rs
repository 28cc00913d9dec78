//! The numbers of the C ABI as the enums of the crate, which have the same numbers.

use super::constants::*;
use super::types::*;
use crate::error::{Result, error};
use crate::{ComputeType, Formula, Metric, Precision};

pub(super) fn metric_from(metric: bge_metric) -> Result<Metric> {
    known("metric", metric, Metric::from_code(metric), &Metric::ALL.map(Metric::code))
}

pub(super) fn precision_from(precision: bge_precision) -> Result<Precision> {
    let all = Precision::ALL.map(Precision::code);
    known("precision", precision, Precision::from_code(precision), &all)
}

pub(super) fn compute_type_from(compute_type: bge_compute_type) -> Result<ComputeType> {
    let all = ComputeType::ALL.map(ComputeType::code);
    known("compute_type", compute_type, ComputeType::from_code(compute_type), &all)
}

/// The formula is the only flag, so that its number is that of the bits.
pub(super) fn formula_from(flags: u32) -> Result<Formula> {
    Formula::from_code(flags).ok_or_else(|| {
        error!(
            Unsupported,
            "bge_quantize_options.flags is {flags:#x}; the known bits are {BGE_QUANTIZE_ST5:#x}"
        )
    })
}

fn known<T>(name: &str, number: u32, found: Option<T>, all: &[u32]) -> Result<T> {
    found.ok_or_else(|| {
        let (first, last) = (all.iter().min(), all.iter().max());
        error!(
            InvalidArgument,
            "{name} is {number}; the known ones are {} to {}",
            first.unwrap_or(&0),
            last.unwrap_or(&0)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, EncodeOptions, LogLevel, Outputs};

    #[test]
    fn bits_and_devices_have_the_numbers_of_the_constants() {
        let nothing = Outputs { dense: false, sparse: false, multi: false, tokens: false };
        for (bit, outputs) in [
            (BGE_OUTPUT_DENSE, Outputs { dense: true, ..nothing }),
            (BGE_OUTPUT_SPARSE, Outputs { sparse: true, ..nothing }),
            (BGE_OUTPUT_MULTI, Outputs { multi: true, ..nothing }),
            (BGE_OUTPUT_TOKENS, Outputs { tokens: true, ..nothing }),
        ] {
            assert_eq!(outputs.bits(), bit);
            assert_eq!(Outputs::from_bits(bit).unwrap(), outputs);
        }
        assert_eq!(Outputs::from_bits(0).unwrap(), nothing);
        Outputs::from_bits(16).unwrap_err();
        for flags in 0..16 {
            let options = EncodeOptions::default().with_flags(flags).unwrap();
            assert_eq!(options.normalize, flags & BGE_ENCODE_NORMALIZE != 0);
            assert_eq!(options.reject_long, flags & BGE_ENCODE_REJECT_LONG != 0);
            assert_eq!(options.strip, flags & BGE_ENCODE_STRIP != 0);
            assert_eq!(options.per_text_errors, flags & BGE_ENCODE_PER_TEXT_ERRORS != 0);
        }
        EncodeOptions::default().with_flags(16).unwrap_err();
        assert_eq!(Device::from_code(BGE_DEVICE_CPU, 0).unwrap(), Device::Cpu);
        assert_eq!(Device::from_code(BGE_DEVICE_CUDA, 3).unwrap(), Device::Cuda(3));
        assert_eq!(Device::from_code(BGE_DEVICE_TENSORRT, 1).unwrap(), Device::TensorRt(1));
        Device::from_code(BGE_DEVICE_CPU, 1).unwrap_err();
        Device::from_code(3, 0).unwrap_err();
        assert_eq!(formula_from(BGE_QUANTIZE_ST5).unwrap(), Formula::St5);
        assert_eq!(formula_from(0).unwrap(), Formula::default());
        formula_from(2).unwrap_err();
        assert_eq!(LogLevel::up_to(BGE_LOG_OFF), None);
        assert_eq!(LogLevel::up_to(BGE_LOG_INFO), Some(LogLevel::Info));
        assert_eq!(LogLevel::up_to(u32::MAX), Some(LogLevel::Debug));
    }
}
