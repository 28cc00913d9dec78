//! ONNX Runtime's execution provider for TensorRT, with engines that were built beforehand: one for
//! each range of lengths, because this provider runs the first profile of an engine alone.

use std::path::Path;

use ort::ep::TensorRT;
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session};
use ort::value::Outlet;

use super::engine_dir::EngineDir;
use super::padding::Filled;
use super::profile::{Profile, groups};
use crate::device::{ComputeType, Device};
use crate::error::{Error, ErrorKind, Result, error};
use crate::log::{self, LogLevel};
use crate::model_dir::EncoderParts;
use crate::runtime::concurrent_session::ConcurrentSession;
use crate::runtime::errors::{kind_of, run_error};
use crate::runtime::gpu::cuda::{index_of, unavailable, with_provider};
use crate::runtime::library::environment;
use crate::runtime::options::{CREATING, SessionOptions};
use crate::runtime::packed_rows::{PackedInputs, PackedOutputs};
use crate::runtime::watchdog::Watchdog;
use crate::stop::StillWanted;

/// The engines of a model, the shortest first.
pub(crate) struct Engines {
    pub(super) engines: Vec<Engine>,
    pub(super) hidden: usize,
    /// The length of a row of a multi-vector. Zero: there is no head for multi-vectors.
    pub(super) multi_dim: usize,
    pub(super) watchdog: Watchdog,
}

pub(super) struct Engine {
    pub profile: Profile,
    pub session: ConcurrentSession,
}

impl Engines {
    /// Loads the engines that [`prepare`](super::prepare) has built. It never builds any.
    pub fn open(
        parts: EncoderParts<'_>,
        compute_type: ComputeType,
        options: &SessionOptions,
    ) -> Result<Self> {
        environment(options.library.as_deref())?;
        let dir = EngineDir::new(parts, compute_type, options)?;
        dir.check_prepared()?;
        let engines = Self::load(&dir.folder, &dir.profiles, parts, options)?;
        log::line(LogLevel::Info, || format!("took {}", dir.folder.display()));
        Ok(engines)
    }

    pub(super) fn load(
        folder: &Path,
        profiles: &[Profile],
        parts: EncoderParts<'_>,
        options: &SessionOptions,
    ) -> Result<Self> {
        let engines = profiles.iter().map(|&profile| {
            let session = session_of(&profile.file_in(folder), options)?;
            Ok(Engine { profile, session })
        });
        Self::new(engines.collect::<Result<_>>()?, parts)
    }

    pub(super) fn new(engines: Vec<Engine>, parts: EncoderParts<'_>) -> Result<Self> {
        let watchdog = Watchdog::start(RunOptions::new().map_err(run_error)?)?;
        let (hidden, multi_dim) = (parts.config.hidden, parts.multi_dim());
        Ok(Self { engines, hidden, multi_dim, watchdog })
    }

    /// Runs texts of similar lengths together, and puts the outputs into the order of the packed
    /// rows. A batch cannot be stopped within an engine, but the next engine is not started for a
    /// batch that is not wanted any more.
    pub fn run<T>(
        &self,
        inputs: &PackedInputs,
        still_wanted: &StillWanted,
        read: impl FnOnce(PackedOutputs<'_>) -> T,
    ) -> Result<T> {
        let mut hidden = vec![0.0; inputs.rows.len() * self.hidden];
        let mut multi = vec![0.0; inputs.multi_rows.len() * self.multi_dim];
        let lengths: Vec<usize> =
            inputs.offsets.windows(2).map(|ends| (ends[1] - ends[0]) as usize).collect();
        let profiles = self.engines.iter().map(|engine| engine.profile);
        for group in groups(&lengths, profiles)? {
            if !still_wanted() {
                return Err(error!(Inference, "nobody waits for this run any more"));
            }
            let session = &self.engines[group.engine].session;
            let filled = Filled::of(inputs, &group);
            // The inputs of an engine need not have the order of the graph's.
            let values = filled.values(session.inputs().iter().map(Outlet::name))?;
            let outputs = self
                .watchdog
                .over(still_wanted, |options| session.run(&values, options))
                .map_err(run_error)?;
            for (outlet, rows) in session.outputs().iter().zip(&outputs) {
                let (_, rows) = rows.try_extract_tensor::<f32>().map_err(run_error)?;
                match outlet.name() {
                    "multi" => filled.take_multi(rows, self.multi_dim, &mut multi),
                    _ => filled.take_hidden(rows, self.hidden, &mut hidden),
                }
            }
        }
        Ok(read(PackedOutputs { hidden: &hidden, multi: &multi }))
    }

    /// Runs every engine once on texts of its greatest length, so that one that does not fit into
    /// the memory of the GPU fails now.
    pub(super) fn try_out(&self) -> Result<()> {
        let always: StillWanted = std::sync::Arc::new(|| true);
        for Engine { profile, .. } in &self.engines {
            self.run(&PackedInputs::of_equal_texts(*profile), &always, |_| ())?;
        }
        Ok(())
    }
}

/// Loads an engine, by the small graph that names it.
fn session_of(file: &Path, options: &SessionOptions) -> Result<ConcurrentSession> {
    let device = options.device;
    let failed = |e: ort::Error| load_error(device, file, &e);
    let pool = options.pool()?;
    let creating = CREATING.lock();
    let builder = Session::builder(environment(options.library.as_deref())?)
        .and_then(|builder| options.apply(builder, pool))
        .map_err(failed)?;
    let provider = TensorRT::default().with_device_id(index_of(device) as i32).build();
    let mut builder = with_provider(builder, device, provider)?;
    let session =
        builder.commit_from_file(file).and_then(ConcurrentSession::new).map_err(failed)?;
    drop(creating);
    Ok(session)
}

fn load_error(device: Device, file: &Path, e: &ort::Error) -> Error {
    match kind_of(e, ErrorKind::ModelInvalid) {
        ErrorKind::ModelInvalid if e.message().contains("CUDA failure") => unavailable(device, e),
        kind => {
            let message = format!(
                "{}: TensorRT cannot load the engine on {device}: {}; remove its folder and run \
                 `bge prepare` again",
                file.display(),
                e.message().trim()
            );
            Error::new(kind, message).with_runtime_code(e.code() as i32)
        }
    }
}

/// The options of a session that builds an engine. Sessions that load one use them, too.
pub(super) fn building(builder: SessionBuilder, folder: &str) -> ort::Result<SessionBuilder> {
    // ONNX Runtime folds constants, so that weights arrive in the type that they are computed in;
    // TensorRT does all other optimizations.
    Ok(builder
        .with_optimization_level(ort::session::builder::GraphOptimizationLevel::Level1)?
        .with_config_entry("session.model_external_initializers_file_folder_path", folder)?)
}
