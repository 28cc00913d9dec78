//! A watchdog that ends batches nobody waits for, for graphs without operators of this library.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ort::session::RunOptions;
use parking_lot::{Condvar, Mutex};

use crate::error::{Result, error};
use crate::stop::StillWanted;

/// How often it asks whether the batch is still wanted.
const INTERVAL: Duration = Duration::from_millis(20);

/// A thread that asks, while a batch is under way, whether it is still wanted. It watches one batch
/// at a time, since it ends a batch through the batch's options.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    options: RunOptions,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Idle,
    Running(StillWanted),
    Closed,
}

impl Watchdog {
    pub fn start(options: RunOptions) -> Result<Self> {
        let shared =
            Arc::new(Shared { options, state: Mutex::new(State::Idle), changed: Condvar::new() });
        let thread = std::thread::Builder::new()
            .name("bge-watch".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.watch()
            })
            .map_err(|e| error!(OutOfMemory, "no thread could be started: {e}"))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Runs a batch, with the options through which it is ended once it is not wanted any more.
    pub fn over<T>(
        &self,
        still_wanted: &StillWanted,
        run: impl FnOnce(&RunOptions) -> ort::Result<T>,
    ) -> ort::Result<T> {
        self.shared.set(State::Running(Arc::clone(still_wanted)));
        let outcome = run(&self.shared.options);
        self.shared.set(State::Idle);
        self.shared.options.unterminate()?;
        outcome
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.set(State::Closed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn set(&self, state: State) {
        *self.state.lock() = state;
        self.changed.notify_one();
    }

    fn watch(&self) {
        let mut state = self.state.lock();
        loop {
            match &*state {
                State::Closed => return,
                State::Idle => self.changed.wait(&mut state),
                State::Running(_) => {
                    if self.changed.wait_for(&mut state, INTERVAL).timed_out()
                        && let State::Running(still_wanted) = &*state
                        && !still_wanted()
                    {
                        // Under the lock, so that it cannot end the next batch instead.
                        let _ = self.options.terminate();
                    }
                }
            }
        }
    }
}
