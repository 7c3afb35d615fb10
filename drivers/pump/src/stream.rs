//! What an application reads: the events of one channel, or of many and the connection together.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use rejoin_core::phoenix::{ChannelId, CloseReason, JoinFailure, LossReason, TroubleCause};
use rejoin_core::wire::DecodeError;
use rejoin_core::{Payload, Text, TransportKind};

use crate::queue::{Lossy, Source};

/// A message takes one place in its queue, and one more for each of these many bytes.
pub(crate) const WEIGHT_BYTES: usize = 1024;

/// What happens when events come faster than they are read.
///
/// A capacity counts events; a message counts once more for each KiB of its payload, so that a
/// queue of large messages is bounded too. One message always fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inflow {
    /// The socket is not read until there is room: nothing is lost, and every reader of this
    /// connection waits for the slowest. One that stays away for longer than a heartbeat and its
    /// deadline costs the connection, because the heartbeat's answer is not read either. Outcomes of
    /// pushes wait like everybody: whoever awaits a [`PushTicket`](crate::PushTicket) in the very task
    /// that has to make room may wait for ever.
    Block {
        /// Events that may wait; at least 1.
        capacity: usize,
    },
    /// The oldest messages are dropped, and [`ChannelEvent::Lagged`] says how many.
    DropOldest {
        /// Events that may wait; at least 1.
        capacity: usize,
    },
}

impl Inflow {
    /// The default capacity: 256 events, or 256 KiB of large messages and at least one.
    pub const CAPACITY: usize = 256;

    pub(crate) const fn capacity(self) -> usize {
        match self {
            Self::Block { capacity } | Self::DropOldest { capacity } => capacity,
        }
    }

    pub(crate) const fn blocks(self) -> bool {
        matches!(self, Self::Block { .. })
    }
}

/// [`Inflow::Block`] with a capacity of 256.
impl Default for Inflow {
    fn default() -> Self {
        Self::Block { capacity: Self::CAPACITY }
    }
}

/// Something that happened on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelEvent {
    /// The server accepted the join.
    Joined {
        /// What it answered.
        response: Payload,
        /// Whether this channel had been joined before.
        again: bool,
    },
    /// A join came to nothing; it is tried again.
    JoinFailed {
        /// Why.
        failure: JoinFailure,
        /// How soon it is tried again; `None` if that waits for a connection.
        retry_in: Option<Duration>,
    },
    /// The channel is no longer joined; it will be joined again.
    Errored {
        /// Why.
        cause: TroubleCause,
        /// How soon it is joined again; `None` if that waits for a connection.
        retry_in: Option<Duration>,
    },
    /// The server sent a message.
    Message {
        /// The event.
        event: Text,
        /// What it carries.
        payload: Payload,
    },
    /// A Supabase server passed on what somebody broadcast, in binary: a `broadcast` with a name of its own.
    UserBroadcast {
        /// The sender's event.
        event: Text,
        /// What it carries.
        payload: Payload,
        /// What the server adds.
        meta: Option<Payload>,
    },
    /// Messages were dropped because they were not read in time.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The channel is gone for good. Always the last event.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// Something that happened to the connection.
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
    /// A heartbeat was answered.
    HeartbeatAnswered {
        /// How long that took.
        rtt: Duration,
        /// Whether the answer's status was `ok`. Any answer proves that the peer lives.
        ok: bool,
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
    /// The client is closed. Always the last event.
    Closed,
}

/// The events of one channel, in order. Ends after [`ChannelEvent::Closed`], or without it if the
/// pump was dropped.
///
/// Survives every loss of the connection. Dropping it stops nothing but the reading.
pub struct Events {
    source: Source<InboxEvent>,
}

impl Events {
    pub(crate) const fn new(source: Source<InboxEvent>) -> Self {
        Self { source }
    }

    /// The next event; `None` once there will be no more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ChannelEvent> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Waits for the server's answer to the join, passing over everything before it.
    ///
    /// # Errors
    /// With the first event that says that the join came to nothing; it is still tried again.
    pub async fn joined(&mut self) -> Result<Payload, ChannelEvent> {
        while let Some(event) = self.next().await {
            match event {
                ChannelEvent::Joined { response, .. } => return Ok(response),
                ChannelEvent::JoinFailed { .. } | ChannelEvent::Closed { .. } => return Err(event),
                _ => {}
            }
        }
        Err(ChannelEvent::Closed { reason: CloseReason::SessionClosed })
    }
}

impl Stream for Events {
    type Item = ChannelEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ChannelEvent>> {
        loop {
            match ready!(self.source.poll_next(cx)) {
                Some(InboxEvent::Channel { event, .. }) => return Poll::Ready(Some(event)),
                Some(InboxEvent::Lagged { missed }) => return Poll::Ready(Some(ChannelEvent::Lagged { missed })),
                Some(InboxEvent::Connection(_)) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}

/// The events of the connection and of any number of channels in one stream, in the order in which
/// they happened. Made by [`Client::inbox`](crate::Client::inbox).
pub struct Inbox {
    source: Source<InboxEvent>,
}

impl Inbox {
    pub(crate) const fn new(source: Source<InboxEvent>) -> Self {
        Self { source }
    }

    /// The next event; `None` once there will be no more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<InboxEvent> {
        poll_fn(|cx| self.source.poll_next(cx)).await
    }
}

impl Stream for Inbox {
    type Item = InboxEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<InboxEvent>> {
        self.source.poll_next(cx)
    }
}

/// Names an [`Inbox`] when joining a channel into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxHandle(pub(crate) u64);

/// Something that an [`Inbox`] gathers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InboxEvent {
    /// It happened on this channel.
    Channel {
        /// The channel, as in [`Channel::id`](crate::Channel::id).
        channel: ChannelId,
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
        matches!(event, ChannelEvent::Message { .. } | ChannelEvent::UserBroadcast { .. })
    }

    fn lagged(missed: u64) -> Self {
        Self::Lagged { missed }
    }

    #[inline]
    fn weight(&self) -> usize {
        match self {
            Self::Channel {
                event: ChannelEvent::Message { payload, .. } | ChannelEvent::UserBroadcast { payload, .. },
                ..
            } => 1 + payload.len() / WEIGHT_BYTES,
            _ => 1,
        }
    }
}
