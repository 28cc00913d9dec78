//! The vectors of a file's texts, and the passages that a search with them finds.

use std::io::{IsTerminal, stderr};

use bge::{
    EncodeOptions, Metric, Model, RETRIEVAL_DEPTH, SparseText, similarity_hybrid, similarity_multi,
    similarity_pairwise, similarity_sparse, similarity_top_k,
};
use indicatif::{ProgressBar, ProgressStyle};
use ndarray::{Array2, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};

use super::dataset::{Questions, Role, Texts};
use crate::arguments::ModeArg;
use crate::failure::Failure;

/// Texts that are encoded together.
const CHUNK: usize = 256;

/// The vectors of all texts, in their order. An output that the mode does not need is empty.
pub(super) struct Encoded {
    pub dim: usize,
    pub tokens: usize,
    pub truncated: usize,
    encoded: usize,
    /// The index of each text in the lists below.
    places: Vec<usize>,
    dense: Vec<f32>,
    sparse: Vec<(Vec<u32>, Vec<f32>)>,
    multi: Vec<Array2<f32>>,
}

impl Encoded {
    /// `query_options` are the options of texts in the role of a query.
    pub fn new(
        model: &Model,
        texts: &Texts,
        options: &EncodeOptions,
        query_options: &EncodeOptions,
    ) -> Result<Self, Failure> {
        let progress = progress_bar(texts.all.len());
        let mut encoded = Self {
            dim: 0,
            tokens: 0,
            truncated: 0,
            encoded: 0,
            places: vec![0; texts.all.len()],
            dense: Vec::new(),
            sparse: Vec::new(),
            multi: Vec::new(),
        };
        for (role, options) in [(Role::Query, query_options), (Role::Other, options)] {
            let of_role: Vec<usize> =
                (0..texts.all.len()).filter(|&text| texts.all[text].0 == role).collect();
            for chunk in of_role.chunks(CHUNK) {
                let strs: Vec<&str> =
                    chunk.iter().map(|&text| texts.all[text].1.as_str()).collect();
                encoded.add(model.encode(&strs, options)?, chunk)?;
                progress.inc(chunk.len() as u64);
            }
        }
        progress.finish_and_clear();
        Ok(encoded)
    }

    fn add(&mut self, chunk: bge::Embeddings, texts: &[usize]) -> Result<(), Failure> {
        let count = texts.len();
        for &text in texts {
            self.places[text] = self.encoded;
            self.encoded += 1;
        }
        self.dim = chunk.dim;
        self.tokens += chunk.usage.iter().map(|usage| usage.tokens).sum::<usize>();
        self.truncated += chunk.usage.iter().filter(|usage| usage.truncated).count();
        self.dense.extend(&chunk.dense);
        if let Some(sparse) = &chunk.sparse {
            self.sparse.extend((0..count).map(|text| sparse.of(text).unzip()));
        }
        if let Some(multi) = &chunk.multi {
            for text in 0..count {
                self.multi.push(rows(multi.of(text).to_vec(), multi.dim)?);
            }
        }
        Ok(())
    }

    /// The dense vectors of these texts.
    pub fn rows(&self, texts: impl Iterator<Item = usize>) -> Result<Array2<f32>, Failure> {
        let of = |text: usize| &self.dense[self.places[text] * self.dim..][..self.dim];
        rows(texts.flat_map(of).copied().collect(), self.dim)
    }

    /// The scores of pairs of texts by their dense vectors.
    pub fn pairwise(
        &self,
        metric: Metric,
        pairs: impl Iterator<Item = (usize, usize)> + Clone,
    ) -> Result<Vec<f32>, Failure> {
        let a = self.rows(pairs.clone().map(|(a, _)| a))?;
        let b = self.rows(pairs.map(|(_, b)| b))?;
        let mut scores = vec![0.0; a.nrows()];
        similarity_pairwise(metric, a.view(), b.view(), &mut scores)?;
        Ok(scores)
    }

    /// The indices of the best passages for each query, and their scores.
    pub fn rankings(
        &self,
        questions: &Questions,
        mode: ModeArg,
        metric: Metric,
        weights: [f32; 3],
        threads: usize,
    ) -> Result<Vec<Vec<(usize, f32)>>, Failure> {
        let passages = match mode.outputs().dense {
            true => self.rows(questions.passages.iter().copied())?,
            false => Array2::zeros((0, 0)),
        };
        if mode == ModeArg::Dense {
            let queries = self.rows(questions.queries.iter().copied())?;
            let (queries, passages) = (queries.view(), passages.view());
            let hits = similarity_top_k(metric, queries, passages, RETRIEVAL_DEPTH, threads)?;
            let ranking =
                |hits: Vec<bge::Hit>| hits.iter().map(|hit| (hit.row, hit.score)).collect();
            return Ok(hits.into_iter().map(ranking).collect());
        }
        let progress = progress_bar(questions.queries.len());
        let mut rankings = Vec::new();
        for &query in &questions.queries {
            let mut scores: Vec<(usize, f32)> = self
                .scores(query, questions, passages.view(), mode, weights, threads)?
                .into_iter()
                .enumerate()
                .collect();
            // A stable sort: of equal scores, the first passage comes first.
            scores.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            scores.truncate(RETRIEVAL_DEPTH);
            rankings.push(scores);
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(rankings)
    }

    /// The scores of a query with all passages.
    fn scores(
        &self,
        query: usize,
        questions: &Questions,
        passages: ArrayView2<'_, f32>,
        mode: ModeArg,
        weights: [f32; 3],
        threads: usize,
    ) -> Result<Vec<f32>, Failure> {
        let (outputs, count) = (mode.outputs(), questions.passages.len());
        let (mut dense, mut sparse, mut multi) =
            (vec![0.0; count], vec![0.0; count], vec![0.0; count]);
        if outputs.dense {
            let query = self.rows(std::iter::once(query))?;
            bge::similarity(Metric::Cosine, query.view(), passages, threads, row(&mut dense))?;
        }
        if outputs.sparse {
            let of = |text: usize| {
                let (ids, weights) = &self.sparse[self.places[text]];
                SparseText { ids, weights }
            };
            let texts: Vec<_> = questions.passages.iter().map(|&text| of(text)).collect();
            similarity_sparse(&[of(query)], &texts, threads, row(&mut sparse))?;
        }
        if outputs.multi {
            let of = |text: usize| self.multi[self.places[text]].view();
            let texts: Vec<_> = questions.passages.iter().map(|&text| of(text)).collect();
            similarity_multi(&[of(query)], &texts, threads, row(&mut multi))?;
        }
        let mut scores = vec![0.0; count];
        similarity_hybrid(
            outputs.dense.then_some(dense.as_slice()),
            outputs.sparse.then_some(sparse.as_slice()),
            outputs.multi.then_some(multi.as_slice()),
            weights,
            &mut scores,
        )?;
        Ok(scores)
    }
}

fn row(scores: &mut [f32]) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut1::from(scores).insert_axis(Axis(0))
}

fn rows(numbers: Vec<f32>, dim: usize) -> Result<Array2<f32>, Failure> {
    let count = numbers.len().checked_div(dim).unwrap_or(0);
    Array2::from_shape_vec((count, dim), numbers)
        .map_err(|e| Failure::Input(format!("the vectors do not make rows: {e}")))
}

fn progress_bar(count: usize) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len}, {per_sec}, {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count as u64).with_style(style)
}
