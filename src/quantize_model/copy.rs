//! Copies a model directory without its weights.

use std::fs;
use std::path::Path;

use super::write::cannot_write;
use crate::error::{Result, error};
use crate::model_dir::ModelDir;

/// Folders with the weights in other formats.
const OTHER_FORMS: [&str; 2] = ["onnx", "openvino"];
/// The endings of files with weights in other formats, or with parts of them.
const WEIGHTS: [&str; 9] = [
    ".safetensors",
    ".index.json",
    ".bin",
    ".h5",
    ".msgpack",
    ".ot",
    ".onnx",
    ".onnx_data",
    ".data",
];
/// The files with the weights of heads, which are copied.
const HEADS: [&str; 2] = ["sparse_linear.", "colbert_linear."];
/// The most levels of folders in a model directory.
const DEPTH_MAX: usize = 8;

/// Copies the files that links point to, not the links.
pub(super) fn model_files(dir: &Path, source: &ModelDir, to: &Path, out: &Path) -> Result<()> {
    // Modules keep their weights, which have the same file names.
    let has_weights = [dir, &source.transformer_dir];
    let copied = copy_folder(dir, to, &has_weights, DEPTH_MAX);
    copied.map_err(|(path, e)| match path.starts_with(to) {
        true => cannot_write(&out.join(path.strip_prefix(to).unwrap_or(&path)), &e),
        false => error!(ModelNotFound, "{} cannot be copied: {e}", path.display()),
    })
}

type Failure = (std::path::PathBuf, std::io::Error);

fn copy_folder(from: &Path, to: &Path, has_weights: &[&Path], depth: usize) -> Result<(), Failure> {
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |e| (path, e)
    };
    for entry in fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (name, path) = (entry.file_name(), entry.path());
        let text = name.to_string_lossy();
        if text.starts_with('.') {
            continue;
        }
        let kind = fs::metadata(&path).map_err(at(&path))?;
        let target = to.join(&name);
        if kind.is_dir() {
            if depth == 0 || OTHER_FORMS.contains(&&*text) {
                continue;
            }
            fs::create_dir_all(&target).map_err(at(&target))?;
            copy_folder(&path, &target, has_weights, depth - 1)?;
        } else if kind.is_file() {
            if has_weights.contains(&from) && is_weights(&text) {
                continue;
            }
            let mut read = fs::File::open(&path).map_err(at(&path))?;
            let mut written = fs::File::create(&target).map_err(at(&target))?;
            std::io::copy(&mut read, &mut written).map_err(at(&target))?;
        }
    }
    Ok(())
}

fn is_weights(name: &str) -> bool {
    WEIGHTS.iter().any(|end| name.ends_with(end))
        && !HEADS.iter().any(|head| name.starts_with(head))
}
