//! The benchmarks' own machinery, on a tiny model and libbge alone: no timed test.

use std::path::Path;
use std::process::{Command, Output};

use crate::bindings::c::compile;
use crate::support::build::{empty_folder, has, library, root, run};
use crate::support::models::tiny_dir;

/// Runs benches/bench.py, which keeps its files in `folder`.
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
    // A second run has nothing left to do, and its report replaces the first.
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

/// Runs benches/gpu.py with the CPU instead of a GPU.
fn gpu_check(more: &[&str]) -> Output {
    Command::new("python3")
        .arg("-B")
        .arg(root().join("benches/gpu.py"))
        .arg(tiny_dir("cls"))
        .args(more)
        .env("BGE_LIBRARY", library())
        .output()
        .unwrap()
}

#[test]
fn the_check_of_a_gpu_is_rehearsed_on_the_cpu() {
    if !has("python3", "the check of a GPU") {
        return;
    }
    let folder = empty_folder("gpu-check");
    let page = folder.join("page.md");
    let (before, after) =
        ("# Before\n\n<!-- make gpu-check -->", "<!-- end of make gpu-check -->\nend");
    std::fs::write(&page, format!("{before}\nan old report\n{after}")).unwrap();
    let output = gpu_check(&["--rehearse", "--into", page.to_str().unwrap()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let written = std::fs::read_to_string(&page).unwrap();
    assert!(written.starts_with(before) && written.ends_with(after), "{written}");
    assert!(!written.contains("an old report"), "{written}");
    for row in
        ["| cpu fp32 | 0.0e+00 | 1.0000000 | ", " | yes | ", "| mixed, 5 to 512 | 20 | ", "p99 "]
    {
        assert!(written.contains(row), "{row}: {written}");
    }
    let rushed = gpu_check(&["--rehearse", "--seconds", "0"]);
    let printed = String::from_utf8_lossy(&rushed.stdout);
    assert!(printed.contains("| cpu fp32 | no time left | "), "{printed}");
    assert_eq!(gpu_check(&["--devices", "npu"]).status.code(), Some(2));
    if !has("nvidia-smi", "that there is no GPU is told by its exit code") {
        let output = gpu_check(&[]);
        assert_eq!(output.status.code(), Some(77));
        assert!(String::from_utf8_lossy(&output.stderr).contains("nothing was checked"));
    }
}

/// A failing case fails the check.
#[test]
fn the_check_of_a_gpu_can_fail() {
    if !has("python3", "the check of a GPU") {
        return;
    }
    let program = "import sys; sys.path.insert(0, 'benches'); import gpu, libbge\n\
        model = libbge.Libbge(sys.argv[1], 1)\n\
        texts = gpu.mixed(4)\n\
        right = gpu.vectors_of(model, texts)\n\
        wrong = [list(row) for row in right]\n\
        wrong[2][5] += 2e-4\n\
        print(gpu.check(model, 'fp32', texts, right)[1], gpu.check(model, 'fp32', texts, wrong)[1])\n\
        print(gpu.operations({'hidden_size': 2, 'intermediate_size': 3, 'num_hidden_layers': 5}, [7]))";
    let output = Command::new("python3")
        .args(["-B", "-c", program])
        .arg(tiny_dir("cls"))
        .current_dir(root())
        .env("BGE_LIBRARY", library())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // 2 * 5 * (7 * (4 * 4 + 2 * 2 * 3) + 2 * 7 * 7 * 2)
    assert_eq!(String::from_utf8_lossy(&output.stdout), "True False\n3920\n");
}

#[test]
fn callers_in_c_are_measured() {
    let folder = empty_folder("bench-callers");
    let program = compile("benches/callers.c", &folder);
    let said = run(Command::new(program)
        .arg(tiny_dir("cls"))
        .args(["4", "0.05", "2"])
        .env("LD_LIBRARY_PATH", &folder));
    assert!(said.starts_with("4 callers: ") && said.contains(" in bulk, ratio "), "{said}");
}

#[test]
fn deadlines_in_c_are_measured() {
    let folder = empty_folder("bench-deadlines");
    let program = compile("benches/deadlines.c", &folder);
    for deadline in ["0", "0.5", "4"] {
        let said = run(Command::new(&program)
            .arg(tiny_dir("cls"))
            .args(["8", "10", deadline, "0.2"])
            .env("LD_LIBRARY_PATH", &folder));
        assert!(said.starts_with("8 callers, 12 tokens, deadline "), "{said}");
        assert!(said.contains(" calls/s in time, ") && said.ends_with(" tokens a run\n"), "{said}");
    }
}
