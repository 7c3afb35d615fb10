//! The server's handles: what a host holds of one accepted socket while its pump runs.
//!
//! The session is shared between them and the pump, so that a push is carried out where it is
//! called: its outbox is the only queue on the way, and its bound the only one to know.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use async_tungstenite::WebSocketStream;
use futures_util::future::Fuse;
use rejoin_core::phoenix::{
    JoinId, OutboxOverflow, ReplyTo, ServerChannelId, ServerConfig, ServerEvent, ServerPushError, ServerSession,
    SharedFrame, StaleHandle, Status,
};
use rejoin_core::wire::Serializer;
use rejoin_core::{ConnId, Machine as _, Payload, Text, Timestamp};

use crate::long_poll::LongPollSession;
use crate::pump::{Bridge, Pump};
use crate::queue::{Lossy, Sink, Source, queue};
use crate::read_ahead::ReadAhead;
use crate::runtime::Runtime;
use crate::served::{Ears, Served, ServerPump, Shared, Time, gone, served};
use crate::stream::{Inflow, WEIGHT_BYTES};
use crate::wakers::Wakers;

/// Serves one accepted socket: a handle to act, a stream to react to, and the pump to spawn.
///
/// While `events` wait unread to their capacity of 256, the socket is not read. The pump resolves
/// when the socket is gone; dropping every [`Peer`] closes it with 1000.
pub fn serve<R: Runtime>(
    websocket: WebSocketStream<ReadAhead<R::Io>>,
    conn: ConnId,
    config: impl Into<Arc<ServerConfig>>,
    runtime: R,
) -> (Peer, PeerEvents, impl Future<Output = ()> + Send) {
    let time = Time::of(&runtime);
    converse(conn, config.into(), runtime, time, move |pump| pump.with_socket(conn, websocket))
}

/// Serves a long-poll session as [`serve`] serves a socket, in a conversation that looks the same.
/// `config` needs no serializer, which is the session's, and no idle timeout: a client that does
/// not poll is gone.
///
/// The pump resolves when the client polls no more or the session was closed; a close is told to
/// the client as the end of its session, without the code.
pub fn serve_long_poll<R: Runtime>(
    session: LongPollSession,
    conn: ConnId,
    mut config: ServerConfig,
    runtime: R,
) -> (Peer, PeerEvents, impl Future<Output = ()> + Send) {
    (config.serializer, config.idle_timeout) = (session.serializer(), None);
    let time = Time::of(&runtime);
    converse(conn, config.into(), runtime, time, move |pump| pump.with_long_poll(conn, session))
}

fn converse<R: Runtime>(
    conn: ConnId,
    config: Arc<ServerConfig>,
    runtime: R,
    time: Time,
    connected: impl FnOnce(ServerPump<PeerBridge, R>) -> ServerPump<PeerBridge, R>,
) -> (Peer, PeerEvents, Fuse<ServerPump<PeerBridge, R>>) {
    let (clock, frame_bytes) = (time.clock, config.frame_bytes);
    let (shared, served) = served(conn, config, time);
    let peer = Peer::of(shared);
    let (sink, source) = queue(Inflow::CAPACITY, true);
    let bridge = PeerBridge { ears: peer.ears(), events: sink };
    let pump = connected(Pump::new(served, bridge, runtime, clock, frame_bytes)).until_finished();
    (peer, PeerEvents { source }, pump)
}

/// A handle to one socket. Cheap to clone.
///
/// What it does is done when the call returns; the pump sends it. Nothing waits for a client that
/// reads slowly: what is meant for it waits in its outbox, whose bound is
/// [`outbox_bytes`](ServerConfig::outbox_bytes) and beyond which its [`OutboxOverflow`] decides. Who
/// sends much to one client waits for [`Peer::ready`] before.
pub struct Peer {
    pub(crate) shared: Arc<Shared>,
}

impl Peer {
    /// The first handle.
    pub(crate) const fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The host's number for the socket.
    #[must_use]
    pub fn conn(&self) -> ConnId {
        self.shared.conn
    }

    /// How messages to this client are written.
    #[must_use]
    pub fn serializer(&self) -> Serializer {
        self.shared.session().serializer()
    }

    /// Says that the client is who it claims to be, until `expires_at` if that is known; see
    /// [`ServerSession::authenticate`].
    pub fn authenticate(&self, expires_at: Option<Timestamp>) {
        self.act(|session, now| session.authenticate(now, expires_at));
    }

    /// Lets the client into a topic.
    ///
    /// # Errors
    /// If the client has left again, joined anew or gone meanwhile.
    pub fn accept_join(&self, join: JoinId, response: Payload) -> Result<ServerChannelId, StaleHandle> {
        self.act(|session, now| session.accept_join(now, join, response))
    }

    /// Turns the client away.
    ///
    /// # Errors
    /// If the client has left again, joined anew or gone meanwhile.
    pub fn refuse_join(&self, join: JoinId, response: Payload) -> Result<(), StaleHandle> {
        self.act(|session, now| session.refuse_join(now, join, response))
    }

    /// Turns the client away from a topic that does not exist.
    ///
    /// # Errors
    /// If the client has left again, joined anew or gone meanwhile.
    pub fn refuse_unmatched(&self, join: JoinId) -> Result<(), StaleHandle> {
        self.act(|session, now| session.refuse_unmatched(now, join))
    }

    /// Answers a push.
    ///
    /// # Errors
    /// If the channel is gone or the response does not fit the serializer.
    pub fn reply(&self, to: ReplyTo, status: Status, response: Payload) -> Result<(), ServerPushError> {
        self.act(|session, now| session.reply(now, to, status, response))
    }

    /// Sends a message on one channel.
    ///
    /// # Errors
    /// If the channel is gone or the message does not fit the serializer.
    pub fn push(
        &self,
        channel: ServerChannelId,
        event: impl Into<Text>,
        payload: Payload,
    ) -> Result<(), ServerPushError> {
        self.act(|session, now| session.push(now, channel, event, payload))
    }

    /// The same with the pump to be woken later.
    pub(crate) fn push_quietly(
        &self,
        channel: ServerChannelId,
        event: &'static str,
        payload: Payload,
        wakers: &mut Wakers,
    ) -> Result<(), ServerPushError> {
        let now = self.shared.time.now();
        let (pushed, waker) = self.shared.act_quietly(|session| session.push(now, channel, event, payload));
        wakers.add(waker);
        pushed
    }

    /// Sends a Supabase user broadcast on one channel; see [`ServerSession::push_user_broadcast`].
    ///
    /// # Errors
    /// If the channel is gone or the message does not fit the serializer.
    pub fn push_user_broadcast(
        &self,
        channel: ServerChannelId,
        event: impl Into<Text>,
        metadata: Option<Payload>,
        payload: Payload,
    ) -> Result<(), ServerPushError> {
        self.act(|session, now| session.push_user_broadcast(now, channel, event, metadata, payload))
    }

    /// Sends a frame that was encoded once for many clients of the same serializer.
    ///
    /// # Errors
    /// If the channel is gone.
    pub fn push_encoded(&self, channel: ServerChannelId, frame: impl Into<SharedFrame>) -> Result<(), StaleHandle> {
        self.act(|session, now| session.push_encoded(now, channel, frame))
    }

    /// The same for one of many, at a time that was asked for once, and with its pump to be woken later.
    pub(crate) fn push_encoded_at(
        &self,
        now: Timestamp,
        channel: ServerChannelId,
        frame: impl Into<SharedFrame>,
        wakers: &mut Wakers,
    ) -> Result<(), StaleHandle> {
        let (pushed, waker) = self.shared.act_quietly(|session| session.push_encoded(now, channel, frame));
        wakers.add(waker);
        pushed
    }

    /// What happens to this channel's messages when the client does not keep up.
    ///
    /// # Errors
    /// If the channel is gone.
    pub fn set_overflow(&self, channel: ServerChannelId, overflow: OutboxOverflow) -> Result<(), StaleHandle> {
        self.act(|session, _| session.set_overflow(channel, overflow))
    }

    /// Ends one channel, gracefully or as a crash.
    ///
    /// # Errors
    /// If the channel is gone.
    pub fn close_channel(&self, channel: ServerChannelId, crashed: bool) -> Result<(), StaleHandle> {
        self.act(|session, now| session.close_channel(now, channel, crashed))
    }

    /// Closes the socket; the stream of events ends with `Ended`.
    pub fn close(&self, code: u16, reason: impl Into<Text>) {
        self.act(|session, now| session.close(now, code, reason));
    }

    /// Drops the socket without a word; the stream of events ends with `Ended`.
    pub fn abort(&self) {
        self.act(|session, now| session.handle_transport(now, gone(self.shared.conn)));
    }

    /// Waits until at most half of the outbox is taken, or the socket is gone.
    pub async fn ready(&self) {
        poll_fn(|cx| self.shared.poll_room(cx)).await;
    }

    /// For the pump's bridge.
    pub(crate) fn ears(&self) -> Ears {
        Ears::new(self.shared.clone())
    }

    fn act<T>(&self, act: impl FnOnce(&mut ServerSession, Timestamp) -> T) -> T {
        let now = self.shared.time.now();
        self.shared.act(|session| act(session, now))
    }
}

impl Clone for Peer {
    fn clone(&self) -> Self {
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: self.shared.clone() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.act(|_| ());
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("conn", &self.shared.conn).finish_non_exhaustive()
    }
}

/// What the client of one socket does, in order. Ends after [`ServerEvent::Ended`].
pub struct PeerEvents {
    source: Source<Delivery>,
}

impl PeerEvents {
    /// The next event; `None` once there will be no more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ServerEvent> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<ServerEvent>> {
        self.source.poll_next(cx).map(|delivery| delivery.map(|Delivery(event)| event))
    }
}

struct Delivery(ServerEvent);

/// A peer's queue stops the reading; it never drops.
impl Lossy for Delivery {
    fn is_droppable(&self) -> bool {
        false
    }

    fn lagged(_: u64) -> Self {
        unreachable!("a blocking queue drops nothing")
    }

    fn weight(&self) -> usize {
        match &self.0 {
            ServerEvent::Join { payload, .. }
            | ServerEvent::Push { payload, .. }
            | ServerEvent::UserBroadcast { payload, .. } => 1 + payload.len() / WEIGHT_BYTES,
            _ => 1,
        }
    }
}

struct PeerBridge {
    ears: Ears,
    events: Sink<Delivery>,
}

impl Bridge<Served> for PeerBridge {
    fn poll_command(&mut self, _: &mut Context<'_>, _: &mut Served, _: Timestamp) -> Poll<Option<()>> {
        self.ears.poll_command()
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>, _: &Served) -> Poll<()> {
        self.ears.open(cx);
        self.events.poll_room(cx)
    }

    fn deliver(&mut self, _: &mut Served, _: Timestamp, event: ServerEvent) {
        self.events.deliver(Delivery(event));
    }

    fn publish(&mut self) {
        self.events.publish();
        self.ears.close();
    }

    fn request(&mut self, _: &mut Served, _: Timestamp, request: Infallible) {
        match request {}
    }

    fn poll_answers(&mut self, _: &mut Context<'_>, _: &mut Served, _: Timestamp) -> bool {
        self.ears.make_room();
        false
    }

    fn hang_up(&mut self, session: &mut Served, now: Timestamp) {
        session.hang_up(now);
    }
}
