//! Which texts the next run of a lane takes, and when.

use super::*;
use crate::embeddings::TextOutput;
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
            state.begin_run(lane, &texts);
            Some(texts.iter().map(|text| text.sequence.ids.len()).collect())
        }
    }
}

#[test]
fn a_run_is_wanted_while_one_of_its_calls_is() {
    let queue = Queue::new(10, None, 1024);
    let calls = [submit(&queue, &[3]), submit(&queue, &[3])];
    assert_eq!(queue.next_run(Lane::Main(0)).unwrap().len(), 2);
    calls[0].fail(error!(Cancelled, "stopped"));
    assert!(queue.run_is_wanted(Lane::Main(0)));
    calls[1].fail(error!(Cancelled, "stopped"));
    assert!(!queue.run_is_wanted(Lane::Main(0)));
}

#[test]
fn closing_fails_calls_that_wait_run_or_come_later() {
    let queue = Queue::new(1000, None, 1024);
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
    let queue = Queue::new(1000, None, 1024);
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
    let queue = Queue::new(50, None, 1024);
    submit(&queue, &[600]);
    assert_eq!(now(&queue, Lane::Main(0)), Some(vec![600]));
    for tokens in [&[60][..], &[30, 30], &[30], &[20, 1]] {
        submit(&queue, tokens);
    }
    assert_eq!(now(&queue, Lane::Express), Some(vec![30]));
}

#[test]
fn a_long_run_has_the_processor_to_itself_between_runs_beside_it() {
    let queue = Queue::new(1000, None, 1024);
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
    let queue = Queue::of_gpus(10, 2, 1024);
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

/// Long enough for a window that no test outlasts.
const HOUR: Duration = Duration::from_secs(3600);
/// Much less than that window, and enough for any machine.
const GUARD: Duration = Duration::from_secs(60);

/// Ends a run of calls of one text, which has taken an hour.
fn deliver(queue: &Queue, calls: &[Arc<Call>]) {
    queue.has_run_for(HOUR);
    queue.has_results(Lane::Main(0));
    calls.iter().for_each(|call| call.deliver(0, TextOutput::dense(&[0.0])));
}

fn submit_many(queue: &Queue, calls: usize) -> Vec<Arc<Call>> {
    (0..calls).map(|_| submit(queue, &[12])).collect()
}

#[test]
fn the_runner_sleeps_until_two_groups_of_callers_have_met() {
    let queue = Queue::new(2048, None, 1024);
    let first = submit_many(&queue, 8);
    assert_eq!(now(&queue, Lane::Main(0)), Some(vec![12; 8]));
    submit_many(&queue, 8);
    deliver(&queue, &first);
    // One comes before the run has ended.
    submit(&queue, &[12]);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| queue.next_run(Lane::Main(0)).unwrap().len());
        while !queue.is_gathering() {
            std::thread::yield_now();
        }
        submit_many(&queue, 6);
        assert!(queue.is_gathering() && !next.is_finished());
        submit(&queue, &[12]);
        assert_eq!(next.join().unwrap(), 16);
    });
    assert!(began.elapsed() < GUARD);
}

#[test]
fn closing_ends_a_wait_for_company() {
    let queue = Queue::new(2048, None, 1024);
    let calls = submit_many(&queue, 2);
    now(&queue, Lane::Main(0)).unwrap();
    let waiting = submit(&queue, &[12]);
    deliver(&queue, &calls);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| queue.next_run(Lane::Main(0)).is_none());
        while !queue.is_gathering() {
            std::thread::yield_now();
        }
        queue.close();
        assert!(next.join().unwrap());
    });
    assert!(began.elapsed() < GUARD);
    assert_eq!(waiting.wait().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_run_on_a_callers_thread_is_followed_by_one_of_all() {
    let queue = Queue::new(2048, None, 1024);
    let call = Call::new(1, Format::dense(1), None, None).unwrap();
    let sequence = Sequence { text: 0, ids: vec![0; 12], left_out: 0 };
    assert!(queue.submit_or_run_here(&call, vec![sequence]).is_some());
    submit(&queue, &[12]);
    deliver(&queue, &[call]);
    queue.end_here();
    assert_eq!(now(&queue, Lane::Main(0)), None);
    submit(&queue, &[12]);
    assert_eq!(now(&queue, Lane::Main(0)), Some(vec![12; 2]));
}

#[test]
fn a_lone_call_a_long_run_and_a_bulk_load_are_followed_at_once() {
    let queue = Queue::new(2048, None, 1024);
    let lone = submit(&queue, &[12]);
    now(&queue, Lane::Main(0)).unwrap();
    deliver(&queue, &[lone]);
    assert_eq!(now(&queue, Lane::Main(0)), None);
    assert!(!queue.is_gathering());
    let calls = submit_many(&queue, 43);
    assert_eq!(now(&queue, Lane::Main(0)), Some(vec![12; 43]));
    let last = submit(&queue, &[12]);
    deliver(&queue, &calls);
    assert_eq!(now(&queue, Lane::Main(0)), Some(vec![12]));
    submit(&queue, &[8; 64]);
    deliver(&queue, &[last]);
    assert_eq!(now(&queue, Lane::Main(0)), Some(vec![8; 64]));
}

#[test]
fn a_bulk_call_of_which_a_part_has_run_is_not_waited_for() {
    let queue = Queue::new(100, None, 1024);
    let bulk = submit(&queue, &[30; 3]);
    let query = submit(&queue, &[20]);
    assert_eq!(now(&queue, Lane::Main(0)), Some(vec![30, 20, 30]));
    deliver(&queue, &[bulk, query]);
    assert_eq!(now(&queue, Lane::Main(0)), None);
    submit(&queue, &[10]);
    assert_eq!(now(&queue, Lane::Main(0)), Some(vec![30, 10]));
}

#[test]
fn calls_that_end_while_they_wait_for_company_leave_nothing_behind() {
    let queue = Queue::new(2048, None, 1024);
    let calls = submit_many(&queue, 2);
    now(&queue, Lane::Main(0)).unwrap();
    deliver(&queue, &calls);
    let again = submit_many(&queue, 1);
    assert_eq!(now(&queue, Lane::Main(0)), None);
    again[0].fail(error!(Cancelled, "stopped"));
    submit(&queue, &[13]);
    assert_eq!(now(&queue, Lane::Main(0)), Some(vec![13]));
}

#[test]
fn runs_for_gpus_wait_for_nobody() {
    let queue = Queue::of_gpus(2048, 1, 1024);
    let calls = submit_many(&queue, 2);
    now(&queue, Lane::Main(0)).unwrap();
    submit(&queue, &[13]);
    deliver(&queue, &calls);
    assert_eq!(now(&queue, Lane::Main(0)), Some(vec![13]));
}
