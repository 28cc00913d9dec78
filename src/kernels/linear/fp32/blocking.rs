//! The sizes of blocks, panels and tiles of the product in 32-bit floats.

use pulp::{Simd, WithSimd};

use crate::kernels::simd::vectorize;

/// NR in vectors: the vectors of sums for a row of a tile.
pub(super) const NR_VECTORS: usize = 2;
/// KC: the columns of a weight that are multiplied at a time. They are few enough for a panel to
/// stay in the second cache level, and a tile of activations in the first.
pub(super) const KC: usize = 512;
/// The distance of copied rows: no multiple of a large power of two, which would put all rows of a
/// tile into the same few sets of the cache.
pub(super) const ROW_STRIDE: usize = KC + 16;
/// MC: the most rows of a block, whose elements of one step along the sum stay in the second cache
/// level: a multiple of MR.
pub(super) const MC: usize = 120;

/// NR: the rows of a panel, which are columns of the result.
pub(super) fn nr() -> usize {
    struct Nr;
    impl WithSimd for Nr {
        type Output = usize;

        fn with_simd<S: Simd>(self, _: S) -> usize {
            NR_VECTORS * S::F32_LANES
        }
    }
    vectorize(Nr)
}

/// The columns of a weight with `columns` that are multiplied at a time: equally many each time but
/// the last, and [`KC`] at most.
pub(super) fn kc(columns: usize) -> usize {
    columns.div_ceil(columns.div_ceil(KC))
}

/// Whether rows are copied before they are multiplied: rows at distances of 4 KB would all be in
/// the same few sets of the cache.
pub(super) fn copies_rows(inputs: usize) -> bool {
    inputs.is_multiple_of(1024)
}
