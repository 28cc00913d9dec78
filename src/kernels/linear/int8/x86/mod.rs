//! The kernels for x86-64, and all that is unsafe about them.

/// Defines a kernel: `run` for a block, and `tile` for each height that a tile may have. The module
/// of a kernel defines its `MR`, its `NR` and its `NR_VECTORS`.
///
/// The sums of a row begin with `start`. `step` adds to a vector of sums the products of a word of
/// the row and a vector of weights, which `load` reads from `$bytes` bytes.
macro_rules! kernel {
    (
        features: $features:literal,
        heights: $($height:literal)*,
        splat: $splat:ident,
        load: $load:ident of $bytes:literal,
        store: $store:ident,
        start: |$row:ident| $start:expr,
        step: |$sum:ident, $weights:ident, $word:ident| $step:expr,
    ) => {
        #[target_feature(enable = $features)]
        pub(super) fn run(block: &mut Block<'_, '_>) {
            block.for_each_tile::<MR, NR>(SHAPE.kr, |words, rows, panel, prefetched, sums| {
                match rows.len() {
                    $($height => tile::<$height>(words, rows, panel, prefetched, sums),)*
                    _ => {}
                }
            });
        }

        #[target_feature(enable = $features)]
        fn tile<const M: usize>(
            words: &[i32],
            rows: &[Row],
            panel: &[u8],
            prefetched: PrefetchCursor,
            out: &mut [[i32; NR]; MR],
        ) {
            let mut sums = [[$splat(0); NR_VECTORS]; M];
            for (index, $row) in rows.iter().enumerate().take(M) {
                sums[index] = [$splat($start); NR_VECTORS];
            }
            let (vectors, _) = panel.as_chunks::<$bytes>();
            let (groups, _) = vectors.as_chunks::<NR_VECTORS>();
            let lines = words_of_rows::<M>(words, groups.len());
            for (index, group) in groups.iter().enumerate() {
                prefetched.prefetch(index, group);
                let mut weights = [$splat(0); NR_VECTORS];
                for (vector, bytes) in weights.iter_mut().zip(group) {
                    *vector = $load(bytes);
                }
                for (sums, line) in sums.iter_mut().zip(lines) {
                    let $word = $splat(line[index]);
                    for (sum, &$weights) in sums.iter_mut().zip(&weights) {
                        let $sum = *sum;
                        *sum = $step;
                    }
                }
            }
            // Unrolled by hand: the compiler does not unroll a loop this long, and would keep the
            // sums in memory.
            $(if $height <= M {
                let (sums, out) = (&sums[$height - 1], &mut out[$height - 1]);
                for (&sum, out) in sums.iter().zip(out.as_chunks_mut().0) {
                    $store(sum, out);
                }
            })*
        }
    };
}

mod avx2;
mod avx512;
mod vectors;
mod vnni;

use super::block::{Block, Shape};

/// Proof that this processor has AVX2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(super) const SHAPE: Shape = avx2::SHAPE;

    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(super) fn run(self, block: &mut Block<'_, '_>) {
        // SAFETY: `detect` is the only function that returns this value, and it detected the
        // features that `run` needs.
        unsafe { avx2::run(block) }
    }
}

/// Proof that this processor has AVX-512.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(super) const SHAPE: Shape = avx512::SHAPE;

    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        has.then_some(Self(()))
    }

    pub(super) fn run(self, block: &mut Block<'_, '_>) {
        // SAFETY: `detect` is the only function that returns this value, and it detected the
        // features that `run` needs.
        unsafe { avx512::run(block) }
    }
}

/// Proof that this processor has AVX-512 with its 8-bit dot products.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vnni(());

impl Vnni {
    pub(super) const SHAPE: Shape = vnni::SHAPE;

    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        has.then_some(Self(()))
    }

    pub(super) fn run(self, block: &mut Block<'_, '_>) {
        // SAFETY: `detect` is the only function that returns this value, and it detected the
        // features that `run` needs.
        unsafe { vnni::run(block) }
    }
}
