//! The command `bge`: a model's description, its vectors, the similarity of sentences, its quality
//! at a task, a comparison with published values, the same model in 8 bits, and engines for
//! TensorRT.

mod arguments;
mod cli;
mod encode;
mod evaluate;
mod failure;
mod generate;
mod info;
mod input;
mod output;
mod precision;
mod prepare;
mod quantize;
mod selftest;
mod similarity;
mod version;

use std::io::Write;
use std::process::ExitCode;

use bge::{EncodeOptions, Outputs, QuantizeOptions};
use clap::Parser;

use cli::{Cli, Command};
use failure::Failure;
use output::print;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        _ if cli.version => print(&version::text()),
        Some(command) => run(command),
        None => Ok(()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe has closed it, as `head` does when it has seen enough.
        Err(Failure::Stream(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // Not eprintln!, which panics if the error output is closed.
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
            // Options that are wrong for every text are refused before any text is read.
            model.encode::<&str>(&[], &options)?;
            let codes = precision::Codes::new(&model, precision, ranges)?;
            encode::run(&model, &options, codes, chunk as usize)
        }
        Command::Similarity { model, text, mode, weights, metric, json, source, sentences } => {
            let by = similarity::By::new(mode, metric, weights)?;
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
