//! Asks a shared library which ONNX Runtime it is, before `ort` takes it for good.
//!
//! `ort` tells neither the version of the library nor where the system's loader found it, and it
//! panics where a library is not what its name says.

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
    /// Where it lies, also if it was asked for by a bare name.
    pub path: PathBuf,
    /// Keeps it loaded until `ort` has it too.
    _library: Library,
}

/// Loads the library at `path`, or what the system's loader knows by that name. The error is the
/// second half of a sentence about the path.
pub(super) fn probe(path: &Path) -> Result<Probed, String> {
    if is_cut_short(path) {
        return Err("which is cut short; download it again".into());
    }
    // SAFETY: loading runs the library's initializers, as loading ONNX Runtime always does. The
    // path is one that the caller or the administrator of the machine has named as ONNX Runtime,
    // or where it is installed.
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
    // SAFETY: not null, as was just checked, and ended by a NUL, as every C string.
    let version = unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned();
    // Asked first: an older library that is asked for a newer API says so on stderr.
    if !is_new_enough(&version) {
        return Err(format!(
            "which is ONNX Runtime {version}; 1.{} or a later 1.x is needed",
            ort::MINOR_VERSION
        ));
    }
    // SAFETY: any number may be asked for; null is the answer to one that is not known, and any other
    // lives as long as the library.
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

/// The path by which the loader knows the library that holds a function: relative, if that is how it
/// was asked for.
fn loaded_as(function: *const c_void) -> Option<PathBuf> {
    let mut place = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: `function` points into a library that is loaded, and `place` has room for the answer.
    let found = unsafe { libc::dladdr(function, place.as_mut_ptr()) } != 0;
    if !found {
        return None;
    }
    // SAFETY: a result other than 0 says that `place` was filled.
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
