//! Retrieval: the ranks of relevant passages among those found for a query.

use std::collections::HashSet;

use crate::error::{Result, error};

/// The most passages that are ranked for a query.
pub const RETRIEVAL_DEPTH: usize = 100;

/// Means over queries. Each measure has the depths that it is taken at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retrieval {
    /// The fraction of queries with a relevant passage.
    pub accuracy: [(usize, f64); 4],
    /// The fraction of found passages that are relevant.
    pub precision: [(usize, f64); 4],
    /// The fraction of relevant passages that were found.
    pub recall: [(usize, f64); 4],
    /// One divided by the rank of the first relevant passage.
    pub mrr: [(usize, f64); 1],
    /// The discounted cumulative gain, divided by the greatest possible one.
    pub ndcg: [(usize, f64); 1],
    /// The mean of the precisions at each relevant passage.
    pub map: [(usize, f64); 1],
}

/// Measures rankings at the depths of sentence-transformers' `InformationRetrievalEvaluator`.
///
/// `rankings[i]` has the passages found for query i, best first; the first [`RETRIEVAL_DEPTH`]
/// count. `relevant[i]` has the passages that answer it, at least one. A passage can be any number.
pub fn evaluate_retrieval(rankings: &[Vec<usize>], relevant: &[Vec<usize>]) -> Result<Retrieval> {
    if rankings.len() != relevant.len() || rankings.is_empty() {
        return Err(error!(
            InvalidArgument,
            "{} rankings and relevant passages of {} queries: expected as many, and 1 at least",
            rankings.len(),
            relevant.len()
        ));
    }
    let at = |depths: [usize; 4]| depths.map(|depth| (depth, 0.0));
    let mut sums = Retrieval {
        accuracy: at([1, 3, 5, 10]),
        precision: at([1, 3, 5, 10]),
        recall: at([1, 3, 5, 10]),
        mrr: [(10, 0.0)],
        ndcg: [(10, 0.0)],
        map: [(RETRIEVAL_DEPTH, 0.0)],
    };
    for (query, (ranking, relevant)) in rankings.iter().zip(relevant).enumerate() {
        let relevant: HashSet<usize> = relevant.iter().copied().collect();
        if relevant.is_empty() {
            return Err(error!(InvalidArgument, "query {query} has no relevant passage"));
        }
        add(&mut sums, ranking, &relevant);
    }
    let count = rankings.len() as f64;
    let means = |sums: &mut [(usize, f64)]| sums.iter_mut().for_each(|(_, sum)| *sum /= count);
    let Retrieval { accuracy, precision, recall, mrr, ndcg, map } = &mut sums;
    [&mut accuracy[..], precision, recall, mrr, ndcg, map].into_iter().for_each(means);
    Ok(sums)
}

fn add(sums: &mut Retrieval, ranking: &[usize], relevant: &HashSet<usize>) {
    // The ranks of relevant passages, from 0.
    let ranks: Vec<usize> =
        (0..ranking.len()).filter(|&rank| relevant.contains(&ranking[rank])).collect();
    let until = |depth: usize| ranks.iter().copied().take_while(move |&rank| rank < depth);
    let hits = |depth: usize| until(depth).count() as f64;
    let gain = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
    for (depth, sum) in &mut sums.accuracy {
        *sum += f64::from(until(*depth).next().is_some());
    }
    for (depth, sum) in &mut sums.precision {
        *sum += hits(*depth) / *depth as f64;
    }
    for (depth, sum) in &mut sums.recall {
        *sum += hits(*depth) / relevant.len() as f64;
    }
    for (depth, sum) in &mut sums.mrr {
        *sum += until(*depth).next().map_or(0.0, |rank| 1.0 / (rank + 1) as f64);
    }
    for (depth, sum) in &mut sums.ndcg {
        let best: f64 = (0..relevant.len().min(*depth)).map(gain).sum();
        *sum += until(*depth).map(gain).sum::<f64>() / best;
    }
    for (depth, sum) in &mut sums.map {
        let precisions =
            until(*depth).enumerate().map(|(before, rank)| (before + 1) as f64 / (rank + 1) as f64);
        *sum += precisions.sum::<f64>() / relevant.len().min(*depth) as f64;
    }
}
