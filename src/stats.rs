//! Counters of an open model.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// Totals since a model was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Asynchronous calls whose callback has not begun yet.
    pub queue_depth: usize,
    /// Calls to encode, however they ended.
    pub calls: u64,
    /// Calls that failed, cancelled and timed-out ones included.
    pub failures: u64,
    /// Calls that ended by their [`Cancel`](crate::Cancel) or their timeout.
    pub cancellations: u64,
    /// The part of `cancellations` that were dropped before a batch that would have ended after
    /// their timeout.
    pub dropped: u64,
    /// Texts that went through inference.
    pub texts: u64,
    /// Tokens that went through inference, special tokens included.
    pub tokens: u64,
    /// Batches that ran.
    pub batches: u64,
    /// Time spent tokenizing, over all threads.
    pub tokenize_time: Duration,
    /// Time of batches. Two that run at once count both.
    pub inference_time: Duration,
    /// Texts that failed because a number of a result was NaN or infinite.
    pub not_finite: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    calls: AtomicU64,
    failures: AtomicU64,
    cancellations: AtomicU64,
    texts: AtomicU64,
    tokens: AtomicU64,
    batches: AtomicU64,
    tokenize_ns: AtomicU64,
    inference_ns: AtomicU64,
    not_finite: AtomicU64,
}

impl Counters {
    pub fn call(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    pub fn failure(&self, e: &Error) {
        self.failures.fetch_add(1, Relaxed);
        if matches!(e.kind(), ErrorKind::Cancelled | ErrorKind::Timeout) {
            self.cancellations.fetch_add(1, Relaxed);
        }
    }

    pub fn tokenizing(&self, time: Duration) {
        self.tokenize_ns.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    pub fn inference(&self, time: Duration) {
        self.inference_ns.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// Counts the error of a text in its batch.
    pub fn text_failure(&self, e: &Error) {
        if e.kind() == ErrorKind::NotFinite {
            self.not_finite.fetch_add(1, Relaxed);
        }
    }

    pub fn batch(&self, texts: usize, tokens: usize) {
        self.batches.fetch_add(1, Relaxed);
        self.texts.fetch_add(texts as u64, Relaxed);
        self.tokens.fetch_add(tokens as u64, Relaxed);
    }

    pub fn read(&self, queue_depth: usize, dropped: u64) -> Stats {
        Stats {
            queue_depth,
            calls: self.calls.load(Relaxed),
            failures: self.failures.load(Relaxed),
            cancellations: self.cancellations.load(Relaxed),
            dropped,
            texts: self.texts.load(Relaxed),
            tokens: self.tokens.load(Relaxed),
            batches: self.batches.load(Relaxed),
            tokenize_time: Duration::from_nanos(self.tokenize_ns.load(Relaxed)),
            inference_time: Duration::from_nanos(self.inference_ns.load(Relaxed)),
            not_finite: self.not_finite.load(Relaxed),
        }
    }
}
