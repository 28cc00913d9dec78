//! Checks of the machine that ONNX Runtime needs when it is loaded.

use std::path::Path;

use crate::error::{Result, error};

/// Refuses a sandbox in which ONNX Runtime would crash while it is loaded, or write to the standard
/// error stream: its library `cpuinfo` reads the list of processors from two files, of which one is
/// enough, and does not handle an empty list.
pub(super) fn check() -> Result<()> {
    check_below(Path::new("/"))
}

fn check_below(root: &Path) -> Result<()> {
    let (processors, present) =
        (root.join("proc/cpuinfo"), root.join("sys/devices/system/cpu/present"));
    let listed = std::fs::read(&processors).map_err(|e| {
        error!(
            RuntimeUnavailable,
            "{} cannot be read: {e}; ONNX Runtime does not run without it, so mount /proc in this \
             sandbox",
            processors.display()
        )
    })?;
    let is_named = listed.windows(9).any(|word| word == b"processor");
    let is_present = std::fs::read(&present).is_ok_and(|list| list.iter().any(u8::is_ascii_digit));
    if is_named || is_present {
        return Ok(());
    }
    Err(error!(
        RuntimeUnavailable,
        "neither {} nor {} says which processors there are, and ONNX Runtime does not run without \
         that; show this sandbox one of them",
        processors.display(),
        present.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_places_has_to_say_which_processors_there_are() {
        check().unwrap();
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        let refused = || check_below(root.path()).unwrap_err().to_string();
        assert!(refused().contains("mount /proc"), "{}", refused());
        write("proc/cpuinfo", "");
        assert!(refused().contains("neither"), "{}", refused());
        write("sys/devices/system/cpu/present", "\n");
        assert!(refused().contains("neither"), "{}", refused());
        write("sys/devices/system/cpu/present", "0\n");
        check_below(root.path()).unwrap();
        write("sys/devices/system/cpu/present", "");
        write("proc/cpuinfo", "processor\t: 0\n");
        check_below(root.path()).unwrap();
    }
}
