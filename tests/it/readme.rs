//! The README shows only what is a file and runs.

use std::path::Path;
use std::process::Command;

use crate::built::{empty_folder, has, root, run};
use crate::golden::default_model;

/// The code blocks of a Markdown text, without their fences.
fn blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in markdown.lines() {
        match (&mut block, line.starts_with("```")) {
            (None, true) => block = Some(String::new()),
            (Some(_), true) => blocks.extend(block.take()),
            (Some(block), false) => *block += &format!("{line}\n"),
            (None, false) => {}
        }
    }
    blocks
}

#[test]
fn every_code_block_is_a_file() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let files: Vec<String> = ["first.c", "first.cpp", "first.go", "install.sh", "command.sh"]
        .iter()
        .map(|name| std::fs::read_to_string(root().join("examples").join(name)).unwrap())
        .collect();
    let blocks = blocks(&readme);
    assert_eq!(blocks.len(), 1 + files.len());
    for block in &blocks {
        let is_target = |line: &str| {
            line.strip_prefix("make ").is_some_and(|name| makefile.contains(&format!("\n{name}:")))
        };
        assert!(
            files.contains(block) || block.lines().all(is_target),
            "this is neither a file in examples nor a list of make's targets:\n{block}"
        );
    }
}

fn script(name: &str, folder: &Path, variables: &[(&str, String)]) -> String {
    let mut sh = Command::new("sh");
    let script = std::fs::read_to_string(root().join("examples").join(name)).unwrap();
    sh.args(["-e", "-u", "-c", &script]).current_dir(folder);
    run(sh.envs(variables.iter().map(|(name, value)| (name, value))))
}

#[test]
fn the_command_does_what_the_readme_shows() {
    let Some(model) = default_model() else { return };
    let folder = empty_folder("readme-command");
    std::fs::create_dir_all(folder.join(".cache/models")).unwrap();
    let link = folder.join(".cache/models/multilingual-e5-small");
    std::os::unix::fs::symlink(model, link).unwrap();
    let command = Path::new(env!("CARGO_BIN_EXE_bge")).parent().unwrap();
    let path = format!("{}:{}", command.display(), std::env::var("PATH").unwrap());
    let runtime = root().join(std::env::var("BGE_ORT_LIBRARY").unwrap());
    let variables = [("PATH", path), ("BGE_ORT_LIBRARY", runtime.display().to_string())];
    let said = script("command.sh", &folder, &variables);
    assert!(said.contains("fingerprint"), "{said}");
    let ranked: Vec<&str> = said.lines().rev().take(2).collect();
    assert!(ranked[1].ends_with("Seorang pria berselimut sedang tertidur di trotoar."), "{said}");
    assert!(ranked[0].ends_with("Manusia ditutupi spons beraneka warna."), "{said}");
    let vectors = std::fs::read_to_string(folder.join("vectors.jsonl")).unwrap();
    assert_eq!(vectors.lines().count(), 2);
}

#[test]
fn installing_goes_as_the_readme_shows() {
    let installs = default_model().is_some()
        && has("pkg-config", "the README's install was not tried")
        && has("make", "the README's install was not tried");
    if !installs {
        return;
    }
    let prefix = empty_folder("readme-installed");
    let built = crate::artefact::built("readme-to-install");
    let variables = [
        ("PREFIX", prefix.display().to_string()),
        ("MAKEFLAGS", format!("--silent CARGO=true BUILT={}", built.display())),
    ];
    let said = script("install.sh", root(), &variables);
    let shown = std::fs::read_to_string(root().join("README.md")).unwrap();
    // The README shows the output of this very program.
    let output: Vec<&str> = said.lines().collect();
    assert!(output.len() >= 4, "{said}");
    for line in &output[output.len() - 4..] {
        assert!(shown.contains(&format!("    {line}\n")), "the README does not show {line}");
    }
}
