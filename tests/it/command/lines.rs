//! `bge encode` for lines that are no texts, and the command for files that are not in UTF-8.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::command::streams::{
    assert_failed, assert_succeeded, bge, command, encode, lines, stderr, stdout, tiny,
};
use crate::support::build::has;
use crate::support::models::BGE;

/// The answers to lines. Only good lines have a vector.
fn answers(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_bad_line_is_answered_with_an_error_and_the_others_go_on() {
    let not_json = ("is not a JSON string", "BGE_ERROR_INVALID_ARGUMENT");
    let bad: [(&[u8], (&str, &str)); 12] = [
        (b"nonsense", not_json),
        (b"\"open", not_json),
        (b"{\"text\":\"a\"}", not_json),
        (b"[1, 2]", not_json),
        (b"null", not_json),
        (b"\"a\" \"b\"", not_json),
        (b"\"\0a\"", not_json),
        (b"\xef\xbb\xbf\"a\"", not_json),
        (b"\"\\ud83d\"", ("half of a surrogate pair", "BGE_ERROR_INVALID_UTF8")),
        (b"\"a \\udc00 b\"", ("half of a surrogate pair", "BGE_ERROR_INVALID_UTF8")),
        (b"\"\xff\"", ("is not UTF-8", "BGE_ERROR_INVALID_UTF8")),
        (b" \t", ("is blank; an empty text is \"\"", "BGE_ERROR_INVALID_ARGUMENT")),
    ];
    for (line, (words, code)) in bad {
        let output = encode("cls", [b"\"a\"\n\"b\"\n", line, b"\n\"c\"\n"].concat());
        assert_failed(&output, 1, "bge: 1 of 4 lines have an \"error\" for an answer\n");
        let answers = answers(&output);
        assert_eq!(answers.len(), 4, "{words}");
        assert!([0, 1, 3].iter().all(|&good| answers[good]["dense"].is_array()), "{words}");
        let error = answers[2]["error"].as_str().unwrap();
        assert!(error.starts_with("line 3 of the input ") && error.contains(words), "{error}");
        assert_eq!(answers[2]["code"], code, "{error}");
    }
    // Whatever stands around it, and where no line is good.
    let input = [bad.map(|(line, _)| line).join(&b"\n"[..]), b"\n\"last\"".to_vec()].concat();
    for chunk in ["1", "3", "256"] {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bad-{chunk}.jsonl"));
        std::fs::write(&path, &input).unwrap();
        let output = command(&["encode", &tiny("cls"), "--chunk", chunk])
            .stdin(File::open(path).unwrap())
            .output()
            .unwrap();
        assert_failed(&output, 1, "12 of 13 lines");
        let answers = answers(&output);
        for (number, answer) in (1..).zip(&answers[..12]) {
            let error = answer["error"].as_str().unwrap();
            assert!(error.starts_with(&format!("line {number} of the input ")), "{error}");
        }
        assert!(answers[12]["dense"].is_array());
    }
}

#[test]
fn the_input_may_begin_with_a_byte_order_mark_and_utf_16_is_named() {
    let output = encode("cls", b"\xef\xbb\xbf\"a\"\n\"b\"\n");
    assert_succeeded(&output);
    assert_eq!(lines(&output)[0].dense, lines(&encode("cls", "\"a\"\n"))[0].dense);
    for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        let input: Vec<u8> = "\u{feff}\"a\"\n\"b\"\n".encode_utf16().flat_map(bytes).collect();
        let output = encode("cls", input);
        assert_failed(&output, 1, "the input is in UTF-16");
        let answers = answers(&output);
        assert_eq!(answers.len(), 1);
        assert!(answers[0]["error"].as_str().unwrap().contains("UTF-16"));
    }
    // Without a byte order mark each line is decoded as a guess, and an error in one does not stop
    // the others.
    let output = encode("cls", b"\"\0a\0\"\0\n\0\"\0\xe9\0\"\0\n\0\n\"b\"\n");
    assert_failed(&output, 1, "3 of 4 lines");
    assert!(
        answers(&output)[..2].iter().all(|it| it["error"].as_str().unwrap().contains("UTF-16"))
    );
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("utf-16.txt");
    std::fs::write(&file, b"\xff\xfea\0\n\0").unwrap();
    let file = file.to_str().unwrap();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("utf-16-out");
    let model = tiny("cls");
    for args in [
        vec!["quantize", &model, out.to_str().unwrap(), "--texts", file],
        vec!["encode", &model, "--precision", "int8", "--ranges", file],
        vec!["selftest", &model, "--reference", file],
    ] {
        let output = bge(&args);
        assert!(stderr(&output).contains("is in UTF-16"), "{}", stderr(&output));
        assert!(!output.status.success());
    }
}

#[test]
fn options_that_no_text_could_be_encoded_with_are_refused_without_any() {
    for args in [["--prompt", "nope"], ["--truncate-dim", "9999"], ["--max-tokens", "1"]] {
        let output = command(&["encode", &tiny("cls")]).args(args).output().unwrap();
        assert_failed(&output, 2, "");
        assert_eq!(stdout(&output), "");
    }
}

/// Without a word, it would seem to hang.
#[test]
fn on_a_terminal_it_says_what_it_waits_for() {
    if !has("script", "standard input was not tried as a terminal") {
        return;
    }
    let line = format!("{BGE} encode {}", tiny("cls"));
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(stdout(&output).contains("bge: waiting for lines on standard input"), "{output:?}");
    // A pipe is no terminal.
    assert_succeeded(&encode("cls", "\"a\"\n"));
}
