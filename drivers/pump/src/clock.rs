//! From a runtime's instants to the core's timestamps: one subtraction a turn. And a look at the
//! wall clock now and then: `Instant` stands still while a host is suspended, the wall clock does not.

use std::time::{Duration, Instant, SystemTime};

use rejoin_core::Timestamp;

/// Measures time from its own creation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock whose zero is `epoch`.
    #[must_use]
    pub const fn new(epoch: Instant) -> Self {
        Self { epoch }
    }

    /// The timestamp of an instant; zero for earlier ones.
    #[must_use]
    pub fn timestamp(&self, instant: Instant) -> Timestamp {
        Timestamp::ZERO.saturating_add(instant.saturating_duration_since(self.epoch))
    }

    /// The instant of a timestamp, at most a year from the epoch if it cannot be represented.
    #[must_use]
    pub fn instant(&self, timestamp: Timestamp) -> Instant {
        let since = Duration::from_nanos(timestamp.as_nanos());
        self.epoch.checked_add(since).unwrap_or_else(|| self.epoch + Duration::from_secs(365 * 24 * 3600))
    }
}

/// Turns that follow each other faster share one look.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// A sleeping pump wakes this often to look, if nothing else wakes it: that bounds how late a
/// suspension is noticed. Heartbeats every 25 or 30 seconds make it no extra wake at all.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(30);
/// The two clocks may disagree by this much between two looks: that is a leap second, a correction
/// of a slow clock or a task that was kept waiting.
const TOLERANCE: Duration = Duration::from_secs(2);

/// When to look at the wall clock, and whether it went another way than the runtime's.
#[derive(Debug, Default)]
pub(crate) struct WallClock {
    /// What both clocks said.
    last: Option<(Timestamp, Duration)>,
    due: bool,
}

impl WallClock {
    /// Wants a look at the next opportunity.
    pub(crate) const fn look_soon(&mut self) {
        self.due = true;
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.due || self.last.is_none_or(|(at, _)| now.saturating_since(at) >= LOOK_AT_MOST_EVERY)
    }

    /// Until when a look can wait.
    pub(crate) fn latest(&self) -> Timestamp {
        self.last.map_or(Timestamp::ZERO, |(at, _)| at.saturating_add(LOOK_AT_LEAST_EVERY))
    }

    /// Takes what both clocks say now; true if they disagree on how long ago the last look was.
    /// Only since then, so that a drift never adds up.
    pub(crate) fn look(&mut self, now: Timestamp, unix_time: Duration) -> bool {
        self.due = false;
        let last = self.last.replace((now, unix_time));
        last.is_some_and(|(at, then)| unix_time.abs_diff(then.saturating_add(now.saturating_since(at))) > TOLERANCE)
    }
}

/// The system's time since the Unix epoch; zero if its clock stands before that.
pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_clocks_that_disagree_by_more_than_two_seconds_have_jumped() {
        let mut wall_clock = WallClock::default();
        let (mut now, mut unix_time) = (Timestamp::ZERO, Duration::from_secs(1_000));
        assert!(!wall_clock.look(now, unix_time), "there is nothing to compare with");
        for (runtime_ms, wall_ms, jumped) in [
            (1_000, 1_000, false),
            (30_000, 32_000, false),
            (30_000, 32_001, true),
            (30_000, 30_000, false),
            (30_000, 28_000, false),
            (30_000, 27_999, true),
            (1_000, -500_000, true),
            (0, 3_600_000, true),
            (3_600_000, 3_600_000, false),
        ] {
            now = now.saturating_add(Duration::from_millis(runtime_ms));
            let wall = Duration::from_millis(i64::unsigned_abs(wall_ms));
            unix_time = if wall_ms < 0 { unix_time - wall } else { unix_time + wall };
            assert_eq!(wall_clock.look(now, unix_time), jumped, "{runtime_ms} ms and {wall_ms} ms");
        }
    }

    #[test]
    fn looks_are_a_second_apart_unless_one_is_wanted() {
        let mut wall_clock = WallClock::default();
        assert!(wall_clock.is_due(Timestamp::ZERO));
        wall_clock.look(Timestamp::ZERO, Duration::ZERO);
        assert!(!wall_clock.is_due(Timestamp::from_millis(999)));
        assert!(wall_clock.is_due(Timestamp::from_millis(1_000)));
        wall_clock.look_soon();
        assert!(wall_clock.is_due(Timestamp::ZERO));
        wall_clock.look(Timestamp::ZERO, Duration::ZERO);
        assert!(!wall_clock.is_due(Timestamp::ZERO));
    }
}
