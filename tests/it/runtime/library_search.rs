//! Places that ONNX Runtime is never loaded from: the working directory, and paths that the caller
//! of a privileged program chooses.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::build::{cc, library, root, run};
use crate::support::models::{BGE, copy_tree, tiny_dir};

const VARIABLE: &str = "BGE_ORT_LIBRARY";
/// The output of a library that must not be loaded.
const DECOY: &str = "the decoy was loaded";
/// A user without any rights.
const NOBODY: u32 = 65534;

fn runtime() -> PathBuf {
    PathBuf::from(std::env::var_os(VARIABLE).expect("run the tests with cargo"))
}

/// A folder laid out as `make install` does, which every user may read.
pub fn installed() -> TempDir {
    let prefix = tempfile::tempdir().unwrap();
    std::fs::set_permissions(prefix.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for folder in ["bin", "lib/bge", "empty"] {
        std::fs::create_dir_all(prefix.path().join(folder)).unwrap();
    }
    std::fs::copy(BGE, prefix.path().join("bin/bge")).unwrap();
    std::fs::copy(library(), prefix.path().join("lib/libbge.so.0")).unwrap();
    std::fs::copy(runtime(), prefix.path().join("lib/bge/libonnxruntime.so.1.31.1")).unwrap();
    copy_tree(&tiny_dir("cls"), &prefix.path().join("model"));
    prefix
}

/// A library that prints a line when it is loaded.
fn decoy(file: &Path) {
    let source = file.with_extension("c");
    let text = format!(
        "#include <unistd.h>\n__attribute__((constructor)) static void f(void) {{ \
         (void)!write(2, \"{DECOY}\", {}); }}",
        DECOY.len()
    );
    std::fs::write(&source, text).unwrap();
    run(cc().args(["-shared", "-fPIC", "-o"]).arg(file).arg(&source));
}

/// Decoys wherever a relative path could lead from a folder.
fn decoys_in(folder: &Path) {
    let made = folder.join("decoy.so");
    decoy(&made);
    for place in ["", "bge", "lib", "lib/bge", "bin"] {
        let place = folder.join(place);
        std::fs::create_dir_all(&place).unwrap();
        for name in ["libonnxruntime.so", "libonnxruntime.so.1", "libonnxruntime.so.1.99.0"] {
            std::fs::copy(&made, place.join(name)).unwrap();
        }
    }
    std::fs::copy(library(), folder.join("lib/libbge.so.0")).unwrap();
}

#[track_caller]
fn describes(output: &Output, library: &Path) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "");
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = Path::new(facts["runtime_library"].as_str().unwrap()).canonicalize().unwrap();
    assert_eq!(found, library.canonicalize().unwrap());
}

fn info(prefix: &Path, folder: &Path) -> Command {
    let mut command = Command::new("bge");
    command.args(["info", "--json"]).arg(prefix.join("model"));
    command.env("PATH", prefix.join("bin")).env_remove(VARIABLE).env_remove("LD_LIBRARY_PATH");
    command.current_dir(folder);
    command
}

#[test]
fn started_by_its_name_the_command_finds_its_own_library_whatever_the_working_directory_holds() {
    let prefix = installed();
    let own = prefix.path().join("lib/bge/libonnxruntime.so.1.31.1");
    let full = prefix.path().join("full");
    std::fs::create_dir(&full).unwrap();
    decoys_in(&full);
    // The name of the program, as a file and as a folder that a checkout makes.
    let with_file = prefix.path().join("file");
    copy_tree(&full, &with_file);
    std::fs::remove_dir_all(with_file.join("bge")).unwrap();
    std::fs::write(with_file.join("bge"), "").unwrap();
    for folder in [Path::new("/"), &prefix.path().join("empty"), &full, &with_file] {
        describes(&info(prefix.path(), folder).output().unwrap(), &own);
        // A caller may give a program any name at all.
        for name in ["./bge", "bin/bge", "/", "", "full/bge"] {
            describes(&info(prefix.path(), folder).arg0(name).output().unwrap(), &own);
        }
    }
}

/// Opens a model, in a folder that it changes to first.
const PROGRAM: &str = r#"
    #include <bge.h>
    #include <stdio.h>
    #include <unistd.h>
    int main(int argc, char **argv) {
        bge_model *model = NULL;
        bge_error error;
        if (argc < 3 || chdir(argv[2])) return 9;
        if (bge_open(argv[1], NULL, &model, &error)) { printf("%s\n", error.message); return 3; }
        bge_close(model);
        puts("opened");
        return 0;
    }
"#;

fn program(prefix: &Path, arguments: &[&str]) -> PathBuf {
    let (source, program) = (prefix.join("program.c"), prefix.join("bin/program"));
    std::fs::write(&source, PROGRAM).unwrap();
    let mut compiler = cc();
    compiler.arg(&source).arg("-o").arg(&program).arg("-I").arg(root().join("include"));
    compiler.arg(prefix.join("lib/libbge.so.0")).args(arguments);
    run(&mut compiler);
    program
}

#[test]
fn a_library_that_was_loaded_by_a_relative_path_looks_beside_itself_all_the_same() {
    let prefix = installed();
    let program = program(prefix.path(), &[]);
    let full = prefix.path().join("full");
    std::fs::create_dir(&full).unwrap();
    decoys_in(&full);
    for folder in [Path::new("/"), &full] {
        let mut command = Command::new(&program);
        command.arg(prefix.path().join("model")).arg(folder).current_dir(prefix.path());
        command.env("LD_LIBRARY_PATH", "lib").env_remove(VARIABLE);
        assert_eq!(run(&mut command), "opened\n");
    }
}

#[test]
fn a_privileged_program_does_not_load_what_its_caller_names() {
    // SAFETY: it takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        println!("left out: only root can make a program that others run with more rights");
        return;
    }
    let prefix = installed();
    let rpath = format!("-Wl,-rpath,{}", prefix.path().join("lib").display());
    let program = program(prefix.path(), &[&rpath]);
    let evil = prefix.path().join("evil.so");
    decoy(&evil);
    let command = || {
        let mut command = Command::new(&program);
        command.arg(prefix.path().join("model")).arg("/").env(VARIABLE, &evil).uid(NOBODY);
        command.output().unwrap()
    };
    // Run with its caller's own privileges, it loads what the caller names.
    assert!(String::from_utf8_lossy(&command().stderr).contains(DECOY));
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
    let output = command();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains(DECOY), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "opened\n", "{said}");
    // Nor a library beside the program, which the caller may have linked into a folder of their
    // own.
    let bge = prefix.path().join("bin/bge");
    decoy(&bge.with_file_name("libonnxruntime.so.1"));
    std::fs::set_permissions(&bge, PermissionsExt::from_mode(0o4755)).unwrap();
    let output = info(prefix.path(), Path::new("/")).uid(NOBODY).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains(DECOY), "{said}");
}
