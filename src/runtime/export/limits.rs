//! Limits for a stranger's graph: generous for an encoder with files of that size, and strict for a
//! file of a few hundred bytes that asks for all memory, or for a run without end.

use std::time::Duration;

use crate::runtime::options::SessionOptions;

/// The memory that any graph may take, however small its files.
const BASE_BYTES: usize = 384 << 20;
const BASE_FOLDED: u64 = 4 << 20;
/// The weights are in memory as stored, packed, and widened from 16 bits, in regions that double.
const TIMES_THE_FILES: usize = 8;
/// The longest text for which memory is counted: there are no known exports for longer ones.
const LENGTH_MAX: usize = 8192;
/// The time limit of the probe, a run of some tokens, which takes a fraction of a second once the
/// files are in memory.
const PROBE_TIME: Duration = Duration::from_secs(4);
/// Bytes that even a slow disk reads in a second.
const READ_PER_SECOND: u64 = 5 << 20;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    /// The limit of the arena, which holds weights and intermediate results.
    pub arena_bytes: usize,
    /// The limit of the results of operators that run while the graph is loaded, since their inputs
    /// are constants.
    pub folded_bytes: u64,
    /// The limit of the time of the run that shows the shapes of the outputs.
    pub probe_time: Duration,
}

impl Limits {
    /// The limits of a graph whose files have `file_bytes` bytes.
    ///
    /// An encoder of width h has some 12 h² weights in each layer. A batch keeps a few dozen times
    /// h numbers for each token, and a few tables of scores for each head and pair of tokens. The
    /// square root of the bytes is ten times h or more.
    pub fn of(file_bytes: u64, options: &SessionOptions) -> Self {
        let bytes = usize::try_from(file_bytes).unwrap_or(usize::MAX);
        let width = bytes.isqrt();
        let length = options.max_tokens.min(LENGTH_MAX);
        let tokens = options.max_batch_tokens.max(length);
        let rows = tokens.saturating_mul(width).saturating_mul(16);
        let heads = 1 + width / 256;
        let scores = tokens.saturating_mul(length).saturating_mul(heads).saturating_mul(16);
        Self {
            arena_bytes: BASE_BYTES
                .saturating_add(bytes.saturating_mul(TIMES_THE_FILES))
                .saturating_add(rows)
                .saturating_add(scores),
            folded_bytes: BASE_FOLDED.max(file_bytes.saturating_mul(2)),
            probe_time: PROBE_TIME + Duration::from_secs(file_bytes / READ_PER_SECOND),
        }
    }
}
