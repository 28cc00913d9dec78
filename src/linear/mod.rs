//! Linear layers: y = activation(x Wᵀ + bias), in 32-bit floats or in 8-bit integers.
//!
//! Weights are packed once, in the order in which the vectors of this processor read them. What comes
//! out for a row depends on that row and the weight only: not on the other rows, or the number of
//! threads.

mod cache;
mod fp32;
mod int8;
mod panels;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::attention::{ParallelFor, SOON, prefetch_lines};
use crate::error::Result;
use panels::Panels;

pub(crate) use cache::PackedFile;
pub(crate) use int8::{WORKING_BYTES as INT8_WORKING_BYTES, quantize_row};
pub(crate) use panels::Region;

/// Whether this processor multiplies floats faster by this module than by ONNX Runtime.
pub(crate) fn fp32_is_worth_it() -> bool {
    fp32::is_worth_it()
}

/// Whether this processor multiplies integers faster than floats.
pub(crate) fn int8_is_worth_it() -> bool {
    int8::is_worth_it()
}

/// What follows a linear layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    None,
    /// x Φ(x), by the error function and not by tanh.
    Gelu,
}

/// What a matrix is made of: a tensor of so many rows (output channels) and columns.
pub(crate) struct Source {
    pub name: String,
    pub rows: usize,
    pub columns: usize,
    pub format: Format,
}

/// In what a matrix is multiplied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Format {
    Fp32,
    Int8,
    /// As integers in its file already, with a factor for each column.
    StoredInt8,
}

impl Source {
    /// The bytes of its panels.
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
    /// With a scale for each row, and factors for the columns, which were divided by them when the
    /// rows were quantized.
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
    /// Packs a weight into `panels`, of the length that the source says. A matrix that cannot be had
    /// is reported by [`linear`].
    pub fn pack(source: &Source, numbers: &Numbers, panels: &mut [u8]) -> Self {
        let &Source { rows, columns, format, .. } = source;
        match numbers {
            Numbers::Floats(weight) if format == Format::Fp32 => {
                Self::Fp32(fp32::PackedMatrix::pack(weight, rows, columns, panels))
            }
            Numbers::Floats(weight) => {
                Self::Int8(int8::PackedMatrix::quantize(weight, rows, columns, panels))
            }
            Numbers::Integers { numbers, scales, factors } => {
                Self::Int8(int8::PackedMatrix::stored(numbers, scales, factors.clone(), panels))
            }
        }
    }

    /// Puts matrices where they were packed into.
    pub fn place(matrices: Vec<Self>, region: Region) -> Result<Vec<Self>> {
        let placed = matrices.into_iter().zip(region.panels()?).map(|(mut matrix, panels)| {
            match &mut matrix {
                Self::Fp32(matrix) => matrix.panels = panels,
                Self::Int8(matrix) => matrix.panels = panels,
            }
            matrix
        });
        Ok(placed.collect())
    }

    pub fn is_usable(&self) -> bool {
        match self {
            Self::Fp32(matrix) => matrix.unusable.is_none(),
            Self::Int8(matrix) => matrix.unusable.is_none(),
        }
    }

    /// The number of output channels.
    pub fn rows(&self) -> usize {
        match self {
            Self::Fp32(matrix) => matrix.rows,
            Self::Int8(matrix) => matrix.rows,
        }
    }
}

/// What a linear layer does with rows, and where that goes.
pub(crate) struct Product<'a, Matrix = PackedMatrix> {
    pub matrix: &'a Matrix,
    pub bias: &'a [f32],
    pub activation: Activation,
    pub y: &'a mut [f32],
}

/// Writes y = activation(x Wᵀ + bias) for each row of x, by each of the products: several share what
/// is done with a row before, and wait for threads once. `parallel_for` runs the independent parts.
///
/// # Errors
/// When the lengths do not fit together, a weight did not, or `parallel_for` left out a part.
pub(crate) fn linear(
    x: &[f32],
    products: Vec<Product<'_>>,
    parallel_for: &ParallelFor<'_>,
) -> Result<(), String> {
    let (mut floats, mut integers) = (Vec::new(), Vec::new());
    for Product { matrix, bias, activation, y } in products {
        match matrix {
            PackedMatrix::Fp32(matrix) => floats.push(Product { matrix, bias, activation, y }),
            PackedMatrix::Int8(matrix) => integers.push(Product { matrix, bias, activation, y }),
        }
    }
    fp32::linear(x, floats, parallel_for)?;
    int8::linear(x, integers, parallel_for)
}

/// How many rows there are, if there is something to multiply by and the lengths of the operands fit
/// together.
fn count_rows(
    unusable: Option<&str>,
    x: &[f32],
    (outputs, inputs): (usize, usize),
    bias: &[f32],
    y: &[f32],
) -> Result<usize, String> {
    if let Some(why) = unusable {
        return Err(format!("linear layer: {why}"));
    }
    let count = x.len().checked_div(inputs).unwrap_or_else(|| y.len() / outputs.max(1));
    if x.len() != count * inputs || y.len() != count * outputs || bias.len() != outputs {
        return Err(format!(
            "linear layer: a weight of {outputs} x {inputs}, {} elements in, {} out, a bias of {}",
            x.len(),
            y.len(),
            bias.len()
        ));
    }
    Ok(count)
}

/// As many rows are multiplied while their weights are loaded from memory.
const LOADING_ROWS: usize = 8;

/// How a result is cut into parts.
struct Cut {
    /// The most rows of a part, whole tiles of them but in the last ones.
    rows: usize,
    tile: usize,
    /// Columns that stay together.
    panel: usize,
    /// Products that are worth handing to another thread, some ten microseconds.
    products: usize,
    /// More parts than this cost more than they spread the work of a large product better.
    parts: usize,
    /// So many panels are worth what a part does with its rows first.
    panels: usize,
}

/// Some rows of a result, and some of their columns.
struct Part<'y> {
    rows: Range<usize>,
    columns: Range<usize>,
    /// One slice for each row.
    y: Vec<&'y mut [f32]>,
}

/// Cuts a result into parts.
fn parts_of(y: &mut [f32], (outputs, inputs): (usize, usize), cut: Cut) -> Vec<Part<'_>> {
    let count = y.len() / outputs;
    // An even number of blocks, with as many tiles in each but for one: so no thread waits long for
    // another.
    let tiles = count.div_ceil(cut.tile);
    let blocks = match count.div_ceil(cut.rows) {
        1 => 1,
        blocks => blocks.next_multiple_of(2).min(tiles),
    };
    let block_rows = count.div_ceil(blocks);
    let products = (y.len().saturating_mul(inputs) / cut.parts).max(cut.products);
    let panel_products = (block_rows.max(LOADING_ROWS) * inputs * cut.panel).max(1);
    let panels = outputs.div_ceil(cut.panel);
    let most = (products / panel_products).max(cut.panels);
    // One block of rows is an even number of parts likewise: of three, one of two threads has two.
    let of_block = match panels.div_ceil(most) {
        parts @ 2.. if blocks == 1 => parts.next_multiple_of(4).min(panels),
        parts => parts,
    };
    let block_columns = panels.div_ceil(of_block) * cut.panel;
    let mut parts = Vec::new();
    let mut rest = y;
    for block in 0..blocks {
        let first_row = |block: usize| (block * tiles / blocks * cut.tile).min(count);
        let rows = first_row(block)..first_row(block + 1);
        let (y, behind) = std::mem::take(&mut rest).split_at_mut(rows.len() * outputs);
        rest = behind;
        let start = parts.len();
        parts.extend((0..outputs).step_by(block_columns).map(|column| Part {
            rows: rows.clone(),
            columns: column..outputs.min(column + block_columns),
            y: Vec::with_capacity(rows.len()),
        }));
        for row in y.chunks_mut(outputs) {
            for (part, y) in parts[start..].iter_mut().zip(row.chunks_mut(block_columns)) {
                part.y.push(y);
            }
        }
    }
    parts
}

/// Hands each part to `body` once, which gives nothing if memory ran out.
fn run_parts<T: Send>(
    parts: Vec<T>,
    parallel_for: &ParallelFor<'_>,
    body: impl Fn(T) -> Option<()> + Sync,
) -> Result<(), String> {
    let parts: Vec<_> = parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
    let (done, is_short) = (AtomicUsize::new(0), AtomicBool::new(false));
    parallel_for(parts.len(), &|index| {
        let part = parts.get(index).and_then(|part| part.lock().take());
        match part.map(&body) {
            Some(Some(())) => _ = done.fetch_add(1, Ordering::Release),
            Some(None) => is_short.store(true, Ordering::Relaxed),
            None => {}
        }
    });
    match done.load(Ordering::Acquire) == parts.len() {
        true => Ok(()),
        false if is_short.into_inner() => Err("linear layer: out of memory".into()),
        false => Err("linear layer: parts of the work were not run".into()),
    }
}

/// What is asked for while a tile is multiplied, so that weights come from memory meanwhile. Not every
/// processor looks far ahead by itself.
#[derive(Clone, Copy)]
struct Ahead {
    first: *const u8,
    /// From what is asked for with one group of weights to the next.
    step: usize,
}

impl Ahead {
    /// For one of the tiles that are multiplied by a panel of so many groups, by its place among them.
    /// The first one reads the panel, and asks for what it will soon read; the others find the panel in
    /// the cache, and share in asking for the next one. Where there is one other, it would ask for too
    /// much at once.
    fn of<T>(panel: &[T], groups: usize, tile: usize, tiles: usize) -> Self {
        let first = panel.as_ptr().cast::<u8>();
        let length = size_of_val(panel);
        if tile == 0 || tiles == 2 {
            return Self { first: first.wrapping_add(SOON), step: length / groups.max(1) };
        }
        let share = length / (tiles - 1);
        let first = first.wrapping_add(length + (tile - 1) * share);
        Self { first, step: share / groups.max(1) }
    }

    /// Asks for as many lines as a group of weights has.
    #[inline(always)]
    fn ask<T>(self, place: usize, group: &[T]) {
        prefetch_lines(self.first.wrapping_add(place * self.step), size_of_val(group));
    }
}
