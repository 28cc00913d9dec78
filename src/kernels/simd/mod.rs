//! The ground of all kernels: the processor's vector instructions, and what kernels do with them.

mod math;
mod prefetch;
mod scratch;

use std::sync::LazyLock;

use pulp::{Arch, Scalar128b, Simd, WithSimd};

pub(crate) use math::{exp2, mul_add};
pub(crate) use prefetch::{CACHE_LINE, PREFETCH_DISTANCE, prefetch, prefetch_lines};
pub(crate) use scratch::Scratch;

/// The vector instructions of this processor, detected once.
pub(crate) static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Runs an operation with the widest vectors that this processor has.
pub(crate) fn vectorize<O: WithSimd>(operation: O) -> O::Output {
    match *ARCH {
        // Every x86-64 has vectors of four lanes, which need no detection.
        Arch::Scalar => Scalar128b.vectorize(operation),
        arch => arch.dispatch(operation),
    }
}
