//! `bge encode`: lines of JSON strings in, lines of JSON objects out.

use std::io::{BufRead, BufWriter, ErrorKind, IsTerminal, Write, stderr, stdin, stdout};

use bge::{EncodeOptions, Model};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::Failure;

#[derive(Serialize)]
struct Line<'a> {
    dense: &'a [f32],
    tokens: usize,
    truncated: bool,
}

pub(crate) fn run(model: &Model, options: &EncodeOptions, chunk: usize) -> Result<(), Failure> {
    let progress = progress_bar();
    let mut out = BufWriter::new(stdout().lock());
    let mut texts: Vec<String> = Vec::with_capacity(chunk);
    for (index, line) in stdin().lock().lines().enumerate() {
        let line = line.map_err(|e| match e.kind() {
            ErrorKind::InvalidData => {
                Failure::Input(format!("line {} of the input is not UTF-8", index + 1))
            }
            _ => e.into(),
        })?;
        let text = serde_json::from_str(&line).map_err(|e| {
            Failure::Input(format!("line {} of the input is not a JSON string: {e}", index + 1))
        });
        match text {
            Ok(text) => texts.push(text),
            // What was read before it is still encoded: nothing already done is lost.
            Err(failure) => {
                write(model, options, &mut texts, &mut out, &progress)?;
                out.flush()?;
                return Err(failure);
            }
        }
        if texts.len() == chunk {
            write(model, options, &mut texts, &mut out, &progress)?;
        }
    }
    write(model, options, &mut texts, &mut out, &progress)?;
    out.flush()?;
    progress.finish();
    Ok(())
}

fn write(
    model: &Model,
    options: &EncodeOptions,
    texts: &mut Vec<String>,
    out: &mut impl Write,
    progress: &ProgressBar,
) -> Result<(), Failure> {
    let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = model.encode(&borrowed, options)?;
    for (dense, usage) in vectors.dense.chunks_exact(vectors.dim).zip(&vectors.usage) {
        let line = Line { dense, tokens: usage.tokens, truncated: usage.truncated };
        serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
    }
    progress.inc(texts.len() as u64);
    texts.clear();
    Ok(())
}

/// How many texts there will be is not known: they come through a pipe.
fn progress_bar() -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} texts, {per_sec}, {elapsed}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
