//! Linear layers against their definition, whatever the numbers, the threads and the kernel.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::packed_matrix::{COLUMNS_MAX, panels_len_for};
use super::quantize_rows::Row;
use super::*;
use crate::error::Result;
use crate::kernels::linear::product::Activation;
use crate::kernels::linear::testing::{one, packed};
use crate::kernels::testing::{bits, in_order, on_threads, random};

impl PackedMatrix {
    fn of(kernel: Kernel, weight: &[f32], rows: usize, columns: usize) -> Result<Self> {
        let length = if weight.is_empty() { 0 } else { panels_len_for(kernel, rows, columns) };
        let (matrix, panels) =
            packed(length, |panels| Self::quantize(kernel, weight, rows, columns, panels))?;
        Ok(Self { panels, ..matrix })
    }
}

/// All kernels that can be tested here.
fn kernels() -> Vec<Kernel> {
    let kernels = Kernel::available();
    if kernels.len() < Kernel::COUNT {
        println!("skipped what this processor lacks: there are only {kernels:?}");
    }
    kernels
}

fn product(
    kernel: Kernel,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    activation: Activation,
    parallel_for: &ParallelFor<'_>,
) -> Vec<f32> {
    let inputs = weight.len() / bias.len();
    let matrix = PackedMatrix::of(kernel, weight, bias.len(), inputs).unwrap();
    let mut y = vec![f32::from_bits(0x7fc0_1234); x.len() / inputs * bias.len()];
    linear(x, one(&matrix, bias, activation, &mut y), parallel_for).unwrap();
    y
}

/// A row as integers and the size of their unit, in double precision.
fn quantized(row: &[f32]) -> (Vec<i64>, f64) {
    let largest = row.iter().fold(0.0_f64, |largest, &x| largest.max(f64::from(x.abs())));
    let scale = if largest < f64::from(quantize_rows::SMALLEST) { 0.0 } else { largest / 127.0 };
    // The factor is a number of 32 bits, which decides on which side of a half an element is.
    let factor = if scale > 0.0 { 127.0 / largest as f32 } else { 0.0 };
    let elements = row.iter().map(|x| i64::from((x * factor).round_ties_even() as i32)).collect();
    (elements, scale)
}

/// A row of activations likewise: integers without what stands for 0.
fn quantized_range(row: &[f32]) -> (Vec<i64>, f64) {
    let least = row.iter().fold(0.0_f32, |least, &x| least.min(x));
    let greatest = row.iter().fold(0.0_f32, |greatest, &x| greatest.max(x));
    let half = 0.5 * greatest - 0.5 * least;
    if half < quantize_rows::SMALLEST {
        return (vec![0; row.len()], 0.0);
    }
    let factor = 127.5 / half;
    let zero = (-128.0 - least * factor).round_ties_even();
    let element = |x: &f32| ((x * factor + zero).clamp(-128.0, 127.0)).round_ties_even() - zero;
    (row.iter().map(|x| element(x) as i64).collect(), f64::from(half) / 127.5)
}

/// Each number and how far one in 32 bits may be from it.
fn expected(x: &[f32], weight: &[f32], bias: &[f32], activation: Activation) -> Vec<(f64, f64)> {
    let inputs = weight.len() / bias.len();
    let weights: Vec<_> = weight.chunks(inputs).map(quantized).collect();
    let mut out = Vec::new();
    for row in x.chunks(inputs) {
        let (row, scale) = quantized_range(row);
        for ((weight, weight_scale), &bias) in weights.iter().zip(bias) {
            let sum: i64 = row.iter().zip(weight).map(|(a, b)| a * b).sum();
            let term = sum as f64 * scale * weight_scale;
            let linear = term + f64::from(bias);
            let near = (term.abs() + linear.abs()) * 4e-7 + 1e-44;
            out.push(match activation {
                Activation::None => (linear, near),
                Activation::Gelu => (
                    0.5 * linear * (1.0 + libm::erf(linear / std::f64::consts::SQRT_2)),
                    2.0 * near + 5e-7 * linear.abs(),
                ),
            });
        }
    }
    out
}

fn assert_near(actual: &[f32], expected: &[(f64, f64)]) {
    assert_eq!(actual.len(), expected.len());
    for (index, (&actual, &(expected, near))) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(actual) - expected).abs();
        assert!(error <= near, "{actual} instead of {expected} at {index}");
    }
}

#[derive(Debug)]
struct Case {
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
}

fn case() -> impl Strategy<Value = Case> {
    let inputs = prop_oneof![1..70_usize, Just(64), Just(128), 250..260_usize, Just(384)];
    let outputs = prop_oneof![1..70_usize, Just(64), Just(128), 190..200_usize];
    let rows = prop_oneof![1..20_usize, 60..70_usize];
    let activation = prop_oneof![Just(Activation::None), Just(Activation::Gelu)];
    let scale = prop_oneof![Just(1.0_f32), Just(1e-3), Just(30.0)];
    (inputs, outputs, rows, any::<u64>(), activation, scale).prop_map(
        |(inputs, outputs, rows, seed, activation, scale)| Case {
            x: random(seed, rows * inputs).iter().map(|x| x * scale).collect(),
            weight: random(seed ^ 0x5555, outputs * inputs),
            bias: random(seed ^ 0xaaaa, outputs),
            activation,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_definition(case in case()) {
        let Case { x, weight, bias, activation } = &case;
        let expected = expected(x, weight, bias, *activation);
        for kernel in kernels() {
            assert_near(&product(kernel, x, weight, bias, *activation, &in_order), &expected);
        }
    }

    #[test]
    fn neither_kernel_nor_batch_nor_threads_change_a_bit(case in case()) {
        let Case { x, weight, bias, activation } = &case;
        let inputs = weight.len() / bias.len();
        let reference = product(Kernel::Portable, x, weight, bias, *activation, &in_order);
        for kernel in kernels() {
            let y = product(kernel, x, weight, bias, *activation, &on_threads);
            prop_assert_eq!(bits(&y), bits(&reference), "{:?}", kernel);
            for (x, y) in x.chunks(inputs).zip(y.chunks(bias.len())) {
                let alone = product(kernel, x, weight, bias, *activation, &in_order);
                prop_assert_eq!(bits(y), bits(&alone), "{:?}", kernel);
            }
        }
    }
}

/// Multiplies integers as they are.
fn integer_product(kernel: Kernel, x: &[i8], weight: &[i8], inputs: usize) -> Vec<f32> {
    let (count, outputs) = (x.len() / inputs, weight.len() / inputs);
    let length = panels_len_for(kernel, outputs, inputs);
    let (matrix, panels) = packed(length, |panels| {
        PackedMatrix::pack(kernel, outputs, inputs, panels, |row, line| {
            line.copy_from_slice(&weight[row * inputs..][..inputs]);
            1.0
        })
    })
    .unwrap();
    let matrix = PackedMatrix { panels, ..matrix };
    let activations = Activations::from_integers(x, inputs, kernel.shape().kr);
    let (bias, mut y) = (vec![0.0; outputs], vec![f32::NAN; count * outputs]);
    let product = one(&matrix, &bias, Activation::None, &mut y);
    multiply(&activations, product.into_iter(), &in_order).unwrap();
    y
}

impl Activations {
    fn from_integers(x: &[i8], inputs: usize, group: usize) -> Self {
        let width = inputs.div_ceil(group);
        let mut words = vec![0; x.len() / inputs * width];
        let mut rows = Vec::new();
        for (x, words) in x.chunks(inputs).zip(words.chunks_mut(width)) {
            let mut x = x.to_vec();
            x.resize(width * group, 0);
            rows.push(Row { scale: 1.0, zero: 0, sum: quantize_rows::pack_row(&x, words, group) });
        }
        Self { width, words, rows }
    }
}

#[test]
fn extremes_do_not_saturate() {
    let patterns: [fn(usize) -> i8; 7] = [
        |_| 127,
        |_| -128,
        |_| -127,
        |i| if i % 2 == 0 { 127 } else { -128 },
        |i| if i / 2 % 2 == 0 { 127 } else { -128 },
        |i| (i * 37 % 256) as u8 as i8,
        |_| 0,
    ];
    for inputs in [1, 2, 3, 4, 5, 63, 64, 65, 384, 4096] {
        let rows: Vec<i8> = patterns.iter().flat_map(|pattern| (0..inputs).map(pattern)).collect();
        for kernel in kernels() {
            let y = integer_product(kernel, &rows, &rows, inputs);
            let pairs = rows
                .chunks(inputs)
                .flat_map(|x| rows.chunks(inputs).map(move |weight| (x, weight)));
            for ((x, weight), y) in pairs.zip(y) {
                let sum: i64 =
                    x.iter().zip(weight).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
                assert_eq!(y, sum as f32, "{kernel:?}, {inputs} inputs");
            }
        }
    }
}

#[test]
fn the_longest_sums_fit() {
    let row = vec![127_i8; COLUMNS_MAX];
    for kernel in kernels() {
        let y = integer_product(kernel, &row, &row, COLUMNS_MAX);
        assert_eq!(y, [(COLUMNS_MAX * 127 * 127) as f32], "{kernel:?}");
    }
}

#[test]
fn rows_beyond_what_is_quantised_at_once_are_the_same() {
    let (inputs, outputs) = (COLUMNS_MAX, 3);
    let rows = 2 * (CHUNK_ELEMENTS / inputs) + 5;
    let pattern = random(5, inputs + rows);
    let x: Vec<f32> = (0..rows).flat_map(|row| pattern[row..][..inputs].to_vec()).collect();
    let (weight, bias) = (random(6, inputs * outputs), random(7, outputs));
    let kernel = Kernel::of_this_processor();
    let product = |x: &[f32]| product(kernel, x, &weight, &bias, Activation::None, &on_threads);
    let together = product(&x);
    for row in [0, CHUNK_ELEMENTS / inputs - 1, CHUNK_ELEMENTS / inputs, rows - 1] {
        let alone = product(&x[row * inputs..][..inputs]);
        assert_eq!(bits(&together[row * outputs..][..outputs]), bits(&alone));
    }
}

#[test]
fn every_number_of_rows_and_shape_of_the_models() {
    let shapes = [(1024, 64), (384, 384), (384, 200), (1536, 40), (100, 130), (4096, 16)];
    for (inputs, outputs) in shapes {
        let x = random(3, 17 * inputs);
        let (weight, bias) = (random(5, inputs * outputs), random(7, outputs));
        let expected = expected(&x, &weight, &bias, Activation::None);
        for kernel in kernels() {
            for rows in 1..=17 {
                let x = &x[..rows * inputs];
                let y = product(kernel, x, &weight, &bias, Activation::None, &on_threads);
                assert_near(&y, &expected[..rows * outputs]);
            }
        }
    }
}

#[test]
fn large_products_are_divided_and_put_together() {
    let (rows, inputs, outputs) = (300, 260, 1100);
    let x = random(3, rows * inputs);
    let (weight, bias) = (random(5, inputs * outputs), random(7, outputs));
    let expected = expected(&x, &weight, &bias, Activation::Gelu);
    for kernel in kernels() {
        let y = product(kernel, &x, &weight, &bias, Activation::Gelu, &on_threads);
        assert_near(&y, &expected);
    }
}

#[test]
fn scales_from_the_smallest_to_the_largest() {
    let (inputs, outputs) = (65, 67);
    let mut x = random(11, 8 * inputs);
    let scales = [1e-45, 1e-38, 1e-36, 1e-20, 1.0, 1e20, 3e38];
    for (row, scale) in x.chunks_mut(inputs).zip(scales) {
        row.iter_mut().for_each(|x| *x *= scale);
    }
    // One outlier takes the digits of the others, and no other row's.
    x[7 * inputs + 3] = 1e6;
    let mut weight: Vec<f32> = random(13, inputs * outputs).iter().map(|x| x * 1e-3).collect();
    weight[..inputs].iter_mut().for_each(|x| *x *= 1e-30);
    weight[inputs..2 * inputs].fill(0.0);
    weight[2 * inputs] = 0.5;
    let bias = vec![0.0; outputs];
    let expected = expected(&x, &weight, &bias, Activation::None);
    for kernel in kernels() {
        let y = product(kernel, &x, &weight, &bias, Activation::None, &in_order);
        assert_near(&y, &expected);
        assert!(y[..2 * outputs].iter().all(|&y| y == 0.0));
    }
}

#[test]
fn rows_that_are_not_finite_are_nan_and_others_are_not() {
    let (inputs, outputs) = (70, 70);
    let x = random(17, 9 * inputs);
    let (weight, bias) = (random(19, inputs * outputs), random(23, outputs));
    for kernel in kernels() {
        for activation in [Activation::None, Activation::Gelu] {
            let clean = product(kernel, &x, &weight, &bias, activation, &in_order);
            for poison in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for row in 0..9 {
                    let mut x = x.clone();
                    x[row * inputs + 69 - row] = poison;
                    let mut y = product(kernel, &x, &weight, &bias, activation, &in_order);
                    let damaged = row * outputs..(row + 1) * outputs;
                    assert!(y[damaged.clone()].iter().all(|y| y.is_nan()));
                    y[damaged.clone()].copy_from_slice(&clean[damaged]);
                    assert_eq!(bits(&y), bits(&clean));
                }
                let mut weight = weight.clone();
                weight[5 * inputs + 1] = poison;
                let y = product(kernel, &x, &weight, &bias, activation, &in_order);
                for (index, (y, clean)) in y.iter().zip(&clean).enumerate() {
                    match index % outputs {
                        5 => assert!(y.is_nan()),
                        _ => assert_eq!(y.to_bits(), clean.to_bits()),
                    }
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_or_is_left_out_is_an_error() {
    let kernel = Kernel::of_this_processor();
    let matrix = |len, rows, columns| PackedMatrix::of(kernel, &vec![1.0; len], rows, columns);
    let run = |matrix: &PackedMatrix, x: usize, bias: usize, y: usize| {
        let (x, bias, mut y) = (vec![1.0; x], vec![0.0; bias], vec![0.0; y]);
        linear(&x, one(matrix, &bias, Activation::None, &mut y), &in_order).map(|()| y)
    };
    let good = matrix(12, 3, 4).unwrap();
    assert_eq!((good.rows, good.columns), (3, 4));
    assert_eq!(run(&good, 8, 3, 6).unwrap(), [4.0; 6]);
    assert!(run(&good, 0, 3, 0).is_ok());
    for (x, bias, y) in [(7, 3, 6), (8, 2, 6), (8, 4, 6), (8, 3, 5), (8, 3, 9), (4, 3, 6)] {
        assert!(run(&good, x, bias, y).is_err(), "{x} {bias} {y}");
    }
    let why = |matrix: Result<PackedMatrix>| matrix.err().unwrap().to_string();
    assert!(why(matrix(11, 3, 4)).contains("11 elements, not 3 x 4"));
    assert!(matrix(0, usize::MAX, 2).is_err());
    let long = why(matrix(COLUMNS_MAX + 1, 1, COLUMNS_MAX + 1));
    assert!(long.contains(&format!("{} columns", COLUMNS_MAX + 1)), "{long}");
    assert!(long.contains(&format!("{COLUMNS_MAX} at most")), "{long}");
    assert_eq!(run(&matrix(0, 3, 0).unwrap(), 0, 3, 6).unwrap(), [0.0; 6]);
    assert!(run(&matrix(0, 0, 4).unwrap(), 8, 0, 0).is_ok());
    assert!(run(&matrix(0, 0, 0).unwrap(), 0, 0, 0).is_ok());

    let parallel_fors: [&ParallelFor<'_>; 2] = [
        &|_, _| {},
        // Leaves out the product, which is the second step.
        &{
            let first = AtomicUsize::new(1);
            move |count, body: &(dyn Fn(usize) + Sync)| {
                (0..count * first.swap(0, Ordering::Relaxed)).for_each(body);
            }
        },
    ];
    for parallel_for in parallel_fors {
        let (x, bias, mut y) = ([1.0; 8], [0.0; 3], [0.0; 6]);
        assert!(linear(&x, one(&good, &bias, Activation::None, &mut y), parallel_for).is_err());
    }
    let twice = |count: usize, body: &(dyn Fn(usize) + Sync)| {
        (0..count).chain(0..count + 3).for_each(body);
    };
    let mut y = [0.0; 6];
    linear(&[1.0; 8], one(&good, &[0.0; 3], Activation::None, &mut y), &twice).unwrap();
    assert_eq!(y, [4.0; 6]);
}

/// What a kernel does in a second, on one thread: `cargo test --release linear::int8::tests::speed
/// -- --ignored --nocapture`.
#[test]
#[ignore = "prints a table"]
fn speed() {
    let shapes = [(1024, 1024), (1024, 4096), (4096, 1024), (384, 384), (384, 1536), (1536, 384)];
    for kernel in kernels() {
        println!("{kernel:?}, GFLOP/s with 1, 16, 128, 512 and 1024 rows");
        for (inputs, outputs) in shapes {
            let weight = random(3, inputs * outputs);
            let matrix = PackedMatrix::of(kernel, &weight, outputs, inputs).unwrap();
            let bias = random(5, outputs);
            for activation in [Activation::None, Activation::Gelu] {
                print!("{inputs:5} -> {outputs:4} {activation:4?}");
                for rows in [1, 16, 128, 512, 1024] {
                    let x = random(7, rows * inputs);
                    let mut y = vec![0.0; rows * outputs];
                    let mut times = Vec::new();
                    let start = std::time::Instant::now();
                    while times.len() < 5 || start.elapsed().as_millis() < 100 {
                        let start = std::time::Instant::now();
                        linear(&x, one(&matrix, &bias, activation, &mut y), &in_order).unwrap();
                        times.push(start.elapsed().as_secs_f64());
                    }
                    times.sort_by(f64::total_cmp);
                    let work = 2.0 * (rows * inputs * outputs) as f64;
                    print!(" {:6.1}", work / times[times.len() / 2] / 1e9);
                }
                println!();
            }
        }
    }
}

fn smoothed(kernel: Kernel, weight: &[f32], factors: &[f32]) -> PackedMatrix {
    let (mut integers, mut scales) = (Vec::new(), Vec::new());
    for row in weight.chunks(factors.len()) {
        let row: Vec<f32> = row.iter().zip(factors).map(|(x, factor)| x / factor).collect();
        let mut quantized = vec![0; row.len()];
        scales.push(quantize_row(&row, &mut quantized));
        integers.extend(quantized);
    }
    let length = panels_len_for(kernel, scales.len(), factors.len());
    let (matrix, panels) = packed(length, |panels| {
        PackedMatrix::stored(kernel, &integers, &scales, factors.to_vec(), panels)
    })
    .unwrap();
    PackedMatrix { panels, ..matrix }
}

#[test]
fn factors_move_from_activations_to_weights() {
    let (rows, inputs, outputs) = (11, 130, 70);
    let factors: Vec<f32> = random(29, inputs).iter().map(|x| (3.0 * x).exp2()).collect();
    // Channels of very different sizes, as the factors expect.
    let x: Vec<f32> =
        random(31, rows * inputs).iter().zip(factors.iter().cycle()).map(|(x, f)| x / f).collect();
    let (weight, bias) = (random(37, inputs * outputs), random(41, outputs));
    let times = |numbers: &[f32], by: fn(f32, f32) -> f32| -> Vec<f32> {
        numbers.iter().zip(factors.iter().cycle()).map(|(&x, &factor)| by(x, factor)).collect()
    };
    let (x_smooth, weight_smooth) = (times(&x, |x, f| x * f), times(&weight, |x, f| x / f));
    let expected = expected(&x_smooth, &weight_smooth, &bias, Activation::None);
    let mut results = Vec::new();
    for kernel in kernels() {
        let matrix = smoothed(kernel, &weight, &factors);
        let mut y = vec![0.0; rows * outputs];
        linear(&x, one(&matrix, &bias, Activation::None, &mut y), &on_threads).unwrap();
        assert_near(&y, &expected);
        for (x, y) in x.chunks(inputs).zip(y.chunks(outputs)) {
            let mut alone = vec![0.0; outputs];
            linear(x, one(&matrix, &bias, Activation::None, &mut alone), &in_order).unwrap();
            assert_eq!(bits(y), bits(&alone));
        }
        results.push(y);
    }
    assert!(results.iter().all(|y| bits(y) == bits(&results[0])));
    // And the product is that of the floats, as near as 8 bits can be.
    for (x, y) in x.chunks(inputs).zip(results[0].chunks(outputs)) {
        for ((weight, bias), y) in weight.chunks(inputs).zip(&bias).zip(y) {
            let terms = x.iter().zip(weight).map(|(&a, &b)| f64::from(a) * f64::from(b));
            let size = terms.clone().map(|term| term * term).sum::<f64>().sqrt();
            let error = (terms.sum::<f64>() + f64::from(*bias) - f64::from(*y)).abs();
            assert!(error < 0.05 * size, "{y} is off by {error}");
        }
    }
    let kernel = Kernel::of_this_processor();
    let misfit = PackedMatrix::stored(kernel, &[1; 5], &[1.0; 2], vec![1.0; 3], &mut []);
    assert!(misfit.err().unwrap().to_string().contains("5 elements, not 2 x 3"));
}
