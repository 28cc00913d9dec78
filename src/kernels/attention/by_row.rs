//! The kernel for sequences with a few query rows, such as the first row alone.
//!
//! Keys and values are read where they lie: each is used so few times that moving it would cost
//! more than the arithmetic.

use pulp::{Simd, WithSimd};

use super::head::{Head, LOWEST};
use super::shared_output::Rows;
use crate::kernels::simd::{Scratch, exp2, mul_add};

/// Keys that are scored before their values are summed: a multiple of every number of lanes.
const KEY_BLOCK: usize = 128;

/// Keys that are scored at a time, which hides the latency of the additions.
const KEYS: usize = 4;

/// Computes the queries of a tile.
#[inline(always)]
pub(super) fn attend<S: Simd>(simd: S, head: &Head<'_>, scratch: &mut Scratch, out: &mut Rows<'_>) {
    for index in 0..head.queries {
        simd.vectorize(Row { head, query: head.query(index), scratch, out: out.row(index) });
    }
}

struct Row<'a> {
    head: &'a Head<'a>,
    query: &'a [f32],
    scratch: &'a mut Scratch,
    out: &'a mut [f32],
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { head, query, scratch, out } = self;
        let Some([scaled, scores]) = scratch.split([head.dim, KEY_BLOCK]) else { return };
        let scale = head.scale();
        for (scaled, element) in scaled.iter_mut().zip(query) {
            *scaled = element * scale;
        }
        out.fill(0.0);
        let (mut maximum, mut total) = (LOWEST, 0.0);
        for first in (0..head.keys).step_by(KEY_BLOCK) {
            let count = KEY_BLOCK.min(head.keys - first);
            // Lanes behind the last key get no weight.
            let (scores, _) = scores.split_at_mut(count.next_multiple_of(S::F32_LANES));
            scores[count..].fill(f32::NEG_INFINITY);
            score(simd, head, first, scaled, &mut scores[..count]);
            let decay = soften(simd, scores, &mut maximum, &mut total);
            weigh(simd, head, first, &scores[..count], decay, out);
        }
        let factor = total.recip();
        for element in out {
            *element *= factor;
        }
    }
}

/// Writes the scores of the keys from `first` on.
#[inline(always)]
fn score<S: Simd>(simd: S, head: &Head<'_>, first: usize, query: &[f32], scores: &mut [f32]) {
    let mut key = first;
    let (groups, rest) = pulp::as_arrays_mut::<KEYS, _>(scores);
    for group in groups {
        *group = dot(simd, query, [0, 1, 2, 3].map(|index| head.key(key + index)));
        key += KEYS;
    }
    for score in rest {
        [*score] = dot(simd, query, [head.key(key)]);
        key += 1;
    }
}

/// The products of a query with `N` keys.
#[inline(always)]
fn dot<S: Simd, const N: usize>(simd: S, query: &[f32], keys: [&[f32]; N]) -> [f32; N] {
    let mut sums = [simd.splat_f32s(0.0); N];
    let (query, query_rest) = S::as_simd_f32s(query);
    for (position, &element) in query.iter().enumerate() {
        for index in 0..N {
            let key = S::as_simd_f32s(keys[index]).0[position];
            sums[index] = mul_add(simd, element, key, sums[index]);
        }
    }
    if !query_rest.is_empty() {
        let element = simd.partial_load_f32s(query_rest);
        for index in 0..N {
            let key = simd.partial_load_f32s(S::as_simd_f32s(keys[index]).1);
            sums[index] = mul_add(simd, element, key, sums[index]);
        }
    }
    sums.map(|sum| simd.reduce_sum_f32s(sum))
}

/// Turns scores into weights, and returns the factor that corrects the sums of earlier blocks.
#[inline(always)]
fn soften<S: Simd>(simd: S, scores: &mut [f32], maximum: &mut f32, total: &mut f32) -> f32 {
    let scores = S::as_mut_simd_f32s(scores).0;
    let mut largest = simd.splat_f32s(*maximum);
    for &score in scores.iter() {
        largest = simd.max_f32s(largest, score);
    }
    let earlier = *maximum;
    *maximum = simd.reduce_max_f32s(largest);
    let largest = simd.splat_f32s(*maximum);
    let mut sum = simd.splat_f32s(0.0);
    for score in scores {
        *score = exp2(simd, simd.sub_f32s(*score, largest));
        sum = simd.add_f32s(sum, *score);
    }
    let decay = exp2(simd, simd.splat_f32s(earlier - *maximum));
    let decay = simd.reduce_max_f32s(decay);
    *total = *total * decay + simd.reduce_sum_f32s(sum);
    decay
}

/// Multiplies the sums in `out` by `decay` and adds the weighted values from `first` on.
#[inline(always)]
fn weigh<S: Simd>(
    simd: S,
    head: &Head<'_>,
    first: usize,
    weights: &[f32],
    decay: f32,
    out: &mut [f32],
) {
    let decay = simd.splat_f32s(decay);
    let (sums, rest) = S::as_mut_simd_f32s(out);
    let behind = sums.len();
    let (eights, sums) = pulp::as_arrays_mut::<8, _>(sums);
    let mut column = 0;
    for sums in eights {
        weigh_columns(simd, head, first, weights, decay, column, sums);
        column += 8;
    }
    let (fours, sums) = pulp::as_arrays_mut::<4, _>(sums);
    for sums in fours {
        weigh_columns(simd, head, first, weights, decay, column, sums);
        column += 4;
    }
    for sums in pulp::as_arrays_mut::<1, _>(sums).0 {
        weigh_columns(simd, head, first, weights, decay, column, sums);
        column += 1;
    }
    if !rest.is_empty() {
        let mut sum = simd.splat_f32s(0.0);
        for (key, &weight) in weights.iter().enumerate() {
            let value = S::as_simd_f32s(&head.value(first + key)[behind * S::F32_LANES..]).1;
            sum = mul_add(simd, simd.splat_f32s(weight), simd.partial_load_f32s(value), sum);
        }
        let earlier = simd.partial_load_f32s(rest);
        simd.partial_store_f32s(rest, mul_add(simd, earlier, decay, sum));
    }
}

/// Does [`weigh`] on the `N` vectors of columns from vector `column` on.
#[inline(always)]
fn weigh_columns<S: Simd, const N: usize>(
    simd: S,
    head: &Head<'_>,
    first: usize,
    weights: &[f32],
    decay: S::f32s,
    column: usize,
    sums: &mut [S::f32s; N],
) {
    let mut block = [simd.splat_f32s(0.0); N];
    for (key, &weight) in weights.iter().enumerate() {
        let weight = simd.splat_f32s(weight);
        let values = &S::as_simd_f32s(head.value(first + key)).0[column..][..N];
        for index in 0..N {
            block[index] = mul_add(simd, weight, values[index], block[index]);
        }
    }
    for index in 0..N {
        sums[index] = mul_add(simd, sums[index], decay, block[index]);
    }
}
