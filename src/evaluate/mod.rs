//! The quality of vectors on triplets, on graded pairs and in retrieval, by the measures of
//! sentence-transformers' evaluators.

mod correlation;
mod retrieval;
mod triplets;

pub use correlation::{Correlation, Correlations, correlation, evaluate_similarity};
pub use retrieval::{RETRIEVAL_DEPTH, Retrieval, evaluate_retrieval};
pub use triplets::{TripletAccuracy, TripletDefinition, evaluate_triplets};

use crate::Metric;

/// The metrics of [`Correlations`] and [`TripletAccuracy`], in the order of those arrays.
pub const EVALUATED_METRICS: [Metric; 4] =
    [Metric::Cosine, Metric::Dot, Metric::Euclidean, Metric::Manhattan];

#[cfg(test)]
mod tests;
