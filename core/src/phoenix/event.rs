//! What a client session reports, and why a command was refused.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use super::ids::{ChannelId, PushId};
use crate::events::Lags;
use crate::machine::{ConnId, OpenError, TransportKind};
use crate::payload::Payload;
use crate::text::Text;
use crate::time::Timestamp;
use crate::wire::{DecodeError, EncodeError, UserBroadcast};

/// Something the application wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The socket is open; the joins are on their way.
    Connected {
        /// The connection.
        conn: ConnId,
    },
    /// A connection was lost, or an attempt at one failed.
    Disconnected {
        /// Why.
        reason: LossReason,
        /// When the next attempt is due; `None` if there will be none on its own.
        retry_at: Option<Timestamp>,
    },
    /// The server accepted a join.
    Joined {
        /// The channel.
        channel: ChannelId,
        /// What the server answered.
        response: Payload,
        /// Whether this channel had been joined before.
        again: bool,
    },
    /// A join came to nothing; the channel stays wanted.
    JoinFailed {
        /// The channel.
        channel: ChannelId,
        /// Why.
        failure: JoinFailure,
        /// When it is tried again; `None` if that waits for a connection.
        retry_at: Option<Timestamp>,
    },
    /// A channel is no longer joined, or no longer being joined; it stays wanted.
    ChannelErrored {
        /// The channel.
        channel: ChannelId,
        /// Why.
        cause: TroubleCause,
        /// When it is joined again; `None` if that waits for a connection.
        retry_at: Option<Timestamp>,
    },
    /// The next dial will use another transport than the last one; see [`Transport::Auto`](super::Transport).
    TransportChanged {
        /// The transport of the next dial.
        transport: TransportKind,
    },
    /// A channel is gone for good. Nothing more is heard of this id.
    ChannelClosed {
        /// The channel.
        channel: ChannelId,
        /// Why.
        reason: CloseReason,
    },
    /// The server sent a message on a channel.
    Message {
        /// The channel.
        channel: ChannelId,
        /// The event.
        event: Text,
        /// What it carries.
        payload: Payload,
    },
    /// The server sent a Supabase user broadcast, in binary: `broadcast` with a name of its own.
    UserBroadcast {
        /// The channel.
        channel: ChannelId,
        /// The broadcast, to be taken apart.
        broadcast: UserBroadcast,
    },
    /// The transport has taken a push that wants a reply; once more each time that it is sent again.
    PushSent {
        /// The push.
        push: PushId,
    },
    /// A push is over. Every accepted push gets exactly one of these.
    PushDone {
        /// The push.
        push: PushId,
        /// How it ended.
        outcome: PushOutcome,
    },
    /// A heartbeat was answered.
    HeartbeatAnswered {
        /// How long that took.
        rtt: Duration,
        /// Whether the answer's status was `ok`. Any answer proves that the peer lives.
        ok: bool,
    },
    /// The server sent a frame that is not a message. It was dropped; the connection stays.
    Malformed {
        /// What is wrong with it.
        error: DecodeError,
    },
    /// Messages were dropped because nobody polled events.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The limit of attempts is reached; `connect` starts afresh.
    GaveUp {
        /// How many failed attempts in a row that were.
        attempts: u32,
    },
    /// The session is closed. Always the last event.
    Closed,
}

impl Lags for Event {
    fn lagged(missed: u64) -> Self {
        Self::Lagged { missed }
    }
}

/// How a push ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushOutcome {
    /// The server replied `ok`.
    Ok(Payload),
    /// The server replied `error`.
    Error(Payload),
    /// The server replied with a status of its own.
    Other {
        /// The status.
        status: Text,
        /// The response.
        response: Payload,
    },
    /// The transport took it, and no reply was wanted.
    Sent,
    /// No reply in time, or never sent in time.
    TimedOut,
    /// It was never sent: cancelled, pushed out of a full buffer, or its channel is gone; or it is a
    /// broadcast of bytes, and the connection has become a long-poll, which carries none.
    Dropped,
    /// It was sent, and whether the server got it will never be known: the connection or the
    /// channel ended before the reply.
    Unknown,
}

/// Why a connection ended or could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossReason {
    /// The attempt failed or was refused.
    Open(OpenError),
    /// The attempt took longer than `connect_timeout`, or than [`Transport::Auto`](super::Transport) gives a
    /// WebSocket.
    ConnectTimeout,
    /// A heartbeat stayed unanswered for `heartbeat_timeout`; the first one of a WebSocket for as long as
    /// [`Transport::Auto`](super::Transport) allows.
    HeartbeatTimeout,
    /// The other side closed it, or the stream ended.
    Closed {
        /// The close code, if there was a close frame.
        code: Option<u16>,
        /// The close reason, or the I/O error.
        reason: Text,
    },
    /// `disconnect`, `reconnect` or `close` was called.
    Requested,
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::ConnectTimeout => f.write_str("the connection attempt timed out"),
            Self::HeartbeatTimeout => f.write_str("a heartbeat was not answered"),
            Self::Closed { code: Some(code), reason } if reason.is_empty() => write!(f, "closed with code {code}"),
            Self::Closed { code: Some(code), reason } => write!(f, "closed with code {code}: {reason}"),
            Self::Closed { code: None, reason } if reason.is_empty() => f.write_str("the stream ended"),
            Self::Closed { code: None, reason } => write!(f, "the stream ended: {reason}"),
            Self::Requested => f.write_str("asked for"),
        }
    }
}

/// Why a join came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinFailure {
    /// The server replied with another status than `ok`.
    Refused {
        /// What it answered, usually `{"reason": …}`.
        response: Payload,
    },
    /// No answer within the join timeout.
    TimedOut,
    /// The channel crashed on the server before it answered.
    Crashed,
}

impl fmt::Display for JoinFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { response } => match reason_of(response) {
                Some(reason) => write!(f, "refused: {reason}"),
                None => f.write_str("refused"),
            },
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Crashed => f.write_str("the channel crashed on the server"),
        }
    }
}

/// Why a channel is no longer joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TroubleCause {
    /// The connection was lost.
    ConnectionLost,
    /// `phx_error`: the channel's process crashed on the server.
    Crashed,
    /// The server answered a push with "unmatched topic": it knows nothing of the join.
    Forgotten,
    /// `phx_close`: the server ended it, and [`JoinOptions::rejoin_on_close`](super::JoinOptions::rejoin_on_close)
    /// asks for it back.
    Closed,
}

impl fmt::Display for TroubleCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectionLost => "the connection was lost",
            Self::Crashed => "the channel crashed on the server",
            Self::Forgotten => "the server no longer knows the channel",
            Self::Closed => "closed by the server",
        })
    }
}

/// Why a channel is gone for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// `leave` was called.
    Left,
    /// `phx_close`: the server ended it.
    ServerClosed,
    /// The session was closed.
    SessionClosed,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::ServerClosed => "closed by the server",
            Self::SessionClosed => "the session was closed",
        })
    }
}

/// Why a push was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushError {
    /// There is no such channel; it may have been closed.
    UnknownChannel,
    /// The channel is being left.
    Leaving,
    /// The event's name belongs to the protocol (`phx_…`).
    ReservedEvent,
    /// Too many pushes, or too many bytes of them, wait for this channel or in all.
    Full,
    /// The session is being closed.
    SessionClosed,
    /// A broadcast was to be acknowledged on a Supabase channel that was not joined with `ack`: the
    /// server would never answer.
    AckDisabled,
    /// A broadcast was to be stored on a channel that is not private: servers store none there.
    PersistNeedsPrivate,
    /// A broadcast was to be stored, and broadcasts go as text here, which has no place for that:
    /// vsn 1.0.0, `Config::text_broadcasts` or [`Transport::LongPoll`](super::Transport::LongPoll).
    PersistNeedsBinary,
    /// The message does not fit the serializer.
    Encode(EncodeError),
    /// The frame would be larger than `Limits::frame_bytes` or `Limits::outbound_frame_bytes`.
    TooLarge {
        /// Its size in bytes.
        len: usize,
    },
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownChannel => f.write_str("there is no such channel; it may have been closed"),
            Self::Leaving => f.write_str("the channel is being left"),
            Self::ReservedEvent => f.write_str("event names that start with phx_ belong to the protocol"),
            Self::Full => f.write_str("too many pushes, or too many bytes of them, are waiting"),
            Self::SessionClosed => f.write_str("the session is being closed"),
            Self::AckDisabled => f.write_str("the channel was joined without ack; join it with broadcast ack on"),
            Self::PersistNeedsPrivate => {
                f.write_str("only private channels store broadcasts; make the channel private or leave persist out")
            }
            Self::PersistNeedsBinary => f.write_str(
                "a text broadcast cannot be stored; send it over HTTP, or use vsn 2.0.0 over WebSocket without \
                 text_broadcasts, or leave persist out",
            ),
            Self::Encode(error) => error.fmt(f),
            Self::TooLarge { len } => write!(f, "a frame of {len} bytes is over the limit"),
        }
    }
}

impl core::error::Error for PushError {}

/// Why a join was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// A topic is not empty and is not `phoenix`, which is the connection's own.
    InvalidTopic,
    /// The session has this topic already.
    AlreadyJoined(ChannelId),
    /// The join payload is not a JSON object; servers refuse to read anything else.
    PayloadNotObject,
    /// The join's frame would be larger than `Limits::frame_bytes` or `Limits::outbound_frame_bytes`.
    TooLarge {
        /// Its size in bytes.
        len: usize,
    },
    /// There is no such channel; it may have been closed.
    UnknownChannel,
    /// The session has `Limits::channels` channels.
    Full,
    /// The session is closed.
    SessionClosed,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidTopic => "a topic must not be empty or `phoenix`",
            Self::AlreadyJoined(_) => "the session has a channel of this topic already",
            Self::PayloadNotObject => "a join payload must be a JSON object",
            Self::TooLarge { len } => return write!(f, "a join of {len} bytes is over the limit; ask for less in it"),
            Self::UnknownChannel => "there is no such channel; it may have been closed",
            Self::Full => "the session has as many channels as its limits allow",
            Self::SessionClosed => "the session is closed",
        })
    }
}

impl core::error::Error for JoinError {}

/// There is no such channel; it may have been closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownChannel;

impl fmt::Display for UnknownChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such channel; it may have been closed")
    }
}

impl core::error::Error for UnknownChannel {}

/// What was ignored, counted since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Frames that are not messages; each was also a `Malformed` event.
    pub malformed: u64,
    /// Inputs about connections that had been given up.
    pub stale_connection: u64,
    /// Messages of an earlier lifetime of their channel, or for one that is not joined.
    pub stale_messages: u64,
    /// Messages for topics that this session does not have.
    pub unknown_topic: u64,
    /// Replies that nobody waits for, late ones above all.
    pub unmatched_replies: u64,
    /// Database changes for bindings that this session does not have.
    pub unmatched_changes: u64,
    /// Broadcasts that were heard before and came again with a replay.
    pub repeated_broadcasts: u64,
    /// Messages dropped because nobody polled events.
    pub lagged: u64,
}

/// Whether a reply says that the server knows nothing of the topic (trap T14).
pub(crate) fn is_unmatched(response: &Payload) -> bool {
    reason_of(response).is_some_and(|reason| reason == "unmatched topic")
}

/// The `reason` of a refusal's response.
fn reason_of(response: &Payload) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Reason {
        reason: String,
    }
    Some(response.parse::<Reason>().ok()?.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_an_event_is_pinned() {
        assert_eq!(size_of::<Event>(), 88);
        assert_eq!(size_of::<Payload>(), 40);
        fn is_send_and_sync<T: Send + Sync>() {}
        is_send_and_sync::<Event>();
        is_send_and_sync::<crate::phoenix::Session>();
        is_send_and_sync::<crate::phoenix::ServerSession>();
    }
}
