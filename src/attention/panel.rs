//! The blocked kernel: panels of queries against blocks of keys.
//!
//! Scores are held transposed, one row for every key and one lane for every query. So maxima and
//! sums of the softmax need no operation across lanes, both products broadcast single elements of
//! rows as they lie in memory, and only the queries have to be transposed, once.

use pulp::{Simd, WithSimd, as_arrays, as_arrays_mut};

use super::exp::exp2;
use super::output::Rows;
use super::scratch::Scratch;
use super::{Head, KEY_BLOCK, LOWEST};

/// Vectors of queries in a panel: with as many sums of `BROADCASTS` elements in registers there
/// is one register left for each operand of AVX2.
const PANEL: usize = 3;

/// Elements that a step of a product broadcasts.
const BROADCASTS: usize = 4;

/// The distance between two groups of value columns; not a power of two, or else their copies
/// would compete for the same cache sets.
const VALUE_GROUP: usize = BROADCASTS * (KEY_BLOCK + BROADCASTS);

/// What the number of queries of a tile is rounded to: whole panels for up to 16 lanes.
pub(super) const QUERY_UNIT: usize = PANEL * 16;

/// The most queries of a tile: enough to make up for arranging the keys, and so few that their
/// transposes and sums stay in the second cache level.
pub(super) fn max_queries(head_dim: usize) -> usize {
    (240 * 64 / head_dim / QUERY_UNIT * QUERY_UNIT).clamp(QUERY_UNIT, 240)
}

/// Computes the queries of a tile.
#[inline(always)]
pub(super) fn attend<S: Simd>(simd: S, head: &Head<'_>, scratch: &mut Scratch, out: &mut Rows<'_>) {
    let width = PANEL * S::F32_LANES;
    let padded = head.queries.next_multiple_of(S::F32_LANES);
    let value_groups = head.dim.div_ceil(BROADCASTS);
    let sum_rows = value_groups * BROADCASTS;
    let block = head.keys.min(KEY_BLOCK);
    let [queries, keys, values, scores, maxima, totals, sums] = scratch.split([
        padded * head.dim,
        block * head.dim,
        value_groups * VALUE_GROUP,
        block * width,
        padded,
        padded,
        padded * sum_rows,
    ]);
    transpose_queries::<S>(head, queries);
    maxima.fill(LOWEST);
    totals.fill(0.0);
    sums.fill(0.0);
    for first in (0..head.keys).step_by(KEY_BLOCK) {
        let count = KEY_BLOCK.min(head.keys - first);
        for (index, row) in keys.chunks_exact_mut(head.dim).take(count).enumerate() {
            row.copy_from_slice(head.key(first + index));
        }
        group_values(head, first, count, values);
        let panels = queries
            .chunks(width * head.dim)
            .zip(sums.chunks_mut(width * sum_rows))
            .zip(maxima.chunks_mut(width).zip(totals.chunks_mut(width)));
        for ((queries, sums), (maxima, totals)) in panels {
            let keys = &keys[..count * head.dim];
            let lanes = maxima.len();
            let scores = &mut scores[..count * lanes];
            let step = Step { dim: head.dim, keys, values, queries, scores, maxima, totals, sums };
            match lanes / S::F32_LANES {
                1 => simd.vectorize(Panel::<1>(step)),
                2 => simd.vectorize(Panel::<2>(step)),
                _ => simd.vectorize(Panel::<PANEL>(step)),
            }
        }
    }
    for total in totals.iter_mut() {
        *total = total.recip();
    }
    for (index, (sums, factors)) in
        sums.chunks(width * sum_rows).zip(totals.chunks(width)).enumerate()
    {
        let first = index * width;
        for lane in 0..factors.len().min(head.queries - first) {
            let column = sums[lane..].iter().step_by(factors.len());
            for (element, sum) in out.row(first + lane).iter_mut().zip(column) {
                *element = sum * factors[lane];
            }
        }
    }
}

/// Writes the scaled queries as panels of one row for every element; lanes without a query are 0.
#[inline(always)]
fn transpose_queries<S: Simd>(head: &Head<'_>, panels: &mut [f32]) {
    let scale = head.scale();
    let width = PANEL * S::F32_LANES;
    for (index, panel) in panels.chunks_mut(width * head.dim).enumerate() {
        let first = index * width;
        let lanes = panel.len() / head.dim;
        for lane in 0..lanes {
            let column = panel[lane..].iter_mut().step_by(lanes);
            if first + lane < head.queries {
                for (element, query) in column.zip(head.query(first + lane)) {
                    *element = query * scale;
                }
            } else {
                column.for_each(|element| *element = 0.0);
            }
        }
    }
}

/// Copies a block of values so that the columns of a step lie beside each other.
#[inline(always)]
fn group_values(head: &Head<'_>, first: usize, count: usize, groups: &mut [f32]) {
    for key in 0..count {
        let (whole, rest) = as_arrays::<BROADCASTS, _>(head.value(first + key));
        let mut targets = groups.chunks_exact_mut(VALUE_GROUP);
        for (columns, group) in whole.iter().zip(&mut targets) {
            group[key * BROADCASTS..][..BROADCASTS].copy_from_slice(columns);
        }
        if let (false, Some(group)) = (rest.is_empty(), groups.chunks_exact_mut(VALUE_GROUP).last())
        {
            let target = &mut group[key * BROADCASTS..][..BROADCASTS];
            target.fill(0.0);
            target[..rest.len()].copy_from_slice(rest);
        }
    }
}

/// A panel of queries and a block of keys, with what is known of the queries' softmax.
struct Step<'a> {
    dim: usize,
    /// One row of `dim` elements for every key.
    keys: &'a [f32],
    /// Groups of value columns at a distance of `VALUE_GROUP`.
    values: &'a [f32],
    /// One row of lanes for every element.
    queries: &'a [f32],
    /// One row of lanes for every key; written before it is read.
    scores: &'a mut [f32],
    /// The largest score of every lane so far.
    maxima: &'a mut [f32],
    /// The sum of the weights of every lane so far.
    totals: &'a mut [f32],
    /// One row of lanes for every value column: the weighted sums so far.
    sums: &'a mut [f32],
}

/// A [`Step`] on panels of `W` vectors.
struct Panel<'a, const W: usize>(Step<'a>);

impl<const W: usize> WithSimd for Panel<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Step { dim, keys, values, queries, scores, maxima, totals, sums } = self.0;
        let queries = vectors::<S, W>(queries);
        let scores = vectors_mut::<S, W>(scores);
        let maxima = &mut vectors_mut::<S, W>(maxima)[0];
        let totals = &mut vectors_mut::<S, W>(totals)[0];
        let sums = vectors_mut::<S, W>(sums);

        let mut largest = *maxima;
        for (keys, scores) in keys.chunks(BROADCASTS * dim).zip(scores.chunks_mut(BROADCASTS)) {
            match scores.len() {
                1 => score::<S, 1, W>(simd, keys, dim, queries, scores, &mut largest),
                2 => score::<S, 2, W>(simd, keys, dim, queries, scores, &mut largest),
                3 => score::<S, 3, W>(simd, keys, dim, queries, scores, &mut largest),
                _ => score::<S, BROADCASTS, W>(simd, keys, dim, queries, scores, &mut largest),
            }
        }

        let mut decay = [simd.splat_f32s(0.0); W];
        let mut total = [simd.splat_f32s(0.0); W];
        for lane in 0..W {
            decay[lane] = exp2(simd, simd.sub_f32s(maxima[lane], largest[lane]));
        }
        for row in scores.iter_mut() {
            for lane in 0..W {
                row[lane] = exp2(simd, simd.sub_f32s(row[lane], largest[lane]));
                total[lane] = simd.add_f32s(total[lane], row[lane]);
            }
        }
        for lane in 0..W {
            totals[lane] = simd.mul_add_e_f32s(totals[lane], decay[lane], total[lane]);
        }
        *maxima = largest;

        let sums = as_arrays_mut::<BROADCASTS, _>(sums).0;
        for (values, sums) in values.chunks_exact(VALUE_GROUP).zip(sums) {
            weigh(simd, as_arrays::<BROADCASTS, _>(values).0, scores, &decay, sums);
        }
    }
}

/// Writes the scores of `M` keys and raises `largest` to them.
#[inline(always)]
fn score<S: Simd, const M: usize, const W: usize>(
    simd: S,
    keys: &[f32],
    dim: usize,
    queries: &[[S::f32s; W]],
    scores: &mut [[S::f32s; W]],
    largest: &mut [S::f32s; W],
) {
    let mut rows: [&[f32]; M] = [&[]; M];
    for (index, row) in rows.iter_mut().enumerate() {
        *row = &keys[index * dim..][..dim];
    }
    let mut tile = [[simd.splat_f32s(0.0); W]; M];
    for (position, query) in queries[..dim].iter().enumerate() {
        for key in 0..M {
            let element = simd.splat_f32s(rows[key][position]);
            for lane in 0..W {
                tile[key][lane] = simd.mul_add_e_f32s(element, query[lane], tile[key][lane]);
            }
        }
    }
    for key in 0..M {
        for lane in 0..W {
            largest[lane] = simd.max_f32s(largest[lane], tile[key][lane]);
        }
        scores[key] = tile[key];
    }
}

/// Multiplies the sums of a group of value columns by `decay` and adds the weighted values.
#[inline(always)]
fn weigh<S: Simd, const W: usize>(
    simd: S,
    values: &[[f32; BROADCASTS]],
    weights: &[[S::f32s; W]],
    decay: &[S::f32s; W],
    sums: &mut [[S::f32s; W]; BROADCASTS],
) {
    // Sums of a block start at zero: adding every value to a sum over thousands of keys would
    // lose more digits.
    let mut tile = [[simd.splat_f32s(0.0); W]; BROADCASTS];
    for (value, weight) in values.iter().zip(weights) {
        for column in 0..BROADCASTS {
            let element = simd.splat_f32s(value[column]);
            for lane in 0..W {
                tile[column][lane] = simd.mul_add_e_f32s(element, weight[lane], tile[column][lane]);
            }
        }
    }
    for column in 0..BROADCASTS {
        for lane in 0..W {
            sums[column][lane] =
                simd.mul_add_e_f32s(sums[column][lane], decay[lane], tile[column][lane]);
        }
    }
}

#[inline(always)]
fn vectors<S: Simd, const W: usize>(slice: &[f32]) -> &[[S::f32s; W]] {
    as_arrays::<W, _>(S::as_simd_f32s(slice).0).0
}

#[inline(always)]
fn vectors_mut<S: Simd, const W: usize>(slice: &mut [f32]) -> &mut [[S::f32s; W]] {
    as_arrays_mut::<W, _>(S::as_mut_simd_f32s(slice).0).0
}
