//! The numbers of the C ABI and the enums of the crate, in both directions.

use super::constants::*;
use super::types::*;
use crate::error::{ErrorKind, Result, error};
use crate::log::LogLevel;
use crate::{ComputeType, Device, Formula, Metric, Outputs, Precision};

pub(super) fn status_from_kind(kind: ErrorKind) -> bge_status {
    match kind {
        ErrorKind::InvalidArgument => BGE_ERROR_INVALID_ARGUMENT,
        ErrorKind::InvalidUtf8 => BGE_ERROR_INVALID_UTF8,
        ErrorKind::TextTooLong => BGE_ERROR_TEXT_TOO_LONG,
        ErrorKind::BufferTooSmall => BGE_ERROR_BUFFER_TOO_SMALL,
        ErrorKind::Unsupported => BGE_ERROR_UNSUPPORTED,
        ErrorKind::ModelNotFound => BGE_ERROR_MODEL_NOT_FOUND,
        ErrorKind::ModelInvalid => BGE_ERROR_MODEL_INVALID,
        ErrorKind::RuntimeUnavailable => BGE_ERROR_RUNTIME_UNAVAILABLE,
        ErrorKind::OutOfMemory => BGE_ERROR_OUT_OF_MEMORY,
        ErrorKind::NotFinite => BGE_ERROR_NOT_FINITE,
        ErrorKind::Cancelled => BGE_ERROR_CANCELLED,
        ErrorKind::Timeout => BGE_ERROR_TIMEOUT,
        ErrorKind::QueueFull => BGE_ERROR_QUEUE_FULL,
        ErrorKind::Closed => BGE_ERROR_CLOSED,
        ErrorKind::Inference => BGE_ERROR_INFERENCE,
        ErrorKind::Internal => BGE_ERROR_INTERNAL,
    }
}

pub(super) fn kind_from_status(status: bge_status) -> Option<ErrorKind> {
    ErrorKind::ALL.into_iter().find(|&kind| status_from_kind(kind) == status)
}

pub(super) fn number_of_metric(metric: Metric) -> bge_metric {
    match metric {
        Metric::Cosine => BGE_METRIC_COSINE,
        Metric::Dot => BGE_METRIC_DOT,
        Metric::Euclidean => BGE_METRIC_EUCLIDEAN,
        Metric::Manhattan => BGE_METRIC_MANHATTAN,
    }
}

pub(super) fn metric_from(metric: bge_metric) -> Result<Metric> {
    match metric {
        BGE_METRIC_COSINE => Ok(Metric::Cosine),
        BGE_METRIC_DOT => Ok(Metric::Dot),
        BGE_METRIC_EUCLIDEAN => Ok(Metric::Euclidean),
        BGE_METRIC_MANHATTAN => Ok(Metric::Manhattan),
        other => Err(error!(
            InvalidArgument,
            "metric is {other}; the known ones are {BGE_METRIC_COSINE} to {BGE_METRIC_MANHATTAN}"
        )),
    }
}

pub(super) fn precision_from(precision: bge_precision) -> Result<Precision> {
    match precision {
        BGE_PRECISION_INT8 => Ok(Precision::Int8),
        BGE_PRECISION_UINT8 => Ok(Precision::Uint8),
        BGE_PRECISION_BINARY => Ok(Precision::Binary),
        BGE_PRECISION_UBINARY => Ok(Precision::Ubinary),
        other => Err(error!(
            InvalidArgument,
            "precision is {other}; the known ones are {BGE_PRECISION_INT8} to \
             {BGE_PRECISION_UBINARY}"
        )),
    }
}

pub(super) fn formula_from(flags: u32) -> Result<Formula> {
    match flags {
        0 => Ok(Formula::V6),
        BGE_QUANTIZE_ST5 => Ok(Formula::BeforeV6),
        flags => Err(error!(
            Unsupported,
            "bge_quantize_options.flags is {flags:#x}; the known bits are {BGE_QUANTIZE_ST5:#x}"
        )),
    }
}

pub(super) fn device_from(device: bge_device, index: u32) -> Result<Device> {
    match device {
        BGE_DEVICE_CPU if index == 0 => Ok(Device::Cpu),
        BGE_DEVICE_CPU => {
            Err(error!(InvalidArgument, "device_index is {index}, but there is one CPU device, 0"))
        }
        BGE_DEVICE_CUDA => Ok(Device::Cuda(index)),
        BGE_DEVICE_TENSORRT => Ok(Device::TensorRt(index)),
        device => Err(error!(InvalidArgument, "device is {device}, which is not known")),
    }
}

pub(super) fn compute_type_from(compute_type: bge_compute_type) -> Result<ComputeType> {
    match compute_type {
        BGE_COMPUTE_FP32 => Ok(ComputeType::Fp32),
        BGE_COMPUTE_INT8 => Ok(ComputeType::Int8),
        BGE_COMPUTE_FP16 => Ok(ComputeType::Fp16),
        BGE_COMPUTE_TF32 => Ok(ComputeType::Tf32),
        BGE_COMPUTE_BF16 => Ok(ComputeType::Bf16),
        other => Err(error!(
            InvalidArgument,
            "compute_type is {other}, which is none of the BGE_COMPUTE_ constants"
        )),
    }
}

/// A level above the last is the last; `None` turns the log off.
pub(super) fn log_level_from(level: bge_log_level) -> Option<LogLevel> {
    match level {
        BGE_LOG_OFF => None,
        BGE_LOG_ERROR => Some(LogLevel::Error),
        BGE_LOG_WARN => Some(LogLevel::Warn),
        BGE_LOG_INFO => Some(LogLevel::Info),
        _ => Some(LogLevel::Debug),
    }
}

pub(super) fn number_of_log_level(level: LogLevel) -> bge_log_level {
    match level {
        LogLevel::Error => BGE_LOG_ERROR,
        LogLevel::Warn => BGE_LOG_WARN,
        LogLevel::Info => BGE_LOG_INFO,
        LogLevel::Debug => BGE_LOG_DEBUG,
    }
}

pub(super) fn output_bits(outputs: Outputs) -> u32 {
    let Outputs { dense, sparse, multi, tokens } = outputs;
    let bit = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
    bit(dense, BGE_OUTPUT_DENSE)
        | bit(sparse, BGE_OUTPUT_SPARSE)
        | bit(multi, BGE_OUTPUT_MULTI)
        | bit(tokens, BGE_OUTPUT_TOKENS)
}

pub(super) fn outputs_from(bits: u32) -> Result<Outputs> {
    let known = BGE_OUTPUT_DENSE | BGE_OUTPUT_SPARSE | BGE_OUTPUT_MULTI | BGE_OUTPUT_TOKENS;
    if bits & !known != 0 {
        return Err(error!(Unsupported, "outputs is {bits:#x}; the known bits are {known:#x}"));
    }
    Ok(Outputs {
        dense: bits & BGE_OUTPUT_DENSE != 0,
        sparse: bits & BGE_OUTPUT_SPARSE != 0,
        multi: bits & BGE_OUTPUT_MULTI != 0,
        tokens: bits & BGE_OUTPUT_TOKENS != 0,
    })
}
