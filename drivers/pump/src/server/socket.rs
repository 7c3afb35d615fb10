//! What an application holds of one client in one topic.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rejoin_core::auth::Claims;
use rejoin_core::hub::{Broadcast, MemberId, TrackError};
use rejoin_core::phoenix::{Params, ServerChannelId, ServerPushError, StaleHandle};
use rejoin_core::{ConnId, Payload, Text};

use super::identity::Identity;
use super::lock;
use super::rooms::Rooms;
use crate::peer::Peer;

/// One client in one topic: a handle to send, and to whoever it is. Cheap to clone; may be kept in
/// any task. After the client is gone it does nothing.
///
/// Nothing here waits. What is meant for a client that reads slowly waits in its outbox, and
/// beyond that the [`OutboxOverflow`](rejoin_core::phoenix::OutboxOverflow) of the topic decides.
pub struct Socket<A> {
    pub(super) seat: Arc<Seat>,
    pub(super) app: Arc<A>,
}

/// The place of one client in one topic, from the join on.
pub(super) struct Seat {
    pub(super) topic: Text,
    pub(super) peer: Peer,
    pub(super) identity: Arc<Identity>,
    pub(super) rooms: Arc<Rooms>,
    /// Where it sits, from its being let in until it is gone.
    pub(super) taken: Mutex<Option<(ServerChannelId, MemberId)>>,
    /// It was told who is present.
    pub(super) knows_presence: AtomicBool,
}

impl<A> Socket<A> {
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Text {
        &self.seat.topic
    }

    /// What the application shares.
    #[must_use]
    pub fn app(&self) -> &A {
        &self.app
    }

    /// The number of the connection, which no other one gets.
    #[must_use]
    pub fn conn(&self) -> ConnId {
        self.seat.peer.conn()
    }

    /// What the client's token says; `None` where the server asks for none.
    #[must_use]
    pub fn claims(&self) -> Option<Arc<Claims>> {
        self.seat.identity.claims()
    }

    /// What the client's request had behind its `?`, its credentials as well.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.seat.identity.params
    }

    /// Sends a message to this client alone.
    ///
    /// # Errors
    /// If the client is not in the topic, or the message does not fit its serializer.
    pub fn push(&self, event: impl Into<Text>, payload: Payload) -> Result<(), ServerPushError> {
        let (channel, _) = self.seat.taken().ok_or(ServerPushError::Stale)?;
        self.seat.peer.push(channel, event, payload)
    }

    /// Sends a message to everybody in the topic, this client as well. Tells how many that are.
    pub fn broadcast(&self, event: impl Into<Text>, payload: Payload) -> usize {
        self.seat.rooms.broadcast(&self.seat.topic, Broadcast::new(event, payload))
    }

    /// Sends a message to everybody else in the topic. Tells how many that are.
    pub fn broadcast_from(&self, event: impl Into<Text>, payload: Payload) -> usize {
        let mut broadcast = Broadcast::new(event, payload);
        broadcast.except = self.seat.taken().map(|(_, member)| member);
        self.seat.rooms.broadcast(&self.seat.topic, broadcast)
    }

    /// Sends a message to everybody in the topic as the latest state of `key`: where the topic keeps
    /// the [`Latest`](rejoin_core::phoenix::OutboxOverflow::Latest) only, it takes the place of the one
    /// that a slow client has not got yet. Tells how many clients that are.
    pub fn broadcast_latest(&self, key: impl Into<Text>, event: impl Into<Text>, payload: Payload) -> usize {
        self.seat.rooms.broadcast(&self.seat.topic, Broadcast::new(event, payload).key(key))
    }

    /// Shows this client to everybody in the topic as `key`, with `meta`, which has to be a JSON
    /// object. It disappears when it leaves.
    ///
    /// # Errors
    /// If the client is not in the topic or tracked as `key` already, or a limit is reached.
    pub fn track(&self, key: &str, meta: Payload) -> Result<(), TrackError> {
        self.seat.rooms.track(self.seat.member()?, key, &meta)
    }

    /// Replaces the `meta` of this client as `key`.
    ///
    /// # Errors
    /// If the client is not tracked as `key`, or a limit is reached.
    pub fn update(&self, key: &str, meta: Payload) -> Result<(), TrackError> {
        self.seat.rooms.update(self.seat.member()?, key, &meta)
    }

    /// Shows this client as `key` no more.
    ///
    /// # Errors
    /// If the client is not tracked as `key`.
    pub fn untrack(&self, key: &str) -> Result<(), TrackError> {
        self.seat.rooms.untrack(self.seat.member()?, key)
    }

    /// Sends this client `presence_state`: who is present in the topic. Every change after it
    /// follows as `presence_diff`.
    ///
    /// # Errors
    /// If the client is not in the topic.
    pub fn push_presence_state(&self) -> Result<(), ServerPushError> {
        self.seat.push_presence_state()
    }

    /// Who is present in the topic, as `presence_state` says it.
    #[must_use]
    pub fn presence_state(&self) -> Payload {
        self.seat.rooms.presence_state(&self.seat.topic)
    }

    /// Ends the channel in peace: the client hears `phx_close` and stays away.
    ///
    /// # Errors
    /// If the client is not in the topic.
    pub fn close(&self) -> Result<(), StaleHandle> {
        let (channel, _) = self.seat.taken().ok_or_else(StaleHandle::default)?;
        self.seat.peer.close_channel(channel, false)
    }

    /// Closes the whole connection.
    pub fn disconnect(&self, code: u16, reason: impl Into<Text>) {
        self.seat.peer.close(code, reason);
    }

    /// Waits until the client has read enough for more to be sent to it, or is gone.
    pub async fn ready(&self) {
        self.seat.peer.ready().await;
    }
}

impl<A> Clone for Socket<A> {
    fn clone(&self) -> Self {
        Self { seat: self.seat.clone(), app: self.app.clone() }
    }
}

impl<A> fmt::Debug for Socket<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("conn", &self.conn()).field("topic", self.topic()).finish_non_exhaustive()
    }
}

impl Seat {
    pub(super) fn new(topic: Text, peer: Peer, identity: Arc<Identity>, rooms: Arc<Rooms>) -> Self {
        Self { topic, peer, identity, rooms, taken: Mutex::new(None), knows_presence: AtomicBool::new(false) }
    }

    pub(super) fn take(&self, channel: ServerChannelId, member: MemberId) {
        *lock(&self.taken) = Some((channel, member));
    }

    /// The topic forgets the client.
    pub(super) fn vacate(&self) {
        let taken = lock(&self.taken).take();
        if let Some((_, member)) = taken {
            self.rooms.leave(member);
        }
    }

    fn push_presence_state(&self) -> Result<(), ServerPushError> {
        let (channel, _) = self.taken().ok_or(ServerPushError::Stale)?;
        self.knows_presence.store(true, Ordering::Relaxed);
        self.rooms.push_presence_state(&self.topic, &self.peer, channel)
    }

    /// The same to a client that may have missed a diff, if it keeps book at all.
    pub(super) fn repeat_presence_state(&self) {
        if self.knows_presence.load(Ordering::Relaxed) || self.rooms.has_presence(&self.topic) {
            // One that is gone needs none.
            let _ = self.push_presence_state();
        }
    }

    fn taken(&self) -> Option<(ServerChannelId, MemberId)> {
        *lock(&self.taken)
    }

    fn member(&self) -> Result<MemberId, TrackError> {
        self.taken().map(|(_, member)| member).ok_or(TrackError::Gone)
    }
}
