//! `max_run_bytes` in tokens: how many a batch may have, and which texts are refused.

use super::policy::{LONG_TOKENS, SHORT_TOKENS, TEXT_TOKENS_MIN};
use crate::error::{Result, error};
use crate::memory::RunMemory;

/// Divides the memory of runs between a batch of any calls and, if both fit, a batch of short calls
/// beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryLimit {
    memory: RunMemory,
    bytes: usize,
    /// The part of `bytes` that is kept for a batch beside another.
    bytes_beside: usize,
}

impl MemoryLimit {
    /// Fails if not even the shortest text fits.
    pub fn new(memory: RunMemory, bytes: usize) -> Result<Self> {
        let least = memory.bytes(TEXT_TOKENS_MIN);
        if bytes < least {
            return Err(error!(
                InvalidArgument,
                "max_run_bytes is {bytes}, but a run of the shortest text takes {least} bytes; it \
                 has to be that at least, or 0 for no ceiling"
            ));
        }
        // Short calls only ever run beside a long batch, so both have to fit.
        let beside = memory.bytes(SHORT_TOKENS);
        let both_fit = bytes.saturating_sub(beside) >= memory.bytes(LONG_TOKENS);
        Ok(Self { memory, bytes, bytes_beside: if both_fit { beside } else { 0 } })
    }

    /// The most tokens of a batch.
    pub fn tokens(self) -> usize {
        self.memory.tokens(self.bytes - self.bytes_beside)
    }

    /// The most tokens of a batch beside another. Zero: there is none.
    pub fn tokens_beside(self) -> usize {
        self.memory.tokens(self.bytes_beside)
    }

    /// Refuses a text that does not fit even in a batch of its own.
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
    fn two_batches_share_it() {
        let memory = RunMemory { bytes_per_token: 700, fixed_bytes: 1000 };
        assert!(MemoryLimit::new(memory, memory.bytes(TEXT_TOKENS_MIN) - 1).is_err());
        let both = memory.bytes(LONG_TOKENS) + memory.bytes(SHORT_TOKENS);
        for bytes in [memory.bytes(TEXT_TOKENS_MIN), both - 1, both, both + 123_456, usize::MAX] {
            let limit = MemoryLimit::new(memory, bytes).unwrap();
            let beside = limit.tokens_beside();
            assert_eq!(beside, if bytes < both { 0 } else { SHORT_TOKENS });
            let runs = memory.bytes(limit.tokens()) + limit.bytes_beside;
            assert!(limit.tokens() >= TEXT_TOKENS_MIN && runs <= bytes);
            assert!(limit.check(limit.tokens()).is_ok());
            let e = limit.check(limit.tokens() + 1).unwrap_err();
            assert!(e.to_string().contains(&format!("max_run_bytes is {bytes}")), "{e}");
        }
    }
}
