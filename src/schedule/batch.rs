//! Which of the waiting texts go into the next batch.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::{Call, Sequence};
use super::deadlines::{self, Limits, Plan, Urgent};
use super::pace::Pace;
use super::policy::{HURRY, LONG_TOKENS, LOOK_AHEAD, TEXT_TOKENS_MIN};
use crate::error::error;

/// A call with those of its texts that wait.
pub(super) struct PendingCall {
    pub call: Arc<Call>,
    sequences: VecDeque<Sequence>,
    tokens: usize,
    /// The work of the texts that wait.
    work: usize,
    deadline: Option<Instant>,
    /// Its tokens in the batch that is being put together, if it has a text there.
    batch_tokens: Option<usize>,
    /// Whether it once was the first call and yielded to calls with deadlines.
    yielded: bool,
}

/// A text of the next batch, and its call.
pub(super) struct BatchText {
    pub call: Arc<Call>,
    pub sequence: Sequence,
}

pub(super) struct Batch {
    pub texts: Vec<BatchText>,
    /// Whether a short call should run beside it rather than wait for its end.
    pub long: bool,
    /// Calls that were dropped because they could not have ended in time.
    pub dropped: u64,
    /// Whether calls were dropped, or skipped for others.
    pub loses: bool,
}

/// The limits of a batch, and what its duration is estimated by.
pub(super) struct Conditions<'a> {
    pub tokens_max: usize,
    /// A batch of this many tokens gains little by more of them.
    pub tokens_enough: usize,
    /// How many devices share the waiting texts.
    pub devices: usize,
    /// Whether calls missed their deadlines of late.
    pub recently_lost: bool,
    pub pace: &'a Pace,
    pub now: Instant,
}

/// Takes calls that have no more than `tokens_max` tokens in all, each as a whole and the oldest
/// first, and as many of them as can end in time together.
pub(super) fn take_short_calls(
    calls: &mut VecDeque<PendingCall>,
    conditions: &Conditions<'_>,
) -> Vec<BatchText> {
    let mut tokens_left = conditions.tokens_max;
    let mut chosen = Vec::new();
    let (mut work, mut left) = (0, Duration::MAX);
    let mut late = None;
    for (index, pending) in calls.iter().enumerate() {
        if pending.tokens <= tokens_left && !pending.call.is_over() {
            let left_of_all = left.min(pending.left(conditions.now).unwrap_or(Duration::MAX));
            let time = conditions.pace.expected_time(work + pending.work).unwrap_or_default();
            if time <= left_of_all {
                tokens_left -= pending.tokens;
                (work, left) = (work + pending.work, left_of_all);
                chosen.push(index);
            } else {
                late = late.or(Some(index));
            }
        }
        if tokens_left < TEXT_TOKENS_MIN {
            break;
        }
    }
    // The estimate may be wrong, and only a batch can correct it.
    if chosen.is_empty() {
        chosen.extend(late);
    }
    // From the back, so that the indices of those before stay valid.
    let mut taken: Vec<_> =
        chosen.into_iter().rev().filter_map(|index| calls.remove(index)).collect();
    taken.reverse();
    let texts = taken.into_iter().flat_map(|PendingCall { call, sequences, .. }| {
        let text = move |sequence| BatchText { call: Arc::clone(&call), sequence };
        sequences.into_iter().map(text)
    });
    texts.collect()
}

/// Takes turns between calls, one text each, so that a single query does not wait behind all of a
/// bulk load.
///
/// The first call always gets its oldest text in, however long that is; the other calls add texts
/// that fit. Then calls that were passed over come before those that were served. So every batch
/// brings a call nearer to the front, and a call behind n others waits for n batches at most.
///
/// Where calls have deadlines, the batch is made small enough for them, and the earliest deadline
/// has the next turn. The first call then yields, once, if there is no time for its text. A call
/// that could not end in time even alone is dropped, unless nothing else waits: the estimate may be
/// wrong.
pub(super) fn take_turns(calls: &mut VecDeque<PendingCall>, conditions: &Conditions<'_>) -> Batch {
    let (mut candidates, dropped) = candidates(calls, conditions);
    let (plan, mut order) = order(&candidates, conditions);
    let mut batch = BatchBuilder {
        texts: Vec::new(),
        tokens_left: conditions.tokens_max,
        work_left: plan.work,
        conditions,
    };
    if let Some(&next) = order.first()
        && next != 0
        && order.contains(&0)
    {
        let first = candidates[0].next_work(conditions.pace);
        let both = first.saturating_add(candidates[next].next_work(conditions.pace));
        let yields = both > plan.work && !candidates[0].yielded;
        candidates[0].yielded = yields;
        order.retain(|&index| index != 0);
        if !yields {
            order.insert(0, 0);
        }
    }
    // The batch only fills up, so a call of which nothing fits is not asked again.
    order.retain(|&index| batch.take_from(&mut candidates[index]));
    for &index in &order {
        if candidates[index].slack(conditions).is_some_and(|slack| slack * HURRY < 1.0) {
            while batch.take_from(&mut candidates[index]) {}
        }
    }
    while !batch.is_full() && !order.is_empty() {
        order.retain(|&index| batch.take_from(&mut candidates[index]));
    }
    let texts = batch.texts;
    let long = candidates.iter().any(|pending| pending.batch_tokens >= Some(LONG_TOKENS));
    let (served, passed_over): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|pending| pending.batch_tokens.is_some());
    for pending in passed_over.into_iter().rev() {
        calls.push_front(pending);
    }
    let unfinished = served.into_iter().filter(|pending| !pending.sequences.is_empty());
    calls.extend(unfinished.map(|pending| PendingCall {
        batch_tokens: None,
        yielded: false,
        ..pending
    }));
    Batch { texts, long, dropped, loses: dropped > 0 || plan.skipped > 0 }
}

/// Takes the calls that may have a text in the next batch. Returns also how many were dropped.
fn candidates(
    calls: &mut VecDeque<PendingCall>,
    conditions: &Conditions<'_>,
) -> (Vec<PendingCall>, u64) {
    // Not all of them: thousands may wait, and looking at each before every batch would cost the
    // square of their number.
    let calls_max = (conditions.tokens_max / TEXT_TOKENS_MIN).max(1);
    let mut candidates = Vec::new();
    let mut late: Vec<(f64, PendingCall)> = Vec::new();
    while candidates.len() < calls_max
        && (candidates.is_empty() || candidates.try_reserve(1).is_ok())
        && let Some(pending) = calls.pop_front()
    {
        if pending.call.is_over() {
            continue;
        }
        match pending.slack(conditions) {
            Some(slack) if slack < 1.0 => late.push((slack, pending)),
            _ => candidates.push(pending),
        }
    }
    if candidates.is_empty() {
        late.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        candidates.extend(late.pop().map(|(_, pending)| pending));
    }
    late.iter().for_each(|(_, pending)| pending.drop_late(conditions));
    (candidates, late.len() as u64)
}

/// The plan of the batch, and the order in which candidates have their turns: those with a deadline
/// first.
fn order(candidates: &[PendingCall], conditions: &Conditions<'_>) -> (Plan, Vec<usize>) {
    let (mut urgent, others): (Vec<usize>, Vec<usize>) =
        (0..candidates.len()).partition(|&index| candidates[index].deadline.is_some());
    urgent.sort_by_key(|&index| candidates[index].deadline);
    let calls: Vec<Urgent> = urgent
        .iter()
        .filter_map(|&index| {
            let pending = &candidates[index];
            let work = pending.work.div_ceil(conditions.devices);
            Some(Urgent { left: pending.left(conditions.now)?, work })
        })
        .collect();
    let limits = Limits {
        enough: conditions.tokens_enough,
        most: conditions.pace.work(conditions.tokens_max),
        recently_lost: conditions.recently_lost,
    };
    let plan = deadlines::plan(&calls, conditions.pace, limits);
    urgent.drain(..plan.skipped);
    urgent.extend(others);
    (plan, urgent)
}

struct BatchBuilder<'a> {
    texts: Vec<BatchText>,
    tokens_left: usize,
    work_left: usize,
    conditions: &'a Conditions<'a>,
}

impl BatchBuilder<'_> {
    fn is_full(&self) -> bool {
        !self.texts.is_empty() && self.tokens_left.min(self.work_left) == 0
    }

    /// Takes a text of a call if one fits. The first text of a batch always does.
    fn take_from(&mut self, pending: &mut PendingCall) -> bool {
        let pace = self.conditions.pace;
        let tokens_max = match self.texts.is_empty() {
            true => usize::MAX,
            false => self.tokens_left.min(pace.tokens(self.work_left)),
        };
        // The memory for the first text is so little that it is not checked.
        if self.texts.try_reserve(1).is_err() && !self.texts.is_empty() {
            return false;
        }
        let Some(sequence) = pending.take(tokens_max) else { return false };
        let tokens = sequence.ids.len();
        let work = pace.work(tokens);
        pending.batch_tokens = Some(pending.batch_tokens.unwrap_or(0) + tokens);
        pending.work = pending.work.saturating_sub(work);
        self.tokens_left = self.tokens_left.saturating_sub(tokens);
        self.work_left = self.work_left.saturating_sub(work);
        self.texts.push(BatchText { call: Arc::clone(&pending.call), sequence });
        true
    }
}

impl PendingCall {
    pub fn new(call: Arc<Call>, sequences: Vec<Sequence>, pace: &Pace) -> Self {
        let lengths = || sequences.iter().map(|sequence| sequence.ids.len());
        Self {
            tokens: lengths().sum(),
            work: lengths().fold(0, |sum, tokens| pace.work(tokens).saturating_add(sum)),
            deadline: call.deadline(),
            call,
            sequences: sequences.into(),
            batch_tokens: None,
            yielded: false,
        }
    }

    /// Sets a deadline that is not the call's.
    #[cfg(test)]
    pub fn with_deadline(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// The tokens of all its texts, those that have run included.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The time until its deadline, if it has one.
    fn left(&self, now: Instant) -> Option<Duration> {
        Some(self.deadline?.saturating_duration_since(now))
    }

    /// The least time that its waiting texts take, if any batch has been timed.
    fn least_time(&self, conditions: &Conditions<'_>) -> Option<Duration> {
        let shared = self.work.div_ceil(conditions.devices);
        conditions.pace.expected_time(shared.max(self.next_work(conditions.pace)))
    }

    /// The time that is left, divided by the least time that it needs. `None` without a deadline,
    /// or before any batch has been timed.
    fn slack(&self, conditions: &Conditions<'_>) -> Option<f64> {
        let (left, least) = (self.left(conditions.now)?, self.least_time(conditions)?);
        Some(left.as_secs_f64() / least.as_secs_f64().max(f64::MIN_POSITIVE))
    }

    /// The work of its oldest waiting text.
    fn next_work(&self, pace: &Pace) -> usize {
        self.sequences.front().map_or(0, |sequence| pace.work(sequence.ids.len()))
    }

    /// Fails a call that would miss its deadline.
    fn drop_late(&self, conditions: &Conditions<'_>) {
        let tokens: usize = self.sequences.iter().map(|sequence| sequence.ids.len()).sum();
        let (left, least) = (self.left(conditions.now), self.least_time(conditions));
        let rate = least.map_or(0.0, |least| tokens as f64 / least.as_secs_f64());
        self.call.fail(error!(
            Timeout,
            "the call was dropped before its run, which would have ended after its timeout_ms of {}: \
             {} ms were left, and its {tokens} tokens take {} ms, at {rate:.0} tokens a second in the \
             last runs; raise timeout_ms, or send fewer or shorter texts at once",
            self.call.timeout().unwrap_or_default().as_millis(),
            left.unwrap_or_default().as_millis(),
            least.unwrap_or_default().as_millis(),
        ));
    }

    /// Takes the oldest text, or if that does not fit, the longest of the next ones that does.
    fn take(&mut self, tokens_max: usize) -> Option<Sequence> {
        let ahead = self.sequences.iter().take(LOOK_AHEAD).map(|sequence| sequence.ids.len());
        let index = match self.sequences.front()?.ids.len() <= tokens_max {
            true => 0,
            false => {
                let fitting = ahead.enumerate().filter(|&(_, length)| length <= tokens_max);
                fitting.max_by_key(|&(index, length)| (length, Reverse(index)))?.0
            }
        };
        self.sequences.remove(index)
    }
}

#[cfg(test)]
mod tests;
