//! Copies of the tiny models, to be changed, broken and opened.

use std::path::{Path, PathBuf};

use bge::{EncodeOptions, ErrorKind, Model, OpenOptions};
use serde_json::Value;
use tempfile::TempDir;

/// The command.
pub const BGE: &str = env!("CARGO_BIN_EXE_bge");
pub const WEIGHTS: &str = "model.safetensors";
pub const CONFIG: &str = "config.json";
pub const MODULES: &str = "modules.json";
pub const POOLING: &str = "1_Pooling/config.json";
pub const SENTENCE: &str = "sentence_bert_config.json";
pub const PROMPTS: &str = "config_sentence_transformers.json";
pub const TOKENIZER: &str = "tokenizer.json";
pub const JSON_FILES: [&str; 6] = [CONFIG, MODULES, POOLING, SENTENCE, PROMPTS, TOKENIZER];
/// The text of a file that Git LFS has not fetched.
pub const LFS_POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
    oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 2271064456\n";

pub fn tiny_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tiny").join(name)
}

pub fn open(dir: &Path) -> bge::Result<Model> {
    // One thread, since a test opens many models that have little to do.
    Model::open(dir, &OpenOptions { threads: 1, ..OpenOptions::default() })
}

/// The vector of a short text.
pub fn vector(dir: &Path) -> Vec<f32> {
    let model = open(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    model.encode(&["Orang-orang ada di luar."], &EncodeOptions::default()).unwrap().dense
}

pub fn fingerprint(dir: &Path) -> String {
    let model = open(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    model.fingerprint().unwrap().to_string()
}

/// Copies a tree. Links are replaced by their targets.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_tree(&from, &to);
        } else if entry.file_name() != "golden.json" {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// A copy of a tiny model that is gone with this.
pub struct Copy {
    root: TempDir,
    pub dir: PathBuf,
}

impl Copy {
    pub fn of(name: &str) -> Self {
        let root = TempDir::new().unwrap();
        let dir = root.path().join("model");
        copy_tree(&tiny_dir(name), &dir);
        Self { root, dir }
    }

    /// The folder that holds the copy.
    pub fn around(&self) -> &Path {
        self.root.path()
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    pub fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.path(file)).unwrap()
    }

    pub fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(file), bytes).unwrap();
    }

    pub fn remove(&self, file: &str) {
        let path = self.path(file);
        if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    pub fn json(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(&self.read(file)).unwrap();
        change(&mut value);
        self.write(file, value.to_string());
    }

    /// Changes the header and the data of a safetensors file.
    pub fn weights(&self, file: &str, change: impl FnOnce(&mut Value, &mut Vec<u8>)) {
        let (mut header, mut data) = split(&self.read(file));
        change(&mut header, &mut data);
        self.write(file, join(&header.to_string(), &data));
    }

    /// Asserts that opening fails with an error of a kind whose sentence has the words.
    #[track_caller]
    pub fn is_refused(&self, case: &str, kind: ErrorKind, words: &[&str]) {
        is_refused(&self.dir, case, kind, words);
    }
}

#[track_caller]
pub fn is_refused(dir: &Path, case: &str, kind: ErrorKind, words: &[&str]) {
    let e = open(dir).err().unwrap_or_else(|| panic!("{case}: opened"));
    assert_eq!(e.kind(), kind, "{case}: {e}");
    for word in words {
        assert!(e.to_string().contains(word), "{case}: {e:?} does not say {word:?}");
    }
    assert!(e.to_string().len() <= 1100, "{case}: {} bytes of message", e.to_string().len());
}

pub type Change = fn(&mut Value);

/// Asserts that a model is refused after each change of a JSON file.
#[track_caller]
pub fn refuses(model: &str, file: &str, cases: &[(&str, Change, ErrorKind, &[&str])]) {
    let original = Copy::of(model).read(file);
    let copy = Copy::of(model);
    for (case, change, kind, words) in cases {
        copy.write(file, &original);
        copy.json(file, change);
        copy.is_refused(case, *kind, words);
    }
}

/// The header and the data of a safetensors file.
pub fn split(bytes: &[u8]) -> (Value, Vec<u8>) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    (header, bytes[8 + length..].to_vec())
}

pub fn join(header: &str, data: &[u8]) -> Vec<u8> {
    // Filled up as the format's own writer does.
    let length = header.len().next_multiple_of(8);
    let mut bytes = (length as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(8 + length, b' ');
    bytes.extend_from_slice(data);
    bytes
}
