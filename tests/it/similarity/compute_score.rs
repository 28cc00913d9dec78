//! Scores of pairs of texts against FlagEmbedding's own `compute_score`, in its five modes.

use bge::{
    EncodeOptions, Metric, Model, OpenOptions, Outputs, SparseText, similarity, similarity_hybrid,
    similarity_multi, similarity_sparse,
};
use ndarray::{Array2, ArrayView2};
use serde::Deserialize;

use crate::support::build::root;
use crate::support::models::tiny_dir;

const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
pub struct Golden {
    pub rows: Vec<Row>,
}

#[derive(Deserialize)]
pub struct Row {
    pub pair: [String; 2],
    pub of_weights: Vec<OfWeights>,
}

#[derive(Deserialize)]
pub struct OfWeights {
    /// `None` for those that FlagEmbedding takes by itself.
    pub weights: Option<[f32; 3]>,
    pub scores: Scores,
}

/// A mean is `None` where FlagEmbedding divides by zero.
#[derive(Deserialize)]
pub struct Scores {
    pub colbert: f32,
    pub sparse: f32,
    pub dense: f32,
    #[serde(rename = "sparse+dense")]
    pub sparse_dense: Option<f32>,
    #[serde(rename = "colbert+sparse+dense")]
    pub all: Option<f32>,
}

pub fn golden() -> Golden {
    let text = std::fs::read_to_string(root().join("tests/golden/compute_score.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Dense, sparse and multi-vector scores of a pair.
fn scores(model: &Model, [query, passage]: &[String; 2]) -> [f32; 3] {
    let outputs = Outputs { dense: true, sparse: true, multi: true, tokens: false };
    let options = EncodeOptions { outputs, ..EncodeOptions::default() };
    let of = model.encode(&[query, passage], &options).unwrap();
    let dense = ArrayView2::from_shape((2, of.dim), &of.dense).unwrap();
    let (sparse, multi) = (of.sparse.unwrap(), of.multi.unwrap());
    let weights = [0, 1].map(|text| {
        let entries = sparse.offsets[text]..sparse.offsets[text + 1];
        SparseText { ids: &sparse.ids[entries.clone()], weights: &sparse.weights[entries] }
    });
    let vectors = [0, 1].map(|text| {
        let rows = multi.of(text);
        ArrayView2::from_shape((rows.len() / multi.dim, multi.dim), rows).unwrap()
    });
    let mut three = [0, 1, 2].map(|_| Array2::zeros((1, 1)));
    let (query, passage) = dense.split_at(ndarray::Axis(0), 1);
    similarity(Metric::Cosine, query, passage, 1, three[0].view_mut()).unwrap();
    similarity_sparse(&weights[..1], &weights[1..], 1, three[1].view_mut()).unwrap();
    similarity_multi(&vectors[..1], &vectors[1..], 1, three[2].view_mut()).unwrap();
    three.map(|score| score[[0, 0]])
}

#[test]
fn scores_in_all_modes_are_those_of_flag_embedding() {
    let model = Model::open(tiny_dir("heads"), &OpenOptions::default()).unwrap();
    let (mut means, mut refused) = (0, 0);
    for row in golden().rows {
        let [d, s, m] = scores(&model, &row.pair);
        for OfWeights { weights, scores } in row.of_weights {
            let near = |ours: f32, theirs: f32| {
                assert!((ours - theirs).abs() <= TOLERANCE, "{:?}: {ours}, {theirs}", row.pair);
            };
            near(d, scores.dense);
            near(s, scores.sparse);
            near(m, scores.colbert);
            for (multi, expected) in [(None, scores.sparse_dense), (Some(&[m][..]), scores.all)] {
                let mut mean = [0.0];
                let weights = weights.unwrap_or([1.0; 3]);
                let result = similarity_hybrid(Some(&[d]), Some(&[s]), multi, weights, &mut mean);
                match expected {
                    Some(expected) => {
                        result.unwrap();
                        near(mean[0], expected);
                        means += 1;
                    }
                    None => {
                        assert!(result.unwrap_err().to_string().contains("are all 0"));
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(means > 50 && refused > 10);
}
