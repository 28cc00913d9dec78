//! An output array that several threads fill, each with rows that no other thread writes.

use std::marker::PhantomData;

/// A slice whose disjoint parts several threads write.
pub(super) struct SharedOutput<'a> {
    start: *mut f32,
    len: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointer comes from an exclusive borrow that lasts as long as the value, and the
// only way to write through it, `rows`, makes its caller promise that threads do not overlap.
unsafe impl Sync for SharedOutput<'_> {}

impl<'a> SharedOutput<'a> {
    pub(super) fn new(out: &'a mut [f32]) -> Self {
        Self { start: out.as_mut_ptr(), len: out.len(), borrow: PhantomData }
    }

    /// `count` rows of `width` elements, the first one at `first` and each `stride` behind the
    /// one before.
    ///
    /// # Safety
    /// While the result lives, none of these elements may be part of another result.
    pub(super) unsafe fn rows(
        &self,
        first: usize,
        stride: usize,
        width: usize,
        count: usize,
    ) -> Rows<'_> {
        let end = if count == 0 { 0 } else { first + (count - 1) * stride + width };
        assert!(width <= stride && end <= self.len, "rows lie outside of the output");
        Rows { shared: self, first, stride, width, count }
    }
}

/// Rows of a [`SharedOutput`] that nobody else accesses.
pub(super) struct Rows<'a> {
    shared: &'a SharedOutput<'a>,
    first: usize,
    stride: usize,
    width: usize,
    count: usize,
}

impl Rows<'_> {
    #[inline(always)]
    pub(super) fn row(&mut self, index: usize) -> &mut [f32] {
        assert!(index < self.count, "no such row");
        let first = self.first + index * self.stride;
        // SAFETY: `SharedOutput::rows` checked that all rows lie within the borrowed slice, its
        // caller promised that they are not accessed otherwise, and the borrow of `self` keeps
        // this row from being handed out twice.
        unsafe { std::slice::from_raw_parts_mut(self.shared.start.add(first), self.width) }
    }
}
