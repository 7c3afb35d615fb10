//! Why a handle of a Supabase client could not do what it was asked.

use std::fmt;

use rejoin_core::phoenix::JoinError;
use rejoin_core::supabase::{AuthError, ConfigError, SubscribeError as Refused, TopicError};

use crate::errors::ClosedError;

/// Why a channel could not be had, or not be listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The session did not accept it.
    Refused(Refused),
    /// Another handle is subscribed to the topic with another configuration, and a topic has one
    /// server channel: use the same configuration, or unsubscribe that handle first.
    ConfigDiffers,
    /// The configuration has no such binding, so that the server is not asked for those changes: add
    /// it with `ChannelConfig::postgres_changes`, for every handle of the topic.
    UnknownBinding,
    /// The configuration is without presence, so that nobody would ever be seen: add it with
    /// `ChannelConfig::presence`, for every handle of the topic.
    PresenceNotEnabled,
    /// The client or the inbox is closed.
    Closed,
}

impl From<Refused> for SubscribeError {
    fn from(error: Refused) -> Self {
        match error {
            Refused::Join(JoinError::SessionClosed) => Self::Closed,
            error => Self::Refused(error),
        }
    }
}

impl From<TopicError> for SubscribeError {
    fn from(error: TopicError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<ConfigError> for SubscribeError {
    fn from(error: ConfigError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<ClosedError> for SubscribeError {
    fn from(_: ClosedError) -> Self {
        Self::Closed
    }
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::ConfigDiffers => f.write_str(
                "another handle is subscribed to this topic with another configuration; use the same one, \
                 or unsubscribe that handle first",
            ),
            Self::UnknownBinding => {
                f.write_str("the channel does not ask for these database changes; add the binding to its configuration")
            }
            Self::PresenceNotEnabled => {
                f.write_str("the channel is configured without presence; add presence to its configuration")
            }
            Self::Closed => f.write_str("the client or the inbox is closed"),
        }
    }
}

impl std::error::Error for SubscribeError {}

/// Why a token was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetAuthError {
    /// The session did not accept it.
    Refused(AuthError),
    /// The client is closed.
    Closed,
}

impl From<ClosedError> for SetAuthError {
    fn from(_: ClosedError) -> Self {
        Self::Closed
    }
}

impl fmt::Display for SetAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Closed => ClosedError.fmt(f),
        }
    }
}

impl std::error::Error for SetAuthError {}
