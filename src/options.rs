//! The options of opening and of encoding, with their defaults and limits.

use std::path::PathBuf;
use std::time::Duration;

use crate::device::{ComputeType, Device};
use crate::embeddings::Outputs;
use crate::error::{Result, error};
use crate::schedule::Cancel;

/// The most threads of a batch, and of a comparison of vectors.
pub const THREADS_MAX: usize = 1024;
pub(crate) const BATCH_TOKENS_DEFAULT: usize = 2048;
/// The default on a GPU, which smaller batches leave idle.
pub(crate) const GPU_BATCH_TOKENS_DEFAULT: usize = 16384;
pub(crate) const BATCH_TOKENS_MAX: usize = 1 << 20;
pub(crate) const QUEUE_CAPACITY_DEFAULT: usize = 1024;
pub(crate) const QUEUE_CAPACITY_MAX: usize = 1 << 20;
/// More GPUs than any machine has.
pub(crate) const DEVICES_MAX: usize = 64;

/// How to open a model. Zero and `None` stand for the default.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The path of libonnxruntime. By default `BGE_ORT_LIBRARY`, else the folder of this library,
    /// else the system's loader.
    pub runtime_library: Option<PathBuf>,
    /// Threads that compute a batch. By default the physical cores that this process may use.
    pub threads: usize,
    /// The longest text in tokens, special tokens included. By default, and at most, what the
    /// model allows.
    pub max_tokens: usize,
    /// The most tokens of a batch, unless a single text has more. By default 2048, on a GPU 16384.
    /// Larger batches need more memory and gain little. On the CPU, while a batch holds 512 or more
    /// tokens of one call, a second batch of at most 128 tokens may run beside it for short calls.
    pub max_batch_tokens: usize,
    /// The most bytes that a batch may take, beside the opened model and the results. Batches are
    /// made small enough for it, and a text that does not fit alone is refused. On a GPU it limits
    /// the memory of the GPU, and such a text fails when it runs. By default there is no limit.
    pub max_run_bytes: u64,
    /// The most asynchronous calls whose callback has not begun. By default 1024.
    pub queue_capacity: usize,
    /// A folder with `sparse_linear` or `colbert_linear`, or both, to use in place of the model's
    /// own. By default the model's own.
    pub heads_dir: Option<PathBuf>,
    /// An ONNX export to run as it is, by its path from the model's directory. By default the
    /// weights, if there are any.
    pub onnx_file: Option<PathBuf>,
    /// Where the model runs. If that device is not available, opening fails: there is no fallback.
    pub device: Device,
    /// The number of GPUs that share the work: `device` and those with the numbers after it. Each
    /// holds the weights, and takes the next batch when it is free. By default one.
    pub device_count: usize,
    /// The numbers that the weights are multiplied in.
    pub compute_type: ComputeType,
    /// Leave the weights in their mapped file instead of packing them into memory of this process,
    /// and free memory after every batch. This is slower, but opens in a moment, and the system can
    /// reclaim the weights and share them with other processes. Not for weights of 16 bits.
    pub small_memory: bool,
    /// A folder to keep packed weights in, which processes then share. It is created if it does not
    /// exist. Not used with `small_memory` or an ONNX export. By default there is none, and nothing
    /// is written. TensorRT requires it: [`prepare`](crate::prepare) writes its engines there.
    pub cache_dir: Option<PathBuf>,
    /// Run `tokenizer.json` as it is, instead of what the version of transformers that the
    /// directory names makes of it and of the files beside it.
    pub raw_tokenizer: bool,
}

/// How to encode. The default cuts long texts and waits without limit.
#[derive(Clone, Debug, Default)]
pub struct EncodeOptions {
    /// Cut texts at this many tokens, special tokens included. Zero: the model's own limit, which
    /// is also the most.
    pub max_tokens: usize,
    /// Fail with [`ErrorKind::TextTooLong`](crate::ErrorKind::TextTooLong) instead of cutting.
    pub reject_long: bool,
    /// Scale vectors to length 1 even if the model does not, after `truncate_dim`.
    pub normalize: bool,
    /// Truncate dense vectors to this many dimensions (Matryoshka). Zero: the number that the model
    /// configures, or else all. Vectors are not scaled again unless `normalize` is set.
    pub truncate_dim: usize,
    /// Remove white space around each text, as sentence-transformers before version 6 does.
    pub strip: bool,
    /// The name of the model's prompt to put in front of each text. `None`: the model's default
    /// prompt, if it has one. `Some("")`: no prompt.
    pub prompt: Option<String>,
    /// Fail with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) after this long, waiting
    /// included. Batches are made small enough for the deadlines of their calls, by the rate of the
    /// last batches; a call that could not end in time is dropped before its batch.
    pub timeout: Option<Duration>,
    /// Stops the call when triggered.
    pub cancel: Option<Cancel>,
    /// What to compute. By default dense vectors only.
    pub outputs: Outputs,
    /// Report errors of single texts in [`Embeddings::errors`](crate::Embeddings::errors) instead
    /// of failing the call.
    pub per_text_errors: bool,
}

impl EncodeOptions {
    /// Sets the options that are bits in `include/bge.h`: `normalize`, `reject_long`, `strip` and
    /// `per_text_errors`, each if its `BGE_ENCODE_` bit is in `flags`.
    pub fn with_flags(self, flags: u32) -> Result<Self> {
        const BITS: [u32; 4] = [1, 2, 4, 8];
        let known = BITS.into_iter().sum::<u32>();
        if flags & !known != 0 {
            return Err(error!(
                Unsupported,
                "bge_encode_options.flags is {flags:#x}; the known bits are {known:#x}"
            ));
        }
        let [normalize, reject_long, strip, per_text_errors] = BITS.map(|bit| flags & bit != 0);
        Ok(Self { normalize, reject_long, strip, per_text_errors, ..self })
    }
}

/// The value of an option, or `None` if it is 0, which stands for the default.
///
/// # Errors
/// When the value is out of range.
pub(crate) fn zero_is_default(
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
