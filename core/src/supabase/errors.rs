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

/// Why a wish about presence was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrackError {
    /// The channel was subscribed without presence, so that nobody here would see anybody.
    PresenceNotEnabled,
    /// What is tracked is not a JSON object; servers refuse anything else.
    NotAnObject,
    /// The frame would be larger than `Limits::frame_bytes` or `Limits::outbound_frame_bytes`.
    TooLarge {
        /// Its size in bytes.
        len: usize,
    },
    /// There is no such channel; it may have been closed.
    UnknownChannel,
    /// The channel is being left, or the session closed.
    Leaving,
}

impl fmt::Display for TrackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PresenceNotEnabled => "the channel was subscribed without presence; subscribe it with presence",
            Self::NotAnObject => "what is tracked must be a JSON object",
            Self::TooLarge { len } => return write!(f, "a frame of {len} bytes is over the limit; track less"),
            Self::UnknownChannel => "there is no such channel; it may have been closed",
            Self::Leaving => "the channel is being left",
        })
    }
}

impl core::error::Error for TrackError {}

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
