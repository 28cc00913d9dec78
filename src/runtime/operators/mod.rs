//! The operators of the graph that are this library's own, run on ONNX Runtime's threads.

mod attention;
mod gelu;
mod kernel;
mod layer_norm;
mod linear;

use ort::operator::OperatorDomain;

use crate::graph::OWN_DOMAIN;
use crate::kernels::linear::PackedMatrix;

pub(super) use attention::STOPPED;
pub(super) use kernel::asking;
#[cfg(test)]
pub(super) use kernel::{Shared, SharedKernel, input, output, parallel_for};

/// The operators, over the matrices that the graph names by their index.
pub(super) fn own_domain(matrices: Vec<PackedMatrix>) -> ort::Result<OperatorDomain> {
    OperatorDomain::new(OWN_DOMAIN)?
        .add(attention::PackedAttention)?
        .add(layer_norm::SkipLayerNorm)?
        .add(gelu::BiasGelu)?
        .add(linear::Linear { matrices: matrices.into() })
}
