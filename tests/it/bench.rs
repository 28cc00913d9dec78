//! The benchmarks' own machinery, on a tiny model and libbge alone: no timed test.

use std::path::Path;
use std::process::{Command, Output};

use crate::built::{empty_folder, has, library, root};
use crate::support::tiny_dir;

/// Runs benches/bench.py with what it keeps in `folder`.
fn bench(folder: &Path, more: &[&str]) -> Output {
    Command::new("python3")
        .arg("-B")
        .arg(root().join("benches/bench.py"))
        .arg(tiny_dir("cls"))
        .args(["--only", "libbge", "--reference", "libbge", "--repeat", "2"])
        .args(["--seconds", "0.05", "--workloads", "query,16,4 callers,memory", "--scale", "0.1"])
        .arg("--cache")
        .arg(folder)
        .arg("--report")
        .arg(folder.join("report.md"))
        .args(more)
        .env("BGE_LIBRARY", library())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap()
}

#[test]
fn what_is_measured_is_reported_once_and_kept() {
    if !has("python3", "the benchmarks' machinery") {
        return;
    }
    let folder = empty_folder("bench");
    let run = |more: &[&str]| {
        let output = bench(&folder, more);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        (
            String::from_utf8(output.stdout).unwrap(),
            std::fs::read_to_string(folder.join("results.jsonl")).unwrap(),
            std::fs::read_to_string(folder.join("report.md")).unwrap(),
        )
    };
    std::fs::write(folder.join("report.md"), "# Before\n").unwrap();
    let (progress, kept, report) = run(&[]);
    assert!(progress.contains("[8/8] memory, 2 of 2, libbge"), "{progress}");
    assert_eq!(kept.lines().filter(|line| line.contains("\"timed\": true")).count(), 8, "{kept}");
    assert!(!kept.contains("refused"), "{kept}");
    assert!(report.starts_with("# Before\n\n<!-- make bench: cls -->\n"), "{report}");
    for part in
        ["| fp32, 2 threads | query | 16 |", "| **libbge** | ", "| libbge | 4 | ", "MB at most"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
    // A second run has nothing left to do, and its report takes the place of the first.
    let (progress, again, second) = run(&[]);
    assert!(!progress.contains("[1/"), "{progress}");
    assert_eq!(again, kept);
    assert_eq!(second.matches("<!-- make bench: cls -->").count(), 1, "{second}");
    let (_, fresh, _) = run(&["--fresh"]);
    assert_eq!(fresh.lines().count(), kept.lines().count());
    assert_ne!(fresh, kept);
}

#[test]
fn vectors_that_differ_are_not_timed() {
    if !has("python3", "the benchmarks' machinery") {
        return;
    }
    let folder = empty_folder("bench-wrong");
    assert!(bench(&folder, &["--workloads", "16"]).status.success());
    for entry in std::fs::read_dir(folder.join("reference")).unwrap() {
        let path = entry.unwrap().path();
        let mut vectors = std::fs::read(&path).unwrap();
        // The exponent of a number in the middle.
        let middle = vectors.len() / 2 / 4 * 4 + 3;
        vectors[middle] ^= 0x80;
        vectors[middle - 1] ^= 0x01;
        std::fs::write(&path, vectors).unwrap();
    }
    let output = bench(&folder, &["--workloads", "16", "--fresh"]);
    assert!(output.status.success());
    let kept = std::fs::read_to_string(folder.join("results.jsonl")).unwrap();
    assert!(kept.contains("wrong vectors: the largest difference is"), "{kept}");
    assert!(!kept.contains("timed"), "{kept}");
    let report = std::fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(report.contains("* libbge, 16: wrong vectors"), "{report}");
}
