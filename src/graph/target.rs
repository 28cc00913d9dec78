//! What a graph is written for.

use crate::device::{ComputeType, Device};

/// The device and the numbers of a graph, and which of its products are this library's own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Target {
    pub device: Device,
    pub compute_type: ComputeType,
    /// Whether linear layers are this library's own operators, over weights that it packs. On the
    /// CPU only.
    pub own_products: bool,
    /// Whether the inputs of linear layers are outputs of the graph, too.
    pub observe: bool,
}
