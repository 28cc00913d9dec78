//! The calls that wait for inference, and the batches that run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::batch::{Batch, BatchText, Conditions, PendingCall, take_short_calls, take_turns};
use super::call::{Call, Sequence};
use super::linger::Linger;
use super::memory_limit::MemoryLimit;
use super::pace::Pace;
use super::policy::{
    ENOUGH_TOKENS, GPU_ENOUGH_DIVISOR, LOSS_MEMORY_BATCHES, REST_DIVISOR, SHORT_TOKENS,
};
use crate::error::{Error, error};

/// A thread that runs batches, by what it takes from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worker {
    /// Texts of any calls, for one of the model's devices, by its index. The processor is one
    /// device.
    Device(usize),
    /// Short calls, on the processor, beside a long batch of its device worker.
    Short,
}

impl Worker {
    /// The device that its batches run on.
    pub fn device(self) -> usize {
        match self {
            Self::Device(device) => device,
            Self::Short => 0,
        }
    }
}

/// The queue of a model, shared by all calling threads and its workers.
pub(crate) struct Queue {
    tokens_max: usize,
    /// The most tokens of a batch beside a long one. Zero: there is none.
    short_max: usize,
    /// GPUs, each of which has one worker. Zero: the processor runs the model.
    gpus: usize,
    state: Mutex<State>,
    /// Notified when a device worker that waits may have something to take.
    device_wake: Condvar,
    /// The same for the worker of short calls.
    short_wake: Condvar,
}

struct State {
    calls: VecDeque<PendingCall>,
    devices: Vec<DeviceRun>,
    short: ShortRun,
    /// The wait before the next batch of a device.
    linger: Linger,
    /// How long batches of the devices take, and those of the worker of short calls.
    pace: Pace,
    short_pace: Pace,
    /// Calls that were dropped before they ran because they could not have ended in time.
    dropped: u64,
    /// How many more batches are planned as if calls had just missed their deadlines.
    lossy_batches: u32,
    closed: bool,
}

/// What a device does.
enum DeviceRun {
    Idle {
        /// Whether its last batch had texts of several calls.
        last_was_shared: bool,
    },
    /// Its worker runs a batch.
    OnWorker {
        /// The call of each text.
        calls: Vec<Arc<Call>>,
        /// Whether short calls may run beside it.
        long: bool,
    },
    /// The caller's own thread runs a short call, for which the worker is not woken.
    OnCaller { call: Arc<Call> },
}

/// What the worker of short calls does.
enum ShortRun {
    Idle,
    Running {
        /// The call of each text.
        calls: Vec<Arc<Call>>,
        began: Instant,
    },
    /// It leaves the processor to the long batch.
    Resting {
        until: Instant,
    },
}

/// What a worker does next.
enum Next {
    Run(Batch),
    Wait(Option<Instant>),
}

impl Queue {
    /// The queue of the processor. A batch has at most `tokens_max` tokens, unless a single text
    /// has more; a batch of short calls beside it has what the memory limit leaves. `width` is the
    /// length of the model's states.
    pub fn for_cpu(tokens_max: usize, limit: Option<MemoryLimit>, width: usize) -> Self {
        let short_max = limit.map_or(SHORT_TOKENS, MemoryLimit::tokens_beside).min(tokens_max);
        Self::new(tokens_max, short_max, 0, width)
    }

    /// The queue of GPUs. Each has one worker, which runs one batch at a time.
    pub fn for_gpus(tokens_max: usize, gpus: usize, width: usize) -> Self {
        Self::new(tokens_max, 0, gpus, width)
    }

    fn new(tokens_max: usize, short_max: usize, gpus: usize, width: usize) -> Self {
        let enough = if gpus == 0 { ENOUGH_TOKENS.min(tokens_max) } else { 0 };
        let idle = || DeviceRun::Idle { last_was_shared: false };
        let state = State {
            calls: VecDeque::new(),
            devices: std::iter::repeat_with(idle).take(gpus.max(1)).collect(),
            short: ShortRun::Idle,
            linger: Linger::new(enough),
            pace: Pace::new(width),
            short_pace: Pace::new(width),
            dropped: 0,
            lossy_batches: 0,
            closed: false,
        };
        Self {
            tokens_max,
            short_max,
            gpus,
            state: Mutex::new(state),
            device_wake: Condvar::new(),
            short_wake: Condvar::new(),
        }
    }

    /// The workers, each of which needs a thread.
    pub(super) fn workers(&self) -> Vec<Worker> {
        match self.gpus {
            0 => vec![Worker::Device(0), Worker::Short],
            gpus => (0..gpus).map(Worker::Device).collect(),
        }
    }

    /// Submits the texts of a call. If the queue is closed, the call fails.
    pub fn submit(&self, call: Arc<Call>, sequences: Vec<Sequence>) {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            call.fail(closed());
        } else if sequences.is_empty() {
            drop(state);
            call.end_if_empty();
        } else {
            if state.calls.try_reserve(1).is_err() {
                drop(state);
                return call.fail(error!(OutOfMemory, "there is no memory for one more call"));
            }
            let pending = PendingCall::new(call, sequences, &state.pace);
            if state.a_long_batch_runs() && pending.tokens() <= self.short_max {
                self.short_wake.notify_one();
            }
            if state.linger.on_call(pending.tokens()) {
                self.device_wake.notify_one();
            }
            state.calls.push_back(pending);
        }
    }

    /// Submits the texts of a call, or returns them for its own thread to run, if they are few and
    /// nothing else waits or runs: then no thread has to be woken. Not after a batch of several
    /// calls, whose threads may be about to call again and had better share the next batch. Never
    /// for GPUs. The device is the caller's until [`Queue::end_on_caller`].
    pub(super) fn submit_or_run_on_caller(
        &self,
        call: &Arc<Call>,
        sequences: Vec<Sequence>,
    ) -> Option<Vec<BatchText>> {
        let tokens: usize = sequences.iter().map(|sequence| sequence.ids.len()).sum();
        let mut state = self.state.lock();
        let is_idle = state.calls.is_empty()
            && matches!(state.devices[0], DeviceRun::Idle { last_was_shared: false });
        let is_short = !sequences.is_empty() && tokens <= SHORT_TOKENS.min(self.tokens_max);
        if state.closed || !is_idle || !is_short || self.gpus > 0 {
            drop(state);
            self.submit(Arc::clone(call), sequences);
            return None;
        }
        state.devices[0] = DeviceRun::OnCaller { call: Arc::clone(call) };
        state.linger.on_batch_start(tokens, Instant::now());
        drop(state);
        let text = |sequence| BatchText { call: Arc::clone(call), sequence };
        Some(sequences.into_iter().map(text).collect())
    }

    /// Ends a batch on the thread of a caller.
    pub(super) fn end_on_caller(&self) {
        let mut state = self.state.lock();
        if let DeviceRun::OnCaller { call } = &state.devices[0] {
            let served = usize::from(call.is_over());
            state.end_device_batch(0, served, false);
        }
        // Also if the calls linger, since the worker keeps the time.
        if !state.calls.is_empty() {
            self.device_wake.notify_one();
        }
    }

    /// Ends the last batch of a worker, waits for texts, and takes those of its next batch. `None`
    /// once the queue is closed.
    pub(super) fn next_batch(&self, worker: Worker) -> Option<Vec<BatchText>> {
        let mut state = self.state.lock();
        state.end_batch(worker);
        loop {
            if state.closed {
                return None;
            }
            let wake = match worker {
                Worker::Device(_) => &self.device_wake,
                Worker::Short => &self.short_wake,
            };
            match self.next(&mut state, worker) {
                Next::Run(batch) => {
                    state.begin_batch(worker, &batch);
                    return Some(batch.texts);
                }
                Next::Wait(Some(until)) => _ = wake.wait_until(&mut state, until),
                Next::Wait(None) => wake.wait(&mut state),
            }
        }
    }

    fn next(&self, state: &mut State, worker: Worker) -> Next {
        let batch = match worker {
            Worker::Device(device) => {
                if let DeviceRun::OnCaller { .. } = state.devices[device] {
                    return Next::Wait(None);
                }
                if let Some(until) = state.linger.waits_until(Instant::now()) {
                    return Next::Wait(Some(until));
                }
                let recently_lost = state.lossy_batches > 0;
                let conditions = self.conditions(self.tokens_max, &state.pace, recently_lost);
                let batch = take_turns(&mut state.calls, &conditions);
                state.dropped += batch.dropped;
                state.lossy_batches = match batch.loses {
                    true => LOSS_MEMORY_BATCHES,
                    false => state.lossy_batches.saturating_sub(1),
                };
                if !state.calls.is_empty() {
                    // A call notifies once, and may have texts for all devices.
                    self.device_wake.notify_one();
                    if batch.long {
                        self.short_wake.notify_one();
                    }
                }
                batch
            }
            Worker::Short => {
                if !state.a_long_batch_runs() {
                    return Next::Wait(None);
                }
                if let ShortRun::Resting { until } = state.short
                    && until > Instant::now()
                {
                    return Next::Wait(Some(until));
                }
                let conditions = self.conditions(self.short_max, &state.short_pace, false);
                let texts = take_short_calls(&mut state.calls, &conditions);
                Batch { texts, long: false, dropped: 0, loses: false }
            }
        };
        if batch.texts.is_empty() { Next::Wait(None) } else { Next::Run(batch) }
    }

    fn conditions<'a>(
        &self,
        tokens_max: usize,
        pace: &'a Pace,
        recently_lost: bool,
    ) -> Conditions<'a> {
        let enough = if self.gpus == 0 { ENOUGH_TOKENS } else { tokens_max / GPU_ENOUGH_DIVISOR };
        let (tokens_enough, devices) = (enough.min(tokens_max), self.gpus.max(1));
        Conditions { tokens_max, tokens_enough, devices, recently_lost, pace, now: Instant::now() }
    }

    /// Records how long a batch of texts with these token counts took; if it was not `completed`,
    /// it would have taken longer.
    pub(super) fn record_time(
        &self,
        worker: Worker,
        token_counts: impl Iterator<Item = usize>,
        took: Duration,
        completed: bool,
    ) {
        let state = &mut *self.state.lock();
        let pace = match worker {
            Worker::Device(_) => &mut state.pace,
            Worker::Short => &mut state.short_pace,
        };
        let work = token_counts.map(|tokens| pace.work(tokens)).fold(0, usize::saturating_add);
        pace.record(work, took, completed);
    }

    /// Has to be called between a batch of a worker and the delivery of its results.
    pub(super) fn on_results(&self, worker: Worker) {
        if let Worker::Device(_) = worker {
            let mut state = self.state.lock();
            let waiting = state.calls.len();
            state.linger.on_results(waiting);
        }
    }

    /// Whether any caller still waits for a result of a worker's batch. Asked once a layer, and
    /// mostly answered by the first call.
    pub(super) fn is_still_wanted(&self, worker: Worker) -> bool {
        self.state.lock().running(worker).iter().any(|call| !call.is_over())
    }

    /// Calls that were dropped because they could not have ended in time.
    pub fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Fails every call that waits or runs, and every later one.
    pub fn close(&self) {
        let (waiting, running) = {
            let mut state = self.state.lock();
            state.closed = true;
            self.device_wake.notify_all();
            self.short_wake.notify_all();
            let workers = self.workers().into_iter();
            let running: Vec<_> =
                workers.flat_map(|worker| state.running(worker).to_vec()).collect();
            (std::mem::take(&mut state.calls), running)
        };
        for call in waiting.iter().map(|pending| &pending.call).chain(&running) {
            call.fail(closed());
        }
    }
}

impl State {
    fn a_long_batch_runs(&self) -> bool {
        self.devices.iter().any(|run| matches!(run, DeviceRun::OnWorker { long: true, .. }))
    }

    /// The calls in the batch of a worker, with repetitions.
    fn running(&self, worker: Worker) -> &[Arc<Call>] {
        match worker {
            Worker::Device(device) => match &self.devices[device] {
                DeviceRun::Idle { .. } => &[],
                DeviceRun::OnWorker { calls, .. } => calls,
                DeviceRun::OnCaller { call } => std::slice::from_ref(call),
            },
            Worker::Short => match &self.short {
                ShortRun::Idle | ShortRun::Resting { .. } => &[],
                ShortRun::Running { calls, .. } => calls,
            },
        }
    }

    fn begin_batch(&mut self, worker: Worker, batch: &Batch) {
        let calls = batch.texts.iter().map(|text| Arc::clone(&text.call)).collect();
        let now = Instant::now();
        match worker {
            Worker::Device(device) => {
                self.devices[device] = DeviceRun::OnWorker { calls, long: batch.long };
                let tokens = batch.texts.iter().map(|text| text.sequence.ids.len()).sum();
                self.linger.on_batch_start(tokens, now);
            }
            Worker::Short => self.short = ShortRun::Running { calls, began: now },
        }
    }

    /// Ends the batch of a worker, if it has one. A batch on the thread of a caller is not its own.
    fn end_batch(&mut self, worker: Worker) {
        match worker {
            Worker::Device(device) => {
                if let DeviceRun::OnWorker { calls, .. } = &mut self.devices[device] {
                    let mut calls = std::mem::take(calls);
                    calls.sort_unstable_by_key(Arc::as_ptr);
                    calls.dedup_by_key(|call| Arc::as_ptr(call));
                    let served = calls.iter().filter(|call| call.is_over()).count();
                    self.end_device_batch(device, served, calls.len() > 1);
                }
            }
            Worker::Short => {
                if let ShortRun::Running { began, .. } = self.short {
                    let now = Instant::now();
                    self.short = ShortRun::Resting { until: now + (now - began) / REST_DIVISOR };
                }
            }
        }
    }

    /// Ends the batch of a device. `served` calls ended with it.
    fn end_device_batch(&mut self, device: usize, served: usize, shared: bool) {
        self.devices[device] = DeviceRun::Idle { last_was_shared: shared };
        // More of them would be enough anyway, and thousands may wait.
        let waiting = self.calls.iter().take(ENOUGH_TOKENS).map(PendingCall::tokens);
        self.linger.on_batch_end(served, self.calls.len(), waiting.sum(), Instant::now());
    }
}

fn closed() -> Error {
    error!(Closed, "the model was closed before the call could finish")
}

#[cfg(test)]
mod tests;
