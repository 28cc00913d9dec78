//! The metrics by which vectors are compared, each defined here alone.

use pulp::Simd;

use crate::kernels::simd::mul_add;
use crate::numbered::numbered;

numbered! {
    /// How two vectors are compared.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Metric: u32 {
        /// The cosine of the angle, -1 to 1. A vector of length 0 scores 0.
        Cosine = 0,
        /// The dot product.
        Dot = 1,
        /// The Euclidean distance, negated.
        Euclidean = 2,
        /// The Manhattan distance, negated.
        Manhattan = 3,
    }
}

impl Metric {
    /// The name that sentence-transformers gives it in `similarity_fn_name`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
            Self::Manhattan => "manhattan",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// Whether rows are scaled to length 1 before their elements are summed.
    pub(super) fn normalizes(self) -> bool {
        self == Self::Cosine
    }
}

/// Evaluates an expression with the [`Term`] of a metric.
macro_rules! with_term {
    ($metric:expr, |$term:ident| $body:expr) => {
        match $metric {
            Metric::Cosine | Metric::Dot => {
                let $term = Product;
                $body
            }
            Metric::Euclidean => {
                let $term = SquaredDifference;
                $body
            }
            Metric::Manhattan => {
                let $term = Difference;
                $body
            }
        }
    };
}
pub(super) use with_term;

/// The term that a metric sums over the elements of two rows, and the score that it makes of the
/// sum.
pub(super) trait Term: Copy {
    fn add<S: Simd>(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s;
    fn finish<S: Simd>(self, simd: S, sum: S::f32s) -> S::f32s;
}

#[derive(Clone, Copy)]
pub(super) struct Product;

impl Term for Product {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        mul_add(simd, a, b, sum)
    }

    #[inline(always)]
    fn finish<S: Simd>(self, _: S, sum: S::f32s) -> S::f32s {
        sum
    }
}

#[derive(Clone, Copy)]
pub(super) struct SquaredDifference;

impl Term for SquaredDifference {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        let difference = simd.sub_f32s(a, b);
        mul_add(simd, difference, difference, sum)
    }

    #[inline(always)]
    fn finish<S: Simd>(self, simd: S, sum: S::f32s) -> S::f32s {
        simd.neg_f32s(simd.sqrt_f32s(sum))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Difference;

impl Term for Difference {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        simd.add_f32s(sum, simd.abs_f32s(simd.sub_f32s(a, b)))
    }

    #[inline(always)]
    fn finish<S: Simd>(self, simd: S, sum: S::f32s) -> S::f32s {
        simd.neg_f32s(sum)
    }
}
