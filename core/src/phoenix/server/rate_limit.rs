//! How often the client may do something: a token bucket in whole numbers.

use alloc::boxed::Box;

use super::event::Limit;
use crate::time::Timestamp;

/// So many a second in the long run, and so many at once.
///
/// In any span of `t` seconds at most `burst + per_second * t` are let through. What is refused counts
/// for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// How many a second.
    pub per_second: u32,
    /// How many at once, after a pause that was long enough.
    pub burst: u32,
}

impl RateLimit {
    /// So many a second, and as many at once.
    #[must_use]
    pub const fn per_second(per_second: u32) -> Self {
        Self { per_second, burst: per_second }
    }

    /// The same with another burst.
    #[must_use]
    pub const fn with_burst(self, burst: u32) -> Self {
        Self { burst, ..self }
    }
}

/// What is left of the limits of one socket, and how much was refused.
#[derive(Debug)]
pub(super) struct Rates {
    joins: Option<Bucket>,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// How many were refused since the last [`Rates::take_refused`], for each [`Limit`].
    refused: [u64; 3],
}

impl Rates {
    /// The limits in the order of [`Limit`]; `None` where nothing is limited.
    pub(super) fn new(limits: [Option<RateLimit>; 3], now: Timestamp) -> Option<Box<Self>> {
        let [joins, messages, bytes] = limits.map(|limit| Some(Bucket::full(limit?, now)));
        let limited = joins.is_some() || messages.is_some() || bytes.is_some();
        limited.then(|| Box::new(Self { joins, messages, bytes, refused: [0; 3] }))
    }

    /// Lets one more join or message of so many bytes through, or says which limit it is beyond.
    pub(super) fn admit(&mut self, now: Timestamp, of: Limit, bytes: usize) -> Result<(), Limit> {
        let times = if of == Limit::Joins { &mut self.joins } else { &mut self.messages };
        let mut counts = [(times, 1, of), (&mut self.bytes, bytes, Limit::Bytes)];
        for (bucket, count, limit) in &mut counts {
            if bucket.as_mut().is_some_and(|bucket| !bucket.has(now, *count)) {
                self.refused[*limit as usize] += 1;
                return Err(*limit);
            }
        }
        for (bucket, count, _) in counts {
            bucket.iter_mut().for_each(|bucket| bucket.take(count));
        }
        Ok(())
    }

    pub(super) fn has_refused(&self) -> bool {
        self.refused != [0; 3]
    }

    /// How many were refused since the last call.
    pub(super) fn take_refused(&mut self) -> impl Iterator<Item = (Limit, u64)> + use<> {
        let refused = core::mem::take(&mut self.refused);
        [Limit::Joins, Limit::Messages, Limit::Bytes].into_iter().zip(refused).filter(|(_, count)| *count > 0)
    }
}

/// What is left of a [`RateLimit`], in billionths, so that a nanosecond adds `per_second` of them and
/// nothing is ever rounded.
#[derive(Debug)]
struct Bucket {
    limit: RateLimit,
    left: u64,
    at: Timestamp,
}

const ONE: u64 = 1_000_000_000;

impl Bucket {
    fn full(limit: RateLimit, now: Timestamp) -> Self {
        // Less than 2^62.
        Self { limit, left: u64::from(limit.burst) * ONE, at: now }
    }

    /// Whether there are `count` left.
    fn has(&mut self, now: Timestamp, count: usize) -> bool {
        let nanos = now.saturating_since(self.at).as_nanos();
        self.at = self.at.max(now);
        let left = u128::from(self.left) + nanos * u128::from(self.limit.per_second);
        self.left = u64::try_from(left).unwrap_or(u64::MAX).min(u64::from(self.limit.burst) * ONE);
        count as u128 * u128::from(ONE) <= u128::from(self.left)
    }

    /// Takes `count` that it [`has`](Bucket::has).
    const fn take(&mut self, count: usize) {
        self.left = self.left.saturating_sub((count as u64).saturating_mul(ONE));
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn ask(bucket: &mut Bucket, now: Timestamp, count: usize) -> bool {
        let has = bucket.has(now, count);
        if has {
            bucket.take(count);
        }
        has
    }

    #[test]
    fn a_limit_lets_the_burst_through_and_then_one_at_a_time() {
        let limit = RateLimit::per_second(3);
        let mut bucket = Bucket::full(limit, Timestamp::ZERO);
        let mut at = |nanos| ask(&mut bucket, Timestamp::from_nanos(nanos), 1);
        assert_eq!([0, 0, 0, 0].map(&mut at), [true, true, true, false]);
        // A third of a second has no whole number of nanoseconds.
        assert_eq!([333_333_333, 333_333_334, 333_333_335].map(&mut at), [false, true, false]);
        assert_eq!([u64::MAX, u64::MAX, u64::MAX, u64::MAX].map(at), [true, true, true, false]);
    }

    #[test]
    fn a_limit_of_nothing_lets_nothing_through_and_more_than_the_burst_never_passes() {
        let mut bucket = Bucket::full(RateLimit::per_second(0), Timestamp::ZERO);
        assert!(!ask(&mut bucket, Timestamp::MAX, 1));
        let limit = RateLimit::per_second(u32::MAX).with_burst(10);
        let mut bucket = Bucket::full(limit, Timestamp::ZERO);
        assert!(!ask(&mut bucket, Timestamp::MAX, 11));
        assert!(ask(&mut bucket, Timestamp::MAX, 10));
    }

    proptest! {
        #[test]
        fn in_no_span_more_than_the_burst_and_the_rate_pass_and_nothing_is_refused_for_less(
            per_second in 0u32..2_000,
            burst in 0u32..50,
            asks in prop::collection::vec((0u64..50_000_000, 1usize..4), 1..200),
        ) {
            let limit = RateLimit::per_second(per_second).with_burst(burst);
            let mut bucket = Bucket::full(limit, Timestamp::ZERO);
            let (mut now, mut passed): (_, Vec<(u128, usize)>) = (Timestamp::ZERO, Vec::new());
            for (pause, count) in asks {
                now = now.saturating_add(Duration::from_nanos(pause));
                let at = u128::from(now.as_nanos());
                // What is still allowed is the least over all spans that end now.
                let mut spent = 0;
                let mut allowed = u128::from(burst) * u128::from(ONE);
                for (earlier, count) in passed.iter().rev() {
                    spent += *count as u128 * u128::from(ONE);
                    let span = (at - earlier) * u128::from(per_second);
                    let within = (u128::from(burst) * u128::from(ONE) + span).checked_sub(spent);
                    prop_assert!(within.is_some(), "more than the burst and the rate");
                    allowed = allowed.min(within.unwrap_or_default());
                }
                let has = ask(&mut bucket, now, count);
                prop_assert_eq!(has, count as u128 * u128::from(ONE) <= allowed);
                if has {
                    passed.push((at, count));
                }
            }
        }
    }
}
