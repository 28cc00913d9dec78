//! A switch that stops calls from another thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::call::Call;
use crate::error::{Error, Result, error};

/// A switch that stops every call whose options have it. Clones are the same switch.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Switch>);

#[derive(Default)]
struct Switch {
    on: AtomicBool,
    calls: Mutex<Vec<Weak<Call>>>,
}

impl Cancel {
    /// Makes a switch that is off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns the switch on for good: its calls end soon with
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), and later calls with it do not start.
    pub fn trigger(&self) {
        self.0.on.store(true, Ordering::SeqCst);
        let calls = std::mem::take(&mut *self.0.calls.lock());
        for call in calls.iter().filter_map(Weak::upgrade) {
            call.fail(cancelled());
        }
    }

    /// Returns an error if the switch is on.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.on.load(Ordering::SeqCst) { Err(cancelled()) } else { Ok(()) }
    }

    pub(crate) fn watch(&self, call: &Arc<Call>) {
        {
            let mut calls = self.0.calls.lock();
            // A long-lived switch must not keep an entry for every call of its life. Doubling the
            // capacity keeps it from searching the list at every call.
            if calls.len() == calls.capacity() {
                calls.retain(|call| call.strong_count() > 0);
                let live = calls.len();
                calls.reserve(live + 1);
            }
            calls.push(Arc::downgrade(call));
        }
        // After the push, so that a trigger in between is not missed.
        if self.0.on.load(Ordering::SeqCst) {
            call.fail(cancelled());
        }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("on", &self.0.on).finish_non_exhaustive()
    }
}

fn cancelled() -> Error {
    error!(Cancelled, "the call was stopped by its cancel switch")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::call::ResultSpec;

    fn call() -> Arc<Call> {
        Call::new(1, ResultSpec::dense(1), None, None).unwrap()
    }

    #[test]
    fn a_switch_stops_calls_from_before_and_after() {
        let cancel = Cancel::new();
        let (before, after) = (call(), call());
        cancel.watch(&before);
        assert!(!before.is_over());
        cancel.clone().trigger();
        assert!(before.is_over());
        cancel.watch(&after);
        assert!(after.is_over());
    }

    #[test]
    fn a_switch_forgets_calls_that_are_gone() {
        let cancel = Cancel::new();
        let kept: Vec<_> = (0..10).map(|_| call()).collect();
        kept.iter().for_each(|call| cancel.watch(call));
        for _ in 0..10_000 {
            cancel.watch(&call());
        }
        assert!(cancel.0.calls.lock().len() < 100);
        cancel.trigger();
        assert!(kept.iter().all(|call| call.is_over()));
    }
}
