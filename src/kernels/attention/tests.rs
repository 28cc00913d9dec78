//! Attention against its definition, whatever the lengths, the threads and the kernel.

use proptest::prelude::*;
use pulp::{Scalar128b, WithSimd};

use super::*;
use crate::kernels::simd::{ARCH, exp2};
use crate::kernels::testing::{bits, in_order, on_threads, random};

/// Packed tensors whose elements follow from their seed.
#[derive(Debug)]
struct Case {
    heads: usize,
    head_dim: usize,
    q_offsets: Vec<i32>,
    k_offsets: Vec<i32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Case {
    /// `lengths` are the query and key rows of every sequence.
    fn new(heads: usize, head_dim: usize, lengths: &[(usize, usize)], seed: u64) -> Self {
        let offsets = |length: fn(&(usize, usize)) -> usize| {
            let mut end = 0;
            let ends = lengths.iter().map(|pair| {
                end += length(pair) as i32;
                end
            });
            std::iter::once(0).chain(ends).collect::<Vec<_>>()
        };
        let (q_offsets, k_offsets) = (offsets(|pair| pair.0), offsets(|pair| pair.1));
        let width = heads * head_dim;
        let queries = *q_offsets.last().unwrap() as usize * width;
        let keys = *k_offsets.last().unwrap() as usize * width;
        Self {
            heads,
            head_dim,
            q_offsets,
            k_offsets,
            q: random(seed, queries),
            k: random(seed ^ 0x5555, keys),
            v: random(seed ^ 0xaaaa, keys),
        }
    }

    fn shape(&self) -> Shape<'_> {
        Shape {
            heads: self.heads,
            head_dim: self.head_dim,
            q_offsets: &self.q_offsets,
            k_offsets: &self.k_offsets,
        }
    }

    fn run(&self, parallel_for: &ParallelFor<'_>) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.q.len()];
        run(&self.shape(), &self.q, &self.k, &self.v, &mut out, parallel_for).unwrap();
        out
    }

    /// One sequence of the case.
    fn only(&self, index: usize) -> Self {
        let width = self.heads * self.head_dim;
        let queries = self.q_offsets[index] as usize..self.q_offsets[index + 1] as usize;
        let keys = self.k_offsets[index] as usize..self.k_offsets[index + 1] as usize;
        Self {
            heads: self.heads,
            head_dim: self.head_dim,
            q_offsets: vec![0, queries.len() as i32],
            k_offsets: vec![0, keys.len() as i32],
            q: self.q[queries.start * width..queries.end * width].to_vec(),
            k: self.k[keys.start * width..keys.end * width].to_vec(),
            v: self.v[keys.start * width..keys.end * width].to_vec(),
        }
    }

    /// The result in double precision, straight from the definition.
    fn expected(&self) -> Vec<f32> {
        let (dim, width) = (self.head_dim, self.heads * self.head_dim);
        let mut out = vec![0.0; self.q.len()];
        for (queries, keys) in self.q_offsets.windows(2).zip(self.k_offsets.windows(2)) {
            for (query, head) in (queries[0]..queries[1])
                .flat_map(|query| (0..self.heads).map(move |head| (query, head)))
            {
                let at = |row: i32| row as usize * width + head * dim..;
                let scores: Vec<f64> = (keys[0]..keys[1])
                    .map(|key| {
                        let pairs = self.q[at(query)].iter().zip(&self.k[at(key)]).take(dim);
                        let product: f64 = pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                        product / (dim as f64).sqrt()
                    })
                    .collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> =
                    scores.iter().map(|score| (score - largest).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (column, element) in out[at(query)][..dim].iter_mut().enumerate() {
                    let sum: f64 = (keys[0]..keys[1])
                        .zip(&weights)
                        .map(|(key, weight)| weight * f64::from(self.v[at(key)][column]))
                        .sum();
                    *element = (sum / total) as f32;
                }
            }
        }
        out
    }
}

/// Numbers between -1 and 1.
fn largest_error(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len());
    let mut largest = 0.0_f32;
    for (actual, expected) in actual.iter().zip(expected) {
        assert!(actual.is_finite(), "{actual} instead of {expected}");
        largest = largest.max((actual - expected).abs());
    }
    largest
}

/// Query and key rows, from the row alone to several chunks and blocks.
fn lengths() -> impl Strategy<Value = (usize, usize)> {
    let keys = prop_oneof![4 => 1..40_usize, 2 => 100..300_usize, 1 => 500..530_usize];
    keys.prop_flat_map(|keys| {
        let queries = prop_oneof![2 => Just(keys), 2 => 0..=keys, 1 => Just(1)];
        (queries, Just(keys))
    })
}

fn case() -> impl Strategy<Value = Case> {
    let head_dim = prop_oneof![
        Just(1_usize),
        Just(3),
        Just(5),
        Just(8),
        Just(32),
        Just(64),
        Just(80),
        Just(128)
    ];
    (1..4_usize, head_dim, prop::collection::vec(lengths(), 1..5), any::<u64>())
        .prop_map(|(heads, head_dim, lengths, seed)| Case::new(heads, head_dim, &lengths, seed))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_definition(case in case()) {
        prop_assert!(largest_error(&case.run(&in_order), &case.expected()) <= 2e-6);
    }

    #[test]
    fn neither_batch_nor_threads_change_a_bit(case in case()) {
        let out = case.run(&in_order);
        prop_assert_eq!(bits(&out), bits(&case.run(&on_threads)));
        let width = case.heads * case.head_dim;
        for index in 0..case.q_offsets.len() - 1 {
            let rows = case.q_offsets[index] as usize..case.q_offsets[index + 1] as usize;
            let alone = case.only(index).run(&in_order);
            prop_assert_eq!(bits(&out[rows.start * width..rows.end * width]), bits(&alone));
        }
    }

    #[test]
    fn powers_of_two_are_accurate(x in -125.9_f32..=0.0) {
        let power = f64::from(power(x));
        prop_assert!((power / f64::from(x).exp2() - 1.0).abs() < 2.0 * f64::from(f32::EPSILON));
    }
}

fn power(x: f32) -> f32 {
    struct Power(f32);
    impl WithSimd for Power {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            simd.reduce_max_f32s(exp2(simd, simd.splat_f32s(self.0)))
        }
    }
    ARCH.dispatch(Power(x))
}

#[test]
fn powers_of_two_at_the_ends() {
    assert_eq!(power(0.0), 1.0);
    assert_eq!(power(-1.0), 0.5);
    for x in [-127.0, -1e4, -1e30, f32::MIN, f32::NEG_INFINITY] {
        assert_eq!(power(x), 0.0);
    }
    assert!(power(f32::NAN).is_nan());
}

#[test]
fn long_sequences_agree_with_the_definition() {
    let case = Case::new(1, 64, &[(600, 600), (1, 3000), (3, 1000), (4, 1000)], 7);
    assert!(largest_error(&case.run(&on_threads), &case.expected()) <= 2e-6);
}

#[test]
fn large_scores_stay_accurate() {
    for head_dim in [32, 64] {
        let mut case = Case::new(2, head_dim, &[(400, 400), (2, 400)], 11);
        // Scores up to about 80, where one unit in the last place is 8e-6.
        let limit = 80.0 / (head_dim as f32).sqrt() * 3.0_f32.sqrt() / 3.0;
        case.q.iter_mut().for_each(|element| *element *= limit * 3.0);
        assert!(largest_error(&case.run(&in_order), &case.expected()) <= 1e-4);
    }
}

#[test]
fn scores_far_apart_choose_one_value() {
    let mut case = Case::new(1, 8, &[(8, 300)], 13);
    case.q.fill(1.0);
    case.k.fill(-1e6);
    case.k[200 * 8..201 * 8].fill(1e6);
    for rows in [8, 1] {
        case.q_offsets[1] = rows;
        case.q.truncate(rows as usize * 8);
        for row in case.run(&in_order).chunks(8) {
            assert_eq!(row, &case.v[200 * 8..201 * 8]);
        }
    }
}

#[test]
fn the_portable_kernel_agrees_with_the_definition() {
    let case = Case::new(2, 5, &[(40, 140), (1, 9), (5, 5)], 17);
    let plan = Plan::new(&case.shape()).unwrap();
    let mut out = vec![f32::NAN; case.q.len()];
    let shared = SharedOutput::new(&mut out);
    let item = Item {
        tiles: &plan.tiles,
        heads: case.heads,
        head_dim: case.head_dim,
        q: &case.q,
        k: &case.k,
        v: &case.v,
        out: &shared,
        scratch: &mut Scratch::default(),
    };
    item.with_simd(Scalar128b);
    assert!(largest_error(&out, &case.expected()) <= 2e-6);
}

#[test]
fn values_that_are_not_finite_stay_in_their_rows() {
    for lengths in [(50, 200), (3, 200)] {
        let mut case = Case::new(2, 8, &[lengths, (5, 5)], 19);
        let clean = case.run(&in_order);
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            case.q[2 * 16 + 8] = poison;
            let out = case.run(&in_order);
            for (index, (actual, expected)) in out.iter().zip(&clean).enumerate() {
                if (2 * 16 + 8..2 * 16 + 16).contains(&index) {
                    assert!(actual.is_nan());
                } else {
                    assert_eq!(actual.to_bits(), expected.to_bits());
                }
            }
        }
    }
}

#[test]
fn sequences_that_are_not_finite_leave_others_alone() {
    // Both kernels, after a longer sequence in the same memory, and in one panel with others.
    let lengths = [(90, 300), (7, 200), (3, 200), (50, 140), (1, 40), (5, 5), (1, 1)];
    for head_dim in [8, 5] {
        let case = Case::new(2, head_dim, &lengths, 31);
        let clean = case.run(&in_order);
        let width = 2 * head_dim;
        for (damaged, poison) in (0..lengths.len()).zip([f32::NAN, f32::INFINITY].repeat(4)) {
            let mut bad = Case::new(2, head_dim, &lengths, 31);
            let rows = |offsets: &[i32]| {
                offsets[damaged] as usize * width..offsets[damaged + 1] as usize * width
            };
            let (queries, keys) = (rows(&case.q_offsets), rows(&case.k_offsets));
            bad.q[queries.clone()].fill(poison);
            bad.k[keys.clone()].fill(poison);
            bad.v[keys].fill(poison);
            let mut out = bad.run(&in_order);
            assert!(out[queries.clone()].iter().all(|x| x.is_nan()));
            out[queries.clone()].copy_from_slice(&clean[queries]);
            assert_eq!(bits(&out), bits(&clean), "sequence {damaged}");
        }
    }
}

#[test]
fn keys_with_no_weight_do_not_spoil_later_blocks() {
    for rows in [1, 6] {
        let mut case = Case::new(1, 4, &[(rows, 200)], 23);
        case.q.fill(1.0);
        case.k.fill(f32::NEG_INFINITY);
        case.k[150 * 4..151 * 4].fill(0.5);
        for row in case.run(&in_order).chunks(4) {
            assert_eq!(row, &case.v[150 * 4..151 * 4]);
        }
    }
}

#[test]
fn tiny_sequences_share_a_dispatch() {
    let lengths = vec![(8, 8); 64];
    let case = Case::new(16, 64, &lengths, 29);
    let plan = Plan::new(&case.shape()).unwrap();
    assert_eq!(plan.tiles.len(), 64 * 16);
    assert!(plan.items.len() < 64, "{}", plan.items.len());
}

#[test]
fn offsets_and_lengths_must_fit() {
    let shape = |q_offsets, k_offsets| Shape { heads: 2, head_dim: 4, q_offsets, k_offsets };
    let offsets: [(&[i32], &[i32]); 9] = [
        (&[], &[]),
        (&[0, 1], &[]),
        (&[0, 1], &[0]),
        (&[0, 1], &[0, 1, 2]),
        (&[1, 2], &[0, 1]),
        (&[0, 1], &[-1, 1]),
        (&[0, 2, 1], &[0, 2, 4]),
        (&[0, 2, 4], &[0, 5, 4]),
        (&[0, 1, 2], &[0, 1, 1]),
    ];
    for (q_offsets, k_offsets) in offsets {
        assert!(Plan::new(&shape(q_offsets, k_offsets)).is_err(), "{q_offsets:?} {k_offsets:?}");
    }
    for (heads, head_dim) in [(0, 4), (2, 0), (usize::MAX, 4), (2, usize::MAX)] {
        let shape = Shape { heads, head_dim, q_offsets: &[0, 1], k_offsets: &[0, 1] };
        assert!(Plan::new(&shape).is_err());
    }
    let plan = Plan::new(&shape(&[0, 2], &[0, 3])).unwrap();
    let lengths = [(15, 24, 24, 16), (16, 25, 24, 16), (16, 24, 23, 16), (16, 24, 24, 17)];
    for (q, k, v, out) in lengths {
        let (q, k, v) = (vec![0.0; q], vec![0.0; k], vec![0.0; v]);
        assert!(plan.run(&q, &k, &v, &mut vec![0.0; out], &in_order).is_err());
    }
    let empty = Plan::new(&shape(&[0, 0], &[0, 0])).unwrap();
    assert!(empty.run(&[], &[], &[], &mut [], &in_order).is_ok());
    assert!(Plan::new(&shape(&[0], &[0])).is_ok());
}

#[test]
fn parts_run_once_or_are_reported() {
    let case = Case::new(2, 8, &[(40, 40), (300, 300)], 31);
    let twice = |count: usize, body: &(dyn Fn(usize) + Sync)| {
        (0..count).chain(0..count + 3).for_each(body);
    };
    assert_eq!(bits(&case.run(&twice)), bits(&case.run(&in_order)));
    let mut out = vec![0.0; case.q.len()];
    let never = |_: usize, _: &(dyn Fn(usize) + Sync)| {};
    assert!(run(&case.shape(), &case.q, &case.k, &case.v, &mut out, &never).is_err());
}
