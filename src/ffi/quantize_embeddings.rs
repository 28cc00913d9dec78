//! `bge_quantize` and `bge_quantize_ranges`.

use std::ffi::c_void;

use super::boundary::{CallerRows, Grid, Span, guard, read_options, slice};
use super::enums::{formula_from, precision_from};
use super::layout::stride;
use super::types::*;
use crate::error::{Result, error};
use crate::{Formula, Ranges, quantize, quantize_ranges};

/// Quantizes vectors as sentence-transformers' `quantize_embeddings` does: a
/// byte or a bit for each dimension instead of a float.
///
/// Row i of `vectors`, of `dim` floats from any source, is encoded in row i of
/// `codes`: `dim` bytes, or for bits `dim / 8` bytes, rounded up.
/// `codes_capacity` is the size of `codes` in bytes; `codes` may end with the
/// last row, and gaps between rows are never touched. `codes` must not overlap
/// `vectors` or the ranges. Without rows there are no codes, and the call
/// succeeds. A number that is not finite is refused.
///
/// A code of a byte is the number of the interval that holds a number, of 255
/// equal intervals of the range of its dimension; numbers out of range are
/// clipped. Pass the ranges of representative vectors, from
/// `bge_quantize_ranges`. By default the ranges are those of the vectors of the
/// call, so that codes of two calls cannot be compared; a single row has no
/// ranges of its own.
///
/// With `BGE_QUANTIZE_ST5` the formulas are those of versions before 6. Bytes
/// are rounded towards zero, for `BGE_PRECISION_INT8` after 128 is subtracted,
/// so that most negative codes are greater by 1; they are all 0 in a dimension
/// that does not vary, and for a single row. Those versions left numbers out of
/// range undefined; this function clips them. Bits need a `dim` that is a
/// multiple of 8.
///
/// Returns `BGE_OK`, or:
/// - `BGE_ERROR_INVALID_ARGUMENT`: the precision is unknown, `dim` is 0, a
///   number is not finite, a range is not one, a single row has no ranges, an
///   array is NULL, misaligned or overlaps `codes`, or an option is out of
///   range.
/// - `BGE_ERROR_BUFFER_TOO_SMALL`: `codes_capacity` is too small; the message
///   names what is needed.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_quantize(
    precision: bge_precision,
    vectors: *const f32,
    rows: usize,
    dim: usize,
    options: *const bge_quantize_options,
    codes: *mut c_void,
    codes_capacity: usize,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let precision = precision_from(precision)?;
        let QuantizeLayout { formula, vectors_stride, codes_stride, ranges } =
            QuantizeLayout::read(options, dim, precision.bytes(dim))?;
        if rows == 0 {
            return Ok(());
        }
        let codes = codes.cast::<u8>();
        let grid = Grid { rows, width: precision.bytes(dim), stride: codes_stride };
        let needed = grid.extent("codes")?;
        if codes_capacity < needed {
            return Err(error!(
                BufferTooSmall,
                "codes_capacity is {codes_capacity}, but {rows} rows need {needed} bytes"
            ));
        }
        let written = Span::new(codes, needed, "codes");
        let vectors = Grid { rows, width: dim, stride: vectors_stride }.view(
            vectors,
            "vectors",
            &[written],
        )?;
        let ranges = if ranges.is_null() {
            None
        } else {
            let length = two_rows(dim)?;
            written.check_apart(Span::new(ranges, length, "ranges"))?;
            let (min, max) = slice(ranges, length, "ranges")?.split_at(dim);
            Some(Ranges { min, max })
        };
        quantize(precision, vectors, ranges, formula, grid.view_mut(codes, "codes")?)
    })
}

/// Writes the least number of each of the `dim` dimensions of `vectors` to
/// `ranges`, followed by the greatest of each: `2 * dim` floats, as
/// `bge_quantize_options` takes them. Use many vectors that resemble those to
/// be quantized.
///
/// At least one row is required, and every number must be finite. `ranges` must
/// not overlap `vectors`. Of the options, only `vectors_stride` is used.
///
/// Returns `BGE_OK`, or `BGE_ERROR_INVALID_ARGUMENT`: `rows` or `dim` is 0, a
/// number is not finite, an array is NULL, misaligned or overlaps the other, or
/// an option is out of range.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_quantize_ranges(
    vectors: *const f32,
    rows: usize,
    dim: usize,
    options: *const bge_quantize_options,
    ranges: *mut f32,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let layout = QuantizeLayout::read(options, dim, 0)?;
        if rows == 0 {
            return Err(error!(
                InvalidArgument,
                "rows is 0; ranges are those of at least 1 vector"
            ));
        }
        let length = two_rows(dim)?;
        let written = Span::new(ranges, length, "ranges");
        let vectors = Grid { rows, width: dim, stride: layout.vectors_stride }.view(
            vectors,
            "vectors",
            &[written],
        )?;
        let mut ranges = CallerRows::new(ranges, Grid::line(length), "ranges")?;
        let (min, max) = ranges.row(0).split_at_mut(dim);
        quantize_ranges(vectors, min, max)
    })
}

fn two_rows(dim: usize) -> Result<usize> {
    Grid { rows: 2, width: dim, stride: dim }.extent("ranges")
}

struct QuantizeLayout {
    formula: Formula,
    vectors_stride: usize,
    codes_stride: usize,
    ranges: *const f32,
}

impl QuantizeLayout {
    fn read(options: *const bge_quantize_options, dim: usize, bytes: usize) -> Result<Self> {
        if dim == 0 {
            return Err(error!(InvalidArgument, "dim is 0; a vector has at least 1 float"));
        }
        let Some(options) = read_options(options)? else {
            let formula = Formula::default();
            let ranges = std::ptr::null();
            return Ok(Self { formula, vectors_stride: dim, codes_stride: bytes, ranges });
        };
        Ok(Self {
            formula: formula_from(options.flags)?,
            vectors_stride: stride(options.vectors_stride, dim, "vectors_stride", "floats")?,
            codes_stride: stride(options.codes_stride, bytes, "codes_stride", "bytes")?,
            ranges: options.ranges,
        })
    }
}
