//! Codes of vectors against sentence-transformers' own, byte by byte, and what is refused.

use bge::ErrorKind::InvalidArgument;
use bge::{Formula, Precision, Ranges, quantize, quantize_ranges};
use ndarray::{Array2, ArrayView2, array};
use proptest::prelude::*;
use serde::Deserialize;

use crate::support::build::root;

const PRECISIONS: [Precision; 4] =
    [Precision::Int8, Precision::Uint8, Precision::Binary, Precision::Ubinary];

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

/// Codes are missing where that version refuses or where they are not defined.
#[derive(Deserialize)]
struct Case {
    name: String,
    vectors: Vec<Vec<f32>>,
    ranges: Option<[Vec<f32>; 2]>,
    int8: Option<Vec<Vec<i16>>>,
    uint8: Option<Vec<Vec<i16>>>,
    binary: Option<Vec<Vec<i16>>>,
    ubinary: Option<Vec<Vec<i16>>>,
    #[serde(rename = "int8 before 6")]
    int8_before: Option<Vec<Vec<i16>>>,
    #[serde(rename = "uint8 before 6")]
    uint8_before: Option<Vec<Vec<i16>>>,
    #[serde(rename = "binary before 6")]
    binary_before: Option<Vec<Vec<i16>>>,
    #[serde(rename = "ubinary before 6")]
    ubinary_before: Option<Vec<Vec<i16>>>,
}

fn codes(
    precision: Precision,
    vectors: ArrayView2<'_, f32>,
    ranges: Option<Ranges<'_>>,
    formula: Formula,
) -> bge::Result<Array2<u8>> {
    let mut codes = Array2::from_elem((vectors.nrows(), precision.bytes(vectors.ncols())), 0x5a);
    quantize(precision, vectors, ranges, formula, codes.view_mut()).map(|()| codes)
}

#[test]
fn codes_are_those_of_both_generations() {
    let golden = std::fs::read_to_string(root().join("tests/golden/quantize.json")).unwrap();
    let golden: Golden = serde_json::from_str(&golden).unwrap();
    let mut compared = 0;
    for case in &golden.cases {
        let shape = (case.vectors.len(), case.vectors[0].len());
        let vectors = Array2::from_shape_vec(shape, case.vectors.concat()).unwrap();
        let ranges = case.ranges.as_ref().map(|[min, max]| Ranges { min, max });
        let of_6 = [&case.int8, &case.uint8, &case.binary, &case.ubinary];
        let before =
            [&case.int8_before, &case.uint8_before, &case.binary_before, &case.ubinary_before];
        for (formula, expected) in [(Formula::St6, of_6), (Formula::St5, before)] {
            for (precision, expected) in PRECISIONS.into_iter().zip(expected) {
                let ours = codes(precision, vectors.view(), ranges, formula);
                let name = format!("{}, {precision:?}, {formula:?}", case.name);
                let Some(expected) = expected else {
                    // Values that the reference leaves undefined saturate; inputs that it refuses
                    // are refused.
                    let defined_here = formula == Formula::St5
                        && matches!(precision, Precision::Int8 | Precision::Uint8);
                    assert_eq!(ours.is_ok(), defined_here, "{name}");
                    continue;
                };
                let expected: Vec<u8> = expected.concat().iter().map(|&code| code as u8).collect();
                assert_eq!(ours.unwrap().into_raw_vec_and_offset().0, expected, "{name}");
                compared += 1;
            }
        }
    }
    assert!(compared > 80, "{compared}");
}

#[test]
fn what_the_old_formula_left_open_saturates() {
    let vectors = array![[-9.0f32, 9.0, 0.5, 1.0]];
    let ranges = Ranges { min: &[0.0, 0.0, 0.5, 0.5], max: &[1.0, 1.0, 0.5, 0.5] };
    let of = |precision| codes(precision, vectors.view(), Some(ranges), Formula::St5).unwrap();
    assert_eq!(of(Precision::Uint8), array![[0, 255, 0, 255]]);
    assert_eq!(of(Precision::Int8), array![[0x80, 0x7f, 0, 0x7f]]);
}

#[test]
fn vectors_and_ranges_that_have_no_codes_are_refused() {
    let two = array![[0.0f32, 1.0], [2.0, 3.0]];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut vectors = two.clone();
        vectors[[1, 0]] = bad;
        for precision in PRECISIONS {
            let e = codes(precision, vectors.view(), None, Formula::St6).unwrap_err();
            assert_eq!(e.kind(), InvalidArgument);
            let expected = format!("vectors[1] has {bad} in dimension 0");
            assert!(e.to_string().contains(&expected), "{e}");
        }
        let (mut min, mut max) = ([0.0; 2], [0.0; 2]);
        quantize_ranges(vectors.view(), &mut min, &mut max).unwrap_err();
        for (min, max) in
            [([0.0, bad], [1.0, 1.0]), ([0.0, 0.0], [1.0, bad]), ([0.0, bad], [1.0, bad])]
        {
            let ranges = Some(Ranges { min: &min, max: &max });
            for formula in [Formula::St6, Formula::St5] {
                let e = codes(Precision::Int8, two.view(), ranges, formula).unwrap_err();
                assert!(e.to_string().contains("the range of dimension 1"), "{e}");
            }
        }
    }
    let refused = |ranges, words: &str| {
        let e = codes(Precision::Uint8, two.view(), Some(ranges), Formula::St6).unwrap_err();
        assert!(e.to_string().contains(words), "{e}");
    };
    refused(Ranges { min: &[1.0, 0.0], max: &[0.0, 1.0] }, "dimension 0 is 1 to 0");
    refused(Ranges { min: &[f32::MIN, 0.0], max: &[f32::MAX, 1.0] }, "finite width");
    refused(Ranges { min: &[0.0], max: &[1.0, 1.0] }, "1 minima, and vectors 2 dimensions");
    refused(Ranges { min: &[0.0; 2], max: &[1.0; 3] }, "3 maxima, and vectors 2 dimensions");
    let e =
        codes(Precision::Int8, two.slice(ndarray::s![..1, ..]), None, Formula::St6).unwrap_err();
    assert!(e.to_string().contains("one row"), "{e}");
    let mut narrow = Array2::zeros((2, 1));
    let e =
        quantize(Precision::Int8, two.view(), None, Formula::St6, narrow.view_mut()).unwrap_err();
    assert!(e.to_string().contains("expected (2, 2)"), "{e}");
    quantize_ranges(two.slice(ndarray::s![..0, ..]), &mut [0.0; 2], &mut [0.0; 2]).unwrap_err();
    quantize_ranges(two.view(), &mut [0.0; 1], &mut [0.0; 2]).unwrap_err();
}

proptest! {
    #[test]
    fn ranges_of_the_call_are_those_that_are_found(
        rows in prop::collection::vec(prop::collection::vec(-1e3f32..1e3, 5), 2..9)
    ) {
        let vectors = Array2::from_shape_vec((rows.len(), 5), rows.concat()).unwrap();
        let (mut min, mut max) = ([0.0; 5], [0.0; 5]);
        quantize_ranges(vectors.view(), &mut min, &mut max).unwrap();
        let ranges = Some(Ranges { min: &min, max: &max });
        for precision in PRECISIONS {
            let own = codes(precision, vectors.view(), None, Formula::St6).unwrap();
            prop_assert_eq!(&own, &codes(precision, vectors.view(), ranges, Formula::St6).unwrap());
            // As they would be in memory of columns.
            let columns = vectors.t().as_standard_layout().into_owned();
            prop_assert_eq!(&own, &codes(precision, columns.t(), None, Formula::St6).unwrap());
        }
        for (dimension, column) in vectors.columns().into_iter().enumerate() {
            prop_assert!(column.iter().all(|x| (min[dimension]..=max[dimension]).contains(x)));
            prop_assert!(column.iter().any(|&x| x == min[dimension]));
            prop_assert!(column.iter().any(|&x| x == max[dimension]));
        }
    }
}
