//! The encoder as an ONNX graph in memory, which refers to the weights in the author's files.

mod encoder;
mod inputs;
mod names;
mod onnx;
#[cfg(test)]
mod onnx_checker;
mod run_memory;
mod target;
mod tensorrt;
mod writer;

pub(crate) use encoder::encoder_graph;
pub(crate) use names::{
    ATTENTION_OPERATOR, GELU_OPERATOR, LINEAR_OPERATOR, NORM_OPERATOR, OWN_DOMAIN, observed_output,
};
#[cfg(test)]
pub(crate) use names::{CUDA_ATTENTION_OPERATOR, MICROSOFT_DOMAIN};
pub(crate) use run_memory::{bytes_per_token, run_memory, weight_bytes};
pub(crate) use target::Target;
pub(crate) use writer::EncoderGraph;
