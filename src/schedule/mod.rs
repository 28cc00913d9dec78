//! From tokenized texts of many threads to packed batches, one run at a time, and back.
//!
//! ```text
//! callers -> Queue (one per model) -> runner thread -> Call -> the caller that waits
//!                                 \-> express thread -/   \-> callback thread
//! ```
//!
//! The express thread runs short calls while the other one is busy with a long run, and rests
//! otherwise. GPUs have no such thread, but a runner thread each.

mod call;
mod callbacks;
mod cancel;
mod ceiling;
mod choose;
mod deadlines;
mod gather;
mod pace;
mod pack;
mod pad;
mod queue;
mod runner;

pub(crate) use call::{Call, Format, Results, Sequence};
pub(crate) use callbacks::{Bell, Callbacks};
pub use cancel::Cancel;
pub(crate) use ceiling::Ceiling;
pub(crate) use pack::{PackedEncoder, Request};
pub(crate) use pad::PaddedEncoder;
pub(crate) use queue::Queue;
pub(crate) use runner::{Encode, Runner};
