//! Rows in memory of the caller, with a stride, and the check that arrays do not overlap.

use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};

use super::pointers::check_array;
use crate::error::{Result, error};

/// The layout of rows in memory. The gaps between rows are not the library's: another thread may
/// write there, so no reference may cover a gap.
#[derive(Clone, Copy)]
pub(in crate::ffi) struct Grid {
    pub rows: usize,
    pub width: usize,
    pub stride: usize,
}

impl Grid {
    /// An array without gaps.
    pub fn line(length: usize) -> Self {
        Self { rows: 1, width: length, stride: length }
    }

    /// The number of elements from the first of the first row to the last of the last row.
    pub fn extent(self, name: &str) -> Result<usize> {
        let Self { rows, width, stride } = self;
        match rows {
            0 => Some(0),
            _ => (rows - 1).checked_mul(stride).and_then(|before| before.checked_add(width)),
        }
        .ok_or_else(|| {
            error!(InvalidArgument, "{name}: {rows} rows of {stride} do not fit into memory")
        })
    }

    pub fn is_empty(self) -> bool {
        self.rows == 0 || self.width == 0
    }

    /// The memory that the rows cover, gaps included.
    pub fn span<'a, T>(self, pointer: *const T, name: &'a str) -> Result<Span<'a>> {
        Ok(Span::new(pointer, self.extent(name)?, name))
    }

    /// The stride between rows. That of a single row is not used, and may be too large for `isize`.
    fn step(self) -> usize {
        if self.rows > 1 { self.stride } else { self.width }
    }

    /// Rows to read. Refused if they overlap an array that the call writes.
    pub fn view<'a>(
        self,
        pointer: *const f32,
        name: &str,
        written: &[Span<'_>],
    ) -> Result<ArrayView2<'a, f32>> {
        let read = self.span(pointer, name)?;
        written.iter().try_for_each(|written| written.check_apart(read))?;
        if self.rows == 0 {
            let shape = (0, self.width);
            return ArrayView2::from_shape(shape, &[]).map_err(|e| error!(Internal, "{name}: {e}"));
        }
        check_array(pointer, self.extent(name)?, name)?;
        let shape = (self.rows, self.width).strides((self.step(), 1));
        // SAFETY: not NULL, aligned, no larger than memory, and the caller's to read, by the
        // header.
        Ok(unsafe { ArrayView2::from_shape_ptr(shape, pointer) })
    }

    /// Rows to write.
    pub fn view_mut<'a, T>(self, pointer: *mut T, name: &str) -> Result<ArrayViewMut2<'a, T>> {
        check_array(pointer, self.extent(name)?, name)?;
        let shape = (self.rows, self.width).strides((self.step(), 1));
        // SAFETY: as for `view`, and the caller's to write; rows do not overlap, since the stride
        // is at least the width; `Span::check_apart` has checked that no other reference of the
        // call covers them.
        Ok(unsafe { ArrayViewMut2::from_shape_ptr(shape, pointer) })
    }
}

/// Rows of the caller that are written after inference, perhaps by another thread.
pub(in crate::ffi) struct CallerRows<T> {
    pointer: *mut T,
    grid: Grid,
}

// SAFETY: by the header, no other code touches the memory until the callback has returned.
unsafe impl<T: Send> Send for CallerRows<T> {}

impl<T> CallerRows<T> {
    pub fn new(pointer: *mut T, grid: Grid, name: &str) -> Result<Self> {
        let extent = grid.extent(name)?;
        if extent > 0 {
            check_array(pointer, extent, name)?;
        }
        Ok(Self { pointer, grid })
    }

    pub fn row(&mut self, index: usize) -> &mut [T] {
        assert!(index < self.grid.rows);
        if self.grid.width == 0 {
            return &mut [];
        }
        // SAFETY: within the extent that `new` checked, and still valid, by the header; `&mut self`
        // allows one row at a time.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.pointer.add(index * self.grid.step()),
                self.grid.width,
            )
        }
    }
}

/// The address range of an array of the caller.
#[derive(Clone, Copy)]
pub(in crate::ffi) struct Span<'a> {
    name: &'a str,
    start: usize,
    end: usize,
}

impl<'a> Span<'a> {
    /// The range of NULL is empty.
    pub fn new<T>(pointer: *const T, length: usize, name: &'a str) -> Self {
        let start = pointer.addr();
        let length = if pointer.is_null() { 0 } else { length };
        Self { name, start, end: start.saturating_add(length.saturating_mul(size_of::<T>())) }
    }

    /// Refuses arrays that overlap.
    pub fn check_apart(self, other: Self) -> Result<()> {
        let empty = self.start == self.end || other.start == other.end;
        if !empty && self.start < other.end && other.start < self.end {
            return Err(error!(InvalidArgument, "{} and {} overlap", self.name, other.name));
        }
        Ok(())
    }
}
