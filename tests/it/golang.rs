//! `bindings/go`: formatted, vetted, and tested, against an installed tree.

use std::path::Path;
use std::process::Command;

use crate::artefact::{built, installable, make};
use crate::built::{demanded, empty_folder, root, run};

/// The tool, set to find what is installed there; or none, said loudly.
pub fn go(prefix: &Path) -> Option<Command> {
    if Command::new("go").arg("version").output().is_err() {
        println!("GO IS NOT INSTALLED: bindings/go was not tested");
        assert!(!demanded(), "bindings/go has to be tested here: install Go 1.24 or later");
        return None;
    }
    let mut go = Command::new("go");
    go.current_dir(root().join("bindings/go"))
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .env("LD_LIBRARY_PATH", prefix.join("lib"))
        .env_remove("BGE_ORT_LIBRARY");
    Some(go)
}

#[test]
fn the_binding_passes_its_tests() {
    if !installable() {
        return;
    }
    let prefix = empty_folder("go");
    make("install", &built("go-to-install"), &[format!("PREFIX={}", prefix.display())]);
    let run_go = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut go = go(&prefix)?;
        Some(run(go.args(arguments).envs(variables.iter().copied())))
    };
    if run_go(&["vet", "./..."], &[]).is_none() {
        return;
    }
    let mut gofmt = Command::new("gofmt");
    let unformatted = run(gofmt.args(["-l", "bindings/go", "examples"]).current_dir(root()));
    assert_eq!(unformatted, "", "gofmt would change these");
    // Every pointer that goes to C is checked, and then every access of goroutines to memory.
    for (arguments, checks) in [
        (&["test", "-count=1", "./..."][..], ("GOEXPERIMENT", "cgocheck2")),
        (&["test", "-count=1", "-race", "-short", "./..."][..], ("GOEXPERIMENT", "")),
    ] {
        let said = run_go(arguments, &[checks]).unwrap();
        assert!(said.contains("ok  \tgithub.com/libbge/libbge/bindings/go"), "{said}");
    }
}
