//! ONNX Runtime and the process around it: what is loaded, kept, printed and missing.

pub mod cache_dir;
#[cfg(feature = "cli")]
pub mod gpu;
pub mod library;
pub mod library_search;
pub mod panics;
pub mod quiet;
pub mod sandboxes;
