//! From the final states of a text's tokens to its one vector, by sentence-transformers' rules.

use crate::model_dir::Pooling;

/// Keeps the length of a vector of zeros from being a divisor, as torch's `F.normalize` does.
const NORM_MIN: f64 = 1e-12;

/// Writes the vector of a text. Its rows lie end to end in `rows`: all of them, or as many from the
/// first on as the pooling reads.
pub(crate) fn pool(pooling: Pooling, rows: &[f32], vector: &mut [f32]) {
    match pooling {
        Pooling::Cls => vector.copy_from_slice(&rows[..vector.len()]),
        Pooling::Mean => {
            let dim = vector.len();
            let mut sums = vec![0.0f64; dim];
            for row in rows.chunks_exact(dim) {
                for (sum, &x) in sums.iter_mut().zip(row) {
                    *sum += f64::from(x);
                }
            }
            let count = (rows.len() / dim) as f64;
            for (x, sum) in vector.iter_mut().zip(sums) {
                *x = (sum / count) as f32;
            }
        }
    }
}

/// Scales a vector to length 1.
pub(crate) fn normalize(vector: &mut [f32]) {
    let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    let scale = 1.0 / norm.max(NORM_MIN);
    for x in vector {
        *x = (f64::from(*x) * scale) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_is_the_average_of_the_rows() {
        let mut vector = [0.0; 2];
        pool(Pooling::Mean, &[1.0, 2.0, 3.0, 6.0], &mut vector);
        assert_eq!(vector, [2.0, 4.0]);
    }

    #[test]
    fn normalizing_gives_length_one_and_leaves_zeros_alone() {
        let mut vector = [3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zeros = [0.0; 3];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0; 3]);
    }
}
