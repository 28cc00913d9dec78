//! `bge similarity`: the similarity of sentences to a source sentence.

use bge::{Embeddings, EncodeOptions, Metric, Model, SparseText};
use ndarray::{ArrayView2, ArrayViewMut2};
use serde::Serialize;

use crate::arguments::ModeArg;
use crate::failure::Failure;
use crate::output::print;

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

/// The scores that sentences are compared by.
pub(crate) struct By {
    mode: ModeArg,
    /// `None`: the model's metric, if only dense vectors count.
    metric: Option<Metric>,
    weights: [f32; 3],
}

impl By {
    pub fn new(
        mode: ModeArg,
        metric: Option<Metric>,
        weights: Option<[f32; 3]>,
    ) -> Result<Self, Failure> {
        if metric.is_some() && mode != ModeArg::Dense {
            return Err(Failure::Usage("--metric is for --mode dense".into()));
        }
        if weights.is_some() && !matches!(mode, ModeArg::SparseDense | ModeArg::All) {
            return Err(Failure::Usage("--weights is for --mode sparse+dense and all".into()));
        }
        let metric = match mode {
            ModeArg::Dense => metric,
            _ => Some(Metric::Cosine),
        };
        Ok(Self { mode, metric, weights: weights.unwrap_or([1.0; 3]) })
    }
}

pub(crate) fn run(
    model: &Model,
    options: &EncodeOptions,
    by: &By,
    as_json: bool,
    source: &str,
    sentences: &[String],
) -> Result<(), Failure> {
    let sentences = sentences.iter().map(String::as_str);
    let texts: Vec<&str> = std::iter::once(source).chain(sentences.clone()).collect();
    let embeddings = model.encode(&texts, options)?;
    let metric = by.metric.unwrap_or(model.info().similarity);
    let scores = scores(&embeddings, by, metric, sentences.len())?;
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

/// The scores of the first text with each of the others.
fn scores(
    embeddings: &Embeddings,
    by: &By,
    metric: Metric,
    count: usize,
) -> Result<Vec<f32>, Failure> {
    let outputs = by.mode.outputs();
    let (mut dense, mut sparse, mut multi) = (vec![0.0; count], vec![0.0; count], vec![0.0; count]);
    if outputs.dense {
        let (query, others) = embeddings.dense.split_at(embeddings.dim);
        let (query, others) = (rows(query, embeddings.dim)?, rows(others, embeddings.dim)?);
        bge::similarity(metric, query, others, 1, row(&mut dense)?)?;
    }
    if let Some(all) = &embeddings.sparse {
        let of = |text: usize| {
            let entries = all.offsets[text]..all.offsets[text + 1];
            SparseText { ids: &all.ids[entries.clone()], weights: &all.weights[entries] }
        };
        let others: Vec<_> = (1..=count).map(of).collect();
        bge::similarity_sparse(&[of(0)], &others, 1, row(&mut sparse)?)?;
    }
    if let Some(all) = &embeddings.multi {
        let texts: Result<Vec<_>, _> =
            (0..=count).map(|text| rows(all.of(text), all.dim)).collect();
        let texts = texts?;
        bge::similarity_multi(&texts[..1], &texts[1..], 1, row(&mut multi)?)?;
    }
    let mut scores = vec![0.0; count];
    bge::similarity_hybrid(
        outputs.dense.then_some(dense.as_slice()),
        outputs.sparse.then_some(sparse.as_slice()),
        outputs.multi.then_some(multi.as_slice()),
        by.weights,
        &mut scores,
    )?;
    Ok(scores)
}

fn row(scores: &mut [f32]) -> Result<ArrayViewMut2<'_, f32>, Failure> {
    ArrayViewMut2::from_shape((1, scores.len()), scores).map_err(not_rows)
}

/// A view of numbers as rows of length `dim`.
pub(crate) fn rows(data: &[f32], dim: usize) -> Result<ArrayView2<'_, f32>, Failure> {
    ArrayView2::from_shape((data.len() / dim, dim), data).map_err(not_rows)
}

fn not_rows(e: ndarray::ShapeError) -> Failure {
    Failure::Input(format!("the vectors do not make rows: {e}"))
}
