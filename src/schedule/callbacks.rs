//! The thread on which asynchronous calls end: in their callback, exactly once each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::Call;
use crate::error::{Result, error};

/// What happens when an asynchronous call is over.
pub(crate) type Callback = Box<dyn FnOnce(Result<Vec<f32>>) + Send>;

/// Wakes the callback thread.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    rung: bool,
    closed: bool,
    waiting: Vec<(Arc<Call>, Callback)>,
    /// Calls whose callback has not returned, those in `waiting` included.
    unfinished: usize,
}

impl Bell {
    pub fn ring(&self) {
        self.state.lock().rung = true;
        self.rung.notify_one();
    }
}

pub(crate) struct Callbacks {
    bell: Arc<Bell>,
    capacity: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Callbacks {
    pub fn new(capacity: usize) -> Self {
        Self { bell: Arc::default(), capacity, thread: Mutex::new(None) }
    }

    pub fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    pub fn depth(&self) -> usize {
        self.bell.state.lock().unfinished
    }

    /// Promises that `callback` runs once, after `call` is over; or refuses, and it never runs.
    pub fn add(&self, call: Arc<Call>, callback: Callback) -> Result<()> {
        self.start_thread()?;
        let mut state = self.bell.state.lock();
        if state.closed {
            return Err(error!(Closed, "the model is being closed"));
        }
        if state.unfinished >= self.capacity {
            return Err(error!(
                QueueFull,
                "{} asynchronous calls are unfinished, as many as the option queue_capacity allows",
                state.unfinished
            ));
        }
        state.unfinished += 1;
        state.waiting.push((call, callback));
        // The thread may have to wake earlier now, at the deadline of this call.
        state.rung = true;
        self.bell.rung.notify_one();
        Ok(())
    }

    /// Started by the first asynchronous call: most programs make none.
    fn start_thread(&self) -> Result<()> {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let bell = self.bell();
            let started = std::thread::Builder::new()
                .name("bge-callbacks".into())
                .spawn(move || run(&bell))
                .map_err(|e| error!(OutOfMemory, "no thread could be started: {e}"))?;
            *thread = Some(started);
        }
        Ok(())
    }

    /// Refuses new calls, and returns when every callback has returned. All calls must be over.
    pub fn close(&self) {
        self.bell.state.lock().closed = true;
        self.bell.ring();
        if let Some(thread) = self.thread.lock().take() {
            // A callback that closes the model would wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn run(bell: &Bell) {
    loop {
        let waiting = {
            let mut state = bell.state.lock();
            state.rung = false;
            std::mem::take(&mut state.waiting)
        };
        // Not under the lock: a call that finds its time up rings the bell.
        let (over, waiting): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(call, _)| call.is_over());
        let finished = over.len();
        for (call, callback) in over {
            let result = call.take_result();
            // The C boundary has its own guard; this one keeps the other callbacks alive.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(result)));
        }
        let mut state = bell.state.lock();
        state.waiting.extend(waiting);
        state.unfinished -= finished;
        if state.rung {
            continue;
        }
        if state.closed && state.waiting.is_empty() {
            return;
        }
        match state.waiting.iter().filter_map(|(call, _)| call.deadline()).min() {
            None => bell.rung.wait(&mut state),
            Some(deadline) => {
                bell.rung.wait_until(&mut state, deadline);
            }
        }
    }
}
