//! Text embeddings of BAAI/bge-m3 and its fine-tunes, in process.
//!
//! ```no_run
//! use bge::{EncodeOptions, Model, OpenOptions};
//!
//! let model = Model::open("bge-m3", &OpenOptions::default())?;
//! let vectors = model.encode(&["Where is the cat?", "Di mana kucing itu?"], &EncodeOptions::default())?;
//! assert_eq!(vectors.dense.len(), 2 * vectors.dim);
//! # Ok::<(), bge::Error>(())
//! ```
//!
//! The package is `libbge`; on crates.io `bge` is another's. A program that only uses the library leaves
//! the command out, and has the kernels optimized in its own debug builds, where they would otherwise take
//! about twenty times as long:
//!
//! ```toml
//! [dependencies]
//! libbge = { git = "https://github.com/libbge/libbge", default-features = false }
//!
//! [profile.dev.package."*"]
//! opt-level = 3
//! ```
//!
//! ONNX Runtime, 1.23 or later, is no part of the crate, but is loaded as a shared library when the first
//! model is opened: the one that [`OpenOptions::runtime_library`] names, else the environment variable
//! `BGE_ORT_LIBRARY`, else one that lies beside the program, else that of the system's loader. In a checkout
//! of libbge, `make runtime` fetches one into `.cache/onnxruntime`; the archives of ONNX Runtime's releases
//! have one in `lib`, and its package for Python in `onnxruntime/capi`.
//!
//! The modules, in the order in which a text passes through them:
//!
//! ```text
//! model_dir   what the directory says: shape, weights, pooling, prompts
//! tokenize    text to token ids
//! schedule    the texts of all callers to packed batches, one run at a time, or two if one is long
//! graph       the encoder as an ONNX graph over the author's own weights file
//! runtime     ONNX Runtime, which runs the graph
//! attention   the operators of the graph that are this library's own:
//! norm        attention without padding, LayerNorm,
//! gelu        GELU where its input is,
//! linear      and linear layers, with weights of 32 bits or of 8
//! pooling     rows of tokens to one vector for each text
//! modules     that vector through the layers that follow
//! heads       rows of tokens to sparse weights and multi-vectors
//! encoder     what runs a model: its weights on packed rows, or an export on padded ones
//! outputs     what a call asks for and what it gets
//! open        a directory and options to all of it behind one handle
//! model       that handle: texts in, vectors out
//! info        what a model is
//! similarity  vectors to scores
//! scores      sparse weights and multi-vectors to scores
//! evaluate    vectors to how good they are, by sentence-transformers' measures
//! quantize    vectors to bytes or bits
//! quantize_model   a model directory to one with weights of 8 bits
//! parallel    threads for the scores of one call
//! ffi         the C ABI over all of it, and the only place that handles pointers
//! ```

#[cfg(panic = "abort")]
compile_error!("libbge promises to catch panics; build it with panic = \"unwind\"");

mod device;
mod embeddings;
mod encode;
mod encoder;
mod error;
mod evaluate;
mod ffi;
mod fingerprint;
mod graph;
mod info;
mod kernels;
mod log;
mod memory;
mod model;
mod model_dir;
mod numbered;
mod open;
mod options;
mod parallel;
mod part;
mod quantize_embeddings;
mod quantize_model;
mod runtime;
mod schedule;
mod similarity;
mod stats;
mod stop;
mod tokenize;

pub use device::{ComputeType, Device};
pub use embeddings::{Embeddings, Outputs, SparseWeights, TokenUsage, TokenVectors};
pub use error::{Error, ErrorKind, Result};
pub use evaluate::{
    Correlation, Correlations, EVALUATED_METRICS, RETRIEVAL_DEPTH, Retrieval, TripletAccuracy,
    TripletDefinition, correlation, evaluate_retrieval, evaluate_similarity, evaluate_triplets,
};
pub use info::Info;
pub use log::{LogLevel, clear_log_sink, log_panics, set_log_sink};
pub use model::Model;
pub use open::prepare;
pub use options::{EncodeOptions, OpenOptions, THREADS_MAX};
pub use quantize_embeddings::{Formula, Precision, Ranges, quantize, quantize_ranges};
pub use quantize_model::{QuantizeOptions, QuantizedModel, quantize_model};
pub use runtime::{Prepared, runtime_version};
pub use schedule::Cancel;
pub use similarity::{
    Hit, Metric, SparseText, similarity, similarity_hybrid, similarity_multi, similarity_pairwise,
    similarity_sparse, similarity_top_k,
};
pub use stats::Stats;

/// The crate whose arrays the scores of vectors take and fill, in the version that they have to be of.
pub use ndarray;

/// Version and revision of this library, as `0.1.0 (9f2c1d3)`.
pub const VERSION: &str = env!("BGE_VERSION_TEXT");
