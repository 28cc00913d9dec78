//! The numbers of the scheduling policy, with the reason for each. A number in parentheses is that
//! of the record in docs/decisions with the measurements: 21-sharing-batches,
//! 22-short-calls-pass-long-batches or 23-deadlines.

/// The fewest tokens of a text: the special tokens at both ends. They limit the number of calls
/// with a text in one batch.
pub(super) const TEXT_TOKENS_MIN: usize = 2;

/// A call of at most this many tokens is short. It may run on its caller's thread, and beside a
/// long batch. A batch beside a long one has at most as many, so that it takes little time and
/// memory from the long one. (22)
pub(super) const SHORT_TOKENS: usize = 128;

/// A batch is long if this many of its tokens are of one call. A batch of many short calls is not:
/// none of its callers would gain by leaving the others. (22)
pub(super) const LONG_TOKENS: usize = 512;

/// After a batch beside a long one, the long one has the processor to itself for as long as the
/// short one took, divided by this. A steady sender of short calls then makes the long batch take
/// 1.4 times as long; without the rest it was 1.6 times. (22)
pub(super) const REST_DIVISOR: u32 = 2;

/// On the processor, a batch of this many tokens is nearly as fast, for each token, as a larger
/// one. (21)
pub(super) const ENOUGH_TOKENS: usize = 512;

/// On a GPU, a batch is nearly as fast with the most tokens that it may have, divided by this.
pub(super) const GPU_ENOUGH_DIVISOR: usize = 4;

/// How many texts of a call are searched for one that fills the rest of a batch. The search runs
/// under the queue's lock, so its time is bounded.
pub(super) const LOOK_AHEAD: usize = 64;

/// The longest linger is the time of the batch before it, divided by this. Callers of the same
/// process come back within it; shorter lingers were as good, within the noise of the measurement.
/// (21)
pub(super) const LINGER_DIVISOR: u32 = 8;

/// The most lingers that are skipped after one in vain. So at most a 128th of the time is lost
/// where callers never come back in time. (21)
pub(super) const LINGERS_SKIPPED_MAX: u32 = 15;

/// A batch takes at most the time that its most urgent call has left, divided by this. A call that
/// arrives meanwhile with as much time is then not lost when the batch ends. (23)
pub(super) const URGENT_TIME_DIVISOR: u32 = 2;

/// A call is in a hurry if it needs more than this share of the time that it has left. It then gets
/// the rest of a batch. (23)
pub(super) const HURRY: f64 = 0.5;

/// Where not all calls can end in time, the most urgent are skipped until the batch has at least
/// this share of the fastest possible rate. Served first, they would make every batch a small one.
/// (23)
pub(super) const RATE_MIN: f64 = 0.9;

/// For this many batches after a call missed its deadline, small batches for urgent calls are not
/// affordable. (23)
pub(super) const LOSS_MEMORY_BATCHES: u32 = 16;

/// Attention to this many tokens, times the width of the model, takes as long as the rest of a
/// token's inference. (23)
pub(super) const ATTENTION_TOKENS_PER_WIDTH: usize = 4;

/// A batch that took longer than this multiple of the expected time counts as this multiple: it may
/// have been bad luck. (23)
pub(super) const SLOWDOWN_MAX: f64 = 4.0;

/// A batch that was stopped early counts as one that took its time times this. (23)
pub(super) const STOPPED_EARLY_FACTOR: f64 = 1.25;

/// The least and the greatest share of a batch's time that is kept as a safety margin. (23)
pub(super) const MARGIN: (f64, f64) = (0.1, 0.2);
