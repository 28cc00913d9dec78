//! Builds the engines of a model: once for a GPU, which takes minutes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ort::ep::TensorRT;
use ort::session::Session;
use tempfile::TempDir;

use super::engine_dir::EngineDir;
use super::engines::{Engines, building};
use super::profile::Profile;
use crate::device::ComputeType;
use crate::error::{Error, ErrorKind, Result, error};
use crate::graph::{EncoderGraph, Target, encoder_graph, weight_bytes};
use crate::model_dir::{EncoderParts, Weights};
use crate::part;
use crate::runtime::errors::kind_of;
use crate::runtime::gpu::cuda::{index_of, with_provider};
use crate::runtime::library::environment;
use crate::runtime::options::{CREATING, SessionOptions};

/// The most bytes of weights. TensorRT gets graph and weights as one message of protobuf, which is
/// limited to 2 GiB; the difference is for the graph and the head for multi-vectors.
const WEIGHTS_MAX: u64 = (1 << 31) - (1 << 26);

/// The engines of a model that exist now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Prepared {
    /// The folder of the engines.
    pub folder: PathBuf,
    /// The number of engines.
    pub engines: usize,
    /// Whether all of them existed before.
    pub was_there: bool,
}

/// Builds the engines, unless they exist. `progress` gets the number of engines that are done, and
/// of all.
pub(crate) fn prepare(
    parts: EncoderParts<'_>,
    compute_type: ComputeType,
    options: &SessionOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Prepared> {
    let weights = parts.weights;
    let bytes = weight_bytes(weights, compute_type);
    if bytes > WEIGHTS_MAX {
        return Err(error!(
            Unsupported,
            "{}: the weights take {bytes} bytes in {}, but TensorRT is given {WEIGHTS_MAX} at most; take \
             the device cuda",
            weights.folder,
            compute_type.name()
        ));
    }
    environment(options.library.as_deref())?;
    let dir = EngineDir::new(parts, compute_type, options)?;
    let (folder, engines) = (dir.folder.clone(), dir.profiles.len());
    if dir.is_prepared() {
        return Ok(Prepared { folder, engines, was_there: true });
    }
    let target = Target { device: options.device, compute_type, ..Target::default() };
    let graph = encoder_graph(parts, target)?;
    let part = Part::begin(&dir)?;
    for (done, &profile) in dir.profiles.iter().enumerate() {
        progress(done, engines);
        build(&graph, profile, part.folder(), &dir, weights, parts.multi.is_some(), options)?;
    }
    progress(engines, engines);
    Engines::load(part.folder(), &dir.profiles, parts, options)?.try_out()?;
    part.end(&dir)?;
    Ok(Prepared { folder, engines, was_there: false })
}

/// Builds an engine for a profile, and a small graph that names it.
fn build(
    graph: &EncoderGraph,
    profile: Profile,
    folder: &Path,
    dir: &EngineDir,
    weights: &Weights,
    has_multi: bool,
    options: &SessionOptions,
) -> Result<()> {
    let device = options.device;
    let file = profile.file_in(folder);
    if let Some(own) = file.parent() {
        fs::create_dir_all(own).map_err(|e| cannot_make(own, &e))?;
    }
    let failed = |e: ort::Error| {
        let kind = kind_of(&e, ErrorKind::Inference);
        let message = format!(
            "{}: TensorRT cannot build an engine for {} texts of {} tokens on {device}: {}",
            weights.folder,
            profile.texts,
            profile.length,
            e.message().trim()
        );
        Error::new(kind, message).with_runtime_code(e.code() as i32)
    };
    let (least, most) = (profile.shapes(has_multi, true), profile.shapes(has_multi, false));
    // Without one type for all, TensorRT computes each operator in the type that the graph has.
    let provider = TensorRT::default()
        .with_device_id(index_of(device) as i32)
        .with_engine_cache(true)
        .with_dump_ep_context_model(true)
        .with_ep_context_file_path(file.display())
        .with_ep_context_embed_mode(0)
        .with_timing_cache(true)
        .with_timing_cache_path(dir.timing.display())
        .with_profile_min_shapes(least)
        .with_profile_opt_shapes(&most)
        .with_profile_max_shapes(&most)
        .build();
    let pool = options.pool()?;
    let creating = CREATING.lock();
    let builder = Session::builder(environment(options.library.as_deref())?)
        .and_then(|builder| building(options.apply(builder, pool)?, &weights.folder))
        .map_err(failed)?;
    let mut builder = with_provider(builder, device, provider)?;
    builder.commit_from_memory(&graph.bytes).map_err(failed)?;
    drop(creating);
    if file.is_file() {
        return Ok(());
    }
    Err(error!(
        Internal,
        "{}: ONNX Runtime has built an engine, but not written {}",
        weights.folder,
        file.display()
    ))
}

/// A folder that engines are written to, under a temporary name until all of them exist.
struct Part {
    folder: TempDir,
    /// The lock that marks the folder as still being written to.
    _lock: File,
}

impl Part {
    fn begin(dir: &EngineDir) -> Result<Self> {
        fs::create_dir_all(&dir.timing).map_err(|e| cannot_make(&dir.timing, &e))?;
        part::remove_dead(&dir.parent);
        let (folder, lock) =
            part::folder(&dir.parent, &dir.key).map_err(|e| cannot_make(&dir.folder, &e))?;
        Ok(Self { folder, _lock: lock })
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Renames the folder to its final name. If another process was faster, it has built the same
    /// engines.
    fn end(self, dir: &EngineDir) -> Result<()> {
        let done =
            dir.stamp(self.folder()).and_then(|()| match fs::rename(self.folder(), &dir.folder) {
                Err(_) if dir.is_prepared() => Ok(()),
                renamed => renamed,
            });
        done.map_err(|e| cannot_make(&dir.folder, &e))
    }
}

fn cannot_make(what: &Path, e: &std::io::Error) -> Error {
    error!(InvalidArgument, "cache_dir: {} cannot be made: {e}", what.display())
}
