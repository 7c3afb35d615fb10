//! The server's handles: what a host holds of one accepted socket while its pump runs.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_channel::{Receiver, Sender, TrySendError as QueueError};
use async_tungstenite::WebSocketStream;
use futures_channel::oneshot;
use futures_util::Stream;
use rejoin_core::phoenix::{
    JoinId, ReplyTo, ServerChannelId, ServerConfig, ServerEvent, ServerSession, StaleHandle, Status,
};
use rejoin_core::{ConnId, Frame, Payload, Text, Timestamp};

use crate::clock::Clock;
use crate::errors::ClosedError;
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
    config: ServerConfig,
    commands: usize,
    runtime: R,
) -> (Peer, PeerEvents, impl Future<Output = ()> + Send) {
    converse(conn, config, commands, runtime, move |pump| pump.with_socket(conn, websocket))
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
    commands: usize,
    runtime: R,
) -> (Peer, PeerEvents, impl Future<Output = ()> + Send) {
    (config.serializer, config.idle_timeout) = (session.serializer(), None);
    converse(conn, config, commands, runtime, move |pump| pump.with_long_poll(conn, session))
}

fn converse<R: Runtime>(
    conn: ConnId,
    config: ServerConfig,
    commands: usize,
    runtime: R,
    connected: impl FnOnce(PeerPump<R>) -> PeerPump<R>,
) -> (Peer, PeerEvents, impl Future<Output = ()> + Send) {
    let start = runtime.now();
    let clock = Clock::new(start);
    let frame_bytes = config.frame_bytes;
    let session = ServerSession::new(config, conn, clock.timestamp(start));
    let (sink, source) = queue(Inflow::CAPACITY, true);
    let (sender, receiver) = async_channel::bounded(commands.max(1));
    let bridge = PeerBridge { commands: Box::pin(receiver), events: sink };
    let pump = connected(Pump::new(session, bridge, runtime, clock, frame_bytes)).until_finished();
    (Peer { conn, commands: sender }, PeerEvents { source }, pump)
}

type PeerPump<R> = Pump<ServerSession, PeerBridge, R>;

/// A handle to one socket. Cheap to clone. What it is asked for after the socket is gone is an
/// error; what it is asked for about a channel that is gone does nothing.
#[derive(Clone)]
pub struct Peer {
    conn: ConnId,
    commands: Sender<Command>,
}

enum Command {
    AcceptJoin { join: JoinId, response: Payload, answer: oneshot::Sender<Result<ServerChannelId, StaleHandle>> },
    RefuseJoin { join: JoinId, response: Payload },
    Reply { to: ReplyTo, status: Status, response: Payload },
    Push { channel: ServerChannelId, event: Text, payload: Payload },
    PushUserBroadcast { channel: ServerChannelId, event: Text, metadata: Option<Payload>, payload: Payload },
    PushEncoded { channel: ServerChannelId, frame: Frame },
    CloseChannel { channel: ServerChannelId, crashed: bool },
    Close { code: u16, reason: Text },
}

impl Peer {
    /// The host's number for the socket.
    #[must_use]
    pub const fn conn(&self) -> ConnId {
        self.conn
    }

    /// Lets the client into a topic.
    ///
    /// # Errors
    /// If the client has left again, joined anew or gone meanwhile.
    pub async fn accept_join(&self, join: JoinId, response: Payload) -> Result<ServerChannelId, StaleHandle> {
        let (answer, answered) = oneshot::channel();
        let asked = self.send(Command::AcceptJoin { join, response, answer }).await;
        match asked {
            Ok(()) => answered.await.unwrap_or_else(|_| Err(StaleHandle::default())),
            Err(ClosedError) => Err(StaleHandle::default()),
        }
    }

    /// Turns the client away.
    ///
    /// # Errors
    /// If the socket is gone.
    pub async fn refuse_join(&self, join: JoinId, response: Payload) -> Result<(), ClosedError> {
        self.send(Command::RefuseJoin { join, response }).await
    }

    /// Answers a push.
    ///
    /// # Errors
    /// If the socket is gone.
    pub async fn reply(&self, to: ReplyTo, status: Status, response: Payload) -> Result<(), ClosedError> {
        self.send(Command::Reply { to, status, response }).await
    }

    /// Sends a message on one channel.
    ///
    /// # Errors
    /// If the socket is gone.
    pub async fn push(
        &self,
        channel: ServerChannelId,
        event: impl Into<Text>,
        payload: Payload,
    ) -> Result<(), ClosedError> {
        self.send(Command::Push { channel, event: event.into(), payload }).await
    }

    /// Sends a Supabase user broadcast on one channel; see
    /// [`ServerSession::push_user_broadcast`](rejoin_core::phoenix::ServerSession::push_user_broadcast).
    /// Bytes for a client of vsn 1.0.0 are dropped.
    ///
    /// # Errors
    /// If the socket is gone.
    pub async fn push_user_broadcast(
        &self,
        channel: ServerChannelId,
        event: impl Into<Text>,
        metadata: Option<Payload>,
        payload: Payload,
    ) -> Result<(), ClosedError> {
        self.send(Command::PushUserBroadcast { channel, event: event.into(), metadata, payload }).await
    }

    /// Hands over a frame that was encoded once for many, without waiting: a socket that does not
    /// keep up must not hold the others up.
    ///
    /// # Errors
    /// If the socket is gone or its queue of commands is full.
    pub fn try_push_encoded(&self, channel: ServerChannelId, frame: Frame) -> Result<(), TrySendError> {
        self.try_send(Command::PushEncoded { channel, frame })
    }

    /// Ends one channel, gracefully or as a crash.
    ///
    /// # Errors
    /// If the socket is gone.
    pub async fn close_channel(&self, channel: ServerChannelId, crashed: bool) -> Result<(), ClosedError> {
        self.send(Command::CloseChannel { channel, crashed }).await
    }

    /// Closes the socket; the stream of events ends with `Ended`.
    ///
    /// # Errors
    /// If the socket is gone.
    pub async fn close(&self, code: u16, reason: impl Into<Text>) -> Result<(), ClosedError> {
        self.send(Command::Close { code, reason: reason.into() }).await
    }

    async fn send(&self, command: Command) -> Result<(), ClosedError> {
        self.commands.send(command).await.map_err(|_| ClosedError)
    }

    fn try_send(&self, command: Command) -> Result<(), TrySendError> {
        self.commands.try_send(command).map_err(|error| match error {
            QueueError::Full(_) => TrySendError::Full,
            QueueError::Closed(_) => TrySendError::Closed,
        })
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("conn", &self.conn).finish_non_exhaustive()
    }
}

/// Why a frame was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrySendError {
    /// The socket does not keep up.
    Full,
    /// The socket is gone.
    Closed,
}

impl fmt::Display for TrySendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the socket does not keep up",
            Self::Closed => "the socket is gone",
        })
    }
}

impl std::error::Error for TrySendError {}

/// What the client of one socket does, in order. Ends after [`ServerEvent::Ended`].
pub struct PeerEvents {
    source: Source<Delivery>,
}

impl PeerEvents {
    /// The next event; `None` once there will be no more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ServerEvent> {
        poll_fn(|cx| self.source.poll_next(cx)).await.map(|Delivery(event)| event)
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
    commands: Pin<Box<Receiver<Command>>>,
    events: Sink<Delivery>,
}

/// Senders keep what waits in a queue alive, and whoever waits for its answer would wait for ever.
impl Drop for PeerBridge {
    fn drop(&mut self) {
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
    }
}

impl Bridge<ServerSession> for PeerBridge {
    fn poll_command(&mut self, cx: &mut Context<'_>, session: &mut ServerSession, now: Timestamp) -> Poll<Option<()>> {
        let Some(command) = ready!(self.commands.as_mut().poll_next(cx)) else { return Poll::Ready(None) };
        match command {
            Command::AcceptJoin { join, response, answer } => {
                if let Err(Ok(channel)) = answer.send(session.accept_join(now, join, response)) {
                    // Whoever let the client in is gone.
                    let _ = session.close_channel(now, channel, true);
                }
            }
            // The rest is about clients that may be gone already; their `Left` has said so.
            Command::RefuseJoin { join, response } => drop(session.refuse_join(now, join, response)),
            Command::Reply { to, status, response } => drop(session.reply(now, to, status, response)),
            Command::Push { channel, event, payload } => drop(session.push(now, channel, event, payload)),
            Command::PushUserBroadcast { channel, event, metadata, payload } => {
                drop(session.push_user_broadcast(now, channel, event, metadata, payload));
            }
            Command::PushEncoded { channel, frame } => drop(session.push_encoded(now, channel, frame)),
            Command::CloseChannel { channel, crashed } => drop(session.close_channel(now, channel, crashed)),
            Command::Close { code, reason } => session.close(now, code, reason),
        }
        Poll::Ready(Some(()))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>, _: &ServerSession) -> Poll<()> {
        self.events.poll_room(cx)
    }

    fn deliver(&mut self, _: &mut ServerSession, _: Timestamp, event: ServerEvent) {
        self.events.deliver(Delivery(event));
    }

    fn publish(&mut self) {
        self.events.publish();
    }

    fn request(&mut self, _: &mut ServerSession, _: Timestamp, request: Infallible) {
        match request {}
    }

    fn hang_up(&mut self, session: &mut ServerSession, now: Timestamp) {
        session.close(now, 1000, Text::EMPTY);
    }
}
