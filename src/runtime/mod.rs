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
mod tensorrt;
mod threads;
mod watch;

pub(crate) use export::{ExportSession, PaddedInputs, PaddedOutputs, Roles, Rows};
pub(crate) use library::{library_path, version};
pub(crate) use operators::Wanted;
pub(crate) use session::{EncoderSession, Observer, PackedInputs, PackedOutputs, SessionOptions};
pub use tensorrt::Prepared;
pub(crate) use tensorrt::prepare;
pub(crate) use threads::default_threads;
