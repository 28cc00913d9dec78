//! Opening a model: from a directory and options to the parts of a model.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use once_cell::sync::OnceCell;

use crate::device::Device;
use crate::encode::Inner;
use crate::encoder::{self, Capabilities, Encoder};
use crate::error::{Result, error};
use crate::fingerprint;
use crate::graph::{run_memory, weight_bytes};
use crate::info::Info;
use crate::log::{self, LogLevel};
use crate::model::Model;
use crate::model_dir::{ModelDir, Network};
use crate::options::{
    BATCH_TOKENS_DEFAULT, BATCH_TOKENS_MAX, DEVICES_MAX, GPU_BATCH_TOKENS_DEFAULT, OpenOptions,
    QUEUE_CAPACITY_DEFAULT, QUEUE_CAPACITY_MAX, THREADS_MAX, zero_is_default,
};
use crate::runtime::{self, Observer, Prepared, SessionOptions};
use crate::schedule::{Callbacks, MemoryLimit, Queue, Runner};
use crate::stats::Counters;
use crate::tokenize::Tokenizer;

impl Model {
    /// Opens the model in a directory as sentence-transformers writes it.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        Self::open_observed(path.as_ref(), options, None)
    }

    /// Opens a model, and shows an observer the inputs of its linear layers.
    pub(crate) fn open_observed(
        path: &Path,
        options: &OpenOptions,
        observer: Option<Observer>,
    ) -> Result<Self> {
        let started = Instant::now();
        let capacity =
            zero_is_default("queue_capacity", options.queue_capacity, 1..=QUEUE_CAPACITY_MAX)?;
        let Plan { dir, session, devices, memory_limit } = plan(path, options, observer)?;
        let (tokenizer, Encoder { encoder, capabilities }) = load(&dir, &session, devices)?;
        check_tokenizer(&dir, &tokenizer, &capabilities)?;
        let limit = capabilities.tokens_max.map_or(dir.max_tokens, |it| it.min(dir.max_tokens));
        let max_tokens =
            zero_is_default("max_tokens", options.max_tokens, 2..=limit)?.unwrap_or(limit);
        let counters = Arc::new(Counters::default());
        // An export may not have states, whose length would be the width of the model.
        let width = capabilities.token_dim.max(capabilities.dense_dim);
        let batch_tokens = session.max_batch_tokens;
        let queue = Arc::new(match options.device {
            Device::Cpu => Queue::for_cpu(batch_tokens, memory_limit, width),
            Device::Cuda(_) | Device::TensorRt(_) => Queue::for_gpus(batch_tokens, devices, width),
        });
        let runner = Runner::start(encoder, Arc::clone(&queue), Arc::clone(&counters))?;
        let info = Info::describe(&dir, &tokenizer, &capabilities, &session, devices, max_tokens);
        log::line(LogLevel::Info, || {
            format!("opened {} in {} ms", path.display(), started.elapsed().as_millis())
        });
        let identity =
            fingerprint::Identity::new(&dir, &tokenizer, max_tokens, capabilities.precision)?;
        Ok(Self::new(Inner {
            tokenizer,
            identity,
            info,
            prompts: dir.prompts,
            outputs: capabilities.outputs,
            fingerprint: OnceCell::new(),
            counters,
            queue,
            memory_limit,
            callbacks: Callbacks::new(capacity.unwrap_or(QUEUE_CAPACITY_DEFAULT)),
            runner,
            process: std::process::id(),
        }))
    }
}

/// Builds the TensorRT engines of a model, which takes minutes, and stores them in `cache_dir`.
/// Opening the model with the same options then loads them. If they exist already, this returns at
/// once. `progress` is called with the number of engines built and the number of all. Returns one
/// entry for each device; those of GPUs of one kind are the same.
pub fn prepare(
    path: impl AsRef<Path>,
    options: &OpenOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Prepared>> {
    let Device::TensorRt(_) = options.device else {
        return Err(error!(
            Unsupported,
            "device is {}, for which nothing has to be prepared; it is tensorrt that has engines",
            options.device
        ));
    };
    let Plan { dir, session, devices, .. } = plan(path.as_ref(), options, None)?;
    encoder::prepare(&dir, &session, devices, progress)
}

/// What is decided before the network of a model is loaded.
struct Plan {
    dir: ModelDir,
    /// The options of the first device.
    session: SessionOptions,
    /// The number of devices that share the work.
    devices: usize,
    memory_limit: Option<MemoryLimit>,
}

fn plan(path: &Path, options: &OpenOptions, observer: Option<Observer>) -> Result<Plan> {
    let threads = zero_is_default("threads", options.threads, 1..=THREADS_MAX)?;
    let batch_tokens =
        zero_is_default("max_batch_tokens", options.max_batch_tokens, 1..=BATCH_TOKENS_MAX)?;
    let devices =
        zero_is_default("device_count", options.device_count, 1..=DEVICES_MAX)?.unwrap_or(1);
    if options.device == Device::Cpu && devices > 1 {
        return Err(error!(
            InvalidArgument,
            "device_count is {devices}, but there is one CPU device; set device, or leave \
             device_count at 0"
        ));
    }
    let dir = ModelDir::read(
        path,
        options.onnx_file.as_deref(),
        options.heads_dir.as_deref(),
        options.raw_tokenizer,
    )?;
    encoder::check(&dir.network, options)?;
    let max_tokens = zero_is_default("max_tokens", options.max_tokens, 2..=dir.max_tokens)?;
    let threads = threads.unwrap_or_else(runtime::default_threads);
    let memory_limit = memory_limit(options, &dir, threads)?;
    let batch_tokens = batch_tokens.unwrap_or(match options.device {
        Device::Cpu => BATCH_TOKENS_DEFAULT,
        Device::Cuda(_) | Device::TensorRt(_) => GPU_BATCH_TOKENS_DEFAULT,
    });
    let batch_tokens = memory_limit.map_or(batch_tokens, |it| it.tokens().min(batch_tokens));
    let session = SessionOptions {
        library: options.runtime_library.clone(),
        threads,
        device: options.device,
        compute_type: options.compute_type,
        keep_memory_tokens: if options.small_memory { 0 } else { batch_tokens },
        keep_weights_mapped: options.small_memory,
        cache_dir: options.cache_dir.clone(),
        max_tokens: max_tokens.unwrap_or(dir.max_tokens),
        max_batch_tokens: batch_tokens,
        gpu_bytes_max: gpu_bytes_max(options, &dir),
        observer,
    };
    Ok(Plan { dir, session, devices, memory_limit })
}

/// `max_run_bytes` on the CPU. On a GPU the memory of a batch is not known before it runs;
/// [`gpu_bytes_max`] limits the memory of the GPU instead.
fn memory_limit(
    options: &OpenOptions,
    dir: &ModelDir,
    threads: usize,
) -> Result<Option<MemoryLimit>> {
    let (Device::Cpu, Network::Weights { config, weights }, 1..) =
        (options.device, &dir.network, options.max_run_bytes)
    else {
        return Ok(None);
    };
    let bytes = usize::try_from(options.max_run_bytes).unwrap_or(usize::MAX);
    let multi_dim = dir.heads.multi.linear().map_or(0, |head| head.rows);
    let compute_type = encoder::compute_type(weights, options.compute_type);
    let memory = run_memory(config, multi_dim, compute_type, threads);
    MemoryLimit::new(memory, bytes).map(Some)
}

/// The most bytes of a GPU for weights and batches together, which is what ONNX Runtime can limit.
/// Zero: no limit.
fn gpu_bytes_max(options: &OpenOptions, dir: &ModelDir) -> usize {
    match (options.device, &dir.network) {
        (Device::Cuda(_), Network::Weights { weights, .. }) if options.max_run_bytes > 0 => {
            let bytes = weight_bytes(weights, options.compute_type);
            usize::try_from(bytes.saturating_add(options.max_run_bytes)).unwrap_or(usize::MAX)
        }
        _ => 0,
    }
}

/// Refuses a tokenizer that is not that of the network.
fn check_tokenizer(
    dir: &ModelDir,
    tokenizer: &Tokenizer,
    capabilities: &Capabilities,
) -> Result<()> {
    let file = dir.tokenizer.vocabulary.file.display();
    let rows = dir.network.vocab().unwrap_or_else(|| tokenizer.vocab_size());
    if tokenizer.required_rows() > rows {
        return Err(error!(
            ModelInvalid,
            "{file} has token ids up to {}, but the word embedding table has {rows} rows; they do \
             not belong together",
            tokenizer.required_rows() - 1,
        ));
    }
    if capabilities.outputs.available().sparse {
        encoder::check_weightless(tokenizer, &file.to_string())?;
    }
    Ok(())
}

/// Reads the tokenizer while another thread loads the network, which takes longer for bge-m3. Not
/// the other way round: the heap of a second thread grows by single pages, that of the first does
/// not.
fn load(dir: &ModelDir, options: &SessionOptions, devices: usize) -> Result<(Tokenizer, Encoder)> {
    let read_tokenizer = || Ok(Tokenizer::open(&dir.tokenizer)?.in_small_letters(dir.lower_case));
    if let Network::Export(_) = dir.network {
        let tokenizer = read_tokenizer()?;
        let encoder = Encoder::open(dir, tokenizer.pad_id(), options, devices)?;
        return Ok((tokenizer, encoder));
    }
    std::thread::scope(|scope| {
        let loader = std::thread::Builder::new()
            .name("bge-loader".into())
            .spawn_scoped(scope, || Encoder::open(dir, None, options, devices))
            .map_err(|e| error!(OutOfMemory, "no thread could be started: {e}"))?;
        let tokenizer = read_tokenizer();
        let encoder = loader
            .join()
            .unwrap_or_else(|_| Err(error!(Internal, "the loader of the network panicked")));
        Ok((tokenizer?, encoder?))
    })
}
