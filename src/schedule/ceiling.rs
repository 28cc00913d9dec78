//! A ceiling for the memory of runs: how many tokens it leaves to a run, and which texts it refuses.

use super::choose::LONG_TOKENS;
use super::queue::SHORT_TOKENS;
use crate::error::{Result, error};
use crate::graph::RunMemory;

/// The special tokens at both ends.
const SHORTEST: usize = 2;

/// The one place that knows what runs may take: one of whatever waits, and beside it, if there is
/// room for both, a run of short calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ceiling {
    memory: RunMemory,
    bytes: usize,
    /// Of `bytes`, what a run beside another may take.
    bytes_beside: usize,
}

impl Ceiling {
    /// Fails if not even the shortest text fits.
    pub fn new(memory: RunMemory, bytes: usize) -> Result<Self> {
        let least = memory.bytes(SHORTEST);
        if bytes < least {
            return Err(error!(
                InvalidArgument,
                "max_run_bytes is {bytes}, but a run of the shortest text takes {least} bytes; it \
                 has to be that at least, or 0 for no ceiling"
            ));
        }
        // No run is long enough to be passed if there is no room for a long one.
        let beside = memory.bytes(SHORT_TOKENS);
        let has_room = bytes.saturating_sub(beside) >= memory.bytes(LONG_TOKENS);
        Ok(Self { memory, bytes, bytes_beside: if has_room { beside } else { 0 } })
    }

    /// The most tokens of a run.
    pub fn tokens(self) -> usize {
        self.memory.tokens(self.bytes - self.bytes_beside)
    }

    /// The most tokens of a run beside another; zero: there is none.
    pub fn tokens_beside(self) -> usize {
        self.memory.tokens(self.bytes_beside)
    }

    /// Refuses a text that does not even fit alone.
    pub fn check(self, tokens: usize) -> Result<()> {
        if tokens <= self.tokens() {
            return Ok(());
        }
        let bytes = self.memory.bytes(tokens).saturating_add(self.bytes_beside);
        Err(error!(
            TextTooLong,
            "the text has {tokens} tokens, and a run of them takes {bytes} bytes, but max_run_bytes \
             is {}, which is enough for {} tokens; raise it, or cut texts by max_tokens",
            self.bytes,
            self.tokens()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_share_it() {
        let memory = RunMemory::counted(700, 1000);
        assert!(Ceiling::new(memory, memory.bytes(SHORTEST) - 1).is_err());
        let both = memory.bytes(LONG_TOKENS) + memory.bytes(SHORT_TOKENS);
        for bytes in [memory.bytes(SHORTEST), both - 1, both, both + 123_456, usize::MAX] {
            let ceiling = Ceiling::new(memory, bytes).unwrap();
            let beside = ceiling.tokens_beside();
            assert_eq!(beside, if bytes < both { 0 } else { SHORT_TOKENS });
            let runs = memory.bytes(ceiling.tokens()) + ceiling.bytes_beside;
            assert!(ceiling.tokens() >= SHORTEST && runs <= bytes);
            assert!(ceiling.check(ceiling.tokens()).is_ok());
            let e = ceiling.check(ceiling.tokens() + 1).unwrap_err();
            assert!(e.to_string().contains(&format!("max_run_bytes is {bytes}")), "{e}");
        }
    }
}
