//! Several products of the same rows against each of them alone.

use super::testing::{one, packed};
use super::*;
use crate::kernels::testing::{bits, in_order, on_threads, random};

const INPUTS: usize = 130;

impl PackedMatrix {
    fn of(rows: usize, format: Format, numbers: &Numbers) -> Self {
        let source = Source { name: String::new(), rows, columns: INPUTS, format };
        let (matrix, panels) =
            packed(source.panels_len(), |panels| Self::pack(&source, numbers, panels)).unwrap();
        match matrix {
            Self::Fp32(matrix) => Self::Fp32(fp32::PackedMatrix { panels, ..matrix }),
            Self::Int8(matrix) => Self::Int8(int8::PackedMatrix { panels, ..matrix }),
        }
    }

    fn floats(rows: usize, format: Format) -> Self {
        Self::of(rows, format, &Numbers::Floats(random(rows as u64, rows * INPUTS)))
    }

    fn integers(rows: usize, factor: f32) -> Self {
        let numbers = (0..rows * INPUTS).map(|index| (index * 37 % 255) as u8 as i8).collect();
        let (scales, factors) = (vec![0.01; rows], vec![factor; INPUTS]);
        Self::of(rows, Format::StoredInt8, &Numbers::Integers { numbers, scales, factors })
    }
}

#[test]
fn products_of_the_same_rows_are_those_of_each_alone() {
    let matrices = [
        PackedMatrix::floats(70, Format::Int8),
        PackedMatrix::floats(33, Format::Fp32),
        PackedMatrix::integers(64, 2.0),
        PackedMatrix::floats(1, Format::Int8),
        PackedMatrix::integers(65, 2.0),
        PackedMatrix::integers(20, 0.5),
        PackedMatrix::floats(200, Format::Fp32),
    ];
    let biases: Vec<_> = matrices.iter().map(|matrix| random(5, matrix.rows())).collect();
    let activations = [Activation::None, Activation::Gelu];
    let layers = || matrices.iter().zip(&biases).zip(activations.into_iter().cycle());
    for count in [0, 1, 7, 300] {
        let x = random(3, count * INPUTS);
        let results = || layers().map(|((matrix, _), _)| vec![f32::NAN; count * matrix.rows()]);
        let mut together: Vec<_> = results().collect();
        let products = layers()
            .zip(&mut together)
            .map(|(((matrix, bias), activation), y)| Product { matrix, bias, activation, y })
            .collect();
        linear(&x, products, &on_threads).unwrap();
        for ((((matrix, bias), activation), mut alone), together) in
            layers().zip(results()).zip(&together)
        {
            linear(&x, one(matrix, bias, activation, &mut alone), &in_order).unwrap();
            assert_eq!(bits(together), bits(&alone), "{} outputs, {count} rows", bias.len());
        }
    }
}

#[test]
fn a_product_that_does_not_fit_is_an_error() {
    for format in [Format::Fp32, Format::Int8] {
        let matrices = [PackedMatrix::floats(3, format), PackedMatrix::floats(4, format)];
        let run = |rows: [usize; 2]| {
            let (mut first, mut second) = (vec![0.0; rows[0] * 3], vec![0.0; rows[1] * 4]);
            let mut products = one(&matrices[0], &[0.0; 3], Activation::None, &mut first);
            products.extend(one(&matrices[1], &[0.0; 4], Activation::None, &mut second));
            linear(&[1.0; 2 * INPUTS], products, &in_order)
        };
        assert!(run([2, 2]).is_ok());
        assert!(run([2, 1]).is_err());
        assert!(run([3, 2]).is_err());
    }
    // Without inputs, only the results tell how many rows there are.
    let matrices = [3, 4].map(|rows| {
        let source = Source { name: String::new(), rows, columns: 0, format: Format::Int8 };
        PackedMatrix::pack(&source, &Numbers::Floats(Vec::new()), &mut []).unwrap()
    });
    let (mut two, mut three) = ([1.0; 6], [1.0; 12]);
    let mut products = one(&matrices[0], &[5.0; 3], Activation::None, &mut two);
    products.extend(one(&matrices[1], &[5.0; 4], Activation::None, &mut three));
    assert!(linear(&[], products, &in_order).unwrap_err().contains("[2, 3] rows"));
}
