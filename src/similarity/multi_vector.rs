//! Similarity by multi-vectors (late interaction, MaxSim): the mean of the greatest dot product of
//! each row of a text with the rows of another, as FlagEmbedding defines it.
//!
//! Products are never stored. Rows of the first text lie transposed in panels, one lane for each,
//! so that maxima need no operation across lanes; rows of the second are read as they lie in
//! memory, and their elements broadcast.

use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use pulp::{Simd, WithSimd, as_arrays};

use super::shape::check_shape;
use crate::error::{Result, error};
use crate::kernels::simd::{mul_add, vectorize};
use crate::parallel;

/// NR in vectors: the vectors of rows in a panel.
const PANEL: usize = 2;
/// MR: the rows of the second text whose products with a panel are summed at once, in registers.
const STEP: usize = 6;
/// Texts that a thread takes at a time: the transposed rows serve all of them.
const PART: usize = 64;
/// Multiplications that take as long as starting a thread.
const THREAD_WORK_MIN: usize = 1 << 25;

/// For each text of `a` and each of `b`, the mean over the rows of the first of the greatest dot
/// product with a row of the second. A text without rows scores 0. Uses at most `threads` threads.
pub fn similarity_multi(
    a: &[ArrayView2<'_, f32>],
    b: &[ArrayView2<'_, f32>],
    threads: usize,
    scores: ArrayViewMut2<'_, f32>,
) -> Result<()> {
    check_shape((a.len(), b.len()), &scores)?;
    let mut widths = a.iter().chain(b).map(|rows| rows.ncols());
    let width = widths.next().unwrap_or_default();
    if let Some(other) = widths.find(|&other| other != width) {
        return Err(error!(
            InvalidArgument,
            "rows of {width} and of {other} numbers cannot be compared"
        ));
    }
    score(a, b, threads, scores);
    Ok(())
}

fn score(
    a: &[ArrayView2<'_, f32>],
    b: &[ArrayView2<'_, f32>],
    threads: usize,
    mut scores: ArrayViewMut2<'_, f32>,
) {
    let rows = |texts: &[ArrayView2<'_, f32>]| texts.iter().map(|text| text.nrows()).sum::<usize>();
    let work = a.iter().map(|text| text.len()).sum::<usize>().saturating_mul(rows(b));
    let threads = threads.clamp(1, 1 + work / THREAD_WORK_MIN);
    if scores.len() < threads {
        for ((row, column), score) in scores.indexed_iter_mut() {
            *score = one_score(a[row], b[column], threads);
        }
        return;
    }
    let (divide_a, longer) = (a.len() >= b.len(), a.len().max(b.len()));
    let part = longer.div_ceil(threads).clamp(1, PART);
    let axis = Axis(if divide_a { 0 } else { 1 });
    let parts = scores.axis_chunks_iter_mut(axis, part).enumerate();
    parallel::for_each(threads, parts, |(index, mut scores)| {
        let texts = index * part..index * part + scores.len_of(axis);
        let (a, b) = if divide_a { (&a[texts], b) } else { (a, &b[texts]) };
        for (query, mut scores) in a.iter().zip(scores.rows_mut()) {
            for (texts, mut scores) in
                b.chunks(PART).zip(scores.axis_chunks_iter_mut(Axis(0), PART))
            {
                let mut maxima = vec![0.0; texts.len() * query.nrows()];
                vectorize(Maxima { query: *query, texts, maxima: &mut maxima });
                for (index, score) in scores.iter_mut().enumerate() {
                    *score = mean(&maxima[index * query.nrows()..][..query.nrows()]);
                }
            }
        }
    });
}

/// The score of two texts, the rows of the second divided among threads.
fn one_score(query: ArrayView2<'_, f32>, text: ArrayView2<'_, f32>, threads: usize) -> f32 {
    if query.nrows() == 0 || text.nrows() == 0 {
        return 0.0;
    }
    let part = text.nrows().div_ceil(threads);
    let mut maxima = vec![0.0; text.nrows().div_ceil(part) * query.nrows()];
    let parts = text.axis_chunks_iter(Axis(0), part).zip(maxima.chunks_mut(query.nrows()));
    parallel::for_each(threads, parts, |(rows, maxima)| {
        vectorize(Maxima { query, texts: &[rows], maxima });
    });
    let (first, others) = maxima.split_at_mut(query.nrows());
    for part in others.chunks(query.nrows()) {
        for (max, &other) in first.iter_mut().zip(part) {
            *max = greater(*max, other);
        }
    }
    mean(first)
}

/// The greater number. Unlike `f32::max`, it keeps a NaN.
fn greater(max: f32, other: f32) -> f32 {
    if max.is_nan() || other <= max { max } else { other }
}

fn mean(maxima: &[f32]) -> f32 {
    let sum: f64 = maxima.iter().map(|&max| f64::from(max)).sum();
    if maxima.is_empty() { 0.0 } else { (sum / maxima.len() as f64) as f32 }
}

/// Finds the maxima of all rows of `query` with each text, which are 0 for a text without rows.
struct Maxima<'a> {
    query: ArrayView2<'a, f32>,
    texts: &'a [ArrayView2<'a, f32>],
    /// The maximum of each row of `query`, for each text.
    maxima: &'a mut [f32],
}

impl WithSimd for Maxima<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { query, texts, maxima } = self;
        let (count, dim) = query.dim();
        let width = PANEL * S::F32_LANES;
        if count == 0 || dim == 0 {
            return;
        }
        let mut panels = vec![0.0; count.next_multiple_of(S::F32_LANES) * dim];
        for (panel, rows) in
            panels.chunks_mut(width * dim).zip(query.axis_chunks_iter(Axis(0), width))
        {
            let lanes = panel.len() / dim;
            for (lane, row) in rows.rows().into_iter().enumerate() {
                for (target, &element) in panel[lane..].iter_mut().step_by(lanes).zip(row) {
                    *target = element;
                }
            }
        }
        for (text, maxima) in texts.iter().zip(maxima.chunks_mut(count)) {
            if text.nrows() == 0 {
                continue;
            }
            let rows = text.as_standard_layout();
            let Some(rows) = rows.as_slice() else { continue };
            for (panel, maxima) in panels.chunks(width * dim).zip(maxima.chunks_mut(width)) {
                if panel.len() == width * dim {
                    simd.vectorize(Panel::<PANEL> { panel, rows, dim, maxima });
                } else {
                    simd.vectorize(Panel::<1> { panel, rows, dim, maxima });
                }
            }
        }
    }
}

/// A panel of `W` vectors and the rows of a text.
struct Panel<'a, const W: usize> {
    /// One row of lanes for every element.
    panel: &'a [f32],
    rows: &'a [f32],
    dim: usize,
    maxima: &'a mut [f32],
}

impl<const W: usize> WithSimd for Panel<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { panel, rows, dim, maxima } = self;
        let panel = as_arrays::<W, _>(S::as_simd_f32s(panel).0).0;
        let mut largest = [simd.splat_f32s(f32::NEG_INFINITY); W];
        let mut steps = rows.chunks_exact(STEP * dim);
        for rows in &mut steps {
            raise::<S, STEP, W>(simd, rows, dim, panel, &mut largest);
        }
        for row in steps.remainder().chunks_exact(dim) {
            raise::<S, 1, W>(simd, row, dim, panel, &mut largest);
        }
        for (maxima, largest) in maxima.chunks_mut(S::F32_LANES).zip(largest) {
            simd.partial_store_f32s(maxima, largest);
        }
    }
}

/// Raises the maxima to the products of `M` rows.
#[inline(always)]
fn raise<S: Simd, const M: usize, const W: usize>(
    simd: S,
    rows: &[f32],
    dim: usize,
    panel: &[[S::f32s; W]],
    largest: &mut [S::f32s; W],
) {
    let mut starts: [&[f32]; M] = [&[]; M];
    for (index, row) in starts.iter_mut().enumerate() {
        *row = &rows[index * dim..][..dim];
    }
    let mut sums = [[simd.splat_f32s(0.0); W]; M];
    for (position, lanes) in panel[..dim].iter().enumerate() {
        for row in 0..M {
            let element = simd.splat_f32s(starts[row][position]);
            for lane in 0..W {
                sums[row][lane] = mul_add(simd, element, lanes[lane], sums[row][lane]);
            }
        }
    }
    for sums in sums {
        for lane in 0..W {
            // As in `greater`: a NaN stays.
            let max = largest[lane];
            let keep = simd.less_than_or_equal_f32s(sums[lane], max);
            let greater = simd.select_f32s(keep, max, sums[lane]);
            let number = simd.equal_f32s(max, max);
            largest[lane] = simd.select_f32s(number, greater, max);
        }
    }
}
