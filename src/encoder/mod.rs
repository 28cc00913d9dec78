//! From the tokens of a batch to its results: a model's weights on packed rows, or an ONNX export
//! on padded ones.

mod capabilities;
mod heads;
mod modules;
mod packed;
mod padded;
mod pooling;
mod position_ids;
mod supported;

use std::sync::Arc;

pub(crate) use capabilities::{Capabilities, OutputSupport};
pub(crate) use heads::{check_weightless, sparse_bound};
pub(crate) use packed::prepare;
pub(crate) use supported::{check, compute_type};

use crate::error::Result;
use crate::model_dir::{ModelDir, Network};
use crate::runtime::SessionOptions;
use crate::schedule::BatchEncoder;

pub(crate) struct Encoder {
    pub encoder: Arc<dyn BatchEncoder>,
    pub capabilities: Capabilities,
}

impl Encoder {
    /// Opens `devices` devices, the first of which is that of the options. They must have passed
    /// [`check`]. `pad_id` is the tokenizer's padding, which an export needs if config.json has
    /// none.
    pub fn open(
        dir: &ModelDir,
        pad_id: Option<u32>,
        options: &SessionOptions,
        devices: usize,
    ) -> Result<Self> {
        match &dir.network {
            Network::Weights { config, weights } => {
                let (encoder, capabilities) = packed::open(dir, config, weights, options, devices)?;
                Ok(Self { encoder: Arc::new(encoder), capabilities })
            }
            Network::Export(export) => {
                let (encoder, capabilities) = padded::open(dir, export, pad_id, options)?;
                Ok(Self { encoder: Arc::new(encoder), capabilities })
            }
        }
    }
}
