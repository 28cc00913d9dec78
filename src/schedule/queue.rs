//! The calls that wait for inference, and which of their texts go into the next run.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{Call, Sequence};
use crate::error::{Error, error};

/// How far into a call the search for a text that fills the rest of a run goes.
const LOOK_AHEAD: usize = 64;
/// The special tokens at both ends. No run can have a text of more calls than it has room for
/// these.
const TEXT_TOKENS_MIN: usize = 2;

/// One queue per model, shared by all calling threads and its runner.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    calls: VecDeque<WaitingCall>,
    /// The call of each text in the current run.
    running: Vec<Arc<Call>>,
    closed: bool,
}

struct WaitingCall {
    call: Arc<Call>,
    sequences: VecDeque<Sequence>,
    /// Has a text in the run that is being put together.
    served: bool,
}

/// A text of the next run, and whose it is.
pub(super) struct Chosen {
    pub call: Arc<Call>,
    pub sequence: Sequence,
}

impl Queue {
    pub fn new() -> Self {
        Self::default()
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
            state.calls.push_back(WaitingCall { call, sequences: sequences.into(), served: false });
            self.work.notify_one();
        }
    }

    /// Waits for texts and chooses those of the next run, at most `tokens_max` tokens of them but
    /// at least one text. `None` once the queue is closed.
    pub(super) fn next_run(&self, tokens_max: usize) -> Option<Vec<Chosen>> {
        let mut state = self.state.lock();
        state.running.clear();
        loop {
            if state.closed {
                return None;
            }
            let chosen = choose(&mut state.calls, tokens_max);
            if !chosen.is_empty() {
                state.running.extend(chosen.iter().map(|text| Arc::clone(&text.call)));
                return Some(chosen);
            }
            self.work.wait(&mut state);
        }
    }

    /// Whether somebody still waits for a result of the current run. Asked once a layer, and mostly
    /// answered by the first call.
    pub fn run_is_wanted(&self) -> bool {
        let running = &self.state.lock().running;
        running.is_empty() || running.iter().any(|call| !call.is_over())
    }

    /// Fails every call that waits or runs, and every later one.
    pub fn close(&self) {
        let (waiting, running) = {
            let mut state = self.state.lock();
            state.closed = true;
            self.work.notify_all();
            (std::mem::take(&mut state.calls), state.running.clone())
        };
        for call in waiting.iter().map(|waiting| &waiting.call).chain(&running) {
            call.fail(closed());
        }
    }
}

fn closed() -> Error {
    error!(Closed, "the model was closed before the call could finish")
}

/// Takes turns between calls, one text each, so that a single query does not wait behind all of a
/// bulk load.
///
/// The first call always gets its oldest text in, however long that is; others join as far as they
/// fit. Then calls that were passed over come before those that were served. So every run brings a
/// call nearer to the front, and what waits behind n calls waits for n runs at most.
fn choose(calls: &mut VecDeque<WaitingCall>, tokens_max: usize) -> Vec<Chosen> {
    // Not all of them: thousands may wait, and looking at each before every run would cost the
    // square of their number.
    let calls_max = (tokens_max / TEXT_TOKENS_MIN).max(1);
    let mut candidates = Vec::new();
    while candidates.len() < calls_max
        && let Some(waiting) = calls.pop_front()
    {
        if !waiting.call.is_over() {
            candidates.push(waiting);
        }
    }
    let mut chosen = Vec::new();
    let mut room = tokens_max;
    // The room only shrinks, so a call of which nothing fits is not asked again.
    let mut asked: Vec<usize> = (0..candidates.len()).collect();
    while room > 0 && !asked.is_empty() {
        asked.retain(|&index| {
            let waiting = &mut candidates[index];
            let limit = if chosen.is_empty() { usize::MAX } else { room };
            let Some(sequence) = waiting.take(limit) else { return false };
            waiting.served = true;
            room = room.saturating_sub(sequence.ids.len());
            chosen.push(Chosen { call: Arc::clone(&waiting.call), sequence });
            true
        });
    }
    let (served, passed_over): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|waiting| waiting.served);
    for waiting in passed_over.into_iter().rev() {
        calls.push_front(waiting);
    }
    let unfinished = served.into_iter().filter(|waiting| !waiting.sequences.is_empty());
    calls.extend(unfinished.map(|waiting| WaitingCall { served: false, ..waiting }));
    chosen
}

impl WaitingCall {
    /// Takes the oldest text, or if that does not fit, the longest of the next ones that does.
    fn take(&mut self, room: usize) -> Option<Sequence> {
        let ahead = self.sequences.iter().take(LOOK_AHEAD).map(|sequence| sequence.ids.len());
        let index = match self.sequences.front()?.ids.len() <= room {
            true => 0,
            false => {
                let fitting = ahead.enumerate().filter(|&(_, length)| length <= room);
                fitting.max_by_key(|&(index, length)| (length, Reverse(index)))?.0
            }
        };
        self.sequences.remove(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Format;

    fn waiting(lengths: &[usize]) -> WaitingCall {
        let sequences = lengths
            .iter()
            .enumerate()
            .map(|(text, &length)| Sequence { text, ids: vec![0; length], left_out: 0 })
            .collect();
        let call = Call::new(lengths.len(), Format::dense(1), None, None).unwrap();
        WaitingCall { call, sequences, served: false }
    }

    fn lengths(chosen: &[Chosen]) -> Vec<usize> {
        chosen.iter().map(|text| text.sequence.ids.len()).collect()
    }

    #[test]
    fn a_query_does_not_wait_behind_a_bulk_call() {
        let mut calls = VecDeque::from([waiting(&[10; 100]), waiting(&[7])]);
        assert_eq!(lengths(&choose(&mut calls, 40)), [10, 7, 10, 10]);
        assert_eq!(calls.len(), 1);
    }

    #[test]
    fn a_text_longer_than_the_limit_runs_alone() {
        let mut calls = VecDeque::from([waiting(&[100, 3])]);
        assert_eq!(lengths(&choose(&mut calls, 40)), [100]);
        assert_eq!(lengths(&choose(&mut calls, 40)), [3]);
        assert!(calls.is_empty());
    }

    #[test]
    fn short_texts_fill_a_run_but_do_not_overtake_for_ever() {
        let mut calls = VecDeque::from([waiting(&[5, 30, 4, 8])]);
        assert_eq!(lengths(&choose(&mut calls, 20)), [5, 8, 4]);
        assert_eq!(lengths(&choose(&mut calls, 20)), [30]);
    }

    #[test]
    fn every_call_has_its_turn_under_a_stream_of_others() {
        let mut calls = VecDeque::from([waiting(&[500])]);
        calls.push_front(waiting(&[10; 50]));
        let mut runs = 0;
        while calls.iter().any(|waiting| waiting.sequences.len() == 1) {
            choose(&mut calls, 20);
            runs += 1;
            calls.push_back(waiting(&[10; 50]));
        }
        assert_eq!(runs, 2);
    }

    #[test]
    fn a_query_behind_many_bulk_calls_waits_for_one_round_of_them() {
        let mut calls: VecDeque<_> = (0..100).map(|_| waiting(&[10; 50])).collect();
        calls.push_back(waiting(&[7]));
        let mut runs = 0;
        while calls.iter().any(|waiting| waiting.sequences.len() == 1) {
            choose(&mut calls, 100);
            runs += 1;
        }
        // Ten calls a run.
        assert_eq!(runs, 11);
    }

    #[test]
    fn the_oldest_of_texts_that_fit_equally_goes_first() {
        let mut call = waiting(&[9, 4, 5, 5]);
        assert_eq!(call.take(6).unwrap().text, 2);
        assert_eq!(call.take(6).unwrap().text, 3);
        assert_eq!(call.take(3).map(|sequence| sequence.text), None);
    }

    #[test]
    fn a_run_is_wanted_while_one_of_its_calls_is() {
        let queue = Queue::new();
        let calls: Vec<_> =
            (0..2).map(|_| Call::new(1, Format::dense(1), None, None).unwrap()).collect();
        for call in &calls {
            queue
                .submit(Arc::clone(call), vec![Sequence { text: 0, ids: vec![0; 3], left_out: 0 }]);
        }
        // Nothing runs yet: what the model does to warm up is wanted.
        assert!(queue.run_is_wanted());
        assert_eq!(queue.next_run(10).unwrap().len(), 2);
        calls[0].fail(error!(Cancelled, "stopped"));
        assert!(queue.run_is_wanted());
        calls[1].fail(error!(Cancelled, "stopped"));
        assert!(!queue.run_is_wanted());
    }

    #[test]
    fn closing_fails_calls_that_wait_run_or_come_later() {
        let queue = Queue::new();
        let call = |texts| Call::new(texts, Format::dense(1), None, None).unwrap();
        let submit = |call: &Arc<Call>, texts| {
            let sequence = |text| Sequence { text, ids: vec![0; 3], left_out: 0 };
            queue.submit(Arc::clone(call), (0..texts).map(sequence).collect());
        };
        let (running, waiting, late, empty) = (call(1), call(1), call(1), call(0));
        submit(&running, 1);
        queue.next_run(10).unwrap();
        submit(&waiting, 1);
        queue.close();
        submit(&late, 1);
        submit(&empty, 0);
        for call in [running, waiting, late, empty] {
            assert_eq!(call.wait().unwrap_err().kind(), crate::error::ErrorKind::Closed);
        }
        assert!(queue.next_run(10).is_none());
    }

    #[test]
    fn a_call_that_is_over_is_dropped() {
        let mut calls = VecDeque::from([waiting(&[1]), waiting(&[2])]);
        calls[0].call.fail(error!(Cancelled, "stopped"));
        assert_eq!(lengths(&choose(&mut calls, 20)), [2]);
        assert!(calls.is_empty());
    }

    #[test]
    fn calls_that_are_over_hide_none_behind_them() {
        let mut calls: VecDeque<_> = (0..1000).map(|_| waiting(&[1])).collect();
        calls.iter().for_each(|waiting| waiting.call.fail(error!(Cancelled, "stopped")));
        calls.push_back(waiting(&[2]));
        assert_eq!(lengths(&choose(&mut calls, 20)), [2]);
    }

    #[test]
    fn every_text_is_chosen_once_and_in_time_whatever_waits() {
        for tokens_max in [1, 7, 64, 1000] {
            let mut calls: VecDeque<_> = (0..200)
                .map(|call| {
                    waiting(&(0..call % 7 + 1).map(|i| 2 + call * i % 90).collect::<Vec<_>>())
                })
                .collect();
            let total: usize = calls.iter().map(|waiting| waiting.sequences.len()).sum();
            let mut seen = std::collections::HashSet::new();
            // Kept, so that no two calls get the same address.
            let mut kept = Vec::new();
            while !calls.is_empty() {
                let first = Arc::as_ptr(&calls[0].call);
                let chosen = choose(&mut calls, tokens_max);
                assert_eq!(Arc::as_ptr(&chosen[0].call), first);
                let tokens: usize = lengths(&chosen).iter().sum();
                assert!(tokens <= tokens_max || chosen.len() == 1);
                for text in &chosen {
                    assert!(seen.insert((Arc::as_ptr(&text.call), text.sequence.text)));
                }
                kept.push(chosen);
            }
            assert_eq!(seen.len(), total);
        }
    }
}
