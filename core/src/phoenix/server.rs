//! The server's half of one socket: the peer that Phoenix clients expect, host decisions left out.
//!
//! Orders and answers are those that Phoenix 1.8.12 showed (specification, Appendix C). The host
//! decides who may join and what a push means; this machine answers heartbeats, matches refs, ends
//! channels, and notices clients that fell silent or read too slowly.

use alloc::collections::{BTreeMap, VecDeque};
use core::convert::Infallible;

use super::ids::{JoinId, ReplyTo, ServerChannelId};
use super::server_config::{EndReason, ServerConfig, ServerEvent, ServerPushError, ServerStats, StaleHandle, Status};
use crate::machine::{ConnId, Frame, Machine, TransportAction, TransportEvent};
use crate::payload::Payload;
use crate::slab::{Key, Slab};
use crate::text::Text;
use crate::time::Timestamp;
use crate::wire::{self, DecodeError, Message, Ref, Serializer};

/// One accepted socket, without I/O.
#[derive(Debug)]
pub struct ServerSession {
    config: ServerConfig,
    conn: ConnId,
    now: Timestamp,
    state: State,
    channels: Slab<Channel>,
    topics: BTreeMap<Text, Key>,
    joins: BTreeMap<u64, PendingJoin>,
    last_join: u64,
    lane: VecDeque<TransportAction>,
    lane_bytes: usize,
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
    /// The peer of a socket that has just been accepted. `conn` is the host's number for it.
    #[must_use]
    pub fn new(config: ServerConfig, conn: ConnId, now: Timestamp) -> Self {
        let idle_at = config.idle_timeout.map(|timeout| now.saturating_add(timeout));
        Self {
            config,
            conn,
            now,
            state: State::Open { idle_at },
            channels: Slab::new(),
            topics: BTreeMap::new(),
            joins: BTreeMap::new(),
            last_join: 0,
            lane: VecDeque::new(),
            lane_bytes: 0,
            events: VecDeque::new(),
            stats: ServerStats::default(),
        }
    }

    /// Lets the client in.
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
        let channel = Channel { topic: pending.topic.clone(), join_ref: pending.join_ref };
        let key = self.channels.insert(channel);
        self.topics.insert(pending.topic, key);
        if let Some(old) = pending.replaces {
            self.send_end(&old, wire::CLOSE, Payload::EMPTY);
        }
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
        if let Some(old) = pending.replaces {
            self.send_end(&old, wire::CLOSE, Payload::EMPTY);
        }
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
        let message = message.with_refs(channel.join_ref.clone(), to.reference);
        self.send(&message)
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
        let channel = self.channel(channel)?;
        let message = Message::new(channel.topic.clone(), event, payload).with_refs(channel.join_ref.clone(), None);
        self.send(&message)
    }

    /// Sends a frame that was encoded before, once for many sockets of the same
    /// [`serializer`](ServerSession::serializer): a message of the channel's topic without refs.
    ///
    /// # Errors
    /// If the channel is gone.
    pub fn push_encoded(&mut self, now: Timestamp, channel: ServerChannelId, frame: Frame) -> Result<(), StaleHandle> {
        self.advance(now);
        self.channel(channel).map_err(|_| StaleHandle)?;
        self.send_frame(frame);
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

    /// Closes the socket; [`ServerEvent::Ended`] follows after at most `close_timeout`.
    pub fn close(&mut self, now: Timestamp, code: u16, reason: impl Into<Text>) {
        self.advance(now);
        self.close_with(code, reason.into(), EndReason::Requested);
    }

    /// How messages to this client are written.
    #[must_use]
    pub const fn serializer(&self) -> Serializer {
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

    /// What was ignored so far.
    #[must_use]
    pub const fn stats(&self) -> ServerStats {
        self.stats
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
                    self.receive(frame);
                }
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
        match &self.state {
            State::Open { idle_at: Some(at) } if *at <= self.now => {
                // What Bandit, Phoenix's default server, sends; clients take 1000 for a farewell.
                self.close_with(1002, Text::EMPTY, EndReason::Idle);
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
            State::Open { idle_at } => *idle_at,
            State::Closing { deadline, .. } => Some(*deadline),
            State::Ended => None,
        }
    }

    fn poll_transport(&mut self) -> Option<TransportAction> {
        let action = self.lane.pop_front()?;
        if let TransportAction::Send { frame, .. } = &action {
            self.lane_bytes -= frame.len();
        }
        Some(action)
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
        self.lane_bytes > self.config.outbox_bytes / 2
    }

    fn is_finished(&self) -> bool {
        matches!(self.state, State::Ended) && self.events.is_empty() && self.lane.is_empty()
    }
}

// What the client sends.
impl ServerSession {
    fn receive(&mut self, frame: Frame) {
        if frame.len() > self.config.frame_bytes {
            return self.malformed(DecodeError::TooLarge { len: frame.len() });
        }
        match self.config.serializer.decode_from_client(frame).and_then(|message| self.checked(message)) {
            Ok(message) => self.route(message),
            Err(error) => self.malformed(error),
        }
    }

    fn checked(&self, message: Message) -> Result<Message, DecodeError> {
        let is_join = message.event == wire::JOIN;
        match message.payload.as_json() {
            Some(json) if is_join && !json.trim_start().starts_with('{') => Err(DecodeError::Shape { column: 0 }),
            None if is_join => Err(DecodeError::Shape { column: 0 }),
            Some(json) if is_join || self.config.check_payloads => {
                match serde_json::from_str::<&serde_json::value::RawValue>(json) {
                    Ok(_) => Ok(message),
                    Err(error) => Err(DecodeError::Syntax { column: error.column() }),
                }
            }
            _ => Ok(message),
        }
    }

    /// Phoenix closes such a socket with 1011 (Appendix C).
    fn malformed(&mut self, error: DecodeError) {
        self.events.push_back(ServerEvent::Malformed { error });
        self.close_with(1011, Text::EMPTY, EndReason::Malformed);
    }

    fn route(&mut self, message: Message) {
        let joined = self.topics.get(message.topic.as_bytes()).copied();
        match message.event.as_str() {
            _ if message.topic == wire::PHOENIX => match message.event.as_str() {
                wire::HEARTBEAT => self.answer(&message, message.join_ref.clone(), Status::Ok, &Payload::EMPTY),
                _ => self.unmatched(&message),
            },
            wire::JOIN => self.join(message, joined),
            wire::LEAVE => self.leave(&message, joined),
            _ => match joined.and_then(|key| Some((key, self.channels.get(key)?))) {
                None => self.unmatched(&message),
                Some((_, channel)) if message.join_ref.is_some() && message.join_ref != channel.join_ref => {
                    self.stats.stale_messages += 1;
                }
                Some((key, _)) => {
                    let channel = ServerChannelId(key);
                    let reply = ReplyTo { channel, reference: message.reference };
                    let Message { event, payload, .. } = message;
                    self.events.push_back(ServerEvent::Push { channel, event, payload, reply });
                }
            },
        }
    }

    fn join(&mut self, message: Message, joined: Option<Key>) {
        // A join of this topic that the host has not answered yet gives way, and what it would have
        // replaced is replaced by this one.
        let earlier = self.joins.iter().find(|(_, pending)| pending.topic == message.topic).map(|(id, _)| *id);
        let earlier = earlier.and_then(|id| self.joins.remove(&id));
        if joined.is_none() && self.channels.len() + self.joins.len() >= self.config.channels {
            let response = reason("too many channels joined");
            return self.answer(&message, message.join_ref.clone(), Status::Error, &response);
        }
        let replaces = joined.and_then(|key| self.remove_channel(key)).or(earlier.and_then(|join| join.replaces));
        self.last_join += 1;
        let topic = message.topic.detach();
        let pending = PendingJoin {
            topic: topic.clone(),
            join_ref: message.join_ref.as_ref().map(Ref::detach),
            reference: message.reference.as_ref().map(Ref::detach),
            replaces,
        };
        self.joins.insert(self.last_join, pending);
        self.events.push_back(ServerEvent::Join { join: JoinId(self.last_join), topic, payload: message.payload });
    }

    fn leave(&mut self, message: &Message, joined: Option<Key>) {
        let pending = self.joins.iter().find(|(_, pending)| pending.topic == message.topic);
        if let Some((&id, pending)) = pending {
            if message.join_ref.is_some() && message.join_ref != pending.join_ref {
                self.stats.stale_messages += 1;
                return;
            }
            self.joins.remove(&id);
            return self.answer(message, message.join_ref.clone(), Status::Ok, &Payload::EMPTY);
        }
        match joined.and_then(|key| Some((key, self.channels.get(key)?))) {
            // Of an unjoined topic: ok, with the join_ref that was sent.
            None => self.answer(message, message.join_ref.clone(), Status::Ok, &Payload::EMPTY),
            Some((_, channel)) if message.join_ref.is_some() && message.join_ref != channel.join_ref => {
                self.stats.stale_messages += 1;
            }
            Some((key, channel)) => {
                self.answer(message, channel.join_ref.clone(), Status::Ok, &Payload::EMPTY);
                if let Some(channel) = self.remove_channel(key) {
                    self.send_end(&channel, wire::CLOSE, Payload::EMPTY);
                }
            }
        }
    }

    fn unmatched(&mut self, message: &Message) {
        self.stats.unmatched_topic += 1;
        self.answer(message, None, Status::Error, &reason("unmatched topic"));
    }
}

// What goes to the client, and the end.
impl ServerSession {
    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    fn channel(&self, id: ServerChannelId) -> Result<&Channel, ServerPushError> {
        self.channels.get(id.0).ok_or(ServerPushError::Stale)
    }

    fn take_join(&mut self, join: &JoinId) -> Result<PendingJoin, StaleHandle> {
        self.joins.remove(&join.0).ok_or(StaleHandle)
    }

    fn remove_channel(&mut self, key: Key) -> Option<Channel> {
        let channel = self.channels.remove(key)?;
        self.topics.remove(channel.topic.as_bytes());
        self.events.push_back(ServerEvent::Left { channel: ServerChannelId(key) });
        Some(channel)
    }

    fn answer_join(&mut self, pending: &PendingJoin, status: Status, response: &Payload) {
        // A join's answer has to be JSON; bytes would be a reply that no client expects there.
        let response = if response.is_binary() { &Payload::EMPTY } else { response };
        let reply = Message::reply(pending.topic.clone(), status, response)
            .with_refs(pending.join_ref.clone(), pending.reference.clone());
        self.send_json(&reply);
    }

    fn answer(&mut self, to: &Message, join_ref: Option<Ref>, status: Status, response: &Payload) {
        let reply = Message::reply(to.topic.clone(), status, response).with_refs(join_ref, to.reference.clone());
        self.send_json(&reply);
    }

    /// `phx_close` or `phx_error`, whose ref is the join_ref.
    fn send_end(&mut self, channel: &Channel, event: &'static str, payload: Payload) {
        let message = Message::new(channel.topic.clone(), Text::from_static(event), payload);
        self.send_json(&message.with_refs(channel.join_ref.clone(), channel.join_ref.clone()));
    }

    /// Messages of our own making are JSON, which every serializer can write.
    fn send_json(&mut self, message: &Message) {
        let sent = self.send(message);
        debug_assert!(sent.is_ok(), "JSON fits every serializer");
    }

    fn send(&mut self, message: &Message) -> Result<(), ServerPushError> {
        let frame = self.config.serializer.encode_from_server(message).map_err(ServerPushError::Encode)?;
        self.send_frame(frame);
        Ok(())
    }

    fn send_frame(&mut self, frame: Frame) {
        if !matches!(self.state, State::Open { .. }) {
            return;
        }
        self.lane_bytes += frame.len();
        self.lane.push_back(TransportAction::Send { conn: self.conn, frame });
        if self.lane_bytes > self.config.outbox_bytes {
            self.abort(EndReason::TooSlow);
        }
    }

    fn close_with(&mut self, code: u16, reason: Text, why: EndReason) {
        if matches!(self.state, State::Open { .. }) {
            let deadline = self.now.saturating_add(self.config.close_timeout);
            self.state = State::Closing { deadline, reason: why };
            self.lane.push_back(TransportAction::Close { conn: self.conn, code, reason });
        }
    }

    fn abort(&mut self, reason: EndReason) {
        self.lane.clear();
        self.lane_bytes = 0;
        self.lane.push_back(TransportAction::Abort { conn: self.conn });
        self.end(reason);
    }

    fn end(&mut self, reason: EndReason) {
        if matches!(self.state, State::Ended) {
            return;
        }
        self.lane.retain(|action| matches!(action, TransportAction::Abort { .. }));
        self.lane_bytes = 0;
        self.joins.clear();
        let keys: alloc::vec::Vec<_> = self.channels.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.remove_channel(key);
        }
        self.state = State::Ended;
        self.events.push_back(ServerEvent::Ended { reason });
    }
}

fn reason(text: &'static str) -> Payload {
    Payload::unread_json(alloc::format!(r#"{{"reason":"{text}"}}"#).into())
}
