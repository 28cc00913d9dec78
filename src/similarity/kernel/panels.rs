//! Many rows with many. Those of the first matrix lie transposed in panels, a lane for each, so that
//! no operation goes across lanes; those of the second are laid side by side in steps, and their
//! elements broadcast.

use std::array::from_fn;
use std::ops::Range;

use ndarray::{ArrayView2, Axis};
use pulp::{Simd, WithSimd, as_arrays};

use super::{CHUNK, DIM_MIN, LANES_MAX, SUMS, Sink, Term, vectorize};

/// Vectors of rows in a panel.
const PANEL: usize = 2;
/// Rows of the second matrix whose scores with a panel are summed at once, in registers.
pub(super) const STEP: usize = 6;
/// Steps that a run of a panel is used for while it stays in the first cache level.
const GROUP: usize = 16;

pub(super) struct Panels {
    count: usize,
    dim: usize,
    numbers: Vec<f32>,
    runs: Vec<Run>,
}

/// Elements that go into one sum: so many, and how far apart.
#[derive(Clone, Copy)]
struct Run {
    first: usize,
    count: usize,
    apart: usize,
}

impl Run {
    /// All runs of two rows, in the order in which their sums are added.
    fn all(dim: usize) -> Vec<Self> {
        if dim < DIM_MIN {
            return vec![Self { first: 0, count: dim, apart: 1 }];
        }
        let chunks = (0..dim).step_by(CHUNK).map(|first| first..dim.min(first + CHUNK));
        let of_chunk = |chunk: Range<usize>| {
            (0..SUMS.min(chunk.len())).map(move |sum| Self {
                first: chunk.start + sum,
                count: (chunk.len() - sum).div_ceil(SUMS),
                apart: SUMS,
            })
        };
        chunks.flat_map(of_chunk).collect()
    }

    /// The elements of rows that lie at the same place, place by place.
    #[inline(always)]
    fn of<const M: usize>(self, rows: [&[f32]; M]) -> impl Iterator<Item = [f32; M]> {
        let length = (self.count * self.apart + 1).saturating_sub(self.apart);
        let rows = rows.map(|row| &row[self.first..][..length]);
        (0..self.count).map(move |place| rows.map(|row| row[place * self.apart]))
    }
}

impl Panels {
    pub fn of(rows: ArrayView2<'_, f32>) -> Self {
        let (count, dim) = rows.dim();
        let runs = Run::all(dim);
        let mut numbers = vec![0.0; count.next_multiple_of(LANES_MAX) * dim];
        vectorize(Transpose { rows, runs: &runs, numbers: &mut numbers });
        Self { count, dim, numbers, runs }
    }
}

struct Transpose<'a> {
    rows: ArrayView2<'a, f32>,
    runs: &'a [Run],
    numbers: &'a mut [f32],
}

impl WithSimd for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, runs, numbers } = self;
        let (dim, width) = (rows.ncols(), PANEL * S::F32_LANES);
        let panels = numbers.chunks_mut((width * dim).max(1));
        for (panel, rows) in panels.zip(rows.axis_chunks_iter(Axis(0), width)) {
            let lanes = rows.nrows().next_multiple_of(S::F32_LANES);
            for (lane, row) in rows.rows().into_iter().enumerate() {
                let Some(row) = row.to_slice() else { continue };
                let elements = runs.iter().flat_map(|run| run.of([row]));
                for (target, [element]) in panel[lane..].iter_mut().step_by(lanes).zip(elements) {
                    *target = element;
                }
            }
        }
    }
}

pub(super) struct Scored<'a, K, T> {
    pub panels: &'a Panels,
    pub rows: &'a [&'a [f32]],
    /// The place that the first of `rows` has for the sink.
    pub first_row: usize,
    pub term: T,
    pub sink: &'a mut K,
}

impl<K: Sink, T: Term> WithSimd for Scored<'_, K, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { panels, rows, first_row, term, sink } = self;
        let Panels { count, dim, numbers, runs } = panels;
        let width = PANEL * S::F32_LANES;
        // Rows of zeros fill the last step.
        let zeros = vec![0.0; *dim];
        let steps: Vec<[&[f32]; STEP]> = rows
            .chunks(STEP)
            .map(|rows| from_fn(|row| *rows.get(row).unwrap_or(&&zeros[..])))
            .collect();
        // Rows that a single panel is scored with are read but once.
        let packed = if *count > width { side_by_side(&steps, runs) } else { Vec::new() };
        let group = if *count > width { GROUP } else { 1 };
        let place = Place { group, runs, first: 0, row: first_row, count: rows.len() };
        for first in (0..*count).step_by(width) {
            let panel = &numbers[first * dim..];
            let (steps, packed, place) = (&steps, &packed, Place { first, ..place });
            if count - first > S::F32_LANES {
                let panel = &panel[..width * dim];
                simd.vectorize(Panel::<_, _, PANEL> { panel, steps, packed, place, term, sink });
            } else {
                let panel = &panel[..S::F32_LANES * dim];
                simd.vectorize(Panel::<_, _, 1> { panel, steps, packed, place, term, sink });
            }
        }
    }
}

/// Step after step, the elements of its rows side by side, run after run.
#[inline(always)]
fn side_by_side(steps: &[[&[f32]; STEP]], runs: &[Run]) -> Vec<[f32; STEP]> {
    let dim: usize = runs.iter().map(|run| run.count).sum();
    let mut packed = Vec::with_capacity(steps.len() * dim);
    for rows in steps {
        for run in runs {
            packed.extend(run.of(*rows));
        }
    }
    packed
}

#[derive(Clone, Copy)]
struct Place<'a> {
    runs: &'a [Run],
    group: usize,
    first: usize,
    row: usize,
    /// Of rows that are left.
    count: usize,
}

/// A panel of `W` vectors and the steps that it is scored with.
struct Panel<'a, K, T, const W: usize> {
    /// One row of lanes for every element.
    panel: &'a [f32],
    steps: &'a [[&'a [f32]; STEP]],
    /// The steps [`side_by_side`], or nothing.
    packed: &'a [[f32; STEP]],
    place: Place<'a>,
    term: T,
    sink: &'a mut K,
}

impl<K: Sink, T: Term, const W: usize> WithSimd for Panel<'_, K, T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { panel, steps, packed, mut place, term, sink } = self;
        let panel = as_arrays::<W, _>(S::as_simd_f32s(panel).0).0;
        for first in (0..steps.len()).step_by(place.group) {
            let count = place.group.min(steps.len() - first);
            if packed.is_empty() {
                let elements = |step: usize, run: Run, _| run.of(steps[first + step]);
                tiles(simd, panel, count, elements, place, term, sink);
            } else {
                let elements = |step: usize, run: Run, at| {
                    packed[(first + step) * panel.len() + at..][..run.count].iter().copied()
                };
                tiles(simd, panel, count, elements, place, term, sink);
            }
            let rows = place.count.min(count * STEP);
            place.row += rows;
            place.count -= rows;
        }
    }
}

/// Scores `count` steps, `GROUP` of them at most. `elements` has those of a step and a run, and is
/// told how many elements of the step are in runs before.
#[inline(always)]
fn tiles<S: Simd, I: Iterator<Item = [f32; STEP]>, const W: usize>(
    simd: S,
    panel: &[[S::f32s; W]],
    count: usize,
    elements: impl Fn(usize, Run, usize) -> I,
    place: Place<'_>,
    term: impl Term,
    sink: &mut impl Sink,
) {
    let mut sums = [[[simd.splat_f32s(0.0); W]; STEP]; GROUP];
    let mut at = 0;
    for run in place.runs {
        for (step, sums) in sums.iter_mut().enumerate().take(count) {
            let of_run =
                sums_of_run(simd, &panel[at..][..run.count], elements(step, *run, at), term);
            for row in 0..STEP {
                for lane in 0..W {
                    sums[row][lane] = simd.add_f32s(sums[row][lane], of_run[row][lane]);
                }
            }
        }
        at += run.count;
    }
    for (step, scores) in sums.iter_mut().take(count).enumerate() {
        for score in scores.iter_mut().flatten() {
            *score = term.finish(simd, *score);
        }
        let rows = (place.count - step * STEP).min(STEP);
        sink.take(simd, place.first, place.row + step * STEP, &scores[..rows]);
    }
}

#[inline(always)]
fn sums_of_run<S: Simd, const W: usize>(
    simd: S,
    panel: &[[S::f32s; W]],
    elements: impl Iterator<Item = [f32; STEP]>,
    term: impl Term,
) -> [[S::f32s; W]; STEP] {
    let mut sums = [[simd.splat_f32s(0.0); W]; STEP];
    for (lanes, elements) in panel.iter().zip(elements) {
        for row in 0..STEP {
            let element = simd.splat_f32s(elements[row]);
            for lane in 0..W {
                sums[row][lane] = term.add(simd, element, lanes[lane], sums[row][lane]);
            }
        }
    }
    sums
}
