//! The arguments that several subcommands share, and their values in the library's types.

use std::path::PathBuf;

use bge::{ComputeType, Device, EncodeOptions, Metric, Model, OpenOptions, Outputs, Precision};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use crate::failure::Failure;

#[derive(Args)]
pub struct ModelArgs {
    /// The model directory, as sentence-transformers writes it
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Threads that compute a batch; 0: physical cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Most tokens of a batch; 0: 2048, on a GPU 16384
    #[arg(long, default_value_t = 0)]
    max_batch_tokens: usize,
    /// Most bytes that a batch may take beside the opened model; 0: no limit. Texts that need more
    /// are refused
    #[arg(long, default_value_t = 0)]
    max_run_bytes: u64,
    /// Path of libonnxruntime; by default BGE_ORT_LIBRARY, else beside this program, else the
    /// system's
    #[arg(long, value_name = "FILE")]
    runtime_library: Option<PathBuf>,
    /// Folder of the heads to use in place of the model's own, e.g. that of BAAI/bge-m3
    #[arg(long, value_name = "DIR")]
    heads: Option<PathBuf>,
    /// Where the model runs: cpu, cuda or tensorrt; cuda:N or tensorrt:N for GPU number N
    #[arg(long, default_value_t = Device::Cpu)]
    device: Device,
    /// GPUs that share the work, from that of --device on; 0: one
    #[arg(long, value_name = "N", default_value_t = 0)]
    device_count: usize,
    /// Numbers that the weights are multiplied in: fp32; int8 on the CPU; fp16 or tf32 with cuda;
    /// fp16 or bf16 with tensorrt
    #[arg(long, value_parser = compute_type(), default_value = ComputeType::default().name())]
    compute_type: ComputeType,
    /// An ONNX export to run as it is, by its path from DIR; by default the weights, if there are
    /// any
    #[arg(long, value_name = "FILE")]
    onnx_file: Option<PathBuf>,
    /// Leave the weights in their mapped file: slower, but opens in a moment and takes little
    /// memory
    #[arg(long)]
    small_memory: bool,
    /// Run tokenizer.json as it is, instead of what the version of transformers that DIR names
    /// makes of it
    #[arg(long)]
    raw_tokenizer: bool,
    /// Folder for packed weights, which processes share, and for TensorRT's engines
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

impl ModelArgs {
    pub fn open(&self) -> Result<Model, Failure> {
        self.open_for(0)
    }

    /// Opens a model for texts that are truncated at `max_tokens` in any case.
    pub fn open_for(&self, max_tokens: usize) -> Result<Model, Failure> {
        Ok(Model::open(&self.dir, &OpenOptions { max_tokens, ..self.options() })?)
    }

    pub fn options(&self) -> OpenOptions {
        OpenOptions {
            runtime_library: self.runtime_library.clone(),
            threads: self.threads,
            max_batch_tokens: self.max_batch_tokens,
            max_run_bytes: self.max_run_bytes,
            heads_dir: self.heads.clone(),
            onnx_file: self.onnx_file.clone(),
            device: self.device,
            device_count: self.device_count,
            compute_type: self.compute_type,
            small_memory: self.small_memory,
            raw_tokenizer: self.raw_tokenizer,
            cache_dir: self.cache_dir.clone(),
            ..OpenOptions::default()
        }
    }
}

#[derive(Args)]
pub struct TextArgs {
    /// Cut texts at this many tokens; 0: the model's own limit
    #[arg(long, default_value_t = 0)]
    pub max_tokens: usize,
    /// Name of a prompt of the model to put in front of each text
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,
    /// Remove white space around each text first
    #[arg(long)]
    strip: bool,
    /// Truncate dense vectors to N dimensions; 0: the number that the model configures, or all
    #[arg(long, value_name = "N", default_value_t = 0)]
    truncate_dim: usize,
    /// Scale vectors to length 1 even if the model does not
    #[arg(long)]
    normalize: bool,
}

impl TextArgs {
    pub fn options(&self) -> EncodeOptions {
        EncodeOptions {
            max_tokens: self.max_tokens,
            prompt: self.prompt.clone(),
            strip: self.strip,
            truncate_dim: self.truncate_dim,
            normalize: self.normalize,
            ..EncodeOptions::default()
        }
    }
}

/// The name of a metric.
pub fn metric() -> impl TypedValueParser<Value = Metric> {
    one_of(&Metric::ALL, Metric::name)
}

/// The name of a compute type.
fn compute_type() -> impl TypedValueParser<Value = ComputeType> {
    one_of(&ComputeType::ALL, ComputeType::name)
}

/// The name of a precision.
pub fn precision() -> impl TypedValueParser<Value = Precision> {
    one_of(&Precision::ALL, Precision::name)
}

/// The name of one of `values`, all of which `--help` lists.
fn one_of<T: Copy + Send + Sync>(
    values: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(values.iter().map(|&value| name(value))).try_map(move |text| {
        let value = values.iter().find(|&&value| name(value) == text);
        value.copied().ok_or("it is none of the possible values")
    })
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    Dense,
    Sparse,
    Multi,
    #[value(name = "sparse+dense")]
    SparseDense,
    All,
}

impl ModeArg {
    pub fn outputs(self) -> Outputs {
        Outputs {
            dense: matches!(self, Self::Dense | Self::SparseDense | Self::All),
            sparse: matches!(self, Self::Sparse | Self::SparseDense | Self::All),
            multi: matches!(self, Self::Multi | Self::All),
            tokens: false,
        }
    }
}

pub fn three_weights(text: &str) -> Result<[f32; 3], String> {
    let weights: Result<Vec<f32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let weights = weights.map_err(|e| e.to_string())?;
    let count = weights.len();
    weights.try_into().map_err(|_| format!("{count} weights; it takes three, as in 0.4,0.2,0.4"))
}
