//! Opening a model: a directory and options in, everything that encodes out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use once_cell::sync::OnceCell;

use crate::device::Device;
use crate::encoder::{self, Encoder};
use crate::error::{Result, error};
use crate::fingerprint;
use crate::graph::{run_memory, weight_bytes};
use crate::heads;
use crate::info::Info;
use crate::log::{self, LogLevel};
use crate::model::{Inner, Model};
use crate::model_dir::{Head, ModelDir, Network};
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

    /// Opens a model whose runs an observer learns from.
    pub(crate) fn open_observed(
        path: &Path,
        options: &OpenOptions,
        observer: Option<Observer>,
    ) -> Result<Self> {
        let started = Instant::now();
        let capacity =
            zero_is_default("queue_capacity", options.queue_capacity, 1..=QUEUE_CAPACITY_MAX)?;
        let Plan { dir, session: session_options, devices, memory_limit } =
            plan(path, options, observer)?;
        let batch_tokens = session_options.max_batch_tokens;
        let (tokenizer, Encoder { encoder, made }) = load(&dir, &session_options, devices)?;
        let tokenizer_name = dir.tokenizer.vocabulary.file.display().to_string();
        let vocab = dir.network.vocab().unwrap_or_else(|| tokenizer.vocab_size());
        if tokenizer.required_rows() > vocab {
            return Err(error!(
                ModelInvalid,
                "{tokenizer_name} has token ids up to {}, but the word embedding table has \
                 {vocab} rows; they do not belong together",
                tokenizer.required_rows() - 1,
            ));
        }
        if made.missing.others().sparse {
            heads::check_weightless(&tokenizer, &tokenizer_name)?;
        }
        let limit = made.length_max.map_or(dir.max_tokens, |limit| limit.min(dir.max_tokens));
        let max_tokens =
            zero_is_default("max_tokens", options.max_tokens, 2..=limit)?.unwrap_or(limit);
        let counters = Arc::new(Counters::default());
        // An export may not tell how wide its states are.
        let width = made.token_dim.max(made.dense_dim);
        let queue = Arc::new(match options.device {
            Device::Cpu => Queue::for_cpu(batch_tokens, memory_limit, width),
            Device::Cuda(_) | Device::TensorRt(_) => Queue::for_gpus(batch_tokens, devices, width),
        });
        let runner = Runner::start(encoder, Arc::clone(&queue), Arc::clone(&counters))?;
        let head_files = [&dir.heads.sparse, &dir.heads.multi].into_iter().filter_map(Head::file);
        let (layers, attention_heads, intermediate) = match &dir.network {
            Network::Weights { config, .. } => (config.layers, config.heads, config.intermediate),
            Network::Export(_) => (0, 0, 0),
        };
        let truncate_dim = dir.truncate_dim.filter(|dim| *dim < made.dense_dim);
        let info = Info {
            outputs: made.missing.others(),
            multi_dim: made.multi_dim,
            dense_dim: truncate_dim.unwrap_or(made.dense_dim),
            full_dim: made.dense_dim,
            token_dim: made.token_dim,
            vocab_size: vocab,
            max_tokens,
            layers,
            heads: attention_heads,
            intermediate,
            tokenizer: tokenizer.description().to_string(),
            modules: made.modules,
            pooling: made.pooling,
            include_prompt: made.include_prompt,
            normalize: made.normalized && truncate_dim.is_none(),
            lower_case: dir.lower_case,
            threads: session_options.threads,
            max_batch_tokens: batch_tokens,
            precision: made.precision,
            device: options.device.names(devices),
            runtime: runtime::version(),
            runtime_library: runtime::library_path().map(Path::to_path_buf).unwrap_or_default(),
            prompts: dir.prompts.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            default_prompt: dir.default_prompt.clone(),
            similarity: dir.similarity,
            weight_files: dir
                .network
                .files()
                .iter()
                .map(PathBuf::as_path)
                .chain(head_files)
                .map(Path::to_path_buf)
                .collect(),
        };
        log::line(LogLevel::Info, || {
            format!("opened {} in {} ms", path.display(), started.elapsed().as_millis())
        });
        let identity = fingerprint::Identity::of(&dir, &tokenizer, max_tokens, made.precision)?;
        Ok(Self::new(Inner {
            tokenizer,
            identity,
            info,
            prompts: dir.prompts,
            missing: made.missing,
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

/// Builds beforehand what a device needs of a model: the engines of TensorRT, which takes minutes,
/// into `cache_dir`. Opening with the same options then finds them. If they are there, this returns
/// at once. `progress` is told how many engines are built, and of how many. What it returns is of
/// each device, and the same for all GPUs of one kind.
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

/// What is known of a model before its network is loaded.
struct Plan {
    dir: ModelDir,
    session: SessionOptions,
    /// How many share the work, of which `session` has the first.
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
            "device_count is {devices}, but there is one CPU device"
        ));
    }
    let dir = ModelDir::read(
        path,
        options.onnx_file.as_deref(),
        options.heads_dir.as_deref(),
        options.raw_tokenizer,
    )?;
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

/// ONNX Runtime bounds what weights and runs take together.
fn gpu_bytes_max(options: &OpenOptions, dir: &ModelDir) -> usize {
    match (options.device, &dir.network) {
        (Device::Cuda(_), Network::Weights { weights, .. }) if options.max_run_bytes > 0 => {
            let bytes = weight_bytes(weights, options.compute_type);
            usize::try_from(bytes.saturating_add(options.max_run_bytes)).unwrap_or(usize::MAX)
        }
        _ => 0,
    }
}

fn memory_limit(
    options: &OpenOptions,
    dir: &ModelDir,
    threads: usize,
) -> Result<Option<MemoryLimit>> {
    if options.max_run_bytes == 0 {
        return Ok(None);
    }
    let bytes = usize::try_from(options.max_run_bytes).unwrap_or(usize::MAX);
    match options.device {
        Device::Cpu => {}
        // What a run takes there is not known beforehand; the GPU's own memory is bounded.
        Device::Cuda(_) => return Ok(None),
        Device::TensorRt(_) => {
            return Err(error!(
                Unsupported,
                "max_run_bytes is {bytes}, but an engine of TensorRT takes what it was built for; leave \
                 it at 0, and prepare engines with another max_batch_tokens or max_tokens"
            ));
        }
    }
    match &dir.network {
        Network::Weights { config, weights } => {
            let multi_dim = dir.heads.multi.linear().map_or(0, |head| head.rows);
            let compute_type = encoder::computed_in(weights, options.compute_type);
            let memory = run_memory(config, multi_dim, compute_type, threads);
            MemoryLimit::new(memory, bytes).map(Some)
        }
        Network::Export(export) => Err(error!(
            Unsupported,
            "{}: max_run_bytes is {bytes}, but what a run of an ONNX export takes is not known \
             beforehand; leave it at 0 and set max_batch_tokens and max_tokens, or open the weights \
             that it was made of",
            export.file.display()
        )),
    }
}

/// Reads the tokenizer while another thread loads the network, which takes longer for bge-m3. Not
/// the other way round: the heap of a thread grows by single pages, and that of the process does
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
