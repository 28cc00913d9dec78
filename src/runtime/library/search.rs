//! The search for ONNX Runtime if neither an option nor a variable names it: beside the file that
//! this code was loaded from.
//!
//! Only absolute paths count. The loader knows a program by the name that it was started with, and
//! a library by the path that it was asked for. Either may be relative, and would then be looked up
//! in the working directory, where anything may lie.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The name of the library, without the version that may follow.
const NAME: &str = "libonnxruntime.so";
/// The kernel appends this to the path of a file that was removed or replaced after it was mapped.
const REMOVED: &[u8] = b" (deleted)";

/// Every libonnxruntime in the folder of this library and in its subfolder `bge`, which for the
/// command is below `lib`; the newest of each folder first. A program that runs with more
/// privileges than its caller (`privileged`) does not search beside itself: a user who may link it
/// into a folder of their own would choose what it loads.
pub(super) fn beside_this_library(privileged: bool) -> Vec<PathBuf> {
    let own = place_of(beside_this_library as *const () as usize);
    let Some(own) = own.and_then(|path| path.canonicalize().ok()) else { return Vec::new() };
    let program = || std::env::current_exe().and_then(|path| path.canonicalize()).ok();
    if privileged && program().is_none_or(|program| program == own) {
        return Vec::new();
    }
    let Some(folder) = own.parent() else { return Vec::new() };
    [folder.to_path_buf(), folder.join("bge"), folder.join("../lib/bge")]
        .iter()
        .flat_map(|folder| libraries_in(folder))
        .collect()
}

/// The libraries of a folder, the newest first by the numbers of their versions.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(Vec<u64>, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((version_of(entry.file_name().to_str()?)?, entry.path()))
        })
        .collect();
    found.sort_by_cached_key(|(version, path)| Reverse((version.clone(), path.clone())));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The numbers of the version in the name of a library, or `None` if the name has no version.
fn version_of(name: &str) -> Option<Vec<u64>> {
    let version = name.strip_prefix(NAME)?;
    if version.is_empty() {
        return Some(Vec::new());
    }
    let number = |part: &str| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        // A part that is no number sorts before every version that is one.
        part[..end].parse().unwrap_or(0)
    };
    Some(version.strip_prefix('.')?.split('.').map(number).collect())
}

/// The absolute path of the file that is mapped at an address, as the kernel knows it.
pub(super) fn place_of(address: usize) -> Option<PathBuf> {
    let maps = std::fs::read("/proc/self/maps").ok()?;
    maps.split(|&byte| byte == b'\n').find_map(|line| mapped_at(line, address))
}

/// The path in a line such as `7f00-7f80 r-xp 00000000 fe:01 1234    /usr/lib/libbge.so.0`, if the
/// address is within its range.
fn mapped_at(line: &[u8], address: usize) -> Option<PathBuf> {
    let range = line.split(|&byte| byte == b' ').next()?;
    let (begin, end) = std::str::from_utf8(range).ok()?.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    if !(number(begin)?..number(end)?).contains(&address) {
        return None;
    }
    let path = &line[line.iter().position(|&byte| byte == b'/')?..];
    let path = path.strip_suffix(REMOVED).unwrap_or(path);
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let newest_first = [
            "libonnxruntime.so.2",
            "libonnxruntime.so.1.100.0",
            "libonnxruntime.so.1.31.1",
            "libonnxruntime.so.1.31",
            "libonnxruntime.so.1.9.0",
            "libonnxruntime.so.1",
            "libonnxruntime.so.x",
            "libonnxruntime.so",
        ];
        let others = ["libonnxruntime_providers_shared.so", "libonnxruntime.so-x", "libbge.so"];
        for name in newest_first.iter().rev().chain(&others) {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(libraries_in(folder.path()), newest_first.map(|name| folder.path().join(name)));
    }

    #[test]
    fn a_mapping_is_told_by_its_line() {
        let at = |line: &str| mapped_at(line.as_bytes(), 0x7f42);
        let path = |name: &str| Some(PathBuf::from(name));
        assert_eq!(at("7f00-7f43 r-xp 0 fe:01 5   /a/my lib.so"), path("/a/my lib.so"));
        assert_eq!(at("7f42-7f43 r-xp 0 fe:01 5   /a/lib.so (deleted)"), path("/a/lib.so"));
        assert_eq!(at("7f00-7f42 r-xp 0 fe:01 5   /a"), None);
        assert_eq!(at("7f00-7f43 rw-p 0 00:00 0   [heap]"), None);
        assert_eq!(at("7f00-7f43 rw-p 0 00:00 0 "), None);
        assert_eq!(at("nonsense"), None);
        assert_eq!(place_of(version_of as *const () as usize), std::env::current_exe().ok());
        assert_eq!(place_of(0), None);
    }
}
