//! The first program in `examples` prints the same in every language.

use std::path::Path;
use std::process::Command;

use crate::packaging::artifact::{built, installable, make};
use crate::support::build::{cc, compiler, demanded, empty_folder, has, root, run};

fn says(program: &mut Command) -> String {
    run(program.arg(root().join("tests/tiny/cls")))
}

/// Compiles a program of `examples` against the library installed at `prefix`.
pub fn in_c_or_cpp(mut compiler: Command, standard: &str, source: &str, prefix: &Path) -> Command {
    let program = prefix.join(source);
    run(compiler
        .args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(prefix.join("include"))
        .arg(root().join("examples").join(source))
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(prefix.join("lib"))
        .arg("-lbge"));
    let mut program = Command::new(&program);
    program.env("LD_LIBRARY_PATH", prefix.join("lib")).env_remove("BGE_ORT_LIBRARY");
    program
}

#[test]
fn it_says_the_same_in_every_language() {
    if !installable() {
        return;
    }
    let prefix = empty_folder("first-program");
    make("install", &built("first-to-install"), &[format!("PREFIX={}", prefix.display())]);
    let in_c = says(&mut in_c_or_cpp(cc(), "-std=c99", "first.c", &prefix));
    assert!(in_c.starts_with("[3, 32]\n1.0000 "), "{in_c}");
    // `cargo test` has built it, unless it was told which tests to build.
    run(Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked", "--example", "first"])
        .current_dir(root()));
    let in_rust = std::env::current_exe().unwrap().with_file_name("../examples/first");
    assert_eq!(says(&mut Command::new(in_rust)), in_c);
    if has("c++", "examples/first.cpp was not tried") {
        let compiler = compiler("CXX", "c++");
        assert_eq!(says(&mut in_c_or_cpp(compiler, "-std=c++17", "first.cpp", &prefix)), in_c);
    }
    if let Some(mut go) = crate::bindings::go::go(&prefix) {
        assert_eq!(says(go.arg("run").arg(root().join("examples/first.go"))), in_c);
    }
    if let Some(mut java) = crate::bindings::java::java() {
        assert_eq!(says(java.arg(root().join("examples/First.java"))), in_c);
    }
}

/// As a package of its own, with the lines that docs/rust.md shows.
#[test]
fn a_package_in_rust_depends_on_the_crate() {
    if !demanded() {
        println!("a package in Rust was not built, which takes minutes: set BGE_TEST_ALL");
        return;
    }
    let folder = empty_folder("rust-package");
    std::fs::create_dir(folder.join("src")).unwrap();
    for (from, to) in [("examples/first.rs", "src/main.rs"), ("Cargo.lock", "Cargo.lock")] {
        std::fs::copy(root().join(from), folder.join(to)).unwrap();
    }
    let lines = std::fs::read_to_string(root().join("examples/dependency.toml")).unwrap();
    let published = "git = \"https://github.com/libbge/libbge\"";
    assert!(lines.contains(published), "{lines}");
    let lines = lines.replace(published, &format!("path = {:?}", root()));
    // A workspace of its own, since the folder lies in another; and the same profile, so that
    // dependencies are not built again.
    let manifest = format!(
        "[package]\nname = \"package\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n{lines}\n\
         [workspace]\n[profile.release]\ncodegen-units = 1\n\
         [profile.release.package.libbge]\nopt-level = 0\ncodegen-units = 16\n"
    );
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    let target = std::env::current_exe().unwrap().with_file_name("../..");
    let said = run(Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--offline", "--message-format=json"])
        .env("CARGO_TARGET_DIR", target.canonicalize().unwrap())
        .current_dir(&folder));
    let libraries: Vec<&str> =
        said.lines().filter(|line| line.contains("cdylib") && line.contains("libbge")).collect();
    assert_eq!(libraries, [""; 0], "a shared library was linked");
    assert!(
        says(&mut Command::new(target.join("release/package"))).starts_with("[3, 32]\n1.0000 ")
    );
}
