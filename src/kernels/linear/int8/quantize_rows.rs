//! Rows of activations as 8-bit integers, with a scale for each row.

use std::ops::Range;

use crate::kernels::linear::product::KERNEL;
use crate::kernels::parts::{ParallelFor, run_each};
use crate::kernels::simd::ARCH;
use crate::memory;

/// The largest magnitude of a quantized weight: -128 is not used, so that both signs are alike.
pub(super) const LARGEST: f32 = 127.0;
/// Steps from the least to the greatest quantized activation.
const STEPS: f32 = 255.0;

/// Elements of a part: some ten microseconds of work, which pay for waking another thread.
const PART_ELEMENTS: usize = 1 << 16;

/// A row counts as zeros if its largest magnitude, or half of the range of its numbers and 0, is
/// below this, 2^-120: the reciprocal of its scale would not be finite.
pub(super) const SMALLEST: f32 = 7.523_164e-37;

/// The parameters of a quantized row.
#[derive(Clone, Copy, Default)]
pub(super) struct Row {
    /// NaN for a row that holds a number that is not finite.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero: i32,
    /// The sum of the quantized elements.
    pub sum: i32,
}

/// Quantized rows, one after another, in words of the KR elements that a kernel multiplies at once.
pub(super) struct Activations {
    /// The words of a row.
    pub width: usize,
    pub words: Vec<i32>,
    pub rows: Vec<Row>,
}

impl Activations {
    /// Quantizes `count` rows. Their elements are multiplied by `factors` first, unless these are
    /// empty.
    pub(super) fn quantize(
        x: &[f32],
        count: usize,
        inputs: usize,
        factors: &[f32],
        kr: usize,
        parallel_for: &ParallelFor<'_>,
    ) -> Result<Self, String> {
        let width = inputs.div_ceil(kr);
        let no_memory = |_| "linear layer: out of memory".to_string();
        let mut words = memory::zeros(count * width).map_err(no_memory)?;
        let mut rows: Vec<Row> = memory::zeros(count).map_err(no_memory)?;
        if inputs > 0 {
            let part_rows = PART_ELEMENTS.div_ceil(inputs);
            let parts = x
                .chunks(part_rows * inputs)
                .zip(words.chunks_mut(part_rows * width))
                .zip(rows.chunks_mut(part_rows));
            run_each(KERNEL, parts, parallel_for, |((x, words), rows)| {
                let mut quantized = memory::zeros(width * kr).ok()?;
                let mut smooth = memory::zeros(factors.len()).ok()?;
                let rows = x.chunks_exact(inputs).zip(words.chunks_exact_mut(width)).zip(rows);
                for ((mut x, words), row) in rows {
                    if !factors.is_empty() {
                        multiply_each(x, factors, &mut smooth);
                        x = &smooth;
                    }
                    (row.scale, row.zero) = quantize_range(x, &mut quantized[..inputs]);
                    row.sum = pack_row(&quantized, words, kr);
                }
                Some(())
            })?;
        }
        Ok(Self { width, words, rows })
    }

    /// The words of some rows.
    pub(super) fn words(&self, rows: Range<usize>) -> &[i32] {
        &self.words[rows.start * self.width..rows.end * self.width]
    }
}

/// Writes a row in words of KR elements, and returns the sum of all elements.
pub(super) fn pack_row(quantized: &[i8], words: &mut [i32], kr: usize) -> i32 {
    ARCH.dispatch(
        #[inline(always)]
        || {
            let words = words.iter_mut();
            match kr {
                1 => words.zip(quantized).for_each(|(word, &a)| *word = i32::from(a)),
                2 => words.zip(quantized.as_chunks().0).for_each(|(word, &[a, b])| {
                    *word = i32::from(a) & 0xffff | i32::from(b) << 16;
                }),
                _ => words.zip(quantized.as_chunks().0).for_each(|(word, elements)| {
                    *word = i32::from_le_bytes(elements.map(|element: i8| element as u8));
                }),
            }
            quantized.iter().map(|&element| i32::from(element)).sum()
        },
    )
}

fn multiply_each(row: &[f32], factors: &[f32], products: &mut [f32]) {
    ARCH.dispatch(
        #[inline(always)]
        || {
            for ((product, x), factor) in products.iter_mut().zip(row).zip(factors) {
                *product = x * factor;
            }
        },
    );
}

/// Rounds to an integer, ties to even, when it is added: in the low bits.
const SHIFTER: f32 = 12_582_912.0;

/// Writes the nearest integers to `row / scale + zero`, and returns both: they spread the range of
/// the row's numbers and 0 over all values of 8 bits. Activations often lie on one side of 0, and
/// are then resolved twice as finely as if both signs had as many values.
fn quantize_range(row: &[f32], quantized: &mut [i8]) -> (f32, i32) {
    ARCH.dispatch(
        #[inline(always)]
        || {
            // Compared by their bits. As signed integers, positive numbers are in their order and
            // above all others; as unsigned integers, negative numbers are above all others and in
            // reverse order. NaN lies outside of the infinities, whatever its sign.
            let (mut greatest, mut least) = (0_i32, 0_u32);
            for x in row {
                greatest = greatest.max(x.to_bits() as i32);
                least = least.max(x.to_bits());
            }
            let greatest = f32::from_bits(greatest as u32);
            let least = if least >> 31 == 1 { f32::from_bits(least) } else { 0.0 };
            // Halves are subtracted, since the whole range may not be finite.
            let half = 0.5 * greatest - 0.5 * least;
            let is_finite = least.is_finite() && greatest.is_finite();
            if !is_finite || half < SMALLEST {
                quantized.fill(0);
                return (if is_finite { 0.0 } else { f32::NAN }, 0);
            }
            let factor = 0.5 * STEPS / half;
            let zero = (-128.0 - least * factor).round_ties_even();
            for (quantized, x) in quantized.iter_mut().zip(row) {
                let nearest = (x * factor + zero).clamp(-128.0, 127.0);
                *quantized = (nearest + SHIFTER).to_bits() as i8;
            }
            (half / (0.5 * STEPS), zero as i32)
        },
    )
}

/// Writes the nearest integers to `row / scale` and returns the scale, the largest magnitude of
/// the row divided by 127.
pub(crate) fn quantize_row(row: &[f32], quantized: &mut [i8]) -> f32 {
    ARCH.dispatch(
        #[inline(always)]
        || {
            // As integers the magnitudes have the same order, and NaN is above all of them.
            let largest = row.iter().fold(0, |largest: u32, x| largest.max(x.abs().to_bits()));
            let largest = f32::from_bits(largest);
            if !largest.is_finite() || largest < SMALLEST {
                quantized.fill(0);
                return if largest.is_finite() { 0.0 } else { f32::NAN };
            }
            let factor = LARGEST / largest;
            for (quantized, x) in quantized.iter_mut().zip(row) {
                *quantized = (x * factor + SHIFTER).to_bits() as i8;
            }
            largest / LARGEST
        },
    )
}
