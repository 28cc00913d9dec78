//! How sessions are opened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ort::session::builder::SessionBuilder;
use parking_lot::Mutex;

use super::pool::Pool;
use crate::device::{ComputeType, Device};
use crate::error::Result;

/// Creating sessions side by side is a known way to crash ONNX Runtime.
pub(super) static CREATING: Mutex<()> = Mutex::new(());

/// The inputs of linear layers: by the name of the weight, the largest magnitude of each column in
/// all batches so far.
pub(crate) type Observer = Arc<Mutex<BTreeMap<String, Vec<f32>>>>;

/// How to load an encoder.
#[derive(Clone)]
pub(crate) struct SessionOptions {
    /// The path of libonnxruntime, if the caller gave one.
    pub library: Option<PathBuf>,
    pub threads: usize,
    pub device: Device,
    pub compute_type: ComputeType,
    /// Batches of more tokens return their memory to the system.
    pub keep_memory_tokens: usize,
    /// Whether weights stay in their mapped file instead of being packed into memory of this
    /// process.
    pub keep_weights_mapped: bool,
    /// A folder for packed weights that processes share, or for the engines of TensorRT.
    pub cache_dir: Option<PathBuf>,
    /// The most tokens of a text, and of a batch of several.
    pub max_tokens: usize,
    pub max_batch_tokens: usize,
    /// The most bytes of a GPU that weights and batches may take. Zero: no limit.
    pub gpu_bytes_max: usize,
    /// Records the inputs of linear layers of every batch, which is slower then.
    pub observer: Option<Observer>,
}

impl SessionOptions {
    /// The threads that [`apply`](Self::apply) gives to a session.
    pub(super) fn pool(&self) -> Result<Pool> {
        Pool::start(self.threads)
    }

    /// Configures what all sessions have in common.
    pub(super) fn apply(&self, builder: SessionBuilder, pool: Pool) -> ort::Result<SessionBuilder> {
        let builder = builder
            .with_intra_threads(self.threads)?
            .with_thread_manager(pool)?
            .with_inter_threads(1)?
            // ONNX Runtime would keep a pattern for every length, and lengths differ all the time.
            .with_memory_pattern(false)?
            // Long enough for the gaps within a batch, short enough to leave an idle host alone.
            .with_config_entry("session.intra_op.spin_duration_us", "200")?;
        if self.keep_weights_mapped {
            return Ok(builder.with_config_entry("session.disable_prepacking", "1")?);
        }
        Ok(builder)
    }
}
