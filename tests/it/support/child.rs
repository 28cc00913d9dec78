//! A test in a process of its own.

use std::process::{Command, Output};

/// Runs one ignored test of a module in another process. `module` is `module_path!()` there, so
/// that no move of a file leaves the name behind.
pub fn child(module: &str, test: &str) -> Command {
    let (_crate, module) = module.split_once("::").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", &format!("{module}::{test}"), "--ignored", "--nocapture"]);
    child
}

/// Asserts that the test has run and passed: a filter that matches no test succeeds, too.
pub fn assert_passed(output: &Output) {
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}{errors}");
}
