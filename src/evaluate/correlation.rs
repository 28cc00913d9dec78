//! Graded pairs: the correlation of scores with the grades of people.

use ndarray::ArrayView2;

use super::EVALUATED_METRICS;
use crate::error::{Result, error};
use crate::similarity_pairwise;

/// The correlation of scores and grades, -1 to 1. NaN if either are all equal or include a NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// Pearson's coefficient: how near the numbers are to a line.
    pub pearson: f64,
    /// Spearman's coefficient, which is Pearson's of the ranks. Equal numbers share the mean of
    /// their ranks.
    pub spearman: f64,
}

/// Correlations by each metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlations {
    /// By metric, in the order of [`EVALUATED_METRICS`].
    pub by_metric: [Correlation; 4],
    /// The greatest of each coefficient.
    pub max: Correlation,
}

/// Correlates the scores of row i of `a` and row i of `b` with `grades[i]`.
pub fn evaluate_similarity(
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    grades: &[f64],
) -> Result<Correlations> {
    let none = Correlation { pearson: f64::NAN, spearman: f64::NAN };
    let (mut by_metric, mut max) = ([none; 4], none);
    let mut scores = vec![0.0; grades.len()];
    for (of_metric, metric) in by_metric.iter_mut().zip(EVALUATED_METRICS) {
        similarity_pairwise(metric, a, b, &mut scores)?;
        let scores: Vec<f64> = scores.iter().map(|&score| score.into()).collect();
        *of_metric = correlation(&scores, grades)?;
        max.pearson = max.pearson.max(of_metric.pearson);
        max.spearman = max.spearman.max(of_metric.spearman);
    }
    Ok(Correlations { by_metric, max })
}

/// Correlates `a[i]` with `b[i]`.
pub fn correlation(a: &[f64], b: &[f64]) -> Result<Correlation> {
    if a.len() != b.len() || a.len() < 2 {
        return Err(error!(
            InvalidArgument,
            "{} numbers and {}: a correlation is that of 2 or more, and as many",
            a.len(),
            b.len()
        ));
    }
    let spearman = if a.iter().chain(b).any(|x| x.is_nan()) {
        f64::NAN
    } else {
        pearson(&ranks(a), &ranks(b))
    };
    Ok(Correlation { pearson: pearson(a, b), spearman })
}

fn pearson(a: &[f64], b: &[f64]) -> f64 {
    // Rounding makes the deviations of equal numbers from their mean differ from 0.
    let constant = |numbers: &[f64]| numbers.iter().all(|&x| x == numbers[0]);
    if constant(a) || constant(b) {
        return f64::NAN;
    }
    let deviations = |numbers: &[f64]| {
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let deviations: Vec<f64> = numbers.iter().map(|x| x - mean).collect();
        let norm = deviations.iter().map(|x| x * x).sum::<f64>().sqrt();
        deviations.into_iter().map(move |x| x / norm)
    };
    deviations(a).zip(deviations(b)).map(|(a, b)| a * b).sum::<f64>().clamp(-1.0, 1.0)
}

fn ranks(numbers: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    // 0 and -0 have equal ranks.
    order.sort_by(|&a, &b| (numbers[a] + 0.0).total_cmp(&(numbers[b] + 0.0)));
    let mut ranks = vec![0.0; numbers.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&a, &b| numbers[a] == numbers[b]) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|&place| ranks[place] = rank);
        before += equal.len();
    }
    ranks
}
