//! A handle to one channel of a Supabase client.

use std::fmt;
use std::sync::Arc;

use rejoin_core::phoenix::Push;
use rejoin_core::supabase::{AccessToken, Broadcast, ChannelConfig, ChannelState, HttpBroadcast};
use rejoin_core::{Payload, Text};

use super::command::{Command, Destination, Shared};
use super::errors::{SetAuthError, SubscribeError};
use super::event::{HandleId, Member};
use super::http::{HttpTicket, http_ticket};
use super::listen::Listen;
use super::listener::{InboxHandle, Listener};
use crate::errors::ClosedError;
use crate::queue::queue;
use crate::stream::Inflow;
use crate::ticket::{PushTicket, ticket};

/// A handle to one channel, which may be subscribed and unsubscribed any number of times. Cheap to
/// clone; when the last clone is gone it unsubscribes, and its listeners end behind their `Closed`.
///
/// What the server is asked for is settled when the handle is made, for servers settle it with the join.
/// More of it is another configuration, which [`subscribe`](Channel::subscribe) takes once no handle is
/// subscribed with this one:
///
/// ```
/// # use rejoin_pump::core::supabase::PostgresBinding;
/// # use rejoin_pump::supabase::{Channel, Client, SubscribeError};
/// # fn late(client: &Client, room: &Channel, binding: PostgresBinding) -> Result<Channel, SubscribeError> {
/// client.channel(room.topic(), room.config().clone().postgres_changes(binding))
/// # }
/// ```
///
/// There is no way to add a binding that would then do nothing:
///
/// ```compile_fail,E0596
/// # use rejoin_pump::core::supabase::PostgresBinding;
/// # use rejoin_pump::supabase::Channel;
/// # fn late(room: &Channel, binding: PostgresBinding) {
/// room.config().postgres_changes.push(binding);
/// # }
/// ```
#[derive(Clone)]
pub struct Channel {
    lifetime: Arc<Lifetime>,
}

struct Lifetime {
    shared: Arc<Shared>,
    id: HandleId,
    topic: Text,
    config: Arc<ChannelConfig>,
}

impl Channel {
    pub(super) fn new(shared: Arc<Shared>, id: HandleId, topic: Text, config: ChannelConfig) -> Self {
        Self { lifetime: Arc::new(Lifetime { shared, id, topic, config: Arc::new(config) }) }
    }

    /// The topic, with its `realtime:`.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.lifetime.topic
    }

    /// How it is subscribed.
    #[must_use]
    pub fn config(&self) -> &ChannelConfig {
        &self.lifetime.config
    }

    /// The handle's name in an [`Inbox`](super::Inbox).
    #[must_use]
    pub fn id(&self) -> HandleId {
        self.lifetime.id
    }

    /// Wants to be in the channel, through every loss, until [`unsubscribe`](Channel::unsubscribe).
    /// Resolves when the session has taken note, not when the server has answered: see
    /// [`Channel::wait_ready`]. Subscribing twice is fine.
    ///
    /// # Errors
    /// If another handle holds the topic with another configuration, there are too many channels, or
    /// the client is closed.
    pub async fn subscribe(&self) -> Result<(), SubscribeError> {
        let Lifetime { id, topic, config, .. } = &*self.lifetime;
        let (handle, topic, config) = (*id, topic.clone(), config.clone());
        self.shared().ask(|answer| Command::Subscribe { handle, topic, config, answer }).await?
    }

    /// No longer wants to be in the channel. Its listeners hear `Closed`: when the server has
    /// answered, or at once if other handles stay in.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn unsubscribe(&self) -> Result<(), ClosedError> {
        self.shared().send(Command::Unsubscribe { handle: self.id() }).await
    }

    /// Listens from now on, before or after subscribing. Events wait in a queue of 256 and then stop
    /// the reading; [`Channel::listen_with`] chooses.
    ///
    /// # Errors
    /// If it asks for a binding that is not in the channel's configuration, or the client is closed.
    pub async fn listen(&self, listen: Listen) -> Result<Listener, SubscribeError> {
        self.listen_with(listen, Inflow::default()).await
    }

    /// The same, with a choice of what happens when events come faster than they are read.
    ///
    /// # Errors
    /// As for [`Channel::listen`].
    pub async fn listen_with(&self, listen: Listen, inflow: Inflow) -> Result<Listener, SubscribeError> {
        let (sink, source) = queue(inflow.capacity(), inflow.blocks());
        self.attach(listen, Destination::Own(sink)).await?;
        Ok(Listener::new(source))
    }

    /// The same, into a stream that gathers several channels.
    ///
    /// # Errors
    /// As for [`Channel::listen`], and if the inbox is closed.
    pub async fn listen_into(&self, inbox: InboxHandle, listen: Listen) -> Result<(), SubscribeError> {
        self.attach(listen, Destination::Inbox(inbox.0)).await
    }

    /// Hands a broadcast to the session, which sends it now or when the channel is joined. Waits only
    /// while the queue of commands is full, as it is when the socket does not keep up.
    ///
    /// Dropping this future before it resolves may or may not have sent the message.
    ///
    /// # Errors
    /// If the client is closed. What the session thinks of the broadcast is the ticket's answer: a
    /// handle that is not subscribed has no channel.
    pub async fn broadcast(&self, broadcast: Broadcast) -> Result<PushTicket, ClosedError> {
        let (sender, ticket) = ticket();
        self.shared().send(Command::Broadcast { handle: self.id(), broadcast, ticket: sender }).await?;
        Ok(ticket)
    }

    /// Hands any other message to the session.
    ///
    /// # Errors
    /// As for [`Channel::broadcast`].
    pub async fn push(&self, push: Push) -> Result<PushTicket, ClosedError> {
        let (sender, ticket) = ticket();
        self.shared().send(Command::Push { handle: self.id(), push, ticket: sender }).await?;
        Ok(ticket)
    }

    /// Broadcasts over HTTP to this channel's topic, public or private as it is configured, whether
    /// anybody is subscribed or not. See [`Client::http_broadcast`](super::Client::http_broadcast) for
    /// other ways.
    ///
    /// # Errors
    /// As there.
    pub async fn http_broadcast(&self, event: impl Into<Text>, payload: Payload) -> Result<HttpTicket, ClosedError> {
        let mut broadcast = HttpBroadcast::new(self.lifetime.topic.clone(), event, payload);
        broadcast.private = self.config().private;
        let (sender, ticket) = http_ticket();
        self.shared().send(Command::HttpBroadcast { broadcast, ticket: sender }).await?;
        Ok(ticket)
    }

    /// Wants to be shown as present, with this JSON object, from now until [`untrack`](Channel::untrack),
    /// through every loss. Every handle of the topic shares one presence, and the last wish counts.
    ///
    /// The ticket's answer is `Ok` once the server shows it, and `Dropped` if a later wish came before
    /// it was sent, as it may where wishes come faster than a server allows.
    ///
    /// # Errors
    /// If the client is closed. What the session thinks of the wish is the ticket's answer: the channel
    /// has to be subscribed [with presence](ChannelConfig::presence).
    pub async fn track(&self, payload: Payload) -> Result<PushTicket, ClosedError> {
        let (sender, ticket) = ticket();
        self.shared().send(Command::Track { handle: self.id(), payload, ticket: sender }).await?;
        Ok(ticket)
    }

    /// No longer wants to be shown as present.
    ///
    /// # Errors
    /// As for [`Channel::track`].
    pub async fn untrack(&self) -> Result<PushTicket, ClosedError> {
        let (sender, ticket) = ticket();
        self.shared().send(Command::Untrack { handle: self.id(), ticket: sender }).await?;
        Ok(ticket)
    }

    /// Who is present, in the byte order of the keys: the last known members while the channel is not
    /// joined. `None` if this handle is not subscribed, or the channel has no presence.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn presence_state(&self) -> Result<Option<Vec<Member>>, ClosedError> {
        self.shared().ask(|answer| Command::PresenceState { handle: self.id(), answer }).await
    }

    /// Takes a token into use for this channel alone, or with `None` the client's again. Every handle
    /// of the topic shares it; it is gone with the subscription.
    ///
    /// # Errors
    /// If it has expired, nobody is subscribed or the client is closed.
    pub async fn set_auth(&self, token: Option<AccessToken>) -> Result<(), SetAuthError> {
        let topic = self.lifetime.topic.clone();
        let asked = self.shared().ask(|answer| Command::SetChannelAuth { topic, token, answer }).await?;
        asked.map_err(SetAuthError::Refused)
    }

    /// Where the channel stands; `None` if this handle is not subscribed.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn state(&self) -> Result<Option<ChannelState>, ClosedError> {
        self.shared().ask(|answer| Command::ChannelState { handle: self.id(), answer }).await
    }

    async fn attach(&self, listen: Listen, to: Destination) -> Result<(), SubscribeError> {
        let listen = listen.of(self.config())?;
        let (handle, topic) = (self.id(), self.lifetime.topic.clone());
        self.shared().ask(|answer| Command::Listen { handle, topic, listen, to, answer }).await?
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.lifetime.shared
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
