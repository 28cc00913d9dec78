//! Which of the texts that wait go into the next run.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use super::{Call, Sequence};

/// How far into a call the search for a text that fills the rest of a run goes.
const LOOK_AHEAD: usize = 64;
/// The special tokens at both ends. No run can have a text of more calls than it has room for
/// these.
const TEXT_TOKENS_MIN: usize = 2;
/// A run is long if so many of its tokens are of one call. Many callers with a short text each make
/// no long run: they share runs, and none of them would gain by leaving the others.
pub(super) const LONG_TOKENS: usize = 512;

/// A call with the texts of it that wait.
pub(super) struct WaitingCall {
    pub call: Arc<Call>,
    sequences: VecDeque<Sequence>,
    tokens: usize,
    /// Tokens in the run that is being put together, if it has a text there.
    taken: Option<usize>,
}

/// A text of the next run, and whose it is.
pub(super) struct Chosen {
    pub call: Arc<Call>,
    pub sequence: Sequence,
}

/// The texts of a run.
pub(super) struct Batch {
    pub texts: Vec<Chosen>,
    /// Whether a short call should pass it rather than wait for its end.
    pub long: bool,
}

/// Takes calls that have no more than `tokens_max` tokens in all, each as a whole and the oldest
/// first, and as many of them.
pub(super) fn choose_short(calls: &mut VecDeque<WaitingCall>, tokens_max: usize) -> Vec<Chosen> {
    let mut room = tokens_max;
    let mut places = Vec::new();
    for (place, waiting) in calls.iter().enumerate() {
        if waiting.tokens <= room && !waiting.call.is_over() {
            room -= waiting.tokens;
            places.push(place);
        }
        if room < TEXT_TOKENS_MIN {
            break;
        }
    }
    // From the back, so that those before keep their places.
    let mut taken: Vec<_> =
        places.into_iter().rev().filter_map(|place| calls.remove(place)).collect();
    taken.reverse();
    let texts = taken.into_iter().flat_map(|WaitingCall { call, sequences, .. }| {
        let chosen = move |sequence| Chosen { call: Arc::clone(&call), sequence };
        sequences.into_iter().map(chosen)
    });
    texts.collect()
}

/// Takes turns between calls, one text each, so that a single query does not wait behind all of a
/// bulk load.
///
/// The first call always gets its oldest text in, however long that is; others join as far as they
/// fit. Then calls that were passed over come before those that were served. So every run brings a
/// call nearer to the front, and what waits behind n calls waits for n runs at most.
pub(super) fn choose(calls: &mut VecDeque<WaitingCall>, tokens_max: usize) -> Batch {
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
            waiting.taken = Some(waiting.taken.unwrap_or(0) + sequence.ids.len());
            room = room.saturating_sub(sequence.ids.len());
            chosen.push(Chosen { call: Arc::clone(&waiting.call), sequence });
            true
        });
    }
    let long = candidates.iter().any(|waiting| waiting.taken >= Some(LONG_TOKENS));
    let (served, passed_over): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|waiting| waiting.taken.is_some());
    for waiting in passed_over.into_iter().rev() {
        calls.push_front(waiting);
    }
    let unfinished = served.into_iter().filter(|waiting| !waiting.sequences.is_empty());
    calls.extend(unfinished.map(|waiting| WaitingCall { taken: None, ..waiting }));
    Batch { texts: chosen, long }
}

impl WaitingCall {
    pub fn new(call: Arc<Call>, sequences: Vec<Sequence>) -> Self {
        let tokens = sequences.iter().map(|sequence| sequence.ids.len()).sum();
        Self { call, sequences: sequences.into(), tokens, taken: None }
    }

    /// The tokens of all its texts, those that have run included.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

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
    use crate::error::error;
    use crate::schedule::Format;

    fn waiting(lengths: &[usize]) -> WaitingCall {
        let sequences = lengths
            .iter()
            .enumerate()
            .map(|(text, &length)| Sequence { text, ids: vec![0; length], left_out: 0 })
            .collect();
        let call = Call::new(lengths.len(), Format::dense(1), None, None).unwrap();
        WaitingCall::new(call, sequences)
    }

    fn lengths(chosen: &[Chosen]) -> Vec<usize> {
        chosen.iter().map(|text| text.sequence.ids.len()).collect()
    }

    fn chosen(calls: &mut VecDeque<WaitingCall>, tokens_max: usize) -> Vec<usize> {
        lengths(&choose(calls, tokens_max).texts)
    }

    #[test]
    fn a_query_does_not_wait_behind_a_bulk_call() {
        let mut calls = VecDeque::from([waiting(&[10; 100]), waiting(&[7])]);
        assert_eq!(chosen(&mut calls, 40), [10, 7, 10, 10]);
        assert_eq!(calls.len(), 1);
    }

    #[test]
    fn a_text_longer_than_the_limit_runs_alone() {
        let mut calls = VecDeque::from([waiting(&[100, 3])]);
        assert_eq!(chosen(&mut calls, 40), [100]);
        assert_eq!(chosen(&mut calls, 40), [3]);
        assert!(calls.is_empty());
    }

    #[test]
    fn short_texts_fill_a_run_but_do_not_overtake_for_ever() {
        let mut calls = VecDeque::from([waiting(&[5, 30, 4, 8])]);
        assert_eq!(chosen(&mut calls, 20), [5, 8, 4]);
        assert_eq!(chosen(&mut calls, 20), [30]);
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
    fn a_call_that_is_over_is_dropped() {
        let mut calls = VecDeque::from([waiting(&[1]), waiting(&[2])]);
        calls[0].call.fail(error!(Cancelled, "stopped"));
        assert_eq!(chosen(&mut calls, 20), [2]);
        assert!(calls.is_empty());
    }

    #[test]
    fn calls_that_are_over_hide_none_behind_them() {
        let mut calls: VecDeque<_> = (0..1000).map(|_| waiting(&[1])).collect();
        calls.iter().for_each(|waiting| waiting.call.fail(error!(Cancelled, "stopped")));
        calls.push_back(waiting(&[2]));
        assert_eq!(chosen(&mut calls, 20), [2]);
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
                let chosen = choose(&mut calls, tokens_max).texts;
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

    #[test]
    fn a_run_is_long_by_the_tokens_of_one_call() {
        let mut many: VecDeque<_> = (0..200).map(|_| waiting(&[10])).collect();
        assert!(!choose(&mut many, 2000).long);
        for (lengths, long) in [
            (&[LONG_TOKENS][..], true),
            (&[LONG_TOKENS - 1], false),
            (&[100; 10], true),
            (&[100; 5], false),
        ] {
            let mut calls = VecDeque::from([waiting(&[10]), waiting(lengths)]);
            assert_eq!(choose(&mut calls, 2000).long, long, "{lengths:?}");
        }
        // What waits for later runs does not make this one long.
        assert!(!choose(&mut VecDeque::from([waiting(&[10; 1000])]), 100).long);
    }

    #[test]
    fn short_calls_pass_as_a_whole_and_in_their_order() {
        let mut calls: VecDeque<_> =
            [&[500][..], &[20], &[5; 50], &[30, 10], &[41], &[40], &[3]].map(waiting).into();
        calls[6].call.fail(error!(Cancelled, "stopped"));
        let chosen = choose_short(&mut calls, 100);
        assert_eq!(lengths(&chosen), [20, 30, 10, 40]);
        assert_eq!(chosen[1].sequence.text, 0);
        assert_eq!(chosen[2].sequence.text, 1);
        let left: Vec<_> = calls.iter().map(WaitingCall::tokens).collect();
        assert_eq!(left, [500, 250, 41, 3]);
        assert_eq!(lengths(&choose_short(&mut calls, 100)), [41]);
        assert!(choose_short(&mut calls, 100).is_empty());
    }

    #[test]
    fn the_rest_of_a_long_call_is_not_short() {
        let mut calls = VecDeque::from([waiting(&[10; 20])]);
        choose(&mut calls, 190);
        assert!(choose_short(&mut calls, 100).is_empty());
    }
}
