//! What an application reads of a Supabase client.

use std::time::{Duration, SystemTime};

use rejoin_core::phoenix::LossReason;
use rejoin_core::supabase::{
    ChannelState, CloseReason, HeartbeatStatus, Retry, SubscribeFailure, SystemMessage, TokenFailure, Trouble,
};
use rejoin_core::wire::DecodeError;
use rejoin_core::{Payload, Text, Timestamp};

use crate::queue::Lossy;
use crate::stream::WEIGHT_BYTES;

/// Something that happened on a channel. Everything but messages reaches every
/// [`Listener`](super::Listener).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelEvent {
    /// The server accepted the join, or had accepted it before this listener was attached.
    Subscribed {
        /// Whether the channel had been joined before.
        again: bool,
    },
    /// A join came to nothing.
    SubscribeFailed {
        /// Why.
        failure: SubscribeFailure,
        /// How soon it is tried again.
        retry: RetryIn,
    },
    /// The channel is no longer joined; it will be joined again.
    Errored {
        /// Why.
        trouble: Trouble,
        /// How soon it is joined again.
        retry: RetryIn,
    },
    /// What the server sent between these two times is lost. Comes right behind the `Subscribed`
    /// that ends the gap.
    Gap {
        /// The last time that the connection was known to be alive.
        since: SystemTime,
        /// When the channel was joined again.
        until: SystemTime,
    },
    /// Somebody broadcast.
    Broadcast {
        /// The sender's event.
        event: Text,
        /// What it carries; it need not be the JSON it claims to be.
        payload: Payload,
        /// What the server adds, such as `{"id": …}` and `{"replayed": true}`.
        meta: Option<Payload>,
    },
    /// The server says something about the channel itself.
    System(Box<SystemMessage>),
    /// Any other message, presence among them.
    Message {
        /// The event.
        event: Text,
        /// What it carries.
        payload: Payload,
    },
    /// Messages were dropped because they were not read in time.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The subscription is over. The handle may subscribe again, and this listener will hear of it.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// When something that came to nothing is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryIn {
    /// After this time.
    After(Duration),
    /// As soon as there is a connection.
    OnConnection,
    /// As soon as there is another access token.
    OnToken,
    /// Not on its own: [`ChannelEvent::Closed`] follows.
    Never,
}

impl RetryIn {
    pub(super) fn new(retry: Retry, now: Timestamp) -> Self {
        match retry {
            Retry::At(at) => Self::After(at.saturating_since(now)),
            Retry::OnConnection => Self::OnConnection,
            Retry::OnToken => Self::OnToken,
            // What a later core adds says no time.
            _ => Self::Never,
        }
    }
}

/// Something that happened to the connection or to the access token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// The socket is open.
    Connected,
    /// The connection was lost, or an attempt at one failed.
    Disconnected {
        /// Why.
        reason: LossReason,
        /// How soon it is tried again; `None` if it is not.
        retry_in: Option<Duration>,
    },
    /// The limit of attempts is reached.
    GaveUp {
        /// How many failed attempts in a row that were.
        attempts: u32,
    },
    /// Something happened to a heartbeat.
    Heartbeat(HeartbeatStatus),
    /// The provider brought a token that was not in force before.
    TokenRefreshed {
        /// `None` if the token says nothing of an end.
        expires_at: Option<SystemTime>,
    },
    /// The token in force has expired.
    TokenExpired,
    /// The provider brought no token.
    TokenUnavailable {
        /// Why.
        failure: TokenFailure,
        /// How soon it is asked again.
        retry_in: Duration,
    },
    /// The server sent a frame that is not a message. It was dropped.
    Malformed {
        /// What is wrong with it.
        error: DecodeError,
    },
    /// Events of all channels were dropped before they reached a reader.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The oldest events of this very stream were dropped, because they were not read in time. Comes
    /// ahead of those that were kept.
    Unread {
        /// How many.
        missed: u64,
    },
    /// The client is closed. Always the last event.
    Closed,
}

/// Names a channel handle. Numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(pub(super) u64);

/// A channel that a client is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// The topic, with its `realtime:`.
    pub topic: Text,
    /// Where it stands.
    pub state: ChannelState,
}

/// Something that an [`Inbox`](super::Inbox) gathers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InboxEvent {
    /// It happened on this channel.
    Channel {
        /// The handle that listens, as in [`Channel::id`](super::Channel::id).
        channel: HandleId,
        /// What happened.
        event: ChannelEvent,
    },
    /// It happened to the connection.
    Connection(ConnectionEvent),
    /// Messages were dropped because they were not read in time.
    Lagged {
        /// How many.
        missed: u64,
    },
}

impl Lossy for InboxEvent {
    fn is_droppable(&self) -> bool {
        let Self::Channel { event, .. } = self else { return false };
        matches!(event, ChannelEvent::Broadcast { .. } | ChannelEvent::Message { .. } | ChannelEvent::System(_))
    }

    fn lagged(missed: u64) -> Self {
        Self::Lagged { missed }
    }

    #[inline]
    fn weight(&self) -> usize {
        let Self::Channel { event, .. } = self else { return 1 };
        match event {
            ChannelEvent::Broadcast { payload, .. } | ChannelEvent::Message { payload, .. } => {
                1 + payload.len() / WEIGHT_BYTES
            }
            _ => 1,
        }
    }
}
