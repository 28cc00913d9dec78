//! The files that `bge quantize` leaves behind when a signal stops it.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::build::{empty_folder, run};
use crate::support::models::{BGE, tiny_dir};

/// Long enough for any machine, so that a hang is a failure and not a wait.
const GUARD: Duration = Duration::from_secs(120);

struct Folder {
    path: PathBuf,
    /// Texts for more than a few seconds.
    texts: PathBuf,
}

impl Folder {
    fn new(name: &str) -> Self {
        let root = empty_folder(name);
        let (path, texts) = (root.join("here"), root.join("texts"));
        std::fs::create_dir(&path).unwrap();
        std::fs::write(
            &texts,
            "Sekelompok orang sedang makan di sebuah restoran.\n".repeat(300_000),
        )
        .unwrap();
        Self { path, texts }
    }

    fn quantize(&self, mut command: Command) -> Child {
        let out = self.path.join("out");
        command.arg("quantize").arg(tiny_dir("cls")).arg(out).args(["--threads", "1"]);
        command.arg("--texts").arg(&self.texts);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let name = format!(".out.{}.partial", child.id());
        self.until(|names| names.contains(&name));
        child
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn until(&self, holds: impl Fn(&[String]) -> bool) {
        let began = Instant::now();
        while !holds(&self.names()) {
            assert!(began.elapsed() < GUARD, "{:?}", self.names());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A whole run, of the texts that are built in.
    fn finish(&self, out: &str) {
        run(Command::new(BGE).arg("quantize").arg(tiny_dir("cls")).arg(self.path.join(out)));
    }
}

fn send(signal: &str, child: &Child) {
    run(Command::new("kill").args(["-s", signal, &child.id().to_string()]));
}

#[test]
fn a_signal_that_ends_it_leaves_nothing() {
    let folder = Folder::new("interrupted");
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let mut child = folder.quantize(Command::new(BGE));
        send(signal, &child);
        assert_eq!(child.wait().unwrap().signal(), Some(number), "{signal}");
        assert_eq!(folder.names(), [""; 0], "{signal}");
    }
    // As nohup begins it.
    let mut command = Command::new("sh");
    let mut child = folder.quantize({
        command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", BGE]);
        command
    });
    send("HUP", &child);
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "it ended by a signal that was to be ignored");
    send("TERM", &child);
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn what_a_killed_run_has_left_is_removed_by_the_next_and_nothing_else() {
    let folder = Folder::new("killed");
    let mut killed = folder.quantize(Command::new(BGE));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let left = format!(".out.{}.partial", killed.id());
    assert_eq!(folder.names(), [left.as_str()]);
    let mut alive = folder.quantize(Command::new(BGE));
    let under_way = format!(".out.{}.partial", alive.id());
    assert_eq!(folder.names(), [under_way.as_str()]);
    // The folder of a running process that holds no lock, of a process that does not exist, and of
    // another directory.
    let own = format!(".out.{}.partial", std::process::id());
    let others = [own.as_str(), ".out.partial", ".out.x.partial", ".other.4194304.partial"];
    for name in others.iter().chain(&[".out.4194304.partial"]) {
        std::fs::create_dir(folder.path.join(name)).unwrap();
    }
    std::fs::write(folder.path.join(".out.4194305.partial"), "no directory").unwrap();
    folder.finish("out");
    let mut expected = [&others[..], &[under_way.as_str(), "out", ".out.4194305.partial"]].concat();
    expected.sort_unstable();
    assert_eq!(folder.names(), expected);
    alive.kill().unwrap();
    alive.wait().unwrap();
    assert!(Path::new(&folder.path.join("out")).is_dir());
}
