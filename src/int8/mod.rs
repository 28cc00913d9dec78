//! Linear layers in 8-bit integers: weights quantised once, activations row by row.
//!
//! Every output channel of a weight has a scale of its own, and so has every row of activations.
//! The products are summed exactly, so that what comes out for a row depends on that row and the
//! weight only: not on the other rows, the number of threads, or the processor.

mod activations;
mod cache;
mod epilogue;
mod kernel;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::Mmap;
use parking_lot::Mutex;

use crate::attention::ParallelFor;
use activations::Activations;
use kernel::{Block, Kernel};

pub(crate) use activations::quantize_row;
pub(crate) use cache::{PackedFile, Source};
pub(crate) use epilogue::Activation;

/// The largest magnitude of a quantised weight: -128 is left out, so that both signs are alike.
const LARGEST: f32 = 127.0;
/// From the least to the greatest quantised activation.
const STEPS: f32 = 255.0;
/// The most columns whose products surely fit a sum of 32 bits, and what is taken from it.
const COLUMNS_MAX: usize = (i32::MAX / (2 * 128 * 127)) as usize;
/// The size of a cache line and of the widest vector, which none should straddle.
const LINE: usize = 64;
/// Products that are worth handing to another thread, some ten microseconds.
const PART_PRODUCTS: usize = 1 << 21;
/// As many rows are multiplied while their weights are loaded from memory.
const LOADING_ROWS: usize = 8;
/// More parts than this do not spread the work of a large product better.
const PARTS: usize = 256;
/// Activations of a block, whose rows are multiplied by one panel after another: small enough to
/// stay in the second cache level beside such a panel.
const BLOCK_ELEMENTS: usize = 1 << 16;

/// Activations that are quantised before they are multiplied: as many bytes are held, however long
/// a run is, and a thousand rows of the widest layer of bge-m3 are enough for all threads.
const STRETCH_ELEMENTS: usize = 1 << 22;

/// What the operands of a stretch take at most: two bytes for an activation where products are of
/// 16 bits, and as much again for where the results go and for the heap they come from.
pub(crate) const WORKING_BYTES: usize = 4 * STRETCH_ELEMENTS;

/// A linear layer's weight, quantised per output channel and packed for this processor.
///
/// The rows lie in panels. A panel holds, for each group of columns that the kernel multiplies at
/// once, these columns of all its rows.
pub(crate) struct PackedMatrix {
    kernel: Kernel,
    rows: usize,
    columns: usize,
    /// One for each row; NaN where the row holds a number that is not finite.
    scales: Vec<f32>,
    /// Of each row, the sum of its quantised numbers.
    sums: Vec<i32>,
    /// What a row of activations is multiplied with, element by element, before it is quantised;
    /// empty for nothing.
    factors: Vec<f32>,
    panels: Panels,
    /// Why there is nothing to multiply by.
    unusable: Option<String>,
}

/// Where the bytes of panels are, from the first line of a cache on.
enum Panels {
    Owned(Vec<u8>, Range<usize>),
    Mapped(Arc<Mmap>, Range<usize>),
}

impl Panels {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes, range) => &bytes[range.clone()],
            Self::Mapped(map, range) => &map[range.clone()],
        }
    }
}

/// Whether this processor multiplies integers faster than floats.
pub(crate) fn is_worth_it() -> bool {
    !matches!(Kernel::of_this_processor(), Kernel::Portable)
}

impl PackedMatrix {
    /// `weight` holds `rows` (output channels) of `columns`, as PyTorch stores them. A matrix that
    /// cannot be had is reported by [`linear`].
    pub(crate) fn quantize(weight: &[f32], rows: usize, columns: usize) -> Self {
        Self::for_kernel(Kernel::of_this_processor(), weight, rows, columns)
    }

    fn for_kernel(kernel: Kernel, weight: &[f32], rows: usize, columns: usize) -> Self {
        if let Some(why) = misfit(weight.len(), rows, columns) {
            return Self::unusable(kernel, rows, columns, why);
        }
        Self::pack(kernel, rows, columns, |row, quantized| {
            quantize_row(&weight[row * columns..][..columns], quantized)
        })
    }

    /// What was quantised before: a scale for each row, and a factor for each column, which were
    /// divided by it when the rows were quantised.
    pub(crate) fn stored(weight: &[i8], scales: &[f32], factors: Vec<f32>) -> Self {
        Self::stored_for(Kernel::of_this_processor(), weight, scales, factors)
    }

    fn stored_for(kernel: Kernel, weight: &[i8], scales: &[f32], factors: Vec<f32>) -> Self {
        let (rows, columns) = (scales.len(), factors.len());
        if let Some(why) = misfit(weight.len(), rows, columns) {
            return Self::unusable(kernel, rows, columns, why);
        }
        let packed = Self::pack(kernel, rows, columns, |row, quantized| {
            quantized.copy_from_slice(&weight[row * columns..][..columns]);
            scales[row]
        });
        Self { factors, ..packed }
    }

    fn unusable(kernel: Kernel, rows: usize, columns: usize, why: String) -> Self {
        Self {
            kernel,
            rows,
            columns,
            scales: Vec::new(),
            sums: Vec::new(),
            factors: Vec::new(),
            panels: Panels::Owned(Vec::new(), 0..0),
            unusable: Some(why),
        }
    }

    /// `quantized_row` writes a row and returns its scale.
    fn pack(
        kernel: Kernel,
        rows: usize,
        columns: usize,
        mut quantized_row: impl FnMut(usize, &mut [i8]) -> f32,
    ) -> Self {
        let shape = kernel.shape();
        let padded = columns.next_multiple_of(shape.group);
        let panel_len = shape.columns * padded;
        let length = rows.div_ceil(shape.columns) * panel_len;
        let mut panels = vec![0; length + LINE];
        let first = panels.as_ptr().align_offset(LINE).min(LINE);
        let mut scales = vec![0.0; rows];
        let mut sums = vec![0; rows];
        let mut quantized = vec![0_i8; panel_len];
        let bytes = panels[first..].chunks_exact_mut(panel_len.max(1));
        let of_panels = scales.chunks_mut(shape.columns).zip(sums.chunks_mut(shape.columns));
        for (panel, ((scales, sums), bytes)) in of_panels.zip(bytes).enumerate() {
            let lines = quantized.chunks_exact_mut(padded.max(1));
            for (lane, ((scale, sum), line)) in scales.iter_mut().zip(sums).zip(lines).enumerate() {
                *scale = quantized_row(panel * shape.columns + lane, &mut line[..columns]);
                *sum = line[..columns].iter().map(|&element| i32::from(element)).sum();
            }
            // What is behind the last row of all is never looked at.
            let groups = bytes.chunks_exact_mut(shape.columns * shape.group);
            for (index, group) in groups.enumerate() {
                let lines = quantized.chunks_exact(padded);
                for (lane, line) in group.chunks_exact_mut(shape.group).zip(lines) {
                    let elements = &line[index * shape.group..][..shape.group];
                    for (byte, &element) in lane.iter_mut().zip(elements) {
                        *byte = element as u8 ^ shape.flip;
                    }
                }
            }
        }
        let (factors, panels) = (Vec::new(), Panels::Owned(panels, first..first + length));
        Self { kernel, rows, columns, scales, sums, factors, panels, unusable: None }
    }

    /// The bytes of all panels.
    fn panels_len(kernel: Kernel, rows: usize, columns: usize) -> Option<usize> {
        let shape = kernel.shape();
        let panel_len =
            shape.columns.checked_mul(columns.checked_next_multiple_of(shape.group)?)?;
        rows.div_ceil(shape.columns).checked_mul(panel_len)
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.unusable.is_none()
    }

    /// The number of output channels.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    fn panels(&self, range: Range<usize>) -> &[u8] {
        let shape = self.kernel.shape();
        let panel_len = shape.columns * self.columns.next_multiple_of(shape.group);
        &self.panels.bytes()[range.start * panel_len..range.end * panel_len]
    }
}

/// Why so many elements are no weight to multiply with.
fn misfit(elements: usize, rows: usize, columns: usize) -> Option<String> {
    if rows.checked_mul(columns) != Some(elements) {
        return Some(format!("a weight of {elements} elements, not {rows} x {columns}"));
    }
    (columns > COLUMNS_MAX)
        .then(|| format!("a weight of {columns} columns, the limit is {COLUMNS_MAX}"))
}

/// Writes y = activation(x Wᵀ + bias) for each row of x. `parallel_for` runs the independent
/// parts. A row of x that holds a number that is not finite becomes a row of NaN, and a row
/// whose numbers and 0 lie nearer together than [`activations::SMALLEST`] says counts as zeros.
///
/// # Errors
/// When the lengths do not fit together, the weight did not, or `parallel_for` left out a part.
pub(crate) fn linear(
    x: &[f32],
    matrix: &PackedMatrix,
    bias: &[f32],
    activation: Activation,
    y: &mut [f32],
    parallel_for: &ParallelFor<'_>,
) -> Result<(), String> {
    if let Some(why) = &matrix.unusable {
        return Err(format!("linear layer: {why}"));
    }
    let (inputs, outputs) = (matrix.columns, matrix.rows);
    let count = x.len().checked_div(inputs).unwrap_or_else(|| y.len() / outputs.max(1));
    if x.len() != count * inputs || y.len() != count * outputs || bias.len() != outputs {
        return Err(format!(
            "linear layer: a weight of {outputs} x {inputs}, {} elements in, {} out, a bias of {}",
            x.len(),
            y.len(),
            bias.len()
        ));
    }
    if y.is_empty() {
        return Ok(());
    }
    // Without inputs there is nothing to hold.
    let rows = STRETCH_ELEMENTS.checked_div(inputs).map_or(count, |rows| rows.max(1));
    for (index, y) in y.chunks_mut(rows * outputs).enumerate() {
        let count = y.len() / outputs;
        let x = &x[index * rows * inputs..][..count * inputs];
        let activations =
            Activations::quantize(x, count, inputs, &matrix.factors, matrix.kernel, parallel_for)?;
        multiply(&activations, matrix, bias, activation, y, parallel_for)?;
    }
    Ok(())
}

fn multiply(
    activations: &Activations,
    matrix: &PackedMatrix,
    bias: &[f32],
    activation: Activation,
    y: &mut [f32],
    parallel_for: &ParallelFor<'_>,
) -> Result<(), String> {
    let (inputs, outputs, count) = (matrix.columns, matrix.rows, activations.rows.len());
    let shape = matrix.kernel.shape();
    let block_rows = (BLOCK_ELEMENTS / inputs.max(1) / shape.rows).max(1) * shape.rows;
    let block_rows = block_rows.min(count);
    let total = count.saturating_mul(outputs).saturating_mul(inputs);
    let products = (total / PARTS).max(PART_PRODUCTS);
    let panel_products = (block_rows.max(LOADING_ROWS) * inputs * shape.columns).max(1);
    let block_panels = (products / panel_products).max(1);
    let block_outputs = block_panels * shape.columns;

    let groups = outputs.div_ceil(block_outputs);
    let mut parts = Vec::with_capacity(count.div_ceil(block_rows) * groups);
    for (index, y) in y.chunks_mut(block_rows * outputs).enumerate() {
        let rows = index * block_rows..index * block_rows + y.len() / outputs;
        let start = parts.len();
        parts.extend((0..groups).map(|_| (rows.clone(), Vec::with_capacity(rows.len()))));
        for row in y.chunks_mut(outputs) {
            for ((_, part), y) in parts[start..].iter_mut().zip(row.chunks_mut(block_outputs)) {
                part.push(y);
            }
        }
    }
    let parts = parts.into_iter().enumerate().collect();
    run_parts(parts, parallel_for, |(index, (rows, mut y))| {
        let first = index % groups * block_panels;
        let outputs = first * shape.columns..outputs.min((first + block_panels) * shape.columns);
        let panels = first..outputs.end.div_ceil(shape.columns);
        matrix.kernel.run(&mut Block {
            inputs: inputs.div_ceil(shape.group),
            words: activations.tiles(rows.clone()),
            rows: &activations.rows[rows],
            panels: matrix.panels(panels),
            scales: &matrix.scales[outputs.clone()],
            weight_sums: &matrix.sums[outputs.clone()],
            bias: &bias[outputs],
            activation,
            y: &mut y,
        });
    })
}

/// Hands each part to `body` once.
fn run_parts<T: Send>(
    parts: Vec<T>,
    parallel_for: &ParallelFor<'_>,
    body: impl Fn(T) + Sync,
) -> Result<(), String> {
    let parts: Vec<_> = parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
    let done = AtomicUsize::new(0);
    parallel_for(parts.len(), &|index| {
        let part = parts.get(index).and_then(|part| part.lock().take());
        if let Some(part) = part {
            body(part);
            done.fetch_add(1, Ordering::Release);
        }
    });
    match done.load(Ordering::Acquire) == parts.len() {
        true => Ok(()),
        false => Err("linear layer: parts of the work were not run".into()),
    }
}
