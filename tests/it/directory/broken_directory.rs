//! Faults of a model directory: each ends in an error that names the file and the fault.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bge::ErrorKind::{InvalidUtf8, ModelInvalid, ModelNotFound};
use serde_json::json;

use crate::support::models::{
    CONFIG, Copy, JSON_FILES, LFS_POINTER, MODULES, POOLING, PROMPTS, SENTENCE, TOKENIZER, WEIGHTS,
    is_refused, refuses,
};

const INDEX: &str = "model.safetensors.index.json";

#[test]
fn what_is_not_a_directory_of_a_model_is_said_to_be_none() {
    let copy = Copy::of("mean");
    let nothing_there = ["cannot be read", "give the path of a directory"];
    is_refused(&copy.around().join("absent"), "absent", ModelNotFound, &nothing_there);
    is_refused(Path::new(""), "empty path", ModelNotFound, &["\"\"", "cannot be read"]);
    is_refused(Path::new("a\0b"), "NUL", ModelNotFound, &["a\\0b", "cannot be read"]);
    is_refused(&copy.path(CONFIG), "file", ModelNotFound, &["config.json is not a directory"]);
    is_refused(&copy.path("config.json/x"), "below a file", ModelNotFound, &["cannot be read"]);
    let empty = copy.around().join("empty");
    std::fs::create_dir(&empty).unwrap();
    is_refused(&empty, "empty", ModelNotFound, &["empty/modules.json does not exist"]);
    let looped = copy.around().join("loop");
    symlink(&looped, &looped).unwrap();
    is_refused(&looped, "loop", ModelNotFound, &["loop", "cannot be read"]);
}

#[test]
fn a_path_that_is_not_utf8_is_refused_as_such() {
    let copy = Copy::of("mean");
    let renamed = copy.around().join(OsStr::from_bytes(b"caf\xe9"));
    std::fs::rename(&copy.dir, &renamed).unwrap();
    is_refused(&renamed, "directory", InvalidUtf8, &["caf\\xE9", "is not UTF-8", "rename it"]);
    // The target of a link counts, since ONNX Runtime opens it.
    let copy = Copy::of("mean");
    let blob = copy.around().join(OsStr::from_bytes(b"blob\xff"));
    std::fs::rename(copy.path(WEIGHTS), &blob).unwrap();
    symlink(&blob, copy.path(WEIGHTS)).unwrap();
    copy.is_refused("weights", InvalidUtf8, &["blob\\xFF", "is not UTF-8"]);
}

#[test]
fn each_missing_file_is_named() {
    for file in [CONFIG, MODULES, POOLING, TOKENIZER, WEIGHTS] {
        let copy = Copy::of("mean");
        copy.remove(file);
        copy.is_refused(file, ModelNotFound, &[file]);
    }
    let copy = Copy::of("mean");
    copy.remove("1_Pooling");
    copy.is_refused("folder", ModelNotFound, &["1_Pooling/config.json does not exist"]);
}

#[test]
fn files_that_a_model_may_lack_are_not_missed() {
    let copy = Copy::of("mean");
    copy.remove(SENTENCE);
    copy.remove(PROMPTS);
    assert_eq!(crate::support::models::open(&copy.dir).unwrap().info().max_tokens, 128);
}

#[test]
fn a_link_to_nothing_is_told_from_a_file_that_is_absent() {
    for file in [CONFIG, MODULES, POOLING, SENTENCE, PROMPTS, TOKENIZER, WEIGHTS] {
        let copy = Copy::of("mean");
        copy.remove(file);
        symlink("../../blobs/0123abcd", copy.path(file)).unwrap();
        let words = [file, "is a link to ../../blobs/0123abcd, which does not exist"];
        copy.is_refused(file, ModelNotFound, &words);
    }
}

#[test]
fn what_is_not_a_regular_file_is_never_opened() {
    for file in JSON_FILES.into_iter().chain([WEIGHTS]) {
        let copy = Copy::of("mean");
        copy.remove(file);
        std::fs::create_dir(copy.path(file)).unwrap();
        copy.is_refused("directory", ModelInvalid, &[file, "is not a regular file"]);
        copy.remove(file);
        let path = CString::new(copy.path(file).as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a C string that lives until the call has returned.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        copy.is_refused("pipe", ModelInvalid, &[file, "is not a regular file"]);
        copy.remove(file);
        symlink("/dev/zero", copy.path(file)).unwrap();
        // The weights are named by where they really are.
        let named = if file == WEIGHTS { "/dev/zero" } else { file };
        copy.is_refused("device", ModelInvalid, &[named, "is not a regular file"]);
    }
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let copy = Copy::of("mean");
    std::fs::set_permissions(copy.path(CONFIG), PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::File::open(copy.path(CONFIG)).is_ok() {
        println!("left out: this user may read every file, as root may");
        return;
    }
    copy.is_refused("mode 0", ModelNotFound, &["config.json", "Permission denied"]);
}

#[test]
fn a_file_larger_than_its_kind_can_be_is_not_read() {
    for (file, bytes) in [(CONFIG, (4 << 20) + 1), (MODULES, 1 << 40), (TOKENIZER, 1 << 40)] {
        let copy = Copy::of("mean");
        // Sparse: it takes no room on the disk.
        std::fs::File::create(copy.path(file)).unwrap().set_len(bytes).unwrap();
        copy.is_refused(file, ModelInvalid, &[file, &bytes.to_string(), "at most"]);
    }
}

#[test]
fn a_directory_without_weights_is_refused_with_what_it_could_have() {
    let copy = Copy::of("mean");
    copy.remove(WEIGHTS);
    copy.is_refused("none", ModelNotFound, &["model.safetensors", "pytorch_model.bin", "ONNX"]);
}

#[test]
fn an_index_that_does_not_fit_its_shards_is_refused() {
    let table = "embeddings.word_embeddings.weight";
    for name in ["../x", "/etc/passwd", "", ".", "..", "a/b", "a\0b"] {
        let copy = Copy::of("sharded");
        copy.json(INDEX, |v| v["weight_map"][table] = json!(name));
        let (kind, file) = match name {
            "a\0b" => (ModelNotFound, "a\0b"),
            _ => (ModelInvalid, INDEX),
        };
        copy.is_refused(name, kind, &[file]);
    }
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    refuses(
        "sharded",
        INDEX,
        &[
            ("no map", |v| *v = json!({}), ModelInvalid, &[INDEX, "weight_map"]),
            ("no shard", |v| v["weight_map"] = json!({}), ModelInvalid, &[INDEX, "0 files"]),
            ("number", |v| v["weight_map"]["x"] = json!(1), ModelInvalid, &["weight_map.x"]),
            (
                "absent shard",
                |v| v["weight_map"]["x"] = json!("model-9.safetensors"),
                ModelNotFound,
                &["model-9.safetensors does not exist"],
            ),
            (
                "many shards",
                |v| {
                    let many = (0..5000).map(|i| (i.to_string(), json!(i.to_string())));
                    v["weight_map"] = many.collect();
                },
                ModelInvalid,
                &["5000 files", "4096"],
            ),
        ],
    );
    for (tensor, words) in [
        (
            "embeddings.LayerNorm.weight",
            ["should be in \"model-00001-of-00002.safetensors\"", INDEX],
        ),
        // The only tensor of its file, which nothing names any more.
        (table, ["lack the tensor", table]),
    ] {
        let copy = Copy::of("sharded");
        copy.json(INDEX, |v| {
            let map = &mut v["weight_map"];
            map[tensor] = json!(if map[tensor] == first { second } else { first });
        });
        copy.is_refused(tensor, ModelInvalid, &words);
    }
    for shard in [first, second] {
        let copy = Copy::of("sharded");
        copy.remove(shard);
        copy.is_refused("absent", ModelNotFound, &[shard, "does not exist"]);
        copy.write(shard, LFS_POINTER);
        copy.is_refused("pointer", ModelInvalid, &[shard, "git lfs pull"]);
        let other = if shard == first { second } else { first };
        std::fs::copy(copy.path(other), copy.path(shard)).unwrap();
        copy.is_refused("the other", ModelInvalid, &[first, second, "both hold the tensor"]);
    }
}
