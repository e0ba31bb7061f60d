//! How long text is kept waiting, and how long a unit may be so that it does not wait too long.

use std::time::Duration;

use crate::guard::policy::StreamPolicy;

/// A unit is never asked to be shorter than this.
const LEAST_STRIDE: usize = 32;
/// The look-ahead counts letters and ends at a space; ordinary text has a fifth more characters than letters, and a word
/// and a half is reckoned for the way to the space.
const TO_SPACE: usize = 8;
/// A rate is believed from so much text and time on.
const FIRST_CHARS: usize = 16;
const FIRST_TIME: Duration = Duration::from_millis(50);
/// The newest judgement counts for so much of the estimate.
const NEWEST: f64 = 0.3;

/// Rates and times of one stream. Times are the host's monotonic ones, counted from any moment; a stream that is told none
/// keeps the policy's stride.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    hold: usize,
    stride: usize,
    /// Seconds; `None` for no limit.
    most: Option<f64>,
    first: Option<Duration>,
    chars: usize,
    now: Option<Duration>,
    /// (place in the answer, when it came), oldest first, of text that has not left.
    came: std::collections::VecDeque<(usize, Duration)>,
    judging: f64,
    longest: Duration,
    /// Characters a second.
    rate: Option<f64>,
}

impl Pace {
    /// `rate` is what earlier answers of the same model ran at, in characters a second.
    pub(super) fn new(policy: &StreamPolicy, rate: Option<f64>) -> Self {
        let most = (policy.max_hold_ms > 0).then(|| Duration::from_millis(policy.max_hold_ms).as_secs_f64());
        Self {
            hold: policy.hold + policy.hold / 4,
            stride: policy.stride,
            most,
            first: None,
            chars: 0,
            now: None,
            came: std::collections::VecDeque::new(),
            judging: 0.0,
            longest: Duration::ZERO,
            rate: rate.filter(|r| r.is_finite() && *r > 0.0),
        }
    }

    /// Text came: `chars` characters that begin at byte `place` of the answer.
    pub(super) fn came(&mut self, place: usize, chars: usize, now: Option<Duration>) {
        let Some(now) = now else { return };
        self.now = Some(now);
        let first = *self.first.get_or_insert(now);
        if chars > 0 {
            self.came.push_back((place, now));
        }
        self.chars += chars;
        let since = now.saturating_sub(first);
        if self.chars >= FIRST_CHARS && since >= FIRST_TIME {
            self.rate = Some(self.chars as f64 / since.as_secs_f64());
        }
    }

    /// A unit was judged.
    pub(super) fn judged(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.judging = if self.judging == 0.0 { took } else { self.judging + NEWEST * (took - self.judging) };
    }

    /// Text up to byte `place` of the answer left.
    pub(super) fn left(&mut self, place: usize, judging: Duration) {
        if let (Some(now), Some((_, came))) = (self.now, self.came.front()) {
            self.longest = self.longest.max(now.saturating_sub(*came) + judging);
        }
        // What came in the piece that the unit ends in is still there in part.
        while self.came.get(1).is_some_and(|(next, _)| *next <= place) {
            self.came.pop_front();
        }
    }

    /// The stride that keeps the wait within the limit at the rate so far.
    pub(super) fn stride(&self) -> usize {
        let (Some(most), Some(rate)) = (self.most, self.rate) else { return self.stride };
        let chars = (most - self.judging).max(0.0) * rate;
        let room = (chars as usize).saturating_sub(self.hold + TO_SPACE);
        room.clamp(LEAST_STRIDE.min(self.stride), self.stride)
    }

    /// Whether the oldest text has waited so long that it has to be judged now to leave in time.
    pub(super) fn is_due(&self) -> bool {
        let (Some(most), Some(now), Some((_, came))) = (self.most, self.now, self.came.front()) else { return false };
        now.saturating_sub(*came).as_secs_f64() + self.judging >= most
    }

    /// The longest that text has waited so far, judging included.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// How long text waits at most at the rate so far: a unit, its look-ahead and its judgement. `None` while no rate is
    /// known.
    pub(super) fn bound(&self) -> Option<Duration> {
        let rate = self.rate?;
        let seconds = (self.stride() + self.hold + TO_SPACE) as f64 / rate + self.judging;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Characters a second.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Option<Duration> {
        Some(Duration::from_millis(n))
    }

    #[test]
    fn the_stride_follows_the_rate() {
        let policy = StreamPolicy { hold: 96, stride: 256, max_hold_ms: 4000, ..StreamPolicy::default() };
        let at_rate = |per_second: u64| {
            let mut pace = Pace::new(&policy, None);
            (0..=20).for_each(|i| pace.came(i as usize * 4, 4, ms(i * 4000 / per_second)));
            pace
        };
        assert_eq!(at_rate(200).stride(), 256, "fast: the policy's own");
        let pace = at_rate(50);
        assert!((80..110).contains(&pace.stride()), "{}", pace.stride());
        assert!(pace.bound().unwrap() <= Duration::from_millis(4000));
        assert_eq!(at_rate(5).stride(), LEAST_STRIDE, "too slow for the limit: as short as it gets");
        assert!(at_rate(5).bound().unwrap() > Duration::from_secs(20), "and the bound says so");
        assert_eq!(Pace::new(&policy, None).stride(), 256);
        assert_eq!(Pace::new(&policy, None).bound(), None);
    }

    #[test]
    fn text_is_due_before_it_has_waited_too_long() {
        let policy = StreamPolicy { max_hold_ms: 1000, ..StreamPolicy::default() };
        let mut pace = Pace::new(&policy, None);
        pace.judged(Duration::from_millis(100));
        pace.came(0, 10, ms(0));
        pace.came(10, 10, ms(850));
        assert!(!pace.is_due());
        pace.came(20, 10, ms(910));
        assert!(pace.is_due());
        pace.left(20, Duration::from_millis(100));
        assert_eq!(pace.longest(), Duration::from_millis(1010));
        assert!(!pace.is_due());
    }
}
