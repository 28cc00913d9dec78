//! A weight in the order in which a kernel reads it, whichever numbers it holds.

use super::packed_memory::Region;
use super::{fp32, int8};
use crate::error::{Error, Result};

/// The tensor that a matrix is packed from. A row is an output channel.
pub(crate) struct Source {
    pub name: String,
    pub rows: usize,
    pub columns: usize,
    pub format: Format,
}

/// The numbers that a matrix is multiplied in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Format {
    Fp32,
    Int8,
    /// The file holds 8-bit integers already, with a factor for each column.
    StoredInt8,
}

impl Source {
    /// The bytes of the packed panels.
    pub fn panels_len(&self) -> usize {
        match self.format {
            Format::Fp32 => fp32::panels_len(self.rows, self.columns),
            Format::Int8 | Format::StoredInt8 => int8::panels_len(self.rows, self.columns),
        }
    }
}

/// The numbers of a weight, row after row.
pub(crate) enum Numbers {
    Floats(Vec<f32>),
    /// Integers with a scale for each row and a factor for each column. The columns were divided by
    /// their factors before the rows were quantized.
    Integers {
        numbers: Vec<i8>,
        scales: Vec<f32>,
        factors: Vec<f32>,
    },
}

/// A linear layer's weight, packed for this processor.
pub(crate) enum PackedMatrix {
    Fp32(fp32::PackedMatrix),
    Int8(int8::PackedMatrix),
}

impl PackedMatrix {
    /// Packs a weight into `panels`, whose length is [`Source::panels_len`].
    ///
    /// # Errors
    /// When the numbers are not those of the source, or there is no memory for scales and sums.
    pub fn pack(source: &Source, numbers: &Numbers, panels: &mut [u8]) -> Result<Self> {
        let &Source { rows, columns, format, .. } = source;
        let kernel = int8::Kernel::of_this_processor();
        let packed = match numbers {
            Numbers::Floats(weight) if format == Format::Fp32 => {
                fp32::PackedMatrix::pack(weight, rows, columns, panels).map(Self::Fp32)
            }
            Numbers::Floats(weight) => {
                int8::PackedMatrix::quantize(kernel, weight, rows, columns, panels).map(Self::Int8)
            }
            Numbers::Integers { numbers, scales, factors } => {
                int8::PackedMatrix::stored(kernel, numbers, scales, factors.clone(), panels)
                    .map(Self::Int8)
            }
        };
        packed.map_err(|e| Error::new(e.kind(), format!("{}: {e}", source.name)))
    }

    /// Gives matrices the memory that they were packed into.
    pub fn attach(matrices: Vec<Self>, region: Region) -> Result<Vec<Self>> {
        let attached = matrices.into_iter().zip(region.panels()?).map(|(mut matrix, panels)| {
            match &mut matrix {
                Self::Fp32(matrix) => matrix.panels = panels,
                Self::Int8(matrix) => matrix.panels = panels,
            }
            matrix
        });
        Ok(attached.collect())
    }

    /// The number of output channels.
    pub fn rows(&self) -> usize {
        match self {
            Self::Fp32(matrix) => matrix.rows,
            Self::Int8(matrix) => matrix.rows,
        }
    }
}
