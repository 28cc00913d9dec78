//! One call to encode: what it still waits for, and how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::callbacks::{Bell, Ticket};
use crate::error::{Error, Result, error};
use crate::pooling::normalize;

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
    /// Scale vectors to length 1.
    normalize: bool,
    timeout: Option<(Instant, Duration)>,
    over: AtomicBool,
    state: Mutex<State>,
    done: Condvar,
    /// Rung when the call is over, if nobody waits in [`Call::wait`].
    bell: Option<(Arc<Bell>, Ticket)>,
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
        let deadline = timeout.map(|(deadline, _)| deadline);
        Ok(Arc::new(Self {
            normalize,
            timeout,
            over: AtomicBool::new(false),
            state: Mutex::new(State { texts_left: texts, dim, dense, outcome: None }),
            done: Condvar::new(),
            bell: bell.map(|bell| {
                let ticket = bell.ticket(deadline);
                (bell, ticket)
            }),
        }))
    }

    pub fn ticket(&self) -> Option<Ticket> {
        self.bell.as_ref().map(|(_, ticket)| *ticket)
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
            // A run may hold on to the call for a while, but not to memory that nobody will read.
            state.dense = Vec::new();
            self.end(&mut state, Err(error));
        }
    }

    /// Takes the vector of one text. No text may be delivered twice.
    pub fn deliver(&self, text: usize, vector: &[f32]) {
        let mut state = self.state.lock();
        if state.outcome.is_some() {
            return;
        }
        let dim = state.dim;
        let row = &mut state.dense[text * dim..][..dim];
        row.copy_from_slice(vector);
        if self.normalize {
            normalize(row);
        }
        state.texts_left -= 1;
        if state.texts_left == 0 {
            self.end(&mut state, Ok(()));
        }
    }

    /// Ends a call that never had a text. The queue says when, so that an empty call ends like any
    /// other if the model is closed or the call was stopped before.
    pub fn end_if_empty(&self) {
        if self.is_over() {
            return;
        }
        let mut state = self.state.lock();
        if state.texts_left == 0 && state.outcome.is_none() {
            self.end(&mut state, Ok(()));
        }
    }

    fn end(&self, state: &mut State, outcome: Result<(), Error>) {
        state.outcome = Some(outcome);
        self.over.store(true, Ordering::Release);
        self.done.notify_all();
        if let Some((bell, ticket)) = &self.bell {
            bell.ring(*ticket);
        }
    }

    /// Waits until the call is over, and takes its vectors.
    pub fn wait(&self) -> Result<Vec<f32>> {
        let mut state = self.state.lock();
        while state.outcome.is_none() {
            match self.timeout {
                None => self.done.wait(&mut state),
                Some((deadline, _)) => {
                    if self.done.wait_until(&mut state, deadline).timed_out() {
                        drop(state);
                        self.is_over();
                        state = self.state.lock();
                    }
                }
            }
        }
        Self::take(&mut state)
    }

    /// Takes the vectors of a call that is over.
    pub fn take_result(&self) -> Result<Vec<f32>> {
        Self::take(&mut self.state.lock())
    }

    fn take(state: &mut State) -> Result<Vec<f32>> {
        match state.outcome.clone() {
            Some(Ok(())) => Ok(std::mem::take(&mut state.dense)),
            Some(Err(e)) => Err(e),
            None => Err(error!(Internal, "a call was asked for its result before it was over")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn call(texts: usize, timeout: Option<Duration>) -> Arc<Call> {
        Call::new(texts, 2, false, timeout, None).unwrap()
    }

    #[test]
    fn the_first_outcome_stands() {
        let call = call(1, None);
        call.fail(error!(Cancelled, "first"));
        call.fail(error!(Closed, "second"));
        call.deliver(0, &[1.0, 2.0]);
        assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn vectors_lie_in_the_order_of_the_texts_however_they_come() {
        let call = call(3, None);
        for text in [2, 0, 1] {
            assert!(!call.is_over());
            call.deliver(text, &[text as f32, 0.5]);
        }
        assert!(call.is_over());
        assert_eq!(call.wait().unwrap(), [0.0, 0.5, 1.0, 0.5, 2.0, 0.5]);
    }

    #[test]
    fn a_caller_that_waits_wakes_at_its_deadline() {
        let call = call(1, Some(Duration::from_millis(5)));
        assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::Timeout);
        assert!(call.is_over());
    }

    #[test]
    fn a_timeout_beyond_the_end_of_time_is_none() {
        let call = call(1, Some(Duration::MAX));
        assert!(!call.is_over());
        call.deliver(0, &[0.0, 0.0]);
        call.wait().unwrap();
    }

    #[test]
    fn an_empty_call_is_over_when_the_queue_says_so() {
        let empty = call(0, None);
        assert!(!empty.is_over());
        empty.end_if_empty();
        assert!(empty.wait().unwrap().is_empty());
        let other = call(1, None);
        other.end_if_empty();
        assert!(!other.is_over());
    }

    #[test]
    fn vectors_are_scaled_once_if_asked_for() {
        let call = Call::new(1, 2, true, None, None).unwrap();
        call.deliver(0, &[3.0, 4.0]);
        assert_eq!(call.wait().unwrap(), [0.6, 0.8]);
    }
}
