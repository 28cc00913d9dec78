//! Many calls at once: each gets its own vectors, or its own failure, exactly once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::Duration;

use bge::{Cancel, EncodeOptions, ErrorKind, Model, OpenOptions};

/// Long enough for any machine, so that a hang is a failure and not a wait.
const GUARD: Duration = Duration::from_secs(120);

/// The greatest difference of a vector from itself with other batch-mates: none, if the products
/// are this library's own.
fn batch_tolerance() -> f32 {
    if cfg!(target_arch = "x86_64") && !crate::encode::int8::is_refused_here() { 0.0 } else { 2e-6 }
}

fn open(options: &OpenOptions) -> Model {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tiny/cls");
    Model::open(dir, options).unwrap()
}

fn model() -> Model {
    open(&OpenOptions::default())
}

fn defaults() -> EncodeOptions {
    EncodeOptions::default()
}

fn cancelled_by(cancel: &Cancel) -> EncodeOptions {
    EncodeOptions { cancel: Some(cancel.clone()), ..defaults() }
}

fn with_timeout(timeout: Duration) -> EncodeOptions {
    EncodeOptions { timeout: Some(timeout), ..defaults() }
}

/// Numbers that are the same in every run of the tests.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }
}

/// Texts of 2 to 128 tokens.
fn texts() -> Vec<String> {
    (0..60).map(|index| format!("{index} di ").repeat(index % 30)).collect()
}

/// The vector of each text, encoded alone.
struct Expected {
    texts: Vec<String>,
    vectors: Vec<Vec<f32>>,
}

impl Expected {
    fn of(model: &Model) -> Self {
        let texts = texts();
        let alone = |text: &String| model.encode(&[text], &defaults()).unwrap().dense;
        Self { vectors: texts.iter().map(alone).collect(), texts }
    }

    fn pick(&self, dice: &mut Dice, most: usize) -> Vec<usize> {
        (0..dice.below(most + 1)).map(|_| dice.below(self.texts.len())).collect()
    }

    fn texts(&self, picked: &[usize]) -> Vec<&str> {
        picked.iter().map(|&index| self.texts[index].as_str()).collect()
    }

    fn assert_eq(&self, picked: &[usize], dense: &[f32]) {
        let dim = self.vectors[0].len();
        assert_eq!(dense.len(), picked.len() * dim);
        for (&index, vector) in picked.iter().zip(dense.chunks_exact(dim)) {
            let mut pairs = vector.iter().zip(&self.vectors[index]);
            assert!(pairs.all(|(a, b)| (a - b).abs() <= batch_tolerance()), "text {index}");
        }
    }
}

/// Returns once the model has begun to run something.
fn wait_for_a_run(model: &Model) {
    let before = model.stats().batches;
    while model.stats().batches == before {
        std::thread::yield_now();
    }
}

#[test]
fn calls_of_many_threads_get_their_own_vectors_or_their_own_failure() {
    let model = open(&OpenOptions { max_batch_tokens: 512, ..OpenOptions::default() });
    let expected = Expected::of(&model);
    let before = model.stats();
    let [calls, failures, texts] = [const { AtomicUsize::new(0) }; 3];
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (model, expected) = (&model, &expected);
            let [calls, failures, texts] = [&calls, &failures, &texts];
            scope.spawn(move || {
                let mut dice = Dice(thread);
                for _ in 0..150 {
                    let picked = expected.pick(&mut dice, 20);
                    let cancel = Cancel::new();
                    let stopper = match dice.below(4) {
                        0 => Some(scope.spawn({
                            let cancel = cancel.clone();
                            let delay = Duration::from_micros(dice.below(3000) as u64);
                            move || {
                                std::thread::sleep(delay);
                                cancel.trigger();
                            }
                        })),
                        _ => None,
                    };
                    let timeout = Duration::from_micros(dice.below(5000) as u64);
                    let timeout = (dice.below(4) == 0).then_some(timeout);
                    let options = EncodeOptions { timeout, ..cancelled_by(&cancel) };
                    calls.fetch_add(1, SeqCst);
                    match model.encode(&expected.texts(&picked), &options) {
                        Ok(vectors) => {
                            expected.assert_eq(&picked, &vectors.dense);
                            texts.fetch_add(picked.len(), SeqCst);
                        }
                        Err(e) => {
                            failures.fetch_add(1, SeqCst);
                            match e.kind() {
                                ErrorKind::Cancelled => assert!(stopper.is_some()),
                                ErrorKind::Timeout => assert!(timeout.is_some()),
                                kind => panic!("{kind:?}: {e}"),
                            }
                        }
                    }
                }
            });
        }
    });
    let after = model.stats();
    assert_eq!(after.calls - before.calls, calls.into_inner() as u64);
    assert_eq!(after.failures, failures.into_inner() as u64);
    assert_eq!(after.cancellations, after.failures);
    assert!(after.texts - before.texts >= texts.into_inner() as u64);
}

#[test]
fn a_call_cancelled_before_it_starts_does_not_start() {
    let model = model();
    let cancel = Cancel::new();
    cancel.trigger();
    for texts in [&["a", "b"][..], &[]] {
        let e = model.encode(texts, &cancelled_by(&cancel)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Cancelled);
    }
    assert_eq!(model.stats().texts, 0);
    assert_eq!(model.stats().cancellations, 2);
}

#[test]
fn a_call_cancelled_while_it_runs_ends_and_leaves_others_alone() {
    let model = open(&OpenOptions { max_batch_tokens: 256, ..OpenOptions::default() });
    let expected = Expected::of(&model);
    let bulk: Vec<usize> = (0..6000).map(|index| index % 60).collect();
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let stopped = scope.spawn(|| model.encode(&expected.texts(&bulk), &cancelled_by(&cancel)));
        let other = scope.spawn(|| model.encode(&expected.texts(&bulk), &defaults()));
        wait_for_a_run(&model);
        cancel.trigger();
        assert_eq!(stopped.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        expected.assert_eq(&bulk, &other.join().unwrap().unwrap().dense);
    });
}

#[test]
fn cancelling_after_the_end_changes_nothing() {
    let model = model();
    let cancel = Cancel::new();
    model.encode(&["a"], &cancelled_by(&cancel)).unwrap();
    cancel.trigger();
    assert_eq!(model.stats().failures, 0);
    model.encode(&["a"], &defaults()).unwrap();
}

#[test]
fn a_timeout_ends_a_call_before_and_while_it_runs() {
    let model = model();
    for texts in [&["a"][..], &[]] {
        let e = model.encode(texts, &with_timeout(Duration::ZERO)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Timeout);
    }
    let long = "di ".repeat(200);
    let bulk = vec![long.as_str(); 50_000];
    let e = model.encode(&bulk, &with_timeout(Duration::from_millis(20))).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Timeout);
    assert!(model.stats().texts < 50_000);
    model.encode(&["a"], &with_timeout(GUARD)).unwrap();
    model.encode(&["a"], &with_timeout(Duration::MAX)).unwrap();
}

#[test]
fn every_asynchronous_call_ends_once_whatever_happens() {
    for round in 0..12 {
        let model = open(&OpenOptions { queue_capacity: 64, ..OpenOptions::default() });
        let expected = Arc::new(Expected::of(&model));
        let failures_before = model.stats().failures;
        let failures = Arc::new(AtomicUsize::new(0));
        let started: Vec<(bool, Arc<AtomicUsize>)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let (model, expected, failures) = (&model, &expected, &failures);
                    scope.spawn(move || {
                        let mut dice = Dice(round * 100 + thread);
                        let mut start = |_| {
                            let picked = expected.pick(&mut dice, 8);
                            let cancel = Cancel::new();
                            let timeout = Duration::from_micros(dice.below(20_000) as u64);
                            let options = EncodeOptions {
                                timeout: (dice.below(3) == 0).then_some(timeout),
                                ..cancelled_by(&cancel)
                            };
                            let ended = Arc::new(AtomicUsize::new(0));
                            let done = {
                                let (picked, expected) = (picked.clone(), Arc::clone(expected));
                                let (ended, failures) = (Arc::clone(&ended), Arc::clone(failures));
                                move |result: bge::Result<bge::Embeddings>| {
                                    match result {
                                        Ok(vectors) => expected.assert_eq(&picked, &vectors.dense),
                                        Err(_) => _ = failures.fetch_add(1, SeqCst),
                                    }
                                    ended.fetch_add(1, SeqCst);
                                }
                            };
                            let texts = expected.texts(&picked);
                            let accepted = model.encode_async(&texts, &options, done).is_ok();
                            if !accepted {
                                failures.fetch_add(1, SeqCst);
                            }
                            if dice.below(3) == 0 {
                                cancel.trigger();
                            }
                            (accepted, ended)
                        };
                        (0..60).map(&mut start).collect::<Vec<_>>()
                    })
                })
                .collect();
            if round % 2 == 0 {
                std::thread::sleep(Duration::from_millis(round));
                model.close();
            }
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        model.close();
        for (accepted, ended) in started {
            assert_eq!(ended.load(SeqCst), usize::from(accepted));
        }
        let stats = model.stats();
        assert_eq!(stats.queue_depth, 0);
        assert_eq!(stats.failures - failures_before, failures.load(SeqCst) as u64);
    }
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    let model = open(&OpenOptions { queue_capacity: 2, ..OpenOptions::default() });
    let (entered, has_entered) = channel();
    let (go, held) = channel::<()>();
    let holds = move |_| {
        entered.send(()).unwrap();
        held.recv().unwrap();
    };
    model.encode_async(&["a"], &defaults(), holds).unwrap();
    // Its callback has begun, so that it does not count any more; but the next ones have to wait.
    has_entered.recv_timeout(GUARD).unwrap();
    let (told, outcome) = channel();
    for _ in 0..2 {
        let told = told.clone();
        model.encode_async(&["b"], &defaults(), move |result| told.send(result).unwrap()).unwrap();
    }
    assert_eq!(model.stats().queue_depth, 2);
    let refused = |_| panic!("a refused call has no callback");
    let e = model.encode_async(&["c"], &defaults(), refused).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::QueueFull);
    // A call that fails before it starts takes no permit, either.
    let options = EncodeOptions { max_tokens: 1, ..defaults() };
    model.encode_async(&["c"], &options, |_| ()).unwrap_err();
    // Others than asynchronous calls do not count.
    model.encode(&["d"], &defaults()).unwrap();
    go.send(()).unwrap();
    for _ in 0..2 {
        outcome.recv_timeout(GUARD).unwrap().unwrap();
    }
    let (told, outcome) = channel();
    model.encode_async(&["e"], &defaults(), move |result| told.send(result).unwrap()).unwrap();
    outcome.recv_timeout(GUARD).unwrap().unwrap();
    assert_eq!(model.stats().failures, 2);
}

#[test]
fn a_callback_may_start_the_next_call_even_of_a_full_queue() {
    fn next(model: Model, left: usize, done: std::sync::mpsc::Sender<()>) {
        model
            .clone()
            .encode_async(&["a"], &defaults(), move |result| {
                result.unwrap();
                match left {
                    0 => done.send(()).unwrap(),
                    left => next(model, left - 1, done),
                }
            })
            .unwrap();
    }
    let model = open(&OpenOptions { queue_capacity: 1, ..OpenOptions::default() });
    let (told, outcome) = channel();
    next(model, 50, told);
    outcome.recv_timeout(GUARD).unwrap();
}

#[test]
fn a_callback_that_panics_harms_no_other() {
    let model = model();
    let (told, outcome) = channel();
    for index in 0..10 {
        let told = told.clone();
        let done = move |result: bge::Result<_>| {
            result.unwrap();
            match index % 2 {
                // Not panic!, which would print.
                0 => std::panic::resume_unwind(Box::new("a bug of the caller")),
                _ => told.send(index).unwrap(),
            }
        };
        model.encode_async(&["a"], &defaults(), done).unwrap();
    }
    drop(told);
    assert_eq!(outcome.iter().count(), 5);
    model.close();
}

#[test]
fn closing_ends_the_calls_of_threads_that_wait() {
    let model = model();
    let long = "di ".repeat(200);
    let bulk = vec![long.as_str(); 2000];
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        if let Err(e) = model.encode(&bulk, &defaults()) {
                            return e.kind();
                        }
                    }
                })
            })
            .collect();
        wait_for_a_run(&model);
        scope.spawn(|| model.close());
        model.close();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), ErrorKind::Closed);
        }
    });
}

#[test]
fn a_closed_model_refuses_calls_but_still_describes_itself() {
    let model = model();
    model.encode_async(&["a"], &defaults(), |_| ()).unwrap();
    model.close();
    model.close();
    for texts in [&["a"][..], &[]] {
        let e = model.encode(texts, &defaults()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Closed);
        let e = model.encode_async(texts, &defaults(), |_| panic!("refused")).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Closed);
    }
    assert_eq!(model.count_tokens("a").unwrap(), 3);
    assert_eq!(model.info().dense_dim, 32);
    assert_eq!(model.stats().queue_depth, 0);
}

#[test]
fn dropping_the_last_clone_ends_every_call() {
    let model = model();
    let long = "di ".repeat(200);
    let ended = Arc::new(AtomicUsize::new(0));
    for _ in 0..50 {
        let ended = Arc::clone(&ended);
        let done = move |_| {
            ended.fetch_add(1, SeqCst);
        };
        model.encode_async(&[long.as_str(); 20], &defaults(), done).unwrap();
    }
    let clone = model.clone();
    drop(model);
    clone.encode(&["a"], &defaults()).unwrap();
    drop(clone);
    assert_eq!(ended.load(SeqCst), 50);
}

#[test]
fn a_callback_may_hold_and_close_the_last_clone() {
    let (told, outcome) = channel();
    let model = model();
    let last = model.clone();
    let done = move |result: bge::Result<_>| {
        result.unwrap();
        last.close();
        drop(last);
        told.send(()).unwrap();
    };
    // Dropped before or after the callback has run: both must do.
    model.encode_async(&["a"], &defaults(), done).unwrap();
    drop(model);
    outcome.recv_timeout(GUARD).unwrap();
}

#[test]
fn a_forked_child_gets_an_error_and_no_hang() {
    let model = model();
    model.encode_async(&["a"], &defaults(), |_| ()).unwrap();
    // SAFETY: the child calls only the tested function and `_exit`. If that hangs on a lock that
    // another thread held, the alarm ends it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe { libc::alarm(60) };
        let refused = |kind: Option<ErrorKind>| kind == Some(ErrorKind::Unsupported);
        let waits = refused(model.encode(&["a"], &defaults()).err().map(|e| e.kind()));
        let asynchronous = model.encode_async(&["a"], &defaults(), |_| ());
        let asynchronous = refused(asynchronous.err().map(|e| e.kind()));
        model.close();
        drop(model);
        // SAFETY: as above.
        unsafe { libc::_exit(if waits && asynchronous { 0 } else { 1 }) };
    }
    assert!(child > 0);
    let mut status = 0;
    // SAFETY: `status` lives as long as the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    model.encode(&["a"], &defaults()).unwrap();
}

#[test]
fn statistics_add_up() {
    let model = open(&OpenOptions { max_batch_tokens: 64, ..OpenOptions::default() });
    let (mut texts_sum, mut tokens_sum) = (0, 0);
    for size in [0, 1, 7, 30] {
        let texts = vec!["Orang-orang ada di luar."; size];
        let vectors = model.encode(&texts, &defaults()).unwrap();
        texts_sum += size as u64;
        tokens_sum += vectors.usage.iter().map(|usage| usage.tokens as u64).sum::<u64>();
    }
    let long = EncodeOptions { max_tokens: 4, reject_long: true, ..defaults() };
    model.encode(&["a b c d e f"], &long).unwrap_err();
    let stats = model.stats();
    assert_eq!((stats.calls, stats.failures, stats.cancellations), (5, 1, 0));
    assert_eq!((stats.texts, stats.tokens), (texts_sum, tokens_sum));
    // Four of these texts fill a run.
    assert_eq!(stats.batches, 1 + 2 + 8);
    assert!(stats.tokenize_time > Duration::ZERO && stats.inference_time > Duration::ZERO);
}

#[test]
fn ten_thousand_texts_in_one_call_keep_their_order() {
    let model = model();
    let expected = Expected::of(&model);
    let mut dice = Dice(7);
    let picked: Vec<usize> = (0..10_000).map(|_| dice.below(60)).collect();
    let vectors = model.encode(&expected.texts(&picked), &defaults()).unwrap();
    expected.assert_eq(&picked, &vectors.dense);
    assert_eq!(vectors.usage.len(), picked.len());
}

#[test]
fn queries_do_not_wait_for_the_end_of_a_bulk_call() {
    let model = open(&OpenOptions { max_batch_tokens: 64, ..OpenOptions::default() });
    let bulk = vec!["Orang-orang ada di luar."; 40_000];
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let bulk = scope.spawn(|| model.encode(&bulk, &cancelled_by(&cancel)));
        wait_for_a_run(&model);
        for _ in 0..10 {
            model.encode(&["a"], &defaults()).unwrap();
        }
        // Stopped after the queries, and still not at its end.
        cancel.trigger();
        assert_eq!(bulk.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    });
}
