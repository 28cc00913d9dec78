//! The results of a model beside the published ones.

use std::collections::{BTreeMap, HashMap};

use bge::{Embeddings, Model, SparseText};
use ndarray::{Array2, ArrayView2};

use super::reference::Check;
use crate::failure::Failure;

/// The results of the model for each text, encoded alone.
pub(super) type Results<'a> = HashMap<&'a str, Embeddings>;

/// The two numbers of a check that differ most.
pub(super) struct Compared {
    pub ours: f64,
    pub theirs: f64,
}

impl Compared {
    pub fn difference(&self) -> f64 {
        (self.ours - self.theirs).abs()
    }
}

/// Runs one check. The results have its texts and the output that it needs.
pub(super) fn compare(
    check: &Check,
    results: &Results<'_>,
    model: &Model,
) -> Result<Compared, Failure> {
    let pairs: Vec<(f64, f64)> = match check {
        Check::Dense { text, first, last } => {
            let ours = numbers(&results[text.as_str()].dense);
            let end = ours.len().saturating_sub(last.len());
            beside(&ours, first).chain(beside(&ours[end..], last)).collect()
        }
        Check::DenseDot { a, b, value } => {
            let (a, b) = (&results[a.as_str()].dense, &results[b.as_str()].dense);
            vec![(numbers(a).iter().zip(numbers(b)).map(|(a, b)| a * b).sum(), *value)]
        }
        Check::DenseSum { text, value } => {
            vec![(numbers(&results[text.as_str()].dense).iter().sum(), *value)]
        }
        Check::Sparse { text, weights, complete } => {
            by_key(&sparse(&results[text.as_str()]).collect(), weights, *complete)
        }
        Check::SparseTokens { text, weights, complete } => {
            let mut ours = BTreeMap::new();
            for (id, weight) in sparse(&results[text.as_str()]) {
                let token = model.token_text(id).unwrap_or_default().to_string_lossy();
                let token = token.strip_prefix('\u{2581}').unwrap_or(&token).to_string();
                // Of two tokens that differ only in the mark, the greater weight.
                let greatest = ours.entry(token).or_insert(weight);
                *greatest = weight.max(*greatest);
            }
            by_key(&ours, weights, *complete)
        }
        Check::SparseDot { a, b, value } => {
            let mut score = Array2::zeros((1, 1));
            let (a, b) = (sparse_text(&results[a.as_str()]), sparse_text(&results[b.as_str()]));
            bge::similarity_sparse(&[a], &[b], 1, score.view_mut())?;
            vec![(f64::from(score[[0, 0]]), *value)]
        }
        Check::SparseCount { texts, value } => {
            let count = |text: &String| sparse(&results[text.as_str()]).count();
            vec![(texts.iter().map(count).sum::<usize>() as f64, *value)]
        }
        Check::Multi { text, rows } => {
            let ours = rows_of(&results[text.as_str()])?;
            let rows = rows.iter().enumerate().flat_map(|(index, theirs)| {
                let ours = ours.rows().into_iter().nth(index).map(|row| row.to_vec());
                beside(&numbers(&ours.unwrap_or_default()), theirs).collect::<Vec<_>>()
            });
            rows.collect()
        }
        Check::MultiDot { a, b, value } => {
            let mut score = Array2::zeros((1, 1));
            let (a, b) = (rows_of(&results[a.as_str()])?, rows_of(&results[b.as_str()])?);
            bge::similarity_multi(&[a], &[b], 1, score.view_mut())?;
            vec![(f64::from(score[[0, 0]]), *value)]
        }
        Check::MultiCount { text, value } => {
            vec![(rows_of(&results[text.as_str()])?.nrows() as f64, *value)]
        }
    };
    let compared = pairs.into_iter().map(|(ours, theirs)| Compared { ours, theirs });
    let worst = compared.max_by(|a, b| a.difference().total_cmp(&b.difference()));
    Ok(worst.unwrap_or(Compared { ours: 0.0, theirs: 0.0 }))
}

/// Pairs the published numbers with those of the model. A missing one is NaN, which is never near.
fn beside(ours: &[f64], theirs: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    let ours = ours.iter().copied().chain(std::iter::repeat(f64::NAN));
    ours.zip(theirs.to_vec())
}

/// Pairs weights by id or by token. A missing weight is zero.
fn by_key<K: Ord>(
    ours: &BTreeMap<K, f64>,
    theirs: &BTreeMap<K, f64>,
    complete: bool,
) -> Vec<(f64, f64)> {
    let of = |weights: &BTreeMap<K, f64>, key| weights.get(key).copied().unwrap_or_default();
    let more = ours.keys().filter(|key| complete && !theirs.contains_key(key));
    theirs.keys().chain(more).map(|key| (of(ours, key), of(theirs, key))).collect()
}

fn numbers(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

fn sparse(results: &Embeddings) -> impl Iterator<Item = (u32, f64)> + '_ {
    let weights = results.sparse.iter().flat_map(|sparse| sparse.of(0));
    weights.map(|(id, weight)| (id, f64::from(weight)))
}

fn sparse_text(results: &Embeddings) -> SparseText<'_> {
    let sparse = results.sparse.as_ref();
    SparseText {
        ids: sparse.map_or(&[], |sparse| &sparse.ids),
        weights: sparse.map_or(&[], |sparse| &sparse.weights),
    }
}

fn rows_of(results: &Embeddings) -> Result<ArrayView2<'_, f32>, Failure> {
    let (rows, dim) = results.multi.as_ref().map_or((&[][..], 0), |m| (m.of(0), m.dim));
    crate::similarity::rows(rows, dim.max(1))
}
