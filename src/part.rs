//! Partial files and folders in a folder that processes share: each is written under a random name,
//! and renamed when it is complete.
//!
//! Names are random, since processes in different containers can have the same id. The process that
//! writes a part holds a lock on it, which the system releases when that process ends in any way.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::{Builder, NamedTempFile, TempDir};

const ENDING: &str = ".part";
/// The hexadecimal digits of the key that the name of a part begins with.
const KEY_DIGITS: usize = 32;
/// Parts that were changed more recently are kept: the process may not have locked them yet.
const AGE_MIN: Duration = Duration::from_secs(60);

/// Creates a file that is removed unless it is renamed.
pub(crate) fn file(folder: &Path, key: &str) -> io::Result<NamedTempFile> {
    // The usual permissions, in place of those of temporary files, which exclude other users.
    let permissions = Permissions::from_mode(0o666);
    let file = named(key).permissions(permissions).tempfile_in(folder)?;
    lock(file.as_file());
    Ok(file)
}

/// Creates a folder that is removed unless it is renamed. Returns also the handle that locks it.
pub(crate) fn folder(parent: &Path, key: &str) -> io::Result<(TempDir, File)> {
    let permissions = Permissions::from_mode(0o777);
    let folder = named(key).permissions(permissions).tempdir_in(parent)?;
    let handle = File::open(folder.path())?;
    lock(&handle);
    Ok((folder, handle))
}

fn named(key: &str) -> Builder<'_, 'static> {
    let mut builder = Builder::new();
    builder.prefix(key).suffix(ENDING);
    builder
}

fn lock(part: &File) {
    // A file system without locks never reports a part as abandoned either.
    let _ = part.try_lock();
}

/// Removes parts whose process was killed while it wrote them.
pub(crate) fn remove_dead(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if is_part(&entry.file_name().to_string_lossy()) {
            // A part that cannot be removed only takes disk space, which is not worth an error.
            let _ = remove_if_dead(&entry.path());
        }
    }
}

fn is_part(name: &str) -> bool {
    let key = name.strip_suffix(ENDING).and_then(|name| name.get(..KEY_DIGITS));
    key.is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn remove_if_dead(path: &Path) -> io::Result<()> {
    // Links are not followed, and pipes not opened, which could wait for ever.
    let kind = fs::symlink_metadata(path)?;
    let age = kind.modified()?.elapsed().unwrap_or_default();
    if age < AGE_MIN || !(kind.is_file() || kind.is_dir()) {
        return Ok(());
    }
    let part = File::open(path)?;
    match part.try_lock() {
        Ok(()) if kind.is_dir() => fs::remove_dir_all(path),
        Ok(()) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn key(digit: &str) -> String {
        digit.repeat(KEY_DIGITS)
    }

    fn age(path: &Path) {
        let past = SystemTime::now() - 2 * AGE_MIN;
        File::open(path).unwrap().set_modified(past).unwrap();
    }

    #[test]
    fn parts_of_processes_that_are_gone_are_removed_and_no_others() {
        let root = tempfile::tempdir().unwrap();
        let mut alive = vec![];
        let file = file(root.path(), &key("a")).unwrap();
        alive.push(file.path().to_path_buf());
        let (folder, lock) = folder(root.path(), &key("b")).unwrap();
        alive.push(folder.path().to_path_buf());
        for name in [key("c") + "x.bge-packed", "x.part".into(), key("z") + ".part"] {
            alive.push(root.path().join(name));
            fs::write(alive.last().unwrap(), "").unwrap();
        }
        let dead = [key("d") + ".17.0.part", key("e") + "Rk3x.part"].map(|it| root.path().join(it));
        fs::write(&dead[0], "half").unwrap();
        fs::create_dir_all(dead[1].join("engine")).unwrap();
        remove_dead(root.path());
        assert!(alive.iter().chain(&dead).all(|path| path.exists()), "they are new");
        alive.iter().chain(&dead).for_each(|path| age(path));
        // To the lock, a new handle is like another process.
        remove_dead(root.path());
        assert!(alive.iter().all(|path| path.exists()));
        assert!(dead.iter().all(|path| !path.exists()));
        // Their process ends as by `kill -9`: nothing is dropped, and the locks are released.
        let (file, path) = file.keep().unwrap();
        drop((file, lock));
        let folder = folder.keep();
        remove_dead(root.path());
        assert!(!path.exists() && !folder.exists());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 3);
    }

    #[test]
    fn others_may_read_a_part_as_any_file() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("usual"), "").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let part = file(root.path(), &key("0")).unwrap();
        assert_eq!(mode(part.path()), mode(&root.path().join("usual")));
        fs::create_dir(root.path().join("folder")).unwrap();
        let (part, _lock) = folder(root.path(), &key("0")).unwrap();
        assert_eq!(mode(part.path()), mode(&root.path().join("folder")));
    }
}
