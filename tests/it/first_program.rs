//! The programs in `examples`: the first one says the same in every language, and the others do what
//! they are for.

use std::path::Path;
use std::process::Command;

use crate::artefact::{built, installable, make};
use crate::built::{cc, compiler, empty_folder, has, root, run};
use crate::golden::default_model;

fn says(program: &mut Command) -> String {
    run(program.arg(root().join("tests/tiny/cls")))
}

fn in_c_or_cpp(mut compiler: Command, standard: &str, source: &str, prefix: &Path) -> Command {
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
    // `cargo test` has built it unless it was told which tests to build.
    run(Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked", "--example", "first"])
        .current_dir(root()));
    let in_rust = std::env::current_exe().unwrap().with_file_name("../examples/first");
    assert_eq!(says(&mut Command::new(in_rust)), in_c);
    if has("c++", "examples/first.cpp was not tried") {
        let compiler = compiler("CXX", "c++");
        assert_eq!(says(&mut in_c_or_cpp(compiler, "-std=c++17", "first.cpp", &prefix)), in_c);
    }
    if let Some(mut go) = crate::golang::go(&prefix) {
        assert_eq!(says(go.arg("run").arg(root().join("examples/first.go"))), in_c);
    }
    if let Some(mut java) = crate::java::java() {
        assert_eq!(says(java.arg(root().join("examples/First.java"))), in_c);
    }
}

#[test]
fn search_finds_the_passage_that_answers() {
    let Some(model) = default_model() else { return };
    if !installable() || !has("c++", "examples/search.cpp was not tried") {
        return;
    }
    let prefix = empty_folder("search");
    make("install", &built("search-to-install"), &[format!("PREFIX={}", prefix.display())]);
    let compiler = compiler("CXX", "c++");
    let said = run(in_c_or_cpp(compiler, "-std=c++17", "search.cpp", &prefix).arg(model));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 9, "{said}");
    for (query, answer) in [(0, "Nasi goreng"), (3, "Harimau sumatera"), (6, "Kereta berangkat")] {
        assert!(lines[query + 1].contains(answer), "{said}");
    }
}
