//! Helpers of the tests of linear layers.

use super::packed_memory::{Panels, Region};
use super::product::{Activation, Product};
use crate::error::Result;

/// The matrix that `pack` returns, and the panels that it wrote.
pub fn packed<T>(length: usize, pack: impl FnOnce(&mut [u8]) -> Result<T>) -> Result<(T, Panels)> {
    let mut region = Region::of([length])?;
    let matrix = pack(region.pieces().remove(0))?;
    Ok((matrix, region.panels()?.next().unwrap()))
}

/// One product alone.
pub fn one<'a, Matrix>(
    matrix: &'a Matrix,
    bias: &'a [f32],
    activation: Activation,
    y: &'a mut [f32],
) -> Vec<Product<'a, Matrix>> {
    vec![Product { matrix, bias, activation, y }]
}
