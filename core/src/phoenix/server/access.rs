//! Whether the client may be heard, and until when: not before it is authenticated, not longer than its token lives.

use alloc::vec::Vec;

use super::config::ServerConfig;
use crate::machine::Frame;
use crate::time::Timestamp;

/// Whether the client may be heard.
#[derive(Debug)]
pub(super) enum Access {
    /// Not yet: what it says is held.
    Awaited { until: Timestamp, held: Vec<Frame>, bytes: usize },
    /// Yes, until its token expires.
    Granted { expires_at: Option<Timestamp>, warned: bool },
}

impl Access {
    pub(super) const GRANTED: Self = Self::Granted { expires_at: None, warned: false };

    pub(super) fn new(config: &ServerConfig, now: Timestamp) -> Self {
        match config.auth_timeout {
            None => Self::GRANTED,
            Some(timeout) => Self::Awaited { until: now.saturating_add(timeout), held: Vec::new(), bytes: 0 },
        }
    }

    /// When something has to happen.
    pub(super) fn deadline(&self, config: &ServerConfig) -> Option<Timestamp> {
        match self {
            Self::Awaited { until, .. } => Some(*until),
            Self::Granted { expires_at, warned: true } => *expires_at,
            Self::Granted { expires_at, warned: false } => expires_at.map(|at| {
                let warning = u64::try_from(config.expiry_warning.as_nanos()).unwrap_or(u64::MAX);
                Timestamp::from_nanos(at.as_nanos().saturating_sub(warning))
            }),
        }
    }
}
