//! `include/bge.h` is what cbindgen makes of `src/ffi`, in sections.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::build::{cc, empty_folder, root, run};

/// The files of `src/ffi` that declare something public.
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

/// The sections of the header with their items. Each item is in one section. A name that ends in
/// `*` stands for all names that begin with it.
const SECTIONS: &[(&str, &[&str])] = &[
    ("Version", &["BGE_VERSION*", "bge_version", "bge_version_string"]),
    (
        "Statuses and errors",
        &["bge_status", "BGE_OK", "BGE_ERROR_*", "bge_status_name", "BGE_NO_TEXT", "bge_error"],
    ),
    (
        "Open and close",
        &[
            "bge_model",
            "bge_device",
            "BGE_DEVICE_*",
            "bge_compute_type",
            "BGE_COMPUTE_*",
            "BGE_OPEN_SMALL_MEMORY",
            "BGE_OPEN_RAW_TOKENIZER",
            "bge_open_options",
            "BGE_OPEN_OPTIONS_INIT",
            "bge_open",
            "bge_close",
        ],
    ),
    (
        "Encode into memory of yours",
        &[
            "bge_cancel",
            "BGE_ENCODE_NORMALIZE",
            "BGE_ENCODE_REJECT_LONG",
            "BGE_ENCODE_STRIP",
            "BGE_ENCODE_PER_TEXT_ERRORS",
            "bge_encode_options",
            "BGE_ENCODE_OPTIONS_INIT",
            "bge_embeddings",
            "BGE_EMBEDDINGS_INIT",
            "bge_encode",
            "bge_encode_callback",
            "bge_encode_async",
        ],
    ),
    (
        "Encode into memory of the library",
        &[
            "BGE_OUTPUT_*",
            "bge_encode_result",
            "BGE_ENCODE_RESULT_INIT",
            "bge_encode_alloc",
            "bge_encode_alloc_async",
            "bge_encode_result_free",
        ],
    ),
    ("Stop a call", &["bge_cancel_new", "bge_cancel_trigger", "bge_cancel_free"]),
    (
        "Compare dense vectors",
        &[
            "bge_metric",
            "BGE_METRIC_*",
            "bge_similarity_options",
            "BGE_SIMILARITY_OPTIONS_INIT",
            "bge_similarity",
            "bge_similarity_pairwise",
            "BGE_NO_ROW",
            "bge_similarity_top_k",
        ],
    ),
    (
        "Compare sparse weights and multi-vectors",
        &["bge_similarity_sparse", "bge_similarity_multi", "bge_similarity_hybrid"],
    ),
    (
        "Quantize dense vectors",
        &[
            "bge_precision",
            "BGE_PRECISION_*",
            "BGE_QUANTIZE_ST5",
            "bge_quantize_options",
            "BGE_QUANTIZE_OPTIONS_INIT",
            "bge_quantize",
            "bge_quantize_ranges",
        ],
    ),
    (
        "Describe a model",
        &[
            "BGE_M3_DIM",
            "bge_info",
            "BGE_INFO_INIT",
            "bge_get_info",
            "bge_get_fingerprint",
            "bge_stats",
            "BGE_STATS_INIT",
            "bge_get_stats",
            "bge_count_tokens",
            "bge_token_text",
        ],
    ),
    ("Prepare TensorRT engines", &["bge_prepare_callback", "bge_prepare"]),
    ("Log", &["bge_log_level", "BGE_LOG_*", "bge_log_callback", "bge_set_log_callback"]),
];

fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root.join("src/ffi").join(source));
    }
    let mut generated = Vec::new();
    builder.generate().unwrap().write(&mut generated);
    String::from_utf8(generated).unwrap()
}

/// The name that a block of the header declares, or `None` for text around the declarations.
fn declared(block: &str) -> Option<&str> {
    let code: Vec<&str> = block.lines().filter(|line| !line.starts_with("//")).collect();
    let first = *code.first()?;
    let name = if let Some(definition) = first.strip_prefix("#define ") {
        definition.split([' ', '(']).next()
    } else if let Some((_, pointer)) =
        first.split_once("(*").filter(|_| first.starts_with("typedef"))
    {
        pointer.split(')').next()
    } else if first.starts_with("typedef") {
        code.last()?.trim_end_matches(';').rsplit(' ').next()
    } else if first.starts_with("BGE_API") {
        let signature = code.iter().find(|line| line.contains('('))?;
        signature.split('(').next()?.rsplit([' ', '*']).next()
    } else {
        None
    };
    name.filter(|name| name.to_ascii_lowercase().starts_with("bge_") && *name != "BGE_H")
}

/// cbindgen puts constants before types and types before functions: here each is moved into its
/// section.
fn in_sections(generated: &str) -> String {
    let mut frame = Vec::new();
    let mut items = BTreeMap::new();
    for (order, block) in generated.split("\n\n").map(|block| block.trim_matches('\n')).enumerate()
    {
        match declared(block) {
            Some(name) => {
                items.insert((order, name), block);
            }
            None => frame.push(block),
        }
    }
    let opened = frame.iter().position(|block| block.contains("extern \"C\" {")).unwrap();
    let mut header = frame[..=opened].join("\n\n");
    for (title, names) in SECTIONS {
        header += &format!("\n\n/* ===== {title} ===== */");
        for listed in *names {
            let prefix = listed.strip_suffix('*');
            let fits =
                |name: &str| prefix.map_or(name == *listed, |prefix| name.starts_with(prefix));
            let found: Vec<_> = items.keys().copied().filter(|(_, name)| fits(name)).collect();
            assert!(!found.is_empty(), "{listed} of the section {title:?} is not in src/ffi");
            for item in found {
                header += "\n\n";
                header += items.remove(&item).unwrap();
            }
        }
    }
    let left: Vec<&str> = items.keys().map(|(_, name)| *name).collect();
    assert!(left.is_empty(), "{left:?} are in no section: add them to SECTIONS");
    header + "\n\n" + &frame[opened + 1..].join("\n\n") + "\n"
}

#[test]
fn header_is_up_to_date() {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/bge.h");
    let expected = in_sections(&generated());
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&header, &expected).unwrap();
    }
    let committed = std::fs::read_to_string(&header).unwrap();
    assert!(
        expected == committed,
        "include/bge.h is out of date: run UPDATE_HEADER=1 cargo test --test it header"
    );
}

#[test]
fn the_first_function_is_on_the_first_pages() {
    let header = generated();
    let before = in_sections(&header).lines().position(|line| line.starts_with("BGE_API")).unwrap();
    assert!(before < 200, "the first function is on line {before}");
}

#[test]
#[should_panic(expected = "\"bge_new\"] are in no section")]
fn an_item_in_no_section_is_noticed() {
    in_sections(&format!("{}\n\nBGE_API void bge_new(void);", generated()));
}

#[test]
fn the_example_of_the_preamble_compiles() {
    let header = std::fs::read_to_string(root().join("include/bge.h")).unwrap();
    let example = header.lines().skip(2).map_while(|line| line.strip_prefix(" *"));
    let example: Vec<&str> = example.take_while(|line| !line.starts_with(" O")).collect();
    let source = empty_folder("header-example").join("example.c");
    let program = format!(
        "#include <bge.h>\n#include <stdio.h>\nint main(void) {{\n{}\n    bge_close(model);\n    \
         return score < 0;\n}}\n",
        example.join("\n")
    );
    std::fs::write(&source, program).unwrap();
    run(cc()
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
        .arg(root().join("include"))
        .arg(source));
}
