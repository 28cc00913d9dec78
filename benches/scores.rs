//! Scores of dense vectors, sparse weights and multi-vectors, one thread.

use bge::{Metric, SparseText, similarity, similarity_multi, similarity_sparse};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ndarray::Array2;

const DIM: usize = 1024;

fn main() {
    divan::main();
}

fn rows(count: usize) -> Array2<f32> {
    Array2::from_shape_fn((count, DIM), |(row, column)| {
        ((row * 31 + column) % 97) as f32 / 97.0 - 0.5
    })
}

#[divan::bench(args = [1, 100], max_time = 1)]
fn dense_against_10_000(bencher: Bencher<'_, '_>, queries: usize) {
    let (a, b) = (rows(queries), rows(10_000));
    let mut scores = Array2::zeros((queries, 10_000));
    bencher.counter(ItemsCount::new(scores.len())).bench_local(|| {
        similarity(Metric::Cosine, black_box(a.view()), b.view(), 1, scores.view_mut()).unwrap();
    });
}

#[divan::bench(args = [1, 100], max_time = 1)]
fn sparse_against_10_000(bencher: Bencher<'_, '_>, queries: usize) {
    // A hundred ids of a text, spread over the vocabulary.
    let ids = |text: usize| (0..100).map(move |place| (place * 2500 + text * 7919 % 2500) as u32);
    let all: Vec<Vec<u32>> = (0..10_000 + queries).map(|text| ids(text).collect()).collect();
    let weights = vec![0.5_f32; 100];
    let texts: Vec<SparseText<'_>> =
        all.iter().map(|ids| SparseText { ids, weights: &weights }).collect();
    let (a, b) = texts.split_at(queries);
    let mut scores = Array2::zeros((queries, 10_000));
    bencher.counter(ItemsCount::new(scores.len())).bench_local(|| {
        similarity_sparse(black_box(a), b, 1, scores.view_mut()).unwrap();
    });
}

#[divan::bench(args = [1, 64], max_time = 1)]
fn multi_32_rows_against_512_of(bencher: Bencher<'_, '_>, documents: usize) {
    let (query, document) = (rows(32), rows(512));
    let b = vec![document.view(); documents];
    let mut scores = Array2::zeros((1, documents));
    bencher.counter(ItemsCount::new(documents)).bench_local(|| {
        similarity_multi(black_box(&[query.view()]), &b, 1, scores.view_mut()).unwrap();
    });
}
