//! ONNX Runtime: finding it, loading it, and running the encoder in it. The only place that names
//! `ort`.

mod arena;
mod budget;
mod cuda;
mod elf;
mod export;
mod library;
mod machine;
mod matrices;
mod nvidia;
mod operators;
mod pool;
mod probe;
#[cfg(test)]
mod rehearsal;
mod search;
mod session;
mod shared;
mod shortage;
mod tensorrt;
mod threads;
mod watch;

use std::path::{Path, PathBuf};

use crate::error::Result;
pub(crate) use export::{ExportSession, PaddedInputs, PaddedOutputs, Roles, Rows};
pub(crate) use library::{library_path, version};
pub(crate) use session::{EncoderSession, Observer, PackedInputs, PackedOutputs, SessionOptions};
pub use tensorrt::Prepared;
pub(crate) use tensorrt::prepare;
pub(crate) use threads::default_threads;

/// Loads ONNX Runtime as opening a model does, and tells its version, as `1.31.1`, and where it lies.
pub fn runtime_version(library: Option<&Path>) -> Result<(String, PathBuf)> {
    library::environment(library)?;
    let version = version().replace("onnxruntime ", "");
    Ok((version, library_path().unwrap_or(Path::new("")).to_path_buf()))
}
