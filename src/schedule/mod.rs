//! From the texts of many callers to batches, and from their results back to the callers.
//!
//! ```text
//! callers -> Queue -> a device's worker -> Call -> the caller that waits
//!        \        \-> short-call worker -/    \-> CompletionQueue -> callback thread
//!         \-> the thread of a caller whose call is short and alone -/
//! ```
//!
//! A *batch* is the texts that go through the model together. The processor is one device, and each
//! GPU is one; a device runs one batch at a time. Beside a *long* batch of the processor, the
//! short-call worker runs a second one, and rests otherwise.
//!
//! **The states of a call**, each of which leads to the last one:
//!
//! ```text
//! tokenizing -> waiting in the queue <-> in a batch -> over: its results, or an error
//! ```
//!
//! A call with more texts than one batch takes is in several batches, and waits again between them.
//! It is over when its last text has a result, or earlier: when it fails, is cancelled, its
//! deadline passes, or the model is closed. The first outcome stands. A batch is not interrupted
//! for a call that is over, but stops within a layer once all of its calls are.
//!
//! `Call::is_over` only reads. A deadline takes effect in `Call::expire_if_due`, which is called
//! without any lock: by the thread that waits for the call, by the callback thread, while the call
//! is tokenized, when it is submitted without a text, and before an error of a batch is reported.
//!
//! **The order of locks**, from the outermost: the state of the queue, the state of a call, the
//! state of the completion queue, the handle of the callback thread. A call is failed under the
//! queue's lock in one case, when it is dropped because it could not end in time. The callback
//! thread, and `Queue::close`, release their own lock before they touch a call. The list of a
//! `Cancel` and the handles of the workers are locked alone.
//!
//! **Closing** a model, from any number of threads at once:
//!
//! 1. `Queue::close` refuses later calls, wakes all workers, and fails all calls that wait or run.
//!    It reads the running batches under the lock that refuses new ones, so none escapes.
//! 2. Batches that run stop within a layer, since all of their calls are over.
//! 3. The workers find the queue closed and end. `Runner::close` joins them, under a lock, so that
//!    a second thread that closes returns no earlier. A batch on a caller's thread is not waited
//!    for: that caller holds the model.
//! 4. `Callbacks::close` refuses later calls and joins the callback thread, which first runs the
//!    callback of every call. Called from a callback, it returns at once instead.
//!
//! A worker that ends by a panic closes the queue, too, so that no caller waits for it.

mod batch;
mod call;
mod callbacks;
mod cancel;
mod deadlines;
mod linger;
mod memory_limit;
mod pace;
mod policy;
mod queue;
mod request;
mod runner;
mod waker;

pub(crate) use call::{Call, Completions, ResultSpec, Results, Sequence};
pub(crate) use callbacks::Callbacks;
pub use cancel::Cancel;
pub(crate) use memory_limit::MemoryLimit;
pub(crate) use queue::Queue;
pub(crate) use request::{BatchEncoder, Request};
pub(crate) use runner::Runner;
