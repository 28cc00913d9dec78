//! Writes a model directory with the weights of another in integers of 8 bits.

mod copy;
mod smooth;
mod texts;
mod write;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Result, error};
use crate::model::Model;
use crate::model_dir::{ModelDir, Network, Weights};
use crate::options::{EncodeOptions, OpenOptions};
use crate::runtime::Observer;
use crate::schedule::Cancel;
use write::{Recipe, Step, cannot_write};

/// The texts that are encoded together, after which progress is reported.
const CHUNK: usize = 64;
/// The tokens of a text that are used: the range of a channel shows early.
const TOKENS_MAX: usize = 512;
/// One of this many texts is kept for the comparison.
const HELD_OUT: usize = 5;
/// With fewer texts than this, all are used for calibration and for the comparison.
const HOLDING_OUT: usize = 20;
/// The most texts that are compared.
const COMPARED_MAX: usize = 1000;

/// How to quantize a model.
#[derive(Clone, Debug)]
pub struct QuantizeOptions {
    /// The path of libonnxruntime, as in [`OpenOptions`].
    pub runtime_library: Option<PathBuf>,
    /// Threads, as in [`OpenOptions`].
    pub threads: usize,
    /// The share of the differences between the channels of an activation that moves into the
    /// weights, from 0 to 1. By default one half.
    pub alpha: f32,
    /// Stops the quantization when triggered. Partial output is removed.
    pub cancel: Cancel,
}

impl Default for QuantizeOptions {
    fn default() -> Self {
        Self { runtime_library: None, threads: 0, alpha: 0.5, cancel: Cancel::new() }
    }
}

/// The size of a quantized model, and how near its vectors are to those before.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct QuantizedModel {
    /// The bytes of the weights before.
    pub bytes_before: u64,
    /// The bytes of the weights that were written.
    pub bytes_after: u64,
    /// The number of texts whose activations decided the factors.
    pub texts: usize,
    /// The number of texts whose vectors were compared.
    pub compared: usize,
    /// Whether the compared texts are among the calibration texts.
    pub compared_are_known: bool,
    /// The mean cosine between the vectors before and after.
    pub cosine_mean: f64,
    /// The least cosine of a text.
    pub cosine_least: f64,
}

/// Writes `out`, a model directory with the weights of the one at `dir` in integers of 8 bits.
///
/// The model runs over `texts`, or built-in ones if there are none, to measure the range of each
/// channel of its activations. `out` must not exist; it appears when it is complete. `progress` is
/// called with the current step, the amount of it that is done, and its whole amount.
pub fn quantize_model(
    dir: impl AsRef<Path>,
    out: impl AsRef<Path>,
    texts: &[&str],
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<QuantizedModel> {
    let (dir, out) = (dir.as_ref(), out.as_ref());
    let cancel = &options.cancel;
    let step: &mut Step<'_> = &mut |what, done, all| {
        progress(what, done, all);
        cancel.check()
    };
    if !(0.0..=1.0).contains(&options.alpha) {
        return Err(error!(InvalidArgument, "alpha is {}; it may be 0 to 1", options.alpha));
    }
    let source = ModelDir::read(dir, None, None, false)?;
    let weights = float_weights(&source)?;
    let partial = Partial::begin(dir, out)?;

    let texts = if texts.is_empty() { &texts::BUILT_IN } else { texts };
    let known = texts.len() < HOLDING_OUT;
    let held_out = |index: &usize| index % HELD_OUT == HELD_OUT - 1;
    let pick = |which: &dyn Fn(&usize) -> bool| -> Vec<&str> {
        (0..texts.len()).filter(which).map(|index| texts[index]).collect()
    };
    let learnt = pick(&|index| known || !held_out(index));
    let mut compared = pick(&|index| known || held_out(index));
    compared.truncate(COMPARED_MAX);

    let open = OpenOptions {
        runtime_library: options.runtime_library.clone(),
        threads: options.threads,
        ..OpenOptions::default()
    };
    let observer = Observer::default();
    let model = Model::open_observed(dir, &open, Some(observer.clone()))?;
    let fingerprint = model.fingerprint()?.to_string();
    encode(&model, &learnt, "calibrating", cancel, step)?;
    let largest = std::mem::take(&mut *observer.lock());
    let before = encode(&model, &compared, "encoding in fp32", cancel, step)?;
    drop(model);

    copy::model_files(dir, &source, &partial.path, out)?;
    let inside = source.transformer_dir.strip_prefix(dir).unwrap_or(Path::new(""));
    let folder = partial.path.join(inside);
    fs::create_dir_all(&folder).map_err(|e| cannot_write(&folder, &e))?;
    let recipe = Recipe {
        weights,
        largest: &largest,
        alpha: options.alpha,
        texts: learnt.len(),
        fingerprint,
    };
    let bytes_after = recipe.write(&folder, step)?;

    let model = Model::open(&partial.path, &open)?;
    let after = encode(&model, &compared, "encoding in int8", cancel, step)?;
    drop(model);
    let cosines: Vec<f64> = before.iter().zip(&after).map(|(a, b)| cosine(a, b)).collect();
    partial.finish(out)?;
    Ok(QuantizedModel {
        bytes_before: weights.bytes(),
        bytes_after,
        texts: learnt.len(),
        compared: compared.len(),
        compared_are_known: known,
        cosine_mean: cosines.iter().sum::<f64>() / cosines.len().max(1) as f64,
        cosine_least: cosines.iter().copied().fold(1.0, f64::min),
    })
}

fn float_weights(source: &ModelDir) -> Result<&Weights> {
    match &source.network {
        Network::Weights { weights, .. } if weights.quantized => Err(error!(
            Unsupported,
            "{}: the weights are integers of 8 bits already; quantize those that they were made of",
            weights.folder
        )),
        Network::Weights { weights, .. } => Ok(weights),
        Network::Export(export) => Err(error!(
            Unsupported,
            "{}: an ONNX export computes in what its author chose; quantize the weights that it was \
             made of",
            export.file.display()
        )),
    }
}

fn encode(
    model: &Model,
    texts: &[&str],
    what: &str,
    cancel: &Cancel,
    step: &mut Step<'_>,
) -> Result<Vec<Vec<f32>>> {
    let max_tokens = TOKENS_MAX.min(model.info().max_tokens);
    let cancel = Some(cancel.clone());
    let options = EncodeOptions { max_tokens, cancel, ..EncodeOptions::default() };
    let mut vectors = Vec::with_capacity(texts.len());
    for chunk in texts.chunks(CHUNK) {
        step(what, vectors.len(), texts.len())?;
        let encoded = model.encode(chunk, &options)?;
        vectors.extend(encoded.dense.chunks_exact(encoded.dim).map(<[f32]>::to_vec));
    }
    step(what, texts.len(), texts.len())?;
    Ok(vectors)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}

/// The end of the name of an incomplete directory, after the name of the complete one and the id of
/// the process.
const ENDING: &str = ".partial";

/// An incomplete directory under a name that is no model's. Dropping it removes the directory
/// unless it was completed.
struct Partial {
    path: PathBuf,
    finished: bool,
    /// Locked as long as this process lives, however it ends.
    _handle: File,
}

impl Partial {
    fn begin(dir: &Path, out: &Path) -> Result<Self> {
        let (Some(name), Some(parent)) = (out.file_name(), out.parent()) else {
            return Err(error!(InvalidArgument, "{} cannot be made a directory", out.display()));
        };
        if out.symlink_metadata().is_ok() {
            return Err(error!(
                InvalidArgument,
                "{} exists; name a directory that does not, since nothing is overwritten",
                out.display()
            ));
        }
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let home = parent.canonicalize().map_err(|e| cannot_write(out, &e))?;
        if dir.canonicalize().is_ok_and(|dir| home.starts_with(dir)) {
            return Err(error!(
                InvalidArgument,
                "{} lies within {}, which is left as it is; name a directory outside",
                out.display(),
                dir.display()
            ));
        }
        let prefix = format!(".{}.", name.to_string_lossy());
        remove_dead(parent, &prefix);
        let path = parent.join(format!("{prefix}{}{ENDING}", std::process::id()));
        fs::create_dir(&path).map_err(|e| cannot_write(&path, &e))?;
        let handle = File::open(&path).map_err(|e| cannot_write(&path, &e))?;
        // A file system without locks never reports a directory as abandoned either.
        let _ = handle.try_lock();
        Ok(Self { path, finished: false, _handle: handle })
    }

    fn finish(mut self, out: &Path) -> Result<()> {
        fs::rename(&self.path, out).map_err(|e| cannot_write(out, &e))?;
        self.finished = true;
        Ok(())
    }
}

/// Removes the incomplete directories of processes that were killed: the system has released their
/// locks, and no process has their id. The id alone would not be enough, since the process may be
/// in another container.
fn remove_dead(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process =
            name.to_str().and_then(|name| name.strip_prefix(prefix)?.strip_suffix(ENDING));
        let Some(process) = process.and_then(|process| process.parse::<u32>().ok()) else {
            continue;
        };
        let is_there = process != std::process::id()
            && (!Path::new("/proc/self").exists()
                || Path::new(&format!("/proc/{process}")).exists());
        if is_there || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(handle) = File::open(entry.path()) else { continue };
        if handle.try_lock().is_ok() {
            // If that fails, the rest only takes disk space.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
