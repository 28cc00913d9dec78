//! How large a batch may be so that calls meet their deadlines, and which calls are skipped for
//! that.
//!
//! Late results are thrown away. So a batch that ends after the deadlines of its calls is worse
//! than none, and where not all calls can end in time it is better to skip some than to be late
//! with all.

use std::time::Duration;

use super::pace::Pace;
use super::policy::{RATE_MIN, URGENT_TIME_DIVISOR};

/// A call that has a deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Urgent {
    /// The time until then.
    pub left: Duration,
    /// The work of its waiting texts.
    pub work: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// How many of the most urgent calls are left out of the batch: not all can end in time, and a
    /// batch that ends in time for these would be a small one.
    pub skipped: usize,
    /// The most work of the batch.
    pub work: usize,
}

/// The limits of a batch that do not depend on its calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A batch with this work gains little by more.
    pub enough: usize,
    /// The most work that a batch may have.
    pub most: usize,
    /// Whether calls missed their deadlines of late. Then a small batch for an urgent call is not
    /// affordable, even if there is time for all that wait now: it takes the time of several calls
    /// that are about to come.
    pub recently_lost: bool,
}

/// Plans a batch, given the calls with a deadline, the earliest first.
pub(super) fn plan(urgent: &[Urgent], pace: &Pace, limits: Limits) -> Plan {
    let Some(first) = urgent.first() else { return Plan { skipped: 0, work: limits.most } };
    let work_for = |left: Duration| {
        let share = pace.work_within(left / URGENT_TIME_DIVISOR)?;
        let nearly_all = pace.work_within(pace.less_margin(left))?;
        Some(share.max(nearly_all.min(limits.enough)).min(limits.most))
    };
    // Nothing is known before the first batch, which is therefore a small one.
    let Some(work) = work_for(first.left) else { return Plan { skipped: 0, work: limits.enough } };
    if !limits.recently_lost && all_can_end_in_time(urgent, pace) {
        return Plan { skipped: 0, work };
    }
    let mut rest: usize = urgent.iter().fold(0, |sum, call| sum.saturating_add(call.work));
    // For each call, the work and the rate of a batch whose most urgent call it is.
    let batches: Vec<(usize, f64)> = urgent
        .iter()
        .map(|call| {
            let allowed = work_for(call.left).unwrap_or(work);
            let batch = allowed.min(rest).max(1);
            rest = rest.saturating_sub(call.work);
            let took = pace.expected_time(batch).unwrap_or_default().as_secs_f64();
            (allowed, batch as f64 / took.max(f64::MIN_POSITIVE))
        })
        .collect();
    let fastest = batches.iter().map(|&(_, rate)| rate).fold(0.0, f64::max);
    let skipped = batches.iter().position(|&(_, rate)| rate >= RATE_MIN * fastest).unwrap_or(0);
    Plan { skipped, work: batches[skipped].0 }
}

/// Whether every call can end in time if those before it run first.
fn all_can_end_in_time(urgent: &[Urgent], pace: &Pace) -> bool {
    let mut work = 0usize;
    urgent.iter().all(|call| {
        work = work.saturating_add(call.work);
        pace.expected_time(work).is_none_or(|time| time <= call.left)
    })
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use super::*;

    /// Two milliseconds for each unit of work, and as much as for 40 of them for each batch.
    fn pace() -> Pace {
        let mut pace = Pace::new(usize::MAX / 8);
        for class in (0..16).cycle().take(800) {
            let work = 3 << class >> 1;
            pace.record(work, Duration::from_millis(2 * (work as u64 + 40)), true);
        }
        pace
    }

    fn planned(calls: &[(u64, usize)]) -> (usize, usize) {
        let urgent: Vec<_> = calls
            .iter()
            .map(|&(left, work)| Urgent { left: Duration::from_millis(left), work })
            .collect();
        let limits = Limits { enough: 512, most: 2048, recently_lost: false };
        let Plan { skipped, work } = plan(&urgent, &pace(), limits);
        (skipped, work)
    }

    #[test]
    fn without_deadlines_batches_are_as_large_as_they_may_be() {
        assert_eq!(planned(&[]), (0, 2048));
        assert_eq!(planned(&[(60_000, 100)]), (0, 2048));
    }

    #[test]
    fn a_batch_takes_half_of_the_time_that_the_most_urgent_call_has() {
        let (skipped, work) = planned(&[(4000, 100), (5000, 100)]);
        assert_eq!(skipped, 0);
        assert!((900..1000).contains(&work), "{work}");
    }

    #[test]
    fn a_small_batch_takes_nearly_all_of_it() {
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
    fn without_time_for_all_urgent_calls_are_skipped_if_that_saves_more_of_the_others() {
        let mut calls = vec![(200, 12)];
        calls.extend([(3000, 12); 170]);
        assert_eq!(planned(&calls).0, 1);
        // They are not skipped in favor of calls that have little more time.
        let mut calls = vec![(1800, 12)];
        calls.extend([(2000, 12); 170]);
        assert_eq!(planned(&calls).0, 0);
    }

    #[test]
    fn an_urgent_call_is_also_skipped_if_calls_were_lost_of_late() {
        let urgent = [(200, 12), (8000, 1000)]
            .map(|(left, work)| Urgent { left: Duration::from_millis(left), work });
        for recently_lost in [false, true] {
            let limits = Limits { enough: 512, most: 2048, recently_lost };
            assert_eq!(plan(&urgent, &pace(), limits).skipped, usize::from(recently_lost));
        }
    }

    #[test]
    fn the_first_batch_of_a_model_is_a_small_one() {
        let urgent = [Urgent { left: Duration::from_secs(60), work: 12 }];
        let limits = Limits { enough: 512, most: 2048, recently_lost: false };
        assert_eq!(plan(&urgent, &Pace::new(1024), limits), Plan { skipped: 0, work: 512 });
    }
}
