//! Short calls while a long batch runs: both finish, with the results that they get alone.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bge::{Cancel, ComputeType, EncodeOptions, ErrorKind, Model, OpenOptions};

use crate::encode::sparse_and_multi::BATCH_TOLERANCE;
use crate::support::models::tiny_dir;

/// The number of calls that each kind of caller has to finish.
const CALLS: usize = 30;

fn open(dir: &Path, options: OpenOptions) -> Model {
    Model::open(dir, &OpenOptions { threads: 2, ..options })
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
}

fn vectors(model: &Model, texts: &[&str]) -> Vec<f32> {
    model.encode(texts, &EncodeOptions::default()).unwrap().dense
}

/// Texts, with the vector that each gets alone.
type Call<'a> = (Vec<&'a str>, Vec<f32>);

fn call<'a>(model: &Model, texts: &'a [String]) -> Call<'a> {
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let alone = texts.iter().flat_map(|text| vectors(model, &[text])).collect();
    (texts, alone)
}

/// Makes calls, counted in `calls`, until this counter and all of `others` have reached their goal.
fn call_until_both_have_ended(
    model: &Model,
    calls: &[Call<'_>],
    (own, others): (&AtomicUsize, &AtomicUsize),
) {
    let own_min = CALLS.max(calls.len());
    let mut next = calls.iter().cycle();
    while own.load(SeqCst) < own_min || others.load(SeqCst) < CALLS {
        let (texts, alone) = next.next().unwrap();
        let together = vectors(model, texts);
        let difference = together.iter().zip(alone).map(|(a, b)| (a - b).abs());
        assert!(together.len() == alone.len());
        assert!(difference.fold(0.0, f32::max) <= BATCH_TOLERANCE, "{texts:?}");
        own.fetch_add(1, SeqCst);
    }
}

#[test]
fn short_and_long_calls_of_many_threads_go_on_side_by_side() {
    let short: Vec<String> = (0..20).map(|i| "di luar ".repeat(i % 5) + &i.to_string()).collect();
    // More than 512 tokens in a run, though no single text of them.
    let long: Vec<String> = (0..40).map(|i| format!("{i} ") + &"orang di ".repeat(11)).collect();
    let kinds = ["cls", "exports/baai", "exports/fixed", "exports/int8"]
        .map(|kind| (kind, ComputeType::Fp32));
    let integers =
        Some(("cls", ComputeType::Int8)).filter(|_| !crate::encode::int8::is_refused_here());
    for (kind, compute_type) in kinds.into_iter().chain(integers) {
        let model = open(&tiny_dir(kind), OpenOptions { compute_type, ..OpenOptions::default() });
        let short_calls: Vec<_> =
            short.chunks(1).chain(short.chunks(3)).map(|texts| call(&model, texts)).collect();
        let long_calls = [call(&model, &long)];
        let [short, long] = [const { AtomicUsize::new(0) }; 2];
        let before = model.stats();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (model, long_calls, both) = (&model, &long_calls, (&long, &short));
                scope.spawn(move || call_until_both_have_ended(model, long_calls, both));
            }
            for _ in 0..4 {
                let (model, short_calls, both) = (&model, &short_calls, (&short, &long));
                scope.spawn(move || call_until_both_have_ended(model, short_calls, both));
            }
        });
        let after = model.stats();
        assert_eq!(after.failures, 0, "{kind}");
        let calls = after.calls - before.calls;
        assert_eq!(calls, (short.into_inner() + long.into_inner()) as u64, "{kind}");
    }
}

/// If they took turns, there would be a long run for each short call.
#[test]
fn short_calls_end_before_a_long_run_that_began_earlier() {
    // Each takes tens of milliseconds.
    let options = OpenOptions { max_batch_tokens: 1 << 14, ..OpenOptions::default() };
    let model = open(&tiny_dir("cls"), options);
    let text = "di luar ".repeat(60);
    let cancel = Cancel::new();
    let options = EncodeOptions { cancel: Some(cancel.clone()), ..EncodeOptions::default() };
    std::thread::scope(|scope| {
        let long = scope.spawn(|| model.encode(&vec![text.as_str(); 20_000], &options));
        while model.stats().batches == 0 {
            std::thread::yield_now();
        }
        let before = model.stats();
        for _ in 0..20 {
            vectors(&model, &["di luar"]);
        }
        let long_runs = (model.stats().tokens - before.tokens) >> 14;
        cancel.trigger();
        assert_eq!(long.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(long_runs < 10, "{long_runs} ended before 20 short calls did");
    });
}
