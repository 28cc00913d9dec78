//! Similarity of vectors and of texts. A greater score always means more alike.
//!
//! ```text
//! metric        cosine, dot product, Euclidean and Manhattan distance
//! dense         each row of a matrix with each row of another, or row by row
//! top_k         the most similar rows of a corpus, without a matrix of all scores
//! sparse        texts by their sparse weights
//! multi_vector  texts by their multi-vectors
//! hybrid        the weighted mean of dense, sparse and multi-vector scores
//! ```

mod dense;
mod hybrid;
mod metric;
mod multi_vector;
mod shape;
mod sparse;
mod top_k;

#[cfg(test)]
mod tests;

pub use dense::{similarity, similarity_pairwise};
pub use hybrid::similarity_hybrid;
pub use metric::Metric;
pub use multi_vector::similarity_multi;
pub use sparse::{SparseText, similarity_sparse};
pub use top_k::{Hit, similarity_top_k};
