//! The numbers of the scheduling policy, with the reason for each. docs/decisions has the
//! measurements behind them.

/// The fewest tokens of a text: the special tokens at both ends. They limit the number of calls
/// with a text in one batch.
pub(super) const TEXT_TOKENS_MIN: usize = 2;

/// A call of at most this many tokens is short. It may run on its caller's thread, and beside a
/// long batch. A batch beside a long one has at most as many, so that it takes little time and
/// memory from the long one.
pub(super) const SHORT_TOKENS: usize = 128;

/// A batch is long if this many of its tokens are of one call. A batch of many short calls is not:
/// none of its callers would gain by leaving the others.
pub(super) const LONG_TOKENS: usize = 512;

/// After a batch beside a long one, the long one has the processor to itself for as long as the
/// short one took, divided by this. A steady sender of short calls then makes the long batch take
/// 1.4 times as long; without the rest it was 1.6 times.
pub(super) const REST_DIVISOR: u32 = 2;

/// On the processor, a batch of this many tokens is nearly as fast, for each token, as a larger
/// one.
pub(super) const ENOUGH_TOKENS: usize = 512;

/// On a GPU, the same holds for the most tokens of a batch, divided by this.
pub(super) const GPU_ENOUGH_DIVISOR: usize = 4;

/// How far into a call the search goes for a text that fills the rest of a batch: a longer search
/// would cost more than the filling gains.
pub(super) const LOOK_AHEAD: usize = 64;

/// The longest linger is the time of the batch before it, divided by this. Callers of the same
/// process come back within it; shorter lingers were as good, within the noise of the measurement.
pub(super) const LINGER_DIVISOR: u32 = 8;

/// The most lingers that are skipped after one in vain. So at most a 128th of the time is lost
/// where callers never come back in time.
pub(super) const LINGERS_SKIPPED_MAX: u32 = 15;

/// A batch takes at most the time that its most urgent call has left, divided by this. A call that
/// arrives meanwhile with as much time is then not lost when the batch ends.
pub(super) const URGENT_TIME_DIVISOR: u32 = 2;

/// A call is in a hurry if it needs more than this share of the time that it has left. It then gets
/// the rest of a batch.
pub(super) const HURRY: f64 = 0.5;

/// Where not all calls can end in time, the most urgent are skipped until the batch has at least
/// this share of the fastest possible rate. Served first, they would make every batch a small one.
pub(super) const RATE_MIN: f64 = 0.9;

/// For this many batches after a call missed its deadline, small batches for urgent calls are not
/// affordable.
pub(super) const LOSS_MEMORY_BATCHES: u32 = 16;

/// Attention of a text to this many tokens, times the width of the model, takes as long as all the
/// rest of the text's inference.
pub(super) const ATTENTION_TOKENS_PER_WIDTH: usize = 4;

/// A batch that took longer than this multiple of the expected time counts as this multiple: it may
/// have been bad luck.
pub(super) const SLOWDOWN_MAX: f64 = 4.0;

/// A batch that was stopped early counts as one that took its time times this.
pub(super) const STOPPED_EARLY_FACTOR: f64 = 1.25;

/// The least and the greatest share of a batch's time that is kept as a safety margin.
pub(super) const MARGIN: (f64, f64) = (0.1, 0.2);
