//! Reading of files that may be missing, truncated, of another kind, or hostile.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result, error};
use crate::memory;

/// The file that names the modules of a sentence-transformers model.
pub(super) const MODULES_FILE: &str = "modules.json";
/// The first bytes of a Git LFS pointer, which stands for a file that has not been fetched.
pub(super) const LFS_START: &[u8] = b"version https://git-lfs";

pub(super) fn first_existing(candidates: &[PathBuf]) -> PathBuf {
    candidates.iter().find(|path| is_present(path)).unwrap_or(&candidates[0]).clone()
}

/// Whether anything has that name, even a dangling link: a file that exists but cannot be used must
/// be an error of its own, and not count as absent.
pub(super) fn is_present(path: &Path) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    match path.symlink_metadata() {
        Ok(_) => true,
        Err(e) => !matches!(e.kind(), NotFound | NotADirectory),
    }
}

/// Reads a file whole, if it is a regular file of at most `bytes_max`.
pub(super) fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let file = open_file(path)?;
    let length = file_length(path, &file)?;
    if length > bytes_max {
        return Err(error!(
            ModelInvalid,
            "{} has {length} bytes, but such a file has at most {bytes_max}; is it the right one?",
            path.display()
        ));
    }
    let mut bytes = memory::with_room(length as usize)?;
    file.take(bytes_max).read_to_end(&mut bytes).map_err(|e| cannot_read(path, &e))?;
    if bytes.is_empty() {
        return Err(error!(ModelInvalid, "{} is empty; download it again", path.display()));
    }
    if bytes.starts_with(LFS_START) {
        return Err(lfs_pointer(path));
    }
    Ok(bytes)
}

/// Whether a relative path stays within its folder.
pub(super) fn stays_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

pub(super) fn lfs_pointer(path: &Path) -> Error {
    error!(
        ModelInvalid,
        "{} is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`",
        path.display()
    )
}

pub(super) fn open_file(path: &Path) -> Result<File> {
    // Checked before opening: opening a pipe would wait for a writer for ever.
    let kind = std::fs::metadata(path).map_err(|e| cannot_read(path, &e))?;
    if !kind.is_file() {
        return Err(error!(ModelInvalid, "{} is not a regular file", path.display()));
    }
    File::open(path).map_err(|e| cannot_read(path, &e))
}

pub(super) fn file_length(path: &Path, file: &File) -> Result<u64> {
    Ok(file.metadata().map_err(|e| cannot_read(path, &e))?.len())
}

pub(super) fn cannot_read(path: &Path, e: &io::Error) -> Error {
    let name = path.display();
    match (e.kind(), std::fs::read_link(path)) {
        (io::ErrorKind::NotFound, Ok(target)) => error!(
            ModelNotFound,
            "{name} is a link to {}, which does not exist; copy the model with the files that it \
             links to",
            target.display()
        ),
        (io::ErrorKind::NotFound, Err(_)) => {
            error!(ModelNotFound, "{name} does not exist; the model directory is incomplete")
        }
        _ => error!(ModelNotFound, "{name} cannot be read: {e}"),
    }
}

pub(super) fn real_path(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|e| cannot_read(path, &e))
}

pub(super) fn common_folder(files: &[PathBuf]) -> PathBuf {
    let mut common = files[0].parent().map(Path::to_path_buf).unwrap_or_default();
    for file in files {
        while !file.starts_with(&common) && common.pop() {}
    }
    common
}

pub(super) fn relative_location(file: &Path, folder: &Path) -> Result<String> {
    let relative = file.strip_prefix(folder).ok().and_then(Path::to_str);
    relative.map(str::to_string).ok_or_else(|| not_utf8(file))
}

pub(super) fn not_utf8(path: &Path) -> Error {
    error!(
        InvalidUtf8,
        "{path:?} is not UTF-8, and ONNX Runtime cannot be told of such a path; rename it"
    )
}
