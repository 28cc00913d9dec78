//! Scores of all rows of one matrix with all rows of another, a tile at a time.

use ndarray::{Array2, ArrayView2, CowArray, Ix2};

use super::few_rows::{self, Few};
use super::many_rows::{self, Panels};
use super::order::{DIM_MIN, Sink};
use crate::kernels::normalize::normalize;
use crate::kernels::simd::{ARCH, vectorize};
use crate::similarity::metric::{Difference, Metric, Product, SquaredDifference, Term, with_term};

/// Bytes of rows that stay in the second cache level while they are scored with the whole first
/// matrix.
const BLOCK_BYTES: usize = 384 << 10;

/// The first matrix, in the layout of a kernel.
pub(in super::super) struct Scorer<'a> {
    metric: Metric,
    dim: usize,
    layout: Layout<'a>,
}

enum Layout<'a> {
    Few(CowArray<'a, f32, Ix2>),
    Panels(Panels),
}

impl<'a> Scorer<'a> {
    pub fn new(metric: Metric, rows: ArrayView2<'a, f32>) -> Self {
        let (count, dim) = rows.dim();
        let rows = contiguous(metric, rows);
        let layout = if count <= few_rows::ROWS_MAX && dim >= DIM_MIN {
            Layout::Few(rows)
        } else {
            Layout::Panels(Panels::new(rows.view()))
        };
        Self { metric, dim, layout }
    }

    /// The number of rows of the second matrix that are best scored at a time.
    pub fn block_rows(&self) -> usize {
        let rows = BLOCK_BYTES / size_of::<f32>() / self.dim.max(1);
        (rows / many_rows::MR * many_rows::MR).clamp(many_rows::MR, 85 * many_rows::MR)
    }

    /// Passes all scores with `rows` to the sink, for which the first of them is row `first_row`.
    pub fn score(&self, rows: ArrayView2<'_, f32>, first_row: usize, sink: &mut impl Sink) {
        with_term!(self.metric, |term| self.score_by(term, rows, first_row, sink));
    }

    fn score_by(
        &self,
        term: impl Term,
        rows: ArrayView2<'_, f32>,
        first_row: usize,
        sink: &mut impl Sink,
    ) {
        let rows = contiguous(self.metric, rows);
        let rows = slices(&rows);
        match &self.layout {
            Layout::Few(queries) => {
                vectorize(Few { queries: &slices(queries), rows: &rows, first_row, term, sink });
            }
            Layout::Panels(panels) => {
                panels.score(&rows, first_row, term, sink);
            }
        }
    }
}

pub(super) fn slices<'a>(rows: &'a CowArray<'_, f32, Ix2>) -> Vec<&'a [f32]> {
    rows.outer_iter().filter_map(|row| row.to_slice()).collect()
}

/// Rows that are contiguous in memory, scaled to length 1 if the metric needs it.
fn contiguous(metric: Metric, rows: ArrayView2<'_, f32>) -> CowArray<'_, f32, Ix2> {
    let strided = rows.ncols() > 1 && rows.strides()[1] != 1;
    let mut rows = if strided {
        // Not by `as_standard_layout`, which keeps the strides of a single row.
        CowArray::from(Array2::from_shape_fn(rows.dim(), |place| rows[place]))
    } else {
        CowArray::from(rows)
    };
    if metric.normalizes() {
        let mut scaled = rows.into_owned();
        ARCH.dispatch(
            #[inline(always)]
            || scaled.rows_mut().into_iter().filter_map(|row| row.into_slice()).for_each(normalize),
        );
        rows = CowArray::from(scaled);
    }
    rows
}
