//! Weights as `torch.save` writes them: which files open, and the errors of the others.

use bge::ErrorKind::{self, ModelInvalid, Unsupported};
use serde_json::json;

use crate::directory::torch_file::{Archive, Entry, TORCH, bare, form};
use crate::support::models::{LFS_POINTER, fingerprint, tiny_dir, vector};

const QUERY: &str = "encoder.layer.0.attention.self.query.weight";
/// The shape and the strides of a matrix of 15 by 15.
const SQUARE: &[u8] = b"K\x0fK\x0f\x86";
const ROWS: &[u8] = b"K\x0fK\x01\x86";

#[test]
fn a_file_of_torch_gives_the_vectors_and_the_fingerprint_of_safetensors() {
    // One file written from a module, and one of views into a single storage, some of them
    // parameters, in a later protocol and with other entries beside them.
    for name in ["mean.bin", "mean-views.bin"] {
        let copy = bare("mean");
        copy.write(TORCH, form(name));
        assert_eq!(vector(&copy.dir), vector(&tiny_dir("mean")), "{name}");
        assert_eq!(fingerprint(&copy.dir), fingerprint(&tiny_dir("mean")), "{name}");
    }
}

#[test]
fn shards_of_torch_give_the_vectors_and_the_fingerprint_of_safetensors() {
    let copy = bare("prompts");
    let index = "pytorch_model.bin.index.json";
    let second = "pytorch_model-00002-of-00002.bin";
    for file in [index, second, "pytorch_model-00001-of-00002.bin"] {
        copy.write(file, form(file));
    }
    assert_eq!(vector(&copy.dir), vector(&tiny_dir("prompts")));
    assert_eq!(fingerprint(&copy.dir), fingerprint(&tiny_dir("prompts")));
    copy.json(index, |v| v["weight_map"]["embeddings.LayerNorm.bias"] = json!(second));
    copy.is_refused("other index", ModelInvalid, &[index, "should be in", second]);
    copy.remove(second);
    copy.is_refused("absent", ErrorKind::ModelNotFound, &[second, "does not exist"]);
}

#[test]
fn an_archive_may_be_written_by_anything() {
    let copy = bare("mean");
    let mut archive = Archive::of(&form("mean.bin"));
    archive.0.retain(|entry| !entry.name.ends_with("byteorder"));
    for entry in &mut archive.0 {
        entry.name = entry.name.replacen("mean/", "an other/", 1);
    }
    copy.write(TORCH, archive.bytes());
    let difference = vector(&copy.dir)
        .iter()
        .zip(vector(&tiny_dir("mean")))
        .fold(0.0, |max: f32, (a, b)| max.max((a - b).abs()));
    // Numbers that do not lie at multiples of their size are summed in another order.
    assert!(difference <= 1e-6, "differs by {difference}");
}

#[test]
fn a_file_of_torch_cut_anywhere_is_said_to_be_incomplete() {
    let copy = bare("mean");
    let whole = form("mean.bin");
    let last = whole.len() - 1;
    let ends = [0, 1, 3, 4, 8, 30, last - 100, last - 21, last - 1, last];
    for cut in ends.into_iter().chain((0..last).step_by(last / 97)) {
        copy.write(TORCH, &whole[..cut]);
        let has = format!("has {cut} bytes");
        copy.is_refused(&cut.to_string(), ModelInvalid, &[TORCH, &has, "download"]);
    }
    copy.write(TORCH, &whole[..whole.len() / 2]);
    copy.is_refused("half", ModelInvalid, &["was it downloaded completely?"]);
}

#[test]
fn what_torch_did_not_save_as_an_archive_is_refused_with_what_to_do() {
    let copy = bare("mean");
    let old = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
    let cases: [(&str, &[u8], ErrorKind, &str); 5] = [
        ("pointer", LFS_POINTER.as_bytes(), ModelInvalid, "git lfs pull"),
        ("page", b"<!doctype html><title>404</title>", ModelInvalid, "download it again"),
        ("old format", old, Unsupported, "save its state_dict() again with torch.save"),
        ("text", b"x", ModelInvalid, "not what torch.save writes"),
        ("empty archive", b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", ModelInvalid, "PK"),
    ];
    for (case, bytes, kind, words) in cases {
        copy.write(TORCH, bytes);
        copy.is_refused(case, kind, &[TORCH, words]);
    }
}

type Fault = fn(&mut Archive);

fn refuses(cases: &[(&str, Fault, ErrorKind, &[&str])]) {
    let copy = bare("mean");
    for (case, fault, kind, words) in cases {
        let mut archive = Archive::of(&form("mean.bin"));
        fault(&mut archive);
        copy.write(TORCH, archive.bytes());
        copy.is_refused(case, *kind, words);
        copy.is_refused(case, *kind, &[TORCH]);
    }
}

#[test]
fn archives_whose_entries_cannot_be_used_in_place_are_refused() {
    refuses(&[
        (
            "compressed",
            |a| a.entry("data/0").method = 8,
            Unsupported,
            &["data/0", "compressed", "torch.save"],
        ),
        (
            "of another size within",
            |a| a.entry("data/0").said = Some(4),
            Unsupported,
            &["data/0", "compressed"],
        ),
        ("encrypted", |a| a.entry("data/3").flags = 1, Unsupported, &["data/3", "encrypted"]),
        ("masked", |a| a.entry("data/3").flags = 1 << 13, Unsupported, &["data/3", "encrypted"]),
        (
            "one in another",
            |a| {
                let inner = a.0[4].clone();
                a.0[5].at = Some(0);
                a.0.push(inner);
            },
            ModelInvalid,
            &["two entries"],
        ),
        (
            "all in one place",
            |a| {
                let other = a.0.last().unwrap().clone();
                a.0.push(Entry { name: "mean/more".into(), at: Some(0), ..other });
            },
            ModelInvalid,
            &["entries overlap at byte", "download it again"],
        ),
        (
            "past the end",
            |a| {
                let end = a.bytes().len() as u32;
                a.entry("data/1").at = Some(end + 1000);
            },
            ModelInvalid,
            &["list of its entries is damaged"],
        ),
        (
            "where nothing begins",
            |a| a.entry("data/1").at = Some(1),
            ModelInvalid,
            &["list of its entries is damaged", "signature"],
        ),
        (
            "long name",
            |a| a.0.push(Entry::new(&"n".repeat(1001), "")),
            ModelInvalid,
            &["name of more than 1000 bytes"],
        ),
        (
            "no pickle",
            |a| a.entry("data.pkl").name = "mean/other".into(),
            ModelInvalid,
            &["without data.pkl"],
        ),
        (
            "two pickles",
            |a| a.0.push(Entry::new("b/data.pkl", "")),
            ModelInvalid,
            &["several entries named data.pkl"],
        ),
        (
            "a program",
            |a| a.0.push(Entry::new("mean/constants.pkl", "")),
            Unsupported,
            &["TorchScript", "state_dict()"],
        ),
        (
            "another byte order",
            |a| a.entry("byteorder").bytes = b"big".into(),
            Unsupported,
            &["byteorder is \"big\"", "only \"little\""],
        ),
        (
            "a large pickle",
            |a| a.pickle().resize((16 << 20) + 1, 0),
            ModelInvalid,
            &["16777217 bytes", "at most 16777216"],
        ),
        (
            "absent storage",
            |a| a.entry("data/7").name = "mean/data/x".into(),
            ModelInvalid,
            &["data/7", "does not exist"],
        ),
        (
            "short storage",
            |a| a.entry("data/0").bytes.truncate(1000),
            ModelInvalid,
            &["embeddings.word_embeddings.weight", "has 1000 bytes"],
        ),
    ]);
}

#[test]
fn a_table_that_does_not_fit_its_storages_is_refused() {
    // The numbers of the first matrix of 15 by 15, the query's: offset, shape and strides.
    let place = |offset: &[u8], shape: &[u8], strides: &[u8]| {
        let mut archive = Archive::of(&form("mean.bin"));
        let pickle = archive.pickle();
        let at = pickle.windows(5).position(|bytes| bytes == SQUARE).unwrap();
        // Between them stand two bytes that put the shape into the memo.
        assert_eq!(&pickle[at + 7..at + 12], ROWS);
        let memo = pickle[at + 5..at + 7].to_vec();
        pickle.splice(at - 2..at + 12, [offset, shape, &memo, strides].concat());
        archive.bytes()
    };
    let zero = b"K\0";
    let wide = |number: i64| [b"\x8a\x08".as_slice(), &number.to_le_bytes()].concat();
    let pair = |a: &[u8], b: &[u8]| [a, b, b"\x86"].concat();
    let copy = bare("mean");
    let tensor = format!("the tensor {QUERY:?}");
    let cases: Vec<(&str, Vec<u8>, ErrorKind, Vec<&str>)> = vec![
        (
            "transposed",
            place(zero, SQUARE, b"K\x01K\x0f\x86"),
            Unsupported,
            vec![&tensor, "row after row", ".contiguous()"],
        ),
        (
            "one row for all",
            place(zero, SQUARE, b"K\0K\x01\x86"),
            Unsupported,
            vec![&tensor, "row after row"],
        ),
        (
            "any number of one row",
            place(zero, &pair(&wide(1 << 59), b"K\x0f"), b"K\0K\x01\x86"),
            ModelInvalid,
            vec![&tensor, "has the shape [576460752303423488, 15]"],
        ),
        ("from the second", place(b"K\x01", SQUARE, ROWS), ModelInvalid, vec![&tensor, "beyond"]),
        ("wider rows", place(zero, SQUARE, b"K\x10K\x01\x86"), ModelInvalid, vec!["beyond"]),
        ("larger", place(zero, b"K\x10K\x0f\x86", ROWS), ModelInvalid, vec!["beyond", "[16, 15]"]),
        (
            "smaller",
            place(zero, b"K\x0eK\x0f\x86", ROWS),
            ModelInvalid,
            vec![&tensor, "config.json makes it [15, 15]"],
        ),
        (
            "negative offset",
            place(&wide(-1), SQUARE, ROWS),
            ModelInvalid,
            vec!["offset of a tensor is -1, less than 0"],
        ),
        (
            "negative size",
            place(zero, &pair(&wide(i64::MIN), b"K\x0f"), ROWS),
            ModelInvalid,
            vec!["size of a tensor is -9223372036854775808"],
        ),
        (
            "negative stride",
            place(zero, SQUARE, &pair(b"J\xff\xff\xff\xff", b"K\x01")),
            ModelInvalid,
            vec!["stride of a tensor is -1"],
        ),
        (
            "far offset",
            place(&wide(i64::MAX), SQUARE, ROWS),
            ModelInvalid,
            vec![&tensor, "9223372036854775807"],
        ),
        (
            "far stride",
            place(zero, SQUARE, &pair(&wide(i64::MAX), b"K\x01")),
            ModelInvalid,
            vec![&tensor, "9223372036854775807"],
        ),
        (
            "more than can be",
            place(zero, &pair(&wide(i64::MAX), &wide(i64::MAX)), ROWS),
            ModelInvalid,
            vec![&tensor, "more numbers than can be"],
        ),
        (
            "2^63",
            place(zero, &pair(b"\x8a\x09\0\0\0\0\0\0\0\x80\0", b"K\x0f"), ROWS),
            ModelInvalid,
            vec!["a number of 9 bytes"],
        ),
        (
            "one stride",
            place(zero, SQUARE, b"K\x01\x85"),
            ModelInvalid,
            vec!["[15, 15] has the strides [1]"],
        ),
        (
            "nine dimensions",
            place(zero, b"(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t", ROWS),
            ModelInvalid,
            vec!["has 9 dimensions"],
        ),
    ];
    for (case, bytes, kind, words) in cases {
        copy.write(TORCH, bytes);
        copy.is_refused(case, kind, &words);
    }
}

#[test]
fn doubles_and_integers_are_refused_by_name() {
    let copy = bare("mean");
    let mut archive = Archive::of(&form("mean.bin"));
    // Every tensor has the class of the first one, and so the same width.
    archive.patch(b"FloatStorage", b"IntStorage");
    copy.write(TORCH, archive.bytes());
    copy.is_refused("integers", Unsupported, &[TORCH, "I32", "save the model in"]);
}

#[test]
fn a_pickle_that_names_anything_else_is_refused_by_that_name_and_runs_nothing() {
    let copy = bare("mean");
    let marker = copy.around().join("ran");
    let touch = format!("touch {}", marker.display());
    let argument =
        [b"X".as_slice(), &(touch.len() as u32).to_le_bytes(), touch.as_bytes()].concat();
    let cases: [(&str, &[u8], &[&str]); 9] = [
        ("os", b"cos\nsystem\n", &["\"os\"", "\"system\"", "never run"]),
        ("posix", b"cposix\nsystem\n", &["\"posix\"", "\"system\""]),
        ("eval", b"c__builtin__\neval\n", &["\"__builtin__\"", "\"eval\""]),
        ("by values", b"\x8c\x02os\x8c\x06system\x93", &["\"os\"", "\"system\""]),
        ("a part of torch", b"ctorch.jit\nload\n", &["\"torch.jit\"", "\"load\""]),
        ("hidden", b"ccollections\nOrderedDict.x\n", &["\"OrderedDict.x\""]),
        ("by extension", b"\x82\x01", &["0x82"]),
        ("by class", b"(ios\nsystem\n", &["'i'", "(0x69)"]),
        ("by text", b"S'os'\n", &["'S'", "(0x53)"]),
    ];
    for (case, function, words) in cases {
        let mut archive = Archive::of(&form("mean.bin"));
        let whole = archive.pickle().clone();
        for before in [b"\x80\x02".as_slice(), &whole[..whole.len() - 1]] {
            let program = [before, function, &argument, b"\x85R."].concat();
            *archive.pickle() = program;
            copy.write(TORCH, archive.bytes());
            copy.is_refused(case, Unsupported, &[TORCH, "data.pkl"]);
            copy.is_refused(case, Unsupported, words);
            assert!(!marker.exists(), "{case}: it ran");
        }
    }
    let mut archive = Archive::of(&form("mean.bin"));
    *archive.pickle() = [b"\x80\x02c", "x".repeat(1 << 20).as_bytes(), b"\ny\n."].concat();
    copy.write(TORCH, archive.bytes());
    copy.is_refused("long name", Unsupported, &[TORCH, "xxx", "save its state_dict()"]);
}
