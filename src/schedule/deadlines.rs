//! How large a run may be so that calls end in time, and which calls are given up for that.
//!
//! What is late is thrown away. So a run that takes longer than its calls allow is worse than none,
//! and where not all can be done in time it is better to leave out some than to be late with all.

use std::time::Duration;

use super::pace::Pace;

/// A run takes the time that is left to its most urgent call, divided by this, at most: then what
/// comes meanwhile, with as much time, is not lost when it ends.
const SHARE: u32 = 2;
/// Where not all can be done, a run has to have so much of the speed of the fastest that could be.
const SPEED_MIN: f64 = 0.9;

/// A call that has a deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Urgent {
    /// The time until then.
    pub left: Duration,
    /// What is still to be done for it.
    pub work: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// So many of the most urgent calls are not in the run: too little time is left for all, and a run
    /// that ends in time for these would be a small one.
    pub skipped: usize,
    /// The most work of the run.
    pub work: usize,
}

/// What decides about a run beside its calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The work of a run that gains little by more.
    pub enough: usize,
    /// The most work that a run may have.
    pub most: usize,
    /// Whether calls were lost of late. Then a small run for an urgent call is not to be afforded, even
    /// if there is time for all that wait now: it takes the time of several that are about to come.
    pub losing: bool,
}

/// Plans a run, given the calls with a deadline in its order.
pub(super) fn plan(urgent: &[Urgent], pace: &Pace, limits: Limits) -> Plan {
    let Some(first) = urgent.first() else { return Plan { skipped: 0, work: limits.most } };
    let room = |left: Duration| {
        let share = pace.within(left / SHARE)?;
        let nearly_all = pace.within(pace.without_margin(left))?;
        Some(share.max(nearly_all.min(limits.enough)).min(limits.most))
    };
    // The first run is one to measure by.
    let Some(work) = room(first.left) else { return Plan { skipped: 0, work: limits.enough } };
    if !limits.losing && can_all_be_done(urgent, pace) {
        return Plan { skipped: 0, work };
    }
    let mut rest: usize = urgent.iter().fold(0, |sum, call| sum.saturating_add(call.work));
    let runs: Vec<(usize, f64)> = urgent
        .iter()
        .map(|call| {
            let room = room(call.left).unwrap_or(work);
            let run = room.min(rest).max(1);
            rest = rest.saturating_sub(call.work);
            let took = pace.expected(run).unwrap_or_default().as_secs_f64();
            (room, run as f64 / took.max(f64::MIN_POSITIVE))
        })
        .collect();
    let fastest = runs.iter().map(|&(_, speed)| speed).fold(0.0, f64::max);
    let skipped = runs.iter().position(|&(_, speed)| speed >= SPEED_MIN * fastest).unwrap_or(0);
    Plan { skipped, work: runs[skipped].0 }
}

/// Whether every call can end in time, if those before it are done first.
fn can_all_be_done(urgent: &[Urgent], pace: &Pace) -> bool {
    let mut work = 0usize;
    urgent.iter().all(|call| {
        work = work.saturating_add(call.work);
        pace.expected(work).is_none_or(|time| time <= call.left)
    })
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use super::*;

    /// Two milliseconds for each unit of work, and as much as for 40 of them for each run.
    fn pace() -> Pace {
        let mut pace = Pace::of(usize::MAX / 8);
        for class in (0..16).cycle().take(800) {
            let work = 3 << class >> 1;
            pace.learn(work, Duration::from_millis(2 * (work as u64 + 40)), true);
        }
        pace
    }

    fn planned(calls: &[(u64, usize)]) -> (usize, usize) {
        let urgent: Vec<_> = calls
            .iter()
            .map(|&(left, work)| Urgent { left: Duration::from_millis(left), work })
            .collect();
        let limits = Limits { enough: 512, most: 2048, losing: false };
        let Plan { skipped, work } = plan(&urgent, &pace(), limits);
        (skipped, work)
    }

    #[test]
    fn without_deadlines_runs_are_as_large_as_ever() {
        assert_eq!(planned(&[]), (0, 2048));
        assert_eq!(planned(&[(60_000, 100)]), (0, 2048));
    }

    #[test]
    fn a_run_takes_half_of_the_time_that_the_most_urgent_call_has() {
        let (skipped, work) = planned(&[(4000, 100), (5000, 100)]);
        assert_eq!(skipped, 0);
        assert!((900..1000).contains(&work), "{work}");
    }

    #[test]
    fn or_nearly_all_of_it_where_that_is_a_small_run() {
        let (_, work) = planned(&[(1000, 100)]);
        assert!((380..454).contains(&work), "{work}");
        assert_eq!(planned(&[(1400, 100)]).1, 512);
    }

    #[test]
    fn an_urgent_call_goes_first_if_there_is_time_for_all() {
        let (skipped, work) = planned(&[(200, 12), (8000, 1000), (8000, 1000)]);
        assert_eq!(skipped, 0);
        assert!((30..60).contains(&work), "{work}");
    }

    #[test]
    fn where_there_is_not_urgent_calls_are_left_out_if_that_saves_more_of_the_others() {
        let mut calls = vec![(200, 12)];
        calls.extend([(3000, 12); 170]);
        assert_eq!(planned(&calls).0, 1);
        // But not in favor of calls that have little more time.
        let mut calls = vec![(1800, 12)];
        calls.extend([(2000, 12); 170]);
        assert_eq!(planned(&calls).0, 0);
    }

    #[test]
    fn an_urgent_call_is_left_out_too_if_calls_were_lost_of_late() {
        let urgent = [(200, 12), (8000, 1000)]
            .map(|(left, work)| Urgent { left: Duration::from_millis(left), work });
        for losing in [false, true] {
            let limits = Limits { enough: 512, most: 2048, losing };
            assert_eq!(plan(&urgent, &pace(), limits).skipped, usize::from(losing));
        }
    }

    #[test]
    fn the_first_run_of_a_model_is_a_small_one() {
        let urgent = [Urgent { left: Duration::from_secs(60), work: 12 }];
        let limits = Limits { enough: 512, most: 2048, losing: false };
        assert_eq!(plan(&urgent, &Pace::of(1024), limits), Plan { skipped: 0, work: 512 });
    }
}
