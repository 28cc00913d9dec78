//! The encoder as an ONNX graph in memory, its weights left where the author's file has them.

mod encoder;
mod onnx;
#[cfg(test)]
mod onnx_checker;
mod padded;
mod run_memory;
mod target;
mod writer;

pub(crate) use encoder::{
    ATTENTION_OPERATOR, EncoderGraph, GELU_OPERATOR, LINEAR_OPERATOR, NORM_OPERATOR, OWN_DOMAIN,
    encoder_graph, observed_output,
};
#[cfg(test)]
pub(crate) use encoder::{CUDA_ATTENTION_OPERATOR, MICROSOFT_DOMAIN};
pub(crate) use run_memory::{bytes_per_token, run_memory, weight_bytes};
pub(crate) use target::Target;
