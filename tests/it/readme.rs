//! The README shows only what is a file and runs.

use std::path::{Path, PathBuf};
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
    let in_languages = [
        "first.c",
        "first.cpp",
        "dependency.toml",
        "first.go",
        "dependency.mod",
        "First.java",
        "dependency.xml",
    ];
    let files: Vec<String> = in_languages
        .iter()
        .chain(&["install.sh", "install-go.sh", "command.sh"])
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

/// A document that shows a whole program, a block after another.
#[test]
fn the_blocks_about_the_seeds_card_are_its_script() {
    let document = std::fs::read_to_string(root().join("docs/seed-card.md")).unwrap();
    let script = std::fs::read_to_string(root().join("examples/seed-card.sh")).unwrap();
    assert_eq!(blocks(&document).join("\n"), script);
}

fn script(name: &str, folder: &Path, variables: &[(&str, String)]) -> String {
    let mut sh = Command::new("sh");
    let script = std::fs::read_to_string(root().join("examples").join(name)).unwrap();
    sh.args(["-e", "-u", "-c", &script]).current_dir(folder);
    run(sh.envs(variables.iter().map(|(name, value)| (name, value))))
}

/// Runs a script of examples with `bge` and the default model, in a folder that it leaves its files in.
fn with_model(name: &str) -> Option<(String, PathBuf)> {
    let model = default_model()?;
    let folder = empty_folder(name);
    std::fs::create_dir_all(folder.join(".cache/models")).unwrap();
    let link = folder.join(".cache/models/multilingual-e5-small");
    std::os::unix::fs::symlink(model, link).unwrap();
    std::os::unix::fs::symlink(root().join("examples"), folder.join("examples")).unwrap();
    let command = Path::new(env!("CARGO_BIN_EXE_bge")).parent().unwrap();
    let path = format!("{}:{}", command.display(), std::env::var("PATH").unwrap());
    let runtime = root().join(std::env::var("BGE_ORT_LIBRARY").unwrap());
    let variables = [("PATH", path), ("BGE_ORT_LIBRARY", runtime.display().to_string())];
    Some((script(name, &folder, &variables), folder))
}

#[test]
fn the_command_does_what_the_readme_shows() {
    let Some((said, folder)) = with_model("command.sh") else { return };
    assert!(said.contains("fingerprint"), "{said}");
    let ranked: Vec<&str> = said.lines().rev().take(2).collect();
    assert!(ranked[1].ends_with("Seorang pria berselimut sedang tertidur di trotoar."), "{said}");
    assert!(ranked[0].ends_with("Manusia ditutupi spons beraneka warna."), "{said}");
    let vectors = std::fs::read_to_string(folder.join("vectors.jsonl")).unwrap();
    assert_eq!(vectors.lines().count(), 2);
}

#[test]
fn the_seeds_card_holds_as_its_document_shows() {
    let Some((said, folder)) = with_model("seed-card.sh") else { return };
    // Five widgets of three sentences, each best first.
    let scores: Vec<f32> =
        said.lines().filter_map(|line| line.split_once("  ")?.0.parse().ok()).collect();
    assert_eq!(scores.len(), 15, "{said}");
    assert!(scores.chunks(3).all(|of_widget| of_widget.is_sorted_by(|a, b| a >= b)), "{said}");
    let vectors = std::fs::read_to_string(folder.join("vectors.jsonl")).unwrap();
    assert_eq!(vectors.lines().count(), 3);
    assert!(folder.join("scores.svg").exists());
    // The document shows what the two evaluations print.
    let shown = std::fs::read_to_string(root().join("docs/seed-card.md")).unwrap();
    for name in ["cosine", "dot", "manhattan", "euclidean", "max"] {
        let name = format!("{name}_accuracy");
        let values: Vec<&str> =
            said.lines().filter_map(|line| Some(line.strip_prefix(&name)?.trim())).collect();
        let [now, then] = values[..] else { panic!("{said}") };
        let row = shown.lines().find(|line| line.contains(&format!("`{name}` |"))).unwrap();
        assert!(row.ends_with(&format!("| {then} | {now} |")), "{row} does not show {then}, {now}");
    }
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
    let shown = std::fs::read_to_string(root().join("README.md")).unwrap();
    let says_what_is_shown = |name: &str| {
        let said = script(name, root(), &variables);
        // The README shows the output of this very program.
        let output: Vec<&str> = said.lines().collect();
        assert!(output.len() >= 4, "{name}: {said}");
        for line in &output[output.len() - 4..] {
            assert!(
                shown.contains(&format!("    {line}\n")),
                "{name}: README does not show {line}"
            );
        }
    };
    says_what_is_shown("install.sh");
    if crate::golang::go(&prefix).is_some() {
        says_what_is_shown("install-go.sh");
    }
}
