//! Streams of events: of one channel, of the connection, or of everything together.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use rejoin_core::supabase::CloseReason;

use super::event::{ChannelEvent, ConnectionEvent, InboxEvent};
use crate::queue::Source;

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
