//! `examples/lucene-search` finds in Lucene what libbge itself finds.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bge::{EncodeOptions, Hit, Metric, Model, OpenOptions, Outputs, SparseText};
use ndarray::{ArrayView2, ArrayViewMut2};

use crate::bindings::java;
use crate::support::build::{empty_folder, root};
use crate::support::models::{copy_tree, tiny_dir};

const QUERY: &str = "Seorang pria sedang tertidur.";

/// How many hits of a search are printed.
const SHOWN: usize = 10;

struct Example {
    folder: PathBuf,
}

impl Example {
    /// Builds it with the jar of the binding. `None` if that is missing, which is reported.
    fn built() -> Option<Self> {
        java::folder()?;
        let folder = empty_folder("lucene-search");
        copy_tree(&root().join("examples/lucene-search"), &folder);
        java::run_maven(java::maven().arg("package").current_dir(&folder));
        Some(Self { folder })
    }

    /// Lucene may warn on standard error, depending on the JVM.
    fn output(&self, command: &str, model: &Path, argument: &str) -> Output {
        let mut java = Command::new("java");
        java.args(["-jar", "target/lucene-search.jar", command]).arg(model);
        java.args(["index", argument]).current_dir(&self.folder);
        java.env_remove("BGE_ORT_LIBRARY").env_remove("LD_LIBRARY_PATH").output().unwrap()
    }

    fn run(&self, command: &str, model: &Path, argument: &str) -> String {
        let output = self.output(command, model, argument);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Indexes sentences and searches them: each kind of search, and its hits.
    fn search(&self, model: &Path, sentences: &[&str]) -> Vec<(String, Vec<Hit>)> {
        std::fs::write(self.folder.join("file.txt"), sentences.join("\n")).unwrap();
        assert_eq!(self.run("index", model, "file.txt"), "");
        let mut kinds: Vec<(String, Vec<Hit>)> = Vec::new();
        for line in self.run("search", model, QUERY).lines() {
            let Some((score, text)) = line.trim_start().split_once("  ") else {
                kinds.push((line.to_string(), Vec::new()));
                continue;
            };
            let row = sentences.iter().position(|sentence| *sentence == text).unwrap();
            kinds.last_mut().unwrap().1.push(Hit { row, score: score.parse().unwrap() });
        }
        kinds
    }
}

/// The score of each hit is in the range for its row, and in that for its rank.
fn agree(hits: &[Hit], mut expected: Vec<Hit>, range: impl Fn(f32) -> RangeInclusive<f32>) {
    expected.sort_by(|a, b| b.score.total_cmp(&a.score));
    assert_eq!(hits.len(), expected.len().min(SHOWN));
    assert_eq!(hits.iter().map(|hit| hit.row).collect::<BTreeSet<_>>().len(), hits.len());
    for (hit, of_rank) in hits.iter().zip(&expected) {
        let of_row = expected.iter().find(|other| other.row == hit.row).unwrap();
        for expected in [of_row, of_rank] {
            assert!(range(expected.score).contains(&hit.score), "{hit:?} is not {expected:?}");
        }
    }
}

/// Lucene prints six decimals.
fn about(score: f32) -> RangeInclusive<f32> {
    score - 2e-6..=score + 2e-6
}

/// By brute force: the cosines, as Lucene scores them.
fn dense_hits(model: &Model, sentences: &[&str]) -> Vec<Hit> {
    let options = EncodeOptions { normalize: true, ..EncodeOptions::default() };
    let encode = |texts: &[&str]| model.encode(texts, &options).unwrap();
    let (query, corpus) = (encode(&[QUERY]), encode(sentences));
    let query = ArrayView2::from_shape((1, query.dim), &query.dense).unwrap();
    let corpus = ArrayView2::from_shape((sentences.len(), corpus.dim), &corpus.dense).unwrap();
    let best = bge::similarity_top_k(Metric::Dot, query, corpus, sentences.len(), 1).unwrap();
    best[0].iter().map(|hit| Hit { score: (1.0 + hit.score) / 2.0, ..*hit }).collect()
}

fn sparse_hits(model: &Model, sentences: &[&str]) -> Vec<Hit> {
    let outputs = Outputs { sparse: true, ..Outputs::default() };
    let options = EncodeOptions { outputs, ..EncodeOptions::default() };
    let texts = [&[QUERY], sentences].concat();
    let all = model.encode(&texts, &options).unwrap().sparse.unwrap();
    let texts: Vec<SparseText<'_>> = all
        .offsets
        .windows(2)
        .map(|ends| SparseText {
            ids: &all.ids[ends[0]..ends[1]],
            weights: &all.weights[ends[0]..ends[1]],
        })
        .collect();
    let mut scores = vec![0.0; sentences.len()];
    let view = ArrayViewMut2::from_shape((1, sentences.len()), &mut scores).unwrap();
    bge::similarity_sparse(&texts[..1], &texts[1..], 1, view).unwrap();
    let hits = scores.into_iter().enumerate().map(|(row, score)| Hit { row, score });
    hits.filter(|hit| hit.score > 0.0).collect()
}

/// The fused hits of several searches.
fn fused_hits(searches: &[&[Hit]]) -> Vec<Hit> {
    let rows: BTreeSet<usize> =
        searches.iter().flat_map(|hits| hits.iter()).map(|hit| hit.row).collect();
    let score = |row| {
        let ranks = searches.iter().filter_map(|hits| hits.iter().position(|hit| hit.row == row));
        ranks.map(|rank| 1.0 / (61 + rank) as f32).sum()
    };
    rows.into_iter().map(|row| Hit { row, score: score(row) }).collect()
}

#[test]
fn its_hits_are_those_of_the_library() {
    let Some(example) = Example::built() else { return };
    let sentences = std::fs::read_to_string(example.folder.join("sentences.txt")).unwrap();
    let sentences: Vec<&str> = sentences.lines().collect();
    assert!(sentences.len() > SHOWN);
    // If all hits are printed, the fused ones can be computed from them.
    for sentences in [&sentences[..], &sentences[..SHOWN]] {
        let heads = tiny_dir("heads");
        let model = Model::open(&heads, &OpenOptions::default()).unwrap();
        let kinds = example.search(&heads, sentences);
        let [(_, dense), (_, sparse), (_, fused)] = &kinds[..] else { panic!("{kinds:?}") };
        agree(dense, dense_hits(&model, sentences), about);
        let expected = sparse_hits(&model, sentences);
        assert!(expected.len() > 3);
        // A weight in the index has lost all but its first 9 bits.
        agree(sparse, expected, |score| score * (1.0 - 1.0 / 256.0) - 1e-5..=score + 1e-5);
        if sentences.len() == SHOWN {
            agree(fused, fused_hits(&[dense, sparse]), about);
        }
    }
    // Its vectors do not have length 1, but as the example asks for them.
    let mean = tiny_dir("mean");
    let output = example.output("search", &mean, QUERY);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("another model"), "{said}");
    let kinds = example.search(&mean, &sentences);
    let [(kind, dense)] = &kinds[..] else { panic!("{kinds:?}") };
    assert_eq!(kind, "dense");
    agree(
        dense,
        dense_hits(&Model::open(&mean, &OpenOptions::default()).unwrap(), &sentences),
        about,
    );
}
