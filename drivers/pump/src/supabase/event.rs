//! What an application reads of a Supabase client.

use std::time::{Duration, SystemTime};

use rejoin_core::phoenix::{ChannelId, LossReason, Meta, PresenceChange};
use rejoin_core::supabase::{
    Bindings, ChannelState, CloseReason, HeartbeatStatus, PostgresChange, PostgresFailure, PresenceTrouble, Retry,
    Session, SubscribeFailure, SystemMessage, TokenFailure, Trouble,
};
use rejoin_core::wire::DecodeError;
use rejoin_core::{Payload, Text, Timestamp, TransportKind};

use crate::queue::Lossy;
use crate::stream::WEIGHT_BYTES;

/// Something that happened on a channel. Messages, rows and members reach whoever listens to them, the
/// channel's own life reaches every [`Listener`](super::Listener).
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
    /// A row came, changed or went.
    PostgresChange {
        /// For which bindings, by their places in the channel's configuration; none on a topic of the
        /// legacy API.
        bindings: Bindings,
        /// The change, unread.
        change: PostgresChange,
    },
    /// Database changes flow, or had begun to before this listener was attached.
    PostgresReady {
        /// Since when there may have been changes that are never told, if they had flowed before.
        missed_since: Option<SystemTime>,
    },
    /// Database changes do not flow, though the channel is joined; `PostgresReady` may follow.
    PostgresFailed {
        /// Why.
        failure: PostgresFailure,
    },
    /// Who is present in a channel whose members were known before: to a listener that is attached
    /// late, and after changes of presence were dropped on their way to every listener. Changes that
    /// happened shortly before it may be told once more after it.
    PresenceState {
        /// In the byte order of the keys; the last known ones while the channel is not joined.
        members: Vec<Member>,
    },
    /// Somebody came, went or says something else about itself.
    Presence(Box<PresenceChange>),
    /// The members are not all that the server said.
    PresenceTrouble(PresenceTrouble),
    /// A broadcast of this handle goes over HTTP, since the channel cannot send; its ticket is
    /// [`OverHttp`](crate::PushState::OverHttp).
    FellBackToHttp,
    /// The server says something about the channel itself.
    System(Box<SystemMessage>),
    /// Any other message.
    Message {
        /// The event.
        event: Text,
        /// What it carries.
        payload: Payload,
    },
    /// Messages were dropped because they were not read in time.
    Lagged {
        /// How many; of all channels together if the whole client fell behind.
        missed: u64,
    },
    /// The subscription is over. The handle may subscribe again, and this listener will hear of it.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

impl ChannelEvent {
    /// Whether messages or rows may have been missed before it: whoever must not miss any fetches
    /// them now.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        matches!(self, Self::Gap { .. } | Self::Lagged { .. } | Self::PostgresReady { missed_since: Some(_) })
    }

    /// Who is present in a channel, if its members are known.
    pub(super) fn present(session: &Session, channel: ChannelId) -> Option<Self> {
        let presence = session.presence(channel).filter(|presence| presence.synced().is_some())?;
        Some(Self::PresenceState { members: presence.iter().map(Member::new).collect() })
    }

    /// Whether a reader that fell behind may miss it, for it says nothing about the channel's own life.
    const fn is_message(&self) -> bool {
        matches!(
            self,
            Self::Broadcast { .. }
                | Self::PostgresChange { .. }
                | Self::Presence(_)
                | Self::PresenceTrouble(_)
                | Self::System(_)
                | Self::Message { .. }
        )
    }
}

/// Somebody who is present in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The key.
    pub key: Text,
    /// What each of its connections says about itself; at least one.
    pub metas: Vec<Meta>,
}

impl Member {
    pub(super) fn new((key, metas): (&str, &[Meta])) -> Self {
        Self { key: key.into(), metas: metas.to_vec() }
    }
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
    /// With [`Transport::Auto`](rejoin_core::phoenix::Transport): the next attempt is made by another
    /// transport. A host that keeps it for
    /// [`Config::fallback_memory`](rejoin_core::phoenix::Config::fallback_memory) spares its next client
    /// the detour.
    TransportChanged {
        /// The transport of the next attempt.
        transport: TransportKind,
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
        matches!(self, Self::Channel { event, .. } if event.is_message())
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
            ChannelEvent::PostgresChange { change, .. } => 1 + change.payload().len() / WEIGHT_BYTES,
            // As much as if they had come one by one.
            ChannelEvent::PresenceState { members } => members.len().max(1),
            _ => 1,
        }
    }
}
