//! Which of the texts that wait go into the next run.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deadlines::{self, Limits, Plan, Urgent};
use super::pace::Pace;
use super::{Call, Sequence};
use crate::error::error;

/// How far into a call the search for a text that fills the rest of a run goes.
const LOOK_AHEAD: usize = 64;
/// The special tokens at both ends. No run can have a text of more calls than it has room for
/// these.
const TEXT_TOKENS_MIN: usize = 2;
/// A run is long if so many of its tokens are of one call. Many callers with a short text each make
/// no long run: they share runs, and none of them would gain by leaving the others.
pub(super) const LONG_TOKENS: usize = 512;
/// A call is in a hurry if what is to be done for it takes more than this share of the time that it
/// has left.
const HURRY: f64 = 0.5;

/// A call with the texts of it that wait.
pub(super) struct WaitingCall {
    pub call: Arc<Call>,
    sequences: VecDeque<Sequence>,
    tokens: usize,
    /// The work of the texts that wait.
    work: usize,
    deadline: Option<Instant>,
    /// Tokens in the run that is being put together, if it has a text there.
    taken: Option<usize>,
    /// Whether it was the first call and those with deadlines went before it all the same.
    gave_way: bool,
}

/// A text of the next run, and whose it is.
pub(super) struct Chosen {
    pub call: Arc<Call>,
    pub sequence: Sequence,
}

/// The texts of a run.
pub(super) struct Batch {
    pub texts: Vec<Chosen>,
    /// Whether a short call should pass it rather than wait for its end.
    pub long: bool,
    /// Calls that were given up, as they could not have ended in time.
    pub dropped: u64,
    /// Whether some were, or were left out of the run for others.
    pub loses: bool,
}

/// What a run may be, and what it is going to take.
pub(super) struct Terms<'a> {
    pub tokens_max: usize,
    /// Tokens of a run that gains little by more of them.
    pub tokens_enough: usize,
    /// How many devices share what waits.
    pub devices: usize,
    /// Whether calls were lost of late.
    pub losing: bool,
    pub pace: &'a Pace,
    pub now: Instant,
}

/// Takes calls that have no more than `tokens_max` tokens in all, each as a whole and the oldest
/// first, and as many of them as can end in time together.
pub(super) fn choose_short(calls: &mut VecDeque<WaitingCall>, terms: &Terms<'_>) -> Vec<Chosen> {
    let mut room = terms.tokens_max;
    let mut places = Vec::new();
    let (mut work, mut left) = (0, Duration::MAX);
    let mut late = None;
    for (place, waiting) in calls.iter().enumerate() {
        if waiting.tokens <= room && !waiting.call.is_over() {
            let left_of_all = left.min(waiting.left(terms.now).unwrap_or(Duration::MAX));
            let time = terms.pace.expected(work + waiting.work).unwrap_or_default();
            if time <= left_of_all {
                room -= waiting.tokens;
                (work, left) = (work + waiting.work, left_of_all);
                places.push(place);
            } else {
                late = late.or(Some(place));
            }
        }
        if room < TEXT_TOKENS_MIN {
            break;
        }
    }
    // What was measured may be wrong, and there is nothing else to measure by.
    if places.is_empty() {
        places.extend(late);
    }
    // From the back, so that those before keep their places.
    let mut taken: Vec<_> =
        places.into_iter().rev().filter_map(|place| calls.remove(place)).collect();
    taken.reverse();
    let texts = taken.into_iter().flat_map(|WaitingCall { call, sequences, .. }| {
        let chosen = move |sequence| Chosen { call: Arc::clone(&call), sequence };
        sequences.into_iter().map(chosen)
    });
    texts.collect()
}

/// Takes turns between calls, one text each, so that a single query does not wait behind all of a
/// bulk load.
///
/// The first call always gets its oldest text in, however long that is; others join as far as they
/// fit. Then calls that were passed over come before those that were served. So every run brings a
/// call nearer to the front, and what waits behind n calls waits for n runs at most.
///
/// Where calls have deadlines, the run is made small enough for them, and those with the earliest
/// have the next turns. The first call then gives way, once, if there is no time for its text. A call
/// that could not end in time if it were alone is dropped, but not if nothing else waits: what was
/// measured may be wrong.
pub(super) fn choose(calls: &mut VecDeque<WaitingCall>, terms: &Terms<'_>) -> Batch {
    let (mut candidates, dropped) = candidates(calls, terms);
    let (plan, mut order) = order(&candidates, terms);
    let mut run = Run { texts: Vec::new(), tokens: terms.tokens_max, work: plan.work, terms };
    if let Some(&next) = order.first()
        && next != 0
        && order.contains(&0)
    {
        let first = candidates[0].next_work(terms.pace);
        let fits = first.saturating_add(candidates[next].next_work(terms.pace)) <= plan.work;
        let gives_way = !fits && !candidates[0].gave_way;
        candidates[0].gave_way = gives_way;
        order.retain(|&index| index != 0);
        if !gives_way {
            order.insert(0, 0);
        }
    }
    // The room only shrinks, so a call of which nothing fits is not asked again.
    order.retain(|&index| run.take(&mut candidates[index]));
    for &index in &order {
        if candidates[index].chance(terms).is_some_and(|chance| chance * HURRY < 1.0) {
            while run.take(&mut candidates[index]) {}
        }
    }
    while run.has_room() && !order.is_empty() {
        order.retain(|&index| run.take(&mut candidates[index]));
    }
    let texts = run.texts;
    let long = candidates.iter().any(|waiting| waiting.taken >= Some(LONG_TOKENS));
    let (served, passed_over): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|waiting| waiting.taken.is_some());
    for waiting in passed_over.into_iter().rev() {
        calls.push_front(waiting);
    }
    let unfinished = served.into_iter().filter(|waiting| !waiting.sequences.is_empty());
    calls.extend(unfinished.map(|waiting| WaitingCall { taken: None, gave_way: false, ..waiting }));
    Batch { texts, long, dropped, loses: dropped > 0 || plan.skipped > 0 }
}

/// Takes the calls that may have a text in the next run, and says how many were dropped.
fn candidates(calls: &mut VecDeque<WaitingCall>, terms: &Terms<'_>) -> (Vec<WaitingCall>, u64) {
    // Not all of them: thousands may wait, and looking at each before every run would cost the
    // square of their number.
    let calls_max = (terms.tokens_max / TEXT_TOKENS_MIN).max(1);
    let mut candidates = Vec::new();
    let mut late: Vec<(f64, WaitingCall)> = Vec::new();
    while candidates.len() < calls_max
        && (candidates.is_empty() || candidates.try_reserve(1).is_ok())
        && let Some(waiting) = calls.pop_front()
    {
        if waiting.call.is_over() {
            continue;
        }
        match waiting.chance(terms) {
            Some(chance) if chance < 1.0 => late.push((chance, waiting)),
            _ => candidates.push(waiting),
        }
    }
    if candidates.is_empty() {
        late.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        candidates.extend(late.pop().map(|(_, waiting)| waiting));
    }
    late.iter().for_each(|(_, waiting)| waiting.drop_late(terms));
    (candidates, late.len() as u64)
}

/// Which of the candidates are asked for texts, in turns: those with a deadline first.
fn order(candidates: &[WaitingCall], terms: &Terms<'_>) -> (Plan, Vec<usize>) {
    let (mut urgent, others): (Vec<usize>, Vec<usize>) =
        (0..candidates.len()).partition(|&index| candidates[index].deadline.is_some());
    urgent.sort_by_key(|&index| candidates[index].deadline);
    let calls: Vec<Urgent> = urgent
        .iter()
        .filter_map(|&index| {
            let waiting = &candidates[index];
            let work = waiting.work.div_ceil(terms.devices);
            Some(Urgent { left: waiting.left(terms.now)?, work })
        })
        .collect();
    let work_max = terms.pace.work(terms.tokens_max);
    let limits = Limits { enough: terms.tokens_enough, most: work_max, losing: terms.losing };
    let plan = deadlines::plan(&calls, terms.pace, limits);
    urgent.drain(..plan.skipped);
    urgent.extend(others);
    (plan, urgent)
}

/// A run that is being put together.
struct Run<'a> {
    texts: Vec<Chosen>,
    /// The room for more.
    tokens: usize,
    work: usize,
    terms: &'a Terms<'a>,
}

impl Run<'_> {
    fn has_room(&self) -> bool {
        self.texts.is_empty() || self.tokens.min(self.work) > 0
    }

    /// Takes a text of a call if there is room for one. For the first one there always is.
    fn take(&mut self, waiting: &mut WaitingCall) -> bool {
        let pace = self.terms.pace;
        let room = match self.texts.is_empty() {
            true => usize::MAX,
            false => self.tokens.min(pace.tokens(self.work)),
        };
        // The room for the first one is so small that it is not asked for.
        if self.texts.try_reserve(1).is_err() && !self.texts.is_empty() {
            return false;
        }
        let Some(sequence) = waiting.take(room) else { return false };
        let tokens = sequence.ids.len();
        let work = pace.work(tokens);
        waiting.taken = Some(waiting.taken.unwrap_or(0) + tokens);
        waiting.work = waiting.work.saturating_sub(work);
        self.tokens = self.tokens.saturating_sub(tokens);
        self.work = self.work.saturating_sub(work);
        self.texts.push(Chosen { call: Arc::clone(&waiting.call), sequence });
        true
    }
}

impl WaitingCall {
    pub fn new(call: Arc<Call>, sequences: Vec<Sequence>, pace: &Pace) -> Self {
        let lengths = || sequences.iter().map(|sequence| sequence.ids.len());
        Self {
            tokens: lengths().sum(),
            work: lengths().fold(0, |sum, tokens| pace.work(tokens).saturating_add(sum)),
            deadline: call.deadline(),
            call,
            sequences: sequences.into(),
            taken: None,
            gave_way: false,
        }
    }

    /// With a deadline that its call knows nothing of.
    #[cfg(test)]
    pub fn until(self, deadline: Instant) -> Self {
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

    /// How long what waits takes at least.
    fn least_time(&self, terms: &Terms<'_>) -> Option<Duration> {
        let shared = self.work.div_ceil(terms.devices);
        terms.pace.expected(shared.max(self.next_work(terms.pace)))
    }

    /// The time that is left, as a multiple of what it takes at least. `None` if it does not matter
    /// or is not known.
    fn chance(&self, terms: &Terms<'_>) -> Option<f64> {
        let (left, least) = (self.left(terms.now)?, self.least_time(terms)?);
        Some(left.as_secs_f64() / least.as_secs_f64().max(f64::MIN_POSITIVE))
    }

    /// The work of its oldest text.
    fn next_work(&self, pace: &Pace) -> usize {
        self.sequences.front().map_or(0, |sequence| pace.work(sequence.ids.len()))
    }

    /// Ends a call that would be late.
    fn drop_late(&self, terms: &Terms<'_>) {
        let tokens: usize = self.sequences.iter().map(|sequence| sequence.ids.len()).sum();
        let (left, least) = (self.left(terms.now), self.least_time(terms));
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
    fn take(&mut self, room: usize) -> Option<Sequence> {
        let ahead = self.sequences.iter().take(LOOK_AHEAD).map(|sequence| sequence.ids.len());
        let index = match self.sequences.front()?.ids.len() <= room {
            true => 0,
            false => {
                let fitting = ahead.enumerate().filter(|&(_, length)| length <= room);
                fitting.max_by_key(|&(index, length)| (length, Reverse(index)))?.0
            }
        };
        self.sequences.remove(index)
    }
}

#[cfg(test)]
mod tests;
