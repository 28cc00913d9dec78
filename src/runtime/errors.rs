//! Errors of ONNX Runtime as errors of this library.

use super::shortage;
use crate::error::{Error, ErrorKind};

/// An error of a batch.
pub(super) fn run_error(e: ort::Error) -> Error {
    let message = format!("ONNX Runtime failed to run the model: {e}");
    Error::new(kind_of(&e, ErrorKind::Inference), message).with_runtime_code(e.code() as i32)
}

/// The kind of an error: running out of memory, or else `otherwise`.
pub(super) fn kind_of(e: &ort::Error, otherwise: ErrorKind) -> ErrorKind {
    if shortage::is_named_by(e.message()) { ErrorKind::OutOfMemory } else { otherwise }
}
