//! Streams of messages that are read into types of the application.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use rejoin_core::supabase::{BroadcastMeta, ChangeKind, PostgresBinding, PostgresChange};
use rejoin_core::{PayloadError, Text};
use serde::de::DeserializeOwned;

use super::channel::Channel;
use super::errors::SubscribeError;
use super::event::ChannelEvent;
use super::listen::Listen;
use super::listener::Listener;

/// What a typed stream says. Nothing that happens is left out: who only cares for messages takes
/// `Message` and passes over the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Typed<M> {
    /// What was listened for.
    Message(M),
    /// The same, of another shape than its reader expects.
    Unreadable {
        /// What is wrong with it.
        error: PayloadError,
        /// As it came.
        event: ChannelEvent,
    },
    /// Anything else that happens on the channel, its losses and ends among it:
    /// [`ChannelEvent::is_loss`] says whether messages may have been missed.
    Channel(ChannelEvent),
}

/// Somebody broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypedBroadcast<T> {
    /// The sender's event.
    pub event: Text,
    /// What it carries.
    pub payload: T,
    /// What the server adds.
    pub meta: BroadcastMeta,
}

/// A row came, changed or went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypedChange<Row> {
    /// Whether it came, changed or went.
    pub kind: ChangeKind,
    /// The row as it is now; `None` if it went, or if the server could not read it, which
    /// [`errors`](rejoin_core::supabase::ChangeDetails::errors) of the raw change explain.
    pub new: Option<Row>,
    /// The change itself: with the row as it was, which is often the primary key alone and so of
    /// another type ([`old_record`](PostgresChange::old_record)), and whether large values are missing
    /// in `new` ([`truncated`](PostgresChange::truncated)).
    pub raw: PostgresChange,
}

/// A [`Listener`] that reads messages: [`Channel::broadcasts`] and [`Channel::changes`] make one.
pub struct TypedListener<M> {
    listener: Listener,
    read: fn(ChannelEvent) -> Typed<M>,
}

impl Channel {
    /// The broadcasts of this event, from now on, as `T`; `*` is all of them.
    ///
    /// ```
    /// # use rejoin_pump::supabase::{Channel, Typed};
    /// #[derive(serde::Deserialize)]
    /// struct Cursor { x: f64, y: f64 }
    ///
    /// # async fn run(room: Channel) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut cursors = room.broadcasts::<Cursor>("cursor").await?;
    /// room.subscribe().await?;
    /// while let Some(heard) = cursors.next().await {
    ///     match heard {
    ///         Typed::Message(cursor) => println!("{} {}", cursor.payload.x, cursor.payload.y),
    ///         Typed::Channel(event) if event.is_loss() => println!("some are missing"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn broadcasts<T: DeserializeOwned>(
        &self,
        event: impl Into<Text>,
    ) -> Result<TypedListener<TypedBroadcast<T>>, SubscribeError> {
        Ok(self.listen(Listen::broadcast(event)).await?.broadcasts())
    }

    /// The database changes for one binding of this channel's configuration, from now on, with their
    /// rows as `Row`.
    ///
    /// ```
    /// # use rejoin_pump::supabase::{ChannelEvent, Client, Typed};
    /// # use rejoin_pump::core::supabase::{ChangeKind, ChannelConfig, PostgresBinding, PostgresEvent};
    /// #[derive(serde::Deserialize)]
    /// struct Todo { id: i64, task: String }
    /// #[derive(serde::Deserialize)]
    /// struct Key { id: i64 }
    ///
    /// # async fn fetch_all() {}
    /// # async fn run(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let binding = PostgresBinding::new(PostgresEvent::All).table("todos");
    /// let room = client.channel("todos", ChannelConfig::default().postgres_changes(binding.clone()))?;
    /// let mut todos = room.changes::<Todo>(&binding).await?;
    /// room.subscribe().await?;
    /// while let Some(heard) = todos.next().await {
    ///     match heard {
    ///         Typed::Message(change) => match (change.new, change.raw.old_record::<Key>()?) {
    ///             (Some(todo), _) => println!("{}: {}", todo.id, todo.task),
    ///             (None, Some(key)) => println!("{}: gone", key.id),
    ///             (None, None) => println!("{:?}", change.raw.details()?.errors),
    ///         },
    ///         // What changed before is not told: this is the time to read the table.
    ///         Typed::Channel(ChannelEvent::PostgresReady { .. } | ChannelEvent::Lagged { .. }) => fetch_all().await,
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the binding is not in the channel's configuration, or the client is closed.
    pub async fn changes<Row: DeserializeOwned>(
        &self,
        binding: &PostgresBinding,
    ) -> Result<TypedListener<TypedChange<Row>>, SubscribeError> {
        Ok(self.listen(Listen::changes(binding)).await?.changes())
    }
}

impl Listener {
    /// Reads the broadcasts that it hears as `T`; what else it hears stays as it is.
    #[must_use]
    pub fn broadcasts<T: DeserializeOwned>(self) -> TypedListener<TypedBroadcast<T>> {
        TypedListener { listener: self, read: read_broadcast }
    }

    /// Reads the rows of the database changes that it hears as `Row`; what else it hears stays as it is.
    #[must_use]
    pub fn changes<Row: DeserializeOwned>(self) -> TypedListener<TypedChange<Row>> {
        TypedListener { listener: self, read: read_change }
    }
}

impl<M> TypedListener<M> {
    /// What happens next; `None` once nothing will any more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Typed<M>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<M> Stream for TypedListener<M> {
    type Item = Typed<M>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Typed<M>>> {
        let event = ready!(Pin::new(&mut self.listener).poll_next(cx));
        Poll::Ready(event.map(self.read))
    }
}

fn read_broadcast<T: DeserializeOwned>(event: ChannelEvent) -> Typed<TypedBroadcast<T>> {
    let ChannelEvent::Broadcast { event: name, payload, meta } = event else { return Typed::Channel(event) };
    match payload.parse() {
        Ok(payload) => {
            let meta = meta.as_ref().map(BroadcastMeta::of).unwrap_or_default();
            Typed::Message(TypedBroadcast { event: name, payload, meta })
        }
        Err(error) => Typed::Unreadable { error, event: ChannelEvent::Broadcast { event: name, payload, meta } },
    }
}

fn read_change<Row: DeserializeOwned>(event: ChannelEvent) -> Typed<TypedChange<Row>> {
    let ChannelEvent::PostgresChange { bindings, change } = event else { return Typed::Channel(event) };
    match change.record() {
        Ok(new) => Typed::Message(TypedChange { kind: change.kind(), new, raw: change }),
        Err(error) => Typed::Unreadable { error, event: ChannelEvent::PostgresChange { bindings, change } },
    }
}
