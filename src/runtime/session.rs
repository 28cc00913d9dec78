//! The encoder loaded into ONNX Runtime, run on packed rows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{Tensor, TensorRef};
use parking_lot::Mutex;

use super::arena::Arena;
use super::cuda;
use super::library::environment;
use super::matrices::matrices;
use super::operators::{asking, own_domain};
use super::pool::Pool;
use super::shared::SharedSession;
use super::shortage;
use super::tensorrt::Engines;
use super::watch::Watch;
use crate::device::{ComputeType, Device};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{EncoderGraph, Target, bytes_per_token, encoder_graph, observed_output};
use crate::kernels::linear::{self, PackedMatrix};
use crate::model_dir::{EncoderConfig, Linear, Weights};
use crate::stop::StillWanted;

/// What went into linear layers: by the name of the weight, the largest magnitude of each column
/// in all runs so far.
pub(crate) type Observer = Arc<Mutex<BTreeMap<String, Vec<f32>>>>;

/// How to load the encoder.
#[derive(Clone)]
pub(crate) struct SessionOptions {
    /// Where libonnxruntime lies, if the caller said so.
    pub library: Option<PathBuf>,
    pub threads: usize,
    pub device: Device,
    pub compute_type: ComputeType,
    /// Runs of more tokens give their memory back to the system.
    pub keep_memory_tokens: usize,
    /// Do not pack the weights into memory of this process.
    pub keep_weights_mapped: bool,
    /// A folder for packed weights that processes share, or for the engines of TensorRT.
    pub cache_dir: Option<PathBuf>,
    /// The tokens of the longest text, and of a run of several.
    pub max_tokens: usize,
    pub max_batch_tokens: usize,
    /// Bytes of a GPU that weights and runs may take; zero: all that there are.
    pub gpu_bytes_max: usize,
    /// Learns from every run, which is slower then.
    pub observer: Option<Observer>,
}

impl SessionOptions {
    /// The threads that [`apply`](Self::apply) gives to a session.
    pub(super) fn pool(&self) -> Result<Pool> {
        Pool::start(self.threads)
    }

    /// What every session has in common.
    pub(super) fn apply(&self, builder: SessionBuilder, pool: Pool) -> ort::Result<SessionBuilder> {
        let builder = builder
            .with_intra_threads(self.threads)?
            .with_thread_manager(pool)?
            .with_inter_threads(1)?
            // A pattern is kept for every length ever seen, and lengths differ all the time.
            .with_memory_pattern(false)?
            // Long enough for the gaps within a run, short enough to leave an idle host alone.
            .with_config_entry("session.intra_op.spin_duration_us", "200")?;
        if self.keep_weights_mapped {
            return Ok(builder.with_config_entry("session.disable_prepacking", "1")?);
        }
        Ok(builder)
    }
}

/// The sequences of a batch, end to end. See [`encoder_graph`] for what each input means.
#[derive(Default)]
pub(crate) struct PackedInputs {
    pub input_ids: Vec<i32>,
    pub position_ids: Vec<i32>,
    pub offsets: Vec<i32>,
    pub rows: Vec<i32>,
    pub row_offsets: Vec<i32>,
    pub multi_rows: Vec<i32>,
}

impl PackedInputs {
    /// The shortest text there is.
    pub(super) fn shortest() -> Self {
        Self {
            input_ids: vec![0, 0],
            position_ids: vec![0, 0],
            offsets: vec![0, 2],
            rows: vec![0, 1],
            row_offsets: vec![0, 2],
            multi_rows: vec![1],
        }
    }

    /// In the order of the graph for that device.
    pub(super) fn values(&self, device: Device) -> Result<[SessionInputValue<'_>; 6]> {
        let fourth = match device {
            Device::Cpu => tensor(&self.row_offsets)?.into(),
            Device::Cuda(_) | Device::TensorRt(_) => {
                let (longest, places) = cuda::token_offset(&self.offsets);
                let shape = [self.offsets.len() - 1, longest];
                Tensor::from_array((shape, places)).map_err(run_error)?.into()
            }
        };
        Ok([
            tensor(&self.input_ids)?.into(),
            tensor(&self.position_ids)?.into(),
            tensor(&self.offsets)?.into(),
            tensor(&self.rows)?.into(),
            fourth,
            tensor(&self.multi_rows)?.into(),
        ])
    }
}

/// What a run gives.
pub(crate) struct PackedOutputs<'a> {
    /// The final states of the wanted rows, row after row.
    pub hidden: &'a [f32],
    /// What the head for multi-vectors makes of some of them.
    pub multi: &'a [f32],
}

/// Creating sessions side by side is a known way to crash ONNX Runtime.
pub(super) static CREATING: Mutex<()> = Mutex::new(());

/// The encoder in memory, ready to run.
pub(crate) enum EncoderSession {
    Packed(PackedSession),
    /// Packed rows are padded for it, and what it gives is packed again.
    TensorRt(Engines),
}

impl EncoderSession {
    /// Loads the encoder.
    pub fn open(
        config: &EncoderConfig,
        weights: &Weights,
        multi: Option<&Linear>,
        compute_type: ComputeType,
        options: &SessionOptions,
    ) -> Result<Self> {
        match options.device {
            Device::Cpu | Device::Cuda(_) => {
                PackedSession::open(config, weights, multi, compute_type, options).map(Self::Packed)
            }
            Device::TensorRt(_) => {
                Engines::open(config, weights, multi, compute_type, options).map(Self::TensorRt)
            }
        }
    }

    /// Runs the encoder, and hands its outputs to `read`. Meanwhile `still_wanted` is asked from time
    /// to time; once it answers no, the run ends early with an error.
    pub fn run<T>(
        &self,
        inputs: &PackedInputs,
        still_wanted: &StillWanted,
        read: impl FnOnce(PackedOutputs<'_>) -> T,
    ) -> Result<T> {
        match self {
            Self::Packed(session) => session.run(inputs, still_wanted, read),
            Self::TensorRt(engines) => engines.run(inputs, still_wanted, read),
        }
    }
}

/// The graph over packed rows.
pub(crate) struct PackedSession {
    session: SharedSession,
    device: Device,
    place: Place,
    observer: Option<Observer>,
    observed: Vec<String>,
}

/// What runs have beside the session.
enum Place {
    Cpu(OnCpu),
    /// There is no operator of this library in the graph that could ask whether a run is wanted.
    Cuda(Watch),
}

struct OnCpu {
    keep: RunOptions,
    arena: Arena,
    bytes_per_token: usize,
    keep_memory_tokens: usize,
}

impl PackedSession {
    fn open(
        config: &EncoderConfig,
        weights: &Weights,
        multi: Option<&Linear>,
        compute_type: ComputeType,
        options: &SessionOptions,
    ) -> Result<Self> {
        let environment = environment(options.library.as_deref())?;
        let device = options.device;
        let own_products = match compute_type {
            ComputeType::Int8 => true,
            ComputeType::Fp32 => {
                let is_cpu = device == Device::Cpu;
                is_cpu && linear::fp32_is_worth_it() && !options.keep_weights_mapped
            }
            ComputeType::Fp16 | ComputeType::Bf16 | ComputeType::Tf32 => false,
        };
        let target =
            Target { device, compute_type, own_products, observe: options.observer.is_some() };
        let EncoderGraph { bytes: graph, packed, observed } =
            encoder_graph(config, weights, multi, target)?;
        let matrices = matrices(weights, &packed, compute_type, options)?;
        let open_error = |e| match device {
            Device::Cpu => open_error(e, &weights.folder),
            device => cuda::open_error(device, &weights.folder, &e),
        };
        let pool = options.pool()?;
        let creating = CREATING.lock();
        let mut builder = Session::builder(environment)
            .and_then(|builder| configure(builder, options, pool, &weights.folder))
            .map_err(open_error)?;
        builder = match device {
            Device::Cpu => with_own_operators(builder, matrices).map_err(open_error)?,
            _ => cuda::on_gpu(builder, compute_type, options)?,
        };
        let session =
            builder.commit_from_memory(&graph).and_then(SharedSession::new).map_err(open_error)?;
        drop(creating);
        let keep = RunOptions::new().map_err(run_error)?;
        // A GPU that this build has no code for is noticed here.
        session.run(&PackedInputs::shortest().values(device)?, &keep).map_err(open_error)?;
        let place = match device {
            Device::Cpu => Place::Cpu(OnCpu {
                keep,
                arena: Arena::new(session.session()).map_err(run_error)?,
                bytes_per_token: bytes_per_token(config, multi.map_or(0, |head| head.rows)),
                keep_memory_tokens: options.keep_memory_tokens,
            }),
            _ => Place::Cuda(Watch::start(keep)?),
        };
        Ok(Self { session, device, place, observer: options.observer.clone(), observed })
    }

    fn run<T>(
        &self,
        inputs: &PackedInputs,
        still_wanted: &StillWanted,
        read: impl FnOnce(PackedOutputs<'_>) -> T,
    ) -> Result<T> {
        let values = inputs.values(self.device)?;
        // Dropped after what the run gave.
        let _turn;
        let outputs = match &self.place {
            Place::Cpu(place) => {
                _turn = place.begin(&self.session, inputs.input_ids.len());
                asking(still_wanted, || self.session.run(&values, &place.keep))
            }
            Place::Cuda(watch) => {
                watch.over(still_wanted, |options| self.session.run(&values, options))
            }
        };
        let outputs = outputs.map_err(run_error)?;
        // A head or an observer may not be there, and neither is its output.
        let rows = |name: &str| {
            let place = self.session.outputs().iter().position(|output| output.name() == name);
            let Some(rows) = place.and_then(|place| outputs.get(place)) else { return Ok(&[][..]) };
            rows.try_extract_tensor::<f32>().map(|(_, rows)| rows).map_err(run_error)
        };
        if let Some(observer) = &self.observer {
            let mut largest = observer.lock();
            for weight in &self.observed {
                let seen = rows(&observed_output(weight))?;
                let largest =
                    largest.entry(weight.clone()).or_insert_with(|| vec![0.0; seen.len()]);
                largest.iter_mut().zip(seen).for_each(|(largest, &x)| *largest = largest.max(x));
            }
        }
        Ok(read(PackedOutputs { hidden: rows("hidden")?, multi: rows("multi")? }))
    }
}

impl OnCpu {
    /// Before a run of so many tokens.
    fn begin<'a>(&'a self, session: &'a SharedSession, tokens: usize) -> Turn<'a> {
        let bytes = tokens.saturating_mul(self.bytes_per_token);
        self.arena.begin(bytes, |options| give_back(session, options));
        let keeps_memory = tokens <= self.keep_memory_tokens;
        Turn { session, arena: &self.arena, keeps_memory }
    }
}

/// Gives the memory of runs back, when none is under way.
fn give_back(session: &SharedSession, options: &RunOptions) {
    if let Ok(values) = PackedInputs::shortest().values(Device::Cpu) {
        // The error is that it was ended.
        let _ = session.run(&values, options);
    }
}

/// A run that is under way, from when the arena was told until its outputs are dropped.
struct Turn<'a> {
    session: &'a SharedSession,
    arena: &'a Arena,
    keeps_memory: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.arena.end(self.keeps_memory, |options| give_back(self.session, options));
    }
}

fn tensor(data: &[i32]) -> Result<TensorRef<'_, i32>> {
    TensorRef::from_array_view(([data.len()], data)).map_err(run_error)
}

fn configure(
    builder: SessionBuilder,
    options: &SessionOptions,
    pool: Pool,
    folder: &str,
) -> ort::Result<SessionBuilder> {
    Ok(options
        .apply(builder, pool)?
        // The graph is written with the fused operators; there is nothing more to find in it.
        .with_optimization_level(GraphOptimizationLevel::Level1)?
        .with_config_entry("session.model_external_initializers_file_folder_path", folder)?)
}

fn with_own_operators(
    builder: SessionBuilder,
    matrices: Vec<PackedMatrix>,
) -> ort::Result<SessionBuilder> {
    #[expect(clippy::arc_with_non_send_sync, reason = "`with_operators` takes an Arc")]
    let domain = Arc::new(own_domain(matrices)?);
    Ok(builder.with_operators(domain)?)
}

fn open_error(e: ort::Error, folder: &str) -> Error {
    let kind = kind_of(&e, ErrorKind::ModelInvalid);
    let message = format!("{folder}: ONNX Runtime cannot load the weights: {e}");
    Error::new(kind, message).with_runtime_code(e.code() as i32)
}

pub(super) fn run_error(e: ort::Error) -> Error {
    let message = format!("ONNX Runtime failed to run the model: {e}");
    Error::new(kind_of(&e, ErrorKind::Inference), message).with_runtime_code(e.code() as i32)
}

pub(super) fn kind_of(e: &ort::Error, otherwise: ErrorKind) -> ErrorKind {
    if shortage::is_named_by(e.message()) { ErrorKind::OutOfMemory } else { otherwise }
}
