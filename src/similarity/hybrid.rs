//! The weighted mean of dense, sparse and multi-vector scores.

use crate::error::{Result, error};

/// The mean of those score arrays that are given, weighted: score by score, the sum of weight times
/// score through the sum of the weights. The weights are of dense, sparse and multi-vector scores,
/// finite and not negative, and one of those used is greater than zero.
pub fn similarity_hybrid(
    dense: Option<&[f32]>,
    sparse: Option<&[f32]>,
    multi: Option<&[f32]>,
    weights: [f32; 3],
    scores: &mut [f32],
) -> Result<()> {
    let given: Vec<_> = [("dense", dense), ("sparse", sparse), ("multi", multi)]
        .into_iter()
        .zip(weights)
        .filter_map(|((name, part), weight)| part.map(|part| (name, part, weight)))
        .collect();
    if given.is_empty() {
        return Err(error!(
            InvalidArgument,
            "dense, sparse and multi are all missing; at least one array of scores is needed"
        ));
    }
    for &(name, part, weight) in &given {
        if part.len() != scores.len() {
            return Err(error!(
                InvalidArgument,
                "{name} has {} scores, and {} are to be written",
                part.len(),
                scores.len()
            ));
        }
        if !weight.is_finite() || weight < 0.0 {
            return Err(error!(
                InvalidArgument,
                "the weight of {name} is {weight}; a weight is a finite number that is not \
                 negative"
            ));
        }
    }
    let total: f64 = given.iter().map(|&(.., weight)| f64::from(weight)).sum();
    if total == 0.0 {
        let names: Vec<&str> = given.iter().map(|&(name, ..)| name).collect();
        return Err(error!(
            InvalidArgument,
            "the weights of {} are all 0; one has to be greater",
            names.join(" and ")
        ));
    }
    for (index, score) in scores.iter_mut().enumerate() {
        let term =
            |&(_, part, weight): &(&str, &[f32], f32)| f64::from(weight) * f64::from(part[index]);
        *score = (given.iter().map(term).sum::<f64>() / total) as f32;
    }
    Ok(())
}
