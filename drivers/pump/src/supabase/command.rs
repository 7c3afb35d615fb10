//! What handles ask of the bridge, and the way there.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_channel::Sender;
use futures_channel::oneshot;
use rejoin_core::phoenix::{ConnectionState, Push, Stats};
use rejoin_core::supabase::{AccessToken, AuthError, Broadcast, ChannelConfig, ChannelState, HttpBroadcast};
use rejoin_core::{Payload, Text};

use super::errors::SubscribeError;
use super::event::{ChannelInfo, HandleId, InboxEvent, Member};
use super::http::HttpTicketSender;
use super::listen::Listen;
use crate::commands::Abandoned;
use crate::errors::ClosedError;
use crate::queue::Sink;
use crate::runtime::{BoxFuture, Runtime};
use crate::ticket::TicketSender;

/// What every handle of a client holds.
pub(super) struct Shared {
    pub(super) commands: Sender<Command>,
    pub(super) abandoned: Arc<Abandoned<HandleId>>,
    pub(super) numbers: AtomicU64,
    pub(super) sleep: Sleep,
}

/// Sleeps so long, in the runtime's time.
pub(super) type Sleep = Box<dyn Fn(Duration) -> BoxFuture<()> + Send + Sync>;

impl Shared {
    /// A number that no other handle or inbox of the client has.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, ClosedError> {
        let (answer, answered) = oneshot::channel();
        self.send(command(answer)).await?;
        answered.await.map_err(|_| ClosedError)
    }

    pub(super) async fn send(&self, command: Command) -> Result<(), ClosedError> {
        self.commands.send(command).await.map_err(|_| ClosedError)
    }
}

/// A way to sleep that does not name the runtime.
pub(super) fn sleep_on<R: Runtime>(runtime: R) -> Sleep {
    Box::new(move |time| match runtime.now().checked_add(time) {
        Some(deadline) => Box::pin(runtime.sleep_until(deadline)),
        // What is further away than the clock can say is never.
        None => Box::pin(pending()),
    })
}

/// What a handle asks of the pump.
pub(super) enum Command {
    Subscribe {
        handle: HandleId,
        topic: Text,
        config: Arc<ChannelConfig>,
        answer: oneshot::Sender<Result<(), SubscribeError>>,
    },
    Unsubscribe {
        handle: HandleId,
    },
    Listen {
        handle: HandleId,
        topic: Text,
        listen: Listen,
        to: Destination,
        answer: oneshot::Sender<Result<(), SubscribeError>>,
    },
    Broadcast {
        handle: HandleId,
        broadcast: Broadcast,
        ticket: TicketSender,
    },
    Push {
        handle: HandleId,
        push: Push,
        ticket: TicketSender,
    },
    Track {
        handle: HandleId,
        payload: Payload,
        ticket: TicketSender,
    },
    Untrack {
        handle: HandleId,
        ticket: TicketSender,
    },
    PresenceState {
        handle: HandleId,
        answer: oneshot::Sender<Option<Vec<Member>>>,
    },
    HttpBroadcast {
        broadcast: HttpBroadcast,
        ticket: HttpTicketSender,
    },
    HttpBatch {
        broadcasts: Vec<HttpBroadcast>,
        ticket: HttpTicketSender,
    },
    SetChannelAuth {
        topic: Text,
        token: Option<AccessToken>,
        answer: oneshot::Sender<Result<(), AuthError>>,
    },
    ChannelState {
        handle: HandleId,
        answer: oneshot::Sender<Option<ChannelState>>,
    },
    Inbox {
        number: u64,
        sink: Sink<InboxEvent>,
    },
    Channels(oneshot::Sender<Vec<ChannelInfo>>),
    RemoveAll,
    SetAuth {
        token: AccessToken,
        answer: oneshot::Sender<Result<(), AuthError>>,
    },
    ClearAuth,
    RefreshAuth,
    Connect,
    Disconnect,
    Reconnect,
    Probe,
    State(oneshot::Sender<ConnectionState>),
    Stats(oneshot::Sender<Stats>),
    Close,
}

/// Where a listener's events go.
pub(super) enum Destination {
    Own(Sink<InboxEvent>),
    Inbox(u64),
}
