//! The client's handles: what an application holds while the pump runs in a task of its own.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_channel::Sender;
use futures_channel::oneshot;
use rejoin_core::phoenix::{ChannelId, ChannelState, Config, ConnectionState, JoinOptions, Push, Session, Stats};
use rejoin_core::{Payload, Text};

use crate::client_bridge::{ClientBridge, Command, Destination};
use crate::clock::Clock;
use crate::commands::{Abandoned, commands};
use crate::errors::{ClosedError, SubscribeError};
use crate::pump::Pump;
use crate::queue::queue;
use crate::runtime::Runtime;
use crate::stream::{Events, Inbox, InboxHandle, Inflow};
use crate::tap::Tap;
use crate::ticket::{PushTicket, ticket};

/// What a driver's `connect_with` can be told besides the session's configuration.
#[non_exhaustive]
pub struct ConnectOptions {
    /// Commands that may wait for the pump before a handle's method waits; default 64.
    pub commands: usize,
    /// Somebody who looks on, such as a recorder.
    pub tap: Option<Box<dyn Tap>>,
    /// Whether the pump connects at once (the default) or waits for [`Client::connect`].
    pub connect: bool,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { commands: 64, tap: None, connect: true }
    }
}

/// A client over any runtime, and the pump that the caller has to spawn. Runtime crates wrap this.
///
/// A `jitter_seed` of zero is replaced by one from the system. The pump resolves after
/// [`Client::close`], or when every [`Client`] and [`Channel`] is gone.
pub fn connect_with<R: Runtime>(
    mut config: Config,
    options: ConnectOptions,
    runtime: R,
) -> (Client, impl Future<Output = ()> + Send) {
    let start = runtime.now();
    let clock = Clock::new(start);
    let now = clock.timestamp(start);
    let frame_bytes = config.limits.frame_bytes;
    if config.jitter_seed == 0 {
        // The delays of many processes must differ.
        config.jitter_seed = RandomState::new().hash_one(0);
    }
    let mut session = Session::new(config, now);
    if options.connect {
        session.connect(now);
    }
    let (commands, abandoned, received) = commands(options.commands);
    let pump = Pump::new(session, ClientBridge::new(received), runtime, clock, frame_bytes).with_tap(options.tap);
    let pump = pump.until_finished();
    (Client { shared: Arc::new(Shared { commands, abandoned, inboxes: AtomicU64::new(0) }) }, pump)
}

/// A handle to the connection. Cheap to clone; the connection ends when every handle is gone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    commands: Sender<Command>,
    abandoned: Arc<Abandoned<ChannelId>>,
    inboxes: AtomicU64,
}

impl Client {
    /// Wants to be in a topic, through every loss, until the channel is left or dropped. Resolves
    /// when the session has taken note, not when the server has answered: see [`Events::joined`].
    ///
    /// Events wait in a queue of 256 and then stop the reading; [`Client::join_with`] chooses.
    ///
    /// # Errors
    /// If the topic is empty or taken, or the client is closed.
    pub async fn join(
        &self,
        topic: impl Into<Text>,
        options: JoinOptions,
    ) -> Result<(Channel, Events), SubscribeError> {
        self.join_with(topic, options, Inflow::default()).await
    }

    /// The same, with a choice of what happens when events come faster than they are read.
    ///
    /// # Errors
    /// If the topic is empty or taken, or the client is closed.
    pub async fn join_with(
        &self,
        topic: impl Into<Text>,
        options: JoinOptions,
        inflow: Inflow,
    ) -> Result<(Channel, Events), SubscribeError> {
        let (sink, source) = queue(inflow.capacity(), inflow.blocks());
        let channel = self.subscribe(topic.into(), options, Destination::Own(sink)).await?;
        Ok((channel, Events::new(source)))
    }

    /// The same, into a stream that gathers several channels.
    ///
    /// # Errors
    /// If the topic is empty or taken, or the client or the inbox is closed.
    pub async fn join_into(
        &self,
        inbox: InboxHandle,
        topic: impl Into<Text>,
        options: JoinOptions,
    ) -> Result<Channel, SubscribeError> {
        self.subscribe(topic.into(), options, Destination::Shared(inbox.0)).await
    }

    /// One stream for the connection's events and for every channel that is joined into it: one
    /// task reads a thousand channels, and their order is kept.
    ///
    /// It begins when the pump takes note, which may be after the first attempt at a connection:
    /// whoever must see that too connects by hand ([`ConnectOptions::connect`]), after this.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn inbox(&self, inflow: Inflow) -> Result<(InboxHandle, Inbox), ClosedError> {
        let (sink, source) = queue(inflow.capacity(), inflow.blocks());
        let number = self.shared.inboxes.fetch_add(1, Ordering::Relaxed);
        self.send(Command::Inbox { number, sink }).await?;
        Ok((InboxHandle(number), Inbox::new(source)))
    }

    /// Wants a connection: after [`Client::disconnect`] or when the client gave up.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn connect(&self) -> Result<(), ClosedError> {
        self.send(Command::Connect).await
    }

    /// Wants no connection; channels stay and come back with [`Client::connect`].
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn disconnect(&self) -> Result<(), ClosedError> {
        self.send(Command::Disconnect).await
    }

    /// Replaces the connection by a new one.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn reconnect(&self) -> Result<(), ClosedError> {
        self.send(Command::Reconnect).await
    }

    /// The host woke up or changed its network: the connection is checked at once.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn probe(&self) -> Result<(), ClosedError> {
        self.send(Command::Probe).await
    }

    /// What the connection is doing.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn state(&self) -> Result<ConnectionState, ClosedError> {
        self.ask(Command::State).await
    }

    /// What was ignored so far.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn stats(&self) -> Result<Stats, ClosedError> {
        self.ask(Command::Stats).await
    }

    /// Closes the connection with 1000 after what was pushed before, and ends every stream. The pump
    /// resolves when the server has answered, after at most `close_timeout`. Closing twice is fine.
    pub async fn close(&self) {
        // A pump that is gone is closed.
        let _ = self.send(Command::Close).await;
    }

    async fn subscribe(&self, topic: Text, options: JoinOptions, into: Destination) -> Result<Channel, SubscribeError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Join { topic: topic.clone(), options, into, answer };
        self.send(command).await.map_err(|_| SubscribeError::Closed)?;
        let id = answered.await.map_err(|_| SubscribeError::Closed)??;
        let lifetime = Lifetime { shared: self.shared.clone(), id, topic };
        Ok(Channel { lifetime: Arc::new(lifetime) })
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, ClosedError> {
        let (answer, answered) = oneshot::channel();
        self.send(command(answer)).await?;
        answered.await.map_err(|_| ClosedError)
    }

    async fn send(&self, command: Command) -> Result<(), ClosedError> {
        self.shared.commands.send(command).await.map_err(|_| ClosedError)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// A handle to one channel. Cheap to clone; the channel is left when the last clone is gone.
#[derive(Clone)]
pub struct Channel {
    lifetime: Arc<Lifetime>,
}

struct Lifetime {
    shared: Arc<Shared>,
    id: ChannelId,
    topic: Text,
}

impl Channel {
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.lifetime.topic
    }

    /// The channel's name in an [`Inbox`].
    #[must_use]
    pub fn id(&self) -> ChannelId {
        self.lifetime.id
    }

    /// Hands a message to the session, which sends it now or when the channel is joined. Waits only
    /// while the queue of commands is full, as it is when the socket does not keep up.
    ///
    /// Dropping this future before it resolves may or may not have sent the message.
    ///
    /// # Errors
    /// If the client is closed. What the session thinks of the push is the ticket's answer.
    pub async fn push(&self, push: Push) -> Result<PushTicket, ClosedError> {
        let (sender, ticket) = ticket();
        let command = Command::Push { channel: self.lifetime.id, push, ticket: sender };
        self.lifetime.shared.commands.send(command).await.map_err(|_| ClosedError)?;
        Ok(ticket)
    }

    /// Changes the payload of the rejoins to come.
    ///
    /// # Errors
    /// If the payload is no JSON object, the channel is gone or the client is closed.
    pub async fn set_join_payload(&self, payload: Payload) -> Result<(), SubscribeError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::SetJoinPayload { channel: self.lifetime.id, payload, answer };
        self.lifetime.shared.commands.send(command).await.map_err(|_| SubscribeError::Closed)?;
        answered.await.map_err(|_| SubscribeError::Closed)?.map_err(SubscribeError::Refused)
    }

    /// Where the channel stands; `None` once it is gone.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn state(&self) -> Result<Option<ChannelState>, ClosedError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::ChannelState { channel: self.lifetime.id, answer };
        self.lifetime.shared.commands.send(command).await.map_err(|_| ClosedError)?;
        answered.await.map_err(|_| ClosedError)
    }

    /// Leaves the channel; its stream ends with `Closed` when the server has answered.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn leave(&self) -> Result<(), ClosedError> {
        let command = Command::Leave { channel: self.lifetime.id };
        self.lifetime.shared.commands.send(command).await.map_err(|_| ClosedError)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("topic", &self.lifetime.topic).finish_non_exhaustive()
    }
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        self.shared.abandoned.add(self.id);
    }
}
