//! What a server session reports, and why a call was refused.

use core::fmt;

use crate::payload::Payload;
use crate::phoenix::ids::{JoinId, ReplyTo, ServerChannelId};
use crate::text::Text;
use crate::time::Timestamp;
use crate::wire::{DecodeError, EncodeError};

/// Something the host wants to know.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEvent {
    /// The client wants to join a topic; answer with `accept_join` or `refuse_join`.
    Join {
        /// What to answer to. Dropping it leaves the client waiting for its timeout.
        join: JoinId,
        /// The topic.
        topic: Text,
        /// The join payload, a JSON object.
        payload: Payload,
    },
    /// The client pushed a message.
    Push {
        /// The channel.
        channel: ServerChannelId,
        /// The event.
        event: Text,
        /// What it carries.
        payload: Payload,
        /// What to reply to. Dropping it is no reply.
        reply: ReplyTo,
    },
    /// The client pushed a user broadcast in binary form, where
    /// [`user_broadcasts`](super::ServerConfig::user_broadcasts) are understood. One in text form is a
    /// [`Push`](ServerEvent::Push) of `broadcast`.
    UserBroadcast {
        /// The channel.
        channel: ServerChannelId,
        /// The user's name of the event.
        event: Text,
        /// A JSON object about the message.
        metadata: Option<Payload>,
        /// What the user sends: JSON or bytes.
        payload: Payload,
        /// What to reply to. Dropping it is no reply.
        reply: ReplyTo,
    },
    /// A channel is over: left, replaced by a new join of its topic, ended by the host, or its socket is
    /// gone or its token has expired.
    Left {
        /// The channel.
        channel: ServerChannelId,
    },
    /// The client sent a frame that is not a message; [`OnMalformed`](super::OnMalformed) says what follows.
    Malformed {
        /// What is wrong with it.
        error: DecodeError,
    },
    /// The client's token expires soon: [`authenticate`](super::ServerSession::authenticate) anew, or
    /// the socket is closed at that time. Comes once for each token.
    Expiring {
        /// When it does.
        expires_at: Timestamp,
    },
    /// The client does more than a [`RateLimit`](super::RateLimit) allows. Told within a second, and many
    /// together, so that a flood is not a flood of events.
    Limited {
        /// Which limit.
        limit: Limit,
        /// How many of its messages were refused since the last word about this limit.
        messages: u64,
    },
    /// Messages of a channel were dropped since the client reads slowly and its
    /// [`OutboxOverflow`](super::OutboxOverflow) says so. Told within a second, and many together, perhaps
    /// after the channel's `Left`.
    Dropped {
        /// The channel.
        channel: ServerChannelId,
        /// How many since the last word about this channel.
        messages: u64,
    },
    /// The socket is gone. Always the last event.
    Ended {
        /// Why.
        reason: EndReason,
    },
}

/// A limit on how often the client may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// [`ServerConfig::joins`](super::ServerConfig::joins).
    Joins,
    /// [`ServerConfig::messages`](super::ServerConfig::messages).
    Messages,
    /// [`ServerConfig::bytes`](super::ServerConfig::bytes).
    Bytes,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joins => "joins",
            Self::Messages => "messages",
            Self::Bytes => "bytes",
        })
    }
}

/// Why a socket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// The client closed it, or the stream ended.
    Closed {
        /// The close code, if there was a close frame.
        code: Option<u16>,
        /// The close reason, or the I/O error.
        reason: Text,
    },
    /// The host called `close`.
    Requested,
    /// The host called `refuse`.
    Refused,
    /// The host did not `authenticate` the client within `auth_timeout`.
    Unauthenticated,
    /// The client sent more than `held_frames` or `held_bytes` before it was authenticated.
    TooEager,
    /// The client's token expired.
    Expired,
    /// The client was silent for `idle_timeout`.
    Idle,
    /// The client sent a malformed frame.
    Malformed,
    /// The client sent a frame of more than `frame_bytes`.
    TooLarge,
    /// The client read too slowly for `outbox_bytes`.
    TooSlow,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code: Some(code), .. } => write!(f, "closed by the client with code {code}"),
            Self::Closed { code: None, .. } => f.write_str("the stream ended"),
            Self::Requested => f.write_str("closed by the host"),
            Self::Refused => f.write_str("refused by the host"),
            Self::Unauthenticated => f.write_str("the client was not authenticated in time"),
            Self::TooEager => f.write_str("the client sent too much before it was authenticated"),
            Self::Expired => f.write_str("the client's token expired"),
            Self::Idle => f.write_str("the client was silent for too long"),
            Self::Malformed => f.write_str("the client sent a malformed frame"),
            Self::TooLarge => f.write_str("the client sent a frame over the limit"),
            Self::TooSlow => f.write_str("the client read too slowly"),
        }
    }
}

/// The status of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// `ok`.
    Ok,
    /// `error`.
    Error,
    /// A status of the application's own.
    Other(Text),
}

impl From<Status> for Text {
    fn from(status: Status) -> Self {
        match status {
            Status::Ok => Self::from_static("ok"),
            Status::Error => Self::from_static("error"),
            Status::Other(other) => other,
        }
    }
}

/// What the call was about is over: the channel was left, the join was answered, the socket is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StaleHandle;

impl fmt::Display for StaleHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel, the join or the socket is gone")
    }
}

impl core::error::Error for StaleHandle {}

/// Why a server's message was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerPushError {
    /// The channel is gone.
    Stale,
    /// The message does not fit the client's serializer.
    Encode(EncodeError),
}

impl fmt::Display for ServerPushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale => StaleHandle.fmt(f),
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ServerPushError {}

/// What was ignored, refused and dropped, counted since the socket opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Messages of an earlier lifetime of their channel, ignored.
    pub stale_messages: u64,
    /// Messages for topics that are not joined; each was answered with "unmatched topic".
    pub unmatched_topic: u64,
    /// Inputs about another connection, ignored.
    pub stale_connection: u64,
    /// Frames that are not messages.
    pub malformed: u64,
    /// Frames over `frame_bytes`.
    pub too_large: u64,
    /// Joins that were refused before the host saw them: of too long a topic, with a ref of more than 255
    /// bytes, with a payload that is no object, or beyond the channels that a socket may have.
    pub refused_joins: u64,
    /// Joins, pushes and broadcasts beyond a [`Limit`].
    pub limited: u64,
    /// Frames that came after the close, or before an authentication that never was.
    pub unheard: u64,
    /// Messages to the client that were dropped, each told as [`ServerEvent::Dropped`].
    pub dropped: u64,
    /// Messages to the client whose place a later one with the same key took.
    pub replaced: u64,
    /// Frames to the client that were not sent: they came after the close, or still waited at the end.
    pub unsent: u64,
}
