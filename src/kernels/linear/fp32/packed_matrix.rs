//! A weight of 32-bit floats, packed for this processor.
//!
//! The columns of a weight, along which products are summed, are taken KC at a time. Such a step
//! holds one panel after another, and a panel NR rows of the weight: the first column of all of
//! them, then the second. So the micro-kernel reads the weight from its beginning to its end.

use std::ops::Range;

use pulp::bytemuck;

use super::blocking::{KC, kc, nr};
use crate::error::{Result, error};
use crate::kernels::linear::packed_memory::Panels;

/// The weight of a linear layer.
#[derive(Default)]
pub(crate) struct PackedMatrix {
    pub(in super::super) rows: usize,
    pub(in super::super) columns: usize,
    pub(in super::super) panels: Panels,
}

/// NR and KC, which the order of numbers in panels depends on.
pub(crate) fn packing() -> [usize; 2] {
    [nr(), KC]
}

/// The bytes of all panels.
pub(crate) fn panels_len(rows: usize, columns: usize) -> usize {
    let padded = rows.div_ceil(nr()).saturating_mul(nr());
    padded.saturating_mul(columns).saturating_mul(size_of::<f32>())
}

impl PackedMatrix {
    /// # Errors
    /// When the weight has not `rows * columns` elements, or none.
    pub fn pack(weight: &[f32], rows: usize, columns: usize, panels: &mut [u8]) -> Result<Self> {
        if weight.is_empty() || rows.checked_mul(columns) != Some(weight.len()) {
            return Err(error!(
                Internal,
                "a weight of {} elements, not {rows} x {columns}",
                weight.len()
            ));
        }
        let nr = nr();
        let mut rest: &mut [f32] = bytemuck::cast_slice_mut(panels);
        for start in (0..columns).step_by(kc(columns)) {
            let step = start..columns.min(start + kc(columns));
            for first in (0..rows).step_by(nr) {
                let (panel, behind) = std::mem::take(&mut rest).split_at_mut(nr * step.len());
                rest = behind;
                let lanes = first..rows.min(first + nr);
                for (lane, row) in lanes.enumerate() {
                    let row = &weight[row * columns..][step.clone()];
                    panel[lane..].iter_mut().step_by(nr).zip(row).for_each(|(to, &x)| *to = x);
                }
            }
        }
        Ok(Self { rows, columns, ..Self::default() })
    }

    /// For each step along the sum, the panels of some rows, the first of which begins a panel.
    pub(super) fn steps(&self, rows: Range<usize>) -> Vec<&[f32]> {
        let nr = nr();
        let padded = self.rows.next_multiple_of(nr);
        let rows = rows.start..rows.end.next_multiple_of(nr);
        let kc = kc(self.columns);
        let panels = |start: usize| {
            let columns = kc.min(self.columns - start);
            &self.panels.floats()[start * padded..][rows.start * columns..rows.end * columns]
        };
        (0..self.columns).step_by(kc).map(panels).collect()
    }
}
