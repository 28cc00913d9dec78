//! `bge similarity`: sentences by how alike they are to one.

use bge::{EncodeOptions, Metric, Model};
use ndarray::{ArrayView2, ArrayViewMut2};
use serde::Serialize;

use crate::{Failure, print};

#[derive(Serialize)]
struct Scores<'a> {
    source: &'a str,
    scores: Vec<Scored<'a>>,
}

#[derive(Serialize)]
struct Scored<'a> {
    score: f32,
    sentence: &'a str,
}

pub(crate) fn run(
    model: &Model,
    options: &EncodeOptions,
    metric: Option<Metric>,
    as_json: bool,
    source: &str,
    sentences: &[String],
) -> Result<(), Failure> {
    let sentences = sentences.iter().map(String::as_str);
    let texts: Vec<&str> = std::iter::once(source).chain(sentences.clone()).collect();
    let vectors = model.encode(&texts, options)?;
    let (query, others) = vectors.dense.split_at(vectors.dim);
    let mut scores = vec![0.0; sentences.len()];
    bge::similarity(
        metric.unwrap_or(model.info().similarity),
        rows(query, vectors.dim)?,
        rows(others, vectors.dim)?,
        1,
        ArrayViewMut2::from_shape((1, scores.len()), &mut scores).map_err(not_rows)?,
    )?;
    let mut scores: Vec<_> = scores
        .into_iter()
        .zip(sentences)
        .map(|(score, sentence)| Scored { score, sentence })
        .collect();
    if as_json {
        let scores = Scores { source, scores };
        let text = serde_json::to_string(&scores).map_err(std::io::Error::from)?;
        return print(&format!("{text}\n"));
    }
    scores.sort_by(|a, b| b.score.total_cmp(&a.score));
    let line = |scored: Scored<'_>| format!("{:.4}  {}\n", scored.score, scored.sentence);
    print(&scores.into_iter().map(line).collect::<String>())
}

/// Numbers as rows of `dim` of them.
pub(crate) fn rows(data: &[f32], dim: usize) -> Result<ArrayView2<'_, f32>, Failure> {
    ArrayView2::from_shape((data.len() / dim, dim), data).map_err(not_rows)
}

fn not_rows(e: ndarray::ShapeError) -> Failure {
    Failure::Input(format!("the vectors do not make rows: {e}"))
}
