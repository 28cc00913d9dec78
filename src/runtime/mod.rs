//! ONNX Runtime: finding it, loading it, and running the encoder in it. The only place that names
//! `ort`.

mod arena;
mod budget;
mod concurrent_session;
mod default_threads;
mod errors;
mod export;
mod gpu;
mod library;
mod operators;
mod options;
mod packed_rows;
mod packed_session;
mod packed_weights;
mod pool;
mod session;
mod shortage;
mod watchdog;

use std::path::{Path, PathBuf};

use crate::error::Result;
pub(crate) use default_threads::default_threads;
pub(crate) use export::{ExportSession, PaddedInputs, PaddedOutputs, Roles, Rows};
pub use gpu::tensorrt::Prepared;
pub(crate) use gpu::tensorrt::prepare;
pub(crate) use library::{library_path, version};
pub(crate) use options::{Observer, SessionOptions};
pub(crate) use packed_rows::{PackedInputs, PackedOutputs};
pub(crate) use session::EncoderSession;

/// Loads ONNX Runtime as opening a model does, and returns its version, such as `1.31.1`, and its
/// path.
pub fn runtime_version(library: Option<&Path>) -> Result<(String, PathBuf)> {
    library::environment(library)?;
    let version = version().replace("onnxruntime ", "");
    Ok((version, library_path().unwrap_or(Path::new("")).to_path_buf()))
}
