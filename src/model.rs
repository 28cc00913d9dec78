//! An open model: texts in, vectors out.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;

use crate::error::{Result, error};
use crate::fingerprint;
use crate::log::{self, LogLevel};
use crate::model_dir::ModelDir;
use crate::runtime::{self, EncoderSession, SessionOptions};
use crate::schedule::{Bell, Call, Callbacks, Cancel, PackedEncoder, Queue, Runner, Sequence};
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

/// How to encode. The default cuts long texts and waits without limit.
#[derive(Clone, Debug, Default)]
pub struct EncodeOptions {
    /// Cut texts at this many tokens, special tokens included. Zero: the model's own limit, which
    /// is also the most.
    pub max_tokens: usize,
    /// Fail with [`ErrorKind::TextTooLong`](crate::ErrorKind::TextTooLong) instead of cutting.
    pub reject_long: bool,
    /// Scale vectors to length 1 even if the model does not.
    pub normalize: bool,
    /// Remove white space around each text, as sentence-transformers before version 6 does.
    pub strip: bool,
    /// The name of a prompt of the model to put in front of each text. `None`: the model's default
    /// prompt, if it has one. `Some("")`: no prompt.
    pub prompt: Option<String>,
    /// Give up after this long, waiting included.
    pub timeout: Option<Duration>,
    /// Stops the call when triggered.
    pub cancel: Option<Cancel>,
}

/// The vectors of a call, in the order of its texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// The length of a vector.
    pub dim: usize,
    /// A row of `dim` numbers for each text.
    pub dense: Vec<f32>,
    /// What was read of each text.
    pub usage: Vec<TokenUsage>,
}

/// How many tokens of a text were encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens encoded, after cutting, special tokens included.
    pub tokens: usize,
    /// Whether the text was cut.
    pub truncated: bool,
}

/// What a model is.
#[derive(Clone, Debug)]
pub struct Info {
    /// Length of a dense vector.
    pub dense_dim: usize,
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
    /// `fp32`.
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
    /// The files that hold the weights.
    pub weight_files: Vec<PathBuf>,
}

/// A loaded model. Clones are the same model; any number of threads may use it at once.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    tokenizer: Tokenizer,
    info: Info,
    prompts: BTreeMap<String, String>,
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
        let session = EncoderSession::open(&dir.encoder, &dir.weights, &session_options, wanted)?;
        let mut encoder = PackedEncoder {
            session,
            pooling: dir.pooling,
            hidden: dir.encoder.hidden,
            pad_id: dir.encoder.pad_id,
        };
        let counters = Arc::new(Counters::default());
        let encode = move |texts: &[&[u32]]| encoder.encode(texts);
        let runner =
            Runner::start(encode, Arc::clone(&queue), Arc::clone(&counters), batch_tokens)?;
        let info = Info {
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
            weight_files: dir.weights.files.clone(),
        };
        log::line(LogLevel::Info, || {
            format!("opened {} in {} ms", path.display(), started.elapsed().as_millis())
        });
        Ok(Self(Arc::new(Inner {
            tokenizer,
            identity: fingerprint::Identity::of(&dir, max_tokens),
            info,
            prompts: dir.prompts,
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
        self.0.check_process()?;
        self.0.counters.call();
        self.0.encode(texts, options).inspect_err(|e| self.0.counters.failure(e))
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
        self.0.check_process()?;
        self.0.counters.call();
        self.0.encode_async(texts, options, done).inspect_err(|e| self.0.counters.failure(e))
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
    fn encode(&self, texts: &[&str], options: &EncodeOptions) -> Result<Embeddings> {
        let call = self.start_call(texts.len(), options, None)?;
        let (sequences, usage) = self.tokenize(texts, options, &call)?;
        self.queue.submit(Arc::clone(&call), sequences);
        let dense = call.wait()?;
        Ok(Embeddings { dim: self.info.dense_dim, dense, usage })
    }

    fn encode_async(
        &self,
        texts: &[&str],
        options: &EncodeOptions,
        done: impl FnOnce(Result<Embeddings>) + Send + 'static,
    ) -> Result<()> {
        let place = self.callbacks.reserve()?;
        let call = self.start_call(texts.len(), options, Some(self.callbacks.bell()))?;
        let (sequences, usage) = self.tokenize(texts, options, &call)?;
        let dim = self.info.dense_dim;
        let counters = Arc::clone(&self.counters);
        let finish = Box::new(move |result: Result<Vec<f32>>| {
            if let Err(e) = &result {
                counters.failure(e);
            }
            done(result.map(|dense| Embeddings { dim, dense, usage }));
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
        let normalize = options.normalize || self.info.normalize;
        let call = Call::new(texts, self.info.dense_dim, normalize, options.timeout, bell)?;
        if let Some(cancel) = &options.cancel {
            cancel.watch(&call);
        }
        Ok(call)
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
