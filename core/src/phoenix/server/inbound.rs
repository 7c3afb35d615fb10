//! What a server session makes of the client's frames.

use super::access::Access;
use super::config::OnMalformed;
use super::event::{EndReason, Limit, ServerEvent, Status};
use super::{PendingJoin, ServerSession, UNMATCHED, reason};
use crate::machine::Frame;
use crate::payload::Payload;
use crate::phoenix::ids::{JoinId, ReplyTo, ServerChannelId};
use crate::slab::Key;
use crate::text::Text;
use crate::wire::{self, DecodeError, Message, Ref, UserEvent};

/// The longest refs of a join, in bytes: what a binary frame can say. They are kept with the channel, so
/// that longer ones would be memory for the asking.
const REF_BYTES: usize = 255;

impl ServerSession {
    /// A frame of the client, which may have to wait until it is authenticated.
    pub(super) fn hear(&mut self, frame: Frame) {
        if self.is_open() {
            // A timer may be late, and nobody is to be heard for it.
            self.check_access();
        }
        if !self.is_open() {
            self.stats.unheard += 1;
        } else if frame.len() > self.config.frame_bytes {
            self.stats.too_large += 1;
            self.close_with(1009, Text::EMPTY, EndReason::TooLarge);
        } else if matches!(self.access, Access::Awaited { .. }) {
            self.hold(frame);
        } else {
            self.receive(frame);
        }
    }

    fn receive(&mut self, frame: Frame) {
        let len = frame.len();
        match self.config.serializer.decode_from_client(frame).and_then(|message| self.checked(message)) {
            Ok(message) => self.route(message, len),
            Err(error) => self.malformed(error),
        }
    }

    fn checked(&self, message: Message) -> Result<Message, DecodeError> {
        let is_join = message.event == wire::JOIN;
        let checks = is_join || self.config.check_payloads;
        if let Some(user) = &message.user_event {
            if !self.config.user_broadcasts {
                return Err(DecodeError::UnknownKind(3));
            }
            match user.metadata.as_ref().and_then(Payload::as_json) {
                Some(json) if checks => check_json(json)?,
                _ => {}
            }
        }
        match message.payload.as_json() {
            Some(json) if checks => check_json(json)?,
            _ => {}
        }
        Ok(message)
    }

    fn malformed(&mut self, error: DecodeError) {
        self.stats.malformed += 1;
        self.events.push_back(ServerEvent::Malformed { error });
        match self.config.malformed {
            OnMalformed::Close => self.close_with(1011, Text::EMPTY, EndReason::Malformed),
            OnMalformed::Ignore => {}
        }
    }

    /// `len` is that of the frame.
    fn route(&mut self, message: Message, len: usize) {
        let joined = self.topics.get(message.topic.as_bytes()).copied();
        match message.event.as_str() {
            _ if message.topic == wire::PHOENIX => match message.event.as_str() {
                wire::HEARTBEAT => self.answer(&message, message.join_ref.clone(), Status::Ok, &Payload::EMPTY),
                _ => self.unmatched(&message),
            },
            wire::JOIN => self.join(message, joined, len),
            wire::LEAVE => self.leave(&message, joined),
            _ if self.is_limited(&message, Limit::Messages, len) => {}
            _ => match joined.and_then(|key| Some((key, self.channels.get(key)?))) {
                None => self.unmatched(&message),
                Some((_, channel)) if message.join_ref.is_some() && message.join_ref != channel.join_ref => {
                    self.stats.stale_messages += 1;
                }
                Some((key, _)) => {
                    let channel = ServerChannelId(key);
                    let reply = ReplyTo { channel, reference: message.reference };
                    let Message { event, payload, user_event, .. } = message;
                    self.events.push_back(match user_event {
                        None => ServerEvent::Push { channel, event, payload, reply },
                        Some(UserEvent { event, metadata }) => {
                            ServerEvent::UserBroadcast { channel, event, metadata, payload, reply }
                        }
                    });
                }
            },
        }
    }

    fn join(&mut self, message: Message, joined: Option<Key>, len: usize) {
        if message.topic.as_bytes().len() > self.config.topic_bytes {
            return self.refuse_at_once(&message, "topic too long");
        }
        if [&message.join_ref, &message.reference].into_iter().flatten().any(|sent| sent.as_str().len() > REF_BYTES) {
            return self.refuse_at_once(&message, "ref too long");
        }
        if self.is_limited(&message, Limit::Joins, len) {
            return;
        }
        // What Phoenix says of a payload that the channel's `join` was not written for (Appendix C).
        if !message.payload.as_json().is_some_and(|json| json.trim_start().starts_with('{')) {
            return self.refuse_at_once(&message, "join crashed");
        }
        // A join of this topic that the host has not answered yet gives way, and what it would have
        // replaced is replaced by this one.
        let earlier = self.joins.iter().find(|(_, pending)| pending.topic == message.topic).map(|(id, _)| *id);
        let earlier = earlier.and_then(|id| self.remove_join(id));
        if joined.is_none() && self.channels.len() + self.joins.len() >= self.config.channels {
            return self.refuse_at_once(&message, "too many channels joined");
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

    fn refuse_at_once(&mut self, message: &Message, why: &str) {
        self.stats.refused_joins += 1;
        self.answer(message, message.join_ref.clone(), Status::Error, &reason(why));
    }

    /// Whether a join or a message is beyond a limit; if so, it has been answered.
    fn is_limited(&mut self, message: &Message, of: Limit, len: usize) -> bool {
        let Some(rates) = &mut self.rates else { return false };
        let Err(limit) = rates.admit(self.now, of, len) else { return false };
        self.stats.limited += 1;
        if of == Limit::Joins || message.reference.is_some() {
            let response = reason(&alloc::format!("too many {limit}"));
            self.answer(message, message.join_ref.clone(), Status::Error, &response);
        }
        self.tell();
        true
    }

    fn leave(&mut self, message: &Message, joined: Option<Key>) {
        let pending = self.joins.iter().find(|(_, pending)| pending.topic == message.topic);
        if let Some((&id, pending)) = pending {
            if message.join_ref.is_some() && message.join_ref != pending.join_ref {
                self.stats.stale_messages += 1;
                return;
            }
            if let Some(pending) = self.remove_join(id) {
                self.answer(message, pending.join_ref, Status::Ok, &Payload::EMPTY);
                self.end_replaced(pending.replaces);
            }
            return;
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
        self.answer(message, None, Status::Error, &reason(UNMATCHED));
    }
}

fn check_json(json: &str) -> Result<(), DecodeError> {
    match serde_json::from_str::<&serde_json::value::RawValue>(json) {
        Ok(_) => Ok(()),
        Err(error) => Err(DecodeError::Syntax { column: error.column() }),
    }
}
