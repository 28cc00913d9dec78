//! The memory of a batch, measured in a process of its own.

use bge::{ComputeType, EncodeOptions, ErrorKind, Model, OpenOptions};

use crate::support::child::{self, assert_passed};
use crate::support::models::tiny_dir;

/// The variable that tells the child which case to run.
const CASE: &str = "BGE_TEST_MEMORY";
/// Twice the memory that other parts of a process allocate meanwhile, with the rounding to pages.
const SLACK: usize = 4 << 20;
/// For the shape of that model: the states, the activations of the wide half of a layer and its
/// output, and one more state, since blocks do not fit together exactly.
const BYTES_PER_TOKEN: usize = 4 * (5 * 32 + 32);

fn options(max_run_bytes: usize) -> OpenOptions {
    let max_run_bytes = max_run_bytes as u64;
    OpenOptions { threads: 2, max_batch_tokens: 1 << 17, max_run_bytes, ..OpenOptions::default() }
}

fn tiny(options: &OpenOptions) -> Model {
    Model::open(tiny_dir("cls"), options).unwrap()
}

/// The number before a word of a message.
fn number_before(message: &str, word: &str) -> usize {
    let words: Vec<&str> = message.split_whitespace().collect();
    let at = words.iter().position(|other| *other == word).unwrap();
    words[at - 1].parse().unwrap()
}

/// The memory that the library states for a batch: of the shortest text, and for each further
/// token.
fn said(options: &OpenOptions) -> (usize, usize) {
    let with = |bytes| OpenOptions { max_run_bytes: bytes, ..options.clone() };
    let e = Model::open(tiny_dir("cls"), &with(1)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidArgument);
    let least = number_before(&e.to_string(), "bytes;");
    let model = tiny(&with(least as u64));
    let e = model.encode(&["a b c d e f g"], &EncodeOptions::default()).unwrap_err();
    assert_eq!((e.kind(), e.text_index()), (ErrorKind::TextTooLong, Some(0)));
    let (tokens, bytes) =
        (number_before(&e.to_string(), "tokens,"), number_before(&e.to_string(), "bytes,"));
    assert!(e.to_string().contains(&format!("max_run_bytes is {least}")), "{e}");
    (least, (bytes - least) / (tokens - 2))
}

fn resident(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

fn in_a_process_of_its_own(case: &str) {
    let output = child::child(module_path!(), "child").env(CASE, case).output().unwrap();
    assert_passed(&output);
}

#[test]
#[ignore = "run by the other tests, in processes of their own"]
fn child() {
    let Ok(case) = std::env::var(CASE) else { return };
    let mut options = options(0);
    options.small_memory = case == "given back";
    if case == "int8" {
        options.compute_type = ComputeType::Int8;
    }
    let (least, per_token) = match Model::open(tiny_dir("cls"), &options) {
        Err(e) if e.kind() == ErrorKind::Unsupported => return println!("left out: {e}"),
        _ => said(&options),
    };
    let model = tiny(&options);
    let text = "di ".repeat(1000);
    let texts = vec![text.as_str(); (100_000 / model.info().max_tokens).max(1)];
    let tokens = texts.len() * model.info().max_tokens;
    model.encode(&texts[..1], &EncodeOptions::default()).unwrap();
    let before = resident("RssAnon");
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let lowest = resident("VmHWM");
    model.encode(&texts, &EncodeOptions::default()).unwrap();
    assert_eq!(model.stats().batches, 2);
    let (peak, left) = (resident("VmHWM") - lowest, resident("RssAnon").saturating_sub(before));
    let said = least + (tokens - 2) * per_token;
    println!("{tokens} tokens: {peak} bytes at the peak, {said} said, {left} left");
    assert!(peak <= said, "the peak is {peak}, said was {said}");
    // Otherwise this measures something else, or the stated figure is useless.
    assert!(peak <= tokens * BYTES_PER_TOKEN + SLACK && 2 * peak >= said - least);
    match case.as_str() {
        "given back" => assert!(left <= SLACK),
        _ => assert!(left >= tokens * BYTES_PER_TOKEN / 2),
    }
}

#[test]
fn a_run_takes_what_it_computes_and_little_more() {
    in_a_process_of_its_own("kept");
    in_a_process_of_its_own("int8");
}

#[test]
fn a_run_gives_its_memory_back_where_it_is_not_to_be_kept() {
    in_a_process_of_its_own("given back");
}

#[test]
fn a_ceiling_makes_runs_smaller_and_changes_no_bit() {
    let (least, per_token) = said(&options(0));
    let free = tiny(&options(0));
    let tight = tiny(&options(least + 30 * per_token));
    assert_eq!(tight.info().max_batch_tokens, 32);
    let texts: Vec<String> = (1..40).map(|words| "di ".repeat(words % 20 + 1)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let expected = free.encode(&texts, &EncodeOptions::default()).unwrap();
    let vectors = tight.encode(&texts, &EncodeOptions::default()).unwrap();
    let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&vectors.dense), bits(&expected.dense));
    assert_eq!(free.stats().batches, 1);
    assert!(tight.stats().batches >= tight.stats().tokens.div_ceil(32));
}

#[test]
fn a_text_that_does_not_fit_is_refused_before_it_runs_and_no_other() {
    let (least, per_token) = said(&options(0));
    let model = tiny(&options(least + 8 * per_token));
    let long = "di ".repeat(40);
    let texts = ["a", long.as_str(), "b"];
    let e = model.encode(&texts, &EncodeOptions::default()).unwrap_err();
    assert_eq!((e.kind(), e.text_index()), (ErrorKind::TextTooLong, Some(1)));
    assert!(e.to_string().contains("enough for 10 tokens"), "{e}");
    assert_eq!(model.stats().batches, 0);
    let each = EncodeOptions { per_text_errors: true, ..EncodeOptions::default() };
    let vectors = model.encode(&texts, &each).unwrap();
    let failed: Vec<_> = vectors.errors.iter().map(|e| (e.text_index(), e.kind())).collect();
    assert_eq!(failed, [(Some(1), ErrorKind::TextTooLong)]);
    let alone = tiny(&options(0)).encode(&["a", "b"], &EncodeOptions::default()).unwrap();
    assert_eq!(vectors.dense[..32], alone.dense[..32]);
    assert!(vectors.dense[32..64].iter().all(|x| x.is_nan()));
    assert_eq!(vectors.dense[64..], alone.dense[32..]);
    // Truncated to a length that fits, it runs; and so does the largest text that fits.
    let cut = EncodeOptions { max_tokens: 10, ..EncodeOptions::default() };
    assert_eq!(model.encode(&texts, &cut).unwrap().usage[1].tokens, 10);
}

#[test]
fn an_export_has_no_ceiling() {
    let e = Model::open(tiny_dir("exports/baai"), &options(1 << 30)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
    assert!(e.to_string().contains("max_run_bytes is 1073741824"), "{e}");
}
