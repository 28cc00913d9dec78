//! `include/bge.h` is what cbindgen makes of `src/ffi`.

use std::path::Path;

/// The files of `src/ffi`, in the order of the header.
const SOURCES: [&str; 8] = [
    "constants.rs",
    "types.rs",
    "model.rs",
    "encode.rs",
    "similarity.rs",
    "similarity_sparse_multi.rs",
    "quantize_embeddings.rs",
    "library.rs",
];

#[test]
fn header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root.join("src/ffi").join(source));
    }
    let mut generated = Vec::new();
    builder.generate().unwrap().write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();
    let header = root.join("include/bge.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&header, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&header).unwrap();
    assert!(
        generated == committed,
        "include/bge.h is out of date: run UPDATE_HEADER=1 cargo test --test it header"
    );
}
