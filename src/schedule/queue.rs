//! The calls that wait for inference, and those of the runs under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::choose::{Batch, Chosen, WaitingCall, choose, choose_short};
use super::{Call, Ceiling, Sequence};
use crate::error::{Error, error};

/// The most tokens of a run beside a long one, and of a call that is taken into it: little work and
/// little memory beside what the long run takes.
pub(super) const SHORT_TOKENS: usize = 128;
/// After a run beside a long one, the long one has the processor to itself for as long as that run
/// took, divided by this.
const REST_DIVISOR: u32 = 2;

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

#[derive(Default)]
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
    /// takes as many as the ceiling leaves.
    pub fn new(tokens_max: usize, ceiling: Option<Ceiling>) -> Self {
        let short_max = ceiling.map_or(SHORT_TOKENS, Ceiling::tokens_beside).min(tokens_max);
        Self::with(tokens_max, short_max, 0)
    }

    /// The queue of so many GPUs, each of which is fed by one thread, with one run at a time.
    pub fn of_gpus(tokens_max: usize, gpus: usize) -> Self {
        Self::with(tokens_max, 0, gpus)
    }

    fn with(tokens_max: usize, short_max: usize, gpus: usize) -> Self {
        let queue = Self {
            tokens_max,
            short_max,
            gpus,
            state: Mutex::default(),
            main: Condvar::new(),
            express: Condvar::new(),
        };
        queue.state.lock().running = vec![Vec::new(); queue.lanes().len()];
        queue
    }

    /// The lanes, each of which wants a thread.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        match self.gpus {
            0 => vec![Lane::Main(0), Lane::Express],
            gpus => (0..gpus).map(Lane::Main).collect(),
        }
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
            let waiting = WaitingCall::new(call, sequences);
            if state.long && waiting.tokens() <= self.short_max {
                self.express.notify_one();
            }
            state.calls.push_back(waiting);
            self.main.notify_one();
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
        drop(state);
        let chosen = |sequence| Chosen { call: Arc::clone(call), sequence };
        Some(sequences.into_iter().map(chosen).collect())
    }

    /// Ends a run on the thread of a caller.
    pub(super) fn end_here(&self) {
        let mut state = self.state.lock();
        state.here = false;
        state.end_run(Lane::Main(0));
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
                    let calls = texts.iter().map(|text| Arc::clone(&text.call));
                    state.running[lane.index()].extend(calls);
                    return Some(texts);
                }
                Next::Wait(Some(until)) => _ = work.wait_until(&mut state, until),
                Next::Wait(None) => work.wait(&mut state),
            }
        }
    }

    fn next(&self, state: &mut State, lane: Lane) -> Next {
        let texts = match lane {
            Lane::Main(_) if state.here => Vec::new(),
            Lane::Main(_) => {
                let Batch { texts, long } = choose(&mut state.calls, self.tokens_max);
                state.long = long;
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
                choose_short(&mut state.calls, self.short_max)
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
    fn end_run(&mut self, lane: Lane) {
        if matches!(lane, Lane::Main(_)) && self.here {
            return;
        }
        let run = std::mem::take(&mut self.running[lane.index()]);
        match lane {
            Lane::Main(_) => {
                self.long = false;
                if let [first, others @ ..] = run.as_slice() {
                    self.shared = others.iter().any(|call| !Arc::ptr_eq(call, first));
                }
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

fn closed() -> Error {
    error!(Closed, "the model was closed before the call could finish")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;
    use crate::schedule::Format;

    fn submit(queue: &Queue, lengths: &[usize]) -> Arc<Call> {
        let call = Call::new(lengths.len(), Format::dense(1), None, None).unwrap();
        let sequence =
            |(text, &length): (usize, &usize)| Sequence { text, ids: vec![0; length], left_out: 0 };
        queue.submit(Arc::clone(&call), lengths.iter().enumerate().map(sequence).collect());
        call
    }

    /// The lengths of the texts of the next run, or none if the lane would wait.
    fn now(queue: &Queue, lane: Lane) -> Option<Vec<usize>> {
        let mut state = queue.state.lock();
        state.end_run(lane);
        match queue.next(&mut state, lane) {
            Next::Wait(_) => None,
            Next::Run(texts) => {
                let calls = texts.iter().map(|text| Arc::clone(&text.call));
                state.running[lane.index()].extend(calls);
                Some(texts.iter().map(|text| text.sequence.ids.len()).collect())
            }
        }
    }

    #[test]
    fn a_run_is_wanted_while_one_of_its_calls_is() {
        let queue = Queue::new(10, None);
        let calls = [submit(&queue, &[3]), submit(&queue, &[3])];
        assert_eq!(queue.next_run(Lane::Main(0)).unwrap().len(), 2);
        calls[0].fail(error!(Cancelled, "stopped"));
        assert!(queue.run_is_wanted(Lane::Main(0)));
        calls[1].fail(error!(Cancelled, "stopped"));
        assert!(!queue.run_is_wanted(Lane::Main(0)));
    }

    #[test]
    fn closing_fails_calls_that_wait_run_or_come_later() {
        let queue = Queue::new(1000, None);
        let running = submit(&queue, &[600]);
        queue.next_run(Lane::Main(0)).unwrap();
        let beside = submit(&queue, &[3]);
        queue.next_run(Lane::Express).unwrap();
        let waiting = submit(&queue, &[3]);
        queue.close();
        let (late, empty) = (submit(&queue, &[3]), submit(&queue, &[]));
        for call in [running, beside, waiting, late, empty] {
            assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::Closed);
        }
        assert!(queue.next_run(Lane::Main(0)).is_none());
        assert!(queue.next_run(Lane::Express).is_none());
    }

    #[test]
    fn short_calls_pass_a_long_run_and_nothing_else() {
        let queue = Queue::new(1000, None);
        submit(&queue, &[3]);
        assert_eq!(now(&queue, Lane::Express), None);
        assert_eq!(now(&queue, Lane::Main(0)), Some(vec![3]));
        submit(&queue, &[4]);
        assert_eq!(now(&queue, Lane::Express), None);
        submit(&queue, &[600]);
        assert_eq!(now(&queue, Lane::Main(0)), Some(vec![4, 600]));
        for tokens in [&[600][..], &[100, 100], &[5], &[6, 7], &[128]] {
            submit(&queue, tokens);
        }
        assert_eq!(now(&queue, Lane::Express), Some(vec![5, 6, 7]));
        queue.state.lock().express_began = None;
        assert_eq!(now(&queue, Lane::Express), Some(vec![128]));
        // What does not pass has its turn.
        assert_eq!(now(&queue, Lane::Main(0)), Some(vec![600, 100, 100]));
    }

    #[test]
    fn a_run_beside_a_long_one_is_no_larger_than_any_may_be() {
        let queue = Queue::new(50, None);
        submit(&queue, &[600]);
        assert_eq!(now(&queue, Lane::Main(0)), Some(vec![600]));
        for tokens in [&[60][..], &[30, 30], &[30], &[20, 1]] {
            submit(&queue, tokens);
        }
        assert_eq!(now(&queue, Lane::Express), Some(vec![30]));
    }

    #[test]
    fn a_long_run_has_the_processor_to_itself_between_runs_beside_it() {
        let queue = Queue::new(1000, None);
        submit(&queue, &[600]);
        now(&queue, Lane::Main(0));
        submit(&queue, &[5]);
        assert_eq!(now(&queue, Lane::Express), Some(vec![5]));
        let hour = Duration::from_secs(3600);
        queue.state.lock().express_began = Instant::now().checked_sub(hour);
        submit(&queue, &[6]);
        assert_eq!(now(&queue, Lane::Express), None);
        let rests = queue.state.lock().express_rests_until.unwrap() - Instant::now();
        assert!(rests > hour / 3 && rests < hour, "{rests:?}");
        // The main lane waits for nothing.
        assert_eq!(now(&queue, Lane::Main(0)), Some(vec![6]));
    }

    #[test]
    fn gpus_take_runs_of_one_call_side_by_side() {
        let queue = Queue::of_gpus(10, 2);
        assert_eq!(queue.lanes(), [Lane::Main(0), Lane::Main(1)]);
        let call = submit(&queue, &[6, 6, 6]);
        assert_eq!(now(&queue, Lane::Main(1)), Some(vec![6]));
        assert_eq!(now(&queue, Lane::Main(0)), Some(vec![6]));
        assert!(queue.run_is_wanted(Lane::Main(0)) && queue.run_is_wanted(Lane::Main(1)));
        assert_eq!(now(&queue, Lane::Main(1)), Some(vec![6]));
        assert_eq!(now(&queue, Lane::Main(1)), None);
        assert!(queue.run_is_wanted(Lane::Main(0)) && !queue.run_is_wanted(Lane::Main(1)));
        call.fail(error!(Cancelled, "stopped"));
        assert!(!queue.run_is_wanted(Lane::Main(0)));
    }
}
