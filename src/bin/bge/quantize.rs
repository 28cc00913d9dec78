//! `bge quantize`: a model directory in, one with weights of 8 bits out.

use std::io::{IsTerminal, stderr};
use std::path::Path;

use bge::{QuantizeOptions, QuantizedModel, quantize_model};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{Failure, print};

pub(crate) fn run(
    dir: &Path,
    out: &Path,
    texts: Option<&Path>,
    options: &QuantizeOptions,
) -> Result<(), Failure> {
    let texts = texts.map(read).transpose()?.unwrap_or_default();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let progress = progress_bar();
    let written = quantize_model(dir, out, &texts, options, &mut |what, done, all| {
        progress.set_message(what.to_string());
        progress.set_length(all as u64);
        progress.set_position(done as u64);
    });
    progress.finish_and_clear();
    print(&summary(out, &written?))
}

fn summary(out: &Path, written: &QuantizedModel) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    format!(
        "{}: weights of {:.1} MB, before {:.1} MB; calibrated with {} texts; cosine to fp32 of {} {}: \
         mean {:.5}, least {:.5}\n",
        out.display(),
        megabytes(written.bytes_after),
        megabytes(written.bytes_before),
        written.texts,
        if written.compared_are_known { "these" } else { "others" },
        written.compared,
        written.cosine_mean,
        written.cosine_least,
    )
}

/// The texts of a file: of a line that is a JSON string what it says, and any other line as it is.
fn read(file: &Path) -> Result<Vec<String>, Failure> {
    let fault = |what: String| Failure::Input(format!("{} {what}", file.display()));
    let bytes = std::fs::read(file).map_err(|e| fault(format!("cannot be read: {e}")))?;
    let mut texts = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = std::str::from_utf8(line)
            .map_err(|_| fault(format!("is not UTF-8 in line {}", index + 1)))?
            .trim_ascii();
        if !line.is_empty() {
            texts.push(serde_json::from_str(line).unwrap_or_else(|_| line.to_string()));
        }
    }
    if texts.is_empty() {
        return Err(fault("holds no text; write one a line".into()));
    }
    Ok(texts)
}

fn progress_bar() -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg}: {bar:40} {pos} of {len}, {elapsed}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
