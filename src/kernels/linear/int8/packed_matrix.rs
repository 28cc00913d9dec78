//! A weight of 8-bit integers, packed for this processor.

use std::ops::Range;

use super::dispatch::Kernel;
use super::quantize_rows::quantize_row;
use crate::error::{Result, error};
use crate::kernels::linear::packed_memory::Panels;
use crate::memory;

/// The most columns whose products surely fit a sum of 32 bits, with the correction that the zero
/// of a row of activations needs.
pub(super) const COLUMNS_MAX: usize = (i32::MAX / (2 * 128 * 127)) as usize;

/// A linear layer's weight, quantized per output channel and packed for this processor.
///
/// The rows lie in panels of NR. A panel holds, for each KR columns that the kernel multiplies at
/// once, these columns of all its rows.
pub(crate) struct PackedMatrix {
    pub(in super::super) kernel: Kernel,
    pub(in super::super) rows: usize,
    pub(in super::super) columns: usize,
    /// The scale of each row: NaN if the row holds a number that is not finite.
    pub(in super::super) scales: Vec<f32>,
    /// The sum of the quantized numbers of each row.
    pub(in super::super) sums: Vec<i32>,
    /// Factors by which the elements of a row of activations are multiplied before it is quantized.
    /// Empty: there are none.
    pub(in super::super) factors: Vec<f32>,
    pub(in super::super) panels: Panels,
}

/// The bytes of all panels.
pub(crate) fn panels_len(rows: usize, columns: usize) -> usize {
    panels_len_for(Kernel::of_this_processor(), rows, columns)
}

pub(super) fn panels_len_for(kernel: Kernel, rows: usize, columns: usize) -> usize {
    let shape = kernel.shape();
    let padded = |count: usize, unit: usize| count.div_ceil(unit).saturating_mul(unit);
    padded(rows, shape.nr).saturating_mul(padded(columns, shape.kr))
}

impl PackedMatrix {
    /// Quantizes and packs a weight of `rows` (output channels) by `columns`, as PyTorch stores it.
    pub fn quantize(
        kernel: Kernel,
        weight: &[f32],
        rows: usize,
        columns: usize,
        panels: &mut [u8],
    ) -> Result<Self> {
        check_shape(weight.len(), rows, columns)?;
        Self::pack(kernel, rows, columns, panels, |row, quantized| {
            quantize_row(&weight[row * columns..][..columns], quantized)
        })
    }

    /// Packs a weight that was quantized before, with a scale for each row and a factor for each
    /// column, by which the column was divided before its rows were quantized.
    pub fn stored(
        kernel: Kernel,
        weight: &[i8],
        scales: &[f32],
        factors: Vec<f32>,
        panels: &mut [u8],
    ) -> Result<Self> {
        let (rows, columns) = (scales.len(), factors.len());
        check_shape(weight.len(), rows, columns)?;
        let packed = Self::pack(kernel, rows, columns, panels, |row, quantized| {
            quantized.copy_from_slice(&weight[row * columns..][..columns]);
            scales[row]
        })?;
        Ok(Self { factors, ..packed })
    }

    /// `quantized_row` writes a row and returns its scale.
    pub(super) fn pack(
        kernel: Kernel,
        rows: usize,
        columns: usize,
        panels: &mut [u8],
        mut quantized_row: impl FnMut(usize, &mut [i8]) -> f32,
    ) -> Result<Self> {
        let shape = kernel.shape();
        let padded = columns.next_multiple_of(shape.kr);
        let panel_len = shape.nr * padded;
        let (mut scales, mut sums) = (memory::zeros(rows)?, memory::zeros(rows)?);
        let mut quantized = memory::zeros::<i8>(panel_len)?;
        let bytes = panels.chunks_exact_mut(panel_len.max(1));
        let of_panels = scales.chunks_mut(shape.nr).zip(sums.chunks_mut(shape.nr));
        for (panel, ((scales, sums), bytes)) in of_panels.zip(bytes).enumerate() {
            let lines = quantized.chunks_exact_mut(padded.max(1));
            for (lane, ((scale, sum), line)) in scales.iter_mut().zip(sums).zip(lines).enumerate() {
                *scale = quantized_row(panel * shape.nr + lane, &mut line[..columns]);
                *sum = line[..columns].iter().map(|&element| i32::from(element)).sum();
            }
            // What lies behind the last row is never read.
            let groups = bytes.chunks_exact_mut(shape.nr * shape.kr);
            for (index, group) in groups.enumerate() {
                let lines = quantized.chunks_exact(padded);
                for (lane, line) in group.chunks_exact_mut(shape.kr).zip(lines) {
                    let elements = &line[index * shape.kr..][..shape.kr];
                    for (byte, &element) in lane.iter_mut().zip(elements) {
                        *byte = element as u8 ^ shape.sign_mask;
                    }
                }
            }
        }
        let (factors, panels) = (Vec::new(), Panels::default());
        Ok(Self { kernel, rows, columns, scales, sums, factors, panels })
    }

    /// Whether both matrices quantize a row of activations to the same integers.
    pub(super) fn shares_rows_with(&self, other: &Self) -> bool {
        let kr = |matrix: &Self| matrix.kernel.shape().kr;
        (self.columns, kr(self), &self.factors) == (other.columns, kr(other), &other.factors)
    }

    pub(super) fn panels(&self, range: Range<usize>) -> &[u8] {
        let shape = self.kernel.shape();
        let panel_len = shape.nr * self.columns.next_multiple_of(shape.kr);
        &self.panels.bytes()[range.start * panel_len..range.end * panel_len]
    }
}

fn check_shape(elements: usize, rows: usize, columns: usize) -> Result<()> {
    if rows.checked_mul(columns) != Some(elements) {
        return Err(error!(Internal, "a weight of {elements} elements, not {rows} x {columns}"));
    }
    if columns > COLUMNS_MAX {
        return Err(error!(
            Unsupported,
            "a weight of {columns} columns, where 8-bit products are summed for {COLUMNS_MAX} at \
             most; open the model with the compute type fp32"
        ));
    }
    Ok(())
}
