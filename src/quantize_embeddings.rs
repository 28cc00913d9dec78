//! Vectors to codes of a byte or a bit for each dimension, as sentence-transformers'
//! `quantize_embeddings` does.
//!
//! The arithmetic is in float32, with the same operations as in numpy: a product with a reciprocal
//! in place of a division would put numbers at the edge of a bucket into the next one.

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::error::{Result, error};
use crate::numbered::numbered;

numbered! {
    /// The type of a code, which is one dimension of a quantized vector.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Precision: u32 {
        /// A signed byte, -128 to 127.
        Int8 = 0,
        /// An unsigned byte, 0 to 255.
        Uint8 = 1,
        /// A bit: whether the number is greater than 0. 128 is subtracted from each byte of eight
        /// bits.
        Binary = 2,
        /// A bit: whether the number is greater than 0.
        Ubinary = 3,
    }
}

impl Precision {
    /// The name that sentence-transformers gives it in `quantize_embeddings`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
            Self::Binary => "binary",
            Self::Ubinary => "ubinary",
        }
    }

    /// The number of bytes of a vector's codes.
    pub fn bytes(self, dim: usize) -> usize {
        if self.has_ranges() { dim } else { dim.div_ceil(8) }
    }

    fn has_ranges(self) -> bool {
        matches!(self, Self::Int8 | Self::Uint8)
    }
}

numbered! {
    /// The version of sentence-transformers whose formula applies, where they differ.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Formula: u32 {
        /// Of sentence-transformers 6: numbers are rounded down, and clipped where they are out of
        /// range.
        #[default]
        St6 = 0,
        /// Of sentence-transformers 5 and before: numbers are rounded towards zero, for `Int8`
        /// after 128 is subtracted.
        St5 = 1,
    }
}

/// The least and the greatest number of each dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranges<'a> {
    /// The least.
    pub min: &'a [f32],
    /// The greatest.
    pub max: &'a [f32],
}

/// Writes the codes of each row of `vectors` to the same row of `codes`, which has
/// [`Precision::bytes`] columns; a signed code is written as the byte that an `i8` is.
/// `ranges` are for `Int8` and `Uint8`. Without them, those of these vectors are used.
pub fn quantize(
    precision: Precision,
    vectors: ArrayView2<'_, f32>,
    ranges: Option<Ranges<'_>>,
    formula: Formula,
    codes: ArrayViewMut2<'_, u8>,
) -> Result<()> {
    let (rows, dim) = vectors.dim();
    let expected = (rows, precision.bytes(dim));
    if codes.dim() != expected {
        return Err(error!(
            InvalidArgument,
            "codes of {:?} for vectors of {:?}: expected {expected:?}",
            codes.dim(),
            vectors.dim()
        ));
    }
    check_finite(vectors)?;
    if precision.has_ranges() {
        quantize_bytes(precision, vectors, ranges, formula, codes)
    } else if formula == Formula::St5 && !dim.is_multiple_of(8) {
        Err(error!(
            InvalidArgument,
            "dim is {dim}, no multiple of 8: sentence-transformers packs such vectors since \
             version 6 only; ask for the formula of version 6, without BGE_QUANTIZE_ST5"
        ))
    } else {
        quantize_bits(precision, vectors, codes);
        Ok(())
    }
}

fn quantize_bytes(
    precision: Precision,
    vectors: ArrayView2<'_, f32>,
    ranges: Option<Ranges<'_>>,
    formula: Formula,
    mut codes: ArrayViewMut2<'_, u8>,
) -> Result<()> {
    let (rows, dim) = vectors.dim();
    let (mut min, mut max) = (vec![0.0; dim], vec![0.0; dim]);
    let Ranges { min: starts, max: ends } = match ranges {
        Some(ranges) => ranges,
        None if rows == 0 => return Ok(()),
        None if rows == 1 && formula == Formula::St6 => {
            return Err(error!(
                InvalidArgument,
                "one row has no ranges of its own; give those of more vectors as ranges"
            ));
        }
        None => {
            find_ranges(vectors, &mut min, &mut max);
            Ranges { min: &min, max: &max }
        }
    };
    let steps = steps(starts, ends, dim, formula)?;
    for (row, mut codes) in vectors.rows().into_iter().zip(codes.rows_mut()) {
        let dimensions = starts.iter().zip(&steps);
        for ((&number, code), (&start, &step)) in row.iter().zip(&mut codes).zip(dimensions) {
            let bucket = (number - start) / step;
            // `as` saturates, and turns NaN into 0.
            *code = match (formula, precision) {
                (Formula::St6, Precision::Int8) => bucket.floor() as u8 ^ 0x80,
                (Formula::St6, _) => bucket.floor() as u8,
                (Formula::St5, Precision::Int8) => (bucket - 128.0) as i8 as u8,
                (Formula::St5, _) => bucket as u8,
            };
        }
    }
    Ok(())
}

fn steps(starts: &[f32], ends: &[f32], dim: usize, formula: Formula) -> Result<Vec<f32>> {
    for (name, numbers) in [("minima", starts), ("maxima", ends)] {
        if numbers.len() != dim {
            return Err(error!(
                InvalidArgument,
                "ranges have {} {name}, and vectors {dim} dimensions",
                numbers.len()
            ));
        }
    }
    let step = |(dimension, (&start, &end)): (usize, (&f32, &f32))| {
        let width = end - start;
        // An infinite or NaN bound makes the width infinite or NaN, too.
        if !width.is_finite() || width < 0.0 {
            return Err(error!(
                InvalidArgument,
                "the range of dimension {dimension} is {start} to {end}, which is no range of \
                 finite width"
            ));
        }
        let step = width / 255.0;
        Ok(if step == 0.0 && formula == Formula::St6 { 1.0 } else { step })
    };
    starts.iter().zip(ends).enumerate().map(step).collect()
}

fn quantize_bits(
    precision: Precision,
    vectors: ArrayView2<'_, f32>,
    mut codes: ArrayViewMut2<'_, u8>,
) {
    let flip = if precision == Precision::Binary { 0x80 } else { 0 };
    for (row, mut codes) in vectors.rows().into_iter().zip(codes.rows_mut()) {
        codes.fill(flip);
        for (dimension, &number) in row.iter().enumerate() {
            codes[dimension / 8] ^= u8::from(number > 0.0) << (7 - dimension % 8);
        }
    }
}

/// Writes the least and the greatest number of each dimension of `vectors`, for [`quantize`]. There
/// must be at least one row.
pub fn quantize_ranges(
    vectors: ArrayView2<'_, f32>,
    min: &mut [f32],
    max: &mut [f32],
) -> Result<()> {
    if vectors.nrows() == 0 || min.len() != vectors.ncols() || max.len() != vectors.ncols() {
        return Err(error!(
            InvalidArgument,
            "ranges of {} and {} dimensions for {} vectors of {}: expected as many dimensions, \
             and a vector",
            min.len(),
            max.len(),
            vectors.nrows(),
            vectors.ncols()
        ));
    }
    check_finite(vectors)?;
    find_ranges(vectors, min, max);
    Ok(())
}

fn find_ranges(vectors: ArrayView2<'_, f32>, min: &mut [f32], max: &mut [f32]) {
    min.fill(f32::INFINITY);
    max.fill(f32::NEG_INFINITY);
    for row in vectors.rows() {
        for (&number, (min, max)) in row.iter().zip(min.iter_mut().zip(max.iter_mut())) {
            *min = min.min(number);
            *max = max.max(number);
        }
    }
}

fn check_finite(vectors: ArrayView2<'_, f32>) -> Result<()> {
    match vectors.indexed_iter().find(|(_, number)| !number.is_finite()) {
        None => Ok(()),
        Some(((row, dimension), number)) => Err(error!(
            InvalidArgument,
            "vectors[{row}] has {number} in dimension {dimension}; only finite numbers have codes"
        )),
    }
}
