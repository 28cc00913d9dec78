//! The command line: the subcommands with their options and help.

use std::path::PathBuf;

use bge::{Metric, Precision};
use clap::{Parser, Subcommand};

use crate::arguments::{self, ModeArg, ModelArgs, TextArgs, three_weights};
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
    /// Print version and revision, and the ONNX Runtime that would be loaded
    #[arg(short = 'V', long)]
    pub version: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Prints the description of a model directory
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
    /// Every line of the input is answered by one line. A text that cannot be encoded, and a line
    /// that is not a JSON string in UTF-8, a blank one included, is answered with
    /// {"error":"..","code":"BGE_ERROR_.."}; the command goes on, and ends with exit code 1.
    /// Answers are written as soon as the input pauses, so a program may send a line and wait.
    Encode {
        #[command(flatten)]
        model: ModelArgs,
        #[command(flatten)]
        text: TextArgs,
        /// Write sparse weights, too
        #[arg(long)]
        sparse: bool,
        /// Write multi-vectors, too
        #[arg(long)]
        multi: bool,
        /// Write the final states of all tokens, too
        #[arg(long)]
        tokens: bool,
        /// Answer a text that would be truncated with an error
        #[arg(long)]
        reject_long: bool,
        /// Write dense vectors as integers, a byte or a bit for each dimension
        #[arg(long, value_parser = arguments::precision())]
        precision: Option<Precision>,
        /// The range of each dimension, {"min":[..],"max":[..]}, which int8 and uint8 need: take it
        /// from vectors that this command wrote without --precision for many texts like these
        #[arg(long, value_name = "FILE", requires = "precision")]
        ranges: Option<PathBuf>,
        /// The most texts that are read and encoded together
        #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
        chunk: u32,
    },
    /// Scores the similarity of sentences to a source sentence, best first
    Similarity {
        #[command(flatten)]
        model: ModelArgs,
        #[command(flatten)]
        text: TextArgs,
        /// Scores to compare by; sparse+dense and all are weighted means
        #[arg(long, value_enum, default_value_t = ModeArg::Dense)]
        mode: ModeArg,
        /// Weights of dense, sparse and multi-vector scores in their mean, as in 0.4,0.2,0.4; by
        /// default 1 each
        #[arg(long, value_name = "D,S,M", value_parser = three_weights)]
        weights: Option<[f32; 3]>,
        /// Metric of dense vectors; by default that of the model's directory, and cosine where
        /// scores are added
        #[arg(long, value_parser = arguments::metric())]
        metric: Option<Metric>,
        /// Print JSON, in the order of the arguments
        #[arg(long)]
        json: bool,
        /// The source sentence
        source: String,
        /// The sentences to compare with it
        #[arg(required = true)]
        sentences: Vec<String>,
    },
    /// Measures a model on the triplets, graded pairs or queries of a file
    ///
    /// The columns of the file decide which: anchor, positive and negative; sentence1, sentence2
    /// and score; or query and passage, a row for each passage that answers a query, where a column
    /// relevance of 0 marks one that does not. Measures are those of sentence-transformers'
    /// TripletEvaluator, EmbeddingSimilarityEvaluator and InformationRetrievalEvaluator.
    Evaluate(evaluate::Arguments),
    /// Writes a model directory with the weights of another in integers of 8 bits
    ///
    /// It opens like any other, in int8, needs a quarter of the space and less memory, and is more
    /// exact than --compute-type int8: the model runs over some texts first, and its activations
    /// decide the scales of the weights. The last line reports how near the vectors are.
    Quantize {
        /// The model directory, with weights in floating point
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The directory to write, which must not exist yet
        #[arg(value_name = "OUT")]
        out: PathBuf,
        /// A few hundred texts like those that will be encoded: one a line, plain or as a JSON
        /// string; by default built-in sentences in many languages
        #[arg(long, value_name = "FILE")]
        texts: Option<PathBuf>,
        /// Share of the differences between channels of activations that moves into the weights, 0
        /// to 1
        #[arg(long, default_value_t = 0.5)]
        alpha: f32,
        /// Threads; 0: physical cores
        #[arg(long, default_value_t = 0)]
        threads: usize,
        /// Path of libonnxruntime; by default BGE_ORT_LIBRARY, else beside this program, else the
        /// system's
        #[arg(long, value_name = "FILE")]
        runtime_library: Option<PathBuf>,
    },
    /// Builds TensorRT's engines for a model on this machine's GPU, which takes minutes
    ///
    /// Needs --device tensorrt, --compute-type fp16 or bf16, and --cache-dir. Opening the model
    /// with the same options then loads the engines. A smaller --max-tokens needs fewer of them.
    Prepare {
        #[command(flatten)]
        model: ModelArgs,
        /// The longest text in tokens; 0: the model's own limit
        #[arg(long, default_value_t = 0)]
        max_tokens: usize,
    },
    /// Writes the manual pages and shell completions, for packagers
    #[command(hide = true)]
    Generate {
        /// The folder that becomes `share`
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Compares a model with published values of BAAI/bge-m3: 55 values with source and tolerance,
    /// a line for each
    ///
    /// Values that need an output the model lacks, such as sparse weights, are skipped. Values
    /// whose own source is in doubt are shown, but do not count.
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
