//! Why a hub did not do what it was asked to.

use core::fmt;

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

/// Why a member's presence is as it was. The limits are those of [`TrackLimits`](super::TrackLimits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrackError {
    /// The member has left.
    Gone,
    /// The member is present under this key already; update it instead.
    AlreadyTracked,
    /// The member is not present under this key.
    NotTracked,
    /// The meta is not a JSON object.
    NotAnObject,
    /// The key is too long.
    KeyTooLong {
        /// In bytes.
        limit: usize,
    },
    /// The meta is too long.
    MetaTooLong {
        /// In bytes of JSON.
        limit: usize,
    },
    /// The member is present under as many keys as it may be.
    MemberFull {
        /// How many that is.
        limit: usize,
    },
    /// As many members are present under this key as may be.
    KeyFull {
        /// How many that is.
        limit: usize,
    },
    /// As many metas are present in this topic as may be.
    TopicFull {
        /// How many that is.
        limit: usize,
    },
    /// The metas of this topic, with their keys, are as long as they may be.
    TopicTooLong {
        /// In bytes of JSON.
        limit: usize,
    },
}

impl fmt::Display for TrackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the member has left the topic"),
            Self::AlreadyTracked => f.write_str("the member is present under this key already; update it instead"),
            Self::NotTracked => f.write_str("the member is not present under this key; track it first"),
            Self::NotAnObject => f.write_str("a presence's meta must be a JSON object"),
            Self::KeyTooLong { limit } => write!(f, "a presence's key may have {limit} bytes"),
            Self::MetaTooLong { limit } => write!(f, "a presence's meta may have {limit} bytes"),
            Self::MemberFull { limit } => write!(f, "a member may be present under {limit} keys; untrack one first"),
            Self::KeyFull { limit } => write!(f, "{limit} members are present under this key, as many as may be"),
            Self::TopicFull { limit } => write!(f, "{limit} presences are in this topic, as many as may be"),
            Self::TopicTooLong { limit } => {
                write!(f, "the presences of this topic may have {limit} bytes, which this one would exceed")
            }
        }
    }
}

impl core::error::Error for TrackError {}
