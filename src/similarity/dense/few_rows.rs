//! A few rows with many, all read in place: the time goes into reading the many from memory.

use pulp::{Simd, WithSimd, as_arrays};

use super::order::{CHUNK, LANES_MAX, SUMS, Sink, padded};
use crate::similarity::metric::Term;

/// The most rows for which this is faster than `many_rows`.
pub(super) const ROWS_MAX: usize = 16;

pub(super) struct Few<'a, K, T> {
    pub queries: &'a [&'a [f32]],
    pub rows: &'a [&'a [f32]],
    /// The index that the first of `rows` has for the sink.
    pub first_row: usize,
    pub term: T,
    pub sink: &'a mut K,
}

impl<K: Sink, T: Term> WithSimd for Few<'_, K, T> {
    type Output = ();

    /// As many sums at once as there are registers for, which hides the latency of the additions.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match SUMS / S::F32_LANES {
            1 => self.in_vectors::<S, 1, 4, 6>(simd),
            2 => self.in_vectors::<S, 2, 2, 3>(simd),
            _ => self.in_vectors::<S, 4, 1, 3>(simd),
        }
    }
}

impl<K: Sink, T: Term> Few<'_, K, T> {
    /// The sums of a score are `V` vectors, and `Q` queries are compared with `M` rows at once.
    #[inline(always)]
    fn in_vectors<S: Simd, const V: usize, const Q: usize, const M: usize>(self, simd: S) {
        let Self { queries, rows, first_row, term, sink } = self;
        let (steps, rest) = rows.as_chunks::<M>();
        let mut row = first_row;
        for rows in steps {
            score::<S, V, Q, M>(simd, queries, *rows, row, term, sink);
            row += M;
        }
        for rows in rest {
            score::<S, V, Q, 1>(simd, queries, [*rows], row, term, sink);
            row += 1;
        }
    }
}

#[inline(always)]
fn score<S: Simd, const V: usize, const Q: usize, const M: usize>(
    simd: S,
    queries: &[&[f32]],
    rows: [&[f32]; M],
    row: usize,
    term: impl Term,
    sink: &mut impl Sink,
) {
    for (first, queries) in (0..).step_by(S::F32_LANES).zip(queries.chunks(S::F32_LANES)) {
        let mut scores = [[0.0; LANES_MAX]; M];
        let (groups, rest) = queries.as_chunks::<Q>();
        let mut lane = 0;
        for queries in groups {
            let sums = simd.vectorize(Sums::<_, V, Q, M> { queries: *queries, rows, term });
            for sums in sums {
                (0..M).for_each(|row| scores[row][lane] = sums[row]);
                lane += 1;
            }
        }
        for query in rest {
            let [sums] = simd.vectorize(Sums::<_, V, 1, M> { queries: [*query], rows, term });
            (0..M).for_each(|row| scores[row][lane] = sums[row]);
            lane += 1;
        }
        let scores = scores
            .map(|scores| [term.finish(simd, simd.partial_load_f32s(&scores[..S::F32_LANES]))]);
        sink.take(simd, first, row, &scores);
    }
}

/// The sum over the elements of two rows of at least `DIM_MIN` elements.
#[inline(always)]
pub(super) fn sum_of_pair<S: Simd>(simd: S, a: &[f32], b: &[f32], term: impl Term) -> f32 {
    macro_rules! in_vectors {
        ($vectors:literal) => {{
            let [[sum]] =
                Sums::<_, $vectors, 1, 1> { queries: [b], rows: [a], term }.with_simd(simd);
            sum
        }};
    }
    match SUMS / S::F32_LANES {
        1 => in_vectors!(1),
        2 => in_vectors!(2),
        _ => in_vectors!(4),
    }
}

/// The sums over the elements of each of `Q` queries and each of `M` rows.
struct Sums<'a, T, const V: usize, const Q: usize, const M: usize> {
    queries: [&'a [f32]; Q],
    rows: [&'a [f32]; M],
    term: T,
}

impl<T: Term, const V: usize, const Q: usize, const M: usize> WithSimd for Sums<'_, T, V, Q, M> {
    type Output = [[f32; M]; Q];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [[f32; M]; Q] {
        let Self { queries, rows, term } = self;
        let mut totals = [[0.0; M]; Q];
        let dim = queries[0].len();
        for start in (0..dim).step_by(CHUNK) {
            let chunk = start..dim.min(start + CHUNK);
            let count = chunk.len() / SUMS;
            let queries = queries.map(|query| query[chunk.clone()].as_chunks::<SUMS>());
            let rows = rows.map(|row| row[chunk.clone()].as_chunks::<SUMS>());
            let query_lines = queries.map(|(lines, _)| &lines[..count]);
            let row_lines = rows.map(|(lines, _)| &lines[..count]);
            let mut sums = [[[simd.splat_f32s(0.0); V]; M]; Q];
            for line in 0..count {
                let queries = query_lines.map(|lines| &lines[line]);
                let rows = row_lines.map(|lines| &lines[line]);
                sums = add(simd, queries, rows, term, sums);
            }
            if chunk.len() > count * SUMS {
                let queries = queries.map(|(_, rest)| padded(rest));
                let rows = rows.map(|(_, rest)| padded(rest));
                sums = add(simd, queries.each_ref(), rows.each_ref(), term, sums);
            }
            for (totals, sums) in totals.iter_mut().zip(sums) {
                for (total, sums) in totals.iter_mut().zip(sums) {
                    let mut numbers = [0.0; SUMS];
                    for (numbers, sum) in S::as_mut_simd_f32s(&mut numbers).0.iter_mut().zip(sums) {
                        *numbers = sum;
                    }
                    *total = numbers.iter().fold(*total, |total, number| total + number);
                }
            }
        }
        totals
    }
}

#[inline(always)]
fn add<S: Simd, const V: usize, const Q: usize, const M: usize>(
    simd: S,
    queries: [&[f32; SUMS]; Q],
    rows: [&[f32; SUMS]; M],
    term: impl Term,
    mut sums: [[[S::f32s; V]; M]; Q],
) -> [[[S::f32s; V]; M]; Q] {
    let queries = queries.map(|query| as_arrays::<V, _>(S::as_simd_f32s(query).0).0[0]);
    for row in 0..M {
        let numbers = as_arrays::<V, _>(S::as_simd_f32s(rows[row]).0).0[0];
        for query in 0..Q {
            for vector in 0..V {
                sums[query][row][vector] = term.add(
                    simd,
                    numbers[vector],
                    queries[query][vector],
                    sums[query][row][vector],
                );
            }
        }
    }
    sums
}
