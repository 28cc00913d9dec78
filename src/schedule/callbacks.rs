//! The thread on which asynchronous calls end: in their callback, exactly once each.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{JoinHandle, ThreadId};
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{Call, Results};
use crate::error::{Result, error};

/// What happens when an asynchronous call is over.
pub(crate) type Callback = Box<dyn FnOnce(Result<Results>) + Send>;

/// Which call rings. Sorted by deadline, those without one first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    deadline: Option<Instant>,
    number: u64,
}

/// Wakes the callback thread, and tells it for which call: looking at every call that waits would
/// cost the square of their number.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
    tickets: AtomicU64,
}

#[derive(Default)]
struct State {
    closed: bool,
    thread: Option<ThreadId>,
    /// Places of calls that are still being tokenized.
    reserved: usize,
    waiting: BTreeMap<Ticket, (Arc<Call>, Callback)>,
    /// Calls that are over, the first of them first.
    over: VecDeque<Ticket>,
}

impl Bell {
    pub fn ticket(&self, deadline: Option<Instant>) -> Ticket {
        Ticket { deadline, number: self.tickets.fetch_add(1, Ordering::Relaxed) }
    }

    pub fn ring(&self, ticket: Ticket) {
        let mut state = self.state.lock();
        // A call that is over before it is added is noticed by `add`, or refused there.
        if state.waiting.contains_key(&ticket) {
            state.over.push_back(ticket);
            self.rung.notify_one();
        }
    }
}

impl State {
    fn first_deadline(&self) -> Option<(Ticket, Instant)> {
        let last_without = Ticket { deadline: None, number: u64::MAX };
        let (&ticket, _) = self.waiting.range((Excluded(last_without), Unbounded)).next()?;
        Some((ticket, ticket.deadline?))
    }
}

pub(crate) struct Callbacks {
    bell: Arc<Bell>,
    capacity: usize,
    /// Locked while the thread ends, so that everybody who closes waits for that.
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// One of the places that `queue_capacity` allows. Dropped, it is free again.
pub(crate) struct Place<'a>(&'a Bell);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state.lock().reserved -= 1;
    }
}

impl Callbacks {
    pub fn new(capacity: usize) -> Self {
        Self { bell: Arc::default(), capacity, thread: Mutex::new(None) }
    }

    pub fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// Calls whose callback has not begun. One that has begun does not count, so that a callback
    /// finds room to start the next call.
    pub fn depth(&self) -> usize {
        let state = self.bell.state.lock();
        state.waiting.len() + state.reserved
    }

    /// Keeps a place for a call before anything is done for it: refusing has to be cheap, since it
    /// happens most when there is too much to do.
    pub fn reserve(&self) -> Result<Place<'_>> {
        let mut state = self.bell.state.lock();
        if state.closed {
            return Err(error!(Closed, "the model was closed"));
        }
        let unfinished = state.waiting.len() + state.reserved;
        if unfinished >= self.capacity {
            return Err(error!(
                QueueFull,
                "{unfinished} asynchronous calls are unfinished, as many as the option \
                 queue_capacity allows; try again later"
            ));
        }
        state.reserved += 1;
        Ok(Place(&self.bell))
    }

    /// Promises that `callback` runs once, after `call` is over; or refuses, and it never runs.
    pub fn add(&self, place: Place<'_>, call: &Arc<Call>, callback: Callback) -> Result<()> {
        let Some(ticket) = call.ticket() else {
            return Err(error!(Internal, "a call without a bell cannot have a callback"));
        };
        {
            let mut state = self.bell.state.lock();
            if state.closed {
                drop(state);
                return Err(error!(Closed, "the model was closed"));
            }
            if state.thread.is_none()
                && let Err(e) = self.start_thread(&mut state)
            {
                drop(state);
                return Err(error!(OutOfMemory, "no thread could be started: {e}"));
            }
            // The place turns into an entry; freeing it later would count the call twice.
            state.reserved -= 1;
            std::mem::forget(place);
            state.waiting.insert(ticket, (Arc::clone(call), callback));
            if state.first_deadline().is_some_and(|(first, _)| first == ticket) {
                self.bell.rung.notify_one();
            }
        }
        if call.is_over() {
            self.bell.ring(ticket);
        }
        Ok(())
    }

    /// Started by the first asynchronous call: most programs make none.
    fn start_thread(&self, state: &mut State) -> std::io::Result<()> {
        let bell = self.bell();
        let thread =
            std::thread::Builder::new().name("bge-callbacks".into()).spawn(move || run(&bell))?;
        state.thread = Some(thread.thread().id());
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Refuses new calls, and returns when every callback has returned; from within a callback, at
    /// once. All calls must be over, or be so soon.
    pub fn close(&self) {
        let own_thread = {
            let mut state = self.bell.state.lock();
            state.closed = true;
            self.bell.rung.notify_one();
            state.thread == Some(std::thread::current().id())
        };
        // A callback that waited for the thread would wait for itself.
        if own_thread {
            return;
        }
        let mut thread = self.thread.lock();
        if let Some(thread) = thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(bell: &Bell) {
    let mut state = bell.state.lock();
    loop {
        if let Some(ticket) = state.over.pop_front() {
            end(&mut state, ticket);
            continue;
        }
        match state.first_deadline() {
            Some((ticket, deadline)) if Instant::now() >= deadline => end(&mut state, ticket),
            _ if state.closed && state.waiting.is_empty() => return,
            Some((_, deadline)) => {
                bell.rung.wait_until(&mut state, deadline);
            }
            None => bell.rung.wait(&mut state),
        }
    }
}

/// Runs the callback of a call that is over or whose time is up. Nothing is locked meanwhile.
fn end(state: &mut MutexGuard<'_, State>, ticket: Ticket) {
    let Some((call, callback)) = state.waiting.remove(&ticket) else { return };
    MutexGuard::unlocked(state, || {
        call.is_over();
        let result = call.take_result();
        drop(call);
        // The C boundary has its own guard; this one keeps the other callbacks alive.
        let _ = catch_unwind(AssertUnwindSafe(|| callback(result)));
    });
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::embeddings::TextOutput;
    use crate::error::ErrorKind;
    use crate::schedule::Format;

    /// Long enough for any machine, so that a hang is a failure and not a wait.
    const GUARD: Duration = Duration::from_secs(60);

    fn call(callbacks: &Callbacks, timeout: Option<Duration>) -> Arc<Call> {
        Call::new(1, Format::dense(1), timeout, Some(callbacks.bell())).unwrap()
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
    fn a_full_queue_refuses_and_a_place_that_is_given_up_is_free() {
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
        // Not panic!, which would print.
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
}
