//! What a received frame means: heartbeats, replies, the ends of channels, messages.
//!
//! A message belongs to a channel if the topic is its own and the join_ref is missing or its own.
//! vsn 1.0.0 servers send no join_ref, but put it into the `ref` of `phx_close` and `phx_error`
//! (specification, section 4.7). Replies are told by topic and ref alone.

use super::channel::Phase;
use super::event::{CloseReason, Event, JoinFailure, PushOutcome, TroubleCause, is_unmatched};
use super::ids::ChannelId;
use super::session::Session;
use crate::machine::Frame;
use crate::text::Text;
use crate::wire::{self, Body, DecodeError, Envelope, Reply, Side};

impl Session {
    #[inline]
    pub(super) fn receive(&mut self, frame: Frame) {
        if self.channels.is_join_in_flight() {
            self.heartbeat.extend(self.now);
        }
        if self.choice.is_unheard() {
            self.choice.heard();
        }
        if frame.len() > self.config.limits.frame_bytes {
            return self.malformed(DecodeError::TooLarge { len: frame.len() });
        }
        // By reference: what was just written in parts is slow to move.
        match &self.config.serializer.envelope(&frame, Side::Server) {
            Ok(envelope) if envelope.event.starts_with(b"phx_") || *envelope.topic == *wire::PHOENIX.as_bytes() => {
                self.control(&frame, envelope);
            }
            Ok(envelope) => match self.recipient(envelope) {
                None => {}
                Some(channel) => {
                    let event = event_text(&frame, envelope);
                    let body = envelope.body;
                    if let Some(parts) = body.user_parts(&frame) {
                        let broadcast = wire::user_broadcast(frame, parts);
                        return self.message(Event::UserBroadcast { channel, broadcast });
                    }
                    let payload = match body.range(&frame) {
                        Some(range) => wire::narrow(frame, range),
                        None => body.to_payload(&frame),
                    };
                    self.message(Event::Message { channel, event, payload });
                }
            },
            Err(error) => self.malformed(error.clone()),
        }
    }

    /// `close` was called; replies to what was sent before it still count.
    pub(super) fn receive_while_closing(&mut self, frame: Frame) {
        if let Ok(envelope) = self.config.serializer.envelope(&frame, Side::Server)
            && *envelope.event == *wire::REPLY.as_bytes()
            && let Some(reference) = envelope.ref_number()
            && let Some(reply) = reply_of(&frame, &envelope)
        {
            self.push_reply(&envelope, reference, reply);
        }
    }

    #[cold]
    fn malformed(&mut self, error: DecodeError) {
        self.stats.malformed += 1;
        self.message(Event::Malformed { error });
    }

    /// The channel that a message is for. Without a join_ref it cannot be told from one that was
    /// meant for an earlier lifetime, so it counts only while the channel is joined (trap T12).
    #[inline]
    fn recipient(&mut self, envelope: &Envelope<'_>) -> Option<ChannelId> {
        let Some((id, channel)) = self.channels.find(&envelope.topic) else {
            self.stats.unknown_topic += 1;
            return None;
        };
        let ours = match (channel.phase, envelope.join_ref_number()) {
            (Phase::Joined { .. }, Ok(None)) => true,
            (Phase::Joined { join_ref } | Phase::Joining { join_ref }, Ok(Some(theirs))) => join_ref == theirs,
            _ => false,
        };
        if !ours {
            self.stats.stale_messages += 1;
        }
        ours.then_some(id)
    }

    #[inline(never)]
    fn control(&mut self, frame: &Frame, envelope: &Envelope<'_>) {
        match &*envelope.event {
            event if event == wire::REPLY.as_bytes() => {
                let Some(reference) = envelope.ref_number() else {
                    self.stats.unmatched_replies += 1;
                    return;
                };
                let reply = reply_of(frame, envelope);
                if let Some(rtt) = self.heartbeat.answered(self.now, reference) {
                    self.connection.proof_of_life();
                    let ok = reply.is_some_and(|reply| reply.status == "ok");
                    return self.message(Event::HeartbeatAnswered { rtt, ok });
                }
                match reply {
                    Some(reply) => self.reply(envelope, reference, reply),
                    None => self.malformed(DecodeError::NotAReply),
                }
            }
            event if event == wire::CLOSE.as_bytes() => self.ended_by_server(envelope, false),
            event if event == wire::ERROR.as_bytes() => self.ended_by_server(envelope, true),
            _ => self.stats.stale_messages += 1,
        }
    }

    fn reply(&mut self, envelope: &Envelope<'_>, reference: u64, reply: Reply) {
        let topic = &*envelope.topic;
        if let Some((id, channel)) = self.channels.find(topic)
            && channel.phase == (Phase::Joining { join_ref: reference })
        {
            if reply.status == "ok" {
                self.joined(id, reference, reply.response.detach());
            } else {
                self.fail_join(id, JoinFailure::Refused { response: reply.response.detach() });
            }
            // The server has taken the topic from whoever had it before.
            for old in self.channels.displaced(topic) {
                self.close_channel(old, CloseReason::Left);
            }
        } else if let Some(id) = self.channels.find_leaving(topic, reference) {
            self.close_channel(id, CloseReason::Left);
        } else {
            let forgotten = self.forgotten(envelope, reference, &reply);
            self.push_reply(envelope, reference, reply);
            if let Some(id) = forgotten {
                self.trouble(id, TroubleCause::Forgotten);
            }
        }
    }

    fn push_reply(&mut self, envelope: &Envelope<'_>, reference: u64, reply: Reply) {
        let push = self.pushes.by_ref(reference).and_then(|id| Some((id, self.pushes.get(id)?.channel)));
        let topic_of = |id| self.channels.get(id).map(|channel| channel.topic.as_bytes());
        let Some((push, _)) = push.filter(|(_, id)| topic_of(*id) == Some(&*envelope.topic)) else {
            self.stats.unmatched_replies += 1;
            return;
        };
        let outcome = match reply.status.as_str() {
            "ok" => PushOutcome::Ok(reply.response),
            "error" => PushOutcome::Error(reply.response),
            _ => PushOutcome::Other { status: reply.status, response: reply.response },
        };
        self.finish_push(push, outcome);
    }

    /// The channel that the server has lost and that we believe to be in, if a reply proves it (trap
    /// T14). It may answer a push that wanted no reply, so that only its ref tells the lifetime.
    fn forgotten(&self, envelope: &Envelope<'_>, reference: u64, reply: &Reply) -> Option<ChannelId> {
        let (id, channel) = self.channels.find(&envelope.topic)?;
        let Phase::Joined { join_ref } = channel.phase else { return None };
        let unmatched = reply.status == "error" && envelope.join_ref.is_none() && is_unmatched(&reply.response);
        (unmatched && reference > join_ref).then_some(id)
    }

    /// `phx_close` and `phx_error`: the end of one lifetime of a channel.
    fn ended_by_server(&mut self, envelope: &Envelope<'_>, crashed: bool) {
        // Either says which lifetime; a join without a join_ref, which we never send, would say neither.
        let lifetime = match envelope.join_ref_number() {
            Ok(Some(join_ref)) => Some(join_ref),
            Ok(None) => envelope.ref_number(),
            Err(()) => None,
        };
        let ended = match lifetime {
            Some(join_ref) => self.channels.find_lifetime(&envelope.topic, join_ref),
            None if envelope.join_ref.is_none() && envelope.reference.is_none() => {
                self.channels.find(&envelope.topic).map(|(id, _)| id)
            }
            None => None,
        };
        let phase = ended.and_then(|id| Some((id, self.channels.get(id)?.phase)));
        match phase {
            Some((id, Phase::Leaving { .. })) => self.close_channel(id, CloseReason::Left),
            Some((id, Phase::Joined { .. } | Phase::Joining { .. })) if !crashed => {
                if self.channels.get(id).is_some_and(|channel| channel.rejoin_on_close) {
                    self.trouble(id, TroubleCause::Closed);
                } else {
                    self.close_channel(id, CloseReason::ServerClosed);
                }
            }
            Some((id, Phase::Joined { .. })) => self.trouble(id, TroubleCause::Crashed),
            Some((id, Phase::Joining { .. })) => self.fail_join(id, JoinFailure::Crashed),
            Some((_, Phase::Idle { .. } | Phase::Queued)) | None => self.stats.stale_messages += 1,
        }
    }
}

fn event_text(frame: &Frame, envelope: &Envelope<'_>) -> Text {
    Text::well_known(&envelope.event).unwrap_or_else(|| wire::cut_text(frame, &envelope.event))
}

fn reply_of(frame: &Frame, envelope: &Envelope<'_>) -> Option<Reply> {
    match envelope.body {
        Body::Json(_) => wire::parse_reply(&envelope.body.to_payload(frame)),
        Body::Binary { status: Some(status), .. } => {
            Some(Reply { status: wire::cut_text(frame, status), response: envelope.body.to_payload(frame) })
        }
        Body::Binary { status: None, .. } | Body::UserBroadcast { .. } => None,
    }
}
