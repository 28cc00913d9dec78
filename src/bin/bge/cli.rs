//! The command line: the subcommands with their options and help.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::arguments::{MetricArg, ModeArg, ModelArgs, PrecisionArg, TextArgs, three_weights};
use crate::evaluate;

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  a line of the input or a text is at fault
  2  wrong usage
  3  the model, the runtime or the device cannot be used
  4  reading or writing failed
  5  a fault while encoding
  6  selftest: a value differs, or none passed
  7  selftest: the values are of another model";

/// Text embeddings of BAAI/bge-m3 and its fine-tunes
#[derive(Parser)]
#[command(name = "bge", after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// Print version, revision, and the ONNX Runtime that is found
    #[arg(short = 'V', long)]
    pub version: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Prints what was understood of a model directory
    Info {
        #[command(flatten)]
        model: ModelArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Reads JSON strings, one a line, and writes a JSON object a line:
    /// {"dense":[..],"tokens":n,"truncated":bool}
    ///
    /// With --sparse, also "sparse":{"id":weight,..}, by token id; with --multi, also
    /// "multi":[[..],..], a vector for each token but the first; with --tokens, also
    /// "token_embeddings":[[..],..], the final state of each token.
    ///
    /// Every line of the input is answered by one line. A text that cannot be encoded, and a line that
    /// is not a JSON string in UTF-8, a blank one included, is answered with
    /// {"error":"..","code":"BGE_ERROR_.."}; the command goes on, and ends with exit code 1. Answers
    /// come as soon as the input pauses, so a program may send a line and wait.
    Encode {
        #[command(flatten)]
        model: ModelArgs,
        #[command(flatten)]
        text: TextArgs,
        /// Write the weights of the tokens, too
        #[arg(long)]
        sparse: bool,
        /// Write the multi-vectors of the tokens, too
        #[arg(long)]
        multi: bool,
        /// Write the final states of the tokens, too
        #[arg(long)]
        tokens: bool,
        /// Answer a text that would have to be cut with an error
        #[arg(long)]
        reject_long: bool,
        /// Write dense vectors as integers, a byte or a bit for each dimension
        #[arg(long, value_enum)]
        precision: Option<PrecisionArg>,
        /// The range of each dimension, {"min":[..],"max":[..]}, which int8 and uint8 need: of
        /// vectors that this command wrote without --precision for many texts like these
        #[arg(long, value_name = "FILE", requires = "precision")]
        ranges: Option<PathBuf>,
        /// Texts that are read and encoded together
        #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
        chunk: u32,
    },
    /// Scores sentences by how alike they are to a source sentence, best first
    Similarity {
        #[command(flatten)]
        model: ModelArgs,
        #[command(flatten)]
        text: TextArgs,
        /// What to compare by; both kinds of sums are weighted means
        #[arg(long, value_enum, default_value_t = ModeArg::Dense)]
        mode: ModeArg,
        /// How much dense, sparse and multi-vector scores count in a mean, as in 0.4,0.2,0.4; by
        /// default 1 each
        #[arg(long, value_name = "D,S,M", value_parser = three_weights)]
        weights: Option<[f32; 3]>,
        /// How to compare dense vectors; by default as the model's directory says, and by cosine wherever
        /// scores are added
        #[arg(long, value_enum)]
        metric: Option<MetricArg>,
        /// Print JSON, in the order given
        #[arg(long)]
        json: bool,
        /// The sentence to compare with
        source: String,
        /// The sentences to compare
        #[arg(required = true)]
        sentences: Vec<String>,
    },
    /// Measures how good a model is at the triplets, graded pairs or queries of a file
    ///
    /// The columns of the file tell which: anchor, positive and negative; sentence1, sentence2 and
    /// score; or query and passage, a row for each passage that answers a query, where a column
    /// relevance of 0 marks one that does not. Measures are those of sentence-transformers'
    /// TripletEvaluator, EmbeddingSimilarityEvaluator and InformationRetrievalEvaluator.
    Evaluate(evaluate::Arguments),
    /// Writes a model directory with the weights of another in integers of 8 bits
    ///
    /// It opens like any other, in int8, needs a quarter of the space and less memory, and is more
    /// exact than --compute-type int8: the model runs over some texts first, and what they show of
    /// its activations moves the weights' scales. The last line tells how near the vectors are.
    Quantize {
        /// The model directory, with weights in floating point
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The directory to write, which must not exist yet
        #[arg(value_name = "OUT")]
        out: PathBuf,
        /// Texts like those that will be encoded, a few hundred: one a line, as it is or as a JSON
        /// string; by default sentences in many languages that are built in
        #[arg(long, value_name = "FILE")]
        texts: Option<PathBuf>,
        /// How much of the differences between channels of activations moves into the weights, 0 to 1
        #[arg(long, default_value_t = 0.5)]
        alpha: f32,
        /// Threads; 0: physical cores
        #[arg(long, default_value_t = 0)]
        threads: usize,
        /// Path of libonnxruntime; by default BGE_ORT_LIBRARY, else beside this program, else the system's
        #[arg(long, value_name = "FILE")]
        runtime_library: Option<PathBuf>,
    },
    /// Builds TensorRT's engines for a model on this machine's GPU, which takes minutes
    ///
    /// Needs --device tensorrt, --compute-type fp16 or bf16, and --cache-dir. What opens the model with
    /// the same options then finds them, and builds none. With a smaller --max-tokens there are fewer.
    Prepare {
        #[command(flatten)]
        model: ModelArgs,
        /// The longest text in tokens; 0: the model's own limit
        #[arg(long, default_value_t = 0)]
        max_tokens: usize,
    },
    /// Writes the manual's pages and what completes words in shells, for packages
    #[command(hide = true)]
    Generate {
        /// The folder that becomes `share`
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Compares what a model gives with what was published of BAAI/bge-m3: 55 values with source
    /// and tolerance, a line for each
    ///
    /// Values that the model cannot give, as sparse weights without heads, are skipped. Values
    /// whose own source is in doubt are shown, but decide nothing.
    Selftest {
        #[command(flatten)]
        model: ModelArgs,
        /// Compare with the values of this file instead; docs/selftest.md describes it
        #[arg(long, value_name = "FILE")]
        reference: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}
