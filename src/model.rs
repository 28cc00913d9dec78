//! An open model: texts in, vectors out.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use once_cell::sync::OnceCell;

use crate::embeddings::{Embeddings, Outputs, Sizes, TokenUsage, multi_rows};
use crate::error::{Error, ErrorKind, Result, error};
use crate::fingerprint;
use crate::heads::{self, Missing};
use crate::info::Info;
use crate::memory;
use crate::options::{EncodeOptions, zero_is_default};
use crate::schedule::{
    Call, Callbacks, Completions, MemoryLimit, Queue, ResultSpec, Results, Runner, Sequence,
};
use crate::stats::{Counters, Stats};
use crate::tokenize::{Tokenizer, Tokens, strip};

/// A loaded model. Clones are the same model; any number of threads may use it at once.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

pub(crate) struct Inner {
    pub tokenizer: Tokenizer,
    pub info: Info,
    pub prompts: BTreeMap<String, String>,
    pub missing: Missing,
    pub identity: fingerprint::Identity,
    pub fingerprint: OnceCell<String>,
    pub counters: Arc<Counters>,
    pub queue: Arc<Queue>,
    pub memory_limit: Option<MemoryLimit>,
    pub callbacks: Callbacks,
    pub runner: Runner,
    /// The process that opened the model: a child made by fork has the memory, but no threads.
    pub process: u32,
}

impl Model {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Encodes texts. May run on any number of threads at once: their texts share runs.
    pub fn encode<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &EncodeOptions,
    ) -> Result<Embeddings> {
        self.encode_fallible(texts.iter().map(|text| Ok(text.as_ref())), options)
    }

    /// As [`encode`](Self::encode), for texts that may turn out to be none, as bytes that are not
    /// UTF-8: such an error is treated as any fault of a single text.
    pub fn encode_fallible<'a>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
    ) -> Result<Embeddings> {
        self.encode_into(texts, options, |_| Ok(())).map(|((), embeddings)| embeddings)
    }

    /// As [`encode`](Self::encode), for a caller with limited room and texts that may be none:
    /// `room` is asked once the texts are tokenized, and can refuse before any inference.
    pub(crate) fn encode_into<'a, R>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
        room: impl FnOnce(Sizes) -> Result<R>,
    ) -> Result<(R, Embeddings)> {
        self.0.check_process()?;
        self.0.counters.call();
        self.0.encode(texts, options, room).inspect_err(|e| self.0.counters.failure(e))
    }

    /// Starts to encode, and returns once the texts are tokenized.
    ///
    /// If this succeeds, `done` runs exactly once, on a thread of the model; it must not block for
    /// long. If this fails, `done` never runs.
    pub fn encode_async<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &EncodeOptions,
        done: impl FnOnce(Result<Embeddings>) + Send + 'static,
    ) -> Result<()> {
        self.encode_async_fallible(texts.iter().map(|text| Ok(text.as_ref())), options, done)
    }

    /// As [`encode_async`](Self::encode_async), for texts that may turn out to be none.
    pub fn encode_async_fallible<'a>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
        done: impl FnOnce(Result<Embeddings>) + Send + 'static,
    ) -> Result<()> {
        self.encode_async_into(texts, options, |_| Ok(done))
    }

    /// As [`encode_async`](Self::encode_async), with a callback that `room` makes once the texts
    /// are tokenized, unless it refuses.
    pub(crate) fn encode_async_into<'a, D: FnOnce(Result<Embeddings>) + Send + 'static>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
        room: impl FnOnce(Sizes) -> Result<D>,
    ) -> Result<()> {
        self.0.check_process()?;
        self.0.counters.call();
        self.0.encode_async(texts, options, room).inspect_err(|e| self.0.counters.failure(e))
    }

    /// Refuses outputs that the model does not produce.
    pub(crate) fn check_outputs(&self, outputs: Outputs) -> Result<()> {
        self.0.missing.check(outputs)
    }

    /// The length of a dense vector of a call with these options.
    pub fn dense_dim(&self, options: &EncodeOptions) -> Result<usize> {
        self.0.dense_dim(options)
    }

    /// Counts the tokens of a text before any cutting, special tokens included. Reads all of it.
    pub fn count_tokens(&self, text: &str) -> Result<usize> {
        self.0.tokenizer.count(text)
    }

    /// The text of a token, as the vocabulary has it, or `None` if there is no such token.
    pub fn token_text(&self, id: u32) -> Option<&CStr> {
        self.0.tokenizer.token_text(id)
    }

    /// Describes the model.
    pub fn info(&self) -> &Info {
        &self.0.info
    }

    /// A text that differs whenever the same text could get another vector: a hash of the weights,
    /// the tokenizer and everything else that decides a vector. The first call reads all weights.
    pub fn fingerprint(&self) -> Result<&str> {
        self.0.fingerprint.get_or_try_init(|| self.0.identity.hash()).map(String::as_str)
    }

    /// Reads the counters.
    pub fn stats(&self) -> Stats {
        self.0.counters.read(self.0.callbacks.depth(), self.0.queue.dropped())
    }

    /// Ends all calls that have not finished with
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed), and releases the weights. When this
    /// returns, every callback has returned. Dropping the last clone does the same.
    pub fn close(&self) {
        self.0.close();
    }
}

/// The texts of a call once they are tokenized.
struct Tokenized {
    sequences: Vec<Sequence>,
    usage: Vec<TokenUsage>,
    /// What is wrong with texts that are not among the sequences.
    failed: Vec<(usize, Error)>,
}

fn embeddings(results: Results, dim: usize, usage: Vec<TokenUsage>) -> Embeddings {
    let Results { dense, sparse, multi, tokens, errors } = results;
    Embeddings { dim, dense, sparse, multi, tokens, usage, errors }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("info", &self.0.info).finish_non_exhaustive()
    }
}

impl Inner {
    fn encode<'a, R>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
        room: impl FnOnce(Sizes) -> Result<R>,
    ) -> Result<(R, Embeddings)> {
        let call = self.start_call(texts.len(), options, None)?;
        let Tokenized { sequences, usage, failed } = self.tokenize(texts, options, &call)?;
        let room = room(self.sizes(options.outputs, &sequences))?;
        call.allocate(usage.iter().map(|usage| usage.tokens), failed)?;
        self.runner.submit(&call, sequences);
        Ok((room, embeddings(call.wait()?, self.dense_dim(options)?, usage)))
    }

    fn encode_async<'a, D: FnOnce(Result<Embeddings>) + Send + 'static>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
        room: impl FnOnce(Sizes) -> Result<D>,
    ) -> Result<()> {
        let permit = self.callbacks.reserve()?;
        let call = self.start_call(texts.len(), options, Some(self.callbacks.completions()))?;
        let Tokenized { sequences, usage, failed } = self.tokenize(texts, options, &call)?;
        let done = room(self.sizes(options.outputs, &sequences))?;
        call.allocate(usage.iter().map(|usage| usage.tokens), failed)?;
        let dim = self.dense_dim(options)?;
        let counters = Arc::clone(&self.counters);
        let finish = Box::new(move |result: Result<Results>| {
            if let Err(e) = &result {
                counters.failure(e);
            }
            done(result.map(|results| embeddings(results, dim, usage)));
        });
        self.callbacks.add(permit, &call, finish)?;
        self.queue.submit(call, sequences);
        Ok(())
    }

    fn dense_dim(&self, options: &EncodeOptions) -> Result<usize> {
        // Python would give all of a vector to who asks for more; a caller here may go on as if
        // rows were as long as that.
        let asked = zero_is_default("truncate_dim", options.truncate_dim, 1..=self.info.full_dim)?;
        Ok(asked.unwrap_or(self.info.dense_dim))
    }

    fn start_call(
        &self,
        texts: usize,
        options: &EncodeOptions,
        completions: Option<Arc<Completions>>,
    ) -> Result<Arc<Call>> {
        self.missing.check(options.outputs)?;
        let spec = ResultSpec {
            outputs: options.outputs,
            dense_dim: self.dense_dim(options)?,
            multi_dim: self.info.multi_dim,
            token_dim: self.info.token_dim,
            normalize: options.normalize,
            per_text_errors: options.per_text_errors,
        };
        let call = Call::new(texts, spec, options.timeout, completions)?;
        if let Some(cancel) = &options.cancel {
            cancel.watch(&call);
        }
        Ok(call)
    }

    /// How much room only the tokens tell.
    fn sizes(&self, outputs: Outputs, sequences: &[Sequence]) -> Sizes {
        let sum = |size: fn(&[u32]) -> usize| sequences.iter().map(|text| size(&text.ids)).sum();
        Sizes {
            sparse_entries: if outputs.sparse { sum(heads::sparse_bound) } else { 0 },
            multi_rows: if outputs.multi { sum(|ids| multi_rows(ids.len())) } else { 0 },
            token_rows: if outputs.tokens { sum(<[u32]>::len) } else { 0 },
        }
    }

    fn tokenize<'a>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
        call: &Call,
    ) -> Result<Tokenized> {
        let started = Instant::now();
        let max_tokens =
            zero_is_default("max_tokens", options.max_tokens, 2..=self.info.max_tokens)?
                .unwrap_or(self.info.max_tokens);
        let prompt = self.prompt(options.prompt.as_deref())?;
        let prompt_tokens = match prompt {
            Some(prompt) if !self.info.include_prompt => {
                self.tokenizer.prompt_tokens(prompt, max_tokens)?
            }
            _ => 0,
        };
        let tokens_of = |text: &str| {
            let prompted = prompt.map(|prompt| [prompt, text].concat());
            let text = prompted.as_deref().unwrap_or(text);
            let text = if options.strip { strip(text) } else { text };
            let tokens = self.tokenizer.encode(text, max_tokens, &|| call.expire_if_due())?;
            // Tokens that were added to a tokenizer and not to the model are not in every text.
            if let Some(id) = tokens.ids.iter().find(|id| **id as usize >= self.info.vocab_size) {
                return Err(error!(
                    ModelInvalid,
                    "the text has the token {:?} with the id {id}, but the word embedding table has \
                     {} rows",
                    self.tokenizer.token_text(*id).unwrap_or_default(),
                    self.info.vocab_size
                ));
            }
            if tokens.truncated && options.reject_long {
                return Err(error!(
                    TextTooLong,
                    "the text has more than {max_tokens} tokens, and cutting it is forbidden \
                     by BGE_ENCODE_REJECT_LONG"
                ));
            }
            if let Some(limit) = self.memory_limit {
                limit.check(tokens.ids.len())?;
            }
            Ok(tokens)
        };
        let mut tokenized = Tokenized {
            sequences: memory::with_room(texts.len())?,
            usage: memory::with_room(texts.len())?,
            failed: Vec::new(),
        };
        for (index, text) in texts.enumerate() {
            if call.expire_if_due() {
                break;
            }
            match text.and_then(tokens_of) {
                Ok(Tokens { ids, truncated }) => {
                    tokenized.usage.push(TokenUsage { tokens: ids.len(), truncated });
                    tokenized.sequences.push(Sequence { text: index, ids, prompt_tokens });
                }
                // A `max_tokens` too small for the special tokens is no fault of a text.
                Err(e) if options.per_text_errors && e.kind() != ErrorKind::InvalidArgument => {
                    tokenized.usage.push(TokenUsage { tokens: 0, truncated: false });
                    tokenized.failed.push((index, e.at_text(index)));
                }
                Err(e) => return Err(e.at_text(index)),
            }
        }
        self.counters.tokenizing(started.elapsed());
        Ok(tokenized)
    }

    fn prompt(&self, name: Option<&str>) -> Result<Option<&str>> {
        let name = match name {
            Some(name) => name,
            None => self.info.default_prompt.as_deref().unwrap_or_default(),
        };
        if name.is_empty() {
            return Ok(None);
        }
        match self.prompts.get(name) {
            Some(prompt) => Ok(Some(prompt.as_str()).filter(|prompt| !prompt.is_empty())),
            None if self.prompts.is_empty() => Err(error!(
                InvalidArgument,
                "the model has no prompts, so none is named {name:?}; they would be in its \
                 config_sentence_transformers.json, under \"prompts\""
            )),
            None => Err(error!(
                InvalidArgument,
                "the model has no prompt named {name:?}; it has {:?}",
                self.prompts.keys().collect::<Vec<_>>()
            )),
        }
    }

    fn check_process(&self) -> Result<()> {
        let now = std::process::id();
        if now != self.process {
            return Err(error!(
                Unsupported,
                "the model was opened by process {} and is used by its child {now}; \
                 open it after fork()",
                self.process
            ));
        }
        Ok(())
    }

    fn close(&self) {
        // In a forked child there are no threads to end, and waiting for them would never end.
        if self.check_process().is_ok() {
            self.runner.close();
            self.callbacks.close();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
