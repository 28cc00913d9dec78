//! Scores of all rows of one matrix with all rows of another, a tile at a time.
//!
//! Rows of the first lie transposed in panels, a lane for each, so that no operation goes across
//! lanes; rows of the second are read as they lie in memory, and their elements broadcast. A score
//! is summed in the same order whatever is beside it, so its bits depend on its two rows alone.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, Axis, CowArray, Ix2};
use pulp::{Simd, WithSimd, as_arrays};

use super::Metric;
use crate::attention::{ARCH, mul_add, vectorize};
use crate::pooling::normalize;

/// Numbers in the widest vector of any processor.
pub(super) const LANES_MAX: usize = 16;
/// Rows that are put into panels together: enough for rows of the other matrix to be read seldom,
/// and little enough memory for a million rows.
pub(super) const PANEL_ROWS: usize = 1024;
/// Vectors of rows in a panel.
const PANEL: usize = 2;
/// Rows of the second matrix whose scores with a panel are summed at once, in registers.
const STEP: usize = 6;
/// Steps that a run of a panel is used for while it stays in the first cache level.
const GROUP: usize = 16;
/// Elements that are summed before their sum is added to the rest: long sums of small numbers lose
/// less that way.
const RUN: usize = 256;
/// Bytes of rows that stay in the second cache level while all panels pass over them.
const BLOCK_BYTES: usize = 384 << 10;

/// What becomes of scores.
pub(super) trait Sink {
    /// Takes the scores of a tile: of rows from `row` of the second matrix, each with those from
    /// `first` of the first one, a lane each. Lanes beyond the last row of the first are to be left
    /// out.
    fn take<S: Simd, const M: usize, const W: usize>(
        &mut self,
        simd: S,
        first: usize,
        row: usize,
        scores: [[S::f32s; W]; M],
    );
}

/// The first matrix, arranged for the kernel.
pub(super) struct Panels {
    metric: Metric,
    count: usize,
    dim: usize,
    numbers: Vec<f32>,
}

impl Panels {
    pub fn of(metric: Metric, rows: ArrayView2<'_, f32>) -> Self {
        let (count, dim) = rows.dim();
        let rows = end_to_end(metric, rows);
        let numbers = vectorize(Transpose { rows: rows.view() });
        Self { metric, count, dim, numbers }
    }

    /// So many rows of the second matrix are best scored at a time.
    pub fn block_rows(&self) -> usize {
        let rows = BLOCK_BYTES / size_of::<f32>() / self.dim.max(1);
        (rows / STEP * STEP).clamp(STEP, 170 * STEP)
    }

    /// Gives the sink all scores with `rows`, the first of which is row `first_row` for it, row
    /// after row for each of the first matrix.
    pub fn score(&self, rows: ArrayView2<'_, f32>, first_row: usize, sink: &mut impl Sink) {
        let rows = end_to_end(self.metric, rows);
        let scored = Scored { panels: self, rows: rows.view(), first_row, sink };
        match self.metric {
            Metric::Cosine | Metric::Dot => vectorize(ByTerm(scored, Product)),
            Metric::Euclidean => vectorize(ByTerm(scored, SquaredDifference)),
            Metric::Manhattan => vectorize(ByTerm(scored, Difference)),
        }
    }
}

/// Rows each of which is a slice; of length 1 where the angle is all that counts.
fn end_to_end(metric: Metric, rows: ArrayView2<'_, f32>) -> CowArray<'_, f32, Ix2> {
    let apart = rows.ncols() > 1 && rows.strides()[1] != 1;
    let mut rows = if apart {
        // Not `as_standard_layout`, which leaves strides of a single row as they are.
        CowArray::from(Array2::from_shape_fn(rows.dim(), |place| rows[place]))
    } else {
        CowArray::from(rows)
    };
    if metric == Metric::Cosine {
        let mut scaled = rows.into_owned();
        ARCH.dispatch(
            #[inline(always)]
            || scaled.rows_mut().into_iter().filter_map(|row| row.into_slice()).for_each(normalize),
        );
        rows = CowArray::from(scaled);
    }
    rows
}

struct Transpose<'a> {
    rows: ArrayView2<'a, f32>,
}

impl WithSimd for Transpose<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<f32> {
        let (count, dim) = self.rows.dim();
        let width = PANEL * S::F32_LANES;
        let mut numbers = vec![0.0; count.next_multiple_of(S::F32_LANES) * dim];
        if dim == 0 {
            return numbers;
        }
        for (panel, rows) in
            numbers.chunks_mut(width * dim).zip(self.rows.axis_chunks_iter(Axis(0), width))
        {
            let lanes = panel.len() / dim;
            for (lane, row) in rows.rows().into_iter().enumerate() {
                for (target, &element) in panel[lane..].iter_mut().step_by(lanes).zip(row) {
                    *target = element;
                }
            }
        }
        numbers
    }
}

/// What is summed over the elements of two rows, and what becomes of the sum.
trait Term: Copy {
    fn add<S: Simd>(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s;
    fn finish<S: Simd>(self, simd: S, sum: S::f32s) -> S::f32s;
}

#[derive(Clone, Copy)]
struct Product;

impl Term for Product {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        mul_add(simd, a, b, sum)
    }

    #[inline(always)]
    fn finish<S: Simd>(self, _: S, sum: S::f32s) -> S::f32s {
        sum
    }
}

#[derive(Clone, Copy)]
struct SquaredDifference;

impl Term for SquaredDifference {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        let difference = simd.sub_f32s(a, b);
        mul_add(simd, difference, difference, sum)
    }

    #[inline(always)]
    fn finish<S: Simd>(self, simd: S, sum: S::f32s) -> S::f32s {
        simd.neg_f32s(simd.sqrt_f32s(sum))
    }
}

#[derive(Clone, Copy)]
struct Difference;

impl Term for Difference {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        simd.add_f32s(sum, simd.abs_f32s(simd.sub_f32s(a, b)))
    }

    #[inline(always)]
    fn finish<S: Simd>(self, simd: S, sum: S::f32s) -> S::f32s {
        simd.neg_f32s(sum)
    }
}

struct Scored<'a, K> {
    panels: &'a Panels,
    rows: ArrayView2<'a, f32>,
    first_row: usize,
    sink: &'a mut K,
}

struct ByTerm<'a, K, T>(Scored<'a, K>, T);

impl<K: Sink, T: Term> WithSimd for ByTerm<'_, K, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self(Scored { panels, rows, first_row, sink }, term) = self;
        let (dim, width) = (panels.dim, PANEL * S::F32_LANES);
        let rows: Vec<&[f32]> = rows.outer_iter().filter_map(|row| row.to_slice()).collect();
        // Of a single panel there is little to keep, and rows are better read to their end.
        let several = panels.count > width;
        let group = if several { GROUP } else { 1 };
        let packed = if several { side_by_side(&rows, dim) } else { Vec::new() };
        for first in (0..panels.count).step_by(width) {
            let panel = &panels.numbers[first * dim..];
            let place = Place { dim, group, first, first_row };
            if panels.count - first > S::F32_LANES {
                let panel = &panel[..width * dim];
                let packed = &packed;
                simd.vectorize(Panel::<_, _, PANEL> {
                    panel,
                    rows: &rows,
                    packed,
                    place,
                    term,
                    sink,
                });
            } else {
                let panel = &panel[..S::F32_LANES * dim];
                let packed = &packed;
                simd.vectorize(Panel::<_, _, 1> { panel, rows: &rows, packed, place, term, sink });
            }
        }
    }
}

/// Runs of elements one after another, and in a run one step of rows after another, the elements of
/// a step side by side: six rows that lie a power of two apart would fall into the same lines of the
/// first cache level.
#[inline(always)]
fn side_by_side(rows: &[&[f32]], dim: usize) -> Vec<[f32; STEP]> {
    let steps = rows.as_chunks::<STEP>().0;
    let mut packed = Vec::with_capacity(steps.len() * dim);
    for start in (0..dim).step_by(RUN) {
        for rows in steps {
            let rows = rows.map(|row| &row[start..dim.min(start + RUN)]);
            packed.extend((0..rows[0].len()).map(|position| rows.map(|row| row[position])));
        }
    }
    packed
}

#[derive(Clone, Copy)]
struct Place {
    dim: usize,
    group: usize,
    first: usize,
    first_row: usize,
}

/// A panel of `W` vectors and the rows that it is scored with.
struct Panel<'a, K, T, const W: usize> {
    /// One row of lanes for every element.
    panel: &'a [f32],
    rows: &'a [&'a [f32]],
    /// The steps of these rows [`side_by_side`], or nothing.
    packed: &'a [[f32; STEP]],
    place: Place,
    term: T,
    sink: &'a mut K,
}

impl<K: Sink, T: Term, const W: usize> WithSimd for Panel<'_, K, T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { panel, rows, packed, mut place, term, sink } = self;
        let panel = as_arrays::<W, _>(S::as_simd_f32s(panel).0).0;
        let (steps, rest) = rows.as_chunks::<STEP>();
        for first in (0..steps.len()).step_by(place.group) {
            let count = place.group.min(steps.len() - first);
            if packed.is_empty() {
                let elements = |step: usize, run| of_rows(steps[first + step], run);
                tiles(simd, panel, count, elements, place, term, sink);
            } else {
                let elements = |step: usize, run: Range<usize>| {
                    let at = run.start * steps.len() + (first + step) * run.len();
                    packed[at..][..run.len()].iter().copied()
                };
                tiles(simd, panel, count, elements, place, term, sink);
            }
            place.first_row += STEP * count;
        }
        for row in rest {
            tiles(simd, panel, 1, |_, run| of_rows([*row], run), place, term, sink);
            place.first_row += 1;
        }
    }
}

/// The elements of rows that lie at the same place, place by place.
#[inline(always)]
fn of_rows<const M: usize>(rows: [&[f32]; M], run: Range<usize>) -> impl Iterator<Item = [f32; M]> {
    let rows = rows.map(|row| &row[run.clone()]);
    (0..run.len()).map(move |position| rows.map(|row| row[position]))
}

/// Scores `count` steps of `M` rows, `GROUP` of them at most. `elements` has those of a step.
#[inline(always)]
fn tiles<S: Simd, I: Iterator<Item = [f32; M]>, const M: usize, const W: usize>(
    simd: S,
    panel: &[[S::f32s; W]],
    count: usize,
    elements: impl Fn(usize, Range<usize>) -> I,
    place: Place,
    term: impl Term,
    sink: &mut impl Sink,
) {
    let mut sums = [[[simd.splat_f32s(0.0); W]; M]; GROUP];
    for start in (0..place.dim).step_by(RUN) {
        let run = start..place.dim.min(start + RUN);
        for (step, sums) in sums.iter_mut().enumerate().take(count) {
            let of_run = sums_of_run(simd, &panel[run.clone()], elements(step, run.clone()), term);
            for row in 0..M {
                for lane in 0..W {
                    sums[row][lane] = simd.add_f32s(sums[row][lane], of_run[row][lane]);
                }
            }
        }
    }
    for (step, mut scores) in sums.into_iter().take(count).enumerate() {
        for score in scores.iter_mut().flatten() {
            *score = term.finish(simd, *score);
        }
        sink.take(simd, place.first, place.first_row + step * M, scores);
    }
}

#[inline(always)]
fn sums_of_run<S: Simd, const M: usize, const W: usize>(
    simd: S,
    panel: &[[S::f32s; W]],
    elements: impl Iterator<Item = [f32; M]>,
    term: impl Term,
) -> [[S::f32s; W]; M] {
    let mut sums = [[simd.splat_f32s(0.0); W]; M];
    for (lanes, elements) in panel.iter().zip(elements) {
        for row in 0..M {
            let element = simd.splat_f32s(elements[row]);
            for lane in 0..W {
                sums[row][lane] = term.add(simd, element, lanes[lane], sums[row][lane]);
            }
        }
    }
    sums
}
