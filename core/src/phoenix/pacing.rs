//! How many joins leave within a second.
//!
//! A server that counts joins closes the socket of a client that comes back with all its channels
//! at once, and the next connection begins with the same storm (trap T32).

use alloc::collections::VecDeque;
use core::num::NonZeroU32;
use core::time::Duration;

use crate::time::Timestamp;

const WINDOW: Duration = Duration::from_secs(1);
/// How long the pace stays slow after the server complained.
const SLOW: Duration = Duration::from_secs(60);
/// How far apart complaints about the same burst of joins can be.
const SAME_COMPLAINT: Duration = Duration::from_secs(20);
/// The pace is halved at most this often.
const HALVINGS: u32 = 5;

/// At most `limit` joins in any window of a second, by the times of the last `limit` ones.
#[derive(Debug)]
pub(super) struct JoinPace {
    limit: Option<NonZeroU32>,
    sent: VecDeque<Timestamp>,
    halvings: u32,
    slow_until: Timestamp,
}

impl JoinPace {
    pub(super) const fn new(limit: Option<NonZeroU32>) -> Self {
        Self { limit, sent: VecDeque::new(), halvings: 0, slow_until: Timestamp::ZERO }
    }

    pub(super) fn allows(&self, now: Timestamp) -> bool {
        self.next().is_none_or(|at| at <= now)
    }

    /// When the next join may leave; `None` if the past does not matter.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let limit = self.limit()?;
        let nth_last = self.sent.len().checked_sub(limit)?;
        Some(self.sent.get(nth_last)?.saturating_add(WINDOW))
    }

    pub(super) fn count(&mut self, now: Timestamp) {
        if self.limit.is_none() {
            return;
        }
        if now >= self.slow_until {
            self.halvings = 0;
        }
        // So that no more are kept than the limit allows in a window.
        while self.sent.front().is_some_and(|at| at.saturating_add(WINDOW) <= now) {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }

    /// The last join that was counted has not left after all.
    pub(super) fn forget_last(&mut self) {
        self.sent.pop_back();
    }

    /// The server complained: half as many a second for a minute. Complaints that come close together
    /// are one, such as those about joins that were in flight at the same time, each of which a
    /// server answers after 5 s (section 9.4), and the close of the socket behind them.
    pub(super) fn slow_down(&mut self, now: Timestamp) {
        if now >= self.slow_until {
            self.halvings = 0;
        } else if now.saturating_add(SLOW) < self.slow_until.saturating_add(SAME_COMPLAINT) {
            return;
        }
        self.halvings = (self.halvings + 1).min(HALVINGS);
        self.slow_until = now.saturating_add(SLOW);
    }

    fn limit(&self) -> Option<usize> {
        Some((self.limit?.get() as usize >> self.halvings).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_in(pace: &mut JoinPace, from: u64, millis: u64) -> u32 {
        let mut sent = 0;
        for ms in from..from + millis {
            let now = Timestamp::from_millis(ms);
            while pace.allows(now) {
                pace.count(now);
                sent += 1;
            }
        }
        sent
    }

    #[test]
    fn no_window_of_a_second_has_more_joins_than_the_limit() {
        let mut pace = JoinPace::new(NonZeroU32::new(50));
        assert_eq!(sent_in(&mut pace, 0, 1_000), 50);
        assert_eq!(sent_in(&mut pace, 1_000, 3_000), 150);
    }

    #[test]
    fn a_complaint_halves_the_pace_for_a_minute() {
        let mut pace = JoinPace::new(NonZeroU32::new(50));
        (0..9).for_each(|n| pace.slow_down(Timestamp::from_millis(n * 100)));
        assert_eq!(sent_in(&mut pace, 900, 2_000), 50);
        (1..=9).for_each(|n| pace.slow_down(Timestamp::from_millis(n * 20_000)));
        assert_eq!(sent_in(&mut pace, 181_000, 10_000), 10, "never slower than one a second");
        assert_eq!(sent_in(&mut pace, 240_000, 2_000), 100);
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let mut pace = JoinPace::new(None);
        (0..1_000).for_each(|_| pace.count(Timestamp::ZERO));
        assert!(pace.allows(Timestamp::ZERO) && pace.sent.is_empty());
    }
}
