//! The encoder over packed rows, on the CPU or with CUDA.

use std::sync::Arc;

use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session};

use super::arena::Arena;
use super::concurrent_session::ConcurrentSession;
use super::errors::{kind_of, run_error};
use super::gpu::cuda;
use super::library::environment;
use super::operators::{asking, own_domain};
use super::options::{CREATING, Observer, SessionOptions};
use super::packed_rows::{PackedInputs, PackedOutputs};
use super::packed_weights::packed_weights;
use super::pool::Pool;
use super::watchdog::Watchdog;
use crate::device::{ComputeType, Device};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{EncoderGraph, Target, bytes_per_token, encoder_graph, observed_output};
use crate::kernels::linear::{self, PackedMatrix};
use crate::model_dir::EncoderParts;
use crate::stop::StillWanted;

/// A session of the graph over packed rows.
pub(crate) struct PackedSession {
    session: ConcurrentSession,
    device: Device,
    backend: Backend,
    observer: Option<Observer>,
    observed: Vec<String>,
}

/// What a batch needs beside the session.
enum Backend {
    Cpu(Cpu),
    /// The graph has no operator of this library that could ask whether a batch is still wanted.
    Cuda(Watchdog),
}

struct Cpu {
    run_options: RunOptions,
    arena: Arena,
    bytes_per_token: usize,
    keep_memory_tokens: usize,
}

impl PackedSession {
    pub fn open(
        parts: EncoderParts<'_>,
        compute_type: ComputeType,
        options: &SessionOptions,
    ) -> Result<Self> {
        let weights = parts.weights;
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
        let EncoderGraph { bytes: graph, packed, observed } = encoder_graph(parts, target)?;
        let matrices = packed_weights(weights, &packed, compute_type, options)?;
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
        let session = builder
            .commit_from_memory(&graph)
            .and_then(ConcurrentSession::new)
            .map_err(open_error)?;
        drop(creating);
        let run_options = RunOptions::new().map_err(run_error)?;
        // A GPU that this build of ONNX Runtime has no code for fails in this run.
        session.run(&PackedInputs::shortest().values(device)?, &run_options).map_err(open_error)?;
        let backend = match device {
            Device::Cpu => Backend::Cpu(Cpu {
                run_options,
                arena: Arena::new(session.session()).map_err(run_error)?,
                bytes_per_token: bytes_per_token(parts.config, parts.multi_dim()),
                keep_memory_tokens: options.keep_memory_tokens,
            }),
            _ => Backend::Cuda(Watchdog::start(run_options)?),
        };
        Ok(Self { session, device, backend, observer: options.observer.clone(), observed })
    }

    /// See [`EncoderSession::run`](super::EncoderSession::run).
    pub fn run<T>(
        &self,
        inputs: &PackedInputs,
        still_wanted: &StillWanted,
        read: impl FnOnce(PackedOutputs<'_>) -> T,
    ) -> Result<T> {
        let values = inputs.values(self.device)?;
        // Dropped after `outputs`, whose memory the arena owns.
        let _lease;
        let outputs = match &self.backend {
            Backend::Cpu(cpu) => {
                _lease = cpu.begin(&self.session, inputs.input_ids.len());
                asking(still_wanted, || self.session.run(&values, &cpu.run_options))
            }
            Backend::Cuda(watchdog) => {
                watchdog.over(still_wanted, |options| self.session.run(&values, options))
            }
        };
        let outputs = outputs.map_err(run_error)?;
        // Without a head or an observer, its output does not exist.
        let rows = |name: &str| {
            let index = self.session.outputs().iter().position(|output| output.name() == name);
            let Some(rows) = index.and_then(|index| outputs.get(index)) else { return Ok(&[][..]) };
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

impl Cpu {
    /// Prepares the arena for a batch of `tokens` tokens.
    fn begin<'a>(&'a self, session: &'a ConcurrentSession, tokens: usize) -> ArenaLease<'a> {
        let bytes = tokens.saturating_mul(self.bytes_per_token);
        self.arena.begin(bytes, |options| free_memory(session, options));
        let keeps_memory = tokens <= self.keep_memory_tokens;
        ArenaLease { session, arena: &self.arena, keeps_memory }
    }
}

/// Frees the memory of batches, while none is under way.
fn free_memory(session: &ConcurrentSession, options: &RunOptions) {
    if let Ok(values) = PackedInputs::shortest().values(Device::Cpu) {
        // It fails, since its options terminate it.
        let _ = session.run(&values, options);
    }
}

/// The part of a batch in the arena, which lasts until its outputs are dropped.
struct ArenaLease<'a> {
    session: &'a ConcurrentSession,
    arena: &'a Arena,
    keeps_memory: bool,
}

impl Drop for ArenaLease<'_> {
    fn drop(&mut self) {
        self.arena.end(self.keeps_memory, |options| free_memory(self.session, options));
    }
}

fn configure(
    builder: SessionBuilder,
    options: &SessionOptions,
    pool: Pool,
    folder: &str,
) -> ort::Result<SessionBuilder> {
    Ok(options
        .apply(builder, pool)?
        // The graph is written with the fused operators already.
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
