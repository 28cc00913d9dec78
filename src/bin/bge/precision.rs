//! Vectors as integers, for `bge encode --precision`.

use std::path::Path;

use bge::{Formula, Model, Precision, Ranges, quantize};
use ndarray::{ArrayView2, ArrayViewMut2};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::input;

/// The contents of the file of `--ranges`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangesFile {
    min: Vec<f32>,
    max: Vec<f32>,
}

/// Reads the ranges if the precision needs them.
pub(crate) fn read(
    precision: Option<Precision>,
    file: Option<&Path>,
) -> Result<Option<RangesFile>, Failure> {
    let needed = matches!(precision, Some(Precision::Int8 | Precision::Uint8));
    match file {
        None if needed => Err(Failure::Usage(
            "int8 and uint8 need --ranges: texts come in chunks, each of which would have its own"
                .into(),
        )),
        Some(_) if !needed => {
            Err(Failure::Usage("--ranges is for int8 and uint8; bits have no ranges".into()))
        }
        None => Ok(None),
        Some(file) => {
            let bad = |e: &dyn std::fmt::Display| {
                Failure::Usage(format!(
                    "--ranges {}: {e}; it takes {{\"min\":[..],\"max\":[..]}}",
                    file.display()
                ))
            };
            let bytes = std::fs::read(file).map_err(|e| bad(&e))?;
            let text = input::utf8(&bytes).map_err(|what| bad(&format!("it {what}")))?;
            serde_json::from_str(text).map(Some).map_err(|e| bad(&e))
        }
    }
}

/// How dense vectors are written.
pub(crate) struct Codes {
    precision: Option<Precision>,
    ranges: Option<RangesFile>,
    bytes: Vec<u8>,
}

/// A dense vector as it is written.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Dense<'a> {
    Floats(&'a [f32]),
    Signed(Vec<i8>),
    Unsigned(&'a [u8]),
}

impl Codes {
    pub fn new(
        model: &Model,
        precision: Option<Precision>,
        ranges: Option<RangesFile>,
    ) -> Result<Self, Failure> {
        let dim = model.info().dense_dim;
        let bytes = vec![0; precision.map_or(0, |precision| precision.bytes(dim))];
        let mut codes = Self { precision, ranges, bytes };
        // Ranges of another dimension are refused before any text is read.
        codes.write(&vec![0.0; dim])?;
        Ok(codes)
    }

    pub fn write<'a>(&'a mut self, vector: &'a [f32]) -> Result<Dense<'a>, Failure> {
        let Some(precision) = self.precision else { return Ok(Dense::Floats(vector)) };
        let ranges = self.ranges.as_ref().map(|of| Ranges { min: &of.min, max: &of.max });
        let codes = ArrayViewMut2::from_shape((1, self.bytes.len()), &mut self.bytes);
        let vector = ArrayView2::from_shape((1, vector.len()), vector);
        let (Ok(codes), Ok(vector)) = (codes, vector) else {
            return Err(Failure::Input("the vectors do not make rows".into()));
        };
        quantize(precision, vector, ranges, Formula::St6, codes)?;
        Ok(match precision {
            Precision::Int8 | Precision::Binary => {
                Dense::Signed(self.bytes.iter().map(|&byte| byte as i8).collect())
            }
            Precision::Uint8 | Precision::Ubinary => Dense::Unsigned(&self.bytes),
        })
    }
}
