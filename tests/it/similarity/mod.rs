//! Scores and codes of vectors.

pub mod compute_score;
pub mod quantize_embeddings;
