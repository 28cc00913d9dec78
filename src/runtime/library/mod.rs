//! Finds and loads the one libonnxruntime of the process, and creates its one environment.

mod elf;
mod machine;
mod probe;
mod search;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use once_cell::sync::OnceCell;
use ort::environment::Environment;
use ort::logging::LogLevel as OrtLogLevel;

use super::errors::kind_of;
use super::operators::STOPPED;
use super::shortage;
use crate::error::{Error, ErrorKind, Result, error};
use crate::log::{self, LogLevel};
use probe::probe;
use search::beside_this_library;

pub(in crate::runtime) use elf::needed;

/// The variable that names the library to load, unless the caller of open does.
pub(crate) const LIBRARY_VARIABLE: &str = "BGE_ORT_LIBRARY";
/// Microsoft's builds send usage data unless this is 1 before their environment is created.
const TELEMETRY_VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
/// The names that the system's loader is asked for if no library was found elsewhere.
const SYSTEM_NAMES: [&str; 2] = ["libonnxruntime.so.1", "libonnxruntime.so"];

struct Loaded {
    environment: Environment,
    path: PathBuf,
    version: String,
}

/// Never dropped: ONNX Runtime allows one environment in the life of a process.
static LOADED: OnceCell<Loaded> = OnceCell::new();
/// The library that `ort` has loaded. `ort` keeps it even if no environment could be created.
static TAKEN: OnceCell<PathBuf> = OnceCell::new();

/// The environment. The first call creates it from the library at `explicit`, or from the first
/// library that the search finds.
pub(super) fn environment(explicit: Option<&Path>) -> Result<&'static Environment> {
    let loaded = LOADED.get_or_try_init(|| load(explicit))?;
    if let Some(path) = explicit {
        let path = Candidate::explicit(path).checked()?.path;
        if !same_file(&path, &loaded.path) {
            return Err(another_is_loaded(&path, &loaded.path));
        }
    }
    Ok(&loaded.environment)
}

/// The path of the loaded library.
pub(crate) fn library_path() -> Option<&'static Path> {
    LOADED.get().map(|loaded| loaded.path.as_path())
}

/// The version of the loaded library, as `onnxruntime 1.31.1`.
pub(crate) fn version() -> String {
    match LOADED.get() {
        Some(loaded) => format!("onnxruntime {}", loaded.version),
        None => "onnxruntime".into(),
    }
}

/// A path, and the option or variable that named it, as the beginning of a sentence.
struct Candidate {
    path: PathBuf,
    named_by: &'static str,
}

impl Candidate {
    fn explicit(path: &Path) -> Self {
        Self { path: path.to_path_buf(), named_by: "the option runtime_library" }
    }

    /// The same with an absolute path, if it leads to a file.
    fn checked(self) -> Result<Self> {
        let Self { path, named_by } = self;
        let shown = path.display();
        let because = |why: &str| {
            error!(
                RuntimeUnavailable,
                "{named_by} names {shown}, which {why}; give the path of libonnxruntime itself"
            )
        };
        match path.metadata() {
            Ok(kind) if kind.is_file() => {}
            Ok(kind) if kind.is_dir() => return Err(because("is a directory")),
            Ok(_) => return Err(because("is not a regular file")),
            Err(e) => return Err(because(&format!("cannot be read: {e}"))),
        }
        let path = std::path::absolute(&path)
            .map_err(|e| because(&format!("cannot be made an absolute path: {e}")))?;
        Ok(Self { path, named_by })
    }
}

fn load(explicit: Option<&Path>) -> Result<Loaded> {
    machine::check()?;
    disable_telemetry();
    let privileged = is_privileged();
    let from_variable = if privileged { None } else { std::env::var_os(LIBRARY_VARIABLE) };
    let from_variable = from_variable.filter(|path| !path.is_empty());
    let named = match (explicit, from_variable) {
        (Some(path), _) => Some(Candidate::explicit(path)),
        (None, Some(path)) => {
            Some(Candidate { path: PathBuf::from(path), named_by: LIBRARY_VARIABLE })
        }
        (None, None) => None,
    };
    if let Some(named) = named {
        let Candidate { path, named_by } = named.checked()?;
        return start(&path).map_err(|failure| match failure {
            Failure::Unusable(why) => error!(
                RuntimeUnavailable,
                "{named_by} names {}, {why}; give the path of libonnxruntime, version 1.{} or \
                 later",
                path.display(),
                ort::MINOR_VERSION
            ),
            Failure::Final(e) => e,
        });
    }
    let mut candidates = beside_this_library(privileged);
    candidates.extend(SYSTEM_NAMES.map(PathBuf::from));
    let mut tried = Vec::new();
    for path in candidates {
        match start(&path) {
            Ok(loaded) => return Ok(loaded),
            Err(Failure::Unusable(why)) => tried.push(format!("{}, {why}", path.display())),
            Err(Failure::Final(e)) => return Err(e),
        }
    }
    Err(error!(
        RuntimeUnavailable,
        "ONNX Runtime was not found; set {LIBRARY_VARIABLE} or the option runtime_library to the \
         path of libonnxruntime, version 1.{} or later. Tried: {}",
        ort::MINOR_VERSION,
        tried.join("; ")
    ))
}

enum Failure {
    /// Another library may be usable.
    Unusable(String),
    Final(Error),
}

fn start(path: &Path) -> Result<Loaded, Failure> {
    shortage::load_unwinder();
    let probed = probe(path).map_err(|why| match shortage::is_named_by(&why) {
        true => Failure::Final(error!(OutOfMemory, "{}, {why}", path.display())),
        false => Failure::Unusable(why),
    })?;
    if let Some(taken) = TAKEN.get()
        && !same_file(&probed.path, taken)
    {
        return Err(Failure::Final(another_is_loaded(&probed.path, taken)));
    }
    let builder = ort::init_from(&probed.path)
        .map_err(|e| Failure::Unusable(format!("which cannot be loaded: {e}")))?;
    let path = TAKEN.get_or_init(|| probed.path.clone()).clone();
    let environment = builder
        .with_name("bge")
        .with_telemetry(false)
        .with_logger(Arc::new(forward_log_line))
        .build()
        .map_err(|e| {
            let message = format!("ONNX Runtime at {} could not be started: {e}", path.display());
            Failure::Final(Error::new(kind_of(&e, ErrorKind::RuntimeUnavailable), message))
        })?;
    // ONNX Runtime starts at its most verbose level.
    environment.set_log_level(OrtLogLevel::Warning);
    log::line(LogLevel::Info, || {
        format!("loaded ONNX Runtime {} from {}", probed.version, path.display())
    });
    Ok(Loaded { environment, path, version: probed.version })
}

fn another_is_loaded(asked: &Path, loaded: &Path) -> Error {
    error!(
        RuntimeUnavailable,
        "ONNX Runtime is already loaded from {}; a process can load only one, and {} was asked for",
        loaded.display(),
        asked.display()
    )
}

/// Compares by the files that the paths lead to: a path below /proc/self/fd may lead to a file
/// without a name.
fn same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    matches!((identity(a), identity(b)), (Some(a), Some(b)) if a == b)
}

/// Whether this program runs with more privileges than the user who started it, as a setuid program
/// does. That user sets its environment, and must not choose the code that it runs.
fn is_privileged() -> bool {
    // SAFETY: it only reads what the kernel has passed to this process; the result is 0 if the
    // kernel passed nothing.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

fn disable_telemetry() {
    if std::env::var_os(TELEMETRY_VARIABLE).is_none() {
        // SAFETY: changing the environment while another thread reads it without a lock is
        // undefined on some platforms. There is no other way to keep Microsoft's builds from
        // sending data when they start. It happens once in a process, under the lock of `LOADED`,
        // only if the variable is not set, and the header tells hosts to set it themselves if
        // their other threads read the environment at that time.
        unsafe { std::env::set_var(TELEMETRY_VARIABLE, "1") };
    }
}

fn forward_log_line(
    level: OrtLogLevel,
    _category: &str,
    _id: &str,
    _location: &str,
    message: &str,
) {
    let level = level_of(level, message);
    log::line(level, || format!("onnxruntime: {message}"));
}

fn level_of(level: OrtLogLevel, message: &str) -> LogLevel {
    match level {
        OrtLogLevel::Verbose => LogLevel::Debug,
        OrtLogLevel::Info => LogLevel::Info,
        OrtLogLevel::Warning => LogLevel::Warn,
        // Not an error: the calls were cancelled, or their time was up.
        OrtLogLevel::Error if message.contains(STOPPED) => LogLevel::Debug,
        OrtLogLevel::Error | OrtLogLevel::Fatal => LogLevel::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_stopped_is_not_logged_as_an_error() {
        let words = format!("Non-zero status code: {STOPPED}");
        assert_eq!(level_of(OrtLogLevel::Error, &words), LogLevel::Debug);
        assert_eq!(level_of(OrtLogLevel::Error, "anything else"), LogLevel::Error);
    }
}
