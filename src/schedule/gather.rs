//! The short wait for callers that a run has just served and that may come again.
//!
//! Without it, callers that each send one text after another fall into two groups: one waits while
//! the other runs, and the two never meet, although a run of all takes less than one of each.

use std::time::Instant;

/// A run of so many tokens would gain little by more of them.
pub(super) const ENOUGH_TOKENS: usize = 512;
/// A window lasts no longer than the run before it, divided by this.
const WINDOW_DIVISOR: u32 = 8;
/// The most windows that are left out after one in vain.
const LEFT_OUT_MAX: u32 = 15;

/// Says whether the main lane waits before it takes its next run. It has no clock of its own.
pub(super) struct Gather {
    /// Tokens of a run that needs no company.
    enough: usize,
    run: Option<Run>,
    window: Option<Window>,
    /// Windows to leave out after the last one, and how many of those are to come.
    pause: u32,
    left_out: u32,
}

/// The run under way.
struct Run {
    began: Instant,
    tokens: usize,
    /// Calls that waited when its results came, before any of its callers could come again.
    waited: Option<usize>,
}

/// A wait for company.
struct Window {
    until: Instant,
    /// Calls that ended with the last run, and how many of as many have not come since.
    served: usize,
    missing: usize,
    /// Tokens that would be enough.
    room: usize,
}

impl Gather {
    /// A run of so many tokens waits for nobody; zero: none does.
    pub fn new(enough: usize) -> Self {
        Self { enough, run: None, window: None, pause: 0, left_out: 0 }
    }

    /// A run of so many tokens begins.
    pub fn begin(&mut self, tokens: usize, now: Instant) {
        self.window = None;
        self.run = Some(Run { began: now, tokens, waited: None });
    }

    /// The run has results, none of which has been delivered, and so many calls wait. Of a run in
    /// parts, the first results count.
    pub fn results(&mut self, waiting: usize) {
        if let Some(run) = &mut self.run {
            run.waited.get_or_insert(waiting);
        }
    }

    /// The run has ended, and with it the calls that were `served`. What waits now may be of their
    /// callers, too.
    pub fn end(&mut self, served: usize, waiting: usize, waiting_tokens: usize, now: Instant) {
        let Some(Run { began, tokens, waited: Some(waited) }) = self.run.take() else { return };
        let callers = served + waited;
        if served == 0 || callers == 1 || tokens.max(waiting_tokens) >= self.enough {
            return;
        }
        if self.left_out > 0 {
            self.left_out -= 1;
            return;
        }
        self.window = Some(Window {
            until: now + (now - began) / WINDOW_DIVISOR,
            served,
            missing: callers.saturating_sub(waiting),
            room: self.enough - waiting_tokens,
        });
    }

    /// A call of so many tokens has come. Returns whether the next run is to be taken at once.
    pub fn come(&mut self, tokens: usize) -> bool {
        let Some(window) = &mut self.window else { return true };
        window.missing = window.missing.saturating_sub(1);
        window.room = window.room.saturating_sub(tokens);
        window.is_complete()
    }

    /// Until when the next run waits, if it does.
    pub fn waits_until(&mut self, now: Instant) -> Option<Instant> {
        let window = self.window.as_ref()?;
        if !window.is_complete() && now < window.until {
            return Some(window.until);
        }
        let in_vain = !window.is_complete() && window.missing * 2 > window.served;
        self.pause = if in_vain { (self.pause * 2 + 1).min(LEFT_OUT_MAX) } else { 0 };
        self.left_out = self.pause;
        self.window = None;
        None
    }

    /// As if the run under way had begun so much earlier.
    #[cfg(test)]
    pub fn has_run_for(&mut self, time: std::time::Duration) {
        let run = self.run.as_mut().unwrap();
        run.began = run.began.checked_sub(time).unwrap();
    }

    #[cfg(test)]
    pub fn is_open(&self) -> bool {
        self.window.is_some()
    }
}

impl Window {
    fn is_complete(&self) -> bool {
        self.missing == 0 || self.room == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RUN: Duration = Duration::from_millis(80);
    const WINDOW: Duration = Duration::from_millis(10);

    /// A run of `served` calls of ten tokens, during which `waiting` others came, and its end.
    fn run(gather: &mut Gather, served: usize, waiting: usize) -> Instant {
        let now = Instant::now();
        gather.begin(served * 10, now);
        gather.results(waiting);
        gather.end(served, waiting, waiting * 10, now + RUN);
        now + RUN
    }

    #[test]
    fn two_groups_of_callers_become_one() {
        let mut gather = Gather::new(512);
        let now = run(&mut gather, 8, 8);
        assert_eq!(gather.waits_until(now), Some(now + WINDOW));
        for _ in 0..7 {
            assert!(!gather.come(10));
            assert_eq!(gather.waits_until(now), Some(now + WINDOW));
        }
        assert!(gather.come(10));
        assert_eq!(gather.waits_until(now), None);
        // They are one, and stay so.
        let now = run(&mut gather, 16, 0);
        assert!((0..15).all(|_| !gather.come(10)) && gather.come(10));
        assert_eq!(gather.waits_until(now), None);
    }

    #[test]
    fn callers_that_come_while_others_get_their_results_are_not_waited_for() {
        let mut gather = Gather::new(512);
        let now = Instant::now();
        for (waiting, missing) in [(11, 5), (15, 1), (16, 0), (20, 0)] {
            gather.begin(80, now);
            gather.results(8);
            gather.end(8, waiting, waiting * 10, now + RUN);
            let wait = gather.waits_until(now + RUN);
            assert_eq!(wait, (missing > 0).then_some(now + RUN + WINDOW));
            let needed = (1..=missing).find(|_| gather.come(10));
            assert_eq!(needed, (missing > 0).then_some(missing));
        }
    }

    #[test]
    fn windows_in_vain_become_rare_until_one_is_not() {
        let mut gather = Gather::new(512);
        let mut left_out = |came: usize| {
            let mut count = 0;
            let mut now = run(&mut gather, 4, 1);
            while gather.waits_until(now).is_none() {
                count += 1;
                now = run(&mut gather, 4, 1);
            }
            (0..came).for_each(|_| assert!(!gather.come(10)));
            assert_eq!(gather.waits_until(now + WINDOW), None);
            count
        };
        let counts = [0, 1, 0, 1, 0, 0, 2, 0, 3, 0].map(&mut left_out);
        assert_eq!(counts, [0, 1, 3, 7, 15, 15, 15, 0, 1, 0]);
    }

    #[test]
    fn whoever_gains_nothing_by_company_does_not_wait() {
        for (served, waiting, waits) in [
            (1, 0, false),
            (1, 1, true),
            (2, 0, true),
            (0, 2, false),
            (51, 0, true),
            (52, 0, false),
        ] {
            let mut gather = Gather::new(512);
            let now = run(&mut gather, served, waiting);
            assert_eq!(gather.waits_until(now).is_some(), waits, "{served}, {waiting}");
        }
        for (enough, waits) in [(0, false), (80, false), (81, true)] {
            let mut gather = Gather::new(enough);
            let now = run(&mut gather, 2, 8);
            assert_eq!(gather.waits_until(now).is_some(), waits, "{enough}");
        }
    }

    #[test]
    fn a_large_call_ends_the_wait() {
        let mut gather = Gather::new(512);
        let now = run(&mut gather, 8, 8);
        assert!(!gather.come(431));
        assert!(gather.come(1));
        assert_eq!(gather.waits_until(now), None);
        // That was no wait in vain.
        let now = run(&mut gather, 8, 8);
        assert!(gather.waits_until(now).is_some());
    }

    #[test]
    fn a_run_without_results_is_followed_at_once() {
        let mut gather = Gather::new(512);
        let now = Instant::now();
        gather.begin(20, now);
        gather.end(2, 0, 0, now + RUN);
        assert_eq!(gather.waits_until(now + RUN), None);
    }

    #[test]
    fn the_first_results_of_a_run_in_parts_count() {
        let mut gather = Gather::new(512);
        let now = Instant::now();
        gather.begin(20, now);
        gather.results(0);
        // The caller of the first part.
        gather.results(1);
        gather.end(2, 1, 10, now + RUN);
        assert!(gather.come(10));
    }
}
