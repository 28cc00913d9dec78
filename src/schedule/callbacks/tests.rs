//! When callbacks run, and what refuses, closes or ends the thread that runs them.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;
use crate::embeddings::TextOutput;
use crate::error::ErrorKind;
use crate::schedule::call::{ResultSpec, Results};

/// Long enough for any machine, so that a hang is a failure and not a wait.
const GUARD: Duration = Duration::from_secs(60);

fn call(callbacks: &Callbacks, timeout: Option<Duration>) -> Arc<Call> {
    Call::new(1, ResultSpec::dense(1), timeout, Some(callbacks.completions())).unwrap()
}

fn add(callbacks: &Callbacks, call: &Arc<Call>, callback: Callback) -> Result<()> {
    callbacks.add(callbacks.reserve()?, call, callback)
}

#[test]
fn a_callback_runs_once_when_its_call_is_over() {
    let callbacks = Callbacks::new(8);
    let (told, outcome) = channel();
    let calls: Vec<_> = (0..5).map(|_| call(&callbacks, None)).collect();
    for (index, call) in calls.iter().enumerate() {
        let told = told.clone();
        let callback = move |result: Result<Results>| told.send((index, result)).unwrap();
        add(&callbacks, call, Box::new(callback)).unwrap();
    }
    assert_eq!(callbacks.depth(), 5);
    for index in [3, 0, 4] {
        calls[index].deliver(0, TextOutput::dense(&[index as f32]));
        let (told, result) = outcome.recv_timeout(GUARD).unwrap();
        assert_eq!((told, result.unwrap().dense), (index, vec![index as f32]));
    }
    for call in &calls {
        call.fail(error!(Closed, "closed"));
    }
    callbacks.close();
    drop(told);
    assert_eq!(outcome.iter().map(|(index, _)| index).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(callbacks.depth(), 0);
}

#[test]
fn a_call_that_is_over_before_it_is_added_has_its_callback_too() {
    let callbacks = Callbacks::new(8);
    let (told, outcome) = channel();
    let call = call(&callbacks, None);
    call.fail(error!(Cancelled, "stopped"));
    add(&callbacks, &call, Box::new(move |result| told.send(result).unwrap())).unwrap();
    let result = outcome.recv_timeout(GUARD).unwrap();
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn a_deadline_wakes_the_thread_in_whatever_order_calls_came() {
    let callbacks = Callbacks::new(8);
    let (told, outcome) = channel();
    for timeout in [None, Some(3_600_000), Some(30), Some(1), None, Some(15)] {
        let told = told.clone();
        let call = call(&callbacks, timeout.map(Duration::from_millis));
        let callback = move |result: Result<Results>| told.send((timeout, result)).unwrap();
        add(&callbacks, &call, Box::new(callback)).unwrap();
    }
    let mut ended: Vec<_> = (0..3).map(|_| outcome.recv_timeout(GUARD).unwrap()).collect();
    ended.sort_by_key(|(timeout, _)| *timeout);
    for ((timeout, result), expected) in ended.into_iter().zip([1, 15, 30]) {
        assert_eq!(timeout, Some(expected));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert_eq!(callbacks.depth(), 3);
}

#[test]
fn a_full_queue_refuses_and_a_dropped_permit_frees_its_capacity() {
    let callbacks = Callbacks::new(2);
    let kept = callbacks.reserve().unwrap();
    let first = call(&callbacks, None);
    add(&callbacks, &first, Box::new(|_| ())).unwrap();
    assert_eq!(callbacks.reserve().err().unwrap().kind(), ErrorKind::QueueFull);
    drop(kept);
    drop(callbacks.reserve().unwrap());
    assert_eq!(callbacks.depth(), 1);
}

#[test]
fn a_callback_that_panics_or_closes_does_not_stop_the_others() {
    let callbacks = Arc::new(Callbacks::new(8));
    let (told, outcome) = channel();
    let calls: Vec<_> = (0..3).map(|_| call(&callbacks, None)).collect();
    // Unlike panic!, this prints nothing.
    let panics = |_| std::panic::resume_unwind(Box::new("a bug of the caller"));
    add(&callbacks, &calls[0], Box::new(panics)).unwrap();
    let closes = {
        let callbacks = Arc::clone(&callbacks);
        move |_| callbacks.close()
    };
    add(&callbacks, &calls[1], Box::new(closes)).unwrap();
    add(&callbacks, &calls[2], Box::new(move |_| told.send(()).unwrap())).unwrap();
    for call in &calls {
        call.deliver(0, TextOutput::dense(&[0.0]));
    }
    outcome.recv_timeout(GUARD).unwrap();
    callbacks.close();
}

#[test]
fn a_callback_that_starts_or_closes_while_another_thread_closes_does_not_hang() {
    let callbacks = Arc::new(Callbacks::new(8));
    let (entered, has_entered) = channel();
    let first = call(&callbacks, None);
    let callback = {
        let callbacks = Arc::clone(&callbacks);
        move |_| {
            entered.send(()).unwrap();
            // Until the other thread waits for this one.
            while callbacks.reserve().is_ok() {
                std::thread::yield_now();
            }
            callbacks.close();
        }
    };
    add(&callbacks, &first, Box::new(callback)).unwrap();
    first.deliver(0, TextOutput::dense(&[0.0]));
    has_entered.recv_timeout(GUARD).unwrap();
    callbacks.close();
    assert_eq!(callbacks.reserve().err().unwrap().kind(), ErrorKind::Closed);
}
