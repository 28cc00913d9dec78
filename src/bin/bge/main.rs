//! The command `bge`: what a model is, its vectors, and how alike sentences are.

mod encode;

use std::path::PathBuf;
use std::process::ExitCode;

use bge::{EncodeOptions, ErrorKind, Metric, Model, OpenOptions};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ndarray::{ArrayView2, ArrayViewMut2};
use serde_json::json;

/// Text embeddings of BAAI/bge-m3 and its fine-tunes.
///
/// Exit codes: 0 success; 1 an input line or a text is at fault; 2 wrong usage; 3 the model, the
/// runtime or the device cannot be used; 4 reading or writing failed; 5 a fault while encoding.
#[derive(Parser)]
#[command(name = "bge", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
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
    Encode {
        #[command(flatten)]
        model: ModelArgs,
        #[command(flatten)]
        text: TextArgs,
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
        /// How to compare
        #[arg(long, value_enum, default_value_t = MetricArg::Cosine)]
        metric: MetricArg,
        /// Print JSON, in the order given
        #[arg(long)]
        json: bool,
        /// The sentence to compare with
        source: String,
        /// The sentences to compare
        #[arg(required = true)]
        sentences: Vec<String>,
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
    /// Path of libonnxruntime; by default BGE_ORT_LIBRARY, else beside this program, else the system's
    #[arg(long, value_name = "FILE")]
    runtime_library: Option<PathBuf>,
}

impl ModelArgs {
    fn open(&self) -> Result<Model, Failure> {
        let options = OpenOptions {
            runtime_library: self.runtime_library.clone(),
            threads: self.threads,
            max_batch_tokens: self.max_batch_tokens,
            ..OpenOptions::default()
        };
        Ok(Model::open(&self.dir, &options)?)
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

/// Why the command ends early, and with which exit code.
enum Failure {
    Input(String),
    Model(bge::Error),
    Stream(std::io::Error),
}

impl From<bge::Error> for Failure {
    fn from(e: bge::Error) -> Self {
        Self::Model(e)
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::Stream(e)
    }
}

impl Failure {
    fn message(&self) -> String {
        match self {
            Self::Input(message) => message.clone(),
            Self::Model(e) => e.to_string(),
            Self::Stream(e) => e.to_string(),
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Input(_) => 1,
            Self::Stream(_) => 4,
            Self::Model(e) => match e.kind() {
                ErrorKind::InvalidUtf8 | ErrorKind::TextTooLong => 1,
                ErrorKind::InvalidArgument | ErrorKind::Unsupported => 2,
                ErrorKind::ModelNotFound
                | ErrorKind::ModelInvalid
                | ErrorKind::RuntimeUnavailable => 3,
                _ => 5,
            },
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Info { model, json } => info(&model, json),
        Command::Encode { model, text, chunk } => {
            model.open().and_then(|model| encode::run(&model, &text.options(), chunk as usize))
        }
        Command::Similarity { model, text, metric, json, source, sentences } => {
            similarity(&model, &text.options(), metric.into(), json, &source, &sentences)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as `head` does.
        Err(Failure::Stream(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bge: {}", failure.message());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn info(args: &ModelArgs, as_json: bool) -> Result<(), Failure> {
    let model = args.open()?;
    let info = model.info();
    let facts = json!({
        "directory": args.dir,
        "modules": if info.normalize {
            vec!["transformer", "pooling", "normalize"]
        } else {
            vec!["transformer", "pooling"]
        },
        "layers": info.layers,
        "hidden": info.dense_dim,
        "heads": info.heads,
        "intermediate": info.intermediate,
        "vocabulary": info.vocab_size,
        "pooling": info.pooling,
        "normalize": info.normalize,
        "dense_dim": info.dense_dim,
        "max_tokens": info.max_tokens,
        "precision": info.precision,
        "device": info.device,
        "threads": info.threads,
        "max_batch_tokens": info.max_batch_tokens,
        "runtime": info.runtime,
        "runtime_library": info.runtime_library,
        "prompts": info.prompts.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "default_prompt": info.default_prompt,
        "weight_files": info.weight_files,
        "fingerprint": model.fingerprint()?,
    });
    let mut out = String::new();
    if as_json {
        out = format!("{facts:#}\n");
    } else if let Some(facts) = facts.as_object() {
        for (name, value) in facts {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            out += &format!("{name:<17} {value}\n");
        }
    }
    Ok(std::io::Write::write_all(&mut std::io::stdout(), out.as_bytes())?)
}

fn similarity(
    args: &ModelArgs,
    options: &EncodeOptions,
    metric: Metric,
    as_json: bool,
    source: &str,
    sentences: &[String],
) -> Result<(), Failure> {
    let model = args.open()?;
    let texts: Vec<&str> =
        std::iter::once(source).chain(sentences.iter().map(String::as_str)).collect();
    let vectors = model.encode(&texts, options)?;
    let (query, others) = vectors.dense.split_at(vectors.dim);
    let mut scores = vec![0.0; sentences.len()];
    bge::similarity(
        metric,
        rows(query, vectors.dim)?,
        rows(others, vectors.dim)?,
        1,
        ArrayViewMut2::from_shape((1, scores.len()), &mut scores).map_err(not_rows)?,
    )?;
    let mut ranked: Vec<(f32, &str)> =
        scores.into_iter().zip(sentences.iter().map(String::as_str)).collect();
    let mut out = String::new();
    if as_json {
        let scored: Vec<_> = ranked
            .iter()
            .map(|(score, sentence)| json!({"score": score, "sentence": sentence}))
            .collect();
        out = format!("{}\n", json!({"source": source, "scores": scored}));
    } else {
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (score, sentence) in ranked {
            out += &format!("{score:.4}  {sentence}\n");
        }
    }
    Ok(std::io::Write::write_all(&mut std::io::stdout(), out.as_bytes())?)
}

fn rows(data: &[f32], dim: usize) -> Result<ArrayView2<'_, f32>, Failure> {
    ArrayView2::from_shape((data.len() / dim, dim), data).map_err(not_rows)
}

fn not_rows(e: ndarray::ShapeError) -> Failure {
    Failure::Input(format!("the vectors do not make rows: {e}"))
}
