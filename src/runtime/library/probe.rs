//! Checks which ONNX Runtime a shared library is before `ort` loads it for good.
//!
//! `ort` reports neither the version of the library nor where the system's loader found it, and it
//! panics if a library is not what its name says.

use std::error::Error as _;
use std::ffi::{CStr, OsStr, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libloading::{Library, Symbol};
use ort::sys::OrtApiBase;

use super::elf::is_cut_short;
use super::search;
use crate::runtime::shortage;

/// A library that can be used.
pub(super) struct Probed {
    /// As in `1.31.1`.
    pub version: String,
    /// Its path, also if it was found by a bare name.
    pub path: PathBuf,
    /// Keeps the library loaded until `ort` has loaded it too.
    _library: Library,
}

/// Loads the library at `path`, or the one that the system's loader finds by that name. The error
/// is the second half of a sentence about the path.
pub(super) fn probe(path: &Path) -> Result<Probed, String> {
    if is_cut_short(path) {
        return Err("which is cut short; download it again".into());
    }
    // SAFETY: loading runs the library's initializers, as loading ONNX Runtime always does. The
    // caller or the administrator of the machine has named the path as ONNX Runtime, or has
    // installed it there.
    let library = unsafe { Library::new(path) }.map_err(|e| {
        let reason = e.source().map_or_else(|| e.to_string(), |source| source.to_string());
        format!("which cannot be loaded: {reason}")
    })?;
    // SAFETY: the function of this name has had this signature in every version of ONNX Runtime.
    let get_base: Symbol<unsafe extern "C" fn() -> *const OrtApiBase> =
        unsafe { library.get("OrtGetApiBase") }
            .map_err(|_| "which is not ONNX Runtime: it has no OrtGetApiBase".to_string())?;
    // SAFETY: it takes nothing, and returns a pointer to a table that lives as long as the library.
    let base = unsafe { get_base().as_ref() }
        .ok_or_else(|| "which is not ONNX Runtime: its OrtGetApiBase gives nothing".to_string())?;
    // SAFETY: the function takes nothing, and returns a text that lives as long as the library.
    let version = unsafe { (base.GetVersionString)() };
    if version.is_null() {
        return Err("which is not ONNX Runtime: it has no version".into());
    }
    // SAFETY: not null, as was just checked, and terminated by a NUL like every C string.
    let version = unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned();
    // Checked first: an older library that is asked for a newer API writes to stderr.
    if !is_new_enough(&version) {
        return Err(format!(
            "which is ONNX Runtime {version}; 1.{} or a later 1.x is needed",
            ort::MINOR_VERSION
        ));
    }
    // SAFETY: any number may be asked for. The result is null if the number is not known; otherwise
    // it lives as long as the library.
    let api = unsafe { (base.GetApi)(ort::MINOR_VERSION).as_ref() }.ok_or_else(|| {
        format!(
            "which says that it is ONNX Runtime {version}, but lacks the API of 1.{}",
            ort::MINOR_VERSION
        )
    })?;
    shortage::try_start(api).map_err(|why| format!("which cannot be started: {why}"))?;
    let path = loaded_as(*get_base as *const c_void)
        .filter(|path| path.is_absolute())
        .or_else(|| search::place_of(*get_base as usize))
        .unwrap_or_else(|| path.to_path_buf());
    Ok(Probed { version, path, _library: library })
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(str::parse::<u32>);
    matches!((parts.next(), parts.next()), (Some(Ok(1)), Some(Ok(minor))) if minor >= ort::MINOR_VERSION)
}

/// The path by which the loader knows the library that holds a function. It is relative if the
/// library was asked for by a relative path.
fn loaded_as(function: *const c_void) -> Option<PathBuf> {
    let mut place = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: `function` points into a loaded library, and `place` has the size of the answer.
    let found = unsafe { libc::dladdr(function, place.as_mut_ptr()) } != 0;
    if !found {
        return None;
    }
    // SAFETY: a result other than 0 means that `place` was filled.
    let place = unsafe { place.assume_init() };
    if place.dli_fname.is_null() {
        return None;
    }
    // SAFETY: not null, and the loader keeps the name for as long as the library is loaded.
    let name = unsafe { CStr::from_ptr(place.dli_fname) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

#[cfg(test)]
mod tests {
    use super::is_new_enough;

    #[test]
    fn only_a_1_x_that_has_the_needed_api_is_new_enough() {
        for version in ["1.23.0", "1.31.1", "1.100.0-dev", "1.23"] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["1.22.9", "1.9.0", "0.30.0", "2.30.0", "", "1", "1.", "1.x.30", "30"] {
            assert!(!is_new_enough(version), "{version}");
        }
    }
}
