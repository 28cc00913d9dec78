//! Text embeddings of BAAI/bge-m3 and its fine-tunes, in process.
//!
//! ```no_run
//! use bge::{EncodeOptions, Model, OpenOptions};
//!
//! let model = Model::open("bge-m3", &OpenOptions::default())?;
//! let texts = ["Where is the cat?", "Di mana kucing itu?"];
//! let vectors = model.encode(&texts, &EncodeOptions::default())?;
//! assert_eq!(vectors.dense.len(), 2 * vectors.dim);
//! # Ok::<(), bge::Error>(())
//! ```
//!
//! The package is `libbge`; `bge` on crates.io is another project. A program that only uses the
//! library should leave out the command, and optimize dependencies in its debug builds, where the
//! kernels would otherwise take about twenty times as long:
//!
//! ```toml
//! [dependencies]
//! libbge = { git = "https://github.com/libbge/libbge", default-features = false }
//!
//! [profile.dev.package."*"]
//! opt-level = 3
//! ```
//!
//! ONNX Runtime, 1.23 or later, is not part of the crate. It is loaded as a shared library when the
//! first model is opened: the one that [`OpenOptions::runtime_library`] names, else the environment
//! variable `BGE_ORT_LIBRARY`, else one beside the program, else that of the system's loader. In a
//! checkout of libbge, `make runtime` fetches one into `.cache/onnxruntime`. The archives of ONNX
//! Runtime's releases have one in `lib`, and its Python package in `onnxruntime/capi`.
//!
//! The modules, from the C interface down to the arithmetic:
//!
//! ```text
//! ffi                  the C ABI, and the only module that handles pointers of callers
//! open                 from a directory and options to an open model
//! model                the handle of an open model: texts in, vectors out
//! encode               the way of one call: options, tokens, inference, results
//! info                 the description of a model
//! fingerprint          a hash of everything that decides a vector
//! options              the options of opening and encoding, with their defaults and limits
//! encoder              from the tokens of a batch to its results: weights, exports, pooling, heads
//! schedule             from the texts of many callers to batches, and back
//! runtime              ONNX Runtime: finding it, loading it, running a graph
//! graph                the encoder as an ONNX graph that refers to the author's weights
//! tokenize             text to token ids
//! model_dir            reads a model directory: shape, weights, pooling, prompts
//! embeddings           the results of a call
//! kernels              the library's own arithmetic: attention, linear layers, LayerNorm, GELU
//! similarity           the scores of dense, sparse and multi-vectors
//! quantize_embeddings  dense vectors to bytes or bits
//! quantize_model       a model directory to one with weights of 8 bits
//! evaluate             the quality of vectors, by sentence-transformers' measures
//! device, numbered, stop, stats, part, parallel, memory, log, error: shared by all of them
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

/// The crate of the arrays that similarity functions take and fill, in the version that they need.
pub use ndarray;

/// Version and revision of this library, as `0.1.0 (9f2c1d3)`.
pub const VERSION: &str = env!("BGE_VERSION_TEXT");
