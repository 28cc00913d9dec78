//! Products of floats against their definition, whatever the shape, the threads and the company.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::error::Result;
use crate::kernels::linear::product::Activation;
use crate::kernels::linear::testing::{one, packed};
use crate::kernels::testing::{bits, in_order, on_threads, random};

impl PackedMatrix {
    fn of(weight: &[f32], rows: usize, columns: usize) -> Result<Self> {
        let length = if weight.is_empty() { 0 } else { panels_len(rows, columns) };
        let (matrix, panels) = packed(length, |panels| Self::pack(weight, rows, columns, panels))?;
        Ok(Self { panels, ..matrix })
    }
}

fn product(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    activation: Activation,
    parallel_for: &ParallelFor<'_>,
) -> Vec<f32> {
    let inputs = weight.len() / bias.len();
    let matrix = PackedMatrix::of(weight, bias.len(), inputs).unwrap();
    let mut y = vec![f32::from_bits(0x7fc0_1234); x.len() / inputs * bias.len()];
    linear(x, one(&matrix, bias, activation, &mut y), parallel_for).unwrap();
    y
}

/// Compares with the sum in double precision: as near as sums of so many products in 32 bits are.
fn check(x: &[f32], weight: &[f32], bias: &[f32], activation: Activation, y: &[f32]) {
    let inputs = weight.len() / bias.len();
    let rows = x.chunks(inputs).zip(y.chunks(bias.len()));
    for (x, y) in rows {
        for ((weight, &bias), &y) in weight.chunks(inputs).zip(bias).zip(y) {
            let terms = x.iter().zip(weight).map(|(&a, &b)| f64::from(a) * f64::from(b));
            let size = terms.clone().map(f64::abs).sum::<f64>() + f64::from(bias.abs());
            let linear = terms.sum::<f64>() + f64::from(bias);
            let expected = match activation {
                Activation::None => linear,
                Activation::Gelu => 0.5 * linear * libm::erfc(-linear / std::f64::consts::SQRT_2),
            };
            let error = (f64::from(y) - expected).abs();
            let near = 1e-6 * size + 4e-7 * linear.abs();
            assert!(error <= near, "{y} instead of {expected}, with {inputs} inputs");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_definition_in_any_company(
        inputs in prop_oneof![
            1..70_usize, Just(384), 500..530_usize, Just(1024), 1020..1100_usize, Just(2048),
        ],
        outputs in prop_oneof![1..70_usize, Just(384), 290..300_usize],
        rows in prop_oneof![1..40_usize, 115..130_usize],
        seed in any::<u64>(),
        activation in prop_oneof![Just(Activation::None), Just(Activation::Gelu)],
    ) {
        let x = random(seed, rows * inputs);
        let weight = random(seed ^ 0x5555, outputs * inputs);
        let bias = random(seed ^ 0xaaaa, outputs);
        let y = product(&x, &weight, &bias, activation, &on_threads);
        check(&x, &weight, &bias, activation, &y);
        for row in [0, rows / 2, rows - 1] {
            let alone = product(
                &x[row * inputs..][..inputs], &weight, &bias, activation, &in_order,
            );
            prop_assert_eq!(bits(&y[row * outputs..][..outputs]), bits(&alone));
        }
    }
}

#[test]
fn large_products_are_divided_and_put_together() {
    for (rows, inputs, outputs) in
        [(300, 600, 1100), (1, 4096, 1024), (13, 1024, 4096), (250, 1024, 70)]
    {
        let (x, bias) = (random(3, rows * inputs), random(7, outputs));
        let weight = random(5, inputs * outputs);
        let y = product(&x, &weight, &bias, Activation::Gelu, &on_threads);
        check(&x, &weight, &bias, Activation::Gelu, &y);
    }
}

#[test]
fn a_row_that_is_not_finite_spoils_no_other() {
    let (rows, inputs, outputs) = (40, 700, 50);
    let (mut x, bias) = (random(3, rows * inputs), random(7, outputs));
    let weight = random(5, inputs * outputs);
    let sound = product(&x, &weight, &bias, Activation::None, &on_threads);
    x[7 * inputs + 600] = f32::NAN;
    let y = product(&x, &weight, &bias, Activation::None, &on_threads);
    for (row, (y, sound)) in y.chunks(outputs).zip(sound.chunks(outputs)).enumerate() {
        match row {
            7 => assert!(y.iter().all(|y| y.is_nan())),
            _ => assert_eq!(bits(y), bits(sound)),
        }
    }
}

#[test]
fn what_does_not_fit_or_is_left_out_is_an_error() {
    let run = |matrix: &PackedMatrix, x: usize, bias: usize, y: usize| {
        let (x, bias, mut y) = (vec![1.0; x], vec![0.0; bias], vec![0.0; y]);
        linear(&x, one(matrix, &bias, Activation::None, &mut y), &in_order).map(|()| y)
    };
    let matrix = |length, rows, columns| PackedMatrix::of(&vec![1.0; length], rows, columns);
    let good = matrix(12, 3, 4).unwrap();
    assert_eq!(run(&good, 8, 3, 6).unwrap(), [4.0; 6]);
    assert!(run(&good, 0, 3, 0).is_ok());
    for (x, bias, y) in [(7, 3, 6), (8, 2, 6), (8, 4, 6), (8, 3, 5), (8, 3, 9), (4, 3, 6)] {
        assert!(run(&good, x, bias, y).is_err(), "{x} {bias} {y}");
    }
    let why = matrix(11, 3, 4).err().unwrap().to_string();
    assert!(why.contains("11 elements, not 3 x 4"), "{why}");
    assert!(matrix(0, usize::MAX, 2).is_err());
    assert!(matrix(0, 3, 0).is_err());
    let (bias, mut y) = ([0.0; 3], [0.0; 6]);
    let never = |_: usize, _: &(dyn Fn(usize) + Sync)| {};
    assert!(linear(&[1.0; 8], one(&good, &bias, Activation::None, &mut y), &never).is_err());
    let times = AtomicUsize::new(0);
    let twice = |count: usize, body: &(dyn Fn(usize) + Sync)| {
        times.fetch_add(1, Ordering::Relaxed);
        (0..count).chain(0..count + 3).for_each(body);
    };
    linear(&[1.0; 8], one(&good, &bias, Activation::None, &mut y), &twice).unwrap();
    assert_eq!((times.into_inner(), y), (1, [4.0; 6]));
}
