//! Triplets: how often an anchor is more similar to its positive than to its negative.

use ndarray::ArrayView2;

use super::EVALUATED_METRICS;
use crate::error::{Result, error};
use crate::{Metric, similarity_pairwise};

/// The definition of a correct triplet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TripletDefinition {
    /// Of sentence-transformers 3.4 and later: the positive scores more than the negative.
    #[default]
    Current,
    /// Of its versions 3.0 to 3.2: by the dot product, the positive has to score less, and that
    /// accuracy is left out of the greatest one.
    V3_0,
}

/// The fractions of triplets that are correct. A triplet with equal scores is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TripletAccuracy {
    /// By metric, in the order of [`EVALUATED_METRICS`].
    pub accuracy: [f64; 4],
    /// The greatest of them.
    pub max: f64,
}

/// Compares row i of `anchors` with row i of `positives` and with row i of `negatives`.
pub fn evaluate_triplets(
    anchors: ArrayView2<'_, f32>,
    positives: ArrayView2<'_, f32>,
    negatives: ArrayView2<'_, f32>,
    definition: TripletDefinition,
) -> Result<TripletAccuracy> {
    let count = anchors.nrows();
    if count == 0 {
        return Err(error!(
            InvalidArgument,
            "there are 0 triplets; an accuracy is that of 1 or more"
        ));
    }
    let (mut to_positive, mut to_negative) = (vec![0.0; count], vec![0.0; count]);
    let (mut accuracy, mut max) = ([0.0; 4], 0.0f64);
    for (accuracy, metric) in accuracy.iter_mut().zip(EVALUATED_METRICS) {
        similarity_pairwise(metric, anchors, positives, &mut to_positive)?;
        similarity_pairwise(metric, anchors, negatives, &mut to_negative)?;
        let inverted = definition == TripletDefinition::V3_0 && metric == Metric::Dot;
        let right = to_positive
            .iter()
            .zip(&to_negative)
            .filter(|(positive, negative)| match inverted {
                true => positive < negative,
                false => positive > negative,
            })
            .count();
        *accuracy = right as f64 / count as f64;
        if !inverted {
            max = max.max(*accuracy);
        }
    }
    Ok(TripletAccuracy { accuracy, max })
}
