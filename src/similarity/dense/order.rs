//! The one order in which the elements of two rows are summed, whatever kernel sums them.
//!
//! A score is summed in the same order whatever rows are beside it, so its bits depend on its two
//! rows alone. If rows have at least [`DIM_MIN`] elements, each sixteenth element goes into a
//! partial sum of its own, and these sums are then added one after another: so a vector can hold
//! sixteen elements of one row, as in `few_rows`, or one element of sixteen rows, as in
//! `many_rows`.

use pulp::Simd;

/// Lanes of the widest vectors of any processor.
pub(in super::super) const LANES_MAX: usize = 16;
/// Rows of the first matrix that are scored together: enough for the other matrix to be read
/// seldom, and few enough to need little memory even if there are a million.
pub(in super::super) const ROWS_TOGETHER: usize = 1024;
/// Partial sums of a score.
pub(super) const SUMS: usize = 16;
/// Elements that go into the partial sums before these are added up: long sums of small numbers
/// lose less precision that way.
pub(super) const CHUNK: usize = 128 * SUMS;
/// Rows of fewer elements have a single sum, since adding up partial sums would take longer than
/// the elements.
pub(super) const DIM_MIN: usize = 8 * SUMS;
/// A consumer of scores.
pub(in super::super) trait Sink {
    /// Takes the scores of a tile: of rows from `row` on of the second matrix, each with the rows
    /// from `first` on of the first one, which are lanes. Lanes beyond the last row of the first
    /// matrix are to be ignored.
    fn take<S: Simd, const W: usize>(
        &mut self,
        simd: S,
        first: usize,
        row: usize,
        scores: &[[S::f32s; W]],
    );
}

/// The elements after the last whole sixteen, padded with zeros, which add nothing to any sum.
#[inline(always)]
pub(super) fn padded(rest: &[f32]) -> [f32; SUMS] {
    let mut padded = [0.0; SUMS];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}
