//! Waiting for a channel to be of use.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use rejoin_core::supabase::{CloseReason, PostgresFailure, SubscribeFailure, Trouble};

use super::channel::Channel;
use super::event::ChannelEvent;
use super::listen::Listen;
use super::listener::Listener;
use crate::errors::ClosedError;

/// Why a channel is not ready: what went wrong last while it was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReady {
    /// The last join came to nothing.
    SubscribeFailed(SubscribeFailure),
    /// It is joined, and its database changes do not flow.
    PostgresFailed(PostgresFailure),
    /// It was lost, and is not joined again.
    Errored(Trouble),
    /// It is gone for good, or the client is.
    Closed(CloseReason),
    /// Nothing went wrong, and it was not ready in time.
    TimedOut,
    /// The handle is not subscribed.
    NotSubscribed,
}

impl From<ClosedError> for NotReady {
    fn from(_: ClosedError) -> Self {
        Self::Closed(CloseReason::SessionClosed)
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SubscribeFailed(failure) => write!(f, "the channel is not joined: {failure}"),
            Self::PostgresFailed(failure) => failure.fmt(f),
            Self::Errored(trouble) => write!(f, "the channel is not joined: {trouble}"),
            Self::Closed(reason) => write!(f, "the channel is closed: {reason}"),
            Self::TimedOut => f.write_str("the channel was not ready in time"),
            Self::NotSubscribed => f.write_str("the handle is not subscribed; subscribe it first"),
        }
    }
}

impl std::error::Error for NotReady {}

impl Channel {
    /// Waits until the channel is joined and, if its configuration asks for database changes, until
    /// they flow. What comes to nothing is tried again meanwhile, so that only the end of the channel
    /// or of the time ends the waiting.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rejoin_pump::supabase::{Channel, NotReady};
    /// # async fn run(room: Channel) -> Result<(), Box<dyn std::error::Error>> {
    /// room.subscribe().await?;
    /// match room.wait_ready(Duration::from_secs(20)).await {
    ///     Err(NotReady::PostgresFailed(failure)) => println!("{failure}; is the table published?"),
    ///     ready => ready?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// With what went wrong last. The channel stays subscribed and may still become ready.
    pub async fn wait_ready(&self, timeout: Duration) -> Result<(), NotReady> {
        let late = (self.shared().sleep)(timeout);
        // It asks for no binding, so that nothing but a closed client keeps it from listening.
        let mut events = self.listen(Listen::status()).await.map_err(|_| ClosedError)?;
        let wants_changes = !self.config().postgres_changes.is_empty();
        let mut progress = Progress { wants_changes, trouble: None };
        if self.state().await?.is_none() {
            let ended = progress.watch(&mut events).now_or_never();
            return ended.unwrap_or(Err(NotReady::NotSubscribed));
        }
        let in_time = match select(pin!(progress.watch(&mut events)), late).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(_) => None,
        };
        in_time.unwrap_or_else(|| Err(progress.trouble.unwrap_or(NotReady::TimedOut)))
    }
}

/// How far a channel has come.
struct Progress {
    wants_changes: bool,
    /// What went wrong last.
    trouble: Option<NotReady>,
}

impl Progress {
    /// Until it is ready or at its end.
    async fn watch(&mut self, events: &mut Listener) -> Result<(), NotReady> {
        while let Some(event) = events.next().await {
            if let Some(outcome) = self.hear(event) {
                return outcome;
            }
        }
        Err(ClosedError.into())
    }

    fn hear(&mut self, event: ChannelEvent) -> Option<Result<(), NotReady>> {
        self.trouble = match event {
            ChannelEvent::Subscribed { .. } if !self.wants_changes => return Some(Ok(())),
            ChannelEvent::PostgresReady { .. } => return Some(Ok(())),
            ChannelEvent::Closed { reason: CloseReason::Refused } => {
                return Some(Err(self.trouble.take().unwrap_or(NotReady::Closed(CloseReason::Refused))));
            }
            ChannelEvent::Closed { reason } => return Some(Err(NotReady::Closed(reason))),
            ChannelEvent::Subscribed { .. } => None,
            ChannelEvent::SubscribeFailed { failure, .. } => Some(NotReady::SubscribeFailed(failure)),
            ChannelEvent::PostgresFailed { failure } => Some(NotReady::PostgresFailed(failure)),
            ChannelEvent::Errored { trouble, .. } => Some(NotReady::Errored(trouble)),
            _ => return None,
        };
        None
    }
}
