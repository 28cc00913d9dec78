//! How inference learns that nobody waits for it any more.

use std::sync::Arc;

/// Answers whether at least one caller still waits for the batch under way. Inference asks once a
/// layer, or some times a second, and stops at the first `false`.
pub(crate) type StillWanted = Arc<dyn Fn() -> bool + Send + Sync>;
