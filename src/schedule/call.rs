//! One call to encode: how many of its texts are missing, its results so far, and how it ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::waker::{CallKey, CompletionQueue};
use crate::embeddings::{Outputs, SparseWeights, TextOutput, TokenVectors, multi_rows};
use crate::error::{Error, Result, error};
use crate::kernels::normalize::normalize;
use crate::memory;

/// One text as token ids, and its index in the call.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub text: usize,
    pub ids: Vec<u32>,
    /// Tokens of the prompt at the beginning of the text, which pooling does not read.
    pub prompt_tokens: usize,
}

/// Which results a call asks for, and their shapes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResultSpec {
    pub outputs: Outputs,
    /// Dense vectors are truncated to this length.
    pub dense_dim: usize,
    pub multi_dim: usize,
    pub token_dim: usize,
    /// Scale dense vectors to length 1, after truncating.
    pub normalize: bool,
    /// Report the error of one text beside the results of the others, instead of failing the call.
    pub per_text_errors: bool,
}

#[cfg(test)]
impl ResultSpec {
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

/// The results of a call. An output that the call did not ask for is empty or `None`.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub dense: Vec<f32>,
    pub sparse: Option<SparseWeights>,
    pub multi: Option<TokenVectors>,
    pub tokens: Option<TokenVectors>,
    /// The errors of single texts, by ascending index.
    pub errors: Vec<Error>,
}

/// Runs when an asynchronous call has ended.
pub(crate) type Callback = Box<dyn FnOnce(Result<Results>) + Send>;

/// An asynchronous call that has not ended, and its callback.
pub(crate) struct PendingCallback {
    pub call: Arc<Call>,
    pub callback: Callback,
}

/// The asynchronous calls of a model.
pub(crate) type Completions = CompletionQueue<PendingCallback>;

/// The state of a call. The first outcome stands: whatever is delivered later is dropped.
///
/// Results gather in the call and not in the caller's memory, so that a caller may leave at any
/// time, for instance at its deadline, while a batch with its texts still runs.
pub(crate) struct Call {
    spec: ResultSpec,
    timeout: Option<(Instant, Duration)>,
    /// Set with the outcome, so that it can be read without the lock.
    has_outcome: AtomicBool,
    state: Mutex<State>,
    done: Condvar,
    /// What to complete when the call ends, if no thread waits in [`Call::wait`].
    completion: Option<(Arc<Completions>, CallKey)>,
}

struct State {
    /// Texts that have neither results nor an error yet.
    texts_left: usize,
    dense: Vec<f32>,
    /// By text. The number of entries of a text is not known before its results are.
    sparse: Vec<Vec<(u32, f32)>>,
    /// `None` before [`Call::allocate`], which knows the number of rows; so is `tokens`.
    multi: Option<TokenVectors>,
    tokens: Option<TokenVectors>,
    errors: BTreeMap<usize, Error>,
    outcome: Option<Result<(), Error>>,
}

impl Call {
    pub fn new(
        texts: usize,
        spec: ResultSpec,
        timeout: Option<Duration>,
        completions: Option<Arc<Completions>>,
    ) -> Result<Arc<Self>> {
        let ResultSpec { outputs, dense_dim, .. } = spec;
        let dense = zeros(if outputs.dense { texts } else { 0 }, dense_dim)?;
        let mut sparse = Vec::new();
        let entries = if outputs.sparse { texts } else { 0 };
        sparse.try_reserve_exact(entries).map_err(|_| no_memory(texts, 1))?;
        sparse.resize(entries, Vec::new());
        let timeout = timeout.and_then(|limit| Some((Instant::now().checked_add(limit)?, limit)));
        let deadline = timeout.map(|(deadline, _)| deadline);
        Ok(Arc::new(Self {
            spec,
            timeout,
            has_outcome: AtomicBool::new(false),
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
            completion: completions.map(|completions| {
                let key = completions.new_key(deadline);
                (completions, key)
            }),
        }))
    }

    pub fn outputs(&self) -> Outputs {
        self.spec.outputs
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|(deadline, _)| deadline)
    }

    /// The whole time that the call was given.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(|(_, limit)| limit)
    }

    pub fn key(&self) -> Option<CallKey> {
        self.completion.as_ref().map(|(_, key)| *key)
    }

    /// Allocates the outputs whose size depends on the number of tokens of each text, and takes the
    /// errors of texts that will not be submitted. Has to be called before the first text is
    /// submitted.
    pub fn allocate(
        &self,
        token_counts: impl Iterator<Item = usize> + Clone,
        early_errors: Vec<(usize, Error)>,
    ) -> Result<()> {
        let ResultSpec { outputs, multi_dim, token_dim, .. } = self.spec;
        let multi_counts = token_counts.clone().map(multi_rows);
        let multi = outputs.multi.then(|| rows(multi_counts, multi_dim)).transpose()?;
        let tokens = outputs.tokens.then(|| rows(token_counts, token_dim)).transpose()?;
        let mut state = self.state.lock();
        if state.outcome.is_none() {
            state.multi = multi;
            state.tokens = tokens;
            for (text, error) in early_errors {
                state.fail_text(text, error, self.spec.dense_dim);
            }
        }
        Ok(())
    }

    /// Whether no caller needs a result of this call any more: it has ended, or its deadline has
    /// passed. Takes no lock.
    pub fn is_over(&self) -> bool {
        self.has_outcome.load(Ordering::Acquire)
            || self.deadline().is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Ends the call if its deadline has passed. Returns whether the call is over.
    pub fn expire_if_due(&self) -> bool {
        if self.has_outcome.load(Ordering::Acquire) {
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
            // A batch may hold on to the call for a while, but not to memory that nobody will read.
            state.dense = Vec::new();
            state.sparse = Vec::new();
            state.multi = None;
            state.tokens = None;
            self.end(&mut state, Err(error));
        }
    }

    /// Takes the error of one text, instead of its results.
    pub fn fail_text(&self, text: usize, error: Error) {
        let error = error.at_text(text);
        if !self.spec.per_text_errors {
            return self.fail(error);
        }
        let mut state = self.state.lock();
        if state.outcome.is_none() {
            state.fail_text(text, error, self.spec.dense_dim);
            self.end_if_complete(&mut state);
        }
    }

    /// Takes the results of one text. No text may be delivered twice.
    pub fn deliver(&self, text: usize, output: TextOutput) {
        let mut state = self.state.lock();
        if state.outcome.is_some() {
            return;
        }
        let ResultSpec { outputs, dense_dim, normalize: scale, .. } = self.spec;
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

    /// Ends a call without any text for the model. The queue calls this on submission, so that an
    /// empty call fails like any other if the model is closed or the call was cancelled before.
    pub fn end_if_empty(&self) {
        if self.expire_if_due() {
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
        self.has_outcome.store(true, Ordering::Release);
        self.done.notify_all();
        if let Some((completions, key)) = &self.completion {
            completions.complete(*key);
        }
    }

    /// Waits until the call has ended, and takes its results.
    pub fn wait(&self) -> Result<Results> {
        let mut state = self.state.lock();
        while state.outcome.is_none() {
            match self.timeout {
                None => self.done.wait(&mut state),
                Some((deadline, _)) => {
                    if self.done.wait_until(&mut state, deadline).timed_out() {
                        drop(state);
                        self.expire_if_due();
                        state = self.state.lock();
                    }
                }
            }
        }
        self.take(&mut state)
    }

    /// Takes the results of a call that has ended.
    pub fn take_result(&self) -> Result<Results> {
        self.take(&mut self.state.lock())
    }

    fn take(&self, state: &mut State) -> Result<Results> {
        match state.outcome.clone() {
            Some(Ok(())) => Ok(Results {
                dense: std::mem::take(&mut state.dense),
                sparse: (self.spec.outputs.sparse)
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
    /// Fills the text's rows with NaN, so that nothing can be mistaken for its results.
    fn fail_text(&mut self, text: usize, error: Error, dense_dim: usize) {
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

/// Rows of zeros for texts with these counts of rows.
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

/// Rows of zeros. A caller may ask for more than there is memory for.
fn zeros(rows: usize, dim: usize) -> Result<Vec<f32>> {
    let count = rows.checked_mul(dim).ok_or_else(|| no_memory(rows, dim))?;
    memory::zeros(count).map_err(|_| no_memory(rows, dim))
}

fn no_memory(rows: usize, dim: usize) -> Error {
    error!(OutOfMemory, "there is no memory for {rows} vectors of {dim} numbers")
}

#[cfg(test)]
mod tests;
