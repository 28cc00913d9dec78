//! An open model: texts in, vectors out.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use once_cell::sync::OnceCell;

use crate::error::{Result, error};
use crate::fingerprint;
use crate::heads::{self, Missing};
use crate::log::{self, LogLevel};
use crate::model_dir::{Head, ModelDir};
use crate::outputs::{Embeddings, EncodeOptions, Outputs, Sizes, TokenUsage};
use crate::runtime::{self, EncoderSession, SessionOptions};
use crate::schedule::{
    Bell, Call, Callbacks, Format, PackedEncoder, Queue, Request, Results, Runner, Sequence,
};
use crate::stats::{Counters, Stats};
use crate::tokenize::{Tokenizer, strip};

const THREADS_MAX: usize = 1024;
const BATCH_TOKENS_DEFAULT: usize = 2048;
const BATCH_TOKENS_MAX: usize = 1 << 20;
const QUEUE_CAPACITY_DEFAULT: usize = 1024;
const QUEUE_CAPACITY_MAX: usize = 1 << 20;

/// How to open a model. Zero and `None` stand for the default.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The path of libonnxruntime. By default `BGE_ORT_LIBRARY`, else the folder of this library,
    /// else the system's loader.
    pub runtime_library: Option<PathBuf>,
    /// Threads that a run of the model uses. By default the physical cores that this process may
    /// use.
    pub threads: usize,
    /// The longest text in tokens, special tokens included. By default, and at most, what the
    /// model allows.
    pub max_tokens: usize,
    /// Tokens that a run of the model takes at most, unless a single text has more. By default
    /// 2048. More needs more memory and gains little.
    pub max_batch_tokens: usize,
    /// Asynchronous calls whose callback has not begun, at most. By default 1024.
    pub queue_capacity: usize,
}

/// What a model is.
#[derive(Clone, Debug)]
pub struct Info {
    /// What the model can produce.
    pub outputs: Outputs,
    /// Length of a dense vector.
    pub dense_dim: usize,
    /// Length of a row of a multi-vector. Zero: the model has none.
    pub multi_dim: usize,
    /// Rows of the word embedding table.
    pub vocab_size: usize,
    /// Longest text in tokens.
    pub max_tokens: usize,
    /// Layers of the encoder.
    pub layers: usize,
    /// Attention heads of a layer.
    pub heads: usize,
    /// Width of the feed-forward part of a layer.
    pub intermediate: usize,
    /// `cls` or `mean`.
    pub pooling: &'static str,
    /// Whether the model scales its vectors to length 1.
    pub normalize: bool,
    /// Threads that a run of the model uses.
    pub threads: usize,
    /// Tokens that a run of the model takes at most.
    pub max_batch_tokens: usize,
    /// What is computed in, whatever the weights are stored in: `fp32`.
    pub precision: &'static str,
    /// `cpu`.
    pub device: &'static str,
    /// The inference runtime and its version, as `onnxruntime 1.31.1`.
    pub runtime: String,
    /// Where the inference runtime was loaded from.
    pub runtime_library: PathBuf,
    /// Names and texts of the model's prompts.
    pub prompts: Vec<(String, String)>,
    /// The prompt that is used when none is named.
    pub default_prompt: Option<String>,
    /// The files that hold the weights, those of the heads included.
    pub weight_files: Vec<PathBuf>,
}

/// A loaded model. Clones are the same model; any number of threads may use it at once.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    tokenizer: Tokenizer,
    info: Info,
    prompts: BTreeMap<String, String>,
    missing: Missing,
    identity: fingerprint::Identity,
    fingerprint: OnceCell<String>,
    counters: Arc<Counters>,
    queue: Arc<Queue>,
    callbacks: Callbacks,
    runner: Runner,
    /// The process that opened the model: a child made by fork has the memory, but no threads.
    process: u32,
}

impl Model {
    /// Opens the model in a directory as sentence-transformers writes it.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let started = Instant::now();
        let path = path.as_ref();
        let threads = checked("threads", options.threads, 1..=THREADS_MAX)?;
        let batch_tokens =
            checked("max_batch_tokens", options.max_batch_tokens, 1..=BATCH_TOKENS_MAX)?;
        let capacity = checked("queue_capacity", options.queue_capacity, 1..=QUEUE_CAPACITY_MAX)?;
        let dir = ModelDir::read(path)?;
        let max_tokens = checked("max_tokens", options.max_tokens, 2..=dir.max_tokens)?
            .unwrap_or(dir.max_tokens);
        let tokenizer_name = dir.tokenizer_file.display().to_string();
        let tokenizer = Tokenizer::from_bytes(&dir.tokenizer_json, &tokenizer_name)?;
        if tokenizer.vocab_size() > dir.encoder.vocab {
            return Err(error!(
                ModelInvalid,
                "{tokenizer_name} has token ids up to {}, but the word embedding table has {} \
                 rows; they do not belong together",
                tokenizer.vocab_size() - 1,
                dir.encoder.vocab
            ));
        }
        if dir.heads.sparse.linear().is_some() {
            heads::check_weightless(&tokenizer, &tokenizer_name)?;
        }
        let multi = dir.heads.multi.linear();
        let multi_dim = multi.map_or(0, |head| head.rows);
        let batch_tokens = batch_tokens.unwrap_or(BATCH_TOKENS_DEFAULT);
        let session_options = SessionOptions {
            library: options.runtime_library.clone(),
            threads: threads.unwrap_or_else(runtime::default_threads),
            keep_memory_tokens: batch_tokens,
        };
        let queue = Arc::new(Queue::new());
        let wanted = {
            let queue = Arc::clone(&queue);
            Arc::new(move || queue.run_is_wanted())
        };
        let session =
            EncoderSession::open(&dir.encoder, &dir.weights, multi, &session_options, wanted)?;
        let mut encoder = PackedEncoder {
            session,
            pooling: dir.pooling,
            hidden: dir.encoder.hidden,
            pad_id: dir.encoder.pad_id,
            sparse: dir.heads.sparse.linear().cloned(),
            multi_dim,
        };
        let counters = Arc::new(Counters::default());
        let encode = move |texts: &[Request<'_>]| encoder.encode(texts);
        let runner =
            Runner::start(encode, Arc::clone(&queue), Arc::clone(&counters), batch_tokens)?;
        let missing = Missing::of(&dir.heads);
        let head_files = [&dir.heads.sparse, &dir.heads.multi].into_iter().filter_map(Head::file);
        let info = Info {
            outputs: missing.others(),
            multi_dim,
            dense_dim: dir.encoder.hidden,
            vocab_size: dir.encoder.vocab,
            max_tokens,
            layers: dir.encoder.layers,
            heads: dir.encoder.heads,
            intermediate: dir.encoder.intermediate,
            pooling: dir.pooling.name(),
            normalize: dir.normalize,
            threads: session_options.threads,
            max_batch_tokens: batch_tokens,
            precision: "fp32",
            device: "cpu",
            runtime: runtime::version(),
            runtime_library: runtime::library_path().map(Path::to_path_buf).unwrap_or_default(),
            prompts: dir.prompts.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            default_prompt: dir.default_prompt.clone(),
            weight_files: dir
                .weights
                .files
                .iter()
                .map(PathBuf::as_path)
                .chain(head_files)
                .map(Path::to_path_buf)
                .collect(),
        };
        log::line(LogLevel::Info, || {
            format!("opened {} in {} ms", path.display(), started.elapsed().as_millis())
        });
        Ok(Self(Arc::new(Inner {
            tokenizer,
            identity: fingerprint::Identity::of(&dir, max_tokens),
            info,
            prompts: dir.prompts,
            missing,
            fingerprint: OnceCell::new(),
            counters,
            queue,
            callbacks: Callbacks::new(capacity.unwrap_or(QUEUE_CAPACITY_DEFAULT)),
            runner,
            process: std::process::id(),
        })))
    }

    /// Encodes texts. May run on any number of threads at once: their texts share runs.
    pub fn encode(&self, texts: &[&str], options: &EncodeOptions) -> Result<Embeddings> {
        self.encode_into(texts, options, |_| Ok(())).map(|((), embeddings)| embeddings)
    }

    /// As [`encode`](Self::encode), for a caller with limited room: `room` is asked once the texts
    /// are tokenised, and can refuse before any inference.
    pub(crate) fn encode_into<R>(
        &self,
        texts: &[&str],
        options: &EncodeOptions,
        room: impl FnOnce(Sizes) -> Result<R>,
    ) -> Result<(R, Embeddings)> {
        self.0.check_process()?;
        self.0.counters.call();
        self.0.encode(texts, options, room).inspect_err(|e| self.0.counters.failure(e))
    }

    /// Starts to encode, and returns once the texts are tokenised.
    ///
    /// If this succeeds, `done` runs exactly once, on a thread of the model; it must not block for
    /// long. If this fails, `done` never runs.
    pub fn encode_async(
        &self,
        texts: &[&str],
        options: &EncodeOptions,
        done: impl FnOnce(Result<Embeddings>) + Send + 'static,
    ) -> Result<()> {
        self.encode_async_into(texts, options, |_| Ok(done))
    }

    /// As [`encode_async`](Self::encode_async), with a callback that `room` makes once the texts
    /// are tokenised, unless it refuses.
    pub(crate) fn encode_async_into<D: FnOnce(Result<Embeddings>) + Send + 'static>(
        &self,
        texts: &[&str],
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
        self.0.counters.read(self.0.callbacks.depth())
    }

    /// Ends all calls that have not finished with
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed), and releases the weights. When this
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

impl Inner {
    fn encode<R>(
        &self,
        texts: &[&str],
        options: &EncodeOptions,
        room: impl FnOnce(Sizes) -> Result<R>,
    ) -> Result<(R, Embeddings)> {
        let call = self.start_call(texts.len(), options, None)?;
        let (sequences, usage) = self.tokenize(texts, options, &call)?;
        let room = self.make_room(&call, &sequences, room)?;
        self.queue.submit(Arc::clone(&call), sequences);
        let Results { dense, sparse, multi } = call.wait()?;
        Ok((room, Embeddings { dim: self.info.dense_dim, dense, sparse, multi, usage }))
    }

    fn encode_async<D: FnOnce(Result<Embeddings>) + Send + 'static>(
        &self,
        texts: &[&str],
        options: &EncodeOptions,
        room: impl FnOnce(Sizes) -> Result<D>,
    ) -> Result<()> {
        let place = self.callbacks.reserve()?;
        let call = self.start_call(texts.len(), options, Some(self.callbacks.bell()))?;
        let (sequences, usage) = self.tokenize(texts, options, &call)?;
        let done = self.make_room(&call, &sequences, room)?;
        let dim = self.info.dense_dim;
        let counters = Arc::clone(&self.counters);
        let finish = Box::new(move |result: Result<Results>| {
            if let Err(e) = &result {
                counters.failure(e);
            }
            done(result.map(|Results { dense, sparse, multi }| Embeddings {
                dim,
                dense,
                sparse,
                multi,
                usage,
            }));
        });
        self.callbacks.add(place, &call, finish)?;
        self.queue.submit(call, sequences);
        Ok(())
    }

    fn start_call(
        &self,
        texts: usize,
        options: &EncodeOptions,
        bell: Option<Arc<Bell>>,
    ) -> Result<Arc<Call>> {
        self.missing.check(options.outputs)?;
        let format = Format {
            outputs: options.outputs,
            dense_dim: self.info.dense_dim,
            multi_dim: self.info.multi_dim,
            normalize: options.normalize || self.info.normalize,
        };
        let call = Call::new(texts, format, options.timeout, bell)?;
        if let Some(cancel) = &options.cancel {
            cancel.watch(&call);
        }
        Ok(call)
    }

    /// Makes room for what only the tokens tell the size of: the caller's, then the call's own.
    fn make_room<R>(
        &self,
        call: &Call,
        sequences: &[Sequence],
        room: impl FnOnce(Sizes) -> Result<R>,
    ) -> Result<R> {
        let Outputs { sparse, multi, .. } = call.outputs();
        let sum = |size: fn(&[u32]) -> usize| sequences.iter().map(|text| size(&text.ids)).sum();
        let room = room(Sizes {
            sparse_entries: if sparse { sum(heads::sparse_bound) } else { 0 },
            multi_rows: if multi { sum(heads::multi_rows) } else { 0 },
        })?;
        if multi {
            call.expect_rows(sequences.iter().map(|text| heads::multi_rows(&text.ids)))?;
        }
        Ok(room)
    }

    fn tokenize(
        &self,
        texts: &[&str],
        options: &EncodeOptions,
        call: &Call,
    ) -> Result<(Vec<Sequence>, Vec<TokenUsage>)> {
        let started = Instant::now();
        let max_tokens = checked("max_tokens", options.max_tokens, 2..=self.info.max_tokens)?
            .unwrap_or(self.info.max_tokens);
        let prompt = self.prompt(options.prompt.as_deref())?;
        let mut sequences = Vec::with_capacity(texts.len());
        let mut usage = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            if call.is_over() {
                break;
            }
            let prompted = prompt.map(|prompt| [prompt, text].concat());
            let text = prompted.as_deref().unwrap_or(text);
            let text = if options.strip { strip(text) } else { text };
            let tokens = self
                .tokenizer
                .encode(text, max_tokens, &|| call.is_over())
                .map_err(|e| e.at_text(index))?;
            if tokens.truncated && options.reject_long {
                return Err(error!(
                    TextTooLong,
                    "text {index} has more than {max_tokens} tokens, and cutting it is forbidden \
                     by BGE_ENCODE_REJECT_LONG"
                )
                .at_text(index));
            }
            usage.push(TokenUsage { tokens: tokens.ids.len(), truncated: tokens.truncated });
            sequences.push(Sequence { text: index, ids: tokens.ids });
        }
        self.counters.tokenizing(started.elapsed());
        Ok((sequences, usage))
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

/// `None` for zero, the default; otherwise the value, if it is in range.
fn checked(
    name: &str,
    value: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<Option<usize>> {
    match value {
        0 => Ok(None),
        value if range.contains(&value) => Ok(Some(value)),
        value => Err(error!(
            InvalidArgument,
            "{name} is {value}; it may be {} to {}, or 0 for the default",
            range.start(),
            range.end()
        )),
    }
}
