//! Working memory that a thread keeps between tiles.

use std::cell::RefCell;

use crate::memory;

/// Floats in a cache line, to which buffers are aligned.
const LINE: usize = 16;

/// Memory of one worker, which grows to what a tile needs and no further.
#[derive(Default)]
pub(crate) struct Scratch {
    memory: Vec<f32>,
    is_short: bool,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Hands the thread's memory to `body`. `None` if there was too little.
    pub(crate) fn with<R>(body: impl FnOnce(&mut Self) -> R) -> Option<R> {
        let body = |scratch: &mut Self| {
            let result = body(scratch);
            (!std::mem::take(&mut scratch.is_short)).then_some(result)
        };
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => body(&mut scratch),
            // A thread pool may run another item on a thread that waits inside one.
            Err(_) => body(&mut Self::default()),
        })
    }

    /// Buffers of the given lengths, each starting on a cache line; what they hold is unspecified.
    /// `None` if there is no memory for them: then `body` has to return, and its result is dropped.
    #[inline]
    pub(crate) fn split<const N: usize>(&mut self, lengths: [usize; N]) -> Option<[&mut [f32]; N]> {
        let total: usize = lengths.iter().map(|length| length.next_multiple_of(LINE)).sum();
        if self.memory.len() < total + LINE {
            self.grow(total + LINE)?;
        }
        let skipped = self.memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let mut rest = &mut self.memory[skipped..];
        Some(lengths.map(|length| {
            let (buffer, behind) =
                std::mem::take(&mut rest).split_at_mut(length.next_multiple_of(LINE));
            rest = behind;
            &mut buffer[..length]
        }))
    }

    #[cold]
    fn grow(&mut self, length: usize) -> Option<()> {
        self.memory = Vec::new();
        match memory::zeros(length) {
            Ok(memory) => self.memory = memory,
            Err(_) => self.is_short = true,
        }
        (!self.is_short).then_some(())
    }
}
