//! The memory arena of a session, kept as one region that is large enough for a batch.
//!
//! By default ONNX Runtime's arena grows by regions that double. Blocks that a batch frees in its
//! own order leave holes between them that no later block fits, and a batch touches up to half as
//! much memory again as it uses. In one region of twice the size, the blocks of each batch lie
//! close together, and where those of the batch before lay. The part that is never touched is
//! address space, not memory.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{RunOptions, Session};
use parking_lot::Mutex;

/// Frees all regions that hold no block in use, except the first one.
const SHRINK: (&str, &str) = ("memory.enable_memory_arena_shrinkage", "cpu:0");
/// Allocations from this size on are mapped by glibc, and returned to the system when they are
/// freed, instead of staying in a heap.
const REGION_MIN: usize = 64 << 20;

pub(super) struct Arena {
    /// Options of a run that is terminated before it begins, whose only effect is to shrink the
    /// arena. A batch cannot shrink it by itself: its outputs still live there.
    shrink: RunOptions,
    state: Mutex<State>,
}

struct State {
    allocator: Allocator,
    /// Bytes of the region, or zero if there is none.
    region: usize,
    /// Batches under way.
    runs: usize,
    /// Whether the last of them has to free the region.
    frees_memory: bool,
}

impl Arena {
    /// The arena of a session in which one short text has run. The first region, which is never
    /// freed, is then small.
    pub fn new(session: &Session) -> ort::Result<Self> {
        let kind = AllocatorType::Arena;
        let info = MemoryInfo::new(AllocationDevice::CPU, 0, kind, MemoryType::Default)?;
        let mut shrink = RunOptions::new()?;
        shrink.set(SHRINK.0, SHRINK.1)?;
        shrink.terminate()?;
        let allocator = Allocator::new(session, info)?;
        let state = State { allocator, region: 0, runs: 0, frees_memory: false };
        Ok(Self { shrink, state: Mutex::new(state) })
    }

    /// Reserves a region for a batch that uses `bytes` bytes at a time, unless there is one.
    /// `free_memory` runs the session with the options that it gets.
    pub fn begin(&self, bytes: usize, free_memory: impl FnOnce(&RunOptions)) {
        let mut state = self.state.lock();
        let region = region(bytes);
        // ONNX Runtime would not use a new region well beside one that is too small.
        if state.runs == 0 && state.region > 0 && region > state.region {
            free_memory(&self.shrink);
            state.region = 0;
        }
        // The allocation is freed at once, so that its region stays with the arena. If it fails,
        // the batch needs more memory, but still runs.
        if state.region == 0 && state.allocator.alloc::<u8>(region).is_ok() {
            state.region = region;
        }
        state.runs += 1;
    }

    /// Ends a batch that has begun. Its memory stays for the next one if `keeps_memory`; otherwise
    /// the last batch under way frees it.
    pub fn end(&self, keeps_memory: bool, free_memory: impl FnOnce(&RunOptions)) {
        let mut state = self.state.lock();
        state.runs -= 1;
        state.frees_memory |= !keeps_memory;
        if state.runs == 0 && std::mem::take(&mut state.frees_memory) {
            free_memory(&self.shrink);
            state.region = 0;
        }
    }
}

/// The arena reserves regions in powers of two only.
fn region(bytes: usize) -> usize {
    bytes.saturating_mul(2).max(REGION_MIN).checked_next_power_of_two().unwrap_or(usize::MAX)
}
