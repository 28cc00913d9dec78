//! The blocked kernel: panels of queries against blocks of keys.
//!
//! Scores are held transposed, one row for every key and one lane for every query. So maxima and
//! sums of the softmax need no operation across lanes, both products broadcast single elements of
//! rows as they lie in memory, and only the queries have to be transposed, once.

use pulp::{Simd, WithSimd, as_arrays, as_arrays_mut};

use super::head::{Head, LOWEST};
use super::shared_output::Rows;
use crate::kernels::simd::{Scratch, exp2, mul_add, prefetch};

/// NR in vectors: the vectors of queries in a panel. Together with MR, `BROADCASTS`, it leaves
/// registers for the operands. Three vectors by four elements need as many registers, but the
/// compiler then spills one.
const PANEL: usize = 2;

/// MR: the elements that one step of a product broadcasts.
const BROADCASTS: usize = 6;

/// Keys that are scored before their values are summed. Their scores stay in the first cache level
/// beside a group of their values, and texts of 128 or 512 tokens nearly fill whole blocks.
const KEY_BLOCK: usize = 22 * BROADCASTS;

/// The distance between two groups of value columns.
const VALUE_GROUP: usize = BROADCASTS * KEY_BLOCK;

/// What the number of queries of a tile is rounded to: whole panels for up to 16 lanes.
pub(super) const QUERY_UNIT: usize = PANEL * 16;

/// The most queries of a tile: enough to make up for arranging the keys, and so few that their
/// transposes and sums stay in the second cache level.
pub(super) fn max_queries(head_dim: usize) -> usize {
    (256 * 64 / head_dim / QUERY_UNIT * QUERY_UNIT).clamp(QUERY_UNIT, 256)
}

/// Computes the queries of a tile.
#[inline(always)]
pub(super) fn attend<S: Simd>(simd: S, head: &Head<'_>, scratch: &mut Scratch, out: &mut Rows<'_>) {
    let width = PANEL * S::F32_LANES;
    let padded = head.queries.next_multiple_of(S::F32_LANES);
    let value_groups = head.dim.div_ceil(BROADCASTS);
    let block = head.keys.min(KEY_BLOCK);
    let buffers = scratch.split([
        padded * head.dim,
        block * head.dim,
        value_groups * VALUE_GROUP,
        block * width,
        padded,
        padded,
        padded * head.dim,
    ]);
    let Some([queries, keys, values, scores, maxima, totals, sums]) = buffers else { return };
    transpose_queries::<S>(head, queries);
    maxima.fill(LOWEST);
    totals.fill(0.0);
    sums.fill(0.0);
    for first in (0..head.keys).step_by(KEY_BLOCK) {
        let count = KEY_BLOCK.min(head.keys - first);
        for (index, row) in keys.chunks_exact_mut(head.dim).take(count).enumerate() {
            row.copy_from_slice(head.key(first + index));
            // The values are needed next, and hardly ever in the cache yet.
            for line in head.value(first + index).chunks(16) {
                prefetch(line.as_ptr());
            }
        }
        group_values(head, first, count, values);
        let panels = queries
            .chunks(width * head.dim)
            .zip(sums.chunks_mut(width * head.dim))
            .zip(maxima.chunks_mut(width).zip(totals.chunks_mut(width)));
        for ((queries, sums), (maxima, totals)) in panels {
            let keys = &keys[..count * head.dim];
            let lanes = maxima.len();
            let scores = &mut scores[..count * lanes];
            let step = Step { dim: head.dim, keys, values, queries, scores, maxima, totals, sums };
            if lanes == width {
                simd.vectorize(Panel::<PANEL>(step));
            } else {
                simd.vectorize(Panel::<1>(step));
            }
        }
    }
    write_output::<S>(head, totals, sums, out);
}

/// Divides the sums of each query by its total, and writes them as rows.
#[inline(always)]
fn write_output<S: Simd>(head: &Head<'_>, totals: &mut [f32], sums: &[f32], out: &mut Rows<'_>) {
    let width = PANEL * S::F32_LANES;
    for total in totals.iter_mut() {
        *total = total.recip();
    }
    for (index, (sums, factors)) in
        sums.chunks(width * head.dim).zip(totals.chunks(width)).enumerate()
    {
        let first = index * width;
        let lanes = factors.len();
        let used = lanes.min(head.queries - first);
        let squares = if lanes.is_multiple_of(SQUARE) { used / SQUARE * SQUARE } else { 0 };
        for lane in (0..squares).step_by(SQUARE) {
            let factors = &factors[lane..][..SQUARE];
            for column in (0..head.dim / SQUARE * SQUARE).step_by(SQUARE) {
                let square = transposed(&sums[column * lanes + lane..], lanes);
                for row in 0..SQUARE {
                    let target = &mut out.row(first + lane + row)[column..][..SQUARE];
                    target.copy_from_slice(&square[row].map(|sum| sum * factors[row]));
                }
            }
        }
        for (lane, &factor) in factors[..used].iter().enumerate() {
            let start = if lane < squares { head.dim / SQUARE * SQUARE } else { 0 };
            let row = &mut out.row(first + lane)[start..];
            for (element, sums) in row.iter_mut().zip(sums[start * lanes..].chunks_exact(lanes)) {
                *element = sums[lane] * factor;
            }
        }
    }
}

/// The side of the squares in which matrices are transposed.
const SQUARE: usize = 4;

/// The transpose of the square at the start of rows that lie `stride` apart.
#[inline(always)]
fn transposed(rows: &[f32], stride: usize) -> [[f32; SQUARE]; SQUARE] {
    let mut square = [[0.0; SQUARE]; SQUARE];
    for row in 0..SQUARE {
        let elements = &rows[row * stride..][..SQUARE];
        for column in 0..SQUARE {
            square[column][row] = elements[column];
        }
    }
    square
}

/// Writes the scaled queries as panels of one row for every element; lanes without a query are 0.
#[inline(always)]
fn transpose_queries<S: Simd>(head: &Head<'_>, panels: &mut [f32]) {
    let scale = head.scale();
    let width = PANEL * S::F32_LANES;
    for (index, panel) in panels.chunks_mut(width * head.dim).enumerate() {
        let first = index * width;
        let lanes = panel.len() / head.dim;
        let used = lanes.min(head.queries - first);
        let squares = if lanes.is_multiple_of(SQUARE) { used / SQUARE * SQUARE } else { 0 };
        for lane in (0..squares).step_by(SQUARE) {
            let rows = &head.q[(first + lane) * head.stride..];
            for position in (0..head.dim / SQUARE * SQUARE).step_by(SQUARE) {
                let square = transposed(&rows[position..], head.stride);
                for row in 0..SQUARE {
                    let target = &mut panel[(position + row) * lanes + lane..][..SQUARE];
                    target.copy_from_slice(&square[row].map(|element| element * scale));
                }
            }
        }
        for lane in 0..lanes {
            let start = if lane < squares { head.dim / SQUARE * SQUARE } else { 0 };
            let targets = panel[start * lanes..].chunks_exact_mut(lanes);
            if lane < used {
                for (target, element) in targets.zip(&head.query(first + lane)[start..]) {
                    target[lane] = element * scale;
                }
            } else {
                targets.for_each(|target| target[lane] = 0.0);
            }
        }
    }
}

/// Copies a block of values so that the columns of a step lie beside each other.
#[inline(always)]
fn group_values(head: &Head<'_>, first: usize, count: usize, groups: &mut [f32]) {
    for key in 0..count {
        let (whole, rest) = as_arrays::<BROADCASTS, _>(head.value(first + key));
        let mut groups = groups.chunks_exact_mut(VALUE_GROUP);
        for (columns, group) in whole.iter().zip(&mut groups) {
            group[key * BROADCASTS..][..BROADCASTS].copy_from_slice(columns);
        }
        if let Some(group) = groups.next() {
            group[key * BROADCASTS..][..rest.len()].copy_from_slice(rest);
        }
    }
}

/// A panel of queries and a block of keys, with the state of the queries' softmax.
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
                4 => score::<S, 4, W>(simd, keys, dim, queries, scores, &mut largest),
                5 => score::<S, 5, W>(simd, keys, dim, queries, scores, &mut largest),
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
            totals[lane] = mul_add(simd, totals[lane], decay[lane], total[lane]);
        }
        *maxima = largest;

        for (values, sums) in values.chunks_exact(VALUE_GROUP).zip(sums.chunks_mut(BROADCASTS)) {
            let values = as_arrays(values).0;
            match sums.len() {
                1 => weigh::<S, 1, W>(simd, values, scores, &decay, sums),
                2 => weigh::<S, 2, W>(simd, values, scores, &decay, sums),
                3 => weigh::<S, 3, W>(simd, values, scores, &decay, sums),
                4 => weigh::<S, 4, W>(simd, values, scores, &decay, sums),
                5 => weigh::<S, 5, W>(simd, values, scores, &decay, sums),
                _ => weigh::<S, BROADCASTS, W>(simd, values, scores, &decay, sums),
            }
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
                tile[key][lane] = mul_add(simd, element, query[lane], tile[key][lane]);
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

/// Multiplies the sums of the first `M` columns of a group by `decay` and adds the weighted values.
#[inline(always)]
fn weigh<S: Simd, const M: usize, const W: usize>(
    simd: S,
    values: &[[f32; BROADCASTS]],
    weights: &[[S::f32s; W]],
    decay: &[S::f32s; W],
    sums: &mut [[S::f32s; W]],
) {
    // Sums of a block start at zero: adding every value to a sum over thousands of keys would
    // lose more digits.
    let mut tile = [[simd.splat_f32s(0.0); W]; M];
    for (value, weight) in values.iter().zip(weights) {
        for column in 0..M {
            let element = simd.splat_f32s(value[column]);
            for lane in 0..W {
                tile[column][lane] = mul_add(simd, element, weight[lane], tile[column][lane]);
            }
        }
    }
    let sums = &mut sums[..M];
    for column in 0..M {
        for lane in 0..W {
            sums[column][lane] = mul_add(simd, sums[column][lane], decay[lane], tile[column][lane]);
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
