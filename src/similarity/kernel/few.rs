//! A few rows with many, all read as they lie: what that costs is to read the many from memory.

use pulp::{Simd, WithSimd, as_arrays};

use super::{CHUNK, LANES_MAX, SUMS, Sink, Term};

/// A vector of any processor has a lane for each row.
pub(super) const ROWS_MAX: usize = 4;
/// Rows of the many that are scored at once, so that no sum waits for itself.
const STEP: usize = 8;

pub(super) struct Few<'a, K, T> {
    pub queries: &'a [&'a [f32]],
    pub rows: &'a [&'a [f32]],
    /// The place that the first of `rows` has for the sink.
    pub first_row: usize,
    pub term: T,
    pub sink: &'a mut K,
}

impl<K: Sink, T: Term> WithSimd for Few<'_, K, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match SUMS / S::F32_LANES {
            1 => self.in_vectors::<S, 1>(simd),
            2 => self.in_vectors::<S, 2>(simd),
            _ => self.in_vectors::<S, 4>(simd),
        }
    }
}

impl<K: Sink, T: Term> Few<'_, K, T> {
    /// The sums of a score are `V` vectors.
    #[inline(always)]
    fn in_vectors<S: Simd, const V: usize>(self, simd: S) {
        let Self { queries, rows, first_row, term, sink } = self;
        let (steps, rest) = rows.as_chunks::<STEP>();
        let mut row = first_row;
        for rows in steps {
            score::<S, V, _>(simd, queries, *rows, row, term, sink);
            row += STEP;
        }
        for rows in rest {
            score::<S, V, 1>(simd, queries, [*rows], row, term, sink);
            row += 1;
        }
    }
}

#[inline(always)]
fn score<S: Simd, const V: usize, const M: usize>(
    simd: S,
    queries: &[&[f32]],
    rows: [&[f32]; M],
    row: usize,
    term: impl Term,
    sink: &mut impl Sink,
) {
    let mut scores = [[0.0; LANES_MAX]; M];
    for (lane, query) in queries.iter().enumerate() {
        let sums = simd.vectorize(Sums::<_, V, M> { query, rows, term });
        for (scores, sum) in scores.iter_mut().zip(sums) {
            scores[lane] = sum;
        }
    }
    let scores =
        scores.map(|scores| [term.finish(simd, simd.partial_load_f32s(&scores[..S::F32_LANES]))]);
    sink.take(simd, 0, row, &scores);
}

/// What is summed over the elements of a query and each of `M` rows.
struct Sums<'a, T, const V: usize, const M: usize> {
    query: &'a [f32],
    rows: [&'a [f32]; M],
    term: T,
}

impl<T: Term, const V: usize, const M: usize> WithSimd for Sums<'_, T, V, M> {
    type Output = [f32; M];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f32; M] {
        let Self { query, rows, term } = self;
        let mut totals = [0.0; M];
        for start in (0..query.len()).step_by(CHUNK) {
            let chunk = start..query.len().min(start + CHUNK);
            let (query, query_rest) = query[chunk.clone()].as_chunks::<SUMS>();
            let parts = rows.map(|row| row[chunk.clone()].as_chunks::<SUMS>());
            let rows = parts.map(|(row, _)| &row[..query.len()]);
            let mut sums = [[simd.splat_f32s(0.0); V]; M];
            for (place, query) in query.iter().enumerate() {
                sums = add(simd, query, rows.map(|row| &row[place]), term, sums);
            }
            if !query_rest.is_empty() {
                let rests = parts.map(|(_, rest)| padded(rest));
                sums = add(simd, &padded(query_rest), rests.each_ref(), term, sums);
            }
            for (total, sums) in totals.iter_mut().zip(sums) {
                let mut numbers = [0.0; SUMS];
                for (numbers, sum) in S::as_mut_simd_f32s(&mut numbers).0.iter_mut().zip(sums) {
                    *numbers = sum;
                }
                *total = numbers.iter().fold(*total, |total, number| total + number);
            }
        }
        totals
    }
}

#[inline(always)]
fn add<S: Simd, const V: usize, const M: usize>(
    simd: S,
    query: &[f32; SUMS],
    rows: [&[f32; SUMS]; M],
    term: impl Term,
    mut sums: [[S::f32s; V]; M],
) -> [[S::f32s; V]; M] {
    let query = as_arrays::<V, _>(S::as_simd_f32s(query).0).0[0];
    for (row, sums) in rows.iter().zip(&mut sums) {
        let row = as_arrays::<V, _>(S::as_simd_f32s(&row[..]).0).0[0];
        for vector in 0..V {
            sums[vector] = term.add(simd, row[vector], query[vector], sums[vector]);
        }
    }
    sums
}

/// With zeros, which add nothing to any sum.
#[inline(always)]
fn padded(rest: &[f32]) -> [f32; SUMS] {
    let mut padded = [0.0; SUMS];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}
