//! An open model: texts in, vectors out.

use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;

use crate::embeddings::{Embeddings, Outputs, Sizes};
use crate::encode::Inner;
use crate::error::Result;
use crate::info::Info;
use crate::options::EncodeOptions;
use crate::stats::Stats;

/// A loaded model. Clones are the same model; any number of threads may use it at once.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

impl Model {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Encodes texts. May be called by any number of threads at once: their texts share batches.
    pub fn encode<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &EncodeOptions,
    ) -> Result<Embeddings> {
        self.encode_fallible(texts.iter().map(|text| Ok(text.as_ref())), options)
    }

    /// As [`encode`](Self::encode), for texts that may be invalid, for instance as UTF-8: such an
    /// error is treated like any error of a single text.
    pub fn encode_fallible<'a>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
    ) -> Result<Embeddings> {
        self.encode_into(texts, options, |_| Ok(())).map(|((), embeddings)| embeddings)
    }

    /// As [`encode_fallible`](Self::encode_fallible), for a caller with memory of its own:
    /// `allocate` learns the sizes once the texts are tokenized, and may fail before inference.
    pub(crate) fn encode_into<'a, R>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
        allocate: impl FnOnce(Sizes) -> Result<R>,
    ) -> Result<(R, Embeddings)> {
        self.0.check_process()?;
        self.0.counters.call();
        self.0.encode(texts, options, allocate).inspect_err(|e| self.0.counters.failure(e))
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

    /// As [`encode_async`](Self::encode_async), for texts that may be invalid.
    pub fn encode_async_fallible<'a>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
        done: impl FnOnce(Result<Embeddings>) + Send + 'static,
    ) -> Result<()> {
        self.encode_async_into(texts, options, |_| Ok(done))
    }

    /// As [`encode_async_fallible`](Self::encode_async_fallible), with a callback that `allocate`
    /// returns once the texts are tokenized. It may fail instead.
    pub(crate) fn encode_async_into<'a, D: FnOnce(Result<Embeddings>) + Send + 'static>(
        &self,
        texts: impl ExactSizeIterator<Item = Result<&'a str>>,
        options: &EncodeOptions,
        allocate: impl FnOnce(Sizes) -> Result<D>,
    ) -> Result<()> {
        self.0.check_process()?;
        self.0.counters.call();
        self.0.encode_async(texts, options, allocate).inspect_err(|e| self.0.counters.failure(e))
    }

    /// Refuses outputs that the model does not produce.
    pub(crate) fn check_outputs(&self, outputs: Outputs) -> Result<()> {
        self.0.outputs.require(outputs)
    }

    /// The length of a dense vector of a call with these options.
    pub fn dense_dim(&self, options: &EncodeOptions) -> Result<usize> {
        self.0.dense_dim(options)
    }

    /// Counts the tokens of a text before any truncation, special tokens included. Reads all of it.
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
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed), and frees the weights. When this
    /// returns, every callback has returned. Dropping the last clone does the same.
    pub fn close(&self) {
        self.0.close();
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("info", &self.0.info).finish_non_exhaustive()
    }
}
