//! What an open model is.

use std::path::PathBuf;

use crate::outputs::Outputs;
use crate::similarity::Metric;

/// What a model is.
#[derive(Clone, Debug)]
pub struct Info {
    /// What the model can produce.
    pub outputs: Outputs,
    /// Length of a dense vector.
    pub dense_dim: usize,
    /// Length of a row of a multi-vector. Zero: the model has none.
    pub multi_dim: usize,
    /// Length of the final state of a token.
    pub token_dim: usize,
    /// Rows of the word embedding table.
    pub vocab_size: usize,
    /// Longest text in tokens.
    pub max_tokens: usize,
    /// Layers of the encoder. Zero, as the two after it: an ONNX export, which does not say.
    pub layers: usize,
    /// Attention heads of a layer.
    pub heads: usize,
    /// Width of the feed-forward part of a layer.
    pub intermediate: usize,
    /// `cls`, `mean`, or `onnx` where an export gives vectors that are pooled.
    pub pooling: &'static str,
    /// Whether the model scales its vectors to length 1.
    pub normalize: bool,
    /// Threads that a run of the model uses.
    pub threads: usize,
    /// Tokens that a run of the model takes at most.
    pub max_batch_tokens: usize,
    /// What is computed in, whatever the weights are stored in: `fp32`; of an ONNX export what its
    /// author chose, `fp32`, `fp16` or `int8`.
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
    /// How the model's author compares dense vectors.
    pub similarity: Metric,
    /// The files that hold the weights, those of the heads included.
    pub weight_files: Vec<PathBuf>,
}
