//! Many rows with many. Rows of the first matrix lie transposed in panels, a lane for each, so that
//! no operation goes across lanes. Rows of the second are interleaved in steps, and their elements
//! broadcast. Both lie in memory in the order in which they are summed.

use std::array::from_fn;
use std::ops::Range;

use ndarray::{ArrayView2, Axis};
use pulp::{Simd, WithSimd, as_arrays, as_arrays_mut};

use super::order::{CHUNK, DIM_MIN, LANES_MAX, SUMS, Sink, padded};
use crate::kernels::simd::{PREFETCH_DISTANCE, Scratch, prefetch_lines, vectorize};
use crate::memory;
use crate::similarity::metric::Term;

/// NR in vectors: the vectors of rows in a panel.
const PANEL: usize = 2;
/// MR: the rows of the second matrix whose scores with a panel are summed at once, on a processor
/// with 32 vector registers.
pub(super) const MR: usize = 12;
/// MR on a processor with 16 vector registers.
const MR_OF_16_REGISTERS: usize = 6;

pub(super) struct Panels {
    count: usize,
    order: Order,
    /// Panel after panel: the elements of its rows in their order, those of all lanes side by side.
    numbers: Vec<f32>,
}

/// The order in which the elements of two rows are summed.
struct Order {
    /// The position of each element in that order.
    positions: Vec<usize>,
    /// The positions that go into each partial sum, in the order in which the sums are added.
    partial_sums: Vec<Range<usize>>,
}

impl Order {
    fn new(dim: usize) -> Self {
        let mut order = Self { positions: vec![0; dim], partial_sums: Vec::new() };
        let sums = if dim < DIM_MIN { 1 } else { SUMS };
        let mut end = 0;
        for chunk in (0..dim).step_by(CHUNK) {
            for sum in 0..sums {
                let start = end;
                for element in (chunk + sum..dim.min(chunk + CHUNK)).step_by(sums) {
                    order.positions[element] = end;
                    end += 1;
                }
                order.partial_sums.push(start..end);
            }
        }
        order
    }
}

impl Panels {
    pub fn new(rows: ArrayView2<'_, f32>) -> Self {
        let (count, dim) = rows.dim();
        let order = Order::new(dim);
        let mut numbers = vec![0.0; count.next_multiple_of(LANES_MAX) * dim];
        vectorize(Transpose { rows, positions: &order.positions, numbers: &mut numbers });
        Self { count, order, numbers }
    }
}

struct Transpose<'a> {
    rows: ArrayView2<'a, f32>,
    positions: &'a [usize],
    numbers: &'a mut [f32],
}

impl WithSimd for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, positions, numbers } = self;
        let (dim, width) = (rows.ncols(), PANEL * S::F32_LANES);
        let panels = numbers.chunks_mut((width * dim).max(1));
        for (panel, rows) in panels.zip(rows.axis_chunks_iter(Axis(0), width)) {
            let lanes = rows.nrows().next_multiple_of(S::F32_LANES);
            for (lane, row) in rows.rows().into_iter().enumerate() {
                for (position, &element) in positions.iter().zip(row) {
                    panel[position * lanes + lane] = element;
                }
            }
        }
    }
}

impl Panels {
    /// Passes all scores with `rows` to the sink, for which the first of them is row `first_row`.
    pub fn score(&self, rows: &[&[f32]], first_row: usize, term: impl Term, sink: &mut impl Sink) {
        let padded = rows.len().next_multiple_of(MR);
        let mut scratch = Scratch::default();
        let lengths = [padded * self.order.positions.len(), padded * PANEL * LANES_MAX];
        let Some([packed, totals]) = scratch.split(lengths) else { panic!("{}", memory::SHORTAGE) };
        vectorize(Scored { panels: self, rows, first_row, packed, totals, term, sink });
    }
}

struct Scored<'a, K, T> {
    panels: &'a Panels,
    rows: &'a [&'a [f32]],
    first_row: usize,
    /// Memory for the interleaved rows.
    packed: &'a mut [f32],
    /// Memory for the scores of a panel.
    totals: &'a mut [f32],
    term: T,
    sink: &'a mut K,
}

impl<K: Sink, T: Term> WithSimd for Scored<'_, K, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            self.in_steps::<S, MR>(simd);
        } else {
            self.in_steps::<S, MR_OF_16_REGISTERS>(simd);
        }
    }
}

impl<K: Sink, T: Term> Scored<'_, K, T> {
    #[inline(always)]
    fn in_steps<S: Simd, const M: usize>(self, simd: S) {
        let Self { panels, rows, first_row, packed, totals, term, sink } = self;
        let Panels { count, numbers, order } = panels;
        let dim = order.positions.len();
        let packed = packed.as_chunks_mut::<M>().0;
        for (rows, packed) in rows.chunks(M).zip(packed.chunks_exact_mut(dim.max(1))) {
            interleave(rows, &order.positions, packed);
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

/// Interleaves the elements of `M` rows. The last row fills up for missing ones.
#[inline(always)]
fn interleave<const M: usize>(rows: &[&[f32]], positions: &[usize], packed: &mut [[f32; M]]) {
    let rows = from_fn(|row| rows[row.min(rows.len() - 1)].as_chunks::<SUMS>());
    let (positions, positions_rest) = positions.as_chunks::<SUMS>();
    for (line, positions) in positions.iter().enumerate() {
        lay(rows.map(|(lines, _)| &lines[line]), positions, packed);
    }
    lay(rows.map(|(_, rest)| padded(rest)).each_ref(), positions_rest, packed);
}

#[inline(always)]
fn lay<const M: usize>(lines: [&[f32; SUMS]; M], positions: &[usize], packed: &mut [[f32; M]]) {
    for (element, position) in positions.iter().enumerate() {
        packed[*position] = lines.map(|line| line[element]);
    }
}

/// Rows of the second matrix, `M` at a time.
struct Steps<'a, const M: usize> {
    order: &'a Order,
    /// Step after step, interleaved elements.
    packed: &'a [[f32; M]],
    /// The index of the first row for the sink, and the number of rows.
    first: usize,
    count: usize,
}

/// Scores a panel of `W` vectors, the first lane of which is row `lane` of the first matrix, with
/// all steps. The elements of a partial sum stay in the first cache level while all steps pass over
/// them.
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
    for elements in &order.partial_sums {
        for (step, totals) in packed.chunks_exact(order.positions.len()).zip(&mut *totals) {
            add_partial_sum(simd, &lanes[elements.clone()], &step[elements.clone()], term, totals);
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

/// Adds a partial sum of each score to the totals of a step. Loops use indexes, since arrays from
/// iterators would not stay in registers.
#[inline(always)]
fn add_partial_sum<S: Simd, const W: usize, const M: usize>(
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

    use super::super::few_rows::Few;
    use super::super::scorer::slices;
    use super::*;
    use crate::similarity::metric::Product;

    /// The scores by both kernels, with a row for each row of `b`.
    fn scores<S: Simd>(simd: S, a: &Array2<f32>, b: &Array2<f32>) -> [Array2<f32>; 2] {
        let (count, dim) = a.dim();
        let (a_rows, b_rows) = (a.view().into(), b.view().into());
        let (queries, rows) = (&slices(&a_rows)[..], &slices(&b_rows)[..]);
        let order = Order::new(dim);
        let mut numbers = vec![0.0; count.next_multiple_of(LANES_MAX) * dim];
        let transpose =
            Transpose { rows: a.view(), positions: &order.positions, numbers: &mut numbers };
        simd.vectorize(transpose);
        let panels = &Panels { count, order, numbers };
        let padded = rows.len().next_multiple_of(MR);
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
                // Rows with so few elements are always scored by panels, with a single sum.
                assert!(dim < DIM_MIN || score.to_bits() == other.to_bits(), "{dim}");
            }
        }
    }

    /// Other tests use the widest vectors of the processor.
    #[test]
    fn narrow_vectors_agree_with_the_definition() {
        check(Scalar128b);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            check(simd);
        }
    }
}
