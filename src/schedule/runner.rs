//! The threads of a model that run inference: one for each lane of the queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;

use super::choose::Chosen;
use super::queue::Lane;
use super::{Call, Queue, Request, Sequence};
use crate::embeddings::TextOutput;
use crate::error::{Result, error};
use crate::log::{self, LogLevel};
use crate::memory;
use crate::stats::Counters;
use crate::stop::StillWanted;

/// Gives for each text what is wanted of it or what is wrong with it, by one of the model's devices;
/// it fails as a whole if that is not known of each, and may do so once the run is not `wanted` any
/// more.
pub(crate) type Encode =
    dyn Fn(usize, &[Request<'_>], &StillWanted) -> Result<Vec<Result<TextOutput>>> + Send + Sync;

/// The lane of runs on the threads of callers.
const HERE: Lane = Lane::Main(0);

pub(crate) struct Runner {
    queue: Arc<Queue>,
    encode: Arc<Encode>,
    counters: Arc<Counters>,
    /// Of runs on the threads of callers.
    wanted: StillWanted,
    /// Locked while the threads end, so that everybody who closes waits for that.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Runner {
    /// Starts a thread for each lane.
    pub fn start(encode: Box<Encode>, queue: Arc<Queue>, counters: Arc<Counters>) -> Result<Self> {
        let wanted = wanted(HERE, &queue);
        let runner =
            Self { queue, encode: encode.into(), counters, wanted, threads: Mutex::default() };
        for lane in runner.queue.lanes() {
            let name = if lane == Lane::Express { "bge-express" } else { "bge-runner" };
            let (encode, counters) = (Arc::clone(&runner.encode), Arc::clone(&runner.counters));
            let queue = Arc::clone(&runner.queue);
            let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
                let work = || run(lane, &*encode, &queue, &counters);
                let _ = catch_unwind(AssertUnwindSafe(work));
                // Should a bug end the thread, nobody may wait for it for ever.
                queue.close();
            });
            match thread {
                Ok(thread) => runner.threads.lock().push(thread),
                Err(e) => {
                    runner.close();
                    return Err(error!(OutOfMemory, "no thread could be started: {e}"));
                }
            }
        }
        Ok(runner)
    }

    /// Hands in the texts of a call whose thread will wait for it, or runs them there.
    pub fn submit(&self, call: &Arc<Call>, sequences: Vec<Sequence>) {
        struct End<'a>(&'a Queue);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.end_here();
            }
        }
        if let Some(texts) = self.queue.submit_or_run_here(call, sequences) {
            let _end = End(&self.queue);
            run_in_parts(HERE, &self.queue, texts, &*self.encode, &self.wanted, &self.counters);
        }
    }

    /// Ends every call that has not finished, and the threads.
    pub fn close(&self) {
        self.queue.close();
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }
}

/// Asks whether the run of a lane has somebody who waits for it.
fn wanted(lane: Lane, queue: &Arc<Queue>) -> StillWanted {
    let queue = Arc::clone(queue);
    Arc::new(move || queue.run_is_wanted(lane))
}

fn run(lane: Lane, encode: &Encode, queue: &Arc<Queue>, counters: &Counters) {
    let wanted = wanted(lane, queue);
    while let Some(texts) = queue.next_run(lane) {
        run_in_parts(lane, queue, texts, encode, &wanted, counters);
    }
}

/// A run that fails is tried again in halves, until the text at fault is alone: calls of other
/// threads only happened to share a run with it, and what memory ran out for may fit in parts.
/// A call that has failed takes its other texts along, so that there are few such runs.
fn run_in_parts(
    lane: Lane,
    queue: &Queue,
    texts: Vec<Chosen>,
    encode: &Encode,
    wanted: &StillWanted,
    counters: &Counters,
) {
    let mut parts = vec![texts];
    while let Some(mut texts) = parts.pop() {
        texts.retain(|text| !text.call.is_over());
        if texts.is_empty() {
            continue;
        }
        let Err(e) = run_once(lane, queue, encode, &texts, wanted, counters) else { continue };
        if let [text] = texts.as_slice() {
            text.call.fail_text(text.sequence.text, e);
        } else {
            log::line(LogLevel::Debug, || {
                format!("a run of {} texts did not succeed: {e}", texts.len())
            });
            let second = texts.split_off(texts.len() / 2);
            parts.extend([second, texts]);
        }
    }
}

/// Delivers all of the results or none: no text may be delivered again when a run is repeated.
fn run_once(
    lane: Lane,
    queue: &Queue,
    encode: &Encode,
    texts: &[Chosen],
    wanted: &StillWanted,
    counters: &Counters,
) -> Result<()> {
    let mut requests = memory::with_room(texts.len())?;
    requests.extend(texts.iter().map(|text| Request {
        ids: &text.sequence.ids,
        left_out: text.sequence.left_out,
        outputs: text.call.outputs(),
    }));
    let started = Instant::now();
    // A panic here is a bug, but not one that may take the other calls of the process along.
    let outcome = catch_unwind(AssertUnwindSafe(|| encode(lane.device(), &requests, wanted)))
        .unwrap_or_else(|_| Err(error!(Internal, "the runner of the model panicked")));
    // Before a call can end by this, so that its caller finds it counted.
    let took = started.elapsed();
    counters.inference(took);
    queue.has_run(lane, texts.iter().map(|text| text.sequence.ids.len()), took, outcome.is_ok());
    let outputs = outcome?;
    queue.has_results(lane);
    counters.batch(texts.len(), texts.iter().map(|text| text.sequence.ids.len()).sum());
    for (text, output) in texts.iter().zip(outputs) {
        match output {
            Ok(output) => text.call.deliver(text.sequence.text, output),
            Err(e) => {
                // Before the call can end by this, likewise.
                counters.text_failure(&e);
                text.call.fail_text(text.sequence.text, e);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
