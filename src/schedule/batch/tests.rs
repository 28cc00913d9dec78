//! What a batch is made of, given the calls that wait.

use super::*;
use crate::error::error;
use crate::schedule::call::ResultSpec;

fn pending(lengths: &[usize]) -> PendingCall {
    let sequences = lengths
        .iter()
        .enumerate()
        .map(|(text, &length)| Sequence { text, ids: vec![0; length], prompt_tokens: 0 })
        .collect();
    let call = Call::new(lengths.len(), ResultSpec::dense(1), None, None).unwrap();
    PendingCall::new(call, sequences, &Pace::new(1024))
}

fn lengths(texts: &[BatchText]) -> Vec<usize> {
    texts.iter().map(|text| text.sequence.ids.len()).collect()
}

fn conditions(tokens_max: usize, pace: &Pace) -> Conditions<'_> {
    Conditions {
        tokens_max,
        tokens_enough: tokens_max / 4,
        devices: 1,
        recently_lost: false,
        pace,
        now: Instant::now(),
    }
}

fn take(calls: &mut VecDeque<PendingCall>, tokens_max: usize) -> Batch {
    take_turns(calls, &conditions(tokens_max, &Pace::new(1024)))
}

fn take_short(calls: &mut VecDeque<PendingCall>, tokens_max: usize) -> Vec<BatchText> {
    take_short_calls(calls, &conditions(tokens_max, &Pace::new(1024)))
}

fn chosen(calls: &mut VecDeque<PendingCall>, tokens_max: usize) -> Vec<usize> {
    lengths(&take(calls, tokens_max).texts)
}

#[test]
fn a_query_does_not_wait_behind_a_bulk_call() {
    let mut calls = VecDeque::from([pending(&[10; 100]), pending(&[7])]);
    assert_eq!(chosen(&mut calls, 40), [10, 7, 10, 10]);
    assert_eq!(calls.len(), 1);
}

#[test]
fn a_text_longer_than_the_limit_runs_alone() {
    let mut calls = VecDeque::from([pending(&[100, 3])]);
    assert_eq!(chosen(&mut calls, 40), [100]);
    assert_eq!(chosen(&mut calls, 40), [3]);
    assert!(calls.is_empty());
}

#[test]
fn short_texts_fill_a_batch_but_do_not_overtake_for_ever() {
    let mut calls = VecDeque::from([pending(&[5, 30, 4, 8])]);
    assert_eq!(chosen(&mut calls, 20), [5, 8, 4]);
    assert_eq!(chosen(&mut calls, 20), [30]);
}

#[test]
fn every_call_has_its_turn_under_a_stream_of_others() {
    let mut calls = VecDeque::from([pending(&[500])]);
    calls.push_front(pending(&[10; 50]));
    let mut batches = 0;
    while calls.iter().any(|pending| pending.sequences.len() == 1) {
        take(&mut calls, 20);
        batches += 1;
        calls.push_back(pending(&[10; 50]));
    }
    assert_eq!(batches, 2);
}

#[test]
fn a_query_behind_many_bulk_calls_waits_for_one_round_of_them() {
    let mut calls: VecDeque<_> = (0..100).map(|_| pending(&[10; 50])).collect();
    calls.push_back(pending(&[7]));
    let mut batches = 0;
    while calls.iter().any(|pending| pending.sequences.len() == 1) {
        take(&mut calls, 100);
        batches += 1;
    }
    // Ten calls in each batch.
    assert_eq!(batches, 11);
}

#[test]
fn the_oldest_of_texts_that_fit_equally_goes_first() {
    let mut call = pending(&[9, 4, 5, 5]);
    assert_eq!(call.take(6).unwrap().text, 2);
    assert_eq!(call.take(6).unwrap().text, 3);
    assert_eq!(call.take(3).map(|sequence| sequence.text), None);
}

#[test]
fn a_call_that_is_over_is_dropped() {
    let mut calls = VecDeque::from([pending(&[1]), pending(&[2])]);
    calls[0].call.fail(error!(Cancelled, "stopped"));
    assert_eq!(chosen(&mut calls, 20), [2]);
    assert!(calls.is_empty());
}

#[test]
fn calls_that_are_over_hide_none_behind_them() {
    let mut calls: VecDeque<_> = (0..1000).map(|_| pending(&[1])).collect();
    calls.iter().for_each(|pending| pending.call.fail(error!(Cancelled, "stopped")));
    calls.push_back(pending(&[2]));
    assert_eq!(chosen(&mut calls, 20), [2]);
}

#[test]
fn every_text_is_taken_once_and_in_turn_with_any_calls() {
    for tokens_max in [1, 7, 64, 1000] {
        let mut calls: VecDeque<_> = (0..200)
            .map(|call| pending(&(0..call % 7 + 1).map(|i| 2 + call * i % 90).collect::<Vec<_>>()))
            .collect();
        let total: usize = calls.iter().map(|pending| pending.sequences.len()).sum();
        let mut seen = std::collections::HashSet::new();
        // Kept alive, so that no two calls have the same address.
        let mut kept = Vec::new();
        while !calls.is_empty() {
            let first = Arc::as_ptr(&calls[0].call);
            let chosen = take(&mut calls, tokens_max).texts;
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
fn a_batch_is_long_by_the_tokens_of_one_call() {
    let mut many: VecDeque<_> = (0..200).map(|_| pending(&[10])).collect();
    assert!(!take(&mut many, 2000).long);
    for (lengths, long) in [
        (&[LONG_TOKENS][..], true),
        (&[LONG_TOKENS - 1], false),
        (&[100; 10], true),
        (&[100; 5], false),
    ] {
        let mut calls = VecDeque::from([pending(&[10]), pending(lengths)]);
        assert_eq!(take(&mut calls, 2000).long, long, "{lengths:?}");
    }
    // Texts that wait for later batches do not make this one long.
    assert!(!take(&mut VecDeque::from([pending(&[10; 1000])]), 100).long);
}

#[test]
fn short_calls_are_taken_as_a_whole_and_in_their_order() {
    let mut calls: VecDeque<_> =
        [&[500][..], &[20], &[5; 50], &[30, 10], &[41], &[40], &[3]].map(pending).into();
    calls[6].call.fail(error!(Cancelled, "stopped"));
    let chosen = take_short(&mut calls, 100);
    assert_eq!(lengths(&chosen), [20, 30, 10, 40]);
    assert_eq!(chosen[1].sequence.text, 0);
    assert_eq!(chosen[2].sequence.text, 1);
    let left: Vec<_> = calls.iter().map(PendingCall::tokens).collect();
    assert_eq!(left, [500, 250, 41, 3]);
    assert_eq!(lengths(&take_short(&mut calls, 100)), [41]);
    assert!(take_short(&mut calls, 100).is_empty());
}

#[test]
fn the_rest_of_a_long_call_is_not_short() {
    let mut calls = VecDeque::from([pending(&[10; 20])]);
    take(&mut calls, 190);
    assert!(take_short(&mut calls, 100).is_empty());
}

/// A model that takes a millisecond for each token, and hardly any time besides.
fn pace() -> Pace {
    let mut pace = Pace::new(usize::MAX / 8);
    for work in [1, 10, 100, 1000, 10_000].repeat(50) {
        pace.record(work, Duration::from_millis(work as u64), true);
    }
    pace
}

/// Calls, each with the milliseconds until its deadline, if it has one, and the tokens of its
/// texts.
fn calls(now: Instant, calls: &[(Option<u64>, &[usize])]) -> VecDeque<PendingCall> {
    let call = |&(left, lengths): &(Option<u64>, &[usize])| match left {
        Some(left) => pending(lengths).with_deadline(now + Duration::from_millis(left)),
        None => pending(lengths),
    };
    calls.iter().map(call).collect()
}

/// The texts of the next batch, with at most 1000 tokens, and the number of dropped calls.
fn next(calls: &mut VecDeque<PendingCall>, now: Instant) -> (Vec<usize>, u64) {
    let pace = pace();
    let batch = take_turns(calls, &Conditions { now, ..conditions(1000, &pace) });
    (lengths(&batch.texts), batch.dropped)
}

#[test]
fn the_earliest_deadline_comes_first_and_bounds_the_batch() {
    let now = Instant::now();
    let mut waiting = calls(
        now,
        &[(Some(900), &[60]), (Some(500), &[50]), (None, &[40]), (Some(700), &[150; 3])],
    );
    // Half of 500 ms. The first call has the first turn all the same.
    assert_eq!(next(&mut waiting, now), (vec![60, 50, 40], 0));
    assert_eq!(next(&mut waiting, now + Duration::from_millis(150)), (vec![150], 0));
}

#[test]
fn calls_that_cannot_end_in_time_are_dropped_with_the_reason() {
    let now = Instant::now();
    let mut waiting = calls(now, &[(Some(90), &[100]), (Some(800), &[500, 400]), (None, &[10])]);
    let late = [0, 1].map(|index| Arc::clone(&waiting[index].call));
    assert_eq!(next(&mut waiting, now), (vec![10], 2));
    for (call, words) in
        late.iter().zip(["90 ms were left, and its 100 tokens take 1", "its 900 tokens take "])
    {
        let said = call.wait().unwrap_err().to_string();
        assert!(
            said.contains(words) && said.contains(" tokens a second in the last runs"),
            "{said}"
        );
    }
}

#[test]
fn one_call_that_cannot_end_in_time_is_tried_if_no_other_waits() {
    let now = Instant::now();
    let mut waiting = calls(now, &[(Some(10), &[100]), (Some(90), &[100]), (Some(50), &[100])]);
    let best = Arc::clone(&waiting[1].call);
    let batch = take_turns(&mut waiting, &Conditions { now, ..conditions(1000, &pace()) });
    assert_eq!(batch.dropped, 2);
    assert!(Arc::ptr_eq(&batch.texts[0].call, &best) && waiting.is_empty());
}

#[test]
fn a_call_without_a_deadline_yields_once_and_is_never_starved() {
    let now = Instant::now();
    let urgent = (Some(200), &[50][..]);
    let mut waiting = calls(now, &[(None, &[900, 20]), urgent]);
    assert_eq!(next(&mut waiting, now).0, [50]);
    waiting.extend(calls(now, &[urgent]));
    assert_eq!(next(&mut waiting, now).0, [900]);
    // A text for which there is time does not wait at all.
    assert_eq!(next(&mut waiting, now).0, [50, 20]);
}

#[test]
fn a_large_call_in_a_hurry_gets_the_rest_of_the_batch() {
    let now = Instant::now();
    let (bulk, query) = (&[100; 20][..], &[10][..]);
    let mut waiting = calls(now, &[(None, bulk), (Some(3500), bulk), (None, query)]);
    assert_eq!(next(&mut waiting, now).0, [[100, 100, 10].as_slice(), &[100; 7]].concat());
    let left: Vec<_> = waiting.iter().map(|pending| pending.sequences.len()).collect();
    assert_eq!(left, [19, 12]);
    // Calls that are in no hurry take turns.
    let mut waiting = calls(now, &[(None, bulk), (Some(60_000), bulk)]);
    next(&mut waiting, now);
    assert_eq!(waiting.iter().map(|it| it.sequences.len()).collect::<Vec<_>>(), [15, 15]);
}

#[test]
fn devices_share_the_work_of_a_call() {
    let now = Instant::now();
    let dropped = |devices| {
        let mut waiting = calls(now, &[(Some(800), &[100; 10]), (None, &[10])]);
        take_turns(&mut waiting, &Conditions { now, devices, ..conditions(1000, &pace()) }).dropped
    };
    assert_eq!([dropped(1), dropped(2)], [1, 0]);
}

#[test]
fn a_batch_beside_a_long_one_is_in_time_as_well() {
    let now = Instant::now();
    let mut waiting =
        calls(now, &[(None, &[30]), (Some(60), &[20]), (Some(40), &[50]), (Some(300), &[20])]);
    let pace = pace();
    let conditions = Conditions { now, ..conditions(128, &pace) };
    assert_eq!(lengths(&take_short_calls(&mut waiting, &conditions)), [30, 20]);
    // A late call is tried if no other waits.
    assert_eq!(lengths(&take_short_calls(&mut waiting, &conditions)), [20]);
    assert_eq!(lengths(&take_short_calls(&mut waiting, &conditions)), [50]);
}
