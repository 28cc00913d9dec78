//! How long runs take, learned from those that were.

use std::time::Duration;

/// Runs are of one class if their work is between the same powers of two.
const CLASSES: usize = usize::BITS as usize;
/// Attention to so many tokens, times the width of the model, takes as long as all the rest that is
/// done for a token.
const ATTENDED: usize = 4;
/// A run that took more times as long as was expected counts as one that took so many times as long:
/// it may have been a stroke of bad luck.
const SLOWER_MAX: f64 = 4.0;
/// A run that was ended early counts as one that took longer, by this factor.
const ENDED_EARLY: f64 = 1.25;
/// The least and the greatest share of a run's time to be kept in hand.
const MARGIN: (f64, f64) = (0.1, 0.2);

/// How long runs take by their work, of which a token without its attention is one unit. Nothing is
/// assumed of what a run takes however small it is, or of what is gained by larger ones, but that
/// neither is less than nothing.
#[derive(Debug)]
pub(super) struct Pace {
    attended: usize,
    /// The mean of the last runs of each class.
    means: [Option<Point>; CLASSES],
    /// What is expected by them, by ascending work; straight lines lie between.
    curve: Vec<Point>,
    /// How far runs were from what was expected, on average, as a share of that.
    deviation: f64,
}

/// A run of so much work takes so many seconds.
#[derive(Clone, Copy, Debug)]
struct Point {
    work: f64,
    seconds: f64,
}

impl Pace {
    /// Of a model with states of so many numbers.
    pub fn of(width: usize) -> Self {
        let attended = width.max(1) * ATTENDED;
        Self { attended, means: [None; CLASSES], curve: Vec::new(), deviation: 0.0 }
    }

    /// The work of a text of so many tokens.
    pub fn work(&self, tokens: usize) -> usize {
        tokens.saturating_add(tokens.saturating_mul(tokens) / self.attended)
    }

    /// The tokens of the longest text with so much work at most.
    pub fn tokens(&self, work: usize) -> usize {
        let (work_of, attended) = (work as f64, self.attended as f64);
        let tokens = 2.0 * work_of / (1.0 + (1.0 + 4.0 * work_of / attended).sqrt());
        // What was rounded may be one less or more.
        let tokens = tokens as usize;
        let fits = |&tokens: &usize| self.work(tokens) <= work;
        (tokens.saturating_sub(1)..=tokens.saturating_add(1)).rev().find(fits).unwrap_or(0)
    }

    /// A run of so much work took so long; or longer, if it did not come to its end.
    pub fn learn(&mut self, work: usize, took: Duration, ended: bool) {
        let mut took = took.as_secs_f64() * if ended { 1.0 } else { ENDED_EARLY };
        let expected = self.seconds(work as f64);
        let is_news = ended || expected.is_some_and(|expected| took > expected);
        if work == 0 || took == 0.0 || !is_news {
            return;
        }
        let class = work.ilog2() as usize;
        if let Some(expected) = expected {
            took = took.min(expected * SLOWER_MAX);
            let ratio = took / expected;
            self.deviation += ((ratio - 1.0).abs().min(1.0) - self.deviation) / 4.0;
            // A machine that is faster or slower than it was is so for runs of all classes.
            let slower = f64::midpoint(1.0, ratio).sqrt();
            let others = self.means.iter_mut().enumerate().filter(|(other, _)| *other != class);
            others.filter_map(|(_, mean)| mean.as_mut()).for_each(|mean| mean.seconds *= slower);
        }
        let run = Point { work: work as f64, seconds: took };
        self.means[class] = Some(self.means[class].map_or(run, |mean| mean.midpoint(run)));
        self.draw();
    }

    /// How long a run of so much work is going to take. `None`: there was no run yet.
    pub fn expected(&self, work: usize) -> Option<Duration> {
        Some(Duration::try_from_secs_f64(self.seconds(work as f64)?).unwrap_or(Duration::MAX))
    }

    /// The most work of a run that is expected to end within that time.
    pub fn within(&self, time: Duration) -> Option<usize> {
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

    /// Of a time that is left, what a run may be expected to take, so that it does end within that.
    pub fn without_margin(&self, left: Duration) -> Duration {
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

    /// Makes the curve. Where means contradict one another, the shorter time is taken: bad luck makes
    /// runs longer and nothing makes them shorter.
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
        // The lines go on as they begin and end, but not far beyond the largest run. Of one run
        // alone, it may be that twice as large a one takes no longer, until that has been tried.
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

    /// The time of so much work in parts as large as this run.
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

    /// Of a model that has had these runs, of so much work and so many milliseconds.
    fn pace(runs: &[(usize, u64)]) -> Pace {
        let mut pace = Pace::of(1024);
        runs.iter().for_each(|&(work, took)| pace.learn(work, ms(took), true));
        pace
    }

    fn expected(pace: &Pace, work: usize) -> u128 {
        pace.expected(work).unwrap().as_micros().div_ceil(1000)
    }

    #[test]
    fn nothing_is_known_before_the_first_run() {
        assert_eq!(pace(&[]).expected(10), None);
        assert_eq!(pace(&[]).within(ms(1000)), None);
        let mut stopped = pace(&[]);
        stopped.learn(100, ms(100), false);
        assert_eq!(stopped.expected(10), None);
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
    fn lines_lie_between_runs_and_go_on_before_and_behind() {
        let mut pace = pace(&[]);
        pace.means[6] = Some(Point { work: 100.0, seconds: 0.150 });
        pace.means[9] = Some(Point { work: 1000.0, seconds: 1.050 });
        pace.draw();
        let runs = [10, 100, 550, 1000, 2000];
        assert_eq!(runs.map(|work| expected(&pace, work)), [60, 150, 600, 1050, 2050]);
        // Far from any run, as much time for each token.
        assert_eq!(expected(&pace, 20_000), 20_500);
        for (work, time) in [(10, 60), (550, 600), (2000, 2050), (20_000, 20_500)] {
            assert_eq!(pace.within(ms(time)), Some(work));
        }
        assert_eq!(pace.within(ms(49)), Some(0));
    }

    #[test]
    fn of_one_run_alone_it_is_not_known_what_a_larger_one_takes() {
        let pace = pace(&[(100, 150)]);
        assert_eq!([10, 100, 200, 400].map(|work| expected(&pace, work)), [15, 150, 150, 300]);
    }

    #[test]
    fn a_large_run_takes_no_longer_for_a_token_than_a_small_one_and_no_less_in_all() {
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
    fn what_has_become_slower_is_so_for_all_runs() {
        let mut pace = pace(&[(10, 20), (100, 110), (1000, 1010)]);
        (0..20).for_each(|_| pace.learn(100, ms(220), true));
        assert!((1400..2500).contains(&expected(&pace, 1000)));
    }

    #[test]
    fn what_fits_into_a_time_takes_no_longer() {
        let pace = pace(&[(10, 20), (100, 150), (1000, 500)]);
        for time in [0, 1, 2, 5, 50, 90, 200, 300, 500, 5000] {
            let work = pace.within(ms(time)).unwrap();
            assert!(work == 0 || pace.expected(work).unwrap() <= ms(time), "{time}");
            assert!(pace.expected(work + 1).unwrap() >= ms(time), "{time}");
        }
    }

    #[test]
    fn one_slow_run_is_soon_forgotten() {
        let mut pace = pace(&[(100, 100), (100, 1_000_000)]);
        assert_eq!(expected(&pace, 100), 250);
        (0..4).for_each(|_| pace.learn(100, ms(100), true));
        assert!(expected(&pace, 100) < 111);
    }

    #[test]
    fn a_machine_that_has_become_slower_or_faster_is_known_after_some_runs() {
        let mut pace = pace(&[(100, 100)]);
        (0..6).for_each(|_| pace.learn(100, ms(1000), true));
        assert!(expected(&pace, 100) > 900);
        (0..6).for_each(|_| pace.learn(100, ms(100), true));
        assert!(expected(&pace, 100) < 120);
    }

    #[test]
    fn a_run_that_was_ended_early_tells_how_long_it_takes_at_least() {
        let mut pace = pace(&[(100, 100)]);
        pace.learn(100, ms(10), false);
        assert_eq!(expected(&pace, 100), 100);
        pace.learn(100, ms(240), false);
        assert_eq!(expected(&pace, 100), 200);
    }

    #[test]
    fn the_margin_is_as_wide_as_runs_are_uneven() {
        let margin = |pace: &Pace| pace.without_margin(ms(300)).as_millis();
        let mut even = pace(&[(100, 100); 10]);
        assert_eq!(margin(&even), 272);
        (0..10).for_each(|run| even.learn(100, ms(100 + run % 2 * 15), true));
        assert!((251..260).contains(&margin(&even)));
        (0..10).for_each(|run| even.learn(100, ms(100 + run % 2 * 200), true));
        assert_eq!(margin(&even), 250);
    }
}
