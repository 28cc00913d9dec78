//! The calls that wait for inference, and which of their texts go into the next run.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{Call, Sequence};
use crate::error::{Error, error};

/// How far into a call the search for a text that fills the rest of a run goes.
const LOOK_AHEAD: usize = 64;

/// One queue per model, shared by all calling threads and its runner.
pub(crate) struct Queue {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    calls: VecDeque<WaitingCall>,
    /// The calls with a text in the current run.
    running: Vec<Arc<Call>>,
    closed: bool,
}

struct WaitingCall {
    call: Arc<Call>,
    sequences: VecDeque<Sequence>,
}

/// A text of the next run, and whose it is.
pub(super) struct Chosen {
    pub call: Arc<Call>,
    pub sequence: Sequence,
}

impl Queue {
    pub fn new() -> Self {
        Self { state: Mutex::default(), work: Condvar::new() }
    }

    /// Hands in the texts of a call. It fails by itself if the queue is closed.
    pub fn submit(&self, call: Arc<Call>, sequences: Vec<Sequence>) {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            call.fail(closed());
        } else if !sequences.is_empty() {
            state.calls.push_back(WaitingCall { call, sequences: sequences.into() });
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
                for text in &chosen {
                    if !state.running.iter().any(|call| Arc::ptr_eq(call, &text.call)) {
                        state.running.push(Arc::clone(&text.call));
                    }
                }
                return Some(chosen);
            }
            self.work.wait(&mut state);
        }
    }

    /// Whether somebody still waits for a result of the current run.
    pub fn run_is_wanted(&self) -> bool {
        let running = self.state.lock().running.clone();
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
/// bulk load. The call whose turn it is always gets its oldest text in, however long that is; so
/// with n calls waiting, each has one in at least every n-th run. Others join as far as they fit.
fn choose(calls: &mut VecDeque<WaitingCall>, tokens_max: usize) -> Vec<Chosen> {
    calls.retain(|waiting| !waiting.call.is_over());
    let mut chosen = Vec::new();
    let mut room = tokens_max;
    loop {
        let before = chosen.len();
        for waiting in calls.iter_mut() {
            let fits = |sequence: &Sequence| chosen.is_empty() || sequence.ids.len() <= room;
            // Texts wait in the order of the call; the longest that still fits fills the end.
            let index = match waiting.sequences.front() {
                None => continue,
                Some(front) if fits(front) => Some(0),
                Some(_) => {
                    let ahead = waiting.sequences.iter().take(LOOK_AHEAD).enumerate();
                    ahead
                        .filter(|(_, sequence)| fits(sequence))
                        .max_by_key(|(_, sequence)| sequence.ids.len())
                        .map(|(index, _)| index)
                }
            };
            if let Some(sequence) = index.and_then(|index| waiting.sequences.remove(index)) {
                room = room.saturating_sub(sequence.ids.len());
                chosen.push(Chosen { call: Arc::clone(&waiting.call), sequence });
            }
        }
        if chosen.len() == before || room == 0 {
            break;
        }
    }
    // The next turn begins with the call after the one that began this.
    if let Some(first) = calls.pop_front() {
        calls.push_back(first);
    }
    calls.retain(|waiting| !waiting.sequences.is_empty());
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(lengths: &[usize]) -> WaitingCall {
        let sequences = lengths
            .iter()
            .enumerate()
            .map(|(text, &length)| Sequence { text, ids: vec![0; length] })
            .collect();
        let call = Call::new(lengths.len(), 1, false, None, None).unwrap();
        WaitingCall { call, sequences }
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
    fn a_call_that_is_over_is_dropped() {
        let mut calls = VecDeque::from([waiting(&[1]), waiting(&[2])]);
        calls[0].call.fail(error!(Cancelled, "stopped"));
        assert_eq!(lengths(&choose(&mut calls, 20)), [2]);
        assert!(calls.is_empty());
    }
}
