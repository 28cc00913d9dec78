//! The files of heads: their forms, the folder that an option names, and what is refused.

use std::path::{Path, PathBuf};

use bge::ErrorKind::{self, ModelInvalid, ModelNotFound, Unsupported};
use bge::{EncodeOptions, Model, OpenOptions, Outputs};
use safetensors::tensor::{Dtype, TensorView};

use crate::directory::torch_file::Archive;
use crate::directory::weights_of_16_bits::widened;
use crate::encode::sparse_and_multi::{
    HIDDEN, MULTI, OfText, REFERENCE_TOLERANCE, SPARSE, asking, difference, golden, of_text,
};
use crate::support::models::{Copy, LFS_POINTER, copy_tree, open, tiny_dir, vector};

const SPARSE_PT: &str = "sparse_linear.pt";
const MULTI_PT: &str = "colbert_linear.pt";
const TEXT: &str = "Orang-orang ada di luar.";

fn form(name: &str) -> PathBuf {
    tiny_dir("heads-forms").join(name)
}

/// The tiny model with heads, without them.
fn bare() -> Copy {
    let copy = Copy::of("heads");
    copy.remove(SPARSE);
    copy.remove(MULTI);
    copy
}

fn open_with(model: &Path, heads: &Path) -> bge::Result<Model> {
    let heads_dir = Some(heads.to_path_buf());
    Model::open(model, &OpenOptions { threads: 1, heads_dir, ..OpenOptions::default() })
}

fn encoded(model: &Model, text: &str) -> OfText {
    of_text(&model.encode(&[text], &asking(true, true, true)).unwrap(), 0)
}

#[test]
fn a_head_is_its_numbers_whatever_file_they_came_in() {
    let bare = bare();
    let reference = open(&tiny_dir("heads")).unwrap();
    let by_option = open_with(&bare.dir, &form("f32")).unwrap();
    copy_tree(&form("f32"), &bare.dir);
    for model in [by_option, open(&bare.dir).unwrap()] {
        assert_eq!(encoded(&model, TEXT), encoded(&reference, TEXT));
        assert_eq!(model.fingerprint().unwrap(), reference.fingerprint().unwrap());
        let names: Vec<_> = model.info().weight_files.iter().skip(1).collect();
        assert!(names[0].ends_with(SPARSE_PT) && names[1].ends_with(MULTI_PT), "{names:?}");
    }
}

#[test]
fn heads_of_16_bits_match_the_reference_and_the_same_numbers_in_32() {
    for name in ["f16", "bf16"] {
        let safetensors = form(&format!("{name}-safetensors"));
        let wide = bare();
        for file in [SPARSE, MULTI] {
            wide.write(file, widened(&std::fs::read(safetensors.join(file)).unwrap()));
        }
        let wide = open(&wide.dir).unwrap();
        for heads in [form(name), safetensors] {
            let model = open_with(&tiny_dir("heads"), &heads).unwrap();
            assert_eq!(model.fingerprint().unwrap(), wide.fingerprint().unwrap(), "{name}");
            for row in golden(&format!("heads-forms/{name}")) {
                let ours = encoded(&model, &row.text);
                assert_eq!(ours, encoded(&wide, &row.text), "{name}: {:?}", row.text);
                let difference = difference(&ours, &row.reference());
                assert!(difference <= REFERENCE_TOLERANCE, "{name}: {:?}: {difference}", row.text);
            }
        }
    }
}

#[test]
fn a_head_in_two_files_has_to_be_the_same_in_both() {
    let copy = Copy::of("heads");
    let whole = open(&copy.dir).unwrap().fingerprint().unwrap().to_string();
    copy_tree(&form("f32"), &copy.dir);
    assert_eq!(open(&copy.dir).unwrap().fingerprint().unwrap(), whole);
    for (file, other) in [(SPARSE, SPARSE_PT), (MULTI, MULTI_PT)] {
        copy.write(other, std::fs::read(form("f16").join(other)).unwrap());
        copy.is_refused(other, ModelInvalid, &[file, other, "different numbers", "remove"]);
        copy.write(other, "");
        copy.is_refused(other, ModelInvalid, &[other, "has 0 bytes"]);
        copy.remove(other);
    }
}

#[test]
fn heads_of_another_folder_serve_a_model_that_has_none() {
    let cls = tiny_dir("cls");
    let (plain, model) = (open(&cls).unwrap(), open_with(&cls, &form("f16")).unwrap());
    let info = model.info();
    assert_eq!(info.outputs, Outputs { dense: true, sparse: true, multi: true, tokens: true });
    assert_eq!(info.multi_dim, 8);
    assert_ne!(model.fingerprint().unwrap(), plain.fingerprint().unwrap());
    let dense = plain.encode(&[TEXT], &EncodeOptions::default()).unwrap().dense;
    let ours = encoded(&model, TEXT);
    assert!(!ours.sparse.is_empty() && !ours.multi.is_empty());
    assert!(dense.iter().zip(&ours.dense).all(|(a, b)| (a - b).abs() <= 2e-6));
}

#[test]
fn heads_of_another_folder_replace_the_models_own() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::copy(form("f16").join(SPARSE_PT), folder.path().join(SPARSE_PT)).unwrap();
    let model = open_with(&tiny_dir("heads"), folder.path()).unwrap();
    assert_eq!(
        model.info().outputs,
        Outputs { dense: true, sparse: true, multi: false, tokens: true }
    );
    let e = model.encode(&[TEXT], &asking(true, true, true)).unwrap_err();
    assert_eq!(e.kind(), Unsupported);
    let (folder, file) =
        (folder.path().to_str().unwrap(), "(heads_dir) has neither colbert_linear");
    assert!(e.to_string().contains(folder) && e.to_string().contains(file), "{e}");
}

#[test]
fn a_folder_without_heads_or_with_those_of_another_model_is_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let cls = tiny_dir("cls");
    let file = form("f32").join(SPARSE_PT);
    let cases: [(&Path, &Path, ErrorKind, &[&str]); 5] = [
        (&cls, Path::new(""), ModelNotFound, &["heads_dir", "cannot be read"]),
        (&cls, Path::new("/no such folder"), ModelNotFound, &["heads_dir", "/no such folder"]),
        (&cls, &file, ModelNotFound, &["heads_dir", SPARSE_PT, "not a directory"]),
        (&cls, folder.path(), ModelNotFound, &["heads_dir", "sparse_linear or colbert_linear"]),
        (
            &tiny_dir("deep"),
            &form("f32"),
            ModelInvalid,
            &[SPARSE_PT, "has the shape [1, 32]", "this model needs [1, 24]"],
        ),
    ];
    for (model, heads, kind, words) in cases {
        let e = open_with(model, heads).unwrap_err();
        assert_eq!(e.kind(), kind, "{e}");
        for word in words {
            assert!(e.to_string().contains(word), "{e:?} does not say {word:?}");
        }
    }
}

type Tensor<'a> = (&'a str, Dtype, &'a [usize]);

fn head(tensors: &[Tensor<'_>]) -> Vec<u8> {
    let bytes = vec![0; 4096];
    let views = tensors.iter().map(|&(name, dtype, shape)| {
        let length = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (name, TensorView::new(dtype, shape.to_vec(), &bytes[..length]).unwrap())
    });
    safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap()
}

#[test]
fn a_head_that_does_not_fit_is_refused_with_its_file_and_shape() {
    use Dtype::{F32, F64, I16};
    let copy = Copy::of("heads");
    let weight = ("weight", F32, [1, HIDDEN].as_slice());
    let bias = ("bias", F32, [1].as_slice());
    let cases: [(&str, &[Tensor<'_>], ErrorKind, &str); 12] = [
        (SPARSE, &[("weight", F32, &[2, HIDDEN]), ("bias", F32, &[2])], ModelInvalid, "[2, 32]"),
        (SPARSE, &[("weight", F32, &[1, 31]), bias], ModelInvalid, "[1, 31]"),
        (SPARSE, &[("weight", F32, &[HIDDEN]), bias], ModelInvalid, "shape [32]"),
        (SPARSE, &[("weight", F64, &[1, HIDDEN]), bias], Unsupported, "F64"),
        (SPARSE, &[weight, ("bias", I16, &[1])], Unsupported, "only F32, F16 and BF16"),
        (SPARSE, &[weight, ("bias", F32, &[2])], ModelInvalid, "[2]"),
        (SPARSE, &[weight, ("bias", F32, &[])], ModelInvalid, "shape []"),
        (SPARSE, &[weight], ModelInvalid, "lacks the tensor \"bias\""),
        (SPARSE, &[bias], ModelInvalid, "lacks the tensor \"weight\""),
        (SPARSE, &[weight, bias, ("scale", F32, &[1])], ModelInvalid, "\"scale\""),
        (MULTI, &[("weight", F32, &[HIDDEN, 8]), ("bias", F32, &[32])], ModelInvalid, "[32, 8]"),
        (MULTI, &[("weight", F32, &[0, 32]), ("bias", F32, &[0])], ModelInvalid, "[0, 32]"),
    ];
    for (file, tensors, kind, words) in cases {
        let before = copy.read(file);
        copy.write(file, head(tensors));
        copy.is_refused(words, kind, &[file, words]);
        copy.write(file, before);
    }
}

#[test]
fn a_head_cut_anywhere_or_not_fetched_is_refused() {
    for name in ["f32", "f16-safetensors"] {
        let copy = bare();
        copy_tree(&form(name), &copy.dir);
        let files = if name == "f32" { [SPARSE_PT, MULTI_PT] } else { [SPARSE, MULTI] };
        for file in files {
            let whole = copy.read(file);
            for cut in (0..whole.len()).step_by(if name == "f32" { 41 } else { 1 }) {
                copy.write(file, &whole[..cut]);
                copy.is_refused(&cut.to_string(), ModelInvalid, &[file]);
            }
            copy.write(file, LFS_POINTER);
            copy.is_refused("pointer", ModelInvalid, &[file, "git lfs pull"]);
            let long = std::fs::File::options().write(true).open(copy.path(file)).unwrap();
            long.set_len((256 << 20) + 1).unwrap();
            copy.is_refused("long", ModelInvalid, &[file, "at most 268435456"]);
            copy.remove(file);
            std::os::unix::fs::symlink("/no such file", copy.path(file)).unwrap();
            copy.is_refused("link", ModelNotFound, &[file, "/no such file"]);
            copy.remove(file);
            copy.write(file, whole);
        }
        open(&copy.dir).unwrap();
    }
}

/// A name, bytes of the pickle, their replacement, and the error.
type Patch<'a> = (&'a str, &'a [u8], &'a [u8], ErrorKind, &'a [&'a str]);

#[test]
fn a_head_of_torch_is_read_and_never_run() {
    let copy = bare();
    let whole = std::fs::read(form("f16").join(SPARSE_PT)).unwrap();
    let marker = copy.around().join("ran");
    let touch = format!("touch {}", marker.display());
    let length = (touch.len() as u32).to_le_bytes();
    let hostile = [b"cos\nsystem\nX".as_slice(), &length, touch.as_bytes(), b"\x85R."].concat();
    // One more tensor, which the pickle describes.
    let more = b"q\x15X\x05\0\0\0scaleh\x0du";
    let cases: [Patch<'_>; 6] = [
        ("hostile", b"b.", &[b"b", hostile.as_slice()].concat(), Unsupported, &["\"os\""]),
        ("first", b"ccollections\n", &hostile, Unsupported, &["\"system\"", "never run"]),
        ("more", b"q\x15u", more, ModelInvalid, &["has the tensor \"scale\"", "\"bias\""]),
        ("fewer", b"bias", b"base", ModelInvalid, &["lacks the tensor \"bias\""]),
        ("integers", b"HalfStorage", b"ShortStorage", Unsupported, &["I16", "in float32"]),
        (
            "strides",
            b"K \x86q\tK K\x01",
            b"K\x10\x86q\tK K\x02",
            ModelInvalid,
            &["shape [1, 16]", "needs [1, 32]"],
        ),
    ];
    for (case, from, to, kind, words) in cases {
        let mut archive = Archive::of(&whole);
        archive.patch(from, to);
        copy.write(SPARSE_PT, archive.bytes());
        copy.is_refused(case, kind, words);
        copy.is_refused(case, kind, &[SPARSE_PT]);
        assert!(!marker.exists(), "{case}: it ran");
    }
    let mut archive = Archive::of(&std::fs::read(form("f32").join(MULTI_PT)).unwrap());
    archive.patch(b"K K\x01\x86", b"K\x01K\x08\x86");
    copy.write(MULTI_PT, archive.bytes());
    copy.write(SPARSE_PT, &whole);
    copy.is_refused("transposed", Unsupported, &[MULTI_PT, "row after row", ".contiguous()"]);
    copy.remove(MULTI_PT);
    assert_eq!(vector(&copy.dir), vector(&bare().dir));
}
