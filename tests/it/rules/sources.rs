//! Rules that the sources keep, as a test.

use std::path::Path;

use crate::support::build::{root, rust_files};

const LINES_MAX: usize = 500;
/// Columns, as in rustfmt.toml.
const WIDTH_MAX: usize = 100;

/// The files and folders that may hold `unsafe`, and why.
const UNSAFE: &[(&str, &str)] = &[
    ("src/ffi/boundary/", "all that handles a pointer of the caller"),
    (
        "src/ffi/caller.rs",
        "sets the environment of floating point, for which there is no crate in use",
    ),
    (
        "src/runtime/shortage.rs",
        "starts ONNX Runtime before ort does, where it can still be unloaded",
    ),
    ("src/runtime/library/probe.rs", "calls ONNX Runtime before ort does"),
    ("src/runtime/budget.rs", "registers an arena with a ceiling, which ort does not"),
    (
        "src/runtime/gpu/nvidia.rs",
        "asks the driver and TensorRT, for which there is no crate in use",
    ),
    (
        "src/runtime/concurrent_session.rs",
        "calls `Run` of a session that another thread may be running, too",
    ),
    (
        "src/runtime/library/mod.rs",
        "sets ORT_DISABLE_TELEMETRY and reads AT_SECURE, which have no safe form",
    ),
    (
        "src/kernels/attention/shared_output.rs",
        "lets threads write to rows of one array that do not overlap",
    ),
    ("src/kernels/attention/mod.rs", "takes such rows"),
    ("src/kernels/linear/packed_file.rs", "maps a file that the library never writes to again"),
    ("src/kernels/simd/prefetch.rs", "prefetches, which reads nothing"),
    (
        "src/kernels/linear/fp32/microkernel.rs",
        "reads the rows of a tile, the end of which was checked",
    ),
    (
        "src/kernels/linear/int8/x86/mod.rs",
        "calls what needs vector instructions once they are detected",
    ),
    ("src/kernels/linear/int8/x86/vectors.rs", "loads and stores vectors"),
    ("bindings/java/native/src/boundary.rs", "writes into the memory of a direct buffer of Java"),
];

/// The crate that the JVM loads.
const JNI: &str = "bindings/java/native/src";

fn sources(folder: &str) -> Vec<(String, String)> {
    rust_files(&root().join(folder))
        .into_iter()
        .map(|path| (name(&path), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The code that is compiled into the library, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default()
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

#[test]
fn no_source_is_longer_than_a_reader_can_hold() {
    for folder in ["src", "tests/it", JNI] {
        for (name, text) in sources(folder) {
            let lines = text.lines().count();
            assert!(lines <= LINES_MAX, "{name} has {lines} lines: divide it");
        }
    }
}

/// rustfmt leaves comments as they are.
#[test]
fn comments_are_no_wider_than_code() {
    for (name, text) in ["src", "tests/it", "bindings"].into_iter().flat_map(sources) {
        for (index, line) in text.lines().enumerate() {
            let is_wide = line.trim_start().starts_with("//") && line.chars().count() > WIDTH_MAX;
            assert!(!is_wide, "{name}:{}: wrap the comment at {WIDTH_MAX}", index + 1);
        }
    }
}

#[test]
fn the_boundary_does_not_unwrap() {
    for (name, text) in sources("src/ffi").into_iter().chain(sources(JNI)) {
        for (line, code) in code(&text) {
            let bad = [".unwrap()", ".expect(", ".unwrap_err()", ".expect_err("]
                .iter()
                .find(|bad| code.contains(**bad));
            assert!(bad.is_none(), "{name}:{line}: {bad:?} would be a panic: return an error");
        }
    }
}

#[test]
fn unsafe_stays_where_it_is_explained() {
    let holds_unsafe = |text: &str| {
        code(text).any(|(_, code)| {
            // An attribute of an exported function, and the type of a function of the caller, do
            // nothing.
            let code = code.replace("#[unsafe(no_mangle)]", "").replace("unsafe extern", "");
            code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
        })
    };
    let mut unused: Vec<&str> = UNSAFE.iter().map(|(listed, _)| *listed).collect();
    for (name, text) in sources("src").into_iter().chain(sources(JNI)) {
        if !holds_unsafe(&text) {
            continue;
        }
        let in_list = |listed: &str| {
            if listed.ends_with('/') { name.starts_with(listed) } else { name == listed }
        };
        let allowed = UNSAFE.iter().any(|(listed, _)| in_list(listed));
        assert!(allowed, "{name}: unsafe is allowed in {UNSAFE:?}");
        unused.retain(|listed| !in_list(listed));
    }
    assert!(unused.is_empty(), "no unsafe is left in {unused:?}: take them off the list");
}

#[test]
fn only_the_runtime_knows_ort() {
    for (name, text) in sources("src") {
        for (line, code) in code(&text) {
            let word = |at: usize| {
                code[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_')
            };
            let found = code.match_indices("ort::").any(|(at, _)| word(at));
            assert!(!found || name.starts_with("src/runtime/"), "{name}:{line}: names ort");
        }
    }
}

#[test]
fn exported_functions_are_documented_and_nothing_else_is_exported() {
    let mut exported = 0;
    for (name, text) in sources("src") {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if !line.trim_start().starts_with("#[unsafe(no_mangle)]") {
                continue;
            }
            exported += 1;
            assert!(name.starts_with("src/ffi/"), "{name}: exports from outside src/ffi");
            let next = lines[index + 1];
            assert!(next.starts_with("pub extern \"C\" fn bge_"), "{name}: {next}");
            let above = lines[..index].iter().rev().find(|line| !line.starts_with("#["));
            assert!(above.is_some_and(|line| line.starts_with("///")), "{name}: {next} has no doc");
        }
    }
    assert_eq!(exported, 28);
}

/// A native method without its function, or with other parameters, would only be found by calling
/// it.
#[test]
fn native_methods_and_their_functions_are_the_same() {
    let java = root().join("bindings/java/src/main/java/dev/libbge/Native.java");
    let java = std::fs::read_to_string(java).unwrap();
    let mut declared: Vec<(String, usize)> = java
        .split("static native ")
        .skip(1)
        .map(|method| {
            let (head, rest) = method.split_once('(').unwrap();
            let parameters = rest.split_once(");").unwrap().0.trim();
            let count = if parameters.is_empty() { 0 } else { parameters.split(',').count() };
            (head.rsplit(' ').next().unwrap().to_string(), count)
        })
        .collect();
    let mut defined = Vec::new();
    for (_, text) in sources(JNI) {
        for function in text.split("fn Java_dev_libbge_Native_").skip(1) {
            let (name, rest) = function.split_once("<'l>(").unwrap();
            // Each parameter has a line and a comma of its own; the first two are not visible in
            // Java.
            let parameters = rest.split_once("\n)").unwrap().0;
            defined.push((name.to_string(), parameters.lines().count() - 1 - 2));
        }
    }
    declared.sort();
    defined.sort();
    assert_eq!(declared, defined);
}

#[test]
fn modules_open_with_their_purpose() {
    for (name, text) in ["src", "tests/it", "bindings"].into_iter().flat_map(sources) {
        assert!(text.starts_with("//! "), "{name} does not begin with its purpose");
    }
}
