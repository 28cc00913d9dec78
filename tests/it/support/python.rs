//! Python environments with packages from a registry, for tests against other projects' clients and
//! trainers.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python of an environment below .cache with the packages of a file. `None` if it cannot be
/// created, which is reported.
pub fn python_with(environment: &str, requirements: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join(".cache").join(environment);
    let (python, stamp) = (folder.join("bin/python"), folder.join("requirements.txt"));
    let requirements = root.join(requirements);
    let wanted = std::fs::read(&requirements).unwrap();
    if std::fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Some(python);
    }
    let succeeds = |command: &mut Command| command.output().is_ok_and(|it| it.status.success());
    let made = succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
        && succeeds(Command::new(&python).args(["-m", "pip", "install", "-r"]).arg(&requirements));
    if !made {
        let what = requirements.display();
        println!("{what} COULD NOT BE INSTALLED: what needs it was not tested");
        let demanded = std::env::var_os("BGE_TEST_ALL").is_some();
        assert!(!demanded, "{what} has to be installed here, for Python 3.10 or later");
        return None;
    }
    std::fs::write(stamp, wanted).unwrap();
    Some(python)
}
