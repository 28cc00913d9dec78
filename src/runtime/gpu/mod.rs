//! NVIDIA GPUs: CUDA, and TensorRT over it.

pub(super) mod cuda;
mod nvidia;
#[cfg(test)]
mod on_cpu_tests;
pub(super) mod tensorrt;
