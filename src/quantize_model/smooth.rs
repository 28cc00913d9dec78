//! SmoothQuant: the factors that the channels of an activation are multiplied by, and their weights
//! divided by, so that no channel is so large that the others lose their digits.

/// Each channel counts as at least this share of the largest one: a channel that no calibration
/// text uses need not be small.
const LEAST_SHARE: f32 = 1e-3;
/// The largest ratio between a factor and the mean factor.
const FARTHEST: f32 = 100.0;

/// A factor for each column of a weight. `largest` is the largest magnitude of each column in the
/// input of the layer, and `alpha` the share of the differences that moves into the weight.
pub(super) fn factors(weight: &[f32], largest: &[f32], alpha: f32) -> Vec<f32> {
    let mut columns = vec![0.0_f32; largest.len()];
    for row in weight.chunks_exact(largest.len().max(1)) {
        columns.iter_mut().zip(row).for_each(|(column, x)| *column = column.max(x.abs()));
    }
    let (inputs, columns) = (logarithms(largest), logarithms(&columns));
    let wanted: Vec<f32> =
        inputs.iter().zip(&columns).map(|(x, w)| (1.0 - alpha) * w - alpha * x).collect();
    let mean = wanted.iter().sum::<f32>() / wanted.len().max(1) as f32;
    let farthest = FARTHEST.ln();
    wanted.iter().map(|factor| (factor - mean).clamp(-farthest, farthest).exp()).collect()
}

/// The logarithms of magnitudes, each of which counts as at least [`LEAST_SHARE`] of the largest.
fn logarithms(magnitudes: &[f32]) -> Vec<f32> {
    let largest = magnitudes.iter().copied().fold(0.0, f32::max);
    let least = (largest * LEAST_SHARE).max(f32::MIN_POSITIVE);
    magnitudes.iter().map(|magnitude| magnitude.max(least).ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_those_of_the_paper_scaled_to_a_mean_of_one() {
        let weight = [1.0, -8.0, 0.5, 0.25, 2.0, -4.0];
        let largest = [16.0, 2.0, 0.5];
        for alpha in [0.0, 0.3, 0.5, 1.0] {
            // In the paper X is divided by s = max|X|^α / max|W|^(1-α).
            let columns = [1.0_f64, 8.0, 4.0];
            let s: Vec<f64> = largest
                .iter()
                .zip(columns)
                .map(|(&x, w)| f64::from(x).powf(alpha) / w.powf(1.0 - alpha))
                .collect();
            let mean = s.iter().product::<f64>().powf(1.0 / 3.0);
            let ours = factors(&weight, &largest, alpha as f32);
            for (ours, s) in ours.iter().zip(s) {
                assert!((f64::from(*ours) * s / mean - 1.0).abs() < 1e-5, "{alpha}: {ours}");
            }
        }
    }

    #[test]
    fn channels_that_nothing_is_known_of_stay_within_bounds() {
        for (weight, largest) in [
            (vec![0.0; 4], vec![0.0; 2]),
            (vec![1e30, 1e-30, 0.0, 0.0], vec![0.0, 1e30]),
            (vec![1.0; 4], vec![f32::MAX, 0.0]),
        ] {
            for alpha in [0.0, 0.5, 1.0] {
                let factors = factors(&weight, &largest, alpha);
                assert!(factors.iter().all(|&x| (1.0 / 101.0..101.0).contains(&x)), "{factors:?}");
            }
        }
        assert_eq!(factors(&[3.0; 4], &[7.0; 2], 0.5), [1.0; 2]);
        assert!(factors(&[], &[], 0.5).is_empty());
    }
}
