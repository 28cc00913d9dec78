//! A simulation of callers that each send one text after another and wait no longer than a
//! deadline, on a simulated clock: how many calls end in time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::schedule::batch::{Conditions, PendingCall, take_turns};
use crate::schedule::call::{Call, ResultSpec, Sequence};
use crate::schedule::pace::Pace;

const TOKENS_MAX: usize = 2048;
/// The fixed cost of a batch, as the time of this many tokens.
const FIXED: f64 = 40.0;
const TOKEN: Duration = Duration::from_micros(500);
const SECONDS: u64 = 10;

struct Load {
    callers: usize,
    tokens: usize,
    /// As a multiple of the time of a batch of all callers, or of the largest batch allowed.
    deadline: f64,
    /// How far the time of a batch scatters around its mean, as a share of it.
    noise: f64,
    /// The longest time between two calls, as a share of the deadline.
    pause: f64,
}

/// A generator of numbers from 0 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Load {
    fn run_time(&self, tokens: usize) -> Duration {
        TOKEN.mul_f64(FIXED + tokens as f64)
    }

    fn limit(&self) -> Duration {
        let largest = TOKENS_MAX.min(self.callers * self.tokens);
        self.run_time(largest).mul_f64(self.deadline)
    }

    /// Calls that ended in time, with batches of at most `tokens_max` tokens. `aware`: the
    /// scheduler knows the deadlines.
    fn completed(&self, tokens_max: usize, aware: bool) -> usize {
        let (mut random, start) = (Random(7), Instant::now());
        let (end, limit) = (start + Duration::from_secs(SECONDS), self.limit());
        let (mut pace, mut now, mut completed) = (Pace::new(1 << 20), start, 0);
        // When each caller calls next, and the deadlines of the calls that wait.
        let mut coming: Vec<Instant> = (0..self.callers)
            .map(|_| start + Duration::from_secs_f64(random.next() * 1e-3))
            .collect();
        let mut deadlines: Vec<(Arc<Call>, Instant)> = Vec::new();
        let mut calls = VecDeque::new();
        let mut losing = 0;
        let mut linger: Option<(usize, Instant)> = None;
        while now < end {
            coming.sort();
            if let Some((served, until)) = linger.take() {
                let back = coming.get(served.saturating_sub(1)).copied().unwrap_or(until);
                now = now.max(back.min(until));
            }
            if calls.is_empty() {
                now = now.max(coming.first().copied().unwrap_or(now));
            }
            let come = coming.iter().take_while(|&&at| at <= now).count();
            for at in coming.drain(..come) {
                let call = Call::new(1, ResultSpec::dense(1), None, None).unwrap();
                let sequence = Sequence { text: 0, ids: vec![0; self.tokens], prompt_tokens: 0 };
                let pending = PendingCall::new(Arc::clone(&call), vec![sequence], &pace);
                let deadline = at + limit;
                calls.push_back(if aware { pending.with_deadline(deadline) } else { pending });
                deadlines.push((call, deadline));
            }
            let conditions = Conditions {
                tokens_max,
                tokens_enough: 512.min(tokens_max),
                devices: 1,
                recently_lost: losing > 0,
                pace: &pace,
                now,
            };
            // Callers leave at their deadlines.
            for (call, _) in deadlines.iter().filter(|(_, deadline)| *deadline <= now) {
                call.fail(crate::error::error!(Timeout, "late"));
            }
            let batch = take_turns(&mut calls, &conditions);
            losing = if batch.loses { 16 } else { losing.max(1) - 1 };
            let tokens: usize = batch.texts.iter().map(|text| text.sequence.ids.len()).sum();
            let time =
                self.run_time(tokens).mul_f64(1.0 + self.noise * (2.0 * random.next() - 1.0));
            let wanted = batch
                .texts
                .iter()
                .filter_map(|text| deadlines.iter().find(|(call, _)| Arc::ptr_eq(call, &text.call)))
                .map(|(_, deadline)| *deadline)
                .max();
            let ended = wanted.is_none_or(|wanted| now + time <= wanted);
            let took = if ended { time } else { wanted.unwrap() - now };
            pace.record(tokens, took, ended);
            now += took;
            if tokens < 512 && batch.texts.len() + calls.len() > 1 {
                linger = Some((batch.texts.len(), now + took / 8));
            }
            for text in batch.texts.iter().filter(|text| !text.call.is_over()) {
                let deadline =
                    deadlines.iter().find(|(call, _)| Arc::ptr_eq(call, &text.call)).unwrap().1;
                if ended && now <= deadline {
                    completed += 1;
                }
                text.call.fail(crate::error::error!(Closed, "over"));
            }
            deadlines.retain(|(call, deadline)| {
                if !call.is_over() {
                    return true;
                }
                // The caller learns of the end of its call then, or at its deadline.
                let back = now.min(*deadline);
                let pause = limit.mul_f64(self.pause * random.next());
                coming.push(back + pause + Duration::from_secs_f64(random.next() * 1e-4));
                false
            });
        }
        completed
    }
}

/// For the loads in the table of docs/benchmarks/2026-12-01-deadlines.md, the calls that ended in
/// time as a share of those with the best fixed batch size.
fn ratios(noise: f64, pause: f64) -> Vec<(String, f64)> {
    let mut ratios = Vec::new();
    for (tokens, callers) in
        [(12, 4), (12, 16), (12, 64), (12, 170), (129, 4), (129, 16), (129, 64)]
    {
        for deadline in [0.25, 0.4, 0.6, 0.75, 1.0, 1.5, 2.0, 4.0] {
            let load = Load { callers, tokens, deadline, noise, pause };
            let caps = [2048, 1024, 512, 256, 128].map(|cap| load.completed(cap, false));
            let best = caps.into_iter().max().unwrap();
            let completed = load.completed(TOKENS_MAX, true);
            let what = format!(
                "{callers} callers, {tokens} tokens, a deadline of {deadline} runs: {completed} of {caps:?}"
            );
            // A ratio of a few calls would be chance.
            if best > 20 {
                ratios.push((what, completed as f64 / best as f64));
            }
        }
    }
    ratios
}

#[test]
fn as_many_calls_end_in_time_as_with_the_best_of_fixed_sizes_but_for_a_tenth() {
    for (noise, pause) in [(0.0, 0.0), (0.1, 0.0), (0.1, 1.0)] {
        for (what, ratio) in ratios(noise, pause) {
            assert!(ratio >= 0.9, "noise {noise}, pauses of {pause}: {what}");
        }
    }
}

#[test]
fn with_full_batches_alone_almost_no_call_would_end_in_time() {
    let load = Load { callers: 170, tokens: 12, deadline: 0.6, noise: 0.1, pause: 0.0 };
    let (full, ours) = (load.completed(TOKENS_MAX, false), load.completed(TOKENS_MAX, true));
    assert!(full < 50 && ours > 1000, "{full}, {ours}");
}
