//! The memory that ONNX Runtime computes in, as one region that is large enough for a run.
//!
//! Left alone, its arena grows by regions that double. Blocks of the sizes of a run, given back in
//! the order in which a run does, leave holes between them that nothing fits, and runs touch up to
//! half as much again as they use. In one region with twice the room, the blocks of each run lie
//! close together, and where those of the run before lay. What is never touched is address space
//! and no memory.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{RunOptions, Session};

/// After a run, gives regions back in which nothing is in use, but for the first.
const SHRINK: (&str, &str) = ("memory.enable_memory_arena_shrinkage", "cpu:0");
/// What glibc takes from the system and gives back by itself, instead of from a heap that keeps it.
const REGION_MIN: usize = 64 << 20;

pub(super) struct Arena {
    allocator: Allocator,
    /// Bytes of the region; zero if there is none.
    region: usize,
    /// Of a run that shrinks the arena and does nothing else: it ends before it begins. What a run
    /// gives lies in the region, so that the run itself cannot give that back.
    shrink: RunOptions,
}

impl Arena {
    /// The arena of a session in which one short text has run: the first region, which is never
    /// given back, has to be small.
    pub fn new(session: &Session) -> ort::Result<Self> {
        let kind = AllocatorType::Arena;
        let info = MemoryInfo::new(AllocationDevice::CPU, 0, kind, MemoryType::Default)?;
        let mut shrink = RunOptions::new()?;
        shrink.set(SHRINK.0, SHRINK.1)?;
        shrink.terminate()?;
        Ok(Self { allocator: Allocator::new(session, info)?, region: 0, shrink })
    }

    /// Whether the region has to go before a run that uses so many bytes at a time: beside one that
    /// is too small, a new one would not be used as it should.
    pub fn is_outgrown(&self, bytes: usize) -> bool {
        self.region > 0 && region(bytes) > self.region
    }

    /// Makes a region for a run that uses so many bytes at a time, if there is none.
    pub fn prepare(&mut self, bytes: usize) {
        let region = region(bytes);
        // An allocation is given back at once, and so left with the arena. Without it a run needs
        // more memory, and that is all.
        if self.region == 0 && self.allocator.alloc::<u8>(region).is_ok() {
            self.region = region;
        }
    }

    /// The options of a run that gives the region back.
    pub fn release(&mut self) -> &RunOptions {
        self.region = 0;
        &self.shrink
    }
}

/// The arena makes regions of powers of two only.
fn region(bytes: usize) -> usize {
    bytes.saturating_mul(2).max(REGION_MIN).checked_next_power_of_two().unwrap_or(usize::MAX)
}
