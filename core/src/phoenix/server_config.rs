//! What a server session can be told, what it reports, and why a call was refused.

use core::fmt;
use core::time::Duration;

use super::ids::{JoinId, ReplyTo, ServerChannelId};
use crate::payload::Payload;
use crate::text::Text;
use crate::wire::{DecodeError, EncodeError, Serializer};

/// Configuration of a [`ServerSession`](super::ServerSession). Start from [`ServerConfig::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// How messages are written, from the `vsn` of the upgrade; see [`serializer_of`](super::serializer_of).
    pub serializer: Serializer,
    /// How long the client may be silent; default 60 s, `None` is for ever. Only its frames count.
    pub idle_timeout: Option<Duration>,
    /// The code that a silent client is closed with; default 1002, as Bandit, Phoenix's default
    /// server, does. Servers on Cowboy say 1000 (Appendix C), which some clients take for a farewell.
    pub idle_code: u16,
    /// How long a close frame may stay unanswered; default 2 s.
    pub close_timeout: Duration,
    /// Channels of one socket, joins that the host has not answered included; default 100, as in
    /// Phoenix 1.8.9 and later.
    pub channels: usize,
    /// The largest frame, in bytes, in either direction; default 16 MiB.
    pub frame_bytes: usize,
    /// Bytes that wait for the transport; default 16 MiB. A client that reads too slowly for them
    /// is cut off.
    pub outbox_bytes: usize,
    /// Whether every payload is checked to be JSON before the host sees it (the default), so that
    /// it may be passed on to clients that would choke on it.
    pub check_payloads: bool,
    /// Whether Supabase's binary user broadcasts (section 2.4, kind 3) are understood; default
    /// `false`: to Phoenix they are malformed.
    pub user_broadcasts: bool,
    /// What a malformed frame costs the client; default [`OnMalformed::Close`].
    pub malformed: OnMalformed,
}

impl ServerConfig {
    /// The defaults, with the serializer that the upgrade asked for.
    #[must_use]
    pub const fn new(serializer: Serializer) -> Self {
        Self {
            serializer,
            idle_timeout: Some(Duration::from_secs(60)),
            idle_code: 1002,
            close_timeout: Duration::from_secs(2),
            channels: 100,
            frame_bytes: 16 << 20,
            outbox_bytes: 16 << 20,
            check_payloads: true,
            user_broadcasts: false,
            malformed: OnMalformed::Close,
        }
    }
}

/// What a malformed frame costs the client. [`ServerEvent::Malformed`] reports it either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMalformed {
    /// Its socket, closed with 1011 as Phoenix does (Appendix C).
    #[default]
    Close,
    /// Only that frame, as at Supabase (section 9.5).
    Ignore,
}

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
    /// [`user_broadcasts`](ServerConfig::user_broadcasts) are understood. One in text form is a
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
    /// A channel is over: left, replaced by a new join of its topic, or its socket is gone.
    Left {
        /// The channel.
        channel: ServerChannelId,
    },
    /// The client sent a frame that is not a message; [`OnMalformed`] says what follows.
    Malformed {
        /// What is wrong with it.
        error: DecodeError,
    },
    /// The socket is gone. Always the last event.
    Ended {
        /// Why.
        reason: EndReason,
    },
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
    /// The client was silent for `idle_timeout`.
    Idle,
    /// The client sent a malformed frame.
    Malformed,
    /// The client read too slowly for `outbox_bytes`.
    TooSlow,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code: Some(code), .. } => write!(f, "closed by the client with code {code}"),
            Self::Closed { code: None, .. } => f.write_str("the stream ended"),
            Self::Requested => f.write_str("closed by the host"),
            Self::Idle => f.write_str("the client was silent for too long"),
            Self::Malformed => f.write_str("the client sent a malformed frame"),
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

/// What was ignored, counted since the socket opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Messages of an earlier lifetime of their channel.
    pub stale_messages: u64,
    /// Messages for topics that are not joined; each was answered with "unmatched topic".
    pub unmatched_topic: u64,
    /// Inputs about another connection.
    pub stale_connection: u64,
}
