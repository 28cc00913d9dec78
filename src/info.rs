//! What an open model is.

use std::path::PathBuf;

use crate::embeddings::Outputs;
use crate::similarity::Metric;

/// What a model is.
#[derive(Clone, Debug)]
pub struct Info {
    /// By whose rules texts become tokens, e.g. `XLMRobertaTokenizer of transformers since 5`.
    pub tokenizer: String,
    /// What the model can produce.
    pub outputs: Outputs,
    /// Length of a dense vector, unless a call says otherwise.
    pub dense_dim: usize,
    /// Length of a dense vector that nothing is cut from.
    pub full_dim: usize,
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
    /// What the model does with a text, in order: as `transformer`, `pooling`, `dense 384->256 tanh`,
    /// `normalize`.
    pub modules: Vec<String>,
    /// The pooling modes, as `cls` or `cls+mean`; `onnx` where an export gives vectors.
    pub pooling: String,
    /// Whether pooling reads the rows of a prompt, too.
    pub include_prompt: bool,
    /// Whether the vectors of the model have length 1: normalizing is its last module, and nothing is
    /// cut from them then.
    pub normalize: bool,
    /// Whether texts are tokenized in small letters.
    pub lower_case: bool,
    /// Threads that a run of the model uses.
    pub threads: usize,
    /// Tokens that a run of the model takes at most.
    pub max_batch_tokens: usize,
    /// What is computed in, whatever the weights are stored in: `fp32`, `int8`, `fp16`, `tf32` or
    /// `bf16`; of an ONNX export what its author chose, `fp32`, `fp16` or `int8`.
    pub precision: &'static str,
    /// Where the model runs: `cpu`, `cuda:0`, or of several GPUs `cuda:0-3`.
    pub device: String,
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
