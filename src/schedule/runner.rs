//! The threads of a model that run inference: one for each worker of the queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;

use super::batch::BatchText;
use super::call::{Call, Sequence};
use super::queue::{Queue, Worker};
use super::request::{BatchEncoder, Request};
use crate::error::{Result, error};
use crate::log::{self, LogLevel};
use crate::memory;
use crate::stats::Counters;
use crate::stop::StillWanted;

/// A batch on the thread of a caller takes the turn of this worker.
const CALLERS_WORKER: Worker = Worker::Device(0);

pub(crate) struct Runner {
    queue: Arc<Queue>,
    /// Runs batches on the threads of callers.
    on_caller: Executor,
    /// Locked while the threads end, so that every thread that closes waits for that.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Runs the batches of one worker.
struct Executor {
    worker: Worker,
    queue: Arc<Queue>,
    encoder: Arc<dyn BatchEncoder>,
    counters: Arc<Counters>,
    /// Whether any caller waits for the batch of the worker.
    still_wanted: StillWanted,
}

impl Runner {
    /// Starts a thread for each worker.
    pub fn start(
        encoder: Arc<dyn BatchEncoder>,
        queue: Arc<Queue>,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let executor = |worker| Executor::new(worker, &queue, &encoder, &counters);
        let runner = Self {
            queue: Arc::clone(&queue),
            on_caller: executor(CALLERS_WORKER),
            threads: Mutex::default(),
        };
        for worker in queue.workers() {
            let name = if worker == Worker::Short { "bge-short" } else { "bge-runner" };
            let executor = executor(worker);
            let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
                let _ = catch_unwind(AssertUnwindSafe(|| executor.run_until_closed()));
                // Should a bug end the thread, no caller may wait for it for ever.
                executor.queue.close();
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

    /// Submits the texts of a call whose thread will wait for it, or runs them on that thread.
    pub fn submit(&self, call: &Arc<Call>, sequences: Vec<Sequence>) {
        struct End<'a>(&'a Queue);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.end_on_caller();
            }
        }
        if let Some(texts) = self.queue.submit_or_run_on_caller(call, sequences) {
            let _end = End(&self.queue);
            self.on_caller.run_in_parts(texts);
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

impl Executor {
    fn new(
        worker: Worker,
        queue: &Arc<Queue>,
        encoder: &Arc<dyn BatchEncoder>,
        counters: &Arc<Counters>,
    ) -> Self {
        let asked = Arc::clone(queue);
        Self {
            worker,
            queue: Arc::clone(queue),
            encoder: Arc::clone(encoder),
            counters: Arc::clone(counters),
            still_wanted: Arc::new(move || asked.is_still_wanted(worker)),
        }
    }

    fn run_until_closed(&self) {
        while let Some(texts) = self.queue.next_batch(self.worker) {
            self.run_in_parts(texts);
        }
    }

    /// Runs a batch. If it fails, it is tried again in halves, until the text at fault is alone:
    /// its batch-mates belong to other calls, and a batch for which there was too little memory may
    /// fit in parts. The other texts of a call that has failed are left out, so that few halves
    /// run.
    fn run_in_parts(&self, texts: Vec<BatchText>) {
        let mut parts = vec![texts];
        while let Some(mut texts) = parts.pop() {
            texts.retain(|text| !text.call.is_over());
            if texts.is_empty() {
                continue;
            }
            let Err(e) = self.run(&texts) else { continue };
            if let [text] = texts.as_slice() {
                // Past the deadline, that is why the batch was stopped.
                if !text.call.expire_if_due() {
                    text.call.fail_text(text.sequence.text, e);
                }
            } else {
                log::line(LogLevel::Debug, || {
                    format!("a run of {} texts did not succeed: {e}", texts.len())
                });
                let second = texts.split_off(texts.len() / 2);
                parts.extend([second, texts]);
            }
        }
    }

    /// Delivers all of the results or none: no text may be delivered twice when a batch is
    /// repeated.
    fn run(&self, texts: &[BatchText]) -> Result<()> {
        let Self { worker, queue, encoder, counters, still_wanted } = self;
        let token_counts = || texts.iter().map(|text| text.sequence.ids.len());
        let mut requests = memory::with_room(texts.len())?;
        requests.extend(texts.iter().map(|text| Request {
            ids: &text.sequence.ids,
            prompt_tokens: text.sequence.prompt_tokens,
            outputs: text.call.outputs(),
        }));
        let started = Instant::now();
        // A panic in the encoder is a bug, but must not end the other calls of the process.
        let run = || encoder.encode(worker.device(), &requests, still_wanted);
        let outcome = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(error!(Internal, "the runner of the model panicked")));
        // Counted before a call can end by this batch, so that its caller finds it counted.
        let took = started.elapsed();
        counters.inference(took);
        queue.record_time(*worker, token_counts(), took, outcome.is_ok());
        let outputs = outcome?;
        queue.on_results(*worker);
        counters.batch(texts.len(), token_counts().sum());
        for (text, output) in texts.iter().zip(outputs) {
            match output {
                Ok(output) => text.call.deliver(text.sequence.text, output),
                Err(e) => {
                    counters.text_failure(&e);
                    text.call.fail_text(text.sequence.text, e);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
