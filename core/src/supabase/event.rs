//! What a Supabase session reports and asks for.

use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;

use super::bindings::{BindingMismatch, Bindings};
use super::postgres::PostgresChange;
use super::refusal::{Refusal, SystemMessage};
use super::rest::HttpFailure;
use crate::events::Lags;
use crate::http::HttpRequest;
use crate::machine::{ConnId, TransportKind};
use crate::payload::Payload;
use crate::phoenix::{ChannelId, LossReason, PresenceChange, PresenceError, PushId, PushOutcome};
use crate::text::Text;
use crate::time::Timestamp;
use crate::wire::DecodeError;

/// Something the application wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The socket is open; the joins are on their way.
    Connected {
        /// The connection.
        conn: ConnId,
    },
    /// A connection was lost, or an attempt at one failed. For refused upgrades see
    /// [`UpgradeRefusal::of`](super::UpgradeRefusal::of).
    Disconnected {
        /// Why.
        reason: LossReason,
        /// When the next attempt is due; `None` if there will be none on its own.
        retry_at: Option<Timestamp>,
    },
    /// The next dial will use another transport than the last one; see
    /// [`Transport::Auto`](crate::phoenix::Transport).
    TransportChanged {
        /// The transport of the next dial.
        transport: TransportKind,
    },
    /// The limit of attempts is reached; `connect` starts afresh.
    GaveUp {
        /// How many failed attempts in a row that were.
        attempts: u32,
    },
    /// Something happened to a heartbeat.
    Heartbeat(HeartbeatStatus),
    /// The server accepted a join.
    Subscribed {
        /// The channel.
        channel: ChannelId,
        /// Whether this channel had been joined before.
        again: bool,
    },
    /// A join came to nothing.
    SubscribeFailed {
        /// The channel.
        channel: ChannelId,
        /// Why.
        failure: SubscribeFailure,
        /// When it is tried again.
        retry: Retry,
    },
    /// A channel is no longer joined, or no longer being joined; it stays wanted.
    ChannelErrored {
        /// The channel.
        channel: ChannelId,
        /// Why.
        trouble: Trouble,
        /// When it is joined again.
        retry: Retry,
    },
    /// A channel is gone for good. Nothing more is heard of this id.
    ChannelClosed {
        /// The channel.
        channel: ChannelId,
        /// Why.
        reason: CloseReason,
    },
    /// What the server sent on this channel between these two times is lost. Comes right behind the
    /// `Subscribed` that ends the gap, so that whoever fetches the rest misses nothing.
    Gap {
        /// The channel.
        channel: ChannelId,
        /// The last time that the connection was known to be alive.
        since: Timestamp,
        /// When the channel was joined again.
        until: Timestamp,
    },
    /// Somebody broadcast.
    Broadcast {
        /// The channel.
        channel: ChannelId,
        /// The sender's event.
        event: Text,
        /// What it carries. Servers pass it on unchecked, so that it need not be the JSON it claims
        /// to be: reading it shows (trap T52).
        payload: Payload,
        /// What the server adds, such as `{"id": …}` and `{"replayed": true}`.
        meta: Option<Payload>,
    },
    /// A row came, changed or went.
    PostgresChange {
        /// The channel.
        channel: ChannelId,
        /// For which of the channel's bindings.
        bindings: Bindings,
        /// The change, unread.
        change: PostgresChange,
    },
    /// Database changes flow on a channel that asked for them: what changes from now on is told. Once
    /// after each `Subscribed`, and again if the server said that they had stopped.
    PostgresReady {
        /// The channel.
        channel: ChannelId,
        /// Since when there may have been changes that are never told, if they had flowed before:
        /// fetch the rows now to miss nothing.
        missed_since: Option<Timestamp>,
    },
    /// Database changes do not flow, though the channel is joined. The server goes on trying, so that
    /// [`Event::PostgresReady`] may follow.
    PostgresFailed {
        /// The channel.
        channel: ChannelId,
        /// Why.
        failure: PostgresFailure,
    },
    /// Somebody came, went or says something else about itself.
    Presence {
        /// The channel.
        channel: ChannelId,
        /// What changed. In a box, since it is large and rarer than messages.
        change: Box<PresenceChange>,
    },
    /// What [`Session::presence`](super::Session::presence) shows is not all that the server said.
    PresenceTrouble {
        /// The channel.
        channel: ChannelId,
        /// What went wrong.
        trouble: PresenceTrouble,
    },
    /// The channel cannot send, so this broadcast goes over HTTP; its outcome is that of the request.
    FellBackToHttp {
        /// The broadcast.
        push: PushId,
    },
    /// A request of [`http_broadcast`](super::Session::http_broadcast) is over. Every accepted one gets
    /// exactly one of these.
    HttpDone {
        /// The request.
        push: PushId,
        /// Whether the server accepted it.
        outcome: Result<(), HttpFailure>,
    },
    /// The server says something about the channel itself.
    System {
        /// The channel.
        channel: ChannelId,
        /// What it says.
        message: Box<SystemMessage>,
    },
    /// Any other message on a channel.
    Message {
        /// The channel.
        channel: ChannelId,
        /// The event.
        event: Text,
        /// What it carries.
        payload: Payload,
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
    /// The provider brought a token that was not in force before; joined channels are told.
    TokenRefreshed {
        /// Since the Unix epoch; `None` if the token says nothing of an end.
        expires_at: Option<Duration>,
    },
    /// The token in force has expired. The server will end the channels that were joined with it.
    TokenExpired,
    /// The provider brought no token. What is in force stays in force until it expires.
    TokenUnavailable {
        /// Why.
        failure: TokenFailure,
        /// When it is asked again.
        retry_at: Timestamp,
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
    /// The session is closed. Always the last event.
    Closed,
}

impl Lags for Event {
    fn lagged(missed: u64) -> Self {
        Self::Lagged { missed }
    }
}

/// Something the host has to do that is not about the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Get a fresh access token and answer with [`handle_token`](super::Session::handle_token).
    /// Comes only with `Config::token_provider`, and never twice at a time.
    Token {
        /// What to answer to.
        id: RequestId,
        /// Why.
        reason: TokenReason,
    },
    /// Carry this out and answer with [`handle_http`](super::Session::handle_http).
    Http(HttpRequest),
}

/// Names a request to the host. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// Why a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenReason {
    /// There is none that could be used.
    Missing,
    /// The one in force will expire soon.
    Expiring,
    /// The server did not accept the one in force.
    Rejected,
    /// A connection is being made, and `Config::authorization` wants a token resolved for it.
    Dial,
    /// [`refresh_auth`](super::Session::refresh_auth) was called.
    Requested,
    /// The last answer was a failure.
    Retry,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenFailure {
    /// The provider took longer than `Config::token_timeout`.
    TimedOut,
    /// The provider failed; its own words, which must not contain secrets.
    Provider(Text),
    /// The only token there is has expired.
    Expired,
    /// The user signed out.
    SignedOut,
}

impl fmt::Display for TokenFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the token provider did not answer in time"),
            Self::Provider(what) => write!(f, "the token provider failed: {what}"),
            Self::Expired => f.write_str("the access token has expired; set a fresh one"),
            Self::SignedOut => f.write_str("the user is signed out; set a token"),
        }
    }
}

impl core::error::Error for TokenFailure {}

/// The life of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeartbeatStatus {
    /// The transport took it.
    Sent,
    /// It was answered `ok`.
    Ok {
        /// How long that took.
        rtt: Duration,
    },
    /// It was answered with another status; the connection stays.
    Error {
        /// How long that took.
        rtt: Duration,
    },
    /// It stayed unanswered; the connection is given up.
    TimedOut,
}

/// When something that came to nothing is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// At this time.
    At(Timestamp),
    /// As soon as there is a connection.
    OnConnection,
    /// As soon as there is another access token; if that is refused, too, the next one is not tried
    /// before the usual delay.
    OnToken,
    /// Not on its own: [`Event::ChannelClosed`] follows.
    Never,
}

/// Why a join came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeFailure {
    /// The server refused.
    Refused(Box<Refusal>),
    /// No answer within the join timeout.
    TimedOut,
    /// The channel crashed on the server before it answered.
    Crashed,
    /// There is no token to join with, and joining without would silently see nothing.
    NoToken(TokenFailure),
    /// The server answered for other database changes than it was asked for. It would again, so that
    /// the channel is left.
    BindingMismatch(Box<BindingMismatch>),
}

impl fmt::Display for SubscribeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "refused: {}", refusal.reason),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Crashed => f.write_str("the channel crashed on the server"),
            Self::NoToken(failure) => failure.fmt(f),
            Self::BindingMismatch(mismatch) => mismatch.fmt(f),
        }
    }
}

/// Why database changes do not flow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostgresFailure {
    /// The server said so, in its own words: a table that is not published, a filter on a column that
    /// does not exist, a database that cannot be reached.
    Refused {
        /// The words, cut at 1 KiB.
        message: Text,
    },
    /// The server has said nothing within `Config::postgres_ready_timeout`.
    TimedOut,
}

impl fmt::Display for PostgresFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { message } => write!(f, "no database changes: {message}"),
            Self::TimedOut => f.write_str("no database changes: the server has not said in time that they flow"),
        }
    }
}

/// Why the members shown are not all that the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresenceTrouble {
    /// A message of the server's was not understood, and changed nothing.
    Unreadable(PresenceError),
    /// `Config::presence_limits` kept metas out.
    TooMany {
        /// How many.
        metas: usize,
    },
    /// Changes that waited for the state of the members were dropped, the oldest first. The state
    /// makes good for them, if it comes.
    Behind {
        /// How many.
        diffs: usize,
    },
}

impl fmt::Display for PresenceTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::TooMany { metas } => write!(f, "{metas} metas are over the limits of presence and left out"),
            Self::Behind { diffs } => write!(f, "{diffs} presence changes were dropped while no state came"),
        }
    }
}

/// Why a channel is no longer joined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The connection was lost.
    ConnectionLost,
    /// The channel crashed on the server.
    Crashed,
    /// The server no longer knows the channel.
    Forgotten,
    /// The server ended the channel.
    Closed {
        /// What it said before, if it said anything.
        message: Option<Text>,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionLost => f.write_str("the connection was lost"),
            Self::Crashed => f.write_str("the channel crashed on the server"),
            Self::Forgotten => f.write_str("the server no longer knows the channel"),
            Self::Closed { message: Some(message) } => write!(f, "closed by the server: {message}"),
            Self::Closed { message: None } => f.write_str("closed by the server"),
        }
    }
}

/// Why a channel is gone for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// `unsubscribe` or `remove_all` was called.
    Left,
    /// The server refused the join or answered another one, and always will.
    Refused,
    /// The server ended it, and the channel's `RejoinPolicy` does not ask for it back.
    ServerClosed {
        /// What the server said before, if it said anything.
        message: Option<Text>,
    },
    /// The session was closed.
    SessionClosed,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("left"),
            Self::Refused => f.write_str("refused for good"),
            Self::ServerClosed { message: Some(message) } => write!(f, "closed by the server: {message}"),
            Self::ServerClosed { message: None } => f.write_str("closed by the server"),
            Self::SessionClosed => f.write_str("the session was closed"),
        }
    }
}

/// Where a channel stands. One that is gone has no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelState {
    /// Waiting for a connection, for its turn or for the server's answer.
    Joining,
    /// The server has accepted the join.
    Joined,
    /// The last join came to nothing or the channel was lost; it will be joined again.
    Errored,
    /// It is joined as soon as there is an access token that the server has not refused.
    AwaitingToken,
    /// `phx_leave` is on its way.
    Leaving,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_an_event_is_pinned() {
        assert_eq!(size_of::<Event>(), 128);
        assert_eq!(size_of::<PostgresChange>(), 88);
    }
}
