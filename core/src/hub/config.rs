//! The bounds of a hub, and what it counts at them.

use core::fmt;

/// Configuration of a [`Hub`](super::Hub).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubConfig {
    /// Members of all topics together; default 1,000,000, which is 10,000 sockets with the 100 channels
    /// that each may have. There are never more topics than members.
    pub members: usize,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self { members: 1_000_000 }
    }
}

/// There are as many members as the hub may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubFull {
    /// How many that is.
    pub limit: usize,
}

impl fmt::Display for HubFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the hub has {} members, as many as it may; raise HubConfig::members", self.limit)
    }
}

impl core::error::Error for HubFull {}

/// What did not reach somebody, counted since the hub began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Messages that a member was not sent because its serializer cannot say them: bytes under vsn
    /// 1.0.0, or bytes with a topic or an event of more than 255 bytes.
    pub skipped: u64,
}

impl HubStats {
    pub(super) const fn new() -> Self {
        Self { skipped: 0 }
    }
}
