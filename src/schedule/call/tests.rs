//! When a call ends, with what outcome, and where its results are.

use super::*;
use crate::error::ErrorKind;

fn call(texts: usize, timeout: Option<Duration>) -> Arc<Call> {
    Call::new(texts, ResultSpec::dense(2), timeout, None).unwrap()
}

#[test]
fn the_first_outcome_stands() {
    let call = call(1, None);
    call.fail(error!(Cancelled, "first"));
    call.fail(error!(Closed, "second"));
    call.deliver(0, TextOutput::dense(&[1.0, 2.0]));
    assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn vectors_are_in_the_order_of_the_texts_whatever_order_they_are_delivered_in() {
    let call = call(3, None);
    for text in [2, 0, 1] {
        assert!(!call.is_over());
        call.deliver(text, TextOutput::dense(&[text as f32, 0.5]));
    }
    assert!(call.is_over());
    assert_eq!(call.wait().unwrap().dense, [0.0, 0.5, 1.0, 0.5, 2.0, 0.5]);
}

#[test]
fn a_caller_that_waits_wakes_at_its_deadline() {
    let call = call(1, Some(Duration::from_millis(5)));
    assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::Timeout);
    assert!(call.is_over());
}

#[test]
fn a_timeout_beyond_the_end_of_time_never_expires() {
    let call = call(1, Some(Duration::MAX));
    assert!(!call.is_over());
    call.deliver(0, TextOutput::dense(&[0.0, 0.0]));
    call.wait().unwrap();
}

#[test]
fn an_empty_call_is_over_when_the_queue_says_so() {
    let empty = call(0, None);
    assert!(!empty.is_over());
    empty.end_if_empty();
    assert!(empty.wait().unwrap().dense.is_empty());
    let other = call(1, None);
    other.end_if_empty();
    assert!(!other.is_over());
}

#[test]
fn vectors_are_truncated_and_scaled_once_if_the_call_asks_for_it() {
    let call =
        Call::new(1, ResultSpec { normalize: true, ..ResultSpec::dense(2) }, None, None).unwrap();
    call.deliver(0, TextOutput::dense(&[3.0, 4.0, 5.0]));
    assert_eq!(call.wait().unwrap().dense, [0.6, 0.8]);
}

#[test]
fn outputs_are_those_the_call_asks_for_each_text_at_its_index() {
    let outputs = Outputs { dense: false, sparse: true, multi: true, tokens: false };
    let spec = ResultSpec { outputs, multi_dim: 2, ..ResultSpec::dense(2) };
    let call = Call::new(3, spec, None, None).unwrap();
    call.allocate([2, 1, 3].into_iter(), Vec::new()).unwrap();
    let multi = |numbers: &[f32]| TextOutput { multi: numbers.to_vec(), ..Default::default() };
    call.deliver(2, TextOutput { sparse: vec![(7, 0.5)], ..multi(&[3.0, 4.0, 5.0, 6.0]) });
    call.deliver(1, multi(&[]));
    call.deliver(0, TextOutput { sparse: vec![(4, 1.0), (9, 2.0)], ..multi(&[1.0, 2.0]) });
    let Results { dense, sparse, multi, tokens, errors } = call.wait().unwrap();
    assert!(tokens.is_none() && errors.is_empty());
    let (sparse, multi) = (sparse.unwrap(), multi.unwrap());
    assert!(dense.is_empty());
    assert_eq!((sparse.offsets, sparse.ids), (vec![0, 2, 2, 3], vec![4, 9, 7]));
    assert_eq!(sparse.weights, [1.0, 2.0, 0.5]);
    assert_eq!(multi.offsets, [0, 1, 1, 3]);
    assert_eq!(multi.rows, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn a_text_that_fails_leaves_nothing_that_looks_like_a_result() {
    let outputs = Outputs { dense: true, sparse: true, multi: true, tokens: true };
    let spec = ResultSpec {
        outputs,
        multi_dim: 2,
        token_dim: 1,
        per_text_errors: true,
        ..ResultSpec::dense(1)
    };
    let call = Call::new(4, spec, None, None).unwrap();
    let early = (3, error!(TextTooLong, "early").at_text(3));
    call.allocate([2, 3, 2, 0].into_iter(), vec![early]).unwrap();
    let output = TextOutput {
        sparse: vec![(7, 0.5)],
        multi: vec![1.0, 2.0],
        tokens: vec![3.0, 4.0],
        ..TextOutput::dense(&[8.0])
    };
    call.deliver(2, output.clone());
    call.fail_text(1, error!(NotFinite, "late"));
    assert!(!call.is_over());
    call.deliver(0, output);
    let results = call.wait().unwrap();
    let same = |ours: &[f32], expected: &[f32]| {
        ours.len() == expected.len()
            && ours.iter().zip(expected).all(|(a, b)| a == b || a.is_nan() && b.is_nan())
    };
    let nan = f32::NAN;
    assert!(same(&results.dense, &[8.0, nan, 8.0, nan]));
    assert_eq!(results.sparse.unwrap().offsets, [0, 1, 1, 2, 2]);
    let multi = results.multi.unwrap();
    assert_eq!(multi.offsets, [0, 1, 3, 4, 4]);
    assert!(same(&multi.rows, &[1.0, 2.0, nan, nan, nan, nan, 1.0, 2.0]));
    let tokens = results.tokens.unwrap();
    assert_eq!(tokens.offsets, [0, 2, 5, 7, 7]);
    assert!(same(&tokens.rows, &[3.0, 4.0, nan, nan, nan, 3.0, 4.0]));
    let errors: Vec<_> = results.errors.iter().map(|e| (e.text_index(), e.kind())).collect();
    let expected = [(Some(1), ErrorKind::NotFinite), (Some(3), ErrorKind::TextTooLong)];
    assert_eq!(errors, expected);
}

#[test]
fn a_call_all_of_whose_texts_failed_ends_when_the_queue_says_so() {
    let spec = ResultSpec { per_text_errors: true, ..ResultSpec::dense(2) };
    let call = Call::new(1, spec, None, None).unwrap();
    call.allocate([0].into_iter(), vec![(0, error!(InvalidUtf8, "bad").at_text(0))]).unwrap();
    assert!(!call.is_over());
    call.end_if_empty();
    assert_eq!(call.wait().unwrap().errors.len(), 1);
}

#[test]
fn without_per_text_errors_the_first_error_of_a_text_ends_the_call() {
    let call = call(3, None);
    call.fail_text(2, error!(NotFinite, "first"));
    call.fail_text(0, error!(Inference, "second"));
    let e = call.wait().unwrap_err();
    assert_eq!((e.kind(), e.text_index()), (ErrorKind::NotFinite, Some(2)));
}
