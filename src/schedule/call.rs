//! One call to encode: what it still waits for, and how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::callbacks::Bell;
use crate::error::{Error, Result, error};

/// One text as token ids, and its place in the call.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub text: usize,
    pub ids: Vec<u32>,
}

/// The state of a call. The first outcome stands: what comes later is dropped.
///
/// Results gather here and not in the caller's memory, so that a caller may leave at any time,
/// for instance when its time is up, while a run is still under way for it.
pub(crate) struct Call {
    /// Scale vectors to length 1 even if the model does not.
    pub normalize: bool,
    timeout: Option<(Instant, Duration)>,
    over: AtomicBool,
    state: Mutex<State>,
    done: Condvar,
    /// Rung when the call is over, if nobody waits in [`Call::wait`].
    bell: Option<Arc<Bell>>,
}

struct State {
    texts_left: usize,
    dim: usize,
    dense: Vec<f32>,
    outcome: Option<Result<(), Error>>,
}

impl Call {
    pub fn new(
        texts: usize,
        dim: usize,
        normalize: bool,
        timeout: Option<Duration>,
        bell: Option<Arc<Bell>>,
    ) -> Result<Arc<Self>> {
        let mut dense = Vec::new();
        texts
            .checked_mul(dim)
            .and_then(|numbers| dense.try_reserve_exact(numbers).ok())
            .ok_or_else(|| {
                error!(OutOfMemory, "there is no memory for {texts} vectors of {dim} numbers")
            })?;
        dense.resize(texts * dim, 0.0);
        let timeout = timeout.and_then(|limit| Some((Instant::now().checked_add(limit)?, limit)));
        let outcome = (texts == 0).then_some(Ok(()));
        Ok(Arc::new(Self {
            normalize,
            timeout,
            over: AtomicBool::new(texts == 0),
            state: Mutex::new(State { texts_left: texts, dim, dense, outcome }),
            done: Condvar::new(),
            bell,
        }))
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|(deadline, _)| deadline)
    }

    /// Whether nobody needs a result of this call any more.
    pub fn is_over(&self) -> bool {
        if self.over.load(Ordering::Acquire) {
            return true;
        }
        match self.timeout {
            Some((deadline, limit)) if Instant::now() >= deadline => {
                self.fail(error!(
                    Timeout,
                    "the call took longer than its timeout_ms of {}",
                    limit.as_millis()
                ));
                true
            }
            _ => false,
        }
    }

    pub fn fail(&self, error: Error) {
        let mut state = self.state.lock();
        if state.outcome.is_none() {
            self.end(&mut state, Err(error));
        }
    }

    /// Takes the vector of one text.
    pub fn deliver(&self, text: usize, write: impl FnOnce(&mut [f32])) {
        let mut state = self.state.lock();
        if state.outcome.is_some() {
            return;
        }
        let dim = state.dim;
        write(&mut state.dense[text * dim..][..dim]);
        state.texts_left -= 1;
        if state.texts_left == 0 {
            self.end(&mut state, Ok(()));
        }
    }

    fn end(&self, state: &mut State, outcome: Result<(), Error>) {
        state.outcome = Some(outcome);
        self.over.store(true, Ordering::Release);
        self.done.notify_all();
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    /// Waits until the call is over, and takes its vectors.
    pub fn wait(&self) -> Result<Vec<f32>> {
        let mut state = self.state.lock();
        while state.outcome.is_none() {
            match self.deadline() {
                None => self.done.wait(&mut state),
                Some(deadline) => {
                    if self.done.wait_until(&mut state, deadline).timed_out() {
                        drop(state);
                        self.is_over();
                        state = self.state.lock();
                    }
                }
            }
        }
        self.take(&mut state)
    }

    /// Takes the vectors of a call that is over.
    pub fn take_result(&self) -> Result<Vec<f32>> {
        self.take(&mut self.state.lock())
    }

    fn take(&self, state: &mut State) -> Result<Vec<f32>> {
        match state.outcome.clone() {
            Some(Ok(())) => Ok(std::mem::take(&mut state.dense)),
            Some(Err(e)) => Err(e),
            None => Err(error!(Internal, "a call was asked for its result before it was over")),
        }
    }
}
