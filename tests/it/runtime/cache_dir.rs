//! `cache_dir`: packed weights in files that processes share, and that are never believed blindly.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bge::{ComputeType, EncodeOptions, Model, OpenOptions};

use crate::encode::int8::is_refused_here;
use crate::support::build::empty_folder;
use crate::support::child::{self, assert_passed};
use crate::support::models::{Copy, tiny_dir};

const TEXTS: [&str; 3] = ["Orang-orang ada di luar.", "", "a b c"];
/// Where a process of this test program finds the cache that it shares.
const SHARED: &str = "BGE_TEST_SHARED_CACHE";

fn vectors(dir: &Path, cache_dir: Option<&Path>) -> Vec<f32> {
    vectors_in(ComputeType::Int8, dir, cache_dir)
}

fn vectors_in(compute_type: ComputeType, dir: &Path, cache_dir: Option<&Path>) -> Vec<f32> {
    let options = OpenOptions {
        compute_type,
        cache_dir: cache_dir.map(Path::to_path_buf),
        threads: 2,
        ..OpenOptions::default()
    };
    let model = Model::open(dir, &options).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    model.encode(&TEXTS, &EncodeOptions::default()).unwrap().dense
}

/// The only file of a folder.
fn kept(folder: &Path) -> PathBuf {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn is_mapped(file: &Path) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.contains(&file.canonicalize().unwrap().display().to_string())
}

#[test]
fn what_is_kept_gives_the_same_bits() {
    if is_refused_here() {
        return;
    }
    use ComputeType::{Fp32, Int8};
    for (name, compute_type) in [("cls", Int8), ("deep", Int8), ("int8", Int8), ("deep", Fp32)] {
        let folder =
            empty_folder(&format!("packed-{name}-{compute_type:?}")).join("made/on/demand");
        let vectors = |cache_dir| vectors_in(compute_type, &tiny_dir(name), cache_dir);
        let expected = vectors(None);
        assert_eq!(vectors(Some(&folder)), expected, "{name}");
        let file = kept(&folder);
        let written = file.metadata().unwrap().modified().unwrap();
        let options =
            OpenOptions { compute_type, cache_dir: Some(folder.clone()), ..OpenOptions::default() };
        let model = Model::open(tiny_dir(name), &options).unwrap();
        assert!(is_mapped(&file));
        assert_eq!(model.encode(&TEXTS, &EncodeOptions::default()).unwrap().dense, expected);
        assert_eq!(kept(&folder).metadata().unwrap().modified().unwrap(), written, "{name}");
    }
}

#[test]
fn what_is_damaged_is_written_anew() {
    if is_refused_here() {
        return;
    }
    let folder = empty_folder("packed-damaged");
    let expected = vectors(&tiny_dir("cls"), Some(&folder));
    let file = kept(&folder);
    let good = fs::read(&file).unwrap();
    let mut damaged = vec![Vec::new(), b"something else".to_vec(), good[..64].to_vec()];
    damaged.push(good[..good.len() - 1].to_vec());
    damaged.push([&good[..], &[0]].concat());
    for place in [0, 31, 32, 63, 64, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        damaged.push(bytes);
    }
    for bytes in damaged {
        // Replaced like every file of the folder, since an open model may have the old one mapped.
        let other = folder.join("other");
        fs::write(&other, &bytes).unwrap();
        fs::rename(&other, &file).unwrap();
        assert_eq!(vectors(&tiny_dir("cls"), Some(&folder)), expected);
        assert_eq!(fs::read(kept(&folder)).unwrap(), good, "{} bytes", bytes.len());
    }
}

#[test]
fn what_is_no_file_of_its_length_is_neither_waited_for_nor_read() {
    if is_refused_here() {
        return;
    }
    let folder = empty_folder("packed-odd");
    let expected = vectors(&tiny_dir("cls"), Some(&folder));
    let file = kept(&folder);
    let good = fs::read(&file).unwrap();
    let odd: [fn(&Path, &[u8]); 5] = [
        |file, _| {
            let path = CString::new(file.as_os_str().as_bytes()).unwrap();
            // SAFETY: the path is a C string that lives until the call has returned.
            assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        },
        |file, good| {
            // The right key, and a hole: a terabyte takes minutes to hash.
            fs::write(file, &good[..32]).unwrap();
            File::options().write(true).open(file).unwrap().set_len(1 << 40).unwrap();
        },
        |file, _| symlink("/dev/zero", file).unwrap(),
        |file, _| symlink("nowhere", file).unwrap(),
        |file, _| drop(UnixListener::bind(file)),
    ];
    for (index, make) in odd.into_iter().enumerate() {
        fs::remove_file(&file).unwrap();
        make(&file, &good);
        let started = Instant::now();
        assert_eq!(vectors(&tiny_dir("cls"), Some(&folder)), expected, "{index}");
        assert!(started.elapsed() < Duration::from_secs(30), "{index}");
        assert!(kept(&folder).symlink_metadata().unwrap().is_file(), "{index}");
        assert_eq!(fs::read(&file).unwrap(), good, "{index}");
    }
}

#[test]
fn what_a_killed_process_left_is_removed_and_what_others_write_is_not() {
    if is_refused_here() {
        return;
    }
    let folder = empty_folder("packed-left");
    vectors(&tiny_dir("cls"), Some(&folder));
    let key = kept(&folder).file_stem().unwrap().to_str().unwrap().to_string();
    let [dead, alive] = ["1.0", "7.0"].map(|name| folder.join(format!("{key}.{name}.part")));
    for part in [&dead, &alive] {
        fs::write(part, "half a file").unwrap();
        File::options().append(true).open(part).unwrap().set_modified(UNIX_EPOCH).unwrap();
    }
    let lock = File::open(&alive).unwrap();
    lock.lock().unwrap();
    vectors(&tiny_dir("cls"), Some(&folder));
    assert!(!dead.exists() && alive.exists());
    drop(lock);
    vectors(&tiny_dir("cls"), Some(&folder));
    kept(&folder);
}

#[test]
fn what_belongs_to_other_weights_is_not_used() {
    if is_refused_here() {
        return;
    }
    let folder = empty_folder("packed-stale");
    let copy = Copy::of("cls");
    let expected = vectors(&copy.dir, Some(&folder));
    let stale = kept(&folder);
    let weights = copy.dir.join("model.safetensors");
    let file = File::options().append(true).open(weights).unwrap();
    file.set_modified(UNIX_EPOCH).unwrap();
    assert_eq!(vectors(&copy.dir, Some(&folder)), expected);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    // Under the name of the right one, too.
    let new = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).find(|it| *it != stale);
    let (new, bytes) = (new.unwrap(), fs::read(&stale).unwrap());
    fs::rename(&stale, &new).unwrap();
    assert_eq!(vectors(&copy.dir, Some(&folder)), expected);
    assert_ne!(fs::read(kept(&folder)).unwrap(), bytes);
}

#[test]
fn a_folder_that_cannot_be_used_harms_nothing() {
    if is_refused_here() {
        return;
    }
    let file = empty_folder("packed-nowhere").join("a file");
    fs::write(&file, "").unwrap();
    let expected = vectors(&tiny_dir("cls"), None);
    for folder in [&file, Path::new("/proc/no such folder")] {
        assert_eq!(vectors(&tiny_dir("cls"), Some(folder)), expected);
    }
    assert_eq!(fs::read(&file).unwrap(), b"");
}

#[test]
fn floats_that_stay_in_the_author_s_file_are_not_kept() {
    let folder = empty_folder("packed-floats").join("none");
    let options = OpenOptions {
        cache_dir: Some(folder.clone()),
        small_memory: true,
        ..OpenOptions::default()
    };
    Model::open(tiny_dir("cls"), &options).unwrap();
    assert!(!folder.exists());
}

#[test]
fn processes_may_write_it_at_once() {
    if is_refused_here() {
        return;
    }
    let folder = empty_folder("packed-shared");
    let expected = vectors(&tiny_dir("deep"), None);
    let children: Vec<_> = (0..6)
        .map(|_| {
            let mut child = child::child(module_path!(), "child");
            child.env(SHARED, &folder).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(vectors(&tiny_dir("deep"), Some(&folder)), expected));
        }
    });
    for child in children {
        assert_passed(&child.wait_with_output().unwrap());
    }
    let file = kept(&folder);
    let written = file.metadata().unwrap().modified().unwrap();
    assert_eq!(vectors(&tiny_dir("deep"), Some(&folder)), expected);
    assert_eq!(kept(&folder).metadata().unwrap().modified().unwrap(), written);
}

#[test]
#[ignore = "run by the test above, in processes of their own"]
fn child() {
    let folder = PathBuf::from(std::env::var_os(SHARED).unwrap());
    let expected = vectors(&tiny_dir("deep"), None);
    for _ in 0..5 {
        assert_eq!(vectors(&tiny_dir("deep"), Some(&folder)), expected);
    }
}
