//! The calls that wait for inference, and those of the runs under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::choose::{Batch, Chosen, Terms, WaitingCall, choose, choose_short};
use super::gather::{ENOUGH_TOKENS, Gather};
use super::pace::Pace;
use super::{Call, Ceiling, Sequence};
use crate::error::{Error, error};

/// The most tokens of a run beside a long one, and of a call that is taken into it: little work and
/// little memory beside what the long run takes.
pub(super) const SHORT_TOKENS: usize = 128;
/// After a run beside a long one, the long one has the processor to itself for as long as that run
/// took, divided by this.
const REST_DIVISOR: u32 = 2;

/// A run for a GPU gains little by more tokens than the most it may have, divided by this.
const GPU_ENOUGH_DIVISOR: usize = 4;

/// Calls count as lost of late for so many runs.
const LOSING_RUNS: u32 = 16;

/// What a runner thread takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Whatever waits, for one of the model's devices, by its place among them.
    Main(usize),
    /// Short calls, beside a long run of the main lane: on the processor, which is one device.
    Express,
}

impl Lane {
    /// Its place among the lanes of a queue.
    fn index(self) -> usize {
        match self {
            Self::Main(device) => device,
            Self::Express => 1,
        }
    }

    /// The device that its runs are for.
    pub fn device(self) -> usize {
        match self {
            Self::Main(device) => device,
            Self::Express => 0,
        }
    }
}

/// One queue per model, shared by all calling threads and its runner.
pub(crate) struct Queue {
    tokens_max: usize,
    /// Tokens of a run beside a long one; zero: there is none.
    short_max: usize,
    /// GPUs, each of which is fed by one thread; zero: the processor runs the model.
    gpus: usize,
    state: Mutex<State>,
    /// Rung when there may be something to take, for one of the main lanes that wait.
    main: Condvar,
    express: Condvar,
}

struct State {
    calls: VecDeque<WaitingCall>,
    /// The call of each text of the run under way, for each lane.
    running: Vec<Vec<Arc<Call>>>,
    /// Whether the run of the main lane is on the thread of a caller.
    here: bool,
    /// Whether the last run of the main lane was of several calls.
    shared: bool,
    /// Whether the run of the main lane is long.
    long: bool,
    /// The wait before the next run of the main lane.
    gather: Gather,
    /// How long runs of the main lanes take, and those of the express lane.
    pace: Pace,
    express_pace: Pace,
    /// Calls that were given up before their run.
    dropped: u64,
    /// Runs to come until the last call that was lost is forgotten.
    losing: u32,
    /// When the run of the express lane began, and when its next one may.
    express_began: Option<Instant>,
    express_rests_until: Option<Instant>,
    closed: bool,
}

/// What there is to do for a lane.
enum Next {
    Run(Vec<Chosen>),
    Wait(Option<Instant>),
}

impl Queue {
    /// A run takes at most `tokens_max` tokens, but for a single text that is longer; one beside it
    /// takes as many as the ceiling leaves. `width` is that of the model's states.
    pub fn new(tokens_max: usize, ceiling: Option<Ceiling>, width: usize) -> Self {
        let short_max = ceiling.map_or(SHORT_TOKENS, Ceiling::tokens_beside).min(tokens_max);
        Self::with(tokens_max, short_max, 0, width)
    }

    /// The queue of so many GPUs, each of which is fed by one thread, with one run at a time.
    pub fn of_gpus(tokens_max: usize, gpus: usize, width: usize) -> Self {
        Self::with(tokens_max, 0, gpus, width)
    }

    fn with(tokens_max: usize, short_max: usize, gpus: usize, width: usize) -> Self {
        let enough = if gpus == 0 { ENOUGH_TOKENS.min(tokens_max) } else { 0 };
        let state = State {
            calls: VecDeque::new(),
            running: vec![Vec::new(); lanes(gpus).len()],
            here: false,
            shared: false,
            long: false,
            gather: Gather::new(enough),
            pace: Pace::of(width),
            express_pace: Pace::of(width),
            dropped: 0,
            losing: 0,
            express_began: None,
            express_rests_until: None,
            closed: false,
        };
        Self {
            tokens_max,
            short_max,
            gpus,
            state: Mutex::new(state),
            main: Condvar::new(),
            express: Condvar::new(),
        }
    }

    /// The lanes, each of which wants a thread.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        lanes(self.gpus)
    }

    /// Hands in the texts of a call. It fails by itself if the queue is closed.
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
            let waiting = WaitingCall::new(call, sequences, &state.pace);
            if state.long && waiting.tokens() <= self.short_max {
                self.express.notify_one();
            }
            if state.gather.come(waiting.tokens()) {
                self.main.notify_one();
            }
            state.calls.push_back(waiting);
        }
    }

    /// Hands in the texts of a call, or gives them back for its own thread to run, if they are few and
    /// nothing else waits or runs: then nobody has to be woken. Not after a run of several calls,
    /// whose threads may be about to come again and had better share the next one, too. Until
    /// [`Queue::end_here`] the main lane is that thread's. Never for GPUs.
    pub(super) fn submit_or_run_here(
        &self,
        call: &Arc<Call>,
        sequences: Vec<Sequence>,
    ) -> Option<Vec<Chosen>> {
        let tokens: usize = sequences.iter().map(|sequence| sequence.ids.len()).sum();
        let mut state = self.state.lock();
        let main = Lane::Main(0).index();
        let is_idle = state.calls.is_empty() && state.running[main].is_empty() && !state.shared;
        let is_short = !sequences.is_empty() && tokens <= SHORT_TOKENS.min(self.tokens_max);
        if state.closed || !is_idle || !is_short || self.gpus > 0 {
            drop(state);
            self.submit(Arc::clone(call), sequences);
            return None;
        }
        state.here = true;
        state.running[main].push(Arc::clone(call));
        state.gather.begin(tokens, Instant::now());
        drop(state);
        let chosen = |sequence| Chosen { call: Arc::clone(call), sequence };
        Some(sequences.into_iter().map(chosen).collect())
    }

    /// Ends a run on the thread of a caller.
    pub(super) fn end_here(&self) {
        let mut state = self.state.lock();
        state.here = false;
        state.end_run(Lane::Main(0));
        // Also if they wait for company, since the runner keeps the time.
        if !state.calls.is_empty() {
            self.main.notify_one();
        }
    }

    /// Waits for texts and chooses those of the next run of a lane, whose last one has ended. `None`
    /// once the queue is closed.
    pub(super) fn next_run(&self, lane: Lane) -> Option<Vec<Chosen>> {
        let mut state = self.state.lock();
        state.end_run(lane);
        loop {
            if state.closed {
                return None;
            }
            let work = match lane {
                Lane::Main(_) => &self.main,
                Lane::Express => &self.express,
            };
            match self.next(&mut state, lane) {
                Next::Run(texts) => {
                    state.begin_run(lane, &texts);
                    return Some(texts);
                }
                Next::Wait(Some(until)) => _ = work.wait_until(&mut state, until),
                Next::Wait(None) => work.wait(&mut state),
            }
        }
    }

    fn terms<'a>(&self, tokens_max: usize, pace: &'a Pace, losing: bool) -> Terms<'a> {
        let enough = if self.gpus == 0 { ENOUGH_TOKENS } else { tokens_max / GPU_ENOUGH_DIVISOR };
        let (tokens_enough, devices) = (enough.min(tokens_max), self.gpus.max(1));
        Terms { tokens_max, tokens_enough, devices, losing, pace, now: Instant::now() }
    }

    /// A run of a lane, of texts of so many tokens, took so long; or longer, if it did not come to its
    /// end.
    pub(super) fn has_run(
        &self,
        lane: Lane,
        lengths: impl Iterator<Item = usize>,
        took: Duration,
        ended: bool,
    ) {
        let state = &mut *self.state.lock();
        let pace = match lane {
            Lane::Main(_) => &mut state.pace,
            Lane::Express => &mut state.express_pace,
        };
        let work = lengths.map(|tokens| pace.work(tokens)).fold(0, usize::saturating_add);
        pace.learn(work, took, ended);
    }

    /// Calls that were given up because they could not have ended in time.
    pub fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Has to be called between a run of a lane and the delivery of its results.
    pub(super) fn has_results(&self, lane: Lane) {
        if let Lane::Main(_) = lane {
            let mut state = self.state.lock();
            let waiting = state.calls.len();
            state.gather.results(waiting);
        }
    }

    fn next(&self, state: &mut State, lane: Lane) -> Next {
        let texts = match lane {
            Lane::Main(_) if state.here => Vec::new(),
            Lane::Main(_) => {
                if let Some(until) = state.gather.waits_until(Instant::now()) {
                    return Next::Wait(Some(until));
                }
                let terms = self.terms(self.tokens_max, &state.pace, state.losing > 0);
                let Batch { texts, long, dropped, loses } = choose(&mut state.calls, &terms);
                state.long = long;
                state.dropped += dropped;
                state.losing = if loses { LOSING_RUNS } else { state.losing.saturating_sub(1) };
                if !state.calls.is_empty() {
                    // A call rings once, and may have texts for all devices.
                    self.main.notify_one();
                    if long {
                        self.express.notify_one();
                    }
                }
                texts
            }
            Lane::Express if state.long => {
                let now = Instant::now();
                if let Some(until) = state.express_rests_until.filter(|&until| until > now) {
                    return Next::Wait(Some(until));
                }
                state.express_began = Some(now);
                let terms = self.terms(self.short_max, &state.express_pace, false);
                choose_short(&mut state.calls, &terms)
            }
            Lane::Express => Vec::new(),
        };
        if texts.is_empty() { Next::Wait(None) } else { Next::Run(texts) }
    }

    /// Whether somebody still waits for a result of the run of a lane. Asked once a layer, and
    /// mostly answered by the first call.
    pub(super) fn run_is_wanted(&self, lane: Lane) -> bool {
        self.state.lock().running[lane.index()].iter().any(|call| !call.is_over())
    }

    /// As if the run of the main lane had begun so much earlier.
    #[cfg(test)]
    pub(super) fn has_run_for(&self, time: Duration) {
        self.state.lock().gather.has_run_for(time);
    }

    #[cfg(test)]
    pub(super) fn is_gathering(&self) -> bool {
        self.state.lock().gather.is_open()
    }

    #[cfg(test)]
    pub(super) fn is_run_here(&self) -> bool {
        self.state.lock().here
    }

    #[cfg(test)]
    pub(super) fn is_running(&self) -> bool {
        self.state.lock().running.iter().any(|calls| !calls.is_empty())
    }

    /// Fails every call that waits or runs, and every later one.
    pub fn close(&self) {
        let (waiting, running) = {
            let mut state = self.state.lock();
            state.closed = true;
            self.main.notify_all();
            self.express.notify_all();
            (std::mem::take(&mut state.calls), state.running.clone())
        };
        let running = running.iter().flatten();
        for call in waiting.iter().map(|waiting| &waiting.call).chain(running) {
            call.fail(closed());
        }
    }
}

impl State {
    fn begin_run(&mut self, lane: Lane, texts: &[Chosen]) {
        self.running[lane.index()].extend(texts.iter().map(|text| Arc::clone(&text.call)));
        if let Lane::Main(_) = lane {
            let tokens = texts.iter().map(|text| text.sequence.ids.len()).sum();
            self.gather.begin(tokens, Instant::now());
        }
    }

    fn end_run(&mut self, lane: Lane) {
        if matches!(lane, Lane::Main(_)) && self.here {
            return;
        }
        let mut run = std::mem::take(&mut self.running[lane.index()]);
        match lane {
            Lane::Main(_) => {
                self.long = false;
                run.sort_unstable_by_key(Arc::as_ptr);
                run.dedup_by_key(|call| Arc::as_ptr(call));
                if !run.is_empty() {
                    self.shared = run.len() > 1;
                }
                let served = run.iter().filter(|call| call.is_over()).count();
                // No more of them than can be less than enough, since thousands may wait.
                let waiting = self.calls.iter().take(ENOUGH_TOKENS).map(WaitingCall::tokens);
                self.gather.end(served, self.calls.len(), waiting.sum(), Instant::now());
            }
            Lane::Express if !run.is_empty() => {
                let now = Instant::now();
                let took = self.express_began.map(|began| now - began).unwrap_or_default();
                self.express_rests_until = Some(now + took / REST_DIVISOR);
            }
            Lane::Express => {}
        }
    }
}

fn lanes(gpus: usize) -> Vec<Lane> {
    match gpus {
        0 => vec![Lane::Main(0), Lane::Express],
        gpus => (0..gpus).map(Lane::Main).collect(),
    }
}

fn closed() -> Error {
    error!(Closed, "the model was closed before the call could finish")
}

#[cfg(test)]
mod tests;
