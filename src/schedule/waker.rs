//! How a call that ends wakes the thread that runs its callback.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// Names a call. Sorted by deadline, those without one first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallKey {
    deadline: Option<Instant>,
    number: u64,
}

/// Entries that each wait for their call to end, and the keys of those whose call has. The keys
/// spare the callback thread a look at every waiting call, which would cost the square of their
/// number.
pub(crate) struct CompletionQueue<T> {
    pub(super) state: Mutex<State<T>>,
    /// Notified when the callback thread may have something to do.
    pub(super) changed: Condvar,
    keys: AtomicU64,
}

pub(super) struct State<T> {
    pub closed: bool,
    /// The callback thread, once it is started.
    pub thread: Option<ThreadId>,
    /// Permits of calls that are still being tokenized.
    pub permits: usize,
    pub waiting: BTreeMap<CallKey, T>,
    /// Calls that have ended, the first of them first.
    pub completed: VecDeque<CallKey>,
}

impl<T> Default for CompletionQueue<T> {
    fn default() -> Self {
        let state = State {
            closed: false,
            thread: None,
            permits: 0,
            waiting: BTreeMap::new(),
            completed: VecDeque::new(),
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), keys: AtomicU64::new(0) }
    }
}

impl<T> CompletionQueue<T> {
    pub fn new_key(&self, deadline: Option<Instant>) -> CallKey {
        CallKey { deadline, number: self.keys.fetch_add(1, Ordering::Relaxed) }
    }

    /// Wakes the callback thread for a call that has ended.
    pub fn complete(&self, key: CallKey) {
        let mut state = self.state.lock();
        // A call that ends before it has an entry is completed, or refused, by whoever adds it.
        if state.waiting.contains_key(&key) {
            state.completed.push_back(key);
            self.changed.notify_one();
        }
    }
}

impl<T> State<T> {
    pub fn first_deadline(&self) -> Option<(CallKey, Instant)> {
        let last_without = CallKey { deadline: None, number: u64::MAX };
        let (&key, _) = self.waiting.range((Excluded(last_without), Unbounded)).next()?;
        Some((key, key.deadline?))
    }

    /// Calls whose callback has not begun, those that are still being tokenized included.
    pub fn unfinished(&self) -> usize {
        self.waiting.len() + self.permits
    }
}
