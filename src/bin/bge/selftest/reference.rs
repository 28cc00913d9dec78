//! A file of reference values: its format, and the reasons to refuse it.

use std::collections::BTreeMap;
use std::path::Path;

use bge::Info;
use serde::Deserialize;

use crate::failure::Failure;
use crate::input;

/// Published values of BAAI/bge-m3.
const BGE_M3: &str = include_str!("bge-m3.json");

/// Values that were published for a model. `docs/selftest.md` describes the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reference {
    pub name: String,
    pub model: Expected,
    pub sources: BTreeMap<String, Source>,
    pub values: Vec<Published>,
}

/// Properties that tell the model of the values from another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    dense_dim: Option<usize>,
    vocab_size: Option<usize>,
    layers: Option<usize>,
    pooling: Option<String>,
    normalize: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    #[serde(rename = "where")]
    pub place: String,
    pub license: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Published {
    pub check: Check,
    /// The largest difference that passes.
    pub tolerance: f64,
    /// A key of `sources`.
    pub source: String,
    pub note: Option<String>,
    /// Why a difference would not be an error of the model.
    pub unsure: Option<String>,
}

/// The expected value of one check.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Check {
    /// The first and the last numbers of a dense vector.
    Dense {
        text: String,
        #[serde(default)]
        first: Vec<f64>,
        #[serde(default)]
        last: Vec<f64>,
    },
    /// The dot product of two dense vectors.
    DenseDot { a: String, b: String, value: f64 },
    /// The sum of the numbers of a dense vector.
    DenseSum { text: String, value: f64 },
    /// Sparse weights by token id; `complete`: no other token has one.
    Sparse { text: String, weights: BTreeMap<u32, f64>, complete: bool },
    /// Sparse weights by the text of the token, without the mark of a space before it.
    SparseTokens { text: String, weights: BTreeMap<String, f64>, complete: bool },
    /// The score of two texts by their sparse weights.
    SparseDot { a: String, b: String, value: f64 },
    /// The number of sparse weights of all texts together.
    SparseCount { texts: Vec<String>, value: f64 },
    /// The first numbers of the first rows of a multi-vector.
    Multi { text: String, rows: Vec<Vec<f64>> },
    /// The score of two texts by their multi-vectors, `a` being the query.
    MultiDot { a: String, b: String, value: f64 },
    /// The number of rows of a multi-vector.
    MultiCount { text: String, value: f64 },
}

/// The output of the model that a check needs.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Output {
    Dense,
    Sparse,
    Multi,
}

impl Check {
    /// The type of the check, as the file names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dense { .. } => "dense",
            Self::DenseDot { .. } => "dense_dot",
            Self::DenseSum { .. } => "dense_sum",
            Self::Sparse { .. } => "sparse",
            Self::SparseTokens { .. } => "sparse_tokens",
            Self::SparseDot { .. } => "sparse_dot",
            Self::SparseCount { .. } => "sparse_count",
            Self::Multi { .. } => "multi",
            Self::MultiDot { .. } => "multi_dot",
            Self::MultiCount { .. } => "multi_count",
        }
    }

    pub fn output(&self) -> Output {
        match self {
            Self::Dense { .. } | Self::DenseDot { .. } | Self::DenseSum { .. } => Output::Dense,
            Self::Sparse { .. }
            | Self::SparseTokens { .. }
            | Self::SparseDot { .. }
            | Self::SparseCount { .. } => Output::Sparse,
            Self::Multi { .. } | Self::MultiDot { .. } | Self::MultiCount { .. } => Output::Multi,
        }
    }

    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Dense { text, .. }
            | Self::DenseSum { text, .. }
            | Self::Sparse { text, .. }
            | Self::SparseTokens { text, .. }
            | Self::Multi { text, .. }
            | Self::MultiCount { text, .. } => vec![text],
            Self::DenseDot { a, b, .. }
            | Self::SparseDot { a, b, .. }
            | Self::MultiDot { a, b, .. } => vec![a, b],
            Self::SparseCount { texts, .. } => texts.iter().map(String::as_str).collect(),
        }
    }

    /// Whether the check compares at least one number.
    fn compares_something(&self) -> bool {
        match self {
            Self::Dense { first, last, .. } => !first.is_empty() || !last.is_empty(),
            Self::Sparse { weights, complete, .. } => !weights.is_empty() || *complete,
            Self::SparseTokens { weights, complete, .. } => !weights.is_empty() || *complete,
            Self::SparseCount { texts, .. } => !texts.is_empty(),
            Self::Multi { rows, .. } => rows.iter().any(|row| !row.is_empty()),
            _ => true,
        }
    }
}

impl Reference {
    /// Reads the values of a file, or those of BAAI/bge-m3.
    pub fn read(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(file) = file else { return Self::parse(BGE_M3, "the values of BAAI/bge-m3") };
        let name = file.display().to_string();
        let bytes = std::fs::read(file)
            .map_err(|e| std::io::Error::new(e.kind(), format!("{name}: {e}")))?;
        let text = input::utf8(&bytes)
            .map_err(|what| Failure::Input(format!("{name} {what}, so it is not JSON")))?;
        Self::parse(text, &name)
    }

    fn parse(text: &str, name: &str) -> Result<Self, Failure> {
        let bad = |why: String| Failure::Input(format!("{name}: {why}"));
        let reference: Self = serde_json::from_str(text)
            .map_err(|e| bad(format!("not a file of reference values: {e}")))?;
        if reference.values.is_empty() {
            return Err(bad("it has no values".into()));
        }
        for (number, published) in (1..).zip(&reference.values) {
            let Published { check, tolerance, source, .. } = published;
            let kind = check.kind();
            if !reference.sources.contains_key(source) {
                return Err(bad(format!(
                    "value {number} ({kind}) has the source {source:?}, which \"sources\" lacks"
                )));
            }
            if !(0.0..f64::INFINITY).contains(tolerance) {
                return Err(bad(format!(
                    "value {number} ({kind}) has the tolerance {tolerance}; it has to be 0 or more"
                )));
            }
            if !check.compares_something() {
                return Err(bad(format!("value {number} ({kind}) compares nothing")));
            }
        }
        Ok(reference)
    }

    /// Refuses a model that is evidently not the one of the values.
    pub fn fits(&self, info: &Info) -> Result<(), Failure> {
        let Expected { dense_dim, vocab_size, layers, pooling, normalize } = &self.model;
        let facts = [
            ("dense_dim", text(dense_dim), info.dense_dim.to_string()),
            ("vocabulary", text(vocab_size), info.vocab_size.to_string()),
            ("layers", text(layers), info.layers.to_string()),
            ("pooling", text(pooling), info.pooling.to_string()),
            ("normalize", text(normalize), info.normalize.to_string()),
        ];
        let differ: Vec<String> = facts
            .into_iter()
            .filter_map(|(name, expected, found)| {
                let expected = expected.filter(|expected| *expected != found)?;
                Some(format!("{name} is {found}, not {expected}"))
            })
            .collect();
        if differ.is_empty() {
            return Ok(());
        }
        Err(Failure::OtherModel(format!(
            "the values are of {}, and this is another model: {}; nothing was compared. Give the \
             values of this one with --reference",
            self.name,
            differ.join(", ")
        )))
    }
}

fn text(value: &Option<impl ToString>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}
