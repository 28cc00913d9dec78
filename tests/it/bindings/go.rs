//! `bindings/go`: formatted, vetted, and tested, against an installed tree.

use std::path::Path;
use std::process::Command;

use crate::packaging::artifact::{built, installable, make};
use crate::support::build::{demanded, empty_folder, has, root, run};
use crate::support::models::copy_tree;

/// The command `go`, set to find the installed library. `None` if Go is missing, which is reported.
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

/// By the lines that the page for Go shows, and by `go get` of a tag from a local repository.
#[test]
fn a_module_of_ones_own_gets_the_package() {
    if !installable() {
        return;
    }
    let folder = empty_folder("go-module");
    let prefix = folder.join("installed");
    make("install", &built("go-module-to-install"), &[format!("PREFIX={}", prefix.display())]);
    let (by_lines, by_tag) = (folder.join("by-lines"), folder.join("by-tag"));
    for module in [&by_lines, &by_tag] {
        std::fs::create_dir(module).unwrap();
        std::fs::copy(root().join("examples/first.go"), module.join("main.go")).unwrap();
    }
    let lines = std::fs::read_to_string(root().join("examples/dependency.mod")).unwrap();
    assert!(lines.contains(&format!("bindings/go v{}\n", env!("CARGO_PKG_VERSION"))), "{lines}");
    let checkout = root().to_str().unwrap();
    let lines = lines.replace("/path/to/libbge", checkout);
    assert!(lines.contains(checkout), "{lines}");
    std::fs::write(by_lines.join("go.mod"), format!("module mine\n\ngo 1.24\n\n{lines}")).unwrap();
    let runs = |module: &Path| {
        let mut go = go(&prefix)?;
        let said =
            run(go.args(["run", "."]).arg(root().join("tests/tiny/cls")).current_dir(module));
        assert!(said.starts_with("[3, 32]\n1.0000 "), "{said}");
        Some(())
    };
    if runs(&by_lines).is_none() || !has("git", "go get was not tried") {
        return;
    }
    let git = |arguments: &[&str]| {
        run(Command::new("git")
            .args(["-c", "user.name=test", "-c", "user.email=test@example.org"])
            .args(["-c", "init.defaultBranch=main", "-c", "advice.detachedHead=false"])
            .args(arguments)
            .current_dir(&folder))
    };
    let repository = folder.join("repository");
    copy_tree(&root().join("bindings/go"), &repository.join("bindings/go"));
    git(&["init", "--quiet", "repository"]);
    git(&["-C", "repository", "add", "."]);
    git(&["-C", "repository", "commit", "--quiet", "--message", "all"]);
    git(&["-C", "repository", "tag", &format!("bindings/go/v{}", env!("CARGO_PKG_VERSION"))]);
    std::fs::write(
        folder.join("gitconfig"),
        format!(
            "[url \"file://{}\"]\n\tinsteadOf = https://github.com/libbge/libbge\n",
            repository.display()
        ),
    )
    .unwrap();
    std::fs::write(by_tag.join("go.mod"), "module mine\n\ngo 1.24\n").unwrap();
    let shown = std::fs::read_to_string(root().join("bindings/go/README.md")).unwrap();
    let wanted = format!("github.com/libbge/libbge/bindings/go@v{}", env!("CARGO_PKG_VERSION"));
    assert!(shown.contains(&format!("`go get {wanted}`")));
    let output = go(&prefix)
        .unwrap()
        .args(["get", &wanted])
        .current_dir(&by_tag)
        .env("GIT_CONFIG_GLOBAL", folder.join("gitconfig"))
        .envs([("GOPROXY", "direct"), ("GONOSUMDB", "*"), ("GOFLAGS", "-modcacherw")])
        .env("GOMODCACHE", folder.join("modules"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let mut go = go(&prefix).unwrap();
    // The go command indexes the modules of a cache by their paths, and takes this one for the
    // module of an earlier run of this test.
    go.env("GOMODCACHE", folder.join("modules"))
        .env("GOFLAGS", "-modcacherw")
        .env("GODEBUG", "goindex=0");
    let said = run(go.args(["run", "."]).arg(root().join("tests/tiny/cls")).current_dir(&by_tag));
    assert!(said.starts_with("[3, 32]\n1.0000 "), "{said}");
}
