//! The library prints nothing, writes no file and uses no network.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::models::{BGE, tiny_dir};

/// Encodes a text with homes of its own for everything that a program may want to write.
fn encode(mut program: Command, homes: &Path) -> Output {
    for (name, folder) in [("HOME", "home"), ("XDG_CACHE_HOME", "cache"), ("TMPDIR", "tmp")] {
        let folder = homes.join(folder);
        std::fs::create_dir(&folder).unwrap();
        program.env(name, folder);
    }
    // Set by the library itself, unless it is set.
    program.env_remove("ORT_DISABLE_TELEMETRY");
    program.current_dir(homes.join("tmp"));
    program.args(["encode".as_ref(), tiny_dir("cls").as_os_str()]);
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program:?}: {e}"));
    child.stdin.take().unwrap().write_all(b"\"Orang-orang ada di luar.\"\n\"a\"\n").unwrap();
    child.wait_with_output().unwrap()
}

fn is_quiet(output: &Output, homes: &Path) {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
    assert_eq!(output.stdout.iter().filter(|&&byte| byte == b'\n').count(), 2);
    for folder in ["home", "cache", "tmp"] {
        let mut entries = std::fs::read_dir(homes.join(folder)).unwrap();
        assert!(entries.next().is_none(), "something was written to {folder}");
    }
}

#[test]
fn encoding_writes_no_file_and_says_nothing() {
    let homes = tempfile::tempdir().unwrap();
    is_quiet(&encode(Command::new(BGE), homes.path()), homes.path());
}

#[test]
fn encoding_opens_no_connection_and_no_file_to_write() {
    let traced = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    if !traced.is_ok_and(|output| output.status.success()) {
        println!("left out: strace is not on this machine, or may not trace");
        return;
    }
    let homes = tempfile::tempdir().unwrap();
    let trace = homes.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=network,%file", "-o"]).arg(&trace).arg(BGE);
    is_quiet(&encode(strace, homes.path()), homes.path());
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(trace.contains("model.safetensors"), "the trace has no open file:\n{trace}");
    // Everything that reaches out or leaves something behind.
    let forbidden = [
        "socket(", "connect(", "sendto(", "O_WRONLY", "O_RDWR", "O_CREAT", "mkdir", "unlink",
        "rename", "link(", "linkat(", "creat(", "mknod", "chmod", "truncate",
    ];
    for line in trace.lines() {
        let call = line.split_once(' ').map_or(line, |(_process, call)| call.trim_start());
        let found = forbidden.iter().find(|word| call.contains(*word));
        // Reading the target of a link is harmless.
        let reads = call.starts_with("readlink");
        assert!(found.is_none() || reads, "{line}");
    }
}
