//! Scaling of a vector to length 1.

/// Least length to divide by, as in torch's `F.normalize`: a vector of zeros stays what it is.
const NORM_MIN: f64 = 1e-12;

/// Scales a vector to length 1. It is compiled with the vector instructions of the dispatch that it
/// is called in.
#[inline(always)]
pub(crate) fn normalize(vector: &mut [f32]) {
    let (lanes, rest) = vector.as_chunks::<8>();
    let mut squares = [0.0; 8];
    for lanes in lanes {
        for (square, &x) in squares.iter_mut().zip(lanes) {
            *square += f64::from(x) * f64::from(x);
        }
    }
    let rest: f64 = rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let norm = (squares.iter().sum::<f64>() + rest).sqrt();
    let scale = 1.0 / norm.max(NORM_MIN);
    for x in vector {
        *x = (f64::from(*x) * scale) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
