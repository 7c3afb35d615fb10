//! A handle to one channel of a Supabase client.

use std::fmt;
use std::sync::Arc;

use rejoin_core::Text;
use rejoin_core::phoenix::Push;
use rejoin_core::supabase::{AccessToken, Broadcast, ChannelConfig, ChannelState};

use super::command::{Command, Destination, Shared};
use super::errors::{SetAuthError, SubscribeError};
use super::event::HandleId;
use super::listener::{InboxHandle, Listen, Listener};
use crate::errors::ClosedError;
use crate::queue::queue;
use crate::stream::Inflow;
use crate::ticket::{PushTicket, ticket};

/// A handle to one channel, which may be subscribed and unsubscribed any number of times. Cheap to
/// clone; when the last clone is gone it unsubscribes, and its listeners end behind their `Closed`.
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
    /// [`Listener::subscribed`]. Subscribing twice is fine.
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
    /// If the client is closed.
    pub async fn listen(&self, listen: Listen) -> Result<Listener, ClosedError> {
        self.listen_with(listen, Inflow::default()).await
    }

    /// The same, with a choice of what happens when events come faster than they are read.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn listen_with(&self, listen: Listen, inflow: Inflow) -> Result<Listener, ClosedError> {
        let (sink, source) = queue(inflow.capacity(), inflow.blocks());
        self.attach(listen, Destination::Own(sink)).await?.map_err(|_| ClosedError)?;
        Ok(Listener::new(source))
    }

    /// The same, into a stream that gathers several channels.
    ///
    /// # Errors
    /// If the client or the inbox is closed.
    pub async fn listen_into(&self, inbox: InboxHandle, listen: Listen) -> Result<(), SubscribeError> {
        self.attach(listen, Destination::Inbox(inbox.0)).await?
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

    async fn attach(&self, listen: Listen, to: Destination) -> Result<Result<(), SubscribeError>, ClosedError> {
        let (handle, topic) = (self.id(), self.lifetime.topic.clone());
        self.shared().ask(|answer| Command::Listen { handle, topic, listen, to, answer }).await
    }

    fn shared(&self) -> &Shared {
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
