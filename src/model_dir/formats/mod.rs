//! The file formats of weights and exports, of which only headers are read.

pub(super) mod onnx_external_data;
pub(super) mod onnx_operators;
pub(super) mod safetensors;
pub(super) mod small_tensors;
mod tensor;
mod torch_pickle;
pub(super) mod torch_zip;

pub(crate) use tensor::NumberType;
pub(super) use tensor::{
    ReadHeader, Stored, TensorLocation, Tensors, open_at, read_bytes, read_numbers,
};
