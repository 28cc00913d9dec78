//! The command `bge`: what a model is, its vectors, how alike sentences are, how good it is at a
//! task, whether all that is as published, the same model in 8 bits, and engines for TensorRT.

mod encode;
mod evaluate;
mod failure;
mod generate;
mod info;
mod input;
mod precision;
mod prepare;
mod quantize;
mod selftest;
mod similarity;
mod version;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use bge::{
    ComputeType, Device, EncodeOptions, Metric, Model, OpenOptions, Outputs, Precision,
    QuantizeOptions,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use failure::Failure;

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
struct Cli {
    /// Print version, revision, and the ONNX Runtime that is found
    #[arg(short = 'V', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
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

#[derive(Args)]
struct ModelArgs {
    /// The model directory, as sentence-transformers writes it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Threads that a run of the model uses; 0: physical cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Most tokens in one run of the model; 0: 2048
    #[arg(long, default_value_t = 0)]
    max_batch_tokens: usize,
    /// Most bytes that a run of the model may take beside the opened model; 0: no ceiling. Texts that
    /// need more are refused
    #[arg(long, default_value_t = 0)]
    max_run_bytes: u64,
    /// Path of libonnxruntime; by default BGE_ORT_LIBRARY, else beside this program, else the system's
    #[arg(long, value_name = "FILE")]
    runtime_library: Option<PathBuf>,
    /// Folder of the heads to use in place of the model's own, e.g. that of BAAI/bge-m3
    #[arg(long, value_name = "DIR")]
    heads: Option<PathBuf>,
    /// Where the model runs: cpu, cuda, or tensorrt; cuda:N for another than the first GPU
    #[arg(long, default_value_t = Device::Cpu)]
    device: Device,
    /// GPUs that share the work, from that of --device on; 0: one
    #[arg(long, value_name = "N", default_value_t = 0)]
    device_count: usize,
    /// What weights are multiplied in: fp32; int8 on the CPU; fp16 or tf32 with cuda; fp16 or bf16
    /// with tensorrt
    #[arg(long, value_enum, default_value_t = ComputeTypeArg::Fp32)]
    compute_type: ComputeTypeArg,
    /// An ONNX export to run as it is, by its path from DIR; by default the weights, if there are any
    #[arg(long, value_name = "FILE")]
    onnx_file: Option<PathBuf>,
    /// Leave the weights in their mapped file: slower, but opened in a moment and with little memory
    #[arg(long)]
    small_memory: bool,
    /// Run tokenizer.json as it is, instead of what the version of transformers that DIR names makes
    /// of it
    #[arg(long)]
    raw_tokenizer: bool,
    /// Folder to keep packed weights in, for this and other processes, and where TensorRT's engines
    /// lie
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

impl ModelArgs {
    fn open(&self) -> Result<Model, Failure> {
        self.open_for(0)
    }

    /// Opens a model for texts that are cut at so many tokens in any case.
    fn open_for(&self, max_tokens: usize) -> Result<Model, Failure> {
        Ok(Model::open(&self.dir, &OpenOptions { max_tokens, ..self.options() })?)
    }

    fn options(&self) -> OpenOptions {
        OpenOptions {
            runtime_library: self.runtime_library.clone(),
            threads: self.threads,
            max_batch_tokens: self.max_batch_tokens,
            max_run_bytes: self.max_run_bytes,
            heads_dir: self.heads.clone(),
            onnx_file: self.onnx_file.clone(),
            device: self.device,
            device_count: self.device_count,
            compute_type: self.compute_type.into(),
            small_memory: self.small_memory,
            raw_tokenizer: self.raw_tokenizer,
            cache_dir: self.cache_dir.clone(),
            ..OpenOptions::default()
        }
    }
}

#[derive(Args)]
struct TextArgs {
    /// Cut texts at this many tokens; 0: the model's own limit
    #[arg(long, default_value_t = 0)]
    max_tokens: usize,
    /// Name of a prompt of the model to put in front of each text
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,
    /// Remove white space around each text first
    #[arg(long)]
    strip: bool,
    /// Keep the first N numbers of each vector; 0: what the model says
    #[arg(long, value_name = "N", default_value_t = 0)]
    truncate_dim: usize,
    /// Scale vectors to length 1 even if the model does not
    #[arg(long)]
    normalize: bool,
}

impl TextArgs {
    fn options(&self) -> EncodeOptions {
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

#[derive(Clone, Copy, ValueEnum)]
enum MetricArg {
    Cosine,
    Dot,
    Euclidean,
    Manhattan,
}

impl From<MetricArg> for Metric {
    fn from(metric: MetricArg) -> Self {
        match metric {
            MetricArg::Cosine => Self::Cosine,
            MetricArg::Dot => Self::Dot,
            MetricArg::Euclidean => Self::Euclidean,
            MetricArg::Manhattan => Self::Manhattan,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum ComputeTypeArg {
    Fp32,
    Int8,
    Fp16,
    Tf32,
    Bf16,
}

impl From<ComputeTypeArg> for ComputeType {
    fn from(compute_type: ComputeTypeArg) -> Self {
        match compute_type {
            ComputeTypeArg::Fp32 => Self::Fp32,
            ComputeTypeArg::Int8 => Self::Int8,
            ComputeTypeArg::Fp16 => Self::Fp16,
            ComputeTypeArg::Tf32 => Self::Tf32,
            ComputeTypeArg::Bf16 => Self::Bf16,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum PrecisionArg {
    Int8,
    Uint8,
    Binary,
    Ubinary,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::Int8 => Self::Int8,
            PrecisionArg::Uint8 => Self::Uint8,
            PrecisionArg::Binary => Self::Binary,
            PrecisionArg::Ubinary => Self::Ubinary,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    Dense,
    Sparse,
    Multi,
    #[value(name = "sparse+dense")]
    SparseDense,
    All,
}

impl ModeArg {
    fn outputs(self) -> Outputs {
        Outputs {
            dense: matches!(self, Self::Dense | Self::SparseDense | Self::All),
            sparse: matches!(self, Self::Sparse | Self::SparseDense | Self::All),
            multi: matches!(self, Self::Multi | Self::All),
            tokens: false,
        }
    }
}

fn three_weights(text: &str) -> Result<[f32; 3], String> {
    let weights: Result<Vec<f32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let weights = weights.map_err(|e| e.to_string())?;
    let count = weights.len();
    weights.try_into().map_err(|_| format!("{count} weights; it takes three, as in 0.4,0.2,0.4"))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        _ if cli.version => print(&version::text()),
        Some(command) => run(command),
        None => Ok(()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as `head` does.
        Err(Failure::Stream(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // Not eprintln!, which panics if nobody takes what it prints.
            let _ = writeln!(std::io::stderr(), "bge: {}", failure.message());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Info { model, json } => info::run(&model.dir, &model.open()?, json),
        Command::Encode {
            model,
            text,
            sparse,
            multi,
            tokens,
            reject_long,
            precision,
            ranges,
            chunk,
        } => {
            let outputs = Outputs { dense: true, sparse, multi, tokens };
            let options =
                EncodeOptions { outputs, reject_long, per_text_errors: true, ..text.options() };
            let ranges = precision::read(precision, ranges.as_deref())?;
            let model = model.open_for(text.max_tokens)?;
            // What no text could be encoded with is refused before there is one.
            model.encode::<&str>(&[], &options)?;
            let codes = precision::Codes::of(&model, precision, ranges)?;
            encode::run(&model, &options, codes, chunk as usize)
        }
        Command::Similarity { model, text, mode, weights, metric, json, source, sentences } => {
            let by = similarity::By::of(mode, metric, weights)?;
            let options = EncodeOptions { outputs: mode.outputs(), ..text.options() };
            let model = model.open_for(text.max_tokens)?;
            similarity::run(&model, &options, &by, json, &source, &sentences)
        }
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Quantize { dir, out, texts, alpha, threads, runtime_library } => {
            let options =
                QuantizeOptions { runtime_library, threads, alpha, ..QuantizeOptions::default() };
            quantize::run(&dir, &out, texts.as_deref(), &options)
        }
        Command::Generate { folder } => Ok(generate::run(&folder)?),
        Command::Prepare { model, max_tokens } => prepare::run(&model, max_tokens),
        Command::Selftest { model, reference, json } => {
            selftest::run(&model, reference.as_deref(), json)
        }
    }
}

/// Results, and nothing else, go to the standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
