//! Which ONNX Runtime is loaded, and the errors for files that are none.
//!
//! A process loads one library for good, so most tests run the command `bge`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use bge::{ErrorKind, Model, OpenOptions};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::child::{assert_passed, child};
use crate::support::models::{BGE, LFS_POINTER, tiny_dir};

const VARIABLE: &str = "BGE_ORT_LIBRARY";
const CHILD: &str = "BGE_TEST_CHILD";

/// The library that all tests run with, by the variable that cargo sets for them.
fn runtime() -> PathBuf {
    PathBuf::from(std::env::var_os(VARIABLE).expect("run the tests with cargo"))
}

/// Compiles a shared library from C.
fn shared_library(dir: &TempDir, name: &str, source: &str) -> PathBuf {
    let (source_file, library) = (dir.path().join(name).with_extension("c"), dir.path().join(name));
    std::fs::write(&source_file, source).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source_file)
        .output();
    let compiled = compiled.expect("cc is needed");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}

/// The beginning of an ONNX Runtime: enough to be asked for its version.
fn imitation(dir: &TempDir, name: &str, version: &str) -> PathBuf {
    let source = format!(
        "static const void *get_api(unsigned v) {{ (void)v; return 0; }}
         static const char *version(void) {{ return {version}; }}
         static const struct {{ const void *(*get_api)(unsigned); const char *(*version)(void); }}
             base = {{ get_api, version }};
         const void *OrtGetApiBase(void) {{ return &base; }}"
    );
    shared_library(dir, name, &source)
}

/// `bge info` on a tiny model.
fn info_command(bge: &Path) -> Command {
    let mut command = Command::new(bge);
    command.arg("info").arg(tiny_dir("cls")).arg("--json");
    command
}

/// The facts that it prints, or the message.
fn facts(mut info: Command) -> Result<Value, String> {
    let output = info.output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    if output.status.success() {
        assert_eq!(message, "");
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(output.stdout.is_empty());
    assert_eq!(message.lines().count(), 1, "{message}");
    Err(message)
}

#[test]
fn a_library_that_is_no_usable_onnx_runtime_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        std::fs::write(dir.path().join(name), content).unwrap();
        dir.path().join(name)
    };
    let whole = std::fs::read(runtime()).unwrap();
    let no_function = shared_library(&dir, "other.so", "int zero(void) { return 0; }");
    let no_base = shared_library(&dir, "null.so", "void *OrtGetApiBase(void) { return 0; }");
    let cases: Vec<(PathBuf, &str)> = vec![
        (dir.path().join("absent.so"), "cannot be read: No such file"),
        (dir.path().to_path_buf(), "is a directory"),
        ("/dev/null".into(), "is not a regular file"),
        (file("empty.so", b""), "cannot be loaded: "),
        (file("text.so", b"not a library"), "cannot be loaded: "),
        (file("pointer.so", LFS_POINTER.as_bytes()), "cannot be loaded: "),
        (file("magic.so", &whole[..4]), "cannot be loaded: "),
        (file("head.so", &whole[..64]), "is cut short"),
        (file("half.so", &whole[..whole.len() / 2]), "is cut short"),
        (no_function, "is not ONNX Runtime: it has no OrtGetApiBase"),
        (no_base, "is not ONNX Runtime: its OrtGetApiBase gives nothing"),
        (imitation(&dir, "unnamed.so", "0"), "is not ONNX Runtime: it has no version"),
        (imitation(&dir, "old.so", "\"1.10.0\""), "is ONNX Runtime 1.10.0; 1.23 or a later 1.x"),
        (imitation(&dir, "next.so", "\"2.30.0\""), "is ONNX Runtime 2.30.0; 1.23 or a later 1.x"),
        (imitation(&dir, "words.so", "\"\\xff\""), "is ONNX Runtime \u{fffd}; 1.23"),
        (imitation(&dir, "hollow.so", "\"1.99.0\""), "lacks the API of 1.23"),
    ];
    for (path, reason) in cases {
        let mut by_option = info_command(BGE.as_ref());
        by_option.env_remove(VARIABLE).arg("--runtime-library").arg(&path);
        let mut by_variable = info_command(BGE.as_ref());
        by_variable.env(VARIABLE, &path);
        for (info, named_by) in [(by_option, "the option runtime_library"), (by_variable, VARIABLE)]
        {
            let message = facts(info).unwrap_err();
            let beginning = format!("bge: {named_by} names {}, which ", path.display());
            assert!(message.starts_with(&beginning), "{message}");
            assert!(message.contains(reason), "{message}");
            assert!(message.contains("give the path of libonnxruntime"), "{message}");
        }
    }
}

#[test]
fn version_and_place_are_those_of_the_library_whatever_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("runtime.so.9.8.7");
    symlink(runtime(), &odd).unwrap();
    let mut info = info_command(BGE.as_ref());
    info.arg("--runtime-library").arg(&odd);
    let facts = facts(info).unwrap();
    assert_eq!(facts["runtime_library"], odd.to_str().unwrap());
    let version = facts["runtime"].as_str().unwrap().strip_prefix("onnxruntime 1.").unwrap();
    assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{version}");
    let name = runtime().canonicalize().unwrap();
    assert!(name.to_str().unwrap().ends_with(&format!("so.1.{version}")), "{version}");
    // A path relative to the working directory is as good.
    let mut info = info_command(BGE.as_ref());
    info.current_dir(dir.path()).args(["--runtime-library", "./runtime.so.9.8.7"]);
    assert_eq!(self::facts(info).unwrap()["runtime"], facts["runtime"]);
}

/// A copy of the command with nothing beside it.
fn lonely_bge(dir: &TempDir) -> PathBuf {
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::copy(BGE, bin.join("bge")).unwrap();
    bin.join("bge")
}

#[test]
fn the_library_is_searched_beside_the_command_and_then_by_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let bge = lonely_bge(&dir);
    let info = || {
        let mut info = info_command(&bge);
        info.env_remove(VARIABLE).env_remove("LD_LIBRARY_PATH");
        info
    };
    match facts(info()) {
        // This machine has one installed.
        Ok(facts) => println!("left out: found {}", facts["runtime_library"]),
        Err(message) => {
            let words = ["was not found", VARIABLE, "Tried: libonnxruntime.so.1, which cannot be"];
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
    }
    let installed = dir.path().join("system");
    std::fs::create_dir(&installed).unwrap();
    symlink(runtime(), installed.join("libonnxruntime.so.1")).unwrap();
    let mut by_system = info();
    by_system.env("LD_LIBRARY_PATH", &installed);
    let found = facts(by_system).unwrap()["runtime_library"].clone();
    assert_eq!(found, installed.join("libonnxruntime.so.1").to_str().unwrap());

    // One beside the command that is too old is passed over for a newer one.
    let beside = imitation(&dir, "libonnxruntime.so.1.9", "\"1.9.0\"");
    std::fs::rename(beside, bge.with_file_name("libonnxruntime.so.1.9")).unwrap();
    let private = dir.path().join("lib/bge");
    std::fs::create_dir_all(&private).unwrap();
    symlink(runtime(), private.join("libonnxruntime.so.1.31")).unwrap();
    let found = facts(info()).unwrap()["runtime_library"].clone();
    assert!(found.as_str().unwrap().ends_with("lib/bge/libonnxruntime.so.1.31"), "{found}");

    let mut empty_variable = info();
    empty_variable.env(VARIABLE, "");
    assert!(facts(empty_variable).is_ok());
}

fn open_with(library: Option<&Path>) -> bge::Result<Model> {
    let options = OpenOptions {
        runtime_library: library.map(Path::to_path_buf),
        threads: 1,
        ..OpenOptions::default()
    };
    Model::open(tiny_dir("cls"), &options)
}

/// In a process that has loaded a library: the same library is accepted under any name, and others
/// are refused.
fn refuses_a_second_library() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link.so");
    symlink(runtime(), &link).unwrap();
    for same in [&runtime(), &link] {
        open_with(Some(same)).unwrap();
    }
    let copy = dir.path().join("copy.so");
    std::fs::copy(runtime(), &copy).unwrap();
    let e = open_with(Some(&copy)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::RuntimeUnavailable, "{e}");
    for word in ["already loaded from", "can load only one", copy.to_str().unwrap()] {
        assert!(e.to_string().contains(word), "{e}");
    }
    let e = open_with(Some(&dir.path().join("absent.so"))).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::RuntimeUnavailable, "{e}");
    assert!(e.to_string().contains("absent.so, which cannot be read"), "{e}");
}

#[test]
fn a_second_library_is_refused() {
    open_with(None).unwrap();
    refuses_a_second_library();
}

#[test]
fn a_second_library_is_refused_also_after_the_system_has_found_the_first() {
    let dir = tempfile::tempdir().unwrap();
    symlink(runtime(), dir.path().join("libonnxruntime.so.1")).unwrap();
    in_child("child_loads_by_the_system", |child| {
        child.env("LD_LIBRARY_PATH", dir.path());
    });
}

#[test]
fn a_library_that_fails_leaves_room_for_the_right_one() {
    in_child("child_fails_first", |_| ());
}

/// Runs one of the tests below in a process of its own.
fn in_child(test: &str, prepare: impl FnOnce(&mut Command)) {
    let mut child = child(module_path!(), test);
    child.env(CHILD, "1");
    prepare(&mut child);
    assert_passed(&child.output().unwrap());
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_loads_by_the_system() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let library = runtime();
    // SAFETY: no other thread of this process reads or changes the environment.
    unsafe { std::env::remove_var(VARIABLE) };
    open_with(None).unwrap();
    // SAFETY: as above, no other thread runs in this process.
    unsafe { std::env::set_var(VARIABLE, library) };
    refuses_a_second_library();
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_fails_first() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let old = imitation(&dir, "old.so", "\"1.10.0\"");
    for wrong in [old.as_path(), Path::new("/absent.so"), dir.path()] {
        let e = open_with(Some(wrong)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::RuntimeUnavailable, "{e}");
    }
    open_with(Some(&runtime())).unwrap();
    refuses_a_second_library();
}
