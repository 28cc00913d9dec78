//! How many bytes a run of the graph holds at a time.

use crate::model_dir::EncoderConfig;

/// What a run of the graph holds at most, for each of its tokens.
///
/// In a layer that is either the states, their queries, keys and values, and what attention makes
/// of these; or the states that the wide half of the layer begins with, its activations, and what
/// they are narrowed to. With multi-vectors, the rows that they are made of are there twice.
pub(crate) fn bytes_per_token(config: &EncoderConfig, multi_dim: usize) -> usize {
    let EncoderConfig { hidden, intermediate, .. } = *config;
    let numbers = (5 * hidden).max(2 * hidden + intermediate).max(2 * hidden + multi_dim);
    numbers * size_of::<f32>()
}
