//! `bge --version`: the versions of the command and of ONNX Runtime.

use bge::runtime_version;

/// A line for the command, and one for ONNX Runtime or the reason why it was not found.
pub(crate) fn text() -> String {
    let runtime = match runtime_version(None) {
        Ok((version, path)) => format!("onnxruntime {version}, {}", path.display()),
        Err(e) => format!("no onnxruntime: {e}"),
    };
    format!("bge {}\n{runtime}\n", bge::VERSION)
}
