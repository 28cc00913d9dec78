//! `bge quantize`: a model directory in, one with weights of 8 bits out.

use std::io::{IsTerminal, stderr};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bge::{Cancel, QuantizeOptions, QuantizedModel, quantize_model};
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::failure::Failure;
use crate::input;
use crate::output::print;

pub(crate) fn run(
    dir: &Path,
    out: &Path,
    texts: Option<&Path>,
    options: &QuantizeOptions,
) -> Result<(), Failure> {
    let texts = texts.map(read).transpose()?.unwrap_or_default();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let progress = progress_bar();
    let stopped_by = stop_by_signals(options.cancel.clone())?;
    let written = quantize_model(dir, out, &texts, options, &mut |what, done, all| {
        progress.set_message(what.to_string());
        progress.set_length(all as u64);
        progress.set_position(done as u64);
    });
    progress.finish_and_clear();
    if let (Err(_), Some(&signal)) = (&written, stopped_by.get()) {
        // The partial output has been removed. Now the process ends as the signal would have ended
        // it.
        emulate_default_handler(signal)?;
    }
    print(&summary(out, &written?))
}

/// Makes the first signal that would end the process trigger a switch, and the next one end it.
/// Returns where the number of the first signal is stored.
fn stop_by_signals(cancel: Cancel) -> Result<Arc<OnceLock<i32>>, Failure> {
    let stopped_by = Arc::new(OnceLock::new());
    let heeded = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|&signal| !is_ignored(signal));
    let mut signals = Signals::new(heeded)?;
    let told = Arc::clone(&stopped_by);
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if told.set(signal).is_err() {
                let _ = emulate_default_handler(signal);
            }
            cancel.trigger();
        }
    });
    Ok(stopped_by)
}

/// Whether a signal is ignored, as nohup does with SIGHUP, and a shell with SIGINT for processes in
/// its background.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
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

/// The texts of a file. A line that is a JSON string is decoded; any other line is taken as it is.
fn read(file: &Path) -> Result<Vec<String>, Failure> {
    let fault = |what: String| Failure::Input(format!("{} {what}", file.display()));
    let bytes = std::fs::read(file).map_err(|e| fault(format!("cannot be read: {e}")))?;
    let text = input::utf8(&bytes).map_err(|what| fault(what.into()))?;
    let mut texts = Vec::new();
    for line in text.lines().map(str::trim_ascii) {
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
