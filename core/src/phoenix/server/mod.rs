//! The server's half of one socket: the peer that Phoenix clients expect, host decisions left out.
//!
//! Orders and answers are those that Phoenix 1.8.12 showed (specification, Appendix C). The host
//! decides who may join and what a push means; this machine answers heartbeats, matches refs, ends
//! channels, and notices clients that fell silent or read too slowly.

mod access;
mod authentication;
mod config;
mod event;
mod inbound;
mod outbound;
mod outbox;
mod places;
mod rate_limit;
mod shared_frame;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::convert::Infallible;

use access::Access;
pub use config::{AUTH_TIMEOUT, OnMalformed, OutboxOverflow, PLACE_BYTES, ServerConfig};
pub use event::{EndReason, Limit, ServerEvent, ServerPushError, ServerStats, StaleHandle, Status};
use outbox::Outbox;
pub use rate_limit::RateLimit;
use rate_limit::Rates;
pub use shared_frame::SharedFrame;

use super::ids::{JoinId, ReplyTo, ServerChannelId};
use crate::machine::{ConnId, Frame, Machine, TransportAction, TransportEvent};
use crate::payload::Payload;
use crate::slab::{Key, Slab};
use crate::text::Text;
use crate::time::Timestamp;
use crate::wire::{self, Message, Ref, Serializer, UserEvent};

/// The reason that Phoenix's router gives.
const UNMATCHED: &str = "unmatched topic";

/// One accepted socket, without I/O.
///
/// ```
/// use rejoin_core::phoenix::{ServerConfig, ServerEvent, ServerSession, Status};
/// use rejoin_core::wire::Serializer;
/// use rejoin_core::{ConnId, Frame, Machine, Payload, Timestamp, TransportAction, TransportEvent};
///
/// let (conn, now) = (ConnId::new(1), Timestamp::ZERO);
/// let mut session = ServerSession::new(ServerConfig::new(Serializer::V2), conn, now);
/// let hears = |text: &str| TransportEvent::Received { conn, frame: Frame::Text(text.into()) };
/// let says = |text: &str| Some(TransportAction::Send { conn, frame: Frame::Text(text.into()) });
///
/// session.handle_transport(now, hears(r#"["1","1","room:lobby","phx_join",{}]"#));
/// let Some(ServerEvent::Join { join, .. }) = session.poll_event() else { panic!("the client joins") };
/// let lobby = session.accept_join(now, join, Payload::EMPTY)?;
/// let answer = says(r#"["1","1","room:lobby","phx_reply",{"status":"ok","response":{}}]"#);
/// assert_eq!(session.poll_transport(), answer);
///
/// session.handle_transport(now, hears(r#"["1","2","room:lobby","shout",{"text":"hi"}]"#));
/// let Some(ServerEvent::Push { payload, reply, .. }) = session.poll_event() else { panic!("it pushes") };
/// session.reply(now, reply, Status::Ok, Payload::EMPTY)?;
/// session.push(now, lobby, "shout", payload)?;
/// session.poll_transport();
/// assert_eq!(session.poll_transport(), says(r#"["1",null,"room:lobby","shout",{"text":"hi"}]"#));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ServerSession {
    config: Arc<ServerConfig>,
    conn: ConnId,
    now: Timestamp,
    state: State,
    access: Access,
    channels: Slab<Channel>,
    topics: BTreeMap<Text, Key>,
    joins: BTreeMap<u64, PendingJoin>,
    last_join: u64,
    outbox: Outbox,
    /// How the connection ends, once the outbox is empty.
    farewell: Option<TransportAction>,
    rates: Option<Box<Rates>>,
    /// Until when what was dropped and refused is collected before it is told.
    quiet_until: Timestamp,
    events: VecDeque<ServerEvent>,
    stats: ServerStats,
}

#[derive(Debug)]
enum State {
    Open { idle_at: Option<Timestamp> },
    Closing { deadline: Timestamp, reason: EndReason },
    Ended,
}

#[derive(Debug)]
struct Channel {
    topic: Text,
    join_ref: Option<Ref>,
    overflow: OutboxOverflow,
}

#[derive(Debug)]
struct PendingJoin {
    topic: Text,
    join_ref: Option<Ref>,
    reference: Option<Ref>,
    /// The channel that had the topic: its `phx_close` follows the answer.
    replaces: Option<Channel>,
}

impl ServerSession {
    /// The peer of a socket that has just been accepted. `conn` is the host's number for it, and a
    /// configuration in an `Arc` is shared with other sockets.
    #[must_use]
    pub fn new(config: impl Into<Arc<ServerConfig>>, conn: ConnId, now: Timestamp) -> Self {
        let config = config.into();
        let idle_at = config.idle_timeout.map(|timeout| now.saturating_add(timeout));
        Self {
            conn,
            now,
            state: State::Open { idle_at },
            access: Access::new(&config, now),
            rates: Rates::new([config.joins, config.messages, config.bytes], now),
            config,
            channels: Slab::new(),
            topics: BTreeMap::new(),
            joins: BTreeMap::new(),
            last_join: 0,
            outbox: Outbox::default(),
            farewell: None,
            quiet_until: Timestamp::ZERO,
            events: VecDeque::new(),
            stats: ServerStats::default(),
        }
    }

    /// Lets the client in. The response is JSON; bytes, which no client expects there, become `{}`.
    ///
    /// # Errors
    /// If the client has left again, joined anew or gone meanwhile.
    pub fn accept_join(
        &mut self,
        now: Timestamp,
        join: JoinId,
        response: Payload,
    ) -> Result<ServerChannelId, StaleHandle> {
        self.advance(now);
        let pending = self.take_join(&join)?;
        self.answer_join(&pending, Status::Ok, &response);
        if matches!(self.state, State::Ended) {
            // The client reads too slowly for the answer.
            return Err(StaleHandle);
        }
        let overflow = self.config.overflow;
        let channel = Channel { topic: pending.topic.clone(), join_ref: pending.join_ref, overflow };
        let key = self.channels.insert(channel);
        self.topics.insert(pending.topic, key);
        self.end_replaced(pending.replaces);
        Ok(ServerChannelId(key))
    }

    /// Turns the client away; the response is usually `{"reason": …}`.
    ///
    /// # Errors
    /// If the client has left again, joined anew or gone meanwhile.
    pub fn refuse_join(&mut self, now: Timestamp, join: JoinId, response: Payload) -> Result<(), StaleHandle> {
        self.advance(now);
        let pending = self.take_join(&join)?;
        self.answer_join(&pending, Status::Error, &response);
        self.end_replaced(pending.replaces);
        Ok(())
    }

    /// Turns the client away from a topic that does not exist: `unmatched topic`, which carries no
    /// join_ref, since Phoenix answers it before there is a channel (recordings).
    ///
    /// # Errors
    /// If the client has left again, joined anew or gone meanwhile.
    pub fn refuse_unmatched(&mut self, now: Timestamp, join: JoinId) -> Result<(), StaleHandle> {
        self.advance(now);
        let mut pending = self.take_join(&join)?;
        self.stats.unmatched_topic += 1;
        pending.join_ref = None;
        self.answer_join(&pending, Status::Error, &reason(UNMATCHED));
        self.end_replaced(pending.replaces);
        Ok(())
    }

    /// Answers a push. A binary response needs a client of vsn 2.0.0.
    ///
    /// # Errors
    /// If the channel is gone or the response does not fit the serializer.
    pub fn reply(
        &mut self,
        now: Timestamp,
        to: ReplyTo,
        status: Status,
        response: Payload,
    ) -> Result<(), ServerPushError> {
        self.advance(now);
        let channel = self.channel(to.channel)?;
        let message = Message::reply(channel.topic.clone(), status, &response);
        let frame = self.encode(&message.with_refs(channel.join_ref.clone(), to.reference))?;
        self.send_control(frame);
        Ok(())
    }

    /// Sends a message on one channel.
    ///
    /// # Errors
    /// If the channel is gone or the message does not fit the serializer.
    pub fn push(
        &mut self,
        now: Timestamp,
        channel: ServerChannelId,
        event: impl Into<Text>,
        payload: Payload,
    ) -> Result<(), ServerPushError> {
        self.advance(now);
        let Channel { topic, join_ref, overflow } = self.channel(channel)?;
        let (message, overflow) = (Message::new(topic.clone(), event, payload), *overflow);
        let frame = self.encode(&message.with_refs(join_ref.clone(), None))?;
        self.send_message(channel, overflow, frame.into());
        Ok(())
    }

    /// Sends a Supabase user broadcast (section 2.4): binary (kind 4) under vsn 2.0.0, an object
    /// around the payload under vsn 1.0.0. It carries no refs, and `metadata` is a JSON object.
    ///
    /// # Errors
    /// If the channel is gone or the message does not fit the serializer: bytes under vsn 1.0.0, to
    /// which Supabase does not deliver them either.
    pub fn push_user_broadcast(
        &mut self,
        now: Timestamp,
        channel: ServerChannelId,
        event: impl Into<Text>,
        metadata: Option<Payload>,
        payload: Payload,
    ) -> Result<(), ServerPushError> {
        self.advance(now);
        let Channel { topic, overflow, .. } = self.channel(channel)?;
        let user_event = UserEvent { event: event.into(), metadata };
        let (message, overflow) = (Message::user_broadcast(topic.clone(), user_event, payload), *overflow);
        let frame = self.encode(&message)?;
        self.send_message(channel, overflow, frame.into());
        Ok(())
    }

    /// Sends a frame that was encoded before, once for many sockets of the same
    /// [`serializer`](ServerSession::serializer): a message of the channel's topic without refs.
    ///
    /// # Errors
    /// If the channel is gone.
    pub fn push_encoded(
        &mut self,
        now: Timestamp,
        channel: ServerChannelId,
        frame: impl Into<SharedFrame>,
    ) -> Result<(), StaleHandle> {
        self.advance(now);
        let overflow = self.channels.get(channel.0).ok_or(StaleHandle)?.overflow;
        self.send_message(channel, overflow, frame.into());
        Ok(())
    }

    /// What happens to messages of this channel that find no room, instead of
    /// [`ServerConfig::overflow`]. Those that wait already keep what was said before.
    ///
    /// # Errors
    /// If the channel is gone.
    pub fn set_overflow(&mut self, channel: ServerChannelId, overflow: OutboxOverflow) -> Result<(), StaleHandle> {
        let channel = self.channels.get_mut(channel.0).ok_or(StaleHandle)?;
        channel.overflow = overflow;
        Ok(())
    }

    /// Ends one channel, gracefully (`phx_close`) or as a crash (`phx_error`, after which clients
    /// join again).
    ///
    /// # Errors
    /// If the channel is gone.
    pub fn close_channel(
        &mut self,
        now: Timestamp,
        channel: ServerChannelId,
        crashed: bool,
    ) -> Result<(), StaleHandle> {
        self.advance(now);
        let channel = self.remove_channel(channel.0).ok_or(StaleHandle)?;
        if crashed {
            let payload = Payload::unread_json(Text::from_static(r#"{"reason":"channel_crash"}"#));
            self.send_end(&channel, wire::ERROR, payload);
        } else {
            self.send_end(&channel, wire::CLOSE, Payload::EMPTY);
        }
        Ok(())
    }

    /// Closes the socket; [`ServerEvent::Ended`] follows after at most `close_timeout`. A close frame has
    /// room for the first 123 bytes of the reason.
    pub fn close(&mut self, now: Timestamp, code: u16, reason: impl Into<Text>) {
        self.advance(now);
        self.close_with(code, reason.into(), EndReason::Requested);
    }

    /// Takes frames that [`poll_transport`](Machine::poll_transport) would give next, in one go: to be
    /// sent before anything that it gives. Stops when it has taken `bytes`, or when the next thing to
    /// do is no frame.
    pub fn take_frames(&mut self, bytes: usize, frames: &mut impl Extend<Frame>) {
        let mut taken = 0;
        frames.extend(core::iter::from_fn(|| {
            let frame = if taken < bytes { self.outbox.pop() } else { None }?;
            taken += frame.len();
            Some(frame)
        }));
    }

    /// How messages to this client are written.
    #[must_use]
    pub fn serializer(&self) -> Serializer {
        self.config.serializer
    }

    /// The host's number for this socket.
    #[must_use]
    pub const fn conn(&self) -> ConnId {
        self.conn
    }

    /// The topic of a channel; `None` once it is gone.
    #[must_use]
    pub fn topic(&self, channel: ServerChannelId) -> Option<&Text> {
        self.channels.get(channel.0).map(|channel| &channel.topic)
    }

    /// What was ignored, refused and dropped so far.
    #[must_use]
    pub const fn stats(&self) -> ServerStats {
        ServerStats { dropped: self.outbox.dropped(), replaced: self.outbox.replaced(), ..self.stats }
    }
}

impl Machine for ServerSession {
    type Event = ServerEvent;
    type Request = Infallible;

    fn handle_transport(&mut self, now: Timestamp, event: TransportEvent) {
        self.advance(now);
        match event {
            TransportEvent::Received { conn, frame } if conn == self.conn => {
                if let State::Open { idle_at } = &mut self.state {
                    *idle_at = self.config.idle_timeout.map(|timeout| self.now.saturating_add(timeout));
                }
                self.hear(frame);
            }
            TransportEvent::Closed { conn, code, reason } if conn == self.conn => {
                let reason = match &self.state {
                    State::Closing { reason, .. } => reason.clone(),
                    _ => EndReason::Closed { code, reason },
                };
                self.end(reason);
            }
            TransportEvent::OpenFailed { conn, error } if conn == self.conn => {
                self.end(EndReason::Closed { code: None, reason: error.message.into() });
            }
            TransportEvent::Opened { conn } if conn == self.conn => {}
            _ => self.stats.stale_connection += 1,
        }
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
        if self.is_open() {
            self.check_access();
            self.tell();
        }
        match &self.state {
            State::Open { idle_at: Some(at) } if *at <= self.now => {
                self.close_with(self.config.idle_code, Text::EMPTY, EndReason::Idle);
            }
            State::Closing { deadline, reason } if *deadline <= self.now => {
                let reason = reason.clone();
                self.abort(reason);
            }
            _ => {}
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.state {
            State::Open { idle_at } => {
                let untold = self.has_untold().then_some(self.quiet_until);
                [*idle_at, self.access.deadline(&self.config), untold].into_iter().flatten().min()
            }
            State::Closing { deadline, .. } => Some(*deadline),
            State::Ended => None,
        }
    }

    fn poll_transport(&mut self) -> Option<TransportAction> {
        let conn = self.conn;
        self.outbox.pop().map(|frame| TransportAction::Send { conn, frame }).or_else(|| self.farewell.take())
    }

    fn poll_request(&mut self) -> Option<Infallible> {
        None
    }

    fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    fn connection(&self) -> Option<ConnId> {
        (!matches!(self.state, State::Ended)).then_some(self.conn)
    }

    fn is_congested(&self) -> bool {
        self.outbox.bytes() > self.config.outbox_bytes / 2
    }

    fn is_finished(&self) -> bool {
        matches!(self.state, State::Ended) && self.events.is_empty() && self.farewell.is_none()
    }
}

impl ServerSession {
    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    const fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    fn channel(&self, id: ServerChannelId) -> Result<&Channel, ServerPushError> {
        self.channels.get(id.0).ok_or(ServerPushError::Stale)
    }

    fn take_join(&mut self, join: &JoinId) -> Result<PendingJoin, StaleHandle> {
        self.remove_join(join.0).ok_or(StaleHandle)
    }

    fn remove_join(&mut self, number: u64) -> Option<PendingJoin> {
        let pending = self.joins.remove(&number);
        if self.joins.is_empty() {
            // An empty map keeps room for eleven, and most sockets join once.
            self.joins = BTreeMap::new();
        }
        pending
    }

    fn remove_channel(&mut self, key: Key) -> Option<Channel> {
        let channel = self.channels.remove(key)?;
        self.topics.remove(channel.topic.as_bytes());
        self.events.push_back(ServerEvent::Left { channel: ServerChannelId(key) });
        Some(channel)
    }
}

fn reason(text: &str) -> Payload {
    Payload::unread_json(alloc::format!(r#"{{"reason":"{text}"}}"#).into())
}
