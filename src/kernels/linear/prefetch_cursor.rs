//! Prefetching of weights while a tile is multiplied.

use crate::kernels::simd::{PREFETCH_DISTANCE, prefetch_lines};

/// The addresses that a tile prefetches while it is multiplied, so that its weights or those of the
/// next panel arrive meanwhile. Not every processor prefetches far ahead by itself.
#[derive(Clone, Copy)]
pub(super) struct PrefetchCursor {
    first: *const u8,
    /// Bytes from the address for one group of weights to the address for the next group.
    step: usize,
}

impl PrefetchCursor {
    /// For tile number `tile` of `tiles` that are multiplied by a panel of `groups` groups of
    /// weights.
    ///
    /// The first tile reads the panel from memory, and prefetches further on in it. The others find
    /// it in the cache, and share in prefetching the next panel; a single other tile would request
    /// too much at once, and prefetches as the first one does.
    pub(super) fn new<T>(panel: &[T], groups: usize, tile: usize, tiles: usize) -> Self {
        let first = panel.as_ptr().cast::<u8>();
        let length = size_of_val(panel);
        if tile == 0 || tiles == 2 {
            return Self {
                first: first.wrapping_add(PREFETCH_DISTANCE),
                step: length / groups.max(1),
            };
        }
        let share = length / (tiles - 1);
        let first = first.wrapping_add(length + (tile - 1) * share);
        Self { first, step: share / groups.max(1) }
    }

    /// Prefetches as many cache lines as a group of weights has.
    #[inline(always)]
    pub(super) fn prefetch<T>(self, index: usize, group: &[T]) {
        prefetch_lines(self.first.wrapping_add(index * self.step), size_of_val(group));
    }
}
