//! The one thread of a model that runs inference.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;

use super::Queue;
use super::pack::pack;
use super::queue::Chosen;
use crate::error::{Result, error};
use crate::model_dir::Pooling;
use crate::pooling::{normalize, pool};
use crate::runtime::EncoderSession;
use crate::stats::Counters;

/// What the runner has to know of the model.
#[derive(Clone, Copy)]
pub(crate) struct RunnerSettings {
    pub pooling: Pooling,
    pub normalize: bool,
    pub hidden: usize,
    pub pad_id: u32,
    pub batch_tokens_max: usize,
}

pub(crate) struct Runner {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Runner {
    /// Starts the thread, which owns the session from then on.
    pub fn start(
        session: EncoderSession,
        queue: Arc<Queue>,
        counters: Arc<Counters>,
        settings: RunnerSettings,
    ) -> Result<Self> {
        let thread = std::thread::Builder::new()
            .name("bge-runner".into())
            .spawn({
                let queue = Arc::clone(&queue);
                move || run(session, &queue, &counters, settings)
            })
            .map_err(|e| error!(OutOfMemory, "no thread could be started: {e}"))?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)) })
    }

    /// Ends every call that has not finished, and the thread.
    pub fn close(&self) {
        self.queue.close();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

fn run(mut session: EncoderSession, queue: &Queue, counters: &Counters, settings: RunnerSettings) {
    while let Some(texts) = queue.next_run(settings.batch_tokens_max) {
        let started = Instant::now();
        // A panic here is a bug, but not one that may take the other calls of the process along.
        let outcome =
            catch_unwind(AssertUnwindSafe(|| run_batch(&mut session, &texts, counters, settings)))
                .unwrap_or_else(|_| Err(error!(Internal, "the runner of the model panicked")));
        counters.inference(started.elapsed());
        if let Err(e) = outcome {
            for text in &texts {
                text.call.fail(e.clone());
            }
        }
    }
}

fn run_batch(
    session: &mut EncoderSession,
    texts: &[Chosen],
    counters: &Counters,
    settings: RunnerSettings,
) -> Result<()> {
    let sequences = texts.iter().map(|text| text.sequence.ids.as_slice());
    let inputs = pack(sequences, settings.pooling, settings.pad_id);
    counters.batch(texts.len(), inputs.input_ids.len());
    session.run(&inputs, |hidden| {
        for (text, bounds) in texts.iter().zip(inputs.row_offsets.windows(2)) {
            let rows = &hidden[bounds[0] as usize * settings.hidden..]
                [..(bounds[1] - bounds[0]) as usize * settings.hidden];
            text.call.deliver(text.sequence.text, |vector| {
                pool(settings.pooling, rows, vector);
                if settings.normalize || text.call.normalize {
                    normalize(vector);
                }
            });
        }
    })
}
