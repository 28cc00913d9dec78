//! Tests of all kinds of similarity against sums in 64 bits.

mod dense;
mod texts;
