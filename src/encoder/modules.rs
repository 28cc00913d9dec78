//! The modules after the pooling, which make the vector of a text from its pooled rows.

use crate::kernels::normalize::normalize;
use crate::model_dir::{Activation, Dense, Linear, Module, Residual};

/// torch's default for the number that is added to the variance.
const LAYER_NORM_EPS: f64 = 1e-5;

/// Runs a chain of modules. The result of a text does not depend on its batch-mates.
pub(crate) fn apply(modules: &[Module], mut vector: Vec<f32>) -> Vec<f32> {
    for module in modules {
        match module {
            Module::Dense(layer) => vector = dense(layer, &vector),
            Module::LayerNorm { weight, bias } => layer_norm(&mut vector, weight, bias),
            Module::Normalize => normalize(&mut vector),
            Module::Dropout => {}
        }
    }
    vector
}

fn dense(layer: &Dense, vector: &[f32]) -> Vec<f32> {
    let Dense { linear: Linear { weight, bias, columns, .. }, activation, residual } = layer;
    let row = |weight: &[f32], row: usize| dot(&weight[row * columns..][..*columns], vector);
    let number = |(index, &bias): (usize, &f32)| {
        let activated = activate(*activation, row(weight, index) + f64::from(bias));
        let residual = match residual {
            Residual::None => 0.0,
            Residual::Input => vector[index].into(),
            Residual::Projected(weight) => row(weight, index),
        };
        (activated + residual) as f32
    };
    bias.iter().enumerate().map(number).collect()
}

/// Keeps several sums side by side, so that the processor can add them at once.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0f64; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(a) * f64::from(b);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| f64::from(a) * f64::from(b));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

/// The same as torch's modules of these names with their defaults.
fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Elu => elu(x),
        Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Activation::LeakyRelu => {
            if x < 0.0 {
                0.01 * x
            } else {
                x
            }
        }
        Activation::Mish => x * softplus(x).tanh(),
        // Not f64::max, which would turn a NaN into a number.
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Selu => 1.050_700_987_355_480_5 * selu_part(x),
        Activation::Sigmoid => sigmoid(x),
        Activation::Silu => x * sigmoid(x),
        // torch returns large numbers unchanged.
        Activation::Softplus => {
            if x > 20.0 {
                x
            } else {
                softplus(x)
            }
        }
        Activation::Softsign => x / (1.0 + x.abs()),
        Activation::Tanh => x.tanh(),
    }
}

fn elu(x: f64) -> f64 {
    if x > 0.0 { x } else { x.exp_m1() }
}

fn selu_part(x: f64) -> f64 {
    if x > 0.0 { x } else { 1.673_263_242_354_377_3 * x.exp_m1() }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn layer_norm(vector: &mut [f32], weight: &[f32], bias: &[f32]) {
    let count = vector.len() as f64;
    let mean = vector.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let square = |&x: &f32| (f64::from(x) - mean) * (f64::from(x) - mean);
    let variance = vector.iter().map(square).sum::<f64>() / count;
    let scale = 1.0 / (variance + LAYER_NORM_EPS).sqrt();
    for ((x, &weight), &bias) in vector.iter_mut().zip(weight).zip(bias) {
        *x = ((f64::from(*x) - mean) * scale * f64::from(weight) + f64::from(bias)) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense_layer(activation: Activation, residual: Residual) -> Module {
        let linear =
            Linear { weight: vec![1.0, 2.0, 0.0, -1.0], bias: vec![0.5, 0.0], rows: 2, columns: 2 };
        Module::Dense(Dense { linear, activation, residual })
    }

    #[test]
    fn a_dense_layer_adds_its_residual() {
        let vector = || vec![3.0, -4.0];
        let apply = |residual| apply(&[dense_layer(Activation::Relu, residual)], vector());
        assert_eq!(apply(Residual::None), [0.0, 4.0]);
        assert_eq!(apply(Residual::Input), [3.0, 0.0]);
        assert_eq!(apply(Residual::Projected(vec![1.0, 1.0, 2.0, 0.0])), [-1.0, 10.0]);
    }

    #[test]
    fn a_dot_product_is_right_for_every_length() {
        for length in 0..40_u16 {
            let a: Vec<f32> = (0..length).map(f32::from).collect();
            let square = |n: f64| n * (n + 1.0) * (2.0 * n + 1.0) / 6.0;
            assert_eq!(dot(&a, &a), square(f64::from(length) - 1.0).max(0.0), "{length}");
        }
    }

    #[test]
    fn large_numbers_stay_numbers_and_nan_stays_nan() {
        for activation in crate::model_dir::ACTIVATIONS.map(|(_, activation)| activation) {
            for x in [-1e30, -1e3, 0.0, 1e3, 1e30] {
                assert!(activate(activation, x).is_finite(), "{activation:?} {x}");
            }
            assert!(activate(activation, f64::NAN).is_nan(), "{activation:?}");
        }
    }

    #[test]
    fn modules_run_in_their_order() {
        let norm = || Module::LayerNorm { weight: vec![2.0, 1.0], bias: vec![0.0, 1.0] };
        let vector = || vec![3.0, 4.0];
        let normal = 1.0 / (0.25_f64 + 1e-5).sqrt() * 0.5;
        let expected = [-2.0 * normal as f32, (1.0 + normal) as f32];
        assert_eq!(apply(&[norm()], vector()), expected);
        let mut scaled = expected;
        normalize(&mut scaled);
        assert_eq!(apply(&[norm(), Module::Dropout, Module::Normalize], vector()), scaled);
        assert_ne!(apply(&[Module::Normalize, norm()], vector()), scaled);
        assert_eq!(apply(&[], vector()), vector());
    }
}
