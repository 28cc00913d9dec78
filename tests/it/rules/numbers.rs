//! Every number of the header that names a metric, a status, a compute type, a precision or a log
//! level is in the crate and in every binding.

use bge::{ComputeType, ErrorKind, LogLevel, Metric, Precision};

use crate::support::build::root;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Name and number of each `BGE_{family}_` constant of the header.
fn header(family: &str) -> Vec<(String, i64)> {
    read("include/bge.h")
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("#define BGE_{family}_"))?.split_once(' '))
        .map(|(name, number)| (name.to_string(), number.parse().unwrap()))
        .collect()
}

fn named<T: Copy + std::fmt::Debug>(all: &[T], code: impl Fn(T) -> u32) -> Vec<(String, i64)> {
    all.iter().map(|&value| (format!("{value:?}").to_uppercase(), code(value).into())).collect()
}

#[test]
fn the_crate_has_the_numbers_of_the_header() {
    assert_eq!(named(&Metric::ALL, Metric::code), header("METRIC"));
    assert_eq!(named(&Precision::ALL, Precision::code), header("PRECISION"));
    assert_eq!(named(&ComputeType::ALL, ComputeType::code), header("COMPUTE"));
    let off = vec![("OFF".to_string(), 0)];
    assert_eq!([off, named(&LogLevel::ALL, LogLevel::code)].concat(), header("LOG"));
    let kinds: Vec<(String, i64)> = ErrorKind::ALL
        .iter()
        .map(|kind| (kind.name().replace("BGE_ERROR_", ""), kind.code().into()))
        .collect();
    assert_eq!(kinds, header("ERROR"));
}

/// C++ takes statuses, compute types and log levels from the header as they are.
#[test]
fn every_binding_has_the_constants_of_the_header() {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '.')
            .map(str::to_string)
            .collect()
    };
    let cpp = words(&read("bindings/cpp/bge.hpp"));
    let go = words(
        &["bge", "errors", "log", "scores"]
            .map(|name| read(&format!("bindings/go/{name}.go")))
            .concat(),
    );
    for (family, java) in [
        ("METRIC", "Metric"),
        ("PRECISION", "Precision"),
        ("COMPUTE", "ComputeType"),
        ("LOG", "LogLevel"),
        ("ERROR", "ErrorCode"),
    ] {
        let constants = header(family);
        assert!(constants.len() > 3, "the header has {constants:?} of BGE_{family}_");
        let java_file = format!("bindings/java/src/main/java/dev/libbge/{java}.java");
        let java = read(&java_file);
        for (name, number) in constants {
            let constant = format!("BGE_{family}_{name}");
            assert!(go.contains(&format!("C.{constant}")), "bindings/go lacks {constant}");
            assert!(
                java.contains(&format!("    {name}({number})")),
                "{java_file} lacks {constant}"
            );
            if matches!(family, "METRIC" | "PRECISION") {
                assert!(cpp.contains(&constant), "bindings/cpp/bge.hpp lacks {constant}");
            }
        }
    }
}
