//! The handle to a Supabase client's connection, channels and token.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rejoin_core::phoenix::{ConnectionState, Stats};
use rejoin_core::supabase::{AccessToken, ChannelConfig, Config, HttpBroadcast, Session, topic_of};

use super::bridge::SupabaseBridge;
use super::channel::Channel;
use super::command::{Command, Shared, sleep_on};
use super::errors::{SetAuthError, SubscribeError};
use super::event::{ChannelInfo, HandleId, InboxEvent};
use super::http::{HttpTicket, Requests, http_ticket};
use super::listener::{ConnectionEvents, Inbox, InboxHandle};
use crate::clock::Clock;
use crate::commands::commands;
use crate::errors::ClosedError;
use crate::http::HttpClient;
use crate::pump::Pump;
use crate::queue::{Source, queue};
use crate::runtime::Runtime;
use crate::stream::Inflow;
use crate::tap::Tap;
use crate::token_provider::{Asking, TokenProvider};

/// What a driver's `connect_on` can be told besides the session's configuration.
#[non_exhaustive]
pub struct ConnectOptions {
    /// Commands that may wait for the pump before a handle's method waits; default 64.
    pub commands: usize,
    /// Somebody who looks on, such as a recorder.
    pub tap: Option<Box<dyn Tap>>,
    /// Whether the pump connects at once (the default) or waits for [`Client::connect`].
    pub connect: bool,
    /// Where access tokens come from. With one, joins wait for its first answer, and tokens are
    /// renewed before they expire; it sets `Config::token_provider`.
    pub token_provider: Option<Box<dyn TokenProvider>>,
}

impl ConnectOptions {
    /// The same, with a source of access tokens: an async closure, for example.
    #[must_use]
    pub fn token_provider(mut self, provider: impl TokenProvider) -> Self {
        self.token_provider = Some(Box::new(provider));
        self
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { commands: 64, tap: None, connect: true, token_provider: None }
    }
}

/// A Supabase client over any runtime, and the pump that the caller has to spawn. Runtime crates
/// wrap this.
///
/// A `jitter_seed` of zero is replaced by one from the system. The pump resolves after
/// [`Client::close`], or when every [`Client`] and [`Channel`] is gone.
pub fn connect_with<R: Runtime>(
    mut config: Config,
    options: ConnectOptions,
    runtime: R,
) -> (Client, impl Future<Output = ()> + Send) {
    let ConnectOptions { commands: capacity, tap, connect, token_provider } = options;
    let start = runtime.now();
    let clock = Clock::new(start);
    let now = clock.timestamp(start);
    let frame_bytes = config.phoenix.limits.frame_bytes;
    if config.phoenix.jitter_seed == 0 {
        // The delays of many processes must differ.
        config.phoenix.jitter_seed = RandomState::new().hash_one(0);
    }
    config.token_provider = token_provider.is_some();
    let mut session = Session::new(config, now);
    session.set_wall_clock(now, runtime.unix_time());
    if connect {
        session.connect(now);
    }
    let (commands, abandoned, receiver) = commands(capacity);
    let requests = Requests::new(Box::new(HttpClient::new(runtime.clone())));
    let bridge = SupabaseBridge::new(receiver, token_provider.map(Asking::new), requests);
    let sleep = sleep_on(runtime.clone());
    let pump = Pump::new(session, bridge, runtime, clock, frame_bytes).with_tap(tap).until_finished();
    (Client { shared: Arc::new(Shared { commands, abandoned, numbers: AtomicU64::new(0), sleep }) }, pump)
}

/// A handle to the client. Cheap to clone; the connection ends when every handle is gone.
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
}

impl Client {
    /// A handle to a channel, which nobody is subscribed to yet. Several handles on one topic share
    /// one channel of the server.
    ///
    /// `name` is the topic with or without its `realtime:`.
    ///
    /// # Errors
    /// If the name is empty or the configuration contradicts itself.
    pub fn channel(&self, name: &str, config: ChannelConfig) -> Result<Channel, SubscribeError> {
        config.check()?;
        let topic = topic_of(name)?;
        let id = HandleId(self.shared.number());
        Ok(Channel::new(self.shared.clone(), id, topic, config))
    }

    /// The channels that are subscribed to, by topic.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn channels(&self) -> Result<Vec<ChannelInfo>, ClosedError> {
        self.shared.ask(Command::Channels).await
    }

    /// Unsubscribes every handle from its channel and disconnects; the next `subscribe` connects again.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn remove_all(&self) -> Result<(), ClosedError> {
        self.shared.send(Command::RemoveAll).await
    }

    /// Broadcasts over HTTP, without a socket and whether anybody here is subscribed or not. It may
    /// overtake what goes over the socket.
    ///
    /// # Errors
    /// If the client is closed. What the session and the server think of the broadcast is the ticket's
    /// answer.
    pub async fn http_broadcast(&self, broadcast: HttpBroadcast) -> Result<HttpTicket, ClosedError> {
        let (sender, ticket) = http_ticket();
        self.shared.send(Command::HttpBroadcast { broadcast, ticket: sender }).await?;
        Ok(ticket)
    }

    /// The same for many, of any channels, in one request, of which the server accepts all or none.
    /// Each payload is a JSON object.
    ///
    /// # Errors
    /// As for [`Client::http_broadcast`].
    pub async fn http_broadcast_batch(&self, broadcasts: Vec<HttpBroadcast>) -> Result<HttpTicket, ClosedError> {
        let (sender, ticket) = http_ticket();
        self.shared.send(Command::HttpBatch { broadcasts, ticket: sender }).await?;
        Ok(ticket)
    }

    /// Takes a token into use for all channels without one of their own.
    ///
    /// # Errors
    /// If it has expired or the client is closed.
    pub async fn set_auth(&self, token: AccessToken) -> Result<(), SetAuthError> {
        self.shared.ask(|answer| Command::SetAuth { token, answer }).await?.map_err(SetAuthError::Refused)
    }

    /// Forgets every token: the user signed out. See
    /// [`Session::clear_auth`](rejoin_core::supabase::Session::clear_auth).
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn clear_auth(&self) -> Result<(), ClosedError> {
        self.shared.send(Command::ClearAuth).await
    }

    /// Asks the token provider now.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn refresh_auth(&self) -> Result<(), ClosedError> {
        self.shared.send(Command::RefreshAuth).await
    }

    /// What happens to the connection and to the token, from now on; heartbeats with their round
    /// trips among it. The oldest events are dropped if they are not read, and
    /// [`ConnectionEvent::Unread`](super::ConnectionEvent::Unread) says how many.
    ///
    /// It begins when the pump takes note, which may be after the first attempt at a connection:
    /// whoever must see that too connects by hand ([`ConnectOptions::connect`]), after this.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn connection_events(&self) -> Result<ConnectionEvents, ClosedError> {
        let (_, source) = self.watch(Inflow::DropOldest { capacity: Inflow::CAPACITY }).await?;
        Ok(ConnectionEvents::new(source))
    }

    /// One stream for the connection's events and for every channel that is
    /// [listened to](Channel::listen_into) there, in order.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn inbox(&self, inflow: Inflow) -> Result<(InboxHandle, Inbox), ClosedError> {
        let (handle, source) = self.watch(inflow).await?;
        Ok((handle, Inbox::new(source)))
    }

    /// Wants a connection: after [`Client::disconnect`] or when the client gave up.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn connect(&self) -> Result<(), ClosedError> {
        self.shared.send(Command::Connect).await
    }

    /// Wants no connection; channels stay and come back with [`Client::connect`].
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn disconnect(&self) -> Result<(), ClosedError> {
        self.shared.send(Command::Disconnect).await
    }

    /// Replaces the connection by a new one.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn reconnect(&self) -> Result<(), ClosedError> {
        self.shared.send(Command::Reconnect).await
    }

    /// The host woke up or changed its network: the connection is checked at once. A suspension is
    /// noticed by the pump itself.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn probe(&self) -> Result<(), ClosedError> {
        self.shared.send(Command::Probe).await
    }

    /// What the connection is doing.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn state(&self) -> Result<ConnectionState, ClosedError> {
        self.shared.ask(Command::State).await
    }

    /// What was ignored so far.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn stats(&self) -> Result<Stats, ClosedError> {
        self.shared.ask(Command::Stats).await
    }

    /// Closes the connection with 1000 after what was pushed before, and ends every stream. The pump
    /// resolves when the server has answered, after at most `close_timeout`. Closing twice is fine.
    ///
    /// What is on its way over HTTP is not waited for: whoever needs it to arrive awaits its ticket first.
    pub async fn close(&self) {
        // A pump that is gone is closed.
        let _ = self.shared.send(Command::Close).await;
    }

    async fn watch(&self, inflow: Inflow) -> Result<(InboxHandle, Source<InboxEvent>), ClosedError> {
        let (sink, source) = queue(inflow.capacity(), inflow.blocks());
        let number = self.shared.number();
        self.shared.send(Command::Inbox { number, sink }).await?;
        Ok((InboxHandle(number), source))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
