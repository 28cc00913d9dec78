//! The command `bge` as a user and a program meet it: its streams and its exit codes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use bge::{EncodeOptions, Model, OpenOptions, Outputs};
use serde::Deserialize;
use serde_json::{Value, json};

/// Long enough for any machine, so that a hang is a failure and not a wait.
const GUARD: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub dense: Vec<f32>,
    sparse: Option<BTreeMap<u32, f32>>,
    multi: Option<Vec<Vec<f32>>>,
    token_embeddings: Option<Vec<Vec<f32>>>,
    tokens: usize,
    truncated: bool,
}

pub fn tiny(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tiny").join(name);
    path.to_str().unwrap().into()
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bge"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn bge(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

pub fn encode(model: &str, input: impl AsRef<[u8]>) -> Output {
    let mut child = command(&["encode", &tiny(model)]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.as_ref().to_vec();
    // The command may end before it has read everything.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output
}

pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

pub fn lines(output: &Output) -> Vec<Line> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn assert_succeeded(output: &Output) {
    assert_eq!((output.status.code(), stderr(output)), (Some(0), ""));
}

pub fn assert_failed(output: &Output, code: i32, message: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    assert!(stderr(output).contains(message), "{}", stderr(output));
}

fn model(name: &str) -> Model {
    Model::open(tiny(name), &OpenOptions::default()).unwrap()
}

/// A file that is the input of the command.
fn input_file(name: &str, input: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, input).unwrap();
    path
}

#[test]
fn encode_writes_the_vectors_of_the_library_exactly() {
    let texts = ["a", "", "Orang-orang ada di luar.", "\u{1f642} \u{0} \n", &"di ".repeat(200)];
    let input: String =
        texts.iter().map(|text| serde_json::to_string(text).unwrap() + "\n").collect();
    let file = File::open(input_file("exactly.jsonl", &input)).unwrap();
    let output = command(&["encode", &tiny("cls")]).stdin(file).output().unwrap();
    assert_succeeded(&output);
    let expected = model("cls").encode(&texts, &EncodeOptions::default()).unwrap();
    let lines = lines(&output);
    assert_eq!(lines.len(), texts.len());
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line.dense, expected.dense[index * expected.dim..][..expected.dim]);
        assert_eq!(line.tokens, expected.usage[index].tokens);
        assert_eq!(line.truncated, expected.usage[index].truncated);
    }
    assert!(lines[4].truncated);
}

#[test]
fn encode_takes_its_options() {
    let file = File::open(input_file("options.jsonl", "\" a b c d \"\n")).unwrap();
    let args = "--prompt query --max-tokens 6 --strip --truncate-dim 8 --normalize --chunk 1";
    let args: Vec<&str> = args.split(' ').collect();
    let output = command(&[&["encode", &tiny("prompts")], args.as_slice()].concat())
        .stdin(file)
        .output()
        .unwrap();
    assert_succeeded(&output);
    let options = EncodeOptions {
        prompt: Some("query".into()),
        max_tokens: 6,
        strip: true,
        truncate_dim: 8,
        normalize: true,
        ..EncodeOptions::default()
    };
    let expected = model("prompts").encode(&[" a b c d "], &options).unwrap();
    assert_eq!(expected.dense.len(), 8);
    assert_eq!(lines(&output)[0].dense, expected.dense);
    assert_eq!(lines(&output)[0].tokens, 6);
}

#[test]
fn encode_writes_the_outputs_that_are_asked_for_and_no_others() {
    let texts = ["Orang-orang ada di luar.", ""];
    let input: String = texts.map(|text| format!("{text:?}\n")).concat();
    let outputs = Outputs { dense: true, sparse: true, multi: true, tokens: true };
    let options = EncodeOptions { outputs, ..EncodeOptions::default() };
    let expected = model("heads").encode(&texts, &options).unwrap();
    let (sparse, multi) = (expected.sparse.unwrap(), expected.multi.unwrap());
    let tokens = expected.tokens.unwrap();
    let all = ["--multi", "--sparse", "--tokens"];
    for flags in [&[][..], &["--sparse"], &["--multi"], &["--tokens"], &all] {
        let file = File::open(input_file("outputs.jsonl", &input)).unwrap();
        let output = command(&["encode", &tiny("heads")]).args(flags).stdin(file).output().unwrap();
        assert_succeeded(&output);
        let lines = lines(&output);
        for (index, line) in lines.iter().enumerate() {
            assert_eq!(line.sparse.is_some(), flags.contains(&"--sparse"));
            assert_eq!(line.multi.is_some(), flags.contains(&"--multi"));
            assert_eq!(line.token_embeddings.is_some(), flags.contains(&"--tokens"));
            let near = |a: f32, b: f32| assert!((a - b).abs() <= 2e-6, "{a} is not {b}");
            if let Some(ours) = &line.sparse {
                assert_eq!(ours.len(), sparse.of(index).count());
                ours.iter().zip(sparse.of(index)).for_each(|((_, &a), (_, b))| near(a, b));
            }
            if let Some(ours) = &line.multi {
                assert_eq!(ours.len(), line.tokens - 1);
                ours.concat().iter().zip(multi.of(index)).for_each(|(&a, &b)| near(a, b));
            }
            if let Some(ours) = &line.token_embeddings {
                assert_eq!(ours.len(), line.tokens);
                let ours = ours.concat();
                assert_eq!(ours.len(), tokens.of(index).len());
                ours.iter().zip(tokens.of(index)).for_each(|(&a, &b)| near(a, b));
            }
        }
    }
    let refused = command(&["encode", &tiny("cls"), "--sparse"])
        .stdin(File::open(input_file("outputs.jsonl", &input)).unwrap())
        .output()
        .unwrap();
    assert_failed(&refused, 3, "the model has neither sparse_linear.pt nor");
}

#[test]
fn heads_come_from_the_folder_that_is_named() {
    let heads = tiny("heads-forms/f16");
    let output = bge(&["info", "--json", &tiny("cls"), "--heads", &heads]);
    assert_succeeded(&output);
    let facts: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(facts["outputs"], json!(["dense", "sparse", "multi", "tokens"]));
    assert_eq!(facts["weight_files"][2], json!(format!("{heads}/colbert_linear.pt")));
    assert_failed(&bge(&["info", &tiny("cls"), "--heads", &tiny("cls")]), 3, "has no head");
}

#[test]
fn a_text_that_cannot_be_encoded_has_an_error_for_an_answer() {
    let input = "\"a\"\n\"a b c d e f\"\n\"b\"\n\"a b c d e f g\"\n";
    let with = |input: &str, more: &[&str]| {
        let file = File::open(input_file("faults.jsonl", input)).unwrap();
        let mut command = command(&["encode", &tiny("cls"), "--reject-long", "--max-tokens", "6"]);
        command.args(more).stdin(file).output().unwrap()
    };
    for more in [&[][..], &["--chunk", "1"]] {
        let output = with(input, more);
        assert_failed(&output, 1, "bge: 2 of 4 lines have an \"error\" for an answer\n");
        let lines: Vec<Value> =
            stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        for (index, line) in lines.iter().enumerate() {
            let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
            if index % 2 == 0 {
                assert_eq!(keys, ["dense", "tokens", "truncated"]);
            } else {
                assert_eq!(keys, ["code", "error"]);
                assert_eq!(line["code"], "BGE_ERROR_TEXT_TOO_LONG");
                assert!(line["error"].as_str().unwrap().contains("more than 6 tokens"), "{line}");
            }
        }
    }
    assert_succeeded(&with("\"a\"\n", &[]));
}

#[test]
fn no_input_gives_no_output() {
    let output = encode("cls", "");
    assert_succeeded(&output);
    assert_eq!(stdout(&output), "");
}

#[test]
fn line_ends_of_windows_and_a_last_line_without_one_are_fine() {
    let output = encode("cls", "\"a\"\r\n  \"b\"\t\r\n\"c\"");
    assert_succeeded(&output);
    assert_eq!(lines(&output).len(), 3);
}

#[test]
fn a_line_may_be_huge() {
    let output = encode("cls", format!("\"{}\"\n\"b\"\n", "kata ".repeat(400_000)));
    assert_succeeded(&output);
    let lines = lines(&output);
    assert_eq!((lines.len(), lines[0].tokens, lines[0].truncated), (2, 128, true));
}

#[test]
fn many_lines_keep_their_order() {
    let texts: Vec<String> = (0..3000).map(|index| format!("teks {}", index % 50)).collect();
    let input: String = texts.iter().map(|text| format!("\"{text}\"\n")).collect();
    let output = encode("cls", input);
    assert_succeeded(&output);
    let lines = lines(&output);
    assert_eq!(lines.len(), texts.len());
    for (index, line) in lines.iter().enumerate() {
        let difference = |(a, b): (&f32, &f32)| (a - b).abs();
        let same = &lines[index % 50].dense;
        assert!(line.dense.iter().zip(same).map(difference).all(|difference| difference < 2e-6));
    }
}

/// Reads a line, or ends the command if it does not come.
fn next_line(child: &mut Child, from: &mut Option<BufReader<std::process::ChildStdout>>) -> String {
    let mut reader = from.take().unwrap();
    let (told, heard) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = reader.read_line(&mut line);
        let _ = told.send((reader, line));
    });
    let Ok((reader, line)) = heard.recv_timeout(GUARD) else {
        child.kill().unwrap();
        panic!("the command waits for more input before it answers");
    };
    *from = Some(reader);
    line
}

#[test]
fn answers_come_when_the_input_pauses() {
    let mut child = command(&["encode", &tiny("cls")]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut reader = child.stdout.take().map(BufReader::new);
    for input in ["\"a\"\n", "\"b\"\n\"c\"\n", "\"d\"\n\"begun"] {
        stdin.write_all(input.as_bytes()).unwrap();
        for _ in 0..input.matches('\n').count() {
            let line = next_line(&mut child, &mut reader);
            assert!(line.starts_with("{\"dense\":["), "{line}");
        }
    }
    stdin.write_all(b" and ended\"").unwrap();
    drop(stdin);
    assert!(next_line(&mut child, &mut reader).starts_with("{\"dense\":["));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = command(&["encode", &tiny("cls")]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut reader = child.stdout.take().map(BufReader::new);
    stdin.write_all(b"\"a\"\n").unwrap();
    next_line(&mut child, &mut reader);
    drop(reader);
    while stdin.write_all(b"\"b\"\n").is_ok() {}
    assert_succeeded(&child.wait_with_output().unwrap());
}

#[test]
fn a_full_disk_is_a_failure_to_write() {
    if let Ok(full) = File::options().write(true).open("/dev/full") {
        for args in [vec!["info", &tiny("cls")], vec!["similarity", &tiny("cls"), "a", "b"]] {
            let output = command(&args).stdout(full.try_clone().unwrap()).output().unwrap();
            assert_failed(&output, 4, "reading or writing failed");
        }
    }
}

#[test]
fn info_tells_what_the_library_tells() {
    let output = bge(&["info", &tiny("default-prompt"), "--json"]);
    assert_succeeded(&output);
    let facts: Value = serde_json::from_str(stdout(&output)).unwrap();
    let model = model("default-prompt");
    let info = model.info();
    assert_eq!(facts["fingerprint"], model.fingerprint().unwrap());
    assert_eq!(facts["modules"], serde_json::json!(["transformer", "pooling", "normalize"]));
    for (name, value) in [
        ("layers", info.layers),
        ("heads", info.heads),
        ("intermediate", info.intermediate),
        ("vocabulary", info.vocab_size),
        ("dense_dim", info.dense_dim),
        ("multi_dim", info.multi_dim),
        ("token_dim", info.token_dim),
        ("max_tokens", info.max_tokens),
        ("threads", info.threads),
        ("max_batch_tokens", info.max_batch_tokens),
    ] {
        assert_eq!(facts[name], value, "{name}");
    }
    assert_eq!(facts["precision"], info.precision);
    assert_eq!(facts["pooling"], info.pooling);
    assert_eq!(facts["prompts"]["query"], "query: ");
    assert_eq!(facts["default_prompt"], "query");
    assert_eq!(facts["similarity"], "cosine");
    assert_eq!(facts["outputs"], serde_json::json!(["dense", "tokens"]));
    let heads = bge(&["info", &tiny("heads")]);
    assert!(stdout(&heads).contains("outputs           dense, sparse, multi, tokens\n"));
    assert!(stdout(&heads).contains("multi_dim         8\n"));
    assert!(stdout(&heads).contains("colbert_linear.safetensors"));
    let people = bge(&["info", &tiny("default-prompt")]);
    assert_succeeded(&people);
    for fact in [
        "modules           transformer, pooling, normalize\n",
        "prompts           passage \"passage: \", query \"query: \"\n",
        "default_prompt    query\n",
        "similarity        cosine\n",
        "max_tokens        128\n",
    ] {
        assert!(stdout(&people).contains(fact), "{}", stdout(&people));
    }
}

#[test]
fn similarity_prints_the_best_first_with_four_digits() {
    let output = bge(&["similarity", &tiny("cls"), "a", "c d", "a", "b"]);
    assert_succeeded(&output);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines[0], "1.0000  a");
    let scores: Vec<f32> =
        lines.iter().map(|line| line.split("  ").next().unwrap().parse().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b));
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line.split_once("  ").unwrap().0.len() == 6));
}

#[test]
fn similarity_as_json_keeps_the_order_and_all_digits() {
    let output =
        bge(&["similarity", &tiny("cls"), "--json", "--metric", "euclidean", "a", "c d", "a"]);
    assert_succeeded(&output);
    let scores: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(scores["source"], "a");
    assert_eq!(scores["scores"][0]["sentence"], "c d");
    assert_eq!(scores["scores"][1]["sentence"], "a");
    let vectors = model("cls").encode(&["a", "c d", "a"], &EncodeOptions::default()).unwrap();
    let rows = vectors.dense.chunks_exact(vectors.dim).collect::<Vec<_>>();
    let distance = rows[0].iter().zip(rows[1]).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
    let score = scores["scores"][0]["score"].as_f64().unwrap();
    assert!((score + f64::from(distance)).abs() < 1e-6);
}

#[test]
fn similarity_compares_as_the_model_says_unless_told_otherwise() {
    // By the dot product, which is far from the cosine where vectors are not scaled.
    let scores = |metric: &[&str]| {
        let args = ["similarity", &tiny("bert-cased"), "a", "a b"];
        let output = bge(&[args.as_slice(), metric].concat());
        assert_succeeded(&output);
        stdout(&output).to_string()
    };
    assert_eq!(scores(&[]), scores(&["--metric", "dot"]));
    assert_ne!(scores(&[]), scores(&["--metric", "cosine"]));
    let info = bge(&["info", &tiny("bert-cased")]);
    assert!(stdout(&info).contains("similarity        dot\n"), "{}", stdout(&info));
}

#[test]
fn wrong_usage_ends_with_2() {
    let cls = tiny("cls");
    for args in [
        vec![],
        vec!["unknown"],
        vec!["info"],
        vec!["info", &cls, "--unknown"],
        vec!["encode", &cls, "--chunk", "0"],
        vec!["encode", &cls, "--threads", "many"],
        vec!["encode", &cls, "--threads", "100000"],
        vec!["similarity", &cls, "only a source"],
        vec!["similarity", &cls, "a", "b", "--max-tokens", "1"],
        vec!["similarity", &cls, "a", "b", "--prompt", "unknown"],
    ] {
        let output = bge(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
        assert_ne!(stderr(&output), "", "{args:?}");
    }
}

#[test]
fn a_model_or_a_runtime_that_cannot_be_used_ends_with_3() {
    assert_failed(&bge(&["info", &tiny("missing")]), 3, "missing");
    assert_failed(&bge(&["encode", env!("CARGO_MANIFEST_DIR")]), 3, "modules.json");
    let runtime = tiny("no-such-library.so");
    let output = bge(&["info", &tiny("cls"), "--runtime-library", &runtime]);
    assert_failed(&output, 3, "no-such-library.so");
}

#[test]
fn help_lists_the_exit_codes() {
    let output = bge(&["--help"]);
    assert_succeeded(&output);
    assert!(stdout(&output).contains("Exit codes:\n  0  success\n"), "{}", stdout(&output));
    assert_succeeded(&bge(&["encode", "--help"]));
}

#[test]
fn the_version_tells_the_revision_and_the_runtime() {
    for flag in ["--version", "-V"] {
        let output = bge(&[flag]);
        assert_succeeded(&output);
        let [version, runtime] = stdout(&output).lines().collect::<Vec<_>>()[..] else {
            panic!("{}", stdout(&output))
        };
        assert_eq!(version, format!("bge {}", bge::VERSION));
        let path = std::env::var("BGE_ORT_LIBRARY").unwrap_or_default();
        let name = Path::new(&path).file_name().unwrap().to_str().unwrap();
        assert!(runtime.starts_with("onnxruntime 1.") && runtime.contains(name), "{runtime}");
    }
    let output = command(&["--version"]).env("BGE_ORT_LIBRARY", "/nowhere/it.so").output().unwrap();
    assert_succeeded(&output);
    assert!(stdout(&output).contains("\nno onnxruntime: "), "{}", stdout(&output));
}

/// The first CPU that this process may use.
fn first_cpu() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list.trim().split([',', '-']).next()?.into())
}

#[test]
fn threads_follow_the_affinity_mask() {
    let threads = |mut command: Command| {
        let output = command.output().ok()?;
        assert_succeeded(&output);
        let facts: Value = serde_json::from_str(stdout(&output)).unwrap();
        facts["threads"].as_u64()
    };
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &first_cpu().unwrap_or_default(), env!("CARGO_BIN_EXE_bge")]);
    pinned.args(["info", "--json", &tiny("cls")]);
    match threads(pinned) {
        Some(threads) => assert_eq!(threads, 1),
        None => println!("skipped: taskset does not exist here"),
    }
    let asked = command(&["info", "--json", "--threads", "3", &tiny("cls")]);
    assert_eq!(threads(asked), Some(3));
}
