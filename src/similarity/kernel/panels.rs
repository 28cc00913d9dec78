//! Many rows with many. Those of the first matrix lie transposed in panels, a lane for each, so that
//! no operation goes across lanes; those of the second are laid side by side in steps, and their
//! elements broadcast. Both lie in the order in which they are summed, and are read as they lie.

use std::array::from_fn;
use std::ops::Range;

use ndarray::{ArrayView2, Axis};
use pulp::{Simd, WithSimd, as_arrays, as_arrays_mut};

use super::{CHUNK, DIM_MIN, LANES_MAX, SUMS, Sink, Term, padded, vectorize};
use crate::kernels::simd::{PREFETCH_DISTANCE, Scratch, prefetch_lines};
use crate::memory;

/// Vectors of rows in a panel.
const PANEL: usize = 2;
/// Rows of the second matrix whose scores with a panel are summed at once, where there are 32
/// registers and where there are 16.
pub(super) const STEP: usize = 12;
const STEP_OF_FEW: usize = 6;

pub(super) struct Panels {
    count: usize,
    order: Order,
    /// Panel after panel, the rows' elements in their order, those of each lane side by side.
    numbers: Vec<f32>,
}

/// The order in which the elements of two rows are summed.
struct Order {
    /// Of each element, how many come before it.
    places: Vec<usize>,
    /// The places that go into one sum, in the order in which the sums are added.
    runs: Vec<Range<usize>>,
}

impl Order {
    fn of(dim: usize) -> Self {
        let mut order = Self { places: vec![0; dim], runs: Vec::new() };
        let sums = if dim < DIM_MIN { 1 } else { SUMS };
        let mut end = 0;
        for chunk in (0..dim).step_by(CHUNK) {
            for sum in 0..sums {
                let start = end;
                for element in (chunk + sum..dim.min(chunk + CHUNK)).step_by(sums) {
                    order.places[element] = end;
                    end += 1;
                }
                order.runs.push(start..end);
            }
        }
        order
    }
}

impl Panels {
    pub fn of(rows: ArrayView2<'_, f32>) -> Self {
        let (count, dim) = rows.dim();
        let order = Order::of(dim);
        let mut numbers = vec![0.0; count.next_multiple_of(LANES_MAX) * dim];
        vectorize(Transpose { rows, places: &order.places, numbers: &mut numbers });
        Self { count, order, numbers }
    }
}

struct Transpose<'a> {
    rows: ArrayView2<'a, f32>,
    places: &'a [usize],
    numbers: &'a mut [f32],
}

impl WithSimd for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, places, numbers } = self;
        let (dim, width) = (rows.ncols(), PANEL * S::F32_LANES);
        let panels = numbers.chunks_mut((width * dim).max(1));
        for (panel, rows) in panels.zip(rows.axis_chunks_iter(Axis(0), width)) {
            let lanes = rows.nrows().next_multiple_of(S::F32_LANES);
            for (lane, row) in rows.rows().into_iter().enumerate() {
                for (place, &element) in places.iter().zip(row) {
                    panel[place * lanes + lane] = element;
                }
            }
        }
    }
}

impl Panels {
    /// Gives the sink all scores with `rows`, the first of which is row `first_row` for it.
    pub fn score(&self, rows: &[&[f32]], first_row: usize, term: impl Term, sink: &mut impl Sink) {
        let padded = rows.len().next_multiple_of(STEP);
        let mut scratch = Scratch::default();
        let lengths = [padded * self.order.places.len(), padded * PANEL * LANES_MAX];
        let Some([packed, totals]) = scratch.split(lengths) else { panic!("{}", memory::SHORTAGE) };
        vectorize(Scored { panels: self, rows, first_row, packed, totals, term, sink });
    }
}

struct Scored<'a, K, T> {
    panels: &'a Panels,
    rows: &'a [&'a [f32]],
    first_row: usize,
    /// Room for the rows side by side.
    packed: &'a mut [f32],
    /// Room for the scores of a panel.
    totals: &'a mut [f32],
    term: T,
    sink: &'a mut K,
}

impl<K: Sink, T: Term> WithSimd for Scored<'_, K, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            self.in_steps::<S, STEP>(simd);
        } else {
            self.in_steps::<S, STEP_OF_FEW>(simd);
        }
    }
}

impl<K: Sink, T: Term> Scored<'_, K, T> {
    #[inline(always)]
    fn in_steps<S: Simd, const M: usize>(self, simd: S) {
        let Self { panels, rows, first_row, packed, totals, term, sink } = self;
        let Panels { count, numbers, order } = panels;
        let dim = order.places.len();
        let packed = packed.as_chunks_mut::<M>().0;
        for (rows, packed) in rows.chunks(M).zip(packed.chunks_exact_mut(dim.max(1))) {
            side_by_side(rows, &order.places, packed);
        }
        let steps = Steps { order, packed, first: first_row, count: rows.len() };
        for lane in (0..*count).step_by(PANEL * S::F32_LANES) {
            let lanes = &numbers[lane * dim..];
            if count - lane > S::F32_LANES {
                score::<S, PANEL, M>(simd, lane, lanes, &steps, totals, term, sink);
            } else {
                score::<S, 1, M>(simd, lane, lanes, &steps, totals, term, sink);
            }
        }
    }
}

/// Lays the elements of `M` rows side by side. The last row stands for those that there are not.
#[inline(always)]
fn side_by_side<const M: usize>(rows: &[&[f32]], places: &[usize], packed: &mut [[f32; M]]) {
    let rows = from_fn(|row| rows[row.min(rows.len() - 1)].as_chunks::<SUMS>());
    let (places, places_rest) = places.as_chunks::<SUMS>();
    for (line, places) in places.iter().enumerate() {
        lay(rows.map(|(lines, _)| &lines[line]), places, packed);
    }
    lay(rows.map(|(_, rest)| padded(rest)).each_ref(), places_rest, packed);
}

#[inline(always)]
fn lay<const M: usize>(lines: [&[f32; SUMS]; M], places: &[usize], packed: &mut [[f32; M]]) {
    for (element, place) in places.iter().enumerate() {
        packed[*place] = lines.map(|line| line[element]);
    }
}

/// Rows of the second matrix, `M` at a time.
struct Steps<'a, const M: usize> {
    order: &'a Order,
    /// Step after step, the elements [`side_by_side`].
    packed: &'a [[f32; M]],
    /// The place of the first row, and how many there are.
    first: usize,
    count: usize,
}

/// Scores a panel of `W` vectors, the first lane of which is row `lane` of the first matrix, with all
/// steps. A run of the panel stays in the first cache level while all steps pass over it.
#[inline(always)]
fn score<S: Simd, const W: usize, const M: usize>(
    simd: S,
    lane: usize,
    lanes: &[f32],
    steps: &Steps<'_, M>,
    totals: &mut [f32],
    term: impl Term,
    sink: &mut impl Sink,
) {
    let Steps { order, packed, first, count } = steps;
    let lanes = as_arrays::<W, _>(S::as_simd_f32s(lanes).0).0;
    let totals = as_arrays_mut::<W, _>(S::as_mut_simd_f32s(totals).0).0;
    let totals = &mut as_arrays_mut::<M, _>(totals).0[..count.div_ceil(M)];
    totals.fill([[simd.splat_f32s(0.0); W]; M]);
    for run in &order.runs {
        for (step, totals) in packed.chunks_exact(order.places.len()).zip(&mut *totals) {
            add_run(simd, &lanes[run.clone()], &step[run.clone()], term, totals);
        }
    }
    for (row, totals) in (0..*count).step_by(M).zip(totals) {
        let totals = &mut totals[..M.min(count - row)];
        for total in totals.iter_mut().flatten() {
            *total = term.finish(simd, *total);
        }
        sink.take(simd, lane, first + row, totals);
    }
}

/// Adds the sums of a run to the totals of a step. Loops count, since arrays that iterators give out
/// would not stay in registers.
#[inline(always)]
fn add_run<S: Simd, const W: usize, const M: usize>(
    simd: S,
    lanes: &[[S::f32s; W]],
    elements: &[[f32; M]],
    term: impl Term,
    totals: &mut [[S::f32s; W]; M],
) {
    let mut sums = [[simd.splat_f32s(0.0); W]; M];
    for (lanes, elements) in lanes.iter().zip(elements) {
        prefetch_lines(
            lanes.as_ptr().cast::<u8>().wrapping_add(PREFETCH_DISTANCE),
            size_of_val(lanes),
        );
        let lanes = *lanes;
        for row in 0..M {
            let element = simd.splat_f32s(elements[row]);
            for vector in 0..W {
                sums[row][vector] = term.add(simd, element, lanes[vector], sums[row][vector]);
            }
        }
    }
    for row in 0..M {
        for vector in 0..W {
            totals[row][vector] = simd.add_f32s(totals[row][vector], sums[row][vector]);
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use pulp::Scalar128b;

    use super::super::few::Few;
    use super::super::{Product, slices};
    use super::*;

    /// By panels, and one by one: a line for each row of `b`.
    fn scores<S: Simd>(simd: S, a: &Array2<f32>, b: &Array2<f32>) -> [Array2<f32>; 2] {
        let (count, dim) = a.dim();
        let (a_rows, b_rows) = (a.view().into(), b.view().into());
        let (queries, rows) = (&slices(&a_rows)[..], &slices(&b_rows)[..]);
        let order = Order::of(dim);
        let mut numbers = vec![0.0; count.next_multiple_of(LANES_MAX) * dim];
        let transpose = Transpose { rows: a.view(), places: &order.places, numbers: &mut numbers };
        simd.vectorize(transpose);
        let panels = &Panels { count, order, numbers };
        let padded = rows.len().next_multiple_of(STEP);
        let mut scratch = Scratch::default();
        let [packed, totals] = scratch.split([padded * dim, padded * PANEL * LANES_MAX]).unwrap();
        let mut by_panels = Array2::from_elem((rows.len(), count), f32::NAN);
        let mut few = by_panels.clone();
        let (term, first_row) = (Product, 0);
        let sink = &mut by_panels;
        simd.vectorize(Scored { panels, rows, first_row, packed, totals, term, sink });
        simd.vectorize(Few { queries, rows, first_row, term, sink: &mut few });
        [by_panels, few]
    }

    fn check<S: Simd>(simd: S) {
        for dim in [5, 130, 400, 2100] {
            let number = |(row, column): (usize, usize)| ((row * 31 + column * 17) as f32).sin();
            let (a, b) = (
                Array2::from_shape_fn((37, dim), number),
                Array2::from_shape_fn((29, dim), number),
            );
            let expected = b.mapv(f64::from).dot(&a.mapv(f64::from).t());
            let [by_panels, few] = scores(simd, &a, &b);
            for ((&score, &other), expected) in by_panels.iter().zip(&few).zip(&expected) {
                assert!(
                    (f64::from(score) - expected).abs() < 1e-3,
                    "{score} for {expected}, {dim}"
                );
                // Rows of so few numbers are always in panels, with a sum of their own.
                assert!(dim < DIM_MIN || score.to_bits() == other.to_bits(), "{dim}");
            }
        }
    }

    /// Other tests have the widest vectors of the processor.
    #[test]
    fn narrow_vectors_agree_with_the_definition() {
        check(Scalar128b);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            check(simd);
        }
    }
}
