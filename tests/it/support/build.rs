//! The libbge.so that cargo built for these tests, and C programs that use it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An empty folder below target/, for one test.
pub fn empty_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The library beside this test program. `cargo test` builds it there every time, while the copy
/// in the folder above is refreshed by `cargo build` alone.
pub fn library() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let library = program.with_file_name("libbge_c.so");
    let help = "run `cargo test --release`, which builds it";
    let Ok(built) = library.metadata().and_then(|metadata| metadata.modified()) else {
        panic!("{} does not exist: {help}", library.display());
    };
    let (newest, source) = newest_source(&root().join("src"));
    assert!(newest <= built, "{} is older than {source:?}: {help}", library.display());
    library
}

/// The newest source of the library, without the command in src/bin.
fn newest_source(folder: &Path) -> (SystemTime, PathBuf) {
    rust_files(folder)
        .into_iter()
        .filter(|path| !path.starts_with(root().join("src/bin")))
        .map(|path| (path.metadata().unwrap().modified().unwrap(), path))
        .max()
        .unwrap()
}

pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The folder with libbge.so under the names that the linker, the loader and the Makefile ask for.
pub fn linkable(folder: &Path) {
    for name in ["libbge_c.so", "libbge.so", "libbge.so.0"] {
        std::os::unix::fs::symlink(library(), folder.join(name)).unwrap();
    }
}

/// `CC`, or the system's compiler. `CC` may hold arguments too, as for make.
pub fn cc() -> Command {
    compiler("CC", "cc")
}

pub fn compiler(variable: &str, otherwise: &str) -> Command {
    let named = std::env::var(variable).unwrap_or_default();
    let mut words = named.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or(otherwise));
    command.args(words);
    command
}

/// Whether a program is installed. If not, it prints which tests are skipped.
pub fn has(program: &str, left_out: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("{program} is not installed: {left_out}");
    }
    found
}

/// Whether nothing may be left out, as where every change is tested.
pub fn demanded() -> bool {
    std::env::var_os("BGE_TEST_ALL").is_some()
}

/// Runs a command that has to succeed, and returns its standard output.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    assert_eq!(stderr, "", "{command:?} wrote to its standard error");
    stdout.into_owned()
}
