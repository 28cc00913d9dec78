//! The short wait for callers that a batch has just served and that may call again.
//!
//! Without it, callers that each send one text after another fall into two groups: one waits while
//! the other's batch runs, and the two never meet, although one batch of all takes less time than
//! one of each.

use std::time::Instant;

use super::policy::{LINGER_DIVISOR, LINGERS_SKIPPED_MAX};

/// Decides whether the worker of a device waits before it takes its next batch. It has no clock of
/// its own.
pub(super) struct Linger {
    /// A batch of this many tokens gains little by more of them.
    enough_tokens: usize,
    batch: Option<Running>,
    wait: Option<Wait>,
    /// The number of lingers to skip after the last one, and how many of those are still to come.
    to_skip: u32,
    skips_left: u32,
}

/// The batch that runs.
struct Running {
    began: Instant,
    tokens: usize,
    /// Calls that waited when the batch had its results, before any of its callers could call
    /// again.
    waited: Option<usize>,
}

/// A wait for callers.
struct Wait {
    until: Instant,
    /// Calls that the last batch finished.
    served: usize,
    /// Callers that are still expected.
    missing: usize,
    /// Tokens that are still missing to enough.
    missing_tokens: usize,
}

impl Linger {
    /// No batch of `enough_tokens` or more is waited for. Zero: none is at all.
    pub fn new(enough_tokens: usize) -> Self {
        Self { enough_tokens, batch: None, wait: None, to_skip: 0, skips_left: 0 }
    }

    /// A batch begins to run.
    pub fn on_batch_start(&mut self, tokens: usize, now: Instant) {
        self.wait = None;
        self.batch = Some(Running { began: now, tokens, waited: None });
    }

    /// The batch has results, none of which has been delivered, and `waiting` calls wait. If the
    /// batch runs in parts, the first results count.
    pub fn on_results(&mut self, waiting: usize) {
        if let Some(batch) = &mut self.batch {
            batch.waited.get_or_insert(waiting);
        }
    }

    /// The batch has ended, and with it `served` calls. Calls that wait now may already be the next
    /// ones of their callers.
    pub fn on_batch_end(
        &mut self,
        served: usize,
        waiting: usize,
        waiting_tokens: usize,
        now: Instant,
    ) {
        let Some(Running { began, tokens, waited: Some(waited) }) = self.batch.take() else {
            return;
        };
        let callers = served + waited;
        if served == 0 || callers == 1 || tokens.max(waiting_tokens) >= self.enough_tokens {
            return;
        }
        if self.skips_left > 0 {
            self.skips_left -= 1;
            return;
        }
        self.wait = Some(Wait {
            until: now + (now - began) / LINGER_DIVISOR,
            served,
            missing: callers.saturating_sub(waiting),
            missing_tokens: self.enough_tokens - waiting_tokens,
        });
    }

    /// A call has been submitted. Returns whether the next batch is to be taken at once.
    pub fn on_call(&mut self, tokens: usize) -> bool {
        let Some(wait) = &mut self.wait else { return true };
        wait.missing = wait.missing.saturating_sub(1);
        wait.missing_tokens = wait.missing_tokens.saturating_sub(tokens);
        wait.is_complete()
    }

    /// The time until which the next batch waits, if it does.
    pub fn waits_until(&mut self, now: Instant) -> Option<Instant> {
        let wait = self.wait.as_ref()?;
        if !wait.is_complete() && now < wait.until {
            return Some(wait.until);
        }
        let in_vain = !wait.is_complete() && wait.missing * 2 > wait.served;
        self.to_skip = if in_vain { (self.to_skip * 2 + 1).min(LINGERS_SKIPPED_MAX) } else { 0 };
        self.skips_left = self.to_skip;
        self.wait = None;
        None
    }

    /// Moves the start of the running batch into the past.
    #[cfg(test)]
    pub fn backdate(&mut self, time: std::time::Duration) {
        let batch = self.batch.as_mut().unwrap();
        batch.began = batch.began.checked_sub(time).unwrap();
    }

    #[cfg(test)]
    pub fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }
}

impl Wait {
    fn is_complete(&self) -> bool {
        self.missing == 0 || self.missing_tokens == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BATCH: Duration = Duration::from_millis(80);
    const LINGER: Duration = Duration::from_millis(10);

    /// Runs a batch of `served` calls of ten tokens, during which `waiting` others are submitted.
    fn run(linger: &mut Linger, served: usize, waiting: usize) -> Instant {
        let now = Instant::now();
        linger.on_batch_start(served * 10, now);
        linger.on_results(waiting);
        linger.on_batch_end(served, waiting, waiting * 10, now + BATCH);
        now + BATCH
    }

    #[test]
    fn two_groups_of_callers_become_one() {
        let mut linger = Linger::new(512);
        let now = run(&mut linger, 8, 8);
        assert_eq!(linger.waits_until(now), Some(now + LINGER));
        for _ in 0..7 {
            assert!(!linger.on_call(10));
            assert_eq!(linger.waits_until(now), Some(now + LINGER));
        }
        assert!(linger.on_call(10));
        assert_eq!(linger.waits_until(now), None);
        // They are one group now, and stay so.
        let now = run(&mut linger, 16, 0);
        assert!((0..15).all(|_| !linger.on_call(10)) && linger.on_call(10));
        assert_eq!(linger.waits_until(now), None);
    }

    #[test]
    fn callers_that_come_while_others_get_their_results_are_not_waited_for() {
        let mut linger = Linger::new(512);
        let now = Instant::now();
        for (waiting, missing) in [(11, 5), (15, 1), (16, 0), (20, 0)] {
            linger.on_batch_start(80, now);
            linger.on_results(8);
            linger.on_batch_end(8, waiting, waiting * 10, now + BATCH);
            let wait = linger.waits_until(now + BATCH);
            assert_eq!(wait, (missing > 0).then_some(now + BATCH + LINGER));
            let needed = (1..=missing).find(|_| linger.on_call(10));
            assert_eq!(needed, (missing > 0).then_some(missing));
        }
    }

    #[test]
    fn lingers_in_vain_become_rare_until_one_succeeds() {
        let mut linger = Linger::new(512);
        let mut skipped = |came: usize| {
            let mut count = 0;
            let mut now = run(&mut linger, 4, 1);
            while linger.waits_until(now).is_none() {
                count += 1;
                now = run(&mut linger, 4, 1);
            }
            (0..came).for_each(|_| assert!(!linger.on_call(10)));
            assert_eq!(linger.waits_until(now + LINGER), None);
            count
        };
        let counts = [0, 1, 0, 1, 0, 0, 2, 0, 3, 0].map(&mut skipped);
        assert_eq!(counts, [0, 1, 3, 7, 15, 15, 15, 0, 1, 0]);
    }

    #[test]
    fn callers_that_gain_nothing_by_sharing_do_not_wait() {
        for (served, waiting, waits) in [
            (1, 0, false),
            (1, 1, true),
            (2, 0, true),
            (0, 2, false),
            (51, 0, true),
            (52, 0, false),
        ] {
            let mut linger = Linger::new(512);
            let now = run(&mut linger, served, waiting);
            assert_eq!(linger.waits_until(now).is_some(), waits, "{served}, {waiting}");
        }
        for (enough, waits) in [(0, false), (80, false), (81, true)] {
            let mut linger = Linger::new(enough);
            let now = run(&mut linger, 2, 8);
            assert_eq!(linger.waits_until(now).is_some(), waits, "{enough}");
        }
    }

    #[test]
    fn a_large_call_ends_the_wait() {
        let mut linger = Linger::new(512);
        let now = run(&mut linger, 8, 8);
        assert!(!linger.on_call(431));
        assert!(linger.on_call(1));
        assert_eq!(linger.waits_until(now), None);
        // That wait was not in vain.
        let now = run(&mut linger, 8, 8);
        assert!(linger.waits_until(now).is_some());
    }

    #[test]
    fn a_batch_without_results_is_followed_at_once() {
        let mut linger = Linger::new(512);
        let now = Instant::now();
        linger.on_batch_start(20, now);
        linger.on_batch_end(2, 0, 0, now + BATCH);
        assert_eq!(linger.waits_until(now + BATCH), None);
    }

    #[test]
    fn the_first_results_of_a_batch_in_parts_count() {
        let mut linger = Linger::new(512);
        let now = Instant::now();
        linger.on_batch_start(20, now);
        linger.on_results(0);
        // The caller of the first part.
        linger.on_results(1);
        linger.on_batch_end(2, 1, 10, now + BATCH);
        assert!(linger.on_call(10));
    }
}
