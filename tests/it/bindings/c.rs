//! The programs in `tests/c`: compiled against the built library, run, and run under valgrind.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::build::{cc, empty_folder, has, linkable, root, run};

const WARNINGS: [&str; 5] = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// Compiles a program, whose source has that path, into a folder that gets the library too.
pub fn compile(source: &str, folder: &Path) -> PathBuf {
    linkable(folder);
    let source = root().join(source);
    let program = folder.join(source.file_stem().unwrap());
    let header = root().join("include");
    run(cc()
        .args(WARNINGS)
        .args(["-g", "-O1", "-I"])
        .arg(header)
        .arg(source)
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(folder)
        .args(["-lbge", "-lm", "-lpthread", "-ldl"]));
    program
}

/// A program finds the library in `folder`, and ONNX Runtime by the variable that cargo sets.
fn start(command: &mut Command, folder: &Path, arguments: &[&str]) {
    command.env("LD_LIBRARY_PATH", folder).arg(root().join("tests/tiny")).args(arguments);
    // Not even the error stream is written to: `run` sees to that.
    let said = run(command);
    let passed = said.strip_suffix(" passed\n").and_then(|count| count.parse::<u64>().ok());
    assert!(passed.is_some_and(|passed| passed > 0), "{command:?} said {said:?}");
}

/// Runs its arguments, and ends a program that hangs.
fn limited() -> Command {
    let mut command = Command::new("timeout");
    command.arg("600");
    command
}

fn passes(name: &str, valgrind_arguments: &[&str]) {
    let folder = empty_folder(&format!("c-{name}"));
    let program = compile(&format!("tests/c/{name}.c"), &folder);
    start(limited().arg(&program), &folder, &[]);
    if has("valgrind", "the C tests were not run under it") {
        let mut valgrind = limited();
        valgrind
            // Threads take turns, so one that spins must not keep the others from running.
            .args(["valgrind", "--fair-sched=yes"])
            .args(["--quiet", "--error-exitcode=99", "--leak-check=full"])
            .args(["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"])
            .arg(format!("--suppressions={}", root().join("tests/c/valgrind.supp").display()))
            .arg(&program);
        start(&mut valgrind, &folder, valgrind_arguments);
    }
}

macro_rules! programs {
    ($($test:ident: $name:literal $(, $argument:literal)*;)+) => {
        $(#[test] fn $test() { passes($name, &[$($argument),*]); })+

        #[test]
        fn no_c_test_is_left_out() {
            for entry in std::fs::read_dir(root().join("tests/c")).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap();
                if path.extension().unwrap() == "c" {
                    assert!([$($name),+].contains(&name), "tests/c/{name}.c is not run");
                }
            }
        }
    };
}

programs! {
    c_sees_the_layout_of_the_first_release: "layout";
    opening_and_describing_keep_the_contract: "open";
    encoding_keeps_the_contract: "contract";
    other_outputs_keep_the_contract: "outputs";
    allocated_results_keep_the_contract: "encode_alloc";
    faults_of_single_texts_keep_the_contract: "statuses";
    random_calls_are_survived: "fuzz", "400";
    similarity_keeps_the_contract: "similarity";
    exact_search_keeps_the_contract: "top_k";
    other_scores_keep_the_contract: "scores";
    quantizing_keeps_the_contract: "quantize";
    // Far fewer texts in its large calls: valgrind takes about fifty times as long.
    threads_keep_the_contract: "threads", "60";
    the_library_may_be_unloaded: "unload";
    nothing_of_the_calling_thread_reaches_in: "host", "valgrind";
    memory_that_runs_out_is_an_error: "shortage", "5";
}
