//! `bge --version`: what this is, and what it would run a model with.

use bge::runtime_version;

/// A line for the command, and one for ONNX Runtime, found or not.
pub(crate) fn text() -> String {
    let runtime = match runtime_version(None) {
        Ok((version, path)) => format!("onnxruntime {version}, {}", path.display()),
        Err(e) => format!("no onnxruntime: {e}"),
    };
    format!("bge {}\n{runtime}\n", bge::VERSION)
}
