//! LayerNorm of the sum of two rows and a bias, which ends each half of an encoder layer.

use pulp::{Simd, WithSimd};

use super::parts::{ParallelFor, run_each};
use super::simd::{prefetch, vectorize};

/// Elements of a part: some ten microseconds of work, which pay for waking another thread.
const PART_ELEMENTS: usize = 1 << 15;
/// Partial sums that run side by side, which the compiler turns into vectors.
const LANES: usize = 32;

/// The parameters of the layer: three vectors as long as a row, and the epsilon.
pub(crate) struct SkipNorm<'a> {
    pub gain: &'a [f32],
    pub shift: &'a [f32],
    pub bias: &'a [f32],
    pub epsilon: f32,
}

impl SkipNorm<'_> {
    /// Writes `(s - mean(s)) / sqrt(variance(s) + epsilon) * gain + shift` with
    /// `s = rows + skip + bias` for each row. `parallel_for` runs the independent parts.
    ///
    /// # Errors
    /// When the lengths do not fit together, or `parallel_for` did not run each part.
    pub fn run(
        &self,
        rows: &[f32],
        skip: &[f32],
        normalized: &mut [f32],
        parallel_for: &ParallelFor<'_>,
    ) -> Result<(), String> {
        let width = self.gain.len();
        let lengths = [self.shift.len(), self.bias.len()];
        if width == 0 || lengths != [width; 2] || !rows.len().is_multiple_of(width) {
            return Err(format!(
                "normalization: rows of {} elements, vectors of {width} and {lengths:?}",
                rows.len()
            ));
        }
        if skip.len() != rows.len() || normalized.len() != rows.len() {
            return Err("normalization: the rows differ in number".into());
        }
        let part = (PART_ELEMENTS / width).max(1) * width;
        let inputs = rows.chunks(part).zip(skip.chunks(part));
        let parts = inputs.zip(normalized.chunks_mut(part));
        run_each("normalization", parts, parallel_for, |((rows, skip), normalized)| {
            vectorize(Part { norm: self, rows, skip, normalized });
            Some(())
        })
    }
}

/// Some of the rows.
struct Part<'a> {
    norm: &'a SkipNorm<'a>,
    rows: &'a [f32],
    skip: &'a [f32],
    normalized: &'a mut [f32],
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let SkipNorm { gain, shift, bias, epsilon } = *self.norm;
        let width = gain.len();
        let rows = self.rows.chunks_exact(width).zip(self.skip.chunks_exact(width));
        for ((row, skip), normalized) in rows.zip(self.normalized.chunks_exact_mut(width)) {
            // The next rows are hardly ever in the cache yet.
            for line in (0..width).step_by(16) {
                prefetch(row.as_ptr().wrapping_add(width + line));
                prefetch(skip.as_ptr().wrapping_add(width + line));
            }
            for (((sum, row), skip), bias) in normalized.iter_mut().zip(row).zip(skip).zip(bias) {
                *sum = row + skip + bias;
            }
            let mean = lane_sum(normalized, |x| x) / width as f32;
            // The variance about the mean, as torch computes it: the difference of two large sums
            // would lose digits.
            let variance = lane_sum(normalized, |x| (x - mean) * (x - mean)) / width as f32;
            let scale = (variance + epsilon).sqrt().recip();
            for ((x, gain), shift) in normalized.iter_mut().zip(gain).zip(shift) {
                *x = (*x - mean) * scale * gain + shift;
            }
        }
    }
}

#[inline(always)]
fn lane_sum(elements: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let chunks = elements.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|&x| term(x)).sum();
    for chunk in chunks {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += term(x);
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0] + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::testing::in_order;

    /// Each number, and how far one in 32 bits may be from it if sums have units of 3e-5 in the
    /// last place, as those of up to 300 have: what is left of a row of equal sums is such units.
    fn expected(norm: &SkipNorm<'_>, rows: &[f32], skip: &[f32]) -> Vec<(f32, f32)> {
        let width = norm.gain.len();
        let mut out = Vec::new();
        for (row, skip) in rows.chunks(width).zip(skip.chunks(width)) {
            let sums: Vec<f64> = (0..width)
                .map(|i| f64::from(row[i]) + f64::from(skip[i]) + f64::from(norm.bias[i]))
                .collect();
            let mean = sums.iter().sum::<f64>() / width as f64;
            let variance = sums.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            let scale = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
            for (i, x) in sums.iter().enumerate() {
                let y = (x - mean) * scale * f64::from(norm.gain[i]) + f64::from(norm.shift[i]);
                out.push((y as f32, (2e-4 * scale * f64::from(norm.gain[i].abs()) + 1e-4) as f32));
            }
        }
        out
    }

    fn rows() -> impl Strategy<Value = (usize, usize, Vec<f32>)> {
        let width = prop_oneof![Just(1_usize), 2..70_usize, Just(384), Just(1024)];
        (width, 0..40_usize, -100.0..100.0_f32).prop_flat_map(|(width, rows, offset)| {
            let element = (-3.0..3.0_f32).prop_map(move |x| x + offset);
            let elements = prop::collection::vec(element, 2 * rows * width + 3 * width);
            (Just(width), Just(rows), elements)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_the_definition((width, rows, elements) in rows()) {
            let (rows, rest) = elements.split_at(rows * width);
            let (skip, vectors) = rest.split_at(rows.len());
            let norm = SkipNorm {
                gain: &vectors[..width],
                shift: &vectors[width..2 * width],
                bias: &vectors[2 * width..],
                epsilon: 1e-5,
            };
            let mut out = vec![f32::NAN; rows.len()];
            norm.run(rows, skip, &mut out, &in_order).unwrap();
            for (a, (b, near)) in out.iter().zip(expected(&norm, rows, skip)) {
                prop_assert!((a - b).abs() <= near, "{} instead of {}", a, b);
            }
        }
    }

    #[test]
    fn usual_rows_are_exact_to_the_last_digits() {
        let width = 1024;
        let row: Vec<f32> = (0..width).map(|i| (i as f32 * 0.7).sin()).collect();
        let skip: Vec<f32> = (0..width).map(|i| (i as f32 * 0.3).cos()).collect();
        let (gain, shift, bias) = (vec![1.0; width], vec![0.0; width], vec![0.1; width]);
        let norm = SkipNorm { gain: &gain, shift: &shift, bias: &bias, epsilon: 1e-5 };
        let mut out = vec![0.0; width];
        norm.run(&row, &skip, &mut out, &in_order).unwrap();
        for (a, (b, _)) in out.iter().zip(expected(&norm, &row, &skip)) {
            assert!((a - b).abs() <= 1e-6, "{a} instead of {b}");
        }
    }

    #[test]
    fn what_does_not_fit_or_is_left_out_is_an_error() {
        let (four, three) = ([1.0; 4], [1.0; 3]);
        let norm = SkipNorm { gain: &four, shift: &four, bias: &four, epsilon: 1e-5 };
        let run =
            |rows: &[f32], skip: &[f32], out: &mut [f32]| norm.run(rows, skip, out, &in_order);
        assert!(run(&[1.0; 8], &[1.0; 8], &mut [0.0; 8]).is_ok());
        assert!(run(&[], &[], &mut []).is_ok());
        assert!(run(&[1.0; 7], &[1.0; 7], &mut [0.0; 7]).is_err());
        assert!(run(&[1.0; 8], &[1.0; 4], &mut [0.0; 8]).is_err());
        assert!(run(&[1.0; 8], &[1.0; 8], &mut [0.0; 4]).is_err());
        let uneven = SkipNorm { gain: &four, shift: &three, bias: &four, epsilon: 1e-5 };
        assert!(uneven.run(&[1.0; 8], &[1.0; 8], &mut [0.0; 8], &in_order).is_err());
        let never = |_: usize, _: &(dyn Fn(usize) + Sync)| {};
        assert!(norm.run(&[1.0; 8], &[1.0; 8], &mut [0.0; 8], &never).is_err());
    }
}
