//! The documents show only code that is a file and runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::encode::golden::default_model;
use crate::support::build::{empty_folder, has, root, run};

/// The files that documents show whole or in part, by the test that runs them.
const SHOWN: &[(&str, &[&str])] = &[
    (
        "examples/first_program.rs",
        &["first.c", "first.cpp", "first.go", "First.java", "first.rs", "dependency.toml"],
    ),
    ("bindings/go.rs", &["dependency.mod", "../bindings/go/example_test.go"]),
    ("bindings/cpp.rs", &["CMakeLists.txt"]),
    ("bindings/java.rs", &["dependency.xml"]),
    ("examples/uses.rs", &["search.cpp", "paraphrases.go", "Classification.java", "clusters.cpp"]),
    ("docs/documents.rs", &["guide.cpp", "Guide.java"]),
    (
        "docs/code_blocks.rs",
        &["install.sh", "install-cpp.sh", "install-go.sh", "command.sh", "seed-card.sh"],
    ),
];

/// Lines of shells that no test runs, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("git clone https://github.com/libbge/libbge", "needs a network"),
    ("cd libbge", "follows the clone"),
    ("hf download BAAI/bge-m3 --exclude \"onnx/*\" --local-dir bge-m3", "downloads 2.3 GB"),
    (
        "hf download intfloat/multilingual-e5-small --exclude \"onnx/*\" --local-dir \
         multilingual-e5-small",
        "needs a network",
    ),
    ("cargo check --tests --workspace", "is done by building these tests"),
    ("cargo test --release --lib", "runs other tests"),
    ("cargo test --release --locked --test it -- rules header docs", "runs these tests"),
    ("UPDATE_HEADER=1 cargo test --release --test it header", "writes what header.rs compares"),
    ("UPDATE_SETTINGS=1 cargo test --release --lib settings", "writes what a test compares"),
];

/// The code blocks of a Markdown text, without their fences and without drawings.
fn blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if block.is_none() && line == "```text" {
            lines.by_ref().find(|line| *line == "```");
            continue;
        }
        match (&mut block, line.starts_with("```")) {
            (None, true) => block = Some(String::new()),
            (Some(_), true) => blocks.extend(block.take()),
            (Some(block), false) => *block += &format!("{line}\n"),
            (None, false) => {}
        }
    }
    blocks
}

/// Whether a block is some lines of a file, one after another, perhaps less indented.
fn is_part(block: &str, file: &str) -> bool {
    let (block, file): (Vec<&str>, Vec<&str>) = (block.lines().collect(), file.lines().collect());
    file.windows(block.len()).any(|lines| {
        let indent = lines[0].len() - lines[0].trim_start().len();
        let shown = lines.iter().map(|line| line.get(indent..).unwrap_or(line.trim_start()));
        shown.eq(block.iter().copied())
    })
}

#[test]
fn every_code_block_is_a_file_or_a_part_of_one() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let examples = root().join("examples");
    let read = |name: &&str| std::fs::read_to_string(examples.join(name)).unwrap();
    let files: Vec<String> = SHOWN.iter().flat_map(|(_, names)| *names).map(read).collect();
    let is_target = |line: &str| {
        line.strip_prefix("make ").is_some_and(|name| makefile.contains(&format!("\n{name}:")))
    };
    let mut not_run: Vec<String> = Vec::new();
    let mut count = 0;
    for (name, document) in crate::docs::documents::documents() {
        for block in blocks(&document) {
            count += 1;
            let listed = |line: &str| NOT_RUN.iter().any(|(not_run, _)| *not_run == line);
            let is_listed = block.lines().all(|line| is_target(line) || listed(line));
            assert!(
                files.iter().any(|file| is_part(&block, file)) || is_listed,
                "{name:?} shows what is neither lines of a file that a test runs nor targets of \
                 make nor lines of NOT_RUN:\n{block}"
            );
            not_run.extend(block.lines().map(String::from));
        }
    }
    assert!(count > 40, "only {count} code blocks were found");
    for (line, _) in NOT_RUN {
        assert!(not_run.iter().any(|shown| shown == line), "no document shows {line:?}");
    }
}

/// A program that nothing runs may not be shown.
#[test]
fn every_file_that_is_shown_is_named_by_its_test() {
    for (test, names) in SHOWN {
        let test = std::fs::read_to_string(root().join("tests/it").join(test)).unwrap();
        // `go test` runs examples, and maven_line is for the jar itself.
        let names = names.iter().filter(|name| !name.contains('/') && !name.ends_with(".xml"));
        for name in names {
            assert!(test.contains(name), "no test names {name}");
        }
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

/// Runs a script of examples with `bge` and the default model, in a folder that it leaves its files
/// in.
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
    // The document shows the output of the two evaluations.
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
    let built = crate::packaging::artifact::built("readme-to-install");
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
    if has("c++", "the installed bge.hpp was not tried") {
        says_what_is_shown("install-cpp.sh");
    }
    if crate::bindings::go::go(&prefix).is_some() {
        says_what_is_shown("install-go.sh");
    }
}
