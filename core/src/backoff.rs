//! How long to wait before trying again: data, not closures, so that it can be compared and printed.

use alloc::vec::Vec;
use core::time::Duration;

/// How many attempts [`Backoff::sampled`] asks for.
const SAMPLES: u32 = 64;

/// The delay before each further attempt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Backoff {
    /// One delay an attempt; the last one repeats. Empty is one second for ever.
    Steps(Vec<Duration>),
    /// `initial`, then `factor` times the one before, never more than `max`.
    Exponential {
        /// The first delay.
        initial: Duration,
        /// What each delay is multiplied by; below 1 counts as 1.
        factor: f64,
        /// The cap.
        max: Duration,
    },
}

impl Backoff {
    /// The steps that a function of the attempt number (0 is the first *re*try) gives: it is asked
    /// 64 times, now and never again, and its last answer repeats.
    #[must_use]
    pub fn sampled(delay: impl FnMut(u32) -> Duration) -> Self {
        Self::Steps((0..SAMPLES).map(delay).collect())
    }

    /// The delay before attempt number `attempt` (0 is the first *re*try), before jitter.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        match self {
            Self::Steps(steps) => {
                let index = usize::try_from(attempt).unwrap_or(usize::MAX);
                steps.get(index).or(steps.last()).copied().unwrap_or(Duration::from_secs(1))
            }
            Self::Exponential { initial, factor, max } => {
                let factor = if *factor > 1.0 { *factor } else { 1.0 };
                let mut delay = initial.as_secs_f64();
                // 64 doublings pass any cap; bounded so that a huge attempt number costs nothing.
                for _ in 0..attempt.min(64) {
                    delay *= factor;
                    if delay >= max.as_secs_f64() {
                        return *max;
                    }
                }
                Duration::try_from_secs_f64(delay).unwrap_or(*max).min(*max)
            }
        }
    }

    /// The longest delay there is.
    #[must_use]
    pub fn cap(&self) -> Duration {
        match self {
            Self::Steps(steps) => steps.iter().max().copied().unwrap_or(Duration::from_secs(1)),
            Self::Exponential { max, .. } => *max,
        }
    }
}

/// How a delay is spread, so that a thousand clients do not come back in the same second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Jitter {
    /// The delay as it is.
    None,
    /// Between half the delay and all of it (the default): never much later or earlier than said.
    #[default]
    Equal,
    /// Between nothing and all of it.
    Full,
}

/// SplitMix64: nothing secret is random here, and ten lines keep every run reproducible.
#[derive(Clone, Debug)]
pub(crate) struct JitterRng(u64);

impl JitterRng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn spread(&mut self, delay: Duration, jitter: Jitter) -> Duration {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let fixed = match jitter {
            Jitter::None => return delay,
            Jitter::Equal => nanos / 2,
            Jitter::Full => 0,
        };
        Duration::from_nanos(fixed + self.below((nanos - fixed).saturating_add(1)))
    }

    /// A number below `bound`, by multiplication instead of a biased remainder.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn steps_repeat_the_last_and_exponential_stops_at_its_cap() {
        let steps = Backoff::Steps(vec![secs(1), secs(2), secs(5)]);
        assert_eq!([0, 1, 2, 3, 99].map(|n| steps.delay(n).as_secs()), [1, 2, 5, 5, 5]);
        let doubling = Backoff::Exponential { initial: secs(1), factor: 2.0, max: secs(10) };
        assert_eq!([0, 1, 2, 3, 4, u32::MAX].map(|n| doubling.delay(n).as_secs()), [1, 2, 4, 8, 10, 10]);
        assert_eq!(Backoff::Steps(vec![]).delay(7), secs(1));
    }

    #[test]
    fn a_function_is_sampled_and_its_last_answer_repeats() {
        let sampled = Backoff::sampled(|attempt| secs(u64::from(attempt) + 1));
        assert_eq!([0, 1, 63, 64, 9_999].map(|n| sampled.delay(n).as_secs()), [1, 2, 64, 64, 64]);
    }

    #[test]
    fn jitter_stays_in_its_bounds_and_spreads() {
        let mut buckets = [0; 10];
        for seed in 0..1000 {
            let delay = JitterRng::new(seed).spread(secs(1), Jitter::Equal);
            assert!((secs(1) / 2..=secs(1)).contains(&delay), "{delay:?}");
            buckets[((delay.as_millis() - 500) / 50).min(9) as usize] += 1;
        }
        assert!(buckets.iter().all(|&n| n < 250), "{buckets:?}");
        assert!(JitterRng::new(1).spread(secs(1), Jitter::Full) <= secs(1));
        assert_eq!(JitterRng::new(1).spread(secs(1), Jitter::None), secs(1));
    }
}
