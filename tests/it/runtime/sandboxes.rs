//! Limits of containers and sandboxes: threads, /proc and /sys. Opening ends in a model or an error
//! within seconds, and only the command's own line is on the error stream.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output, Stdio};

use crate::runtime::library_search::installed;

/// Runs a line of bash, in which `$BGE` and `$MODEL` stand for themselves, on one text.
fn bash(line: &str, user: Option<u32>) -> Output {
    let prefix = installed();
    let path = |name: &str| prefix.path().join(name);
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", "60", "bash", "-c", line]);
    command.env("BGE", path("bin/bge")).env("MODEL", path("model"));
    command.env("BGE_ORT_LIBRARY", path("lib/bge/libonnxruntime.so.1.31.1"));
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that has refused to begin reads nothing.
    let _ = child.stdin.take().unwrap().write_all(b"\"halo\"\n");
    child.wait_with_output().unwrap()
}

/// Whether it printed a vector; otherwise it has printed an error.
#[track_caller]
fn answers(output: &Output, case: &str) -> Result<(), String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), None, "{case}: {said}");
    assert!(![124, 137, 139].contains(&output.status.code().unwrap()), "{case}: {:?}", output);
    if output.status.success() {
        assert_eq!(said, "", "{case}");
        assert!(output.stdout.starts_with(b"{\"dense\":["), "{case}");
        return Ok(());
    }
    assert!(said.starts_with("bge: ") && said.lines().count() == 1, "{case}: {said}");
    Err(said)
}

#[test]
fn a_thread_that_the_system_refuses_is_a_sentence_and_no_hang() {
    // SAFETY: it takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        println!(
            "left out: the limit is counted for a user, and only root can become one of its own"
        );
        return;
    }
    let mut refused = 0;
    for limit in 2..9 {
        for threads in [1, 2, 4] {
            let user = 71_000 + limit * 10 + threads;
            let line =
                format!("ulimit -u {limit}; exec \"$BGE\" encode --threads {threads} \"$MODEL\"");
            let case = format!("{threads} threads, {limit} allowed");
            match answers(&bash(&line, Some(user)), &case) {
                Ok(()) => assert!(limit > threads, "{case}"),
                Err(said) => {
                    assert!(said.contains("be started"), "{case}: {said}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 3, "{refused}");
}

#[test]
fn a_machine_that_cannot_be_seen_is_a_sentence_and_no_crash() {
    let mount =
        Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("left out: this user may not mount");
        return;
    }
    let hidden = |mounts: &str| {
        bash(&format!("exec unshare -m bash -c '{mounts} exec \"$BGE\" encode \"$MODEL\"'"), None)
    };
    let (sys, list) =
        ("mount -t tmpfs none /sys;", "mount --bind /dev/null /sys/devices/system/cpu/present;");
    let cpuinfo = "mount --bind /dev/null /proc/cpuinfo;";
    for mounts in [sys, list, cpuinfo] {
        answers(&hidden(mounts), mounts).unwrap();
    }
    for mounts in [[sys, cpuinfo].concat(), [list, cpuinfo].concat()] {
        let said = answers(&hidden(&mounts), &mounts).unwrap_err();
        assert!(said.contains("which processors there are"), "{said}");
    }
    let proc = "mount -t tmpfs none /proc;";
    for mounts in [proc.into(), [sys, proc].concat()] {
        let said = answers(&hidden(&mounts), &mounts).unwrap_err();
        assert!(said.contains("/proc/cpuinfo cannot be read"), "{said}");
    }
}
