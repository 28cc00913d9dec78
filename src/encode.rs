//! The way of one call: from its options and texts through tokenizing and inference to its results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use once_cell::sync::OnceCell;

use crate::embeddings::{Embeddings, Outputs, Sizes, TokenUsage, multi_rows};
use crate::encoder::{OutputSupport, sparse_bound};
use crate::error::{Error, ErrorKind, Result, error};
use crate::fingerprint;
use crate::info::Info;
use crate::memory;
use crate::options::{EncodeOptions, zero_is_default};
use crate::schedule::{
    Call, Callbacks, Completions, MemoryLimit, Queue, ResultSpec, Results, Runner, Sequence,
};
use crate::stats::Counters;
use crate::tokenize::{Tokenizer, Tokens, strip};

/// The parts of an open model.
pub(crate) struct Inner {
    pub tokenizer: Tokenizer,
    pub info: Info,
    pub prompts: BTreeMap<String, String>,
    pub outputs: OutputSupport,
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

/// The texts of a call after tokenizing.
struct Tokenized {
    sequences: Vec<Sequence>,
    usage: Vec<TokenUsage>,
    /// The errors of texts that are not among the sequences.
    errors: Vec<(usize, Error)>,
}

impl Inner {
    /// Encodes texts, and waits for the results. `allocate` is called between tokenizing and
    /// inference.
    pub fn encode<'a, R>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
        allocate: impl FnOnce(Sizes) -> Result<R>,
    ) -> Result<(R, Embeddings)> {
        let call = self.start_call(texts.len(), options, None)?;
        let Tokenized { sequences, usage, errors } = self.tokenize(texts, options, &call)?;
        let allocated = allocate(self.sizes(options.outputs, &sequences))?;
        call.allocate(usage.iter().map(|usage| usage.tokens), errors)?;
        self.runner.submit(&call, sequences);
        Ok((allocated, embeddings(call.wait()?, self.dense_dim(options)?, usage)))
    }

    /// Starts to encode texts. `allocate` is called after tokenizing, and returns the callback.
    pub fn encode_async<'a, D: FnOnce(Result<Embeddings>) + Send + 'static>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
        allocate: impl FnOnce(Sizes) -> Result<D>,
    ) -> Result<()> {
        let permit = self.callbacks.reserve()?;
        let call = self.start_call(texts.len(), options, Some(self.callbacks.completions()))?;
        let Tokenized { sequences, usage, errors } = self.tokenize(texts, options, &call)?;
        let done = allocate(self.sizes(options.outputs, &sequences))?;
        call.allocate(usage.iter().map(|usage| usage.tokens), errors)?;
        let dim = self.dense_dim(options)?;
        let counters = Arc::clone(&self.counters);
        let callback = Box::new(move |result: Result<Results>| {
            if let Err(e) = &result {
                counters.failure(e);
            }
            done(result.map(|results| embeddings(results, dim, usage)));
        });
        self.callbacks.add(permit, &call, callback)?;
        self.queue.submit(call, sequences);
        Ok(())
    }

    pub fn dense_dim(&self, options: &EncodeOptions) -> Result<usize> {
        // sentence-transformers returns shorter vectors than requested; here a caller may rely on
        // the length that it requested, so a longer one is an error.
        let requested =
            zero_is_default("truncate_dim", options.truncate_dim, 1..=self.info.full_dim)?;
        Ok(requested.unwrap_or(self.info.dense_dim))
    }

    fn start_call(
        &self,
        texts: usize,
        options: &EncodeOptions,
        completions: Option<Arc<Completions>>,
    ) -> Result<Arc<Call>> {
        self.outputs.require(options.outputs)?;
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

    /// The sizes of the outputs that depend on the tokens.
    fn sizes(&self, outputs: Outputs, sequences: &[Sequence]) -> Sizes {
        let sum = |size: fn(&[u32]) -> usize| sequences.iter().map(|text| size(&text.ids)).sum();
        Sizes {
            sparse_entries: if outputs.sparse { sum(sparse_bound) } else { 0 },
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
            self.check(&tokens, max_tokens, options.reject_long)?;
            Ok(tokens)
        };
        let mut tokenized = Tokenized {
            sequences: memory::with_room(texts.len())?,
            usage: memory::with_room(texts.len())?,
            errors: Vec::new(),
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
                // A `max_tokens` too small for the special tokens is no error of a text.
                Err(e) if options.per_text_errors && e.kind() != ErrorKind::InvalidArgument => {
                    tokenized.usage.push(TokenUsage { tokens: 0, truncated: false });
                    tokenized.errors.push((index, e.at_text(index)));
                }
                Err(e) => return Err(e.at_text(index)),
            }
        }
        self.counters.tokenizing(started.elapsed());
        Ok(tokenized)
    }

    /// Refuses a text that the model cannot encode with these options.
    fn check(&self, tokens: &Tokens, max_tokens: usize, reject_long: bool) -> Result<()> {
        // A token that was added to the tokenizer and not to the model is no error before a text
        // has it.
        if let Some(id) = tokens.ids.iter().find(|id| **id as usize >= self.info.vocab_size) {
            return Err(error!(
                ModelInvalid,
                "the text has the token {:?} with the id {id}, but the word embedding table has {} \
                 rows",
                self.tokenizer.token_text(*id).unwrap_or_default(),
                self.info.vocab_size
            ));
        }
        if tokens.truncated && reject_long {
            return Err(error!(
                TextTooLong,
                "the text has more than {max_tokens} tokens, and the option reject_long \
                 (BGE_ENCODE_REJECT_LONG) forbids to truncate it; shorten the text, raise \
                 max_tokens, or leave out that option"
            ));
        }
        if let Some(limit) = self.memory_limit {
            limit.check(tokens.ids.len())?;
        }
        Ok(())
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

    pub fn check_process(&self) -> Result<()> {
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

    /// Closes the model in the order that the head of `schedule` explains.
    pub fn close(&self) {
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

fn embeddings(results: Results, dim: usize, usage: Vec<TokenUsage>) -> Embeddings {
    let Results { dense, sparse, multi, tokens, errors } = results;
    Embeddings { dim, dense, sparse, multi, tokens, usage, errors }
}
