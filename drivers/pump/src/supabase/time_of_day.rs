//! The time of day of what happened before: a [`Gap`](super::ChannelEvent::Gap) may have begun before
//! the host was suspended, and then the session's own time does not tell how long it was.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use rejoin_core::Timestamp;

/// Jumps of the wall clock that are remembered. A laptop that was opened so often without coming
/// online once hears of a gap that begins too early, so that nothing is taken for received.
const MOST_JUMPS: usize = 64;

/// What the wall clock said, between its jumps.
#[derive(Debug, Default)]
pub(super) struct TimeOfDay {
    /// Oldest first.
    stretches: VecDeque<Stretch>,
}

/// A time in which both clocks went alike.
#[derive(Debug)]
struct Stretch {
    begin: Timestamp,
    /// What both said when they were last compared.
    at: Timestamp,
    since_unix_epoch: Duration,
}

impl TimeOfDay {
    /// Takes what both clocks say now, and whether they disagree on how long ago the last look was.
    pub(super) fn look(&mut self, at: Timestamp, since_unix_epoch: Duration, jumped: bool) {
        match self.stretches.back_mut() {
            Some(stretch) if !jumped => (stretch.at, stretch.since_unix_epoch) = (at, since_unix_epoch),
            _ => {
                self.stretches.push_back(Stretch { begin: at, at, since_unix_epoch });
                if self.stretches.len() > MOST_JUMPS {
                    self.stretches.remove(1);
                }
            }
        }
    }

    /// What the wall clock said at a time that has passed.
    pub(super) fn of(&self, time: Timestamp) -> SystemTime {
        let known = self.stretches.iter().rev().find(|stretch| stretch.begin <= time);
        let Some(stretch) = known.or(self.stretches.front()) else { return SystemTime::UNIX_EPOCH };
        let later = stretch.since_unix_epoch.saturating_add(time.saturating_since(stretch.at));
        SystemTime::UNIX_EPOCH + later.saturating_sub(stretch.at.saturating_since(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    const fn at(s: u64) -> Timestamp {
        Timestamp::from_millis(s * 1_000)
    }

    fn unix(time_of_day: &TimeOfDay, s: u64) -> u64 {
        time_of_day.of(at(s)).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    }

    #[test]
    fn each_time_is_told_by_the_clock_of_its_own_stretch() {
        let mut time_of_day = TimeOfDay::default();
        assert_eq!(unix(&time_of_day, 5), 0, "nobody has looked");
        time_of_day.look(at(10), secs(1_010), false);
        time_of_day.look(at(20), secs(1_021), false);
        time_of_day.look(at(30), secs(5_030), true);
        time_of_day.look(at(40), secs(2_040), true);
        for (time, told) in [(5, 1_006), (15, 1_016), (20, 1_021), (29, 1_030), (30, 5_030), (39, 5_039), (45, 2_045)] {
            assert_eq!(unix(&time_of_day, time), told, "{time}");
        }
    }

    #[test]
    fn a_host_that_is_suspended_for_ever_costs_a_bounded_memory_and_tells_no_time_too_late() {
        let mut time_of_day = TimeOfDay::default();
        (0..1_000).for_each(|n| time_of_day.look(at(n * 10), secs(n * 1_000), n > 0));
        assert_eq!(time_of_day.stretches.len(), MOST_JUMPS);
        for n in 0..1_000 {
            assert!(unix(&time_of_day, n * 10) <= n * 1_000, "{n}");
        }
        assert_eq!(unix(&time_of_day, 9_905), 990_005);
    }
}
