//! Rows of the caller with a stride, and whether two arrays share memory.

use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};

use super::pointers::check_array;
use crate::error::{Result, error};

/// How rows lie in memory. What lies between them is not the library's: another thread may be at
/// work there, so no reference may cover it.
#[derive(Clone, Copy)]
pub(in crate::ffi) struct Grid {
    pub rows: usize,
    pub width: usize,
    pub stride: usize,
}

impl Grid {
    /// A plain array.
    pub fn line(length: usize) -> Self {
        Self { rows: 1, width: length, stride: length }
    }

    /// The elements from the first of the first row to the last of the last one.
    pub fn extent(self, name: &str) -> Result<usize> {
        let Self { rows, width, stride } = self;
        match rows {
            0 => Some(0),
            _ => (rows - 1).checked_mul(stride).and_then(|gone| gone.checked_add(width)),
        }
        .ok_or_else(|| {
            error!(InvalidArgument, "{name}: {rows} rows of {stride} do not fit into memory")
        })
    }

    pub fn is_empty(self) -> bool {
        self.rows == 0 || self.width == 0
    }

    /// Where such rows lie.
    pub fn span<'a, T>(self, pointer: *const T, name: &'a str) -> Result<Span<'a>> {
        Ok(Span::new(pointer, self.extent(name)?, name))
    }

    /// The stride of a single row is not used, and may be too large to be one.
    fn step(self) -> usize {
        if self.rows > 1 { self.stride } else { self.width }
    }

    /// Rows to read, refused if they share memory with what the call writes.
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
        // SAFETY: as for `view`, and the caller's to write; rows do not overlap, since a stride is
        // no less than the width; that nothing else here refers to them has been checked by
        // `Span::check_apart`.
        Ok(unsafe { ArrayViewMut2::from_shape_ptr(shape, pointer) })
    }
}

/// Rows of the caller that are filled after inference, perhaps by another thread.
pub(in crate::ffi) struct CallerRows<T> {
    pointer: *mut T,
    grid: Grid,
}

// SAFETY: by the header, nobody else touches the memory until the callback has returned.
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
        // SAFETY: within what `new` checked, and still the caller's, by the header; only one row
        // is lent at a time.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.pointer.add(index * self.grid.step()),
                self.grid.width,
            )
        }
    }
}

/// Where an array of the caller lies, to find out whether two share memory.
#[derive(Clone, Copy)]
pub(in crate::ffi) struct Span<'a> {
    name: &'a str,
    start: usize,
    end: usize,
}

impl<'a> Span<'a> {
    /// NULL is nowhere.
    pub fn new<T>(pointer: *const T, length: usize, name: &'a str) -> Self {
        let start = pointer.addr();
        let length = if pointer.is_null() { 0 } else { length };
        Self { name, start, end: start.saturating_add(length.saturating_mul(size_of::<T>())) }
    }

    /// Refuses arrays that share memory.
    pub fn check_apart(self, other: Self) -> Result<()> {
        let empty = self.start == self.end || other.start == other.end;
        if !empty && self.start < other.end && other.start < self.end {
            return Err(error!(InvalidArgument, "{} and {} overlap", self.name, other.name));
        }
        Ok(())
    }
}
