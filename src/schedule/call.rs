//! One call to encode: what it still waits for, and how it ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::callbacks::{Bell, Ticket};
use crate::embeddings::{Outputs, SparseWeights, TextOutput, TokenVectors};
use crate::error::{Error, Result, error};
use crate::heads;
use crate::kernels::normalize::normalize;
use crate::memory;

/// One text as token ids, and its place in the call.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub text: usize,
    pub ids: Vec<u32>,
    /// Tokens from the first on that pooling leaves out: those of a prompt.
    pub left_out: usize,
}

/// What is wanted of the texts of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub outputs: Outputs,
    /// Dense vectors are cut to this length.
    pub dense_dim: usize,
    pub multi_dim: usize,
    pub token_dim: usize,
    /// Scale dense vectors to length 1, after cutting.
    pub normalize: bool,
    /// A fault of one text is not one of the call.
    pub per_text_errors: bool,
}

#[cfg(test)]
impl Format {
    pub fn dense(dense_dim: usize) -> Self {
        Self {
            outputs: Outputs::default(),
            dense_dim,
            multi_dim: 0,
            token_dim: 0,
            normalize: false,
            per_text_errors: false,
        }
    }
}

/// What was computed for a call: of each output, what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub dense: Vec<f32>,
    pub sparse: Option<SparseWeights>,
    pub multi: Option<TokenVectors>,
    pub tokens: Option<TokenVectors>,
    /// What was wrong with single texts, by ascending index.
    pub errors: Vec<Error>,
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
    /// Absent until the tokens have told how many rows there are, as the next.
    multi: Option<TokenVectors>,
    tokens: Option<TokenVectors>,
    errors: BTreeMap<usize, Error>,
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
                multi: None,
                tokens: None,
                errors: BTreeMap::new(),
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

    pub fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|(deadline, _)| deadline)
    }

    /// The whole time that the call was given.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(|(_, limit)| limit)
    }

    /// Makes room for what only the tokens tell the size of, and takes what is wrong with texts that
    /// will not come. Has to be called before the first text is handed in, with the number of
    /// tokens of each text.
    pub fn expect(
        &self,
        tokens: impl Iterator<Item = usize> + Clone,
        failed: Vec<(usize, Error)>,
    ) -> Result<()> {
        let Format { outputs, multi_dim, token_dim, .. } = self.format;
        let multi_rows = tokens.clone().map(heads::multi_rows);
        let multi = outputs.multi.then(|| rows(multi_rows, multi_dim)).transpose()?;
        let tokens = outputs.tokens.then(|| rows(tokens, token_dim)).transpose()?;
        let mut state = self.state.lock();
        if state.outcome.is_none() {
            state.multi = multi;
            state.tokens = tokens;
            for (text, error) in failed {
                state.give_up(text, error, self.format.dense_dim);
            }
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
            state.multi = None;
            state.tokens = None;
            self.end(&mut state, Err(error));
        }
    }

    /// Takes what is wrong with one text, instead of its results.
    pub fn fail_text(&self, text: usize, error: Error) {
        let error = error.at_text(text);
        if !self.format.per_text_errors {
            return self.fail(error);
        }
        let mut state = self.state.lock();
        if state.outcome.is_none() {
            state.give_up(text, error, self.format.dense_dim);
            self.end_if_complete(&mut state);
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
            row.copy_from_slice(&output.dense[..dense_dim]);
            if scale {
                normalize(row);
            }
        }
        if outputs.sparse {
            state.sparse[text] = output.sparse;
        }
        if let Some(multi) = &mut state.multi {
            multi.of_mut(text).copy_from_slice(&output.multi);
        }
        if let Some(tokens) = &mut state.tokens {
            tokens.of_mut(text).copy_from_slice(&output.tokens);
        }
        state.texts_left -= 1;
        self.end_if_complete(&mut state);
    }

    /// Ends a call that has no text for the model. The queue says when, so that an empty call ends like any
    /// other if the model is closed or the call was stopped before.
    pub fn end_if_empty(&self) {
        if self.is_over() {
            return;
        }
        self.end_if_complete(&mut self.state.lock());
    }

    fn end_if_complete(&self, state: &mut State) {
        if state.texts_left == 0 && state.outcome.is_none() {
            self.end(state, Ok(()));
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
        match state.outcome.clone() {
            Some(Ok(())) => Ok(Results {
                dense: std::mem::take(&mut state.dense),
                sparse: (self.format.outputs.sparse)
                    .then(|| SparseWeights::from_texts(std::mem::take(&mut state.sparse)))
                    .transpose()?,
                multi: state.multi.take(),
                tokens: state.tokens.take(),
                errors: std::mem::take(&mut state.errors).into_values().collect(),
            }),
            Some(Err(e)) => Err(e),
            None => Err(error!(Internal, "a call was asked for its result before it was over")),
        }
    }
}

impl State {
    /// Leaves nothing that could be taken for a result of the text.
    fn give_up(&mut self, text: usize, error: Error, dense_dim: usize) {
        if !self.dense.is_empty() {
            self.dense[text * dense_dim..][..dense_dim].fill(f32::NAN);
        }
        for rows in [&mut self.multi, &mut self.tokens].into_iter().flatten() {
            rows.of_mut(text).fill(f32::NAN);
        }
        self.errors.insert(text, error);
        self.texts_left -= 1;
    }
}

/// Room for so many rows of each text.
fn rows(counts: impl Iterator<Item = usize>, dim: usize) -> Result<TokenVectors> {
    let mut end = 0;
    let expected = counts.size_hint().0 + 1;
    let ends = counts.map(|rows| {
        end += rows;
        end
    });
    let offsets = memory::collected(std::iter::once(0).chain(ends), expected)?;
    Ok(TokenVectors { dim, rows: zeros(end, dim)?, offsets })
}

/// Rows of zeros. What a caller asks for may be more than there is memory for.
fn zeros(rows: usize, dim: usize) -> Result<Vec<f32>> {
    let count = rows.checked_mul(dim).ok_or_else(|| no_memory(rows, dim))?;
    memory::zeros(count).map_err(|_| no_memory(rows, dim))
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
    fn vectors_are_cut_and_scaled_once_if_asked_for() {
        let call =
            Call::new(1, Format { normalize: true, ..Format::dense(2) }, None, None).unwrap();
        call.deliver(0, TextOutput::dense(&[3.0, 4.0, 5.0]));
        assert_eq!(call.wait().unwrap().dense, [0.6, 0.8]);
    }

    #[test]
    fn outputs_come_as_asked_for_each_text_at_its_place() {
        let outputs = Outputs { dense: false, sparse: true, multi: true, tokens: false };
        let format = Format { outputs, multi_dim: 2, ..Format::dense(2) };
        let call = Call::new(3, format, None, None).unwrap();
        call.expect([2, 1, 3].into_iter(), Vec::new()).unwrap();
        let multi = |numbers: &[f32]| TextOutput { multi: numbers.to_vec(), ..Default::default() };
        call.deliver(2, TextOutput { sparse: vec![(7, 0.5)], ..multi(&[3.0, 4.0, 5.0, 6.0]) });
        call.deliver(1, multi(&[]));
        call.deliver(0, TextOutput { sparse: vec![(4, 1.0), (9, 2.0)], ..multi(&[1.0, 2.0]) });
        let Results { dense, sparse, multi, tokens, errors } = call.wait().unwrap();
        assert!(tokens.is_none() && errors.is_empty());
        let (sparse, multi) = (sparse.unwrap(), multi.unwrap());
        assert!(dense.is_empty());
        assert_eq!((sparse.offsets, sparse.ids), (vec![0, 2, 2, 3], vec![4, 9, 7]));
        assert_eq!(sparse.weights, [1.0, 2.0, 0.5]);
        assert_eq!(multi.offsets, [0, 1, 1, 3]);
        assert_eq!(multi.rows, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn a_text_that_fails_leaves_nothing_to_be_taken_for_a_result() {
        let outputs = Outputs { dense: true, sparse: true, multi: true, tokens: true };
        let format = Format {
            outputs,
            multi_dim: 2,
            token_dim: 1,
            per_text_errors: true,
            ..Format::dense(1)
        };
        let call = Call::new(4, format, None, None).unwrap();
        let early = (3, error!(TextTooLong, "early").at_text(3));
        call.expect([2, 3, 2, 0].into_iter(), vec![early]).unwrap();
        let output = TextOutput {
            sparse: vec![(7, 0.5)],
            multi: vec![1.0, 2.0],
            tokens: vec![3.0, 4.0],
            ..TextOutput::dense(&[8.0])
        };
        call.deliver(2, output.clone());
        call.fail_text(1, error!(NotFinite, "late"));
        assert!(!call.is_over());
        call.deliver(0, output);
        let results = call.wait().unwrap();
        let same = |ours: &[f32], expected: &[f32]| {
            ours.len() == expected.len()
                && ours.iter().zip(expected).all(|(a, b)| a == b || a.is_nan() && b.is_nan())
        };
        let nan = f32::NAN;
        assert!(same(&results.dense, &[8.0, nan, 8.0, nan]));
        assert_eq!(results.sparse.unwrap().offsets, [0, 1, 1, 2, 2]);
        let multi = results.multi.unwrap();
        assert_eq!(multi.offsets, [0, 1, 3, 4, 4]);
        assert!(same(&multi.rows, &[1.0, 2.0, nan, nan, nan, nan, 1.0, 2.0]));
        let tokens = results.tokens.unwrap();
        assert_eq!(tokens.offsets, [0, 2, 5, 7, 7]);
        assert!(same(&tokens.rows, &[3.0, 4.0, nan, nan, nan, 3.0, 4.0]));
        let errors: Vec<_> = results.errors.iter().map(|e| (e.text_index(), e.kind())).collect();
        let expected = [(Some(1), ErrorKind::NotFinite), (Some(3), ErrorKind::TextTooLong)];
        assert_eq!(errors, expected);
    }

    #[test]
    fn a_call_all_of_whose_texts_failed_ends_when_the_queue_says_so() {
        let format = Format { per_text_errors: true, ..Format::dense(2) };
        let call = Call::new(1, format, None, None).unwrap();
        call.expect([0].into_iter(), vec![(0, error!(InvalidUtf8, "bad").at_text(0))]).unwrap();
        assert!(!call.is_over());
        call.end_if_empty();
        assert_eq!(call.wait().unwrap().errors.len(), 1);
    }

    #[test]
    fn without_errors_of_their_own_the_first_fault_of_a_text_ends_the_call() {
        let call = call(3, None);
        call.fail_text(2, error!(NotFinite, "first"));
        call.fail_text(0, error!(Inference, "second"));
        let e = call.wait().unwrap_err();
        assert_eq!((e.kind(), e.text_index()), (ErrorKind::NotFinite, Some(2)));
    }
}
