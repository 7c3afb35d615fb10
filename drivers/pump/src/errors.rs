//! Why a handle could not do what it was asked.

use std::fmt;

use rejoin_core::phoenix::JoinError;

/// The client is closed: its pump has resolved or was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClosedError;

impl fmt::Display for ClosedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client is closed")
    }
}

impl std::error::Error for ClosedError {}

/// Why a channel could not be joined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The session did not accept it.
    Refused(JoinError),
    /// The client or the inbox is closed.
    Closed,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Closed => f.write_str("the client or the inbox is closed"),
        }
    }
}

impl std::error::Error for SubscribeError {}
