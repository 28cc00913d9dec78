//! Scores of all rows of one matrix with all rows of another, a tile at a time.
//!
//! A score is summed in the same order whatever is beside it, so its bits depend on its two rows
//! alone. Of rows with elements enough, each sixteenth element goes into a sum of its own, and these
//! sums are then added one after another: so a vector can take sixteen elements of one row, as suits
//! [`few`], or one element of sixteen rows, as suits [`panels`].

mod few;
mod panels;

use ndarray::{Array2, ArrayView2, CowArray, Ix2};
use pulp::Simd;

use super::Metric;
use crate::kernels::simd::{ARCH, mul_add, vectorize};
use crate::pooling::normalize;
use few::Few;
use panels::Panels;

/// Numbers in the widest vector of any processor.
pub(super) const LANES_MAX: usize = 16;
/// Rows of the first matrix that are scored together: enough for rows of the other one to be read
/// seldom, and little enough memory for a million rows.
pub(super) const ROWS_TOGETHER: usize = 1024;
/// Sums that a score is added up from.
const SUMS: usize = 16;
/// Elements that go into them before they are added up: long sums of small numbers lose less that
/// way.
const CHUNK: usize = 128 * SUMS;
/// Rows of fewer elements have a single sum: there would be more sums to add up than elements in
/// them.
const DIM_MIN: usize = 8 * SUMS;
/// Bytes of rows that stay in the second cache level while all of the first matrix pass over them.
const BLOCK_BYTES: usize = 384 << 10;

/// What becomes of scores.
pub(super) trait Sink {
    /// Takes the scores of a tile: of rows from `row` of the second matrix, each with those from
    /// `first` of the first one, a lane each. Lanes beyond the last row of the first are to be left
    /// out.
    fn take<S: Simd, const W: usize>(
        &mut self,
        simd: S,
        first: usize,
        row: usize,
        scores: &[[S::f32s; W]],
    );
}

/// The first matrix, arranged for a kernel.
pub(super) struct Scorer<'a> {
    metric: Metric,
    dim: usize,
    arranged: Arranged<'a>,
}

enum Arranged<'a> {
    Few(CowArray<'a, f32, Ix2>),
    Panels(Panels),
}

impl<'a> Scorer<'a> {
    pub fn of(metric: Metric, rows: ArrayView2<'a, f32>) -> Self {
        let (count, dim) = rows.dim();
        let rows = end_to_end(metric, rows);
        let arranged = if count <= few::ROWS_MAX && dim >= DIM_MIN {
            Arranged::Few(rows)
        } else {
            Arranged::Panels(Panels::of(rows.view()))
        };
        Self { metric, dim, arranged }
    }

    /// So many rows of the second matrix are best scored at a time.
    pub fn block_rows(&self) -> usize {
        let rows = BLOCK_BYTES / size_of::<f32>() / self.dim.max(1);
        (rows / panels::STEP * panels::STEP).clamp(panels::STEP, 85 * panels::STEP)
    }

    /// Gives the sink all scores with `rows`, the first of which is row `first_row` for it.
    pub fn score(&self, rows: ArrayView2<'_, f32>, first_row: usize, sink: &mut impl Sink) {
        match self.metric {
            Metric::Cosine | Metric::Dot => self.score_by(Product, rows, first_row, sink),
            Metric::Euclidean => self.score_by(SquaredDifference, rows, first_row, sink),
            Metric::Manhattan => self.score_by(Difference, rows, first_row, sink),
        }
    }

    fn score_by(
        &self,
        term: impl Term,
        rows: ArrayView2<'_, f32>,
        first_row: usize,
        sink: &mut impl Sink,
    ) {
        let rows = end_to_end(self.metric, rows);
        let rows = slices(&rows);
        match &self.arranged {
            Arranged::Few(queries) => {
                vectorize(Few { queries: &slices(queries), rows: &rows, first_row, term, sink });
            }
            Arranged::Panels(panels) => {
                panels.score(&rows, first_row, term, sink);
            }
        }
    }
}

fn slices<'a>(rows: &'a CowArray<'_, f32, Ix2>) -> Vec<&'a [f32]> {
    rows.outer_iter().filter_map(|row| row.to_slice()).collect()
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

/// The elements behind the last sixteen, with zeros, which add nothing to any sum.
#[inline(always)]
fn padded(rest: &[f32]) -> [f32; SUMS] {
    let mut padded = [0.0; SUMS];
    padded[..rest.len()].copy_from_slice(rest);
    padded
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
