//! ONNX files of a few hundred bytes that ask for all memory, or for a run without end: each is
//! refused in seconds, in little memory.

use std::time::{Duration, Instant};

use bge::ErrorKind::{self, ModelInvalid, Unsupported};
use bge::{EncodeOptions, OpenOptions};

use crate::support::models::{BGE, Copy, open};

/// A field of protobuf that holds bytes.
fn field(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// An attribute, whose value is the rest of its fields.
fn attribute(name: &str, kind: u64, value: &[u8]) -> Vec<u8> {
    [field(1, name.as_bytes()), value.to_vec(), number(20, kind)].concat()
}

fn of_int(name: &str, value: u64) -> Vec<u8> {
    attribute(name, 2, &number(3, value))
}

/// A node, as a field of its graph, or of its function with another number.
fn node_in(
    place: u64,
    operator: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[Vec<u8>],
) -> Vec<u8> {
    let (domain, name) = operator.split_once("::").unwrap_or(("", operator));
    let texts = |number: u64, texts: &[&str]| -> Vec<u8> {
        texts.iter().flat_map(|text| field(number, text.as_bytes())).collect()
    };
    let attributes = attributes.iter().flat_map(|attribute| field(5, attribute)).collect();
    let parts = [
        texts(1, inputs),
        texts(2, outputs),
        field(4, name.as_bytes()),
        attributes,
        field(7, domain.as_bytes()),
    ];
    field(place, &parts.concat())
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    node_in(1, operator, inputs, outputs, &[])
}

/// The numbers of a constant.
fn integers(name: &str, shape: &[u64], numbers: &[i64]) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|&size| number(1, size)).collect();
    let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    field(5, &[dims, number(2, 7), field(8, name.as_bytes()), field(9, &raw)].concat())
}

/// An input, an output, or a value of a subgraph.
fn value(place: u64, name: &str, kind: u64, shape: &[&str]) -> Vec<u8> {
    let dims: Vec<u8> = shape
        .iter()
        .flat_map(|size| match size.parse() {
            Ok(size) => field(1, &number(1, size)),
            Err(_) => field(1, &field(2, size.as_bytes())),
        })
        .collect();
    let tensor = field(1, &[number(1, kind), field(2, &dims)].concat());
    field(place, &[field(1, name.as_bytes()), field(2, &tensor)].concat())
}

const KEEP: u64 = 1;

/// A model whose vectors are the mean id of each text plus the sum of `big`.
fn model(parts: &[Vec<u8>], functions: &[Vec<u8>], shape: [&str; 2]) -> Vec<u8> {
    let of_shape = |name: &str| value(11, name, 7, &shape);
    let mean = [attribute("axes", 7, &number(8, 1)), of_int("keepdims", KEEP)];
    let tail = [
        node_in(1, "ReduceSum", &["big"], &["sum"], &[of_int("keepdims", 0)]),
        node_in(1, "Cast", &["input_ids"], &["ids"], &[of_int("to", 1)]),
        node("Add", &["ids", "sum"], &["moved"]),
        node_in(1, "ReduceMean", &["moved"], &["sentence_embedding"], &mean),
        of_shape("input_ids"),
        of_shape("attention_mask"),
        value(12, "sentence_embedding", 1, &[shape[0], "1"]),
        field(2, b"g"),
    ];
    let graph = field(7, &[parts.concat(), tail.concat()].concat());
    let opsets = ["", "own"].map(|domain| {
        field(
            8,
            &[field(1, domain.as_bytes()), number(2, if domain.is_empty() { 13 } else { 1 })]
                .concat(),
        )
    });
    [number(1, 8), opsets.concat(), graph, functions.concat()].concat()
}

const FREE: [&str; 2] = ["b", "s"];

fn bombs() -> Vec<(&'static str, Vec<u8>, ErrorKind, &'static str)> {
    let filled = |shape: &[i64]| {
        vec![
            integers("shape", &[shape.len() as u64], shape),
            node("ConstantOfShape", &["shape"], &["big"]),
        ]
    };
    let of_each_token = |times: i64| {
        vec![
            integers("times", &[2], &[1, times]),
            node("Shape", &["input_ids"], &["own_shape"]),
            node("Mul", &["own_shape", "times"], &["shape"]),
            node("ConstantOfShape", &["shape"], &["big"]),
        ]
    };
    let body = [
        node("Identity", &["c"], &["c2"]),
        node("Identity", &["v"], &["v2"]),
        field(2, b"body"),
        value(11, "i", 7, &[]),
        value(11, "c", 9, &[]),
        value(11, "v", 7, &[]),
        value(12, "c2", 9, &[]),
        value(12, "v2", 7, &[]),
    ];
    let of_body = [attribute("body", 5, &field(6, &body.concat()))];
    let yes = field(5, &[number(2, 9), field(8, b"yes"), field(9, &[1])].concat());
    let endless = vec![
        integers("turns", &[], &[1 << 62]),
        integers("zero", &[], &[0]),
        yes,
        node_in(1, "Loop", &["turns", "yes", "zero"], &["big"], &of_body),
    ];
    let doubled = |operator: &'static str| {
        let mut parts = vec![node_in(1, "Cast", &["input_ids"], &["x0"], &[of_int("to", 1)])];
        for index in 0..40 {
            let (from, to) = (format!("x{index}"), format!("x{}", index + 1));
            let joined = [of_int("axis", 1)];
            parts.push(node_in(1, operator, &[&from, &from], &[&to], &joined));
        }
        parts.push(node("Identity", &["x40"], &["big"]));
        parts
    };
    // Products of matrices that fit into memory, and take minutes in all.
    let mut products =
        vec![integers("shape", &[2], &[2500, 2500]), node("ConstantOfShape", &["shape"], &["x0"])];
    for index in 0..400 {
        let (from, to) = (format!("x{index}"), format!("x{}", index + 1));
        products.push(node("MatMul", &[&from, "x0"], &[&to]));
    }
    products.push(node("Identity", &["x400"], &["big"]));
    let function = |index: usize| {
        let below = if index == 0 { "Neg".into() } else { format!("own::f{}", index - 1) };
        let parts = [
            field(1, format!("f{index}").as_bytes()),
            field(4, b"x"),
            field(5, b"z"),
            node_in(7, &below, &["x"], &["y"], &[]),
            node_in(7, &below, &["y"], &["z"], &[]),
            field(9, &[field(1, b""), number(2, 13)].concat()),
            field(9, &[field(1, b"own"), number(2, 1)].concat()),
            field(10, b"own"),
        ];
        field(25, &parts.concat())
    };
    let functions: Vec<Vec<u8>> = (0..28).map(function).collect();
    let called = vec![
        node_in(1, "Cast", &["input_ids"], &["x"], &[of_int("to", 1)]),
        node("own::f27", &["x"], &["big"]),
    ];
    let sparse = field(
        15,
        &[
            field(1, &[number(1, 1), number(2, 1), field(8, b"big"), field(9, &[0; 4])].concat()),
            field(2, &[number(1, 1), number(2, 7), field(8, b"at"), field(9, &[0; 8])].concat()),
            number(3, 1 << 40),
        ]
        .concat(),
    );
    let cast = |from: &str| node_in(1, "Cast", &[from], &["big"], &[of_int("to", 1)]);
    let of_size = |shape: &[u64]| vec![integers("whole", shape, &[1]), cast("whole")];
    let entry = |key: &str, value: &str| {
        field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
    };
    let elsewhere = field(
        5,
        &[
            number(1, 1 << 33),
            number(2, 1),
            field(8, b"big"),
            entry("location", "model.onnx"),
            entry("offset", "0"),
            entry("length", &(1_u64 << 36).to_string()),
            number(14, 1),
        ]
        .concat(),
    );
    let mut shapes = vec![node("Shape", &["input_ids"], &["x0"])];
    for index in 0..40 {
        let (from, to) = (format!("x{index}"), format!("x{}", index + 1));
        shapes.push(node_in(1, "Concat", &[&from, &from], &[&to], &[of_int("axis", 0)]));
    }
    shapes.push(cast("x40"));
    let range = vec![
        integers("from", &[], &[0]),
        integers("to", &[], &[1 << 40]),
        integers("step", &[], &[1]),
        node("Range", &["from", "to", "step"], &["whole"]),
        cast("whole"),
    ];
    let plain = |parts: Vec<Vec<u8>>| model(&parts, &[], FREE);
    vec![
        ("a loop", plain(endless), Unsupported, "\"Loop\""),
        (
            "noise",
            plain(vec![node("RandomNormal", &[], &["big"])]),
            Unsupported,
            "\"RandomNormal\"",
        ),
        ("filled", plain(filled(&[1 << 29])), ModelInvalid, "takes more than"),
        ("filled far", plain(filled(&[1 << 40])), ModelInvalid, "takes more than"),
        ("for each token", plain(of_each_token(1 << 27)), ModelInvalid, "takes more than"),
        ("joined with itself", plain(doubled("Concat")), ModelInvalid, "takes more than"),
        ("products", plain(products), ModelInvalid, "had not ended after 4 s"),
        ("functions", model(&called, &functions, FREE), Unsupported, "more than 262144 operators"),
        ("a sparse tensor", plain(vec![sparse]), Unsupported, "has sparse tensors"),
        ("a huge constant", plain(of_size(&[1 << 40])), ModelInvalid, "cannot load"),
        ("sizes that overflow", plain(of_size(&[1 << 62, 1 << 62])), ModelInvalid, "cannot load"),
        ("itself as its data", plain(vec![elsewhere]), ModelInvalid, "8589934592 numbers"),
        ("shapes joined", plain(shapes), ModelInvalid, "takes more than"),
        ("a range", plain(range), ModelInvalid, "takes more than"),
        ("a fixed size", model(&filled(&[4]), &[], ["65536", "65536"]), Unsupported, "65536 texts"),
    ]
}

fn copy_with(file: &[u8]) -> Copy {
    let copy = Copy::of("exports/aapot");
    copy.remove("model.onnx.data");
    copy.write("model.onnx", file);
    copy
}

#[test]
fn the_files_are_right_but_for_what_they_ask_for() {
    let little = vec![integers("shape", &[1], &[4]), node("ConstantOfShape", &["shape"], &["big"])];
    let model = open(&copy_with(&model(&little, &[], FREE)).dir).unwrap();
    let dense = model.encode(&["", "a"], &EncodeOptions::default()).unwrap().dense;
    assert_eq!(dense, [1.0, 4.0], "the mean ids of <s> </s>, and of <s> a </s>");
}

#[test]
fn a_small_file_takes_little_memory_and_little_time() {
    for (case, file, kind, words) in bombs() {
        let copy = copy_with(&file);
        let started = Instant::now();
        copy.is_refused(case, kind, &["model.onnx", words]);
        let time = started.elapsed();
        assert!(time < Duration::from_secs(20), "{case} took {time:?}");
        if case == "products" {
            // It takes time, not memory, and the time was measured.
            continue;
        }
        // In a process that may have no more memory than it takes to refuse.
        let mut limited = std::process::Command::new("bash");
        limited.args(["-c", "ulimit -v 3000000; exec \"$0\" info --threads 1 \"$1\"", BGE]);
        let output = limited.arg(&copy.dir).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{case}: {said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{case}: {said}");
    }
}

#[test]
fn a_text_that_takes_more_than_an_export_needs_is_an_error_of_that_text() {
    // 2^20 numbers for each pair of tokens.
    let parts = vec![
        integers("times", &[2], &[1 << 16, 1 << 4]),
        node("Shape", &["input_ids"], &["own_shape"]),
        node("Gather", &["own_shape", "one"], &["length"]),
        integers("one", &[], &[1]),
        node("Mul", &["length", "times"], &["shape"]),
        node("ConstantOfShape", &["shape"], &["big"]),
    ];
    let copy = copy_with(&model(&parts, &[], FREE));
    let options = OpenOptions { threads: 1, ..OpenOptions::default() };
    let model = bge::Model::open(&copy.dir, &options).unwrap();
    let e = model.encode(&[&"di ".repeat(100)], &EncodeOptions::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::OutOfMemory, "{e}");
    assert!(e.to_string().contains("set a smaller max_tokens"), "{e}");
    model.encode(&["di"], &EncodeOptions::default()).unwrap();
}
