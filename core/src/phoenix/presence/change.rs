//! What changed about who is present.

use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;

use crate::payload::{Payload, PayloadError};
use crate::text::Text;

/// What a state or a diff changed, and what was over a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceChanges {
    /// Joins, then updates, then leaves, each in the order of their keys, and at the very end one
    /// [`PresenceChange::Sync`]. Empty if a diff waits for its state.
    pub changes: Vec<PresenceChange>,
    /// How many metas [`PresenceLimits`](super::PresenceLimits) kept out: the members shown are not all.
    pub dropped_metas: usize,
    /// How many waiting diffs were dropped, the oldest first. The next state makes good for them.
    pub dropped_diffs: usize,
}

/// One change of who is present.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresenceChange {
    /// A key has come, or has come with further connections.
    Join {
        /// The key.
        key: Text,
        /// Its metas before; none if it was not present.
        current: Vec<Meta>,
        /// The metas that have come, without those that updates brought.
        joined: Vec<Meta>,
    },
    /// A connection says something else about itself. On the wire that is a join and a leave.
    ///
    /// Where the server's `phx_ref_prev` names no meta that was known, as after two updates during
    /// one absence, it is a join and a leave here too.
    Update {
        /// The key.
        key: Text,
        /// What it said before.
        old: Meta,
        /// What it says now.
        new: Meta,
    },
    /// Connections of a key have gone, perhaps all.
    Leave {
        /// The key.
        key: Text,
        /// The metas that it still has; none if it is not present any more.
        current: Vec<Meta>,
        /// The metas that have gone, without those that updates replaced.
        left: Vec<Meta>,
    },
    /// The members are now what the server says. Once for a state with all the diffs that waited for
    /// it, and once for each later diff, whether anything else changed or not.
    Sync,
}

/// What one connection of a key says about itself. Two are the same if their `phx_ref` is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The server's name for this meta.
    pub phx_ref: Text,
    /// The name of the meta that this one replaced, if it is an update.
    pub phx_ref_prev: Option<Text>,
    /// The whole object as it came: the fields that the connection tracks, and both refs.
    pub payload: Payload,
}

impl Meta {
    /// Reads the tracked fields; the result may borrow from it.
    ///
    /// The object has the refs as well, which a struct that names its fields skips.
    ///
    /// # Errors
    /// If the object is of another shape.
    pub fn parse<'de, T: Deserialize<'de>>(&'de self) -> Result<T, PayloadError> {
        self.payload.parse()
    }
}

/// Why a state or a diff was not understood: the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresenceError {
    /// It is raw bytes, not JSON.
    Binary,
    /// It is not JSON, or not of keys with metas that have refs.
    Malformed {
        /// From 1, within its line: where the parser stopped; 0 where it cannot tell.
        column: usize,
    },
}

impl fmt::Display for PresenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary => f.write_str("the presence message is binary, not JSON"),
            Self::Malformed { column } => {
                write!(f, "the presence message is not of keys with metas that have a phx_ref (column {column})")
            }
        }
    }
}

impl core::error::Error for PresenceError {}
