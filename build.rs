//! The revision that the version text tells.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let version = env("CARGO_PKG_VERSION");
    let version = match revision() {
        Some(revision) => format!("{version} ({revision})"),
        None => version,
    };
    println!("cargo:rustc-env=BGE_VERSION_TEXT={version}");
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// `None` where the sources are not a checkout of their own.
fn revision() -> Option<String> {
    // A path that is not there, as in a worktree, would have cargo build all of it every time.
    for path in [".git/HEAD", ".git/refs/heads"] {
        if std::path::Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
    };
    let root = git(&["rev-parse", "--show-toplevel"])?;
    if std::path::Path::new(&root) != std::path::Path::new(&env("CARGO_MANIFEST_DIR")) {
        return None;
    }
    git(&["rev-parse", "--short", "HEAD"])
}
