//! Engines that TensorRT builds beforehand, one for each shape of batch, and loads when a model
//! opens.

mod build;
mod engine_dir;
mod engines;
#[cfg(test)]
mod on_cpu_tests;
mod padding;
mod profile;

pub use build::Prepared;
pub(crate) use build::prepare;
pub(in crate::runtime) use engines::Engines;
