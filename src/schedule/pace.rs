//! How long batches take, learned from those that have run.

use std::time::Duration;

use super::policy::{ATTENTION_TOKENS_PER_WIDTH, MARGIN, SLOWDOWN_MAX, STOPPED_EARLY_FACTOR};

/// Two batches are of one class if their work is between the same powers of two.
const CLASSES: usize = usize::BITS as usize;
/// How long batches take by their work. The unit of work is a token without its attention. Neither
/// the fixed cost of a batch nor the gain of larger ones is assumed, except that neither is
/// negative.
#[derive(Debug)]
pub(super) struct Pace {
    /// Attention to this many tokens takes as long as the rest of a token's inference.
    attention_tokens: usize,
    /// The mean of the last batches of each class.
    means: [Option<Point>; CLASSES],
    /// The expected times, by ascending work. Between two points they lie on a straight line.
    curve: Vec<Point>,
    /// The mean deviation of batches from their expected time, as a share of that time.
    deviation: f64,
}

/// The time of a batch.
#[derive(Clone, Copy, Debug)]
struct Point {
    work: f64,
    seconds: f64,
}

impl Pace {
    /// `width` is the length of the model's states.
    pub fn new(width: usize) -> Self {
        let attention_tokens = width.max(1) * ATTENTION_TOKENS_PER_WIDTH;
        Self { attention_tokens, means: [None; CLASSES], curve: Vec::new(), deviation: 0.0 }
    }

    /// The work of a text with this many tokens.
    pub fn work(&self, tokens: usize) -> usize {
        tokens.saturating_add(tokens.saturating_mul(tokens) / self.attention_tokens)
    }

    /// The tokens of the longest text with at most this work.
    pub fn tokens(&self, work: usize) -> usize {
        let (exact, attention_tokens) = (work as f64, self.attention_tokens as f64);
        let tokens = 2.0 * exact / (1.0 + (1.0 + 4.0 * exact / attention_tokens).sqrt());
        // Rounding may have made it one too small or too large.
        let tokens = tokens as usize;
        let fits = |&tokens: &usize| self.work(tokens) <= work;
        (tokens.saturating_sub(1)..=tokens.saturating_add(1)).rev().find(fits).unwrap_or(0)
    }

    /// Records the time of a batch; if it was not `completed`, it would have taken longer.
    pub fn record(&mut self, work: usize, took: Duration, completed: bool) {
        let mut took = took.as_secs_f64() * if completed { 1.0 } else { STOPPED_EARLY_FACTOR };
        let expected = self.seconds(work as f64);
        let is_news = completed || expected.is_some_and(|expected| took > expected);
        if work == 0 || took == 0.0 || !is_news {
            return;
        }
        let class = work.ilog2() as usize;
        if let Some(expected) = expected {
            took = took.min(expected * SLOWDOWN_MAX);
            let ratio = took / expected;
            self.deviation += ((ratio - 1.0).abs().min(1.0) - self.deviation) / 4.0;
            // A machine that has become faster or slower is so for batches of all classes.
            let slower = f64::midpoint(1.0, ratio).sqrt();
            let others = self.means.iter_mut().enumerate().filter(|(other, _)| *other != class);
            others.filter_map(|(_, mean)| mean.as_mut()).for_each(|mean| mean.seconds *= slower);
        }
        let batch = Point { work: work as f64, seconds: took };
        self.means[class] = Some(self.means[class].map_or(batch, |mean| mean.midpoint(batch)));
        self.draw();
    }

    /// The expected time of a batch with this work. `None` before the first batch.
    pub fn expected_time(&self, work: usize) -> Option<Duration> {
        Some(Duration::try_from_secs_f64(self.seconds(work as f64)?).unwrap_or(Duration::MAX))
    }

    /// The most work of a batch that is expected to end within that time.
    pub fn work_within(&self, time: Duration) -> Option<usize> {
        let seconds = time.as_secs_f64();
        let last = self.curve.last()?;
        let Some(next) = self.curve.iter().position(|point| point.seconds > seconds) else {
            return Some((seconds / last.seconds * last.work) as usize);
        };
        let Some(from) = next.checked_sub(1).map(|index| self.curve[index]) else { return Some(0) };
        let to = self.curve[next];
        let share = (seconds - from.seconds) / (to.seconds - from.seconds);
        Some((from.work + share * (to.work - from.work)) as usize)
    }

    /// The longest expected time of a batch that still ends within `left`, given how far batches
    /// deviate from their expected times.
    pub fn less_margin(&self, left: Duration) -> Duration {
        left.div_f64(1.0 + (2.0 * self.deviation).clamp(MARGIN.0, MARGIN.1))
    }

    fn seconds(&self, work: f64) -> Option<f64> {
        let last = self.curve.last()?;
        let next = self.curve.iter().position(|point| point.work > work);
        Some(match next {
            None => last.seconds * (work / last.work),
            Some(0) => 0.0,
            Some(next) => self.curve[next - 1].on_the_way_to(self.curve[next], work),
        })
    }

    /// Draws the curve through the means. Where means contradict one another, the shorter time is
    /// taken: bad luck makes batches longer, and nothing makes them shorter.
    fn draw(&mut self) {
        self.curve.clear();
        self.curve.extend(self.means.iter().flatten());
        let mut shortest = f64::INFINITY;
        for point in self.curve.iter_mut().rev() {
            shortest = shortest.min(point.seconds);
            point.seconds = shortest;
        }
        for index in 1..self.curve.len() {
            let most = self.curve[index - 1].times(self.curve[index].work);
            let point = &mut self.curve[index];
            point.seconds = point.seconds.min(most);
        }
        let (Some(&first), Some(&last)) = (self.curve.first(), self.curve.last()) else { return };
        // The first and the last line go on, but not far beyond the largest batch. With only one
        // point, a batch of twice the work may take no longer, until one has been tried.
        let (slope, before) = match *self.curve {
            [.., second_last, _] => (
                second_last.slope_to(last),
                first.seconds - first.work * first.slope_to(self.curve[1]),
            ),
            _ => (0.0, 0.0),
        };
        self.curve.insert(0, Point { work: 0.0, seconds: before.max(0.0) });
        self.curve.push(Point { work: 2.0 * last.work, seconds: last.seconds + last.work * slope });
    }
}

impl Point {
    fn midpoint(self, other: Self) -> Self {
        Self {
            work: f64::midpoint(self.work, other.work),
            seconds: f64::midpoint(self.seconds, other.seconds),
        }
    }

    fn slope_to(self, other: Self) -> f64 {
        (other.seconds - self.seconds) / (other.work - self.work)
    }

    fn on_the_way_to(self, other: Self, work: f64) -> f64 {
        self.seconds + (work - self.work) * self.slope_to(other)
    }

    /// The time of this work in several batches, each as large as this one.
    fn times(self, work: f64) -> f64 {
        self.seconds * (work / self.work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A model whose batches had this work and took these milliseconds.
    fn pace(batches: &[(usize, u64)]) -> Pace {
        let mut pace = Pace::new(1024);
        batches.iter().for_each(|&(work, took)| pace.record(work, ms(took), true));
        pace
    }

    fn expected(pace: &Pace, work: usize) -> u128 {
        pace.expected_time(work).unwrap().as_micros().div_ceil(1000)
    }

    #[test]
    fn nothing_is_known_before_the_first_batch() {
        assert_eq!(pace(&[]).expected_time(10), None);
        assert_eq!(pace(&[]).work_within(ms(1000)), None);
        let mut stopped = pace(&[]);
        stopped.record(100, ms(100), false);
        assert_eq!(stopped.expected_time(10), None);
    }

    #[test]
    fn long_texts_have_more_work_than_tokens() {
        let pace = pace(&[]);
        assert_eq!([12, 512, 8192].map(|tokens| pace.work(tokens)), [12, 576, 24576]);
        for tokens in 0..5000 {
            let work = pace.work(tokens);
            assert_eq!(pace.tokens(work), tokens);
            assert!(work == 0 || pace.tokens(work - 1) < tokens);
        }
        assert_eq!(pace.work(usize::MAX), usize::MAX);
    }

    #[test]
    fn lines_lie_between_batches_and_go_on_before_and_behind() {
        let mut pace = pace(&[]);
        pace.means[6] = Some(Point { work: 100.0, seconds: 0.150 });
        pace.means[9] = Some(Point { work: 1000.0, seconds: 1.050 });
        pace.draw();
        let works = [10, 100, 550, 1000, 2000];
        assert_eq!(works.map(|work| expected(&pace, work)), [60, 150, 600, 1050, 2050]);
        // Far from any batch, the time is proportional to the work.
        assert_eq!(expected(&pace, 20_000), 20_500);
        for (work, time) in [(10, 60), (550, 600), (2000, 2050), (20_000, 20_500)] {
            assert_eq!(pace.work_within(ms(time)), Some(work));
        }
        assert_eq!(pace.work_within(ms(49)), Some(0));
    }

    #[test]
    fn with_one_batch_alone_the_time_of_a_larger_one_is_not_known() {
        let pace = pace(&[(100, 150)]);
        assert_eq!([10, 100, 200, 400].map(|work| expected(&pace, work)), [15, 150, 150, 300]);
    }

    #[test]
    fn a_large_batch_takes_no_longer_for_a_token_than_a_small_one_and_no_less_in_all() {
        let drawn = |points: [(usize, f64); 2]| {
            let mut pace = pace(&[]);
            for (work, seconds) in points {
                pace.means[work.ilog2() as usize] = Some(Point { work: work as f64, seconds });
            }
            pace.draw();
            points.map(|(work, _)| expected(&pace, work))
        };
        assert_eq!(drawn([(100, 0.1), (1000, 4.0)]), [100, 1000]);
        assert_eq!(drawn([(100, 0.4), (1000, 0.2)]), [200, 200]);
    }

    #[test]
    fn a_slower_machine_is_slower_for_all_batches() {
        let mut pace = pace(&[(10, 20), (100, 110), (1000, 1010)]);
        (0..20).for_each(|_| pace.record(100, ms(220), true));
        assert!((1400..2500).contains(&expected(&pace, 1000)));
    }

    #[test]
    fn what_fits_into_a_time_takes_no_longer() {
        let pace = pace(&[(10, 20), (100, 150), (1000, 500)]);
        for time in [0, 1, 2, 5, 50, 90, 200, 300, 500, 5000] {
            let work = pace.work_within(ms(time)).unwrap();
            assert!(work == 0 || pace.expected_time(work).unwrap() <= ms(time), "{time}");
            assert!(pace.expected_time(work + 1).unwrap() >= ms(time), "{time}");
        }
    }

    #[test]
    fn one_slow_batch_is_soon_forgotten() {
        let mut pace = pace(&[(100, 100), (100, 1_000_000)]);
        assert_eq!(expected(&pace, 100), 250);
        (0..4).for_each(|_| pace.record(100, ms(100), true));
        assert!(expected(&pace, 100) < 111);
    }

    #[test]
    fn a_machine_that_has_become_slower_or_faster_is_known_after_some_batches() {
        let mut pace = pace(&[(100, 100)]);
        (0..6).for_each(|_| pace.record(100, ms(1000), true));
        assert!(expected(&pace, 100) > 900);
        (0..6).for_each(|_| pace.record(100, ms(100), true));
        assert!(expected(&pace, 100) < 120);
    }

    #[test]
    fn a_batch_that_was_stopped_early_is_a_lower_bound() {
        let mut pace = pace(&[(100, 100)]);
        pace.record(100, ms(10), false);
        assert_eq!(expected(&pace, 100), 100);
        pace.record(100, ms(240), false);
        assert_eq!(expected(&pace, 100), 200);
    }

    #[test]
    fn the_margin_is_as_wide_as_batches_are_uneven() {
        let margin = |pace: &Pace| pace.less_margin(ms(300)).as_millis();
        let mut even = pace(&[(100, 100); 10]);
        assert_eq!(margin(&even), 272);
        (0..10).for_each(|batch| even.record(100, ms(100 + batch % 2 * 15), true));
        assert!((251..260).contains(&margin(&even)));
        (0..10).for_each(|batch| even.record(100, ms(100 + batch % 2 * 200), true));
        assert_eq!(margin(&even), 250);
    }
}
