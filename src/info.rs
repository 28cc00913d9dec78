//! The description of an open model.

use std::path::{Path, PathBuf};

use crate::embeddings::Outputs;
use crate::encoder::Capabilities;
use crate::model_dir::{Head, ModelDir, Network};
use crate::runtime::{self, SessionOptions};
use crate::similarity::Metric;
use crate::tokenize::Tokenizer;

/// The description of a model.
#[derive(Clone, Debug)]
pub struct Info {
    /// The tokenizer whose rules apply, e.g. `XLMRobertaTokenizer of transformers since 5`.
    pub tokenizer: String,
    /// The outputs that the model computes.
    pub outputs: Outputs,
    /// Length of a dense vector, unless a call truncates it.
    pub dense_dim: usize,
    /// Length of a dense vector before any truncation.
    pub full_dim: usize,
    /// Length of a row of a multi-vector. Zero: the model has none.
    pub multi_dim: usize,
    /// Length of the final state of a token.
    pub token_dim: usize,
    /// Rows of the word embedding table.
    pub vocab_size: usize,
    /// Longest text in tokens.
    pub max_tokens: usize,
    /// Layers of the encoder. Zero for an ONNX export, where it is not known; so are the next two.
    pub layers: usize,
    /// Attention heads of a layer.
    pub heads: usize,
    /// Width of the feed-forward part of a layer.
    pub intermediate: usize,
    /// The modules of the model, in order, as `transformer`, `pooling`, `dense 384->256 tanh`,
    /// `normalize`.
    pub modules: Vec<String>,
    /// The pooling modes, as `cls` or `cls+mean`; `onnx` where an export gives vectors.
    pub pooling: String,
    /// Whether pooling reads the rows of a prompt, too.
    pub include_prompt: bool,
    /// Whether the vectors of the model have length 1: its last module normalizes them, and they
    /// are not truncated.
    pub normalize: bool,
    /// Whether texts are converted to lower case before tokenizing.
    pub lower_case: bool,
    /// Threads that compute a batch.
    pub threads: usize,
    /// The most tokens of a batch.
    pub max_batch_tokens: usize,
    /// The type of numbers in computations, whatever the weights are stored in: `fp32`, `int8`,
    /// `fp16`, `tf32` or `bf16`; for an ONNX export the choice of its author, `fp32`, `fp16` or
    /// `int8`.
    pub precision: &'static str,
    /// Where the model runs: `cpu`, `cuda:0`, or of several GPUs `cuda:0-3`.
    pub device: String,
    /// The inference runtime and its version, as `onnxruntime 1.31.1`.
    pub runtime: String,
    /// Where the inference runtime was loaded from.
    pub runtime_library: PathBuf,
    /// Names and texts of the model's prompts.
    pub prompts: Vec<(String, String)>,
    /// The name of the prompt that is used by default.
    pub default_prompt: Option<String>,
    /// The metric by which the model's author compares dense vectors.
    pub similarity: Metric,
    /// The files that hold the weights, those of the heads included.
    pub weight_files: Vec<PathBuf>,
}

impl Info {
    /// Describes a model with the parts that opening has loaded. `session` has the options of the
    /// first of its `devices`.
    pub(crate) fn describe(
        dir: &ModelDir,
        tokenizer: &Tokenizer,
        capabilities: &Capabilities,
        session: &SessionOptions,
        devices: usize,
        max_tokens: usize,
    ) -> Self {
        let (layers, heads, intermediate) = match &dir.network {
            Network::Weights { config, .. } => (config.layers, config.heads, config.intermediate),
            Network::Export(_) => (0, 0, 0),
        };
        let full_dim = capabilities.dense_dim;
        let truncate_dim = dir.truncate_dim.filter(|dim| *dim < full_dim);
        let head_files = [&dir.heads.sparse, &dir.heads.multi].into_iter().filter_map(Head::file);
        let weight_files = dir.network.files().iter().map(PathBuf::as_path).chain(head_files);
        Self {
            tokenizer: tokenizer.description().to_string(),
            outputs: capabilities.outputs.available(),
            dense_dim: truncate_dim.unwrap_or(full_dim),
            full_dim,
            multi_dim: capabilities.multi_dim,
            token_dim: capabilities.token_dim,
            vocab_size: dir.network.vocab().unwrap_or_else(|| tokenizer.vocab_size()),
            max_tokens,
            layers,
            heads,
            intermediate,
            modules: capabilities.modules.clone(),
            pooling: capabilities.pooling.clone(),
            include_prompt: capabilities.include_prompt,
            normalize: capabilities.normalized && truncate_dim.is_none(),
            lower_case: dir.lower_case,
            threads: session.threads,
            max_batch_tokens: session.max_batch_tokens,
            precision: capabilities.precision,
            device: session.device.names(devices),
            runtime: runtime::version(),
            runtime_library: runtime::library_path().map(Path::to_path_buf).unwrap_or_default(),
            prompts: dir.prompts.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            default_prompt: dir.default_prompt.clone(),
            similarity: dir.similarity,
            weight_files: weight_files.map(Path::to_path_buf).collect(),
        }
    }
}
