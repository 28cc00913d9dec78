//! What a stranger's graph may take: generous for an encoder of the size of its files, and little for
//! a file of a few hundred bytes that asks for all memory, or for a run without end.

use std::time::Duration;

use crate::runtime::options::SessionOptions;

/// For any graph, however small its files.
const BASE_BYTES: usize = 384 << 20;
const BASE_FOLDED: u64 = 4 << 20;
/// Weights as they are, packed, and widened from 16 bits, in regions that double.
const TIMES_THE_FILES: usize = 8;
/// The longest text for which memory is counted: exports of longer ones are not known.
const LENGTH_MAX: usize = 8192;
/// Of a run of some tokens, which takes a fraction of a second once the files are in memory.
const PROBE_TIME: Duration = Duration::from_secs(4);
/// Bytes that even a slow disk reads in a second.
const READ_PER_SECOND: u64 = 5 << 20;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    /// Of the arena, which holds weights and what runs compute.
    pub arena_bytes: usize,
    /// Of what an operator may make while the graph is loaded, if its inputs are constants.
    pub folded_bytes: u64,
    /// How long the run may take that shows what the graph gives.
    pub probe_time: Duration,
}

impl Limits {
    /// Of a graph whose files have so many bytes.
    ///
    /// An encoder of width h has some 12 h² weights in each layer, and its runs keep a few dozen
    /// times h numbers for each token, and a few tables of scores for each head and pair of tokens.
    /// The square root of the bytes is ten times h and more.
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
