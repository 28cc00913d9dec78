//! The memory that ONNX Runtime computes in, as one region that is large enough for a run.
//!
//! Left alone, its arena grows by regions that double. Blocks of the sizes of a run, given back in
//! the order in which a run does, leave holes between them that nothing fits, and runs touch up to
//! half as much again as they use. In one region with twice the room, the blocks of each run lie
//! close together, and where those of the run before lay. What is never touched is address space
//! and no memory.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{RunOptions, Session};
use parking_lot::Mutex;

/// After a run, gives regions back in which nothing is in use, but for the first.
const SHRINK: (&str, &str) = ("memory.enable_memory_arena_shrinkage", "cpu:0");
/// What glibc takes from the system and gives back by itself, instead of from a heap that keeps it.
const REGION_MIN: usize = 64 << 20;

pub(super) struct Arena {
    /// Of a run that shrinks the arena and does nothing else: it ends before it begins. What a run
    /// gives lies in the region, so that the run itself cannot give that back.
    shrink: RunOptions,
    state: Mutex<State>,
}

struct State {
    allocator: Allocator,
    /// Bytes of the region; zero if there is none.
    region: usize,
    /// Runs under way.
    runs: usize,
    /// Whether the last of them has to give the region back.
    gives_back: bool,
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
        let allocator = Allocator::new(session, info)?;
        let state = State { allocator, region: 0, runs: 0, gives_back: false };
        Ok(Self { shrink, state: Mutex::new(state) })
    }

    /// Makes a region for a run that uses so many bytes at a time, if there is none. `give_back`
    /// runs the session with the options it gets.
    pub fn begin(&self, bytes: usize, give_back: impl FnOnce(&RunOptions)) {
        let mut state = self.state.lock();
        let region = region(bytes);
        // Beside a region that is too small, a new one would not be used as it should.
        if state.runs == 0 && state.region > 0 && region > state.region {
            give_back(&self.shrink);
            state.region = 0;
        }
        // An allocation is given back at once, and so left with the arena. Without it a run needs
        // more memory, and that is all.
        if state.region == 0 && state.allocator.alloc::<u8>(region).is_ok() {
            state.region = region;
        }
        state.runs += 1;
    }

    /// Ends a run that has begun. Its memory stays for the next if `keeps_memory`; else the last
    /// run under way gives it back.
    pub fn end(&self, keeps_memory: bool, give_back: impl FnOnce(&RunOptions)) {
        let mut state = self.state.lock();
        state.runs -= 1;
        state.gives_back |= !keeps_memory;
        if state.runs == 0 && std::mem::take(&mut state.gives_back) {
            give_back(&self.shrink);
            state.region = 0;
        }
    }
}

/// The arena makes regions of powers of two only.
fn region(bytes: usize) -> usize {
    bytes.saturating_mul(2).max(REGION_MIN).checked_next_power_of_two().unwrap_or(usize::MAX)
}
