//! One call to encode: what it still waits for, and how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::callbacks::{Bell, Ticket};
use crate::error::{Error, Result, error};
use crate::outputs::{MultiVectors, Outputs, SparseWeights, TextOutput};
use crate::pooling::normalize;

/// One text as token ids, and its place in the call.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub text: usize,
    pub ids: Vec<u32>,
}

/// What is wanted of the texts of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub outputs: Outputs,
    pub dense_dim: usize,
    pub multi_dim: usize,
    /// Scale dense vectors to length 1.
    pub normalize: bool,
}

#[cfg(test)]
impl Format {
    pub fn dense(dense_dim: usize) -> Self {
        Self { outputs: Outputs::default(), dense_dim, multi_dim: 0, normalize: false }
    }
}

/// What was computed for a call: of each output, what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub dense: Vec<f32>,
    pub sparse: Option<SparseWeights>,
    pub multi: Option<MultiVectors>,
}

/// The state of a call. The first outcome stands: what comes later is dropped.
///
/// Results gather here and not in the caller's memory, so that a caller may leave at any time,
/// for instance when its time is up, while a run is still under way for it.
pub(crate) struct Call {
    format: Format,
    timeout: Option<(Instant, Duration)>,
    over: AtomicBool,
    state: Mutex<State>,
    done: Condvar,
    /// Rung when the call is over, if nobody waits in [`Call::wait`].
    bell: Option<(Arc<Bell>, Ticket)>,
}

struct State {
    texts_left: usize,
    dense: Vec<f32>,
    /// Of each text. How many there are of a text is not known before it has come.
    sparse: Vec<Vec<(u32, f32)>>,
    multi: MultiVectors,
    outcome: Option<Result<(), Error>>,
}

impl Call {
    pub fn new(
        texts: usize,
        format: Format,
        timeout: Option<Duration>,
        bell: Option<Arc<Bell>>,
    ) -> Result<Arc<Self>> {
        let Format { outputs, dense_dim, .. } = format;
        let dense = zeros(if outputs.dense { texts } else { 0 }, dense_dim)?;
        let mut sparse = Vec::new();
        let entries = if outputs.sparse { texts } else { 0 };
        sparse.try_reserve_exact(entries).map_err(|_| no_memory(texts, 1))?;
        sparse.resize(entries, Vec::new());
        let timeout = timeout.and_then(|limit| Some((Instant::now().checked_add(limit)?, limit)));
        let deadline = timeout.map(|(deadline, _)| deadline);
        Ok(Arc::new(Self {
            format,
            timeout,
            over: AtomicBool::new(false),
            state: Mutex::new(State {
                texts_left: texts,
                dense,
                sparse,
                multi: MultiVectors::default(),
                outcome: None,
            }),
            done: Condvar::new(),
            bell: bell.map(|bell| {
                let ticket = bell.ticket(deadline);
                (bell, ticket)
            }),
        }))
    }

    pub fn outputs(&self) -> Outputs {
        self.format.outputs
    }

    /// Makes room for multi-vectors, given how many rows each text has. Has to come before the
    /// first text is handed in, if they are wanted.
    pub fn expect_rows(&self, rows: impl Iterator<Item = usize>) -> Result<()> {
        let mut multi = MultiVectors { dim: self.format.multi_dim, ..MultiVectors::default() };
        let mut end = 0;
        multi.offsets.push(end);
        multi.offsets.extend(rows.map(|rows| {
            end += rows;
            end
        }));
        multi.rows = zeros(end, multi.dim)?;
        let mut state = self.state.lock();
        if state.outcome.is_none() {
            state.multi = multi;
        }
        Ok(())
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
            state.sparse = Vec::new();
            state.multi = MultiVectors::default();
            self.end(&mut state, Err(error));
        }
    }

    /// Takes what is wanted of one text. No text may be delivered twice.
    pub fn deliver(&self, text: usize, output: TextOutput) {
        let mut state = self.state.lock();
        if state.outcome.is_some() {
            return;
        }
        let Format { outputs, dense_dim, normalize: scale, .. } = self.format;
        if outputs.dense {
            let row = &mut state.dense[text * dense_dim..][..dense_dim];
            row.copy_from_slice(&output.dense);
            if scale {
                normalize(row);
            }
        }
        if outputs.sparse {
            state.sparse[text] = output.sparse;
        }
        if outputs.multi {
            state.multi.of_mut(text).copy_from_slice(&output.multi);
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

    /// Waits until the call is over, and takes its results.
    pub fn wait(&self) -> Result<Results> {
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
        self.take(&mut state)
    }

    /// Takes the results of a call that is over.
    pub fn take_result(&self) -> Result<Results> {
        self.take(&mut self.state.lock())
    }

    fn take(&self, state: &mut State) -> Result<Results> {
        let Outputs { sparse, multi, .. } = self.format.outputs;
        match state.outcome.clone() {
            Some(Ok(())) => Ok(Results {
                dense: std::mem::take(&mut state.dense),
                sparse: sparse
                    .then(|| SparseWeights::from_texts(std::mem::take(&mut state.sparse))),
                multi: multi.then(|| std::mem::take(&mut state.multi)),
            }),
            Some(Err(e)) => Err(e),
            None => Err(error!(Internal, "a call was asked for its result before it was over")),
        }
    }
}

/// Rows of zeros. What a caller asks for may be more than there is memory for.
fn zeros(rows: usize, dim: usize) -> Result<Vec<f32>> {
    let mut numbers = Vec::new();
    rows.checked_mul(dim)
        .and_then(|count| numbers.try_reserve_exact(count).ok())
        .ok_or_else(|| no_memory(rows, dim))?;
    numbers.resize(rows * dim, 0.0);
    Ok(numbers)
}

fn no_memory(rows: usize, dim: usize) -> Error {
    error!(OutOfMemory, "there is no memory for {rows} vectors of {dim} numbers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn call(texts: usize, timeout: Option<Duration>) -> Arc<Call> {
        Call::new(texts, Format::dense(2), timeout, None).unwrap()
    }

    #[test]
    fn the_first_outcome_stands() {
        let call = call(1, None);
        call.fail(error!(Cancelled, "first"));
        call.fail(error!(Closed, "second"));
        call.deliver(0, TextOutput::dense(&[1.0, 2.0]));
        assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn vectors_lie_in_the_order_of_the_texts_however_they_come() {
        let call = call(3, None);
        for text in [2, 0, 1] {
            assert!(!call.is_over());
            call.deliver(text, TextOutput::dense(&[text as f32, 0.5]));
        }
        assert!(call.is_over());
        assert_eq!(call.wait().unwrap().dense, [0.0, 0.5, 1.0, 0.5, 2.0, 0.5]);
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
        call.deliver(0, TextOutput::dense(&[0.0, 0.0]));
        call.wait().unwrap();
    }

    #[test]
    fn an_empty_call_is_over_when_the_queue_says_so() {
        let empty = call(0, None);
        assert!(!empty.is_over());
        empty.end_if_empty();
        assert!(empty.wait().unwrap().dense.is_empty());
        let other = call(1, None);
        other.end_if_empty();
        assert!(!other.is_over());
    }

    #[test]
    fn vectors_are_scaled_once_if_asked_for() {
        let call =
            Call::new(1, Format { normalize: true, ..Format::dense(2) }, None, None).unwrap();
        call.deliver(0, TextOutput::dense(&[3.0, 4.0]));
        assert_eq!(call.wait().unwrap().dense, [0.6, 0.8]);
    }

    #[test]
    fn outputs_come_as_asked_for_each_text_at_its_place() {
        let outputs = Outputs { dense: false, sparse: true, multi: true };
        let format = Format { outputs, multi_dim: 2, ..Format::dense(2) };
        let call = Call::new(3, format, None, None).unwrap();
        call.expect_rows([1, 0, 2].into_iter()).unwrap();
        let multi = |numbers: &[f32]| TextOutput { multi: numbers.to_vec(), ..Default::default() };
        call.deliver(2, TextOutput { sparse: vec![(7, 0.5)], ..multi(&[3.0, 4.0, 5.0, 6.0]) });
        call.deliver(1, multi(&[]));
        call.deliver(0, TextOutput { sparse: vec![(4, 1.0), (9, 2.0)], ..multi(&[1.0, 2.0]) });
        let Results { dense, sparse, multi } = call.wait().unwrap();
        let (sparse, multi) = (sparse.unwrap(), multi.unwrap());
        assert!(dense.is_empty());
        assert_eq!((sparse.offsets, sparse.ids), (vec![0, 2, 2, 3], vec![4, 9, 7]));
        assert_eq!(sparse.weights, [1.0, 2.0, 0.5]);
        assert_eq!(multi.offsets, [0, 1, 1, 3]);
        assert_eq!(multi.rows, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
