//! The thread on which asynchronous calls end: in their callback, exactly once each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use super::call::{Call, Callback, Completions, PendingCallback};
use super::waker::{CallKey, State};
use crate::error::{Result, error};

pub(crate) struct Callbacks {
    completions: Arc<Completions>,
    capacity: usize,
    /// Locked while the thread ends, so that every thread that closes waits for that.
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The right to add one call, within `queue_capacity`. Dropping it frees its capacity.
pub(crate) struct Permit<'a>(&'a Completions);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.state.lock().permits -= 1;
    }
}

impl Permit<'_> {
    /// Turns the permit into an entry, which takes over its capacity.
    fn into_entry(self, state: &mut State<PendingCallback>, key: CallKey, entry: PendingCallback) {
        state.permits -= 1;
        state.waiting.insert(key, entry);
        // Dropping it would free the capacity a second time, and lock a state that is locked.
        std::mem::forget(self);
    }
}

impl Callbacks {
    pub fn new(capacity: usize) -> Self {
        Self { completions: Arc::default(), capacity, thread: Mutex::new(None) }
    }

    pub fn completions(&self) -> Arc<Completions> {
        Arc::clone(&self.completions)
    }

    /// Calls whose callback has not begun. One that has begun does not count, so that a callback
    /// has the capacity to start the next call.
    pub fn depth(&self) -> usize {
        self.completions.state.lock().unfinished()
    }

    /// Reserves capacity for a call before any work is done for it: refusing has to be cheap, since
    /// it happens most under overload.
    pub fn reserve(&self) -> Result<Permit<'_>> {
        let mut state = self.completions.state.lock();
        if state.closed {
            return Err(error!(Closed, "the model was closed"));
        }
        let unfinished = state.unfinished();
        if unfinished >= self.capacity {
            return Err(error!(
                QueueFull,
                "{unfinished} asynchronous calls are unfinished, as many as the option \
                 queue_capacity allows; try again later"
            ));
        }
        state.permits += 1;
        Ok(Permit(&self.completions))
    }

    /// If this succeeds, `callback` runs exactly once, after `call` has ended. If it fails,
    /// `callback` never runs.
    pub fn add(&self, permit: Permit<'_>, call: &Arc<Call>, callback: Callback) -> Result<()> {
        let Some(key) = call.key() else {
            return Err(error!(
                Internal,
                "a call without a completion queue cannot have a callback"
            ));
        };
        {
            let mut state = self.completions.state.lock();
            if state.closed {
                drop(state);
                return Err(error!(Closed, "the model was closed"));
            }
            if state.thread.is_none()
                && let Err(e) = self.start_thread(&mut state)
            {
                drop(state);
                return Err(error!(OutOfMemory, "no thread could be started: {e}"));
            }
            let entry = PendingCallback { call: Arc::clone(call), callback };
            permit.into_entry(&mut state, key, entry);
            if state.first_deadline().is_some_and(|(first, _)| first == key) {
                self.completions.changed.notify_one();
            }
        }
        // A call that ended before it had an entry has completed nothing yet.
        if call.is_over() {
            self.completions.complete(key);
        }
        Ok(())
    }

    /// Started by the first asynchronous call: most programs make none.
    fn start_thread(&self, state: &mut State<PendingCallback>) -> std::io::Result<()> {
        let completions = self.completions();
        let thread = std::thread::Builder::new()
            .name("bge-callbacks".into())
            .spawn(move || run(&completions))?;
        state.thread = Some(thread.thread().id());
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Refuses new calls, and returns when every callback has returned; from within a callback, at
    /// once. All calls must have ended, or be about to.
    pub fn close(&self) {
        let own_thread = {
            let mut state = self.completions.state.lock();
            state.closed = true;
            self.completions.changed.notify_one();
            state.thread == Some(std::thread::current().id())
        };
        // A callback that waited for the thread would wait for itself.
        if own_thread {
            return;
        }
        let mut thread = self.thread.lock();
        if let Some(thread) = thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(completions: &Completions) {
    let mut state = completions.state.lock();
    loop {
        if let Some(key) = state.completed.pop_front() {
            end(&mut state, key);
            continue;
        }
        match state.first_deadline() {
            Some((key, deadline)) if Instant::now() >= deadline => end(&mut state, key),
            _ if state.closed && state.waiting.is_empty() => return,
            Some((_, deadline)) => {
                completions.changed.wait_until(&mut state, deadline);
            }
            None => completions.changed.wait(&mut state),
        }
    }
}

/// Runs the callback of a call that has ended or whose deadline has passed, with nothing locked.
fn end(state: &mut MutexGuard<'_, State<PendingCallback>>, key: CallKey) {
    let Some(PendingCallback { call, callback }) = state.waiting.remove(&key) else { return };
    MutexGuard::unlocked(state, || {
        call.expire_if_due();
        let result = call.take_result();
        drop(call);
        // The C boundary has a guard of its own; this one keeps the other callbacks alive.
        let _ = catch_unwind(AssertUnwindSafe(|| callback(result)));
    });
}

#[cfg(test)]
mod tests;
