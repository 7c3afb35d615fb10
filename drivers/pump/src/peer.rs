//! The server's handles: what a host holds of one accepted socket while its pump runs.
//!
//! The session is shared between them and the pump, so that a push is carried out where it is
//! called: its outbox is the only queue on the way, and its bound the only one to know.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_tungstenite::WebSocketStream;
use futures_util::future::Fuse;
use futures_util::task::AtomicWaker;
use rejoin_core::phoenix::{
    JoinId, OutboxOverflow, ReplyTo, ServerChannelId, ServerConfig, ServerEvent, ServerPushError, ServerSession,
    SharedFrame, StaleHandle, Status,
};
use rejoin_core::wire::Serializer;
use rejoin_core::{ConnId, Machine, Payload, Text, Timestamp, TransportAction, TransportEvent};

use crate::clock::Clock;
use crate::long_poll::LongPollSession;
use crate::pump::{Bridge, Pump};
use crate::queue::{Lossy, Sink, Source, queue};
use crate::read_ahead::ReadAhead;
use crate::runtime::Runtime;
use crate::stream::{Inflow, WEIGHT_BYTES};

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
    serve_at(websocket, conn, config.into(), runtime, time)
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
    serve_long_poll_at(session, conn, config.into(), runtime, time)
}

/// The time of many sockets.
#[derive(Clone)]
pub(crate) struct Time {
    clock: Clock,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Time {
    pub(crate) fn of<R: Runtime>(runtime: &R) -> Self {
        let (clock, runtime) = (Clock::new(runtime.now()), runtime.clone());
        Self { clock, now: Arc::new(move || clock.timestamp(runtime.now())) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }
}

pub(crate) fn serve_at<R: Runtime>(
    websocket: WebSocketStream<ReadAhead<R::Io>>,
    conn: ConnId,
    config: Arc<ServerConfig>,
    runtime: R,
    time: Time,
) -> (Peer, PeerEvents, impl Future<Output = ()> + Send + use<R>) {
    converse(conn, config, runtime, time, move |pump| pump.with_socket(conn, websocket))
}

pub(crate) fn serve_long_poll_at<R: Runtime>(
    session: LongPollSession,
    conn: ConnId,
    config: Arc<ServerConfig>,
    runtime: R,
    time: Time,
) -> (Peer, PeerEvents, impl Future<Output = ()> + Send + use<R>) {
    converse(conn, config, runtime, time, move |pump| pump.with_long_poll(conn, session))
}

fn converse<R: Runtime>(
    conn: ConnId,
    config: Arc<ServerConfig>,
    runtime: R,
    time: Time,
    connected: impl FnOnce(PeerPump<R>) -> PeerPump<R>,
) -> (Peer, PeerEvents, Fuse<PeerPump<R>>) {
    let (clock, frame_bytes) = (time.clock, config.frame_bytes);
    let session = Mutex::new(ServerSession::new(config, conn, time.now()));
    let shared = Arc::new(Shared {
        conn,
        session,
        time,
        pump: AtomicWaker::new(),
        handles: AtomicUsize::new(1),
        waiting: Mutex::default(),
    });
    let (sink, source) = queue(Inflow::CAPACITY, true);
    let bridge = PeerBridge { shared: shared.clone(), events: sink };
    let pump = connected(Pump::new(Served(shared.clone()), bridge, runtime, clock, frame_bytes)).until_finished();
    (Peer { shared }, PeerEvents { source }, pump)
}

type PeerPump<R> = Pump<Served, PeerBridge, R>;

/// A handle to one socket. Cheap to clone.
///
/// What it does is done when the call returns; the pump sends it. Nothing waits for a client that
/// reads slowly: what is meant for it waits in its outbox, whose bound is
/// [`outbox_bytes`](ServerConfig::outbox_bytes) and beyond which its [`OutboxOverflow`] decides. Who
/// sends much to one client waits for [`Peer::ready`] before.
pub struct Peer {
    shared: Arc<Shared>,
}

struct Shared {
    conn: ConnId,
    session: Mutex<ServerSession>,
    time: Time,
    /// Woken when a call may have given it something to do.
    pump: AtomicWaker,
    handles: AtomicUsize,
    /// Who waits for room in the outbox.
    waiting: Mutex<Vec<Waker>>,
}

impl Peer {
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
        self.push_encoded_at(self.shared.time.now(), channel, frame)
    }

    /// The same for one of many, at a time that was asked for once.
    pub(crate) fn push_encoded_at(
        &self,
        now: Timestamp,
        channel: ServerChannelId,
        frame: impl Into<SharedFrame>,
    ) -> Result<(), StaleHandle> {
        let pushed = self.shared.session().push_encoded(now, channel, frame);
        self.shared.pump.wake();
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

    fn act<T>(&self, act: impl FnOnce(&mut ServerSession, Timestamp) -> T) -> T {
        let now = self.shared.time.now();
        let done = act(&mut self.shared.session(), now);
        self.shared.pump.wake();
        done
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
            self.shared.pump.wake();
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("conn", &self.shared.conn).finish_non_exhaustive()
    }
}

impl Shared {
    /// Nothing panics while it is held, so a poisoned lock is as good as a sound one.
    fn session(&self) -> MutexGuard<'_, ServerSession> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Together: room that is made between the look and the entry would wake nobody.
        let mut waiting = self.waiting();
        if !self.session().is_congested() {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

const fn gone(conn: ConnId) -> TransportEvent {
    TransportEvent::Closed { conn, code: None, reason: Text::EMPTY }
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

/// The session as its pump sees it. It takes no commands from the pump, so that it never has to
/// hold any back.
struct Served(Arc<Shared>);

/// A pump that is dropped drops the socket.
impl Drop for Served {
    fn drop(&mut self) {
        let now = self.0.time.now();
        self.0.session().handle_transport(now, gone(self.0.conn));
        self.wake_waiting();
    }
}

impl Served {
    fn wake_waiting(&self) {
        let waiting = std::mem::take(&mut *self.0.waiting());
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Machine for Served {
    type Event = ServerEvent;
    type Request = Infallible;

    fn handle_transport(&mut self, now: Timestamp, event: TransportEvent) {
        self.0.session().handle_transport(now, event);
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.0.session().handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.0.session().poll_timeout()
    }

    fn poll_transport(&mut self) -> Option<TransportAction> {
        self.0.session().poll_transport()
    }

    fn poll_request(&mut self) -> Option<Infallible> {
        None
    }

    fn poll_event(&mut self) -> Option<ServerEvent> {
        self.0.session().poll_event()
    }

    fn connection(&self) -> Option<ConnId> {
        self.0.session().connection()
    }

    fn is_finished(&self) -> bool {
        self.0.session().is_finished()
    }
}

struct PeerBridge {
    shared: Arc<Shared>,
    events: Sink<Delivery>,
}

impl Bridge<Served> for PeerBridge {
    /// There is none: handles act on the session themselves.
    fn poll_command(&mut self, cx: &mut Context<'_>, _: &mut Served, _: Timestamp) -> Poll<Option<()>> {
        self.shared.pump.register(cx.waker());
        if self.shared.handles.load(Ordering::Acquire) == 0 { Poll::Ready(None) } else { Poll::Pending }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>, _: &Served) -> Poll<()> {
        self.events.poll_room(cx)
    }

    fn deliver(&mut self, _: &mut Served, _: Timestamp, event: ServerEvent) {
        self.events.deliver(Delivery(event));
    }

    fn publish(&mut self) {
        self.events.publish();
    }

    fn request(&mut self, _: &mut Served, _: Timestamp, request: Infallible) {
        match request {}
    }

    fn poll_answers(&mut self, _: &mut Context<'_>, session: &mut Served, _: Timestamp) -> bool {
        // After every transmission.
        if !self.shared.waiting().is_empty() && !self.shared.session().is_congested() {
            session.wake_waiting();
        }
        false
    }

    fn hang_up(&mut self, session: &mut Served, now: Timestamp) {
        session.0.session().close(now, 1000, Text::EMPTY);
    }
}
