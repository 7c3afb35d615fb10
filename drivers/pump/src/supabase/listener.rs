//! Streams of events: of one channel, of the connection, or of everything together.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use rejoin_core::Text;
use rejoin_core::supabase::CloseReason;

use super::event::{ChannelEvent, ConnectionEvent, InboxEvent};
use crate::queue::Source;

/// Which messages of a channel to listen to. The life of the channel ([`ChannelEvent::Subscribed`],
/// `Gap`, `Closed` and the like) is heard whatever is chosen, so that no loss goes unnoticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen(pub(super) What);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Everything,
    Status,
    Broadcasts,
    Broadcast(Text),
    Presence,
    System,
    Event(Text),
}

impl Listen {
    /// Every message.
    #[must_use]
    pub const fn everything() -> Self {
        Self(What::Everything)
    }

    /// No message at all.
    #[must_use]
    pub const fn status() -> Self {
        Self(What::Status)
    }

    /// Broadcasts of this event, compared exactly; `*` is all of them.
    #[must_use]
    pub fn broadcast(event: impl Into<Text>) -> Self {
        let event = event.into();
        Self(if event == "*" { What::Broadcasts } else { What::Broadcast(event) })
    }

    /// Presence messages.
    #[must_use]
    pub const fn presence() -> Self {
        Self(What::Presence)
    }

    /// What the server says about the channel itself.
    #[must_use]
    pub const fn system() -> Self {
        Self(What::System)
    }

    /// Other messages of this event, compared exactly; `*` is everything.
    #[must_use]
    pub fn event(event: impl Into<Text>) -> Self {
        let event = event.into();
        Self(if event == "*" { What::Everything } else { What::Event(event) })
    }

    #[inline]
    pub(super) fn wants(&self, event: &ChannelEvent) -> bool {
        match (&self.0, event) {
            (What::Everything | What::Broadcasts, ChannelEvent::Broadcast { .. }) => true,
            (What::Broadcast(wanted), ChannelEvent::Broadcast { event, .. }) => wanted == event,
            (_, ChannelEvent::Broadcast { .. }) => false,
            (what, ChannelEvent::System(_)) => match what {
                What::Everything | What::System => true,
                What::Event(wanted) => *wanted == "system",
                _ => false,
            },
            (what, ChannelEvent::Message { event, .. }) => match what {
                What::Everything => true,
                What::Presence => *event == "presence_state" || *event == "presence_diff",
                What::Event(wanted) => wanted == event,
                _ => false,
            },
            // The life of the channel.
            _ => true,
        }
    }
}

/// The events of one channel handle, in order, through every loss, unsubscription and new
/// subscription. Ends when the handle's last clone is dropped or the client is closed, both behind a
/// [`ChannelEvent::Closed`] if the handle was subscribed.
///
/// Dropping it stops nothing but the listening.
pub struct Listener {
    source: Source<InboxEvent>,
}

impl Listener {
    pub(super) const fn new(source: Source<InboxEvent>) -> Self {
        Self { source }
    }

    /// The next event; `None` once there will be no more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ChannelEvent> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Waits until the channel is joined, passing over everything before it.
    ///
    /// # Errors
    /// With the first event that says that a join came to nothing, even if it is tried again.
    pub async fn subscribed(&mut self) -> Result<(), ChannelEvent> {
        while let Some(event) = self.next().await {
            match event {
                ChannelEvent::Subscribed { .. } => return Ok(()),
                ChannelEvent::SubscribeFailed { .. } | ChannelEvent::Closed { .. } => return Err(event),
                _ => {}
            }
        }
        Err(ChannelEvent::Closed { reason: CloseReason::SessionClosed })
    }
}

impl Stream for Listener {
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

/// The events of the connection and of the access token, in order. Ends with
/// [`ConnectionEvent::Closed`].
pub struct ConnectionEvents {
    source: Source<InboxEvent>,
}

impl ConnectionEvents {
    pub(super) const fn new(source: Source<InboxEvent>) -> Self {
        Self { source }
    }

    /// The next event; `None` once there will be no more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ConnectionEvent> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for ConnectionEvents {
    type Item = ConnectionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConnectionEvent>> {
        loop {
            match ready!(self.source.poll_next(cx)) {
                Some(InboxEvent::Connection(event)) => return Poll::Ready(Some(event)),
                Some(InboxEvent::Lagged { missed }) => return Poll::Ready(Some(ConnectionEvent::Unread { missed })),
                Some(InboxEvent::Channel { .. }) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}

/// The events of the connection and of any number of channels in one stream, in the order in which
/// they happened. Made by [`Client::inbox`](super::Client::inbox).
pub struct Inbox {
    source: Source<InboxEvent>,
}

impl Inbox {
    pub(super) const fn new(source: Source<InboxEvent>) -> Self {
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

/// Names an [`Inbox`] when a channel is to be heard there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxHandle(pub(super) u64);
