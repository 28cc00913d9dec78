//! What a call costs beside the model's own run, on a model so small that its run is little.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

use bge::{EncodeOptions, Model, OpenOptions};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

// The C ABI, as far as it is used here; include/bge.h says what each is.
unsafe extern "C" {
    fn bge_open(
        path: *const c_char,
        options: *const c_void,
        model: *mut *mut c_void,
        error: *mut c_void,
    ) -> c_int;
    fn bge_close(model: *mut c_void);
    fn bge_version() -> u32;
    fn bge_encode(
        model: *const c_void,
        texts: *const *const c_char,
        lengths: *const usize,
        count: usize,
        options: *const c_void,
        out: *mut Embeddings,
        error: *mut c_void,
    ) -> c_int;
}

/// The first members of `bge_embeddings`, and the room of the rest.
#[repr(C)]
struct Embeddings {
    struct_size: u32,
    flags: u32,
    dense: *mut f32,
    dense_capacity: usize,
    rest: [usize; 14],
}

fn main() {
    divan::main();
}

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tiny/cls")
}

fn open() -> Model {
    Model::open(tiny(), &OpenOptions::default()).unwrap()
}

/// Latin words, and Chinese without white space.
fn text(language: &str, bytes: usize) -> String {
    let part =
        if language == "words" { "Orang-orang ada di luar. " } else { "人們在外面走動" };
    part.repeat(bytes / part.len())
}

#[divan::bench(args = ["words", "chinese"], consts = [64, 65_536], max_time = 1)]
fn count_tokens<const BYTES: usize>(bencher: Bencher<'_, '_>, language: &str) {
    let (model, text) = (open(), text(language, BYTES));
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| model.count_tokens(black_box(&text)).unwrap());
}

/// The least that a call can do: three tokens through two layers.
#[divan::bench(max_time = 1)]
fn encode_one_letter(bencher: Bencher<'_, '_>) {
    let model = open();
    bencher.bench_local(|| model.encode(black_box(&["a"]), &EncodeOptions::default()).unwrap());
}

/// The same from C: what the boundary adds is the difference.
#[divan::bench(max_time = 1)]
fn bge_encode_one_letter(bencher: Bencher<'_, '_>) {
    let path = CString::new(tiny().to_str().unwrap()).unwrap();
    let (mut model, mut vector) = (ptr::null_mut(), [0.0_f32; 1024]);
    let letter = c"a".as_ptr();
    // SAFETY: the pointers outlive the calls, and the model is closed after the last of them.
    unsafe {
        assert_eq!(bge_open(path.as_ptr(), ptr::null(), &mut model, ptr::null_mut()), 0);
        bencher.bench_local(|| {
            let mut out = Embeddings {
                struct_size: size_of::<Embeddings>() as u32,
                flags: 0,
                dense: vector.as_mut_ptr(),
                dense_capacity: vector.len(),
                rest: [0; 14],
            };
            let status =
                bge_encode(model, &letter, ptr::null(), 1, ptr::null(), &mut out, ptr::null_mut());
            assert_eq!(status, 0);
        });
        bge_close(model);
    }
}

#[divan::bench(max_time = 1)]
fn bge_version_alone() -> u32 {
    // SAFETY: it takes nothing.
    unsafe { bge_version() }
}
