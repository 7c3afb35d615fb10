//! Why a command of a Supabase session was refused: the caller's fault.

use core::fmt;

use super::channel_config::ConfigError;
use super::join::TopicError;
use crate::phoenix::JoinError;

/// Why a channel was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The name is no topic.
    Topic(TopicError),
    /// The configuration contradicts itself.
    Config(ConfigError),
    /// The session does not take it.
    Join(JoinError),
}

impl From<TopicError> for SubscribeError {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

impl From<ConfigError> for SubscribeError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<JoinError> for SubscribeError {
    fn from(error: JoinError) -> Self {
        Self::Join(error)
    }
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::Join(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SubscribeError {}

/// Why a token was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthError {
    /// It has expired; servers close the channels that show such a one.
    Expired,
    /// There is no such channel.
    UnknownChannel,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the access token has expired; get a fresh one",
            Self::UnknownChannel => "there is no such channel; it may have been closed",
        })
    }
}

impl core::error::Error for AuthError {}
