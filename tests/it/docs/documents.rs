//! The documents: their links lead somewhere, their tables are complete, and the guide's code runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

use crate::support::build::{compiler, empty_folder, has, linkable, root, run};
use crate::support::models::tiny_dir;

/// Every Markdown file, by its path from the root.
pub fn documents() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let in_root = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = in_root.filter(|path| path.is_file()).collect();
    paths.extend(["docs", "bindings", "examples", "tests"].iter().flat_map(|name| files(name)));
    for path in paths {
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.strip_prefix(root()).unwrap().to_path_buf();
            found.insert(name, std::fs::read_to_string(path).unwrap());
        }
    }
    assert!(found.len() > 50, "only {} documents were found", found.len());
    found
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                // Where Maven builds.
                true if path.ends_with("target") => {}
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found
}

/// The sources of a folder with one of these extensions, one after another.
fn sources(folder: &str, extensions: &[&str]) -> String {
    let is_source = |path: &PathBuf| {
        path.extension().is_some_and(|is| extensions.iter().any(|extension| is == *extension))
    };
    let texts = files(folder).into_iter().filter(is_source);
    texts.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// The first group of each match.
fn all(pattern: &str, text: &str) -> BTreeSet<String> {
    regex(pattern).captures_iter(text).map(|found| found[1].to_string()).collect()
}

/// A document without code blocks and code spans, where links are no links.
fn prose(markdown: &str) -> String {
    let without_blocks = regex(r"(?ms)^```.*?^```").replace_all(markdown, "");
    regex("`[^`\n]*`").replace_all(&without_blocks, "").into_owned()
}

/// The anchors that GitHub gives the headings of a document.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let without_blocks = regex(r"(?ms)^```.*?^```").replace_all(markdown, "").into_owned();
    let mut seen = BTreeMap::new();
    let mut anchor = |heading: &str| {
        let kept = |c: char| c.is_alphanumeric() || c == ' ' || c == '-' || c == '_';
        let name: String = heading.to_lowercase().chars().filter(|&c| kept(c)).collect();
        let name = name.replace(' ', "-");
        let count = seen.entry(name.clone()).and_modify(|count| *count += 1).or_insert(0);
        if *count == 0 { name } else { format!("{name}-{count}") }
    };
    regex(r"(?m)^#{1,6} (.+)$").captures_iter(&without_blocks).map(|h| anchor(&h[1])).collect()
}

#[test]
fn every_link_between_documents_leads_to_a_file_or_a_heading() {
    let documents = documents();
    let link = regex(r"\]\(([^)\s]+)\)");
    let mut links = 0;
    for (name, text) in &documents {
        // A link may have a code span for its words.
        let text = regex(r"(?ms)^```.*?^```").replace_all(text, "");
        for found in link.captures_iter(&text) {
            let target = &found[1];
            if target.starts_with("http") {
                assert!(target.starts_with("https://"), "{name:?}: {target} is not by https");
                continue;
            }
            links += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = root().join(name.parent().unwrap());
            let path = if path.is_empty() { root().join(name) } else { folder.join(path) };
            let path = path.canonicalize().unwrap_or_else(|e| panic!("{name:?}: {target}: {e}"));
            let inside = path.strip_prefix(root().canonicalize().unwrap());
            let inside = inside.unwrap_or_else(|_| panic!("{name:?}: {target} leads out"));
            if !anchor.is_empty() {
                let there = documents.get(inside).map(|text| anchors(text)).unwrap_or_default();
                assert!(there.contains(anchor), "{name:?}: {target}: no such heading: {there:?}");
            }
        }
        assert!(!prose(&text).contains("]: "), "{name:?}: links by reference are not checked");
    }
    assert!(links > 200, "only {links} links were found");
}

/// Sources and scripts name documents too.
#[test]
fn every_document_that_a_source_names_exists() {
    let named = regex(r"\bdocs/[\w/-]+\.md\b");
    let mut text = document("Makefile") + &document("CMakeLists.txt") + &document("include/bge.h");
    for folder in ["src", "bindings", "benches", "tests"] {
        text += &sources(folder, &["rs", "py", "hpp", "go", "java", "c"]);
    }
    for found in named.find_iter(&text) {
        // A path of another project.
        if found.as_str() != "docs/operators.md" {
            assert!(root().join(found.as_str()).exists(), "{} does not exist", found.as_str());
        }
    }
}

/// Not in the records of benchmarks, which are of a day.
#[test]
fn every_source_that_a_document_names_exists() {
    let named = regex(r"`((?:src|bindings|benches|tests|examples)/[\w./-]*)`");
    let mut count = 0;
    for (name, text) in documents() {
        if name.starts_with("docs/benchmarks") || name == Path::new("CHANGELOG.md") {
            continue;
        }
        for found in named.captures_iter(&text) {
            count += 1;
            assert!(root().join(&found[1]).exists(), "{name:?}: {} does not exist", &found[1]);
        }
    }
    assert!(count > 100, "only {count} paths were found");
}

#[test]
fn pages_that_are_read_first_are_short() {
    for (name, lines) in
        [("README.md", 150), ("docs/benchmarks.md", 150), ("docs/architecture.md", 200)]
    {
        let count = document(name).lines().count();
        assert!(count <= lines, "{name} has {count} lines, and may have {lines}");
    }
    for line in document("README.md").lines() {
        assert!(
            line.chars().count() <= 120,
            "README.md has a line of more than 120 columns: {line}"
        );
    }
}

/// The rows of the tables below a heading of the second level, as cells by the head of the column.
fn rows(markdown: &str, heading: &str) -> Vec<BTreeMap<String, String>> {
    let section = markdown.split("\n## ").find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("no section {heading:?}"));
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect()
    };
    let mut head = Vec::new();
    let mut rows = Vec::new();
    for line in section.lines() {
        match line.strip_prefix('|') {
            None => head.clear(),
            Some(_) if head.is_empty() => head = cells(line),
            Some(line) if line.starts_with("--") => {}
            Some(_) => {
                let cells = cells(line);
                assert_eq!(cells.len(), head.len(), "{heading}: {line}");
                rows.push(head.iter().cloned().zip(cells).collect());
            }
        }
    }
    rows
}

/// The words between backticks in a column.
fn names(rows: &[BTreeMap<String, String>], column: &str) -> BTreeSet<String> {
    let cells = rows.iter().filter_map(|row| row.get(column));
    cells.flat_map(|cell| all("`([^`]+)`", cell)).collect()
}

struct Options {
    section: &'static str,
    c: &'static str,
    go: &'static str,
    java: &'static str,
    rust: &'static str,
}

/// The types of options, empty for a language that has none.
const OPTIONS: [Options; 5] = [
    Options {
        section: "Opening a model",
        c: "bge_open_options",
        go: "OpenOptions",
        java: "OpenOptions",
        rust: "OpenOptions",
    },
    Options {
        section: "Encoding",
        c: "bge_encode_options",
        go: "EncodeOptions",
        java: "EncodeOptions",
        rust: "EncodeOptions",
    },
    Options { section: "Similarity", c: "bge_similarity_options", go: "", java: "", rust: "" },
    Options {
        section: "Quantizing vectors",
        c: "bge_quantize_options",
        go: "QuantizeOptions",
        java: "QuantizeOptions",
        rust: "",
    },
    Options { section: "Quantizing a model", c: "", go: "", java: "", rust: "QuantizeOptions" },
];

/// The body of a type whose declaration begins like this and ends with `end`.
fn body<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("there is no {begin:?}"));
    rest.split_once(end).unwrap().0
}

#[test]
fn every_option_is_listed_and_every_name_in_the_list_exists() {
    let page = document("docs/options.md");
    let header = document("include/bge.h");
    let hpp = document("bindings/cpp/bge.hpp");
    let go = sources("bindings/go", &["go"]);
    let java = "bindings/java/src/main/java/dev/libbge";
    let rust = sources("src", &["rs"]);
    let languages = [
        ("C, C++", format!("{header}{hpp}")),
        ("Go", go.clone()),
        ("Java", sources(java, &["java"])),
        ("Rust", rust.clone()),
    ];
    let mut listed_in_c = BTreeSet::new();
    for Options { section, c, go: of_go, java: of_java, rust: of_rust } in OPTIONS {
        let rows = rows(&page, section);
        let expect = |column: &str, expected: BTreeSet<String>| {
            assert!(!expected.is_empty(), "{section}: no options of {column} were found");
            let listed = names(&rows, column);
            let missing: Vec<_> = expected.difference(&listed).collect();
            assert!(missing.is_empty(), "{section} lacks in the column {column}: {missing:?}");
        };
        if !c.is_empty() {
            let end = format!("}} {c};");
            let members = header.split_once(&end).unwrap().0.rsplit("typedef struct {").next();
            expect("C, C++", all(r"(?m)^    [\w ]+?[ *](\w+);$", members.unwrap()));
            let own =
                hpp.split_once(&format!(" : {c} {{")).unwrap().1.split_once("\n};").unwrap().0;
            let methods = all(r"_options& (\w+)\(", own);
            assert!(
                methods.is_subset(&names(&rows, "C, C++")),
                "{section} lacks of C++: {methods:?}"
            );
        }
        if !of_go.is_empty() {
            let fields = body(&go, &format!("type {of_go} struct {{"), "\n}");
            expect("Go", all(r"(?m)^\t([A-Z]\w*)", fields));
        }
        if !of_java.is_empty() {
            let class = document(&format!("{java}/{of_java}.java"));
            expect("Java", all(r"public Builder (\w+)\(", &class));
        }
        if !of_rust.is_empty() {
            let fields = body(&rust, &format!("pub struct {of_rust} {{"), "\n}");
            expect("Rust", all(r"(?m)^    pub (\w+):", fields));
        }
        for (column, source) in &languages {
            for name in names(&rows, column) {
                let word = name.split('(').next().unwrap();
                let exists = regex(&format!(r"\b{}\b", regex::escape(word))).is_match(source);
                assert!(exists, "{section}: `{name}` does not exist in {column}");
            }
        }
        listed_in_c.extend(names(&rows, "C, C++"));
    }
    let flags = all(r"(?m)^#define (BGE_(?:OPEN|ENCODE|QUANTIZE)_\w+) \d+$", &header);
    assert!(flags.len() >= 6, "{flags:?}");
    assert!(flags.is_subset(&listed_in_c), "{flags:?} are not all in {listed_in_c:?}");
}

#[cfg(feature = "cli")]
#[test]
fn every_flag_of_the_command_is_listed() {
    let help = |arguments: &[&str]| run(Command::new(env!("CARGO_BIN_EXE_bge")).args(arguments));
    let mut flags = BTreeSet::new();
    let first = help(&["--help"]);
    let commands = all(r"(?m)^  ([a-z]+)  +\S", first.split_once("Options:").unwrap().0);
    for command in commands.iter().filter(|name| *name != "help") {
        flags.extend(all(r"(?m)^ +(?:-\w, )?(--[a-z-]+)", &help(&[command, "--help"])));
    }
    flags.extend(all(r"(?m)^ +(?:-\w, )?(--[a-z-]+)", &first));
    flags.remove("--help");
    let page = document("docs/options.md");
    let mut listed = names(&rows(&page, "Only of the command"), "flag");
    for Options { section, .. } in OPTIONS {
        let names = names(&rows(&page, section), "`bge`").into_iter();
        listed.extend(names.filter(|name| name.starts_with("--")));
    }
    assert_eq!(listed, flags);
}

#[test]
fn every_status_and_only_those_have_a_row_of_what_to_do() {
    let page = document("docs/troubleshooting.md");
    let header = document("include/bge.h");
    let statuses = all(r"(?m)^#define (BGE_ERROR_\w+) \d+$", &header);
    assert!(statuses.len() >= 16, "{statuses:?}");
    assert_eq!(names(&rows(&page, "Codes"), "code"), statuses);
}

#[test]
fn sentences_that_are_explained_are_those_of_the_library() {
    let page = document("docs/troubleshooting.md");
    // As the compiler joins the lines of a literal.
    let source = regex(r"\\\n\s*").replace_all(&sources("src", &["rs"]), "").into_owned();
    let parts = names(&rows(&page, "Common sentences"), "the sentence contains");
    assert!(parts.len() > 15, "{parts:?}");
    for part in parts {
        assert!(source.contains(&part), "no error says `{part}`");
    }
}

fn in_folder(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", folder).current_dir(root());
    command
}

#[test]
fn the_code_of_the_guide_does_what_the_guide_says() {
    if !has("c++", "examples/guide.cpp was not tried") {
        return;
    }
    let folder = empty_folder("guide");
    linkable(&folder);
    let program = folder.join("guide");
    run(compiler("CXX", "c++")
        .args(["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
        .args(["-Iinclude", "-Ibindings/cpp", "examples/guide.cpp", "-pthread", "-o"])
        .arg(&program)
        .arg("-L")
        .arg(&folder)
        .arg("-lbge")
        .current_dir(root()));
    let said = run(in_folder(&program, &folder).arg(tiny_dir("heads")).arg(tiny_dir("prompts")));
    for line in [
        "opening: 32 floats, 128 tokens",
        "encoding: same",
        "outputs: 9 rows, 10 tokens",
        "prompts: different",
        "long: cut 1",
        "long: BGE_ERROR_TEXT_TOO_LONG",
        "errors: BGE_ERROR_INVALID_UTF8",
        "threads: 23 texts",
        "stopping: BGE_ERROR_CANCELLED",
        "stopping: 96 floats",
        "memory: 2048 tokens a batch",
        "similarity: same",
        "hybrid: 3 scores",
    ] {
        assert!(said.lines().any(|is| is == line), "{line}: {said}");
    }
    assert!(said.contains("errors: text 1: texts[1] is not UTF-8"), "{said}");
}

#[test]
fn the_code_of_the_page_for_java_does_what_the_page_says() {
    let Some(mut java) = crate::bindings::java::java() else { return };
    let said = run(java.arg(root().join("examples/Guide.java")).arg(tiny_dir("heads")));
    let expected = "options: 2\nerrors: INVALID_UTF8, text 1\nthreads: 16\nstopping: 2\n";
    assert_eq!(said, expected);
}
