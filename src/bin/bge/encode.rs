//! `bge encode`: lines of JSON strings in, lines of JSON objects out.

use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Write, stderr, stdin, stdout};

use bge::{EncodeOptions, ErrorKind, Model, SparseWeights, TokenVectors};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Serialize, Serializer};

use crate::failure::Failure;
use crate::input;
use crate::precision::{Codes, Dense};

const UTF16: &str = "the input is in UTF-16; convert it, as with iconv -f UTF-16 -t UTF-8";

/// More than a pipe holds, so that all lines waiting in one are encoded together.
const INPUT_BUFFER: usize = 256 * 1024;

#[derive(Serialize)]
struct Line<'a> {
    dense: Dense<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sparse: Option<Weights<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi: Option<Vec<&'a [f32]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_embeddings: Option<Vec<&'a [f32]>>,
    tokens: usize,
    truncated: bool,
}

/// The answer to a text that could not be encoded.
#[derive(Clone, Serialize)]
struct Fault {
    error: String,
    code: &'static str,
}

/// The sparse weights of one text of a call.
struct Weights<'a>(&'a SparseWeights, usize);

impl Serialize for Weights<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.of(self.1))
    }
}

pub(crate) fn run(
    model: &Model,
    options: &EncodeOptions,
    codes: Codes,
    chunk: usize,
) -> Result<(), Failure> {
    let progress = progress_bar();
    if stdin().is_terminal() {
        let _ = writeln!(
            stderr(),
            "bge: waiting for lines on standard input, each a JSON string as \"a text\"; end with Ctrl-D"
        );
    }
    let mut job = Job {
        model,
        options,
        codes,
        texts: Vec::with_capacity(chunk),
        answered: 0,
        failed: 0,
        out: BufWriter::new(stdout().lock()),
        progress: &progress,
    };
    let outcome = job.run(chunk);
    progress.finish();
    outcome
}

struct Job<'a, W: Write> {
    model: &'a Model,
    options: &'a EncodeOptions,
    codes: Codes,
    /// The texts of the lines that were read but not answered, or the error of a line.
    texts: Vec<Result<String, Fault>>,
    answered: usize,
    /// The number of lines that were answered with an error.
    failed: usize,
    out: W,
    progress: &'a ProgressBar,
}

impl<W: Write> Job<'_, W> {
    fn run(&mut self, chunk: usize) -> Result<(), Failure> {
        let mut input = BufReader::with_capacity(INPUT_BUFFER, stdin().lock());
        let mut line = Vec::new();
        loop {
            // The next line may not arrive before the sender has these answers.
            if self.texts.len() == chunk || !input.buffer().contains(&b'\n') {
                self.answer()?;
            }
            line.clear();
            if input.read_until(b'\n', &mut line)? == 0 {
                self.answer()?;
                return match self.failed {
                    0 => Ok(()),
                    failed => Err(Failure::Texts(failed, self.answered)),
                };
            }
            let number = self.answered + self.texts.len() + 1;
            let is_first = number == 1;
            self.texts.push(text(input::line(&line, is_first), number));
            // In UTF-16, a newline byte need not be the end of a line.
            if is_first && input::is_utf16(&line) {
                self.answer()?;
                return Err(Failure::Input(UTF16.into()));
            }
        }
    }

    /// Writes a line for every text that was read.
    fn answer(&mut self) -> Result<(), Failure> {
        if self.texts.is_empty() {
            return Ok(());
        }
        let texts: Vec<&str> = self.texts.iter().flatten().map(String::as_str).collect();
        let results = self.model.encode(&texts, self.options)?;
        let mut next = 0;
        for text in &self.texts {
            let index = next;
            let fault = match text {
                Err(fault) => Some(fault.clone()),
                Ok(_) => {
                    next += 1;
                    let of_text = results.error_of(index);
                    of_text.map(|e| Fault { error: e.to_string(), code: e.kind().name() })
                }
            };
            if let Some(fault) = fault {
                self.failed += 1;
                write(&mut self.out, &fault)?;
                continue;
            }
            let dense = &results.dense[index * results.dim..][..results.dim];
            let usage = &results.usage[index];
            let line = Line {
                dense: self.codes.write(dense)?,
                sparse: results.sparse.as_ref().map(|sparse| Weights(sparse, index)),
                multi: results.multi.as_ref().map(|multi| rows(multi, index)),
                token_embeddings: results.tokens.as_ref().map(|tokens| rows(tokens, index)),
                tokens: usage.tokens,
                truncated: usage.truncated,
            };
            write(&mut self.out, &line)?;
        }
        self.out.flush()?;
        self.progress.inc(self.texts.len() as u64);
        self.answered += self.texts.len();
        self.texts.clear();
        Ok(())
    }
}

fn rows(vectors: &TokenVectors, text: usize) -> Vec<&[f32]> {
    vectors.of(text).chunks_exact(vectors.dim).collect()
}

fn write(mut out: impl Write, answer: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(&mut out, answer).map_err(std::io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

/// The text of a line, or the error of the line, by its number.
fn text(line: &[u8], number: usize) -> Result<String, Fault> {
    let fault = |kind: ErrorKind, what: &str| Fault {
        error: format!("line {number} of the input {what}"),
        code: kind.name(),
    };
    if input::is_utf16(line) && number == 1 {
        return Err(Fault { error: UTF16.into(), code: ErrorKind::InvalidUtf8.name() });
    }
    // In UTF-16 without a mark, every other byte of a letter is NUL, which JSON never has.
    let utf16 = if line.contains(&0) { "; it holds NUL, as text in UTF-16 does" } else { "" };
    let text = std::str::from_utf8(line)
        .map_err(|_| fault(ErrorKind::InvalidUtf8, &format!("is not UTF-8{utf16}")))?
        .trim_ascii();
    if text.is_empty() {
        // Skipping it would shift the answers against the lines.
        return Err(fault(ErrorKind::InvalidArgument, "is blank; an empty text is \"\""));
    }
    serde_json::from_str(text).map_err(|e| {
        // serde_json counts the lines of each JSON text from 1, which would contradict our number.
        let why = e.to_string().replace(" at line 1 column ", ", at column ");
        // A string with half of a surrogate pair is valid JSON all the same.
        match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) if text.starts_with('"') => fault(
                ErrorKind::InvalidUtf8,
                &format!("has half of a surrogate pair, which is no character: {why}"),
            ),
            _ => fault(ErrorKind::InvalidArgument, &format!("is not a JSON string: {why}{utf16}")),
        }
    })
}

/// A progress bar without an end: the number of texts in a pipe is not known.
fn progress_bar() -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} texts, {per_sec}, {elapsed}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
