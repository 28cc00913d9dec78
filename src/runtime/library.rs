//! Finds and loads the one libonnxruntime of the process, and makes its one environment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use once_cell::sync::OnceCell;
use ort::environment::Environment;
use ort::logging::LogLevel as OrtLogLevel;

use super::attention_operator::STOPPED;
use crate::error::{Result, error};
use crate::log::{self, LogLevel};

/// Names the library to load, unless the caller of open does.
pub(crate) const LIBRARY_VARIABLE: &str = "BGE_ORT_LIBRARY";
/// Microsoft's builds send usage data unless this is 1 before their environment is made.
const TELEMETRY_VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
/// What the system's loader is asked for in the end.
const SYSTEM_NAMES: [&str; 2] = ["libonnxruntime.so.1", "libonnxruntime.so"];

struct Loaded {
    environment: Environment,
    path: PathBuf,
}

/// Never dropped: ONNX Runtime allows one environment in the life of a process.
static LOADED: OnceCell<Loaded> = OnceCell::new();

/// The environment, made on first use from the library at `explicit` or where the search finds it.
pub(super) fn environment(explicit: Option<&Path>) -> Result<&'static Environment> {
    let loaded = LOADED.get_or_try_init(|| load(explicit))?;
    if let Some(asked) = explicit
        && asked.canonicalize().ok() != loaded.path.canonicalize().ok()
    {
        return Err(error!(
            RuntimeUnavailable,
            "ONNX Runtime is already loaded from {}; \
             a process can load only one, and {} was asked for",
            loaded.path.display(),
            asked.display()
        ));
    }
    Ok(&loaded.environment)
}

/// Where the loaded library lies.
pub(crate) fn library_path() -> Option<&'static Path> {
    LOADED.get().map(|loaded| loaded.path.as_path())
}

/// The version of the loaded library, as `onnxruntime 1.31.1`.
pub(crate) fn version() -> String {
    let from_name = library_path()
        .and_then(|path| path.canonicalize().ok())
        .and_then(|path| Some(path.file_name()?.to_str()?.split(".so.").nth(1)?.to_string()));
    match from_name {
        Some(version) if version.contains('.') => format!("onnxruntime {version}"),
        _ => "onnxruntime".into(),
    }
}

fn load(explicit: Option<&Path>) -> Result<Loaded> {
    let from_variable = std::env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty());
    let candidates = match (explicit, from_variable) {
        (Some(path), _) => vec![absolute(path, "the option runtime_library")?],
        (None, Some(path)) => vec![absolute(Path::new(&path), LIBRARY_VARIABLE)?],
        (None, None) => {
            let mut candidates = beside_this_library();
            candidates.extend(SYSTEM_NAMES.map(PathBuf::from));
            candidates
        }
    };
    disable_telemetry();
    let mut tried = Vec::new();
    for path in &candidates {
        match ort::init_from(path) {
            Ok(builder) => {
                let environment = builder
                    .with_name("bge")
                    .with_telemetry(false)
                    .with_logger(Arc::new(forward_log_line))
                    .build()
                    .map_err(|e| {
                        error!(
                            RuntimeUnavailable,
                            "ONNX Runtime at {} could not be started: {e}",
                            path.display()
                        )
                    })?;
                // The environment starts at its most talkative.
                environment.set_log_level(OrtLogLevel::Warning);
                log::line(LogLevel::Info, || {
                    format!("loaded ONNX Runtime from {}", path.display())
                });
                return Ok(Loaded { environment, path: path.clone() });
            }
            Err(e) => tried.push(e.to_string()),
        }
    }
    Err(error!(
        RuntimeUnavailable,
        "ONNX Runtime could not be loaded; set {LIBRARY_VARIABLE} or the option runtime_library \
         to the path of libonnxruntime, version 1.{} or later: {}",
        ort::MINOR_VERSION,
        tried.join("; ")
    ))
}

fn absolute(path: &Path, said_by: &str) -> Result<PathBuf> {
    if !path.is_file() {
        return Err(error!(
            RuntimeUnavailable,
            "{said_by} names {}, which is not a file",
            path.display()
        ));
    }
    std::path::absolute(path).map_err(|e| {
        error!(RuntimeUnavailable, "{said_by} names {}, which cannot be used: {e}", path.display())
    })
}

/// Every libonnxruntime in the folder of this library and in its own folder `bge`, which for the
/// command is below `lib`; the newest of each folder first.
fn beside_this_library() -> Vec<PathBuf> {
    let Some(own) = process_path::get_dylib_path().and_then(|path| path.canonicalize().ok()) else {
        return Vec::new();
    };
    let Some(folder) = own.parent() else { return Vec::new() };
    let mut found = Vec::new();
    for folder in [folder.to_path_buf(), folder.join("bge"), folder.join("../lib/bge")] {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut here: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| {
                    name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")
                })
            })
            .collect();
        here.sort();
        found.extend(here.into_iter().rev());
    }
    found
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
        // Not a fault: the calls were cancelled, or their time was up.
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
