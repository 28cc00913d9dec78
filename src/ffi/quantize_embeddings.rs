//! `bge_quantize` and `bge_quantize_ranges`.

use std::ffi::c_void;

use super::boundary::{CallerRows, Grid, Span, guard, read_options, slice};
use super::enums::{formula_from, precision_from};
use super::layout::stride;
use super::types::*;
use crate::error::{Result, error};
use crate::{Formula, Ranges, quantize, quantize_ranges};

/// Makes codes of vectors, as sentence-transformers' `quantize_embeddings`
/// does: a byte or a bit for each dimension instead of a float.
///
/// Row i of `vectors`, of `dim` floats from anywhere, goes to row i of `codes`:
/// `dim` bytes, or for bits `dim / 8`, rounded up. `codes_capacity` is the room
/// in `codes` in bytes; nothing is needed after the last row, and what lies
/// between rows is never touched. `codes` must not overlap what is read. No
/// rows, no codes: that is no error. A number that is not finite is refused.
///
/// Bytes tell in which of 255 equal steps of its dimension's range a number
/// lies, and need the ranges of vectors like these, from
/// `bge_quantize_ranges`; without, they are the ranges of the vectors of the
/// call, so that codes of two calls cannot be compared. What is out of range is
/// clipped. Of one row alone no ranges are made.
///
/// With `BGE_QUANTIZE_ST5`, the bytes are those of versions before 6: rounded
/// towards zero after 128 is taken, for `BGE_PRECISION_INT8`, so that most
/// negative codes are greater by 1; all 0 in a dimension that does not vary, and
/// for one row alone. What is out of range was left open then, and is clipped
/// here too. Bits need a `dim` that is a multiple of 8 then.
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
/// `ranges`, and behind them the greatest of each: `2 * dim` floats, as
/// `bge_quantize_options` takes them. The more vectors, and the more like those
/// to be quantized, the better.
///
/// There must be a row, and every number must be finite. `ranges` must not
/// overlap `vectors`. Of the options, `vectors_stride` is used and nothing else.
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
