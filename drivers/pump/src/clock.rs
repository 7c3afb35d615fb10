//! From a runtime's instants to the core's timestamps: one subtraction a turn.

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

/// The system's time since the Unix epoch; zero if its clock stands before that.
pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
