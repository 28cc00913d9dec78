//! Which batches run, on which thread, and how the calls in them end.

use std::sync::Barrier;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;
use std::time::Duration;

use super::*;
use crate::embeddings::TextOutput;
use crate::error::ErrorKind;
use crate::schedule::call::ResultSpec;
use crate::stats::Stats;

mod shared_batches;

/// The first id of a text decides how a batch with it ends.
const PANICS: u32 = 1;
const FAILS: u32 = 2;
/// Fails unless alone, as if memory ran out.
const IS_LARGE: u32 = 3;
/// Makes no batch fail, but has an error instead of a result.
const NOT_FINITE: u32 = 4;
/// Has enough tokens that short calls run beside it.
const LONG: u32 = 5;
const FINE: u32 = 10;
/// Long enough for any machine, so that a hang is a failure and not a wait.
const GUARD: Duration = Duration::from_secs(60);

/// An encoder that is a function.
struct Stub<F>(F);

impl<F> BatchEncoder for Stub<F>
where
    F: Fn(usize, &[Request<'_>], &StillWanted) -> Result<Vec<Result<TextOutput>>> + Send + Sync,
{
    fn encode(
        &self,
        device: usize,
        requests: &[Request<'_>],
        still_wanted: &StillWanted,
    ) -> Result<Vec<Result<TextOutput>>> {
        (self.0)(device, requests, still_wanted)
    }
}

struct Stage {
    runner: Runner,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
}

impl Stage {
    fn new(
        encode: impl Fn(&[Request<'_>], &StillWanted) -> Result<Vec<Result<TextOutput>>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self::with_queue(Queue::for_cpu(64, None, 1024), move |_, texts, still_wanted| {
            encode(texts, still_wanted)
        })
    }

    fn with_queue(
        queue: Queue,
        encode: impl Fn(usize, &[Request<'_>], &StillWanted) -> Result<Vec<Result<TextOutput>>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let (queue, counters) = (Arc::new(queue), Arc::new(Counters::default()));
        let encoder = Arc::new(Stub(encode));
        let runner = Runner::start(encoder, Arc::clone(&queue), Arc::clone(&counters)).unwrap();
        Self { runner, queue, counters }
    }

    /// Its first batch waits for a message, so that a test can fill the queue meanwhile.
    fn held() -> (Self, Sender<()>) {
        let (go, held) = channel();
        let held = Mutex::new(Some(held));
        let stage = Self::new(move |texts, _| {
            let first: Option<Receiver<()>> = held.lock().take();
            first.into_iter().for_each(|held| held.recv().unwrap());
            stub(texts)
        });
        (stage, go)
    }

    /// A call with one text of one id for each of `ids`.
    fn submit(&self, ids: &[u32]) -> Arc<Call> {
        self.submit_as(ids, ResultSpec::dense(1))
    }

    fn submit_as(&self, ids: &[u32], spec: ResultSpec) -> Arc<Call> {
        let call = Call::new(ids.len(), spec, None, None).unwrap();
        let sequence = |(text, &id)| Sequence { text, ids: vec![id], prompt_tokens: 0 };
        self.queue.submit(Arc::clone(&call), ids.iter().enumerate().map(sequence).collect());
        call
    }

    /// A call with one long text, beside which short calls run.
    fn submit_long(&self) -> Arc<Call> {
        let call = Call::new(1, ResultSpec::dense(1), None, None).unwrap();
        let sequence = Sequence { text: 0, ids: vec![LONG; 1000], prompt_tokens: 0 };
        self.queue.submit(Arc::clone(&call), vec![sequence]);
        call
    }

    /// Waits until the worker knows that its last batch is over.
    fn until_idle(&self) {
        while self.queue.is_running() {
            std::thread::yield_now();
        }
    }

    fn stats(&self) -> Stats {
        self.counters.read(0, self.queue.dropped())
    }
}

/// A call with one text of `length` tokens.
fn call_of(length: usize) -> (Arc<Call>, Vec<Sequence>) {
    let call = Call::new(1, ResultSpec::dense(1), None, None).unwrap();
    (call, vec![Sequence { text: 0, ids: vec![FINE; length], prompt_tokens: 0 }])
}

fn stub(texts: &[Request<'_>]) -> Result<Vec<Result<TextOutput>>> {
    let ids: Vec<u32> = texts.iter().map(|text| text.ids[0]).collect();
    if ids.contains(&PANICS) {
        // Unlike panic!, this prints nothing.
        std::panic::resume_unwind(Box::new("a bug"));
    } else if ids.contains(&FAILS) {
        return Err(error!(Inference, "the model failed"));
    } else if ids.contains(&IS_LARGE) && ids.len() > 1 {
        return Err(error!(OutOfMemory, "no memory"));
    }
    Ok(ids
        .iter()
        .map(|&id| match id {
            NOT_FINITE => Err(error!(NotFinite, "the model is damaged")),
            id => Ok(TextOutput::dense(&[id as f32])),
        })
        .collect())
}

/// A stage that sends the thread of each batch.
fn with_threads_sent() -> (Stage, Receiver<ThreadId>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let stage = Stage::new(move |texts, _| {
        tell.lock().send(std::thread::current().id()).unwrap();
        stub(texts)
    });
    (stage, told)
}

#[test]
fn a_short_call_runs_on_its_own_thread() {
    let (stage, told) = with_threads_sent();
    for (length, is_here) in [(1, true), (64, true), (65, false), (1, true)] {
        let (call, sequences) = call_of(length);
        stage.runner.submit(&call, sequences);
        assert_eq!(call.wait().unwrap().dense, [FINE as f32]);
        let here = told.recv_timeout(GUARD).unwrap() == std::thread::current().id();
        assert_eq!(here, is_here, "{length} tokens");
        stage.until_idle();
    }
    let (call, _) = call_of(1);
    stage.runner.close();
    stage.runner.submit(&call, call_of(1).1);
    assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn calls_submitted_while_a_caller_runs_its_own_wait_for_the_worker() {
    let (stage, go) = Stage::held();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let (call, sequences) = call_of(1);
            stage.runner.submit(&call, sequences);
            call.wait().map(|results| results.dense)
        });
        while !stage.queue.runs_on_caller() {
            std::thread::yield_now();
        }
        let (second, sequences) = call_of(1);
        stage.runner.submit(&second, sequences);
        let third = stage.submit(&[FINE, FAILS]);
        assert!(!second.is_over());
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap().unwrap(), [FINE as f32]);
        assert_eq!(second.wait().unwrap().dense, [FINE as f32]);
        assert_eq!(third.wait().unwrap_err().text_index(), Some(1));
    });
}

#[test]
fn closing_ends_a_call_that_runs_on_its_own_thread() {
    let (started, starts) = channel();
    let started = Mutex::new(started);
    let stage = Stage::new(move |_, still_wanted| {
        started.lock().send(()).unwrap();
        while still_wanted() {
            std::thread::yield_now();
        }
        Err(error!(Inference, "stopped"))
    });
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let (call, sequences) = call_of(1);
            stage.runner.submit(&call, sequences);
            call.wait().map(|_| ())
        });
        starts.recv_timeout(GUARD).unwrap();
        stage.runner.close();
        assert_eq!(caller.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    });
}

#[test]
fn a_bug_in_a_batch_on_a_callers_thread_fails_that_call() {
    let (stage, _told) = with_threads_sent();
    let (call, mut sequences) = call_of(1);
    sequences[0].ids = vec![PANICS];
    stage.runner.submit(&call, sequences);
    assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::Internal);
    let (next, sequences) = call_of(1);
    stage.runner.submit(&next, sequences);
    assert_eq!(next.wait().unwrap().dense, [FINE as f32]);
}

#[test]
fn only_the_calls_at_fault_fail() {
    let (stage, go) = Stage::held();
    let first = stage.submit(&[FINE]);
    let calls: Vec<_> = (0..12)
        .map(|call| match call {
            3 => stage.submit(&[FINE, FINE, FAILS, FINE]),
            7 => stage.submit(&[FINE, PANICS, PANICS]),
            9 => stage.submit(&[IS_LARGE, FINE, IS_LARGE]),
            10 => stage.submit(&[FINE, NOT_FINITE]),
            call => stage.submit(&[FINE + call, FINE]),
        })
        .collect();
    go.send(()).unwrap();
    first.wait().unwrap();
    for (index, call) in (0..).zip(calls) {
        let outcome = call.wait();
        match index {
            3 => {
                let e = outcome.unwrap_err();
                assert_eq!((e.kind(), e.text_index()), (ErrorKind::Inference, Some(2)));
            }
            7 => {
                let e = outcome.unwrap_err();
                assert_eq!((e.kind(), e.text_index()), (ErrorKind::Internal, Some(1)));
            }
            9 => assert_eq!(outcome.unwrap().dense, [IS_LARGE, FINE, IS_LARGE].map(|id| id as f32)),
            10 => {
                let e = outcome.unwrap_err();
                assert_eq!((e.kind(), e.text_index()), (ErrorKind::NotFinite, Some(1)));
            }
            index => {
                assert_eq!(outcome.unwrap().dense, [(FINE + index) as f32, FINE as f32]);
            }
        }
    }
}

#[test]
fn with_per_text_errors_only_the_texts_at_fault_fail() {
    let (stage, go) = Stage::held();
    let first = stage.submit(&[FINE]);
    let own = ResultSpec { per_text_errors: true, ..ResultSpec::dense(1) };
    let ids = [FINE, FAILS, FINE + 1, PANICS, NOT_FINITE, IS_LARGE, FINE + 2];
    let call = stage.submit_as(&ids, own);
    let other = stage.submit(&[FINE, FINE]);
    let all_bad = stage.submit_as(&[FAILS, FAILS], own);
    go.send(()).unwrap();
    first.wait().unwrap();
    let results = call.wait().unwrap();
    let faults: Vec<_> =
        results.errors.iter().map(|e| (e.text_index().unwrap(), e.kind())).collect();
    let expected = [(1, ErrorKind::Inference), (3, ErrorKind::Internal), (4, ErrorKind::NotFinite)];
    assert_eq!(faults, expected);
    for (text, (&id, &number)) in ids.iter().zip(&results.dense).enumerate() {
        match expected.iter().any(|&(at, _)| at == text) {
            true => assert!(number.is_nan()),
            false => assert_eq!(number, id as f32),
        }
    }
    assert_eq!(other.wait().unwrap().dense, [FINE as f32; 2]);
    assert_eq!(all_bad.wait().unwrap().errors.len(), 2);
    assert_eq!(stage.stats().not_finite, 1);
}

#[test]
fn texts_that_succeed_are_counted_before_their_call_ends() {
    let stage = Stage::new(|texts, _| stub(texts));
    for calls in 1..100 {
        stage.submit(&[FINE, FINE]).wait().unwrap();
        let stats = stage.stats();
        assert_eq!((stats.texts, stats.tokens), (2 * calls, 2 * calls));
    }
    stage.submit(&[FAILS]).wait().unwrap_err();
    assert_eq!(stage.stats().texts, 198);
}

#[test]
fn a_model_that_always_fails_runs_at_most_two_batches_for_a_text() {
    let runs = Arc::new(Mutex::new(0));
    let (go, held) = channel::<()>();
    let stage = Stage::new({
        let runs = Arc::clone(&runs);
        let held = Mutex::new(held);
        move |_, _| {
            if *runs.lock() == 0 {
                held.lock().recv().unwrap();
            }
            *runs.lock() += 1;
            Err(error!(Inference, "always"))
        }
    });
    let calls: Vec<_> = (0..65).map(|_| stage.submit(&[FINE])).collect();
    go.send(()).unwrap();
    for call in calls {
        assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::Inference);
    }
    assert!(*runs.lock() <= 130);
}

#[test]
fn a_batch_whose_calls_are_all_over_is_not_repeated() {
    let runs = Arc::new(Mutex::new(0));
    let (started, has_started) = channel();
    let (go, held) = channel::<()>();
    let stage = Stage::new({
        let runs = Arc::clone(&runs);
        let held = Mutex::new(held);
        move |texts, _| {
            *runs.lock() += 1;
            if texts.len() == 8 {
                started.send(()).unwrap();
                held.lock().recv().unwrap();
                return Err(error!(Inference, "every call of this run was stopped"));
            }
            stub(texts)
        }
    });
    let stopped = stage.submit(&[FINE; 8]);
    has_started.recv().unwrap();
    stopped.fail(error!(Cancelled, "stopped"));
    go.send(()).unwrap();
    stage.submit(&[FINE]).wait().unwrap();
    assert_eq!(*runs.lock(), 2);
    assert_eq!(stopped.wait().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn closing_ends_calls_and_may_be_repeated_from_anywhere() {
    let (stage, go) = Stage::held();
    let calls: Vec<_> = (0..3).map(|_| stage.submit(&[FINE])).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| stage.runner.close());
        scope.spawn(|| stage.runner.close());
        for call in calls {
            assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::Closed);
        }
        // Fails if the runner was closed before its first batch.
        let _ = go.send(());
    });
    assert_eq!(stage.submit(&[FINE]).wait().unwrap_err().kind(), ErrorKind::Closed);
    stage.runner.close();
}

/// A stage whose long batches send a message when they begin, and then wait for one or until no
/// caller waits for them.
fn with_long_batches() -> (Stage, Receiver<()>, Sender<()>) {
    let (started, has_started) = channel();
    let (go, held) = channel();
    let held = Mutex::new(held);
    let stage = Stage::new(move |texts, still_wanted| {
        if texts.iter().any(|text| text.ids[0] == LONG) {
            started.send(()).unwrap();
            let held = held.lock();
            while held.try_recv().is_err() {
                if !still_wanted() {
                    return Err(error!(Inference, "nobody waits"));
                }
                std::thread::yield_now();
            }
        }
        stub(texts)
    });
    (stage, has_started, go)
}

#[test]
fn short_calls_end_while_a_long_batch_goes_on() {
    let (stage, has_started, go) = with_long_batches();
    let long = stage.submit_long();
    has_started.recv_timeout(GUARD).unwrap();
    for _ in 0..10 {
        let short: Vec<_> = (0..5).map(|id| stage.submit(&[FINE + id, FINE])).collect();
        for (id, call) in (0..).zip(short) {
            assert_eq!(call.wait().unwrap().dense, [(FINE + id) as f32, FINE as f32]);
        }
    }
    assert!(!long.is_over());
    go.send(()).unwrap();
    assert_eq!(long.wait().unwrap().dense, [LONG as f32]);
    assert_eq!((stage.stats().texts, stage.stats().tokens), (101, 1100));
}

#[test]
fn short_calls_that_waited_before_the_long_batch_overtake_it_too() {
    let (stage, has_started, go) = with_long_batches();
    let first = stage.submit_long();
    has_started.recv_timeout(GUARD).unwrap();
    // Not short: waits for the second long batch, which begins with both others in the queue.
    let second = stage.submit_long();
    let large = stage.submit(&[FINE; 65]);
    go.send(()).unwrap();
    first.wait().unwrap();
    has_started.recv_timeout(GUARD).unwrap();
    stage.submit(&[FINE]).wait().unwrap();
    assert!(!second.is_over() && !large.is_over());
    go.send(()).unwrap();
    second.wait().unwrap();
    large.wait().unwrap();
}

#[test]
fn the_outcome_of_a_batch_does_not_change_that_of_the_one_beside_it() {
    let (stage, has_started, go) = with_long_batches();
    let long = stage.submit_long();
    has_started.recv_timeout(GUARD).unwrap();
    let kinds = [PANICS, FAILS, NOT_FINITE].map(|id| {
        let calls = [stage.submit(&[FINE, id]), stage.submit(&[FINE])];
        calls[1].wait().unwrap();
        calls[0].wait().unwrap_err().kind()
    });
    assert_eq!(kinds, [ErrorKind::Internal, ErrorKind::Inference, ErrorKind::NotFinite]);
    let short = stage.submit(&[FINE]);
    long.fail(error!(Cancelled, "stopped"));
    short.wait().unwrap();
    // No caller waits for the long batch, which ends without a message.
    let next = stage.submit_long();
    has_started.recv_timeout(GUARD).unwrap();
    go.send(()).unwrap();
    next.wait().unwrap();
}

#[test]
fn closing_ends_both_batches() {
    let (stage, has_started, _go) = with_long_batches();
    let long = stage.submit_long();
    has_started.recv_timeout(GUARD).unwrap();
    let short: Vec<_> = (0..100).map(|_| stage.submit(&[FINE])).collect();
    stage.runner.close();
    assert_eq!(long.wait().unwrap_err().kind(), ErrorKind::Closed);
    for call in short {
        // Some may have ended before.
        assert!(call.wait().err().is_none_or(|e| e.kind() == ErrorKind::Closed));
    }
}

/// Each batch waits until all GPUs have one.
#[test]
fn a_call_is_spread_over_all_gpus() {
    const GPUS: usize = 3;
    let meeting = Barrier::new(GPUS);
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let stage = Stage::with_queue(Queue::for_gpus(1, GPUS, 1024), move |gpu, texts, _| {
        meeting.wait();
        tell.lock().send(gpu).unwrap();
        stub(texts)
    });
    let (call, sequences) = call_of(1);
    stage.runner.submit(&call, sequences);
    let texts: Vec<u32> = (FINE..FINE + 2 * GPUS as u32 - 1).collect();
    let dense: Vec<f32> = texts.iter().map(|&id| id as f32).collect();
    assert_eq!(stage.submit(&texts).wait().unwrap().dense, dense);
    assert_eq!(call.wait().unwrap().dense, [FINE as f32]);
    let mut runs: Vec<usize> = told.try_iter().collect();
    runs.sort_unstable();
    assert_eq!(runs, [0, 0, 1, 1, 2, 2]);
}
