//! Working memory that a thread keeps between tiles.

use std::cell::RefCell;

use super::prefetch::CACHE_LINE;
use crate::memory;

/// Floats in a cache line, to which buffers are aligned.
const LINE_FLOATS: usize = CACHE_LINE / size_of::<f32>();

/// Memory of one worker, which grows to what a tile needs and no further.
#[derive(Default)]
pub(crate) struct Scratch {
    memory: Vec<f32>,
    out_of_memory: bool,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Lends the thread's memory to `body`. Returns `None` if a buffer could not be allocated.
    pub(crate) fn with<R>(body: impl FnOnce(&mut Self) -> R) -> Option<R> {
        let body = |scratch: &mut Self| {
            let result = body(scratch);
            (!std::mem::take(&mut scratch.out_of_memory)).then_some(result)
        };
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => body(&mut scratch),
            // A thread pool may run another item on a thread that waits inside one.
            Err(_) => body(&mut Self::default()),
        })
    }

    /// Buffers of the given lengths, each starting on a cache line, with unspecified contents.
    /// Returns `None` if there is no memory: then `body` has to return, and its result is dropped.
    #[inline]
    pub(crate) fn split<const N: usize>(&mut self, lengths: [usize; N]) -> Option<[&mut [f32]; N]> {
        let total: usize = lengths.iter().map(|length| length.next_multiple_of(LINE_FLOATS)).sum();
        if self.memory.len() < total + LINE_FLOATS {
            self.grow(total + LINE_FLOATS)?;
        }
        let skipped = self.memory.as_ptr().align_offset(CACHE_LINE).min(LINE_FLOATS);
        let mut rest = &mut self.memory[skipped..];
        Some(lengths.map(|length| {
            let (buffer, behind) =
                std::mem::take(&mut rest).split_at_mut(length.next_multiple_of(LINE_FLOATS));
            rest = behind;
            &mut buffer[..length]
        }))
    }

    #[cold]
    fn grow(&mut self, length: usize) -> Option<()> {
        self.memory = Vec::new();
        match memory::zeros(length) {
            Ok(memory) => self.memory = memory,
            Err(_) => self.out_of_memory = true,
        }
        (!self.out_of_memory).then_some(())
    }
}
