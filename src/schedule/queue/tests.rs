//! Which texts the next batch of a worker takes, and when.

use super::*;
use crate::embeddings::TextOutput;
use crate::error::ErrorKind;
use crate::schedule::call::ResultSpec;

fn submit(queue: &Queue, lengths: &[usize]) -> Arc<Call> {
    let call = Call::new(lengths.len(), ResultSpec::dense(1), None, None).unwrap();
    let sequence = |(text, &length): (usize, &usize)| Sequence {
        text,
        ids: vec![0; length],
        prompt_tokens: 0,
    };
    queue.submit(Arc::clone(&call), lengths.iter().enumerate().map(sequence).collect());
    call
}

/// The lengths of the texts of the next batch, or none if the worker would wait.
fn now(queue: &Queue, worker: Worker) -> Option<Vec<usize>> {
    let mut state = queue.state.lock();
    state.end_batch(worker);
    match queue.next(&mut state, worker) {
        Next::Wait(_) => None,
        Next::Run(batch) => {
            state.begin_batch(worker, &batch);
            Some(batch.texts.iter().map(|text| text.sequence.ids.len()).collect())
        }
    }
}

impl Queue {
    /// Moves the start of the batch of a device into the past.
    pub fn backdate_batch(&self, time: Duration) {
        self.state.lock().linger.backdate(time);
    }

    pub fn is_lingering(&self) -> bool {
        self.state.lock().linger.is_waiting()
    }

    pub fn runs_on_caller(&self) -> bool {
        matches!(self.state.lock().devices[0], DeviceRun::OnCaller { .. })
    }

    pub fn is_running(&self) -> bool {
        let state = self.state.lock();
        self.workers().into_iter().any(|worker| !state.running(worker).is_empty())
    }
}

fn set_short_began(queue: &Queue, time: Instant) {
    match &mut queue.state.lock().short {
        ShortRun::Running { began, .. } => *began = time,
        _ => panic!("no short batch runs"),
    }
}

#[test]
fn a_batch_is_wanted_while_one_of_its_calls_is() {
    let queue = Queue::for_cpu(10, None, 1024);
    let calls = [submit(&queue, &[3]), submit(&queue, &[3])];
    assert_eq!(queue.next_batch(Worker::Device(0)).unwrap().len(), 2);
    calls[0].fail(error!(Cancelled, "stopped"));
    assert!(queue.is_still_wanted(Worker::Device(0)));
    calls[1].fail(error!(Cancelled, "stopped"));
    assert!(!queue.is_still_wanted(Worker::Device(0)));
}

#[test]
fn closing_fails_calls_that_wait_run_or_are_submitted_later() {
    let queue = Queue::for_cpu(1000, None, 1024);
    let running = submit(&queue, &[600]);
    queue.next_batch(Worker::Device(0)).unwrap();
    let beside = submit(&queue, &[3]);
    queue.next_batch(Worker::Short).unwrap();
    let waiting = submit(&queue, &[3]);
    queue.close();
    let (late, empty) = (submit(&queue, &[3]), submit(&queue, &[]));
    for call in [running, beside, waiting, late, empty] {
        assert_eq!(call.wait().unwrap_err().kind(), ErrorKind::Closed);
    }
    assert!(queue.next_batch(Worker::Device(0)).is_none());
    assert!(queue.next_batch(Worker::Short).is_none());
}

#[test]
fn short_calls_overtake_a_long_batch_and_no_other() {
    let queue = Queue::for_cpu(1000, None, 1024);
    submit(&queue, &[3]);
    assert_eq!(now(&queue, Worker::Short), None);
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![3]));
    submit(&queue, &[4]);
    assert_eq!(now(&queue, Worker::Short), None);
    submit(&queue, &[600]);
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![4, 600]));
    for tokens in [&[600][..], &[100, 100], &[5], &[6, 7], &[128]] {
        submit(&queue, tokens);
    }
    assert_eq!(now(&queue, Worker::Short), Some(vec![5, 6, 7]));
    set_short_began(&queue, Instant::now());
    assert_eq!(now(&queue, Worker::Short), Some(vec![128]));
    // The other calls have their turn.
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![600, 100, 100]));
}

#[test]
fn a_batch_beside_a_long_one_is_no_larger_than_any_may_be() {
    let queue = Queue::for_cpu(50, None, 1024);
    submit(&queue, &[600]);
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![600]));
    for tokens in [&[60][..], &[30, 30], &[30], &[20, 1]] {
        submit(&queue, tokens);
    }
    assert_eq!(now(&queue, Worker::Short), Some(vec![30]));
}

#[test]
fn a_long_batch_has_the_processor_to_itself_between_batches_beside_it() {
    let queue = Queue::for_cpu(1000, None, 1024);
    submit(&queue, &[600]);
    now(&queue, Worker::Device(0));
    submit(&queue, &[5]);
    assert_eq!(now(&queue, Worker::Short), Some(vec![5]));
    let hour = Duration::from_secs(3600);
    set_short_began(&queue, Instant::now().checked_sub(hour).unwrap());
    submit(&queue, &[6]);
    assert_eq!(now(&queue, Worker::Short), None);
    let ShortRun::Resting { until } = queue.state.lock().short else { panic!("no rest") };
    let rests = until - Instant::now();
    assert!(rests > hour / 3 && rests < hour, "{rests:?}");
    // The device's own worker does not rest.
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![6]));
}

#[test]
fn gpus_take_batches_of_one_call_side_by_side() {
    let queue = Queue::for_gpus(10, 2, 1024);
    assert_eq!(queue.workers(), [Worker::Device(0), Worker::Device(1)]);
    let call = submit(&queue, &[6, 6, 6]);
    assert_eq!(now(&queue, Worker::Device(1)), Some(vec![6]));
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![6]));
    assert!(queue.is_still_wanted(Worker::Device(0)) && queue.is_still_wanted(Worker::Device(1)));
    assert_eq!(now(&queue, Worker::Device(1)), Some(vec![6]));
    assert_eq!(now(&queue, Worker::Device(1)), None);
    assert!(queue.is_still_wanted(Worker::Device(0)) && !queue.is_still_wanted(Worker::Device(1)));
    call.fail(error!(Cancelled, "stopped"));
    assert!(!queue.is_still_wanted(Worker::Device(0)));
}

/// The time of a batch after which no test outlasts the linger.
const HOUR: Duration = Duration::from_secs(3600);
/// Much less than that linger, and enough for any machine.
const GUARD: Duration = Duration::from_secs(60);

/// Delivers the results of a batch of calls of one text, which has taken an hour.
fn deliver(queue: &Queue, calls: &[Arc<Call>]) {
    queue.backdate_batch(HOUR);
    queue.on_results(Worker::Device(0));
    calls.iter().for_each(|call| call.deliver(0, TextOutput::dense(&[0.0])));
}

fn submit_many(queue: &Queue, calls: usize) -> Vec<Arc<Call>> {
    (0..calls).map(|_| submit(queue, &[12])).collect()
}

#[test]
fn the_worker_sleeps_until_two_groups_of_callers_have_met() {
    let queue = Queue::for_cpu(2048, None, 1024);
    let first = submit_many(&queue, 8);
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![12; 8]));
    submit_many(&queue, 8);
    deliver(&queue, &first);
    // One is submitted before the batch has ended.
    submit(&queue, &[12]);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| queue.next_batch(Worker::Device(0)).unwrap().len());
        while !queue.is_lingering() {
            std::thread::yield_now();
        }
        submit_many(&queue, 6);
        assert!(queue.is_lingering() && !next.is_finished());
        submit(&queue, &[12]);
        assert_eq!(next.join().unwrap(), 16);
    });
    assert!(began.elapsed() < GUARD);
}

#[test]
fn closing_ends_a_linger() {
    let queue = Queue::for_cpu(2048, None, 1024);
    let calls = submit_many(&queue, 2);
    now(&queue, Worker::Device(0)).unwrap();
    let waiting = submit(&queue, &[12]);
    deliver(&queue, &calls);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| queue.next_batch(Worker::Device(0)).is_none());
        while !queue.is_lingering() {
            std::thread::yield_now();
        }
        queue.close();
        assert!(next.join().unwrap());
    });
    assert!(began.elapsed() < GUARD);
    assert_eq!(waiting.wait().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_batch_on_a_callers_thread_is_followed_by_one_of_all() {
    let queue = Queue::for_cpu(2048, None, 1024);
    let call = Call::new(1, ResultSpec::dense(1), None, None).unwrap();
    let sequence = Sequence { text: 0, ids: vec![0; 12], prompt_tokens: 0 };
    assert!(queue.submit_or_run_on_caller(&call, vec![sequence]).is_some());
    submit(&queue, &[12]);
    deliver(&queue, &[call]);
    queue.end_on_caller();
    assert_eq!(now(&queue, Worker::Device(0)), None);
    submit(&queue, &[12]);
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![12; 2]));
}

#[test]
fn after_a_lone_call_a_long_batch_or_a_bulk_load_no_worker_lingers() {
    let queue = Queue::for_cpu(2048, None, 1024);
    let lone = submit(&queue, &[12]);
    now(&queue, Worker::Device(0)).unwrap();
    deliver(&queue, &[lone]);
    assert_eq!(now(&queue, Worker::Device(0)), None);
    assert!(!queue.is_lingering());
    let calls = submit_many(&queue, 43);
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![12; 43]));
    let last = submit(&queue, &[12]);
    deliver(&queue, &calls);
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![12]));
    submit(&queue, &[8; 64]);
    deliver(&queue, &[last]);
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![8; 64]));
}

#[test]
fn the_caller_of_a_bulk_call_that_goes_on_is_not_waited_for() {
    let queue = Queue::for_cpu(100, None, 1024);
    let bulk = submit(&queue, &[30; 3]);
    let query = submit(&queue, &[20]);
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![30, 20, 30]));
    deliver(&queue, &[bulk, query]);
    assert_eq!(now(&queue, Worker::Device(0)), None);
    submit(&queue, &[10]);
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![30, 10]));
}

#[test]
fn calls_that_end_during_a_linger_leave_nothing_behind() {
    let queue = Queue::for_cpu(2048, None, 1024);
    let calls = submit_many(&queue, 2);
    now(&queue, Worker::Device(0)).unwrap();
    deliver(&queue, &calls);
    let again = submit_many(&queue, 1);
    assert_eq!(now(&queue, Worker::Device(0)), None);
    again[0].fail(error!(Cancelled, "stopped"));
    submit(&queue, &[13]);
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![13]));
}

#[test]
fn gpus_do_not_linger() {
    let queue = Queue::for_gpus(2048, 1, 1024);
    let calls = submit_many(&queue, 2);
    now(&queue, Worker::Device(0)).unwrap();
    submit(&queue, &[13]);
    deliver(&queue, &calls);
    assert_eq!(now(&queue, Worker::Device(0)), Some(vec![13]));
}
