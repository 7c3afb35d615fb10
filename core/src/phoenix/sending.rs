//! From intention to frame: where pushes wait, what gets written when the transport is ready.

use alloc::vec::Vec;

use super::channel::{ChannelState, Phase};
use super::config::{Config, Limits, Overflow, Push, UserPush};
use super::connection::ConnectionState;
use super::event::{Event, PushError, PushOutcome};
use super::ids::{ChannelId, PushId};
use super::lane::Outgoing;
use super::pushes::{Entry, Place};
use super::session::Session;
use super::transport::Transport;
use crate::machine::{Frame, TransportAction, TransportKind};
use crate::payload::Payload;
use crate::text::Text;
use crate::wire::{self, Decimal, EncodeError, Head, Serializer, Side, UserHead};

impl Session {
    pub(super) fn accept_push(&mut self, channel: ChannelId, push: Push) -> Result<PushId, PushError> {
        let state = self.channels.get(channel).ok_or(PushError::UnknownChannel)?;
        if self.connection.state() == ConnectionState::Closing {
            return Err(PushError::SessionClosed);
        }
        if state.state() == ChannelState::Leaving {
            return Err(PushError::Leaving);
        }
        check(&push, &state.topic, &self.config)?;
        if self.pushes.is_full(push.wants_reply, &self.config.limits) {
            return Err(PushError::Full);
        }
        let joined = matches!(state.phase, Phase::Joined { .. });
        let until = self.now.saturating_add(push.timeout.unwrap_or(self.config.push_timeout));
        let place = if joined { Place::Lane } else { Place::Waiting };
        if !self.has_room(channel, place, push.payload.len()) {
            match self.config.limits.overflow {
                Overflow::RejectNew => return Err(PushError::Full),
                Overflow::DropOldest => self.make_room(channel, place, push.payload.len())?,
                Overflow::DropNewest => {
                    let id = self.pushes.insert(channel, push, until, Place::Lane);
                    self.count_live(channel, 1);
                    self.finish_push(id, PushOutcome::Dropped);
                    return Ok(id);
                }
            }
        }
        let id = self.pushes.insert(channel, push, until, place);
        match place {
            Place::Waiting => self.wait(channel, id),
            _ => {
                self.count_live(channel, 1);
                self.lane.send(Outgoing::Push(id));
            }
        }
        Ok(id)
    }

    pub(super) fn finish_push(&mut self, id: PushId, outcome: PushOutcome) {
        let Some(entry) = self.pushes.remove(id) else { return };
        match entry.place {
            Place::Waiting => {
                if let Some(channel) = self.channels.get_mut(entry.channel) {
                    channel.waiting.retain(|push| *push != id);
                    channel.waiting_bytes = channel.waiting_bytes.saturating_sub(entry.payload.len());
                }
            }
            Place::Lane => {
                self.count_live(entry.channel, -1);
                if outcome != PushOutcome::Sent {
                    self.lane.retain_pushes(|push| push != id);
                }
            }
            Place::Sent { .. } => self.count_live(entry.channel, -1),
        }
        self.event(Event::PushDone { push: id, outcome });
    }

    /// The end of a push that nobody waits for any more: if it has left before, the server may have it.
    pub(super) fn give_up(&mut self, id: PushId) {
        let sent = self.pushes.get(id).is_some_and(|entry| entry.sent);
        self.finish_push(id, if sent { PushOutcome::Unknown } else { PushOutcome::Dropped });
    }

    /// Puts a push at the end of those that wait for their channel.
    fn wait(&mut self, channel: ChannelId, push: PushId) {
        let bytes = self.pushes.get(push).map_or(0, |entry| entry.payload.len());
        if let Some(channel) = self.channels.get_mut(channel) {
            channel.waiting.push_back(push);
            channel.waiting_bytes += bytes;
        }
    }

    pub(super) fn count_live(&mut self, channel: ChannelId, change: i32) {
        if let Some(channel) = self.channels.get_mut(channel) {
            channel.live_pushes = channel.live_pushes.saturating_add_signed(change);
        }
    }

    fn has_room(&self, channel: ChannelId, place: Place, bytes: usize) -> bool {
        let limits = &self.config.limits;
        let (waiting, waiting_bytes) =
            self.channels.get(channel).map_or((0, 0), |channel| (channel.waiting.len(), channel.waiting_bytes));
        // Losses and joins move pushes from one queue to the other without asking, so that only the
        // sum bounds both, with those that are kept to be sent again.
        let unsent = self.pushes.waiting() + self.lane.pushes() + self.pushes.kept();
        unsent < limits.send_buffer.saturating_add(limits.outbound_frames)
            && match place {
                Place::Waiting => {
                    waiting < limits.push_buffer
                        && waiting_bytes.saturating_add(bytes) <= limits.push_buffer_bytes
                        && self.pushes.can_wait(bytes, limits)
                }
                _ => self.has_outbound_capacity(),
            }
    }

    /// Drops the oldest until the new push fits; nothing, if it never will.
    fn make_room(&mut self, channel: ChannelId, place: Place, bytes: usize) -> Result<(), PushError> {
        let Limits { push_buffer_bytes, send_buffer_bytes, .. } = self.config.limits;
        if place == Place::Waiting && bytes > push_buffer_bytes.min(send_buffer_bytes) {
            return Err(PushError::Full);
        }
        // Each round ends one push, so there are at most as many rounds as pushes.
        for _ in 0..self.pushes.len() {
            if self.has_room(channel, place, bytes) {
                break;
            }
            let oldest = self.oldest(channel, place, bytes).ok_or(PushError::Full)?;
            self.give_up(oldest);
        }
        if self.has_room(channel, place, bytes) { Ok(()) } else { Err(PushError::Full) }
    }

    /// The push that has to go first: of the same channel if that is what is full.
    fn oldest(&self, channel: ChannelId, place: Place, bytes: usize) -> Option<PushId> {
        let limits = &self.config.limits;
        match place {
            Place::Waiting => {
                let own = self.channels.get(channel)?;
                if own.waiting.len() >= limits.push_buffer
                    || own.waiting_bytes.saturating_add(bytes) > limits.push_buffer_bytes
                {
                    return own.waiting.front().copied();
                }
                self.pushes.iter().find(|(_, entry)| entry.place == Place::Waiting).map(|(id, _)| id)
            }
            _ => self.lane.first_push(),
        }
    }

    pub(super) fn drop_waiting(&mut self, id: ChannelId) {
        let waiting = self.channels.get_mut(id).map(|channel| core::mem::take(&mut channel.waiting));
        for push in waiting.unwrap_or_default() {
            self.give_up(push);
        }
    }

    /// The channel, or with `None` every channel, is no longer joined: what the transport never took
    /// waits again, in order, and so does what is to be sent again; of what else it took, nobody will
    /// ever know.
    pub(super) fn unsettle_pushes(&mut self, only: Option<ChannelId>) {
        let concerned =
            |entry: &Entry| entry.place != Place::Waiting && only.is_none_or(|channel| entry.channel == channel);
        let waits_again = |entry: &Entry| entry.place == Place::Lane || entry.resend;
        let pushes: Vec<_> =
            self.pushes.iter().filter(|(_, e)| concerned(e)).map(|(id, e)| (id, e.channel, waits_again(e))).collect();
        for (id, channel, waits_again) in pushes {
            if waits_again {
                self.pushes.set_place(id, Place::Waiting);
                self.count_live(channel, -1);
                self.wait(channel, id);
            } else {
                self.finish_push(id, PushOutcome::Unknown);
            }
        }
        let pushes = &self.pushes;
        self.lane.retain_pushes(|id| pushes.get(id).is_some_and(|entry| entry.place == Place::Lane));
    }
}

impl Session {
    /// Turns an intention into what the transport is to do; `None` if it has become void.
    pub(super) fn carry_out(&mut self, outgoing: Outgoing) -> Option<TransportAction> {
        let frame = match outgoing {
            Outgoing::Open(request) => return Some(TransportAction::Open(*request)),
            Outgoing::Close { conn, code, reason } => return Some(TransportAction::Close { conn, code, reason }),
            Outgoing::Abort { conn } => return Some(TransportAction::Abort { conn }),
            Outgoing::Heartbeat => self.write_heartbeat(),
            Outgoing::Join(id) => self.write_join(id),
            Outgoing::Leave { topic, join_ref } => self.write_leave(&topic, join_ref),
            Outgoing::Push(id) => self.write_push(id),
            // Whoever wants one gives it its words by `take_notice`.
            Outgoing::Notice(id) => {
                self.channels.get_mut(id)?.notified = false;
                None
            }
        };
        self.send_on_current(frame?)
    }

    /// Frames leave the lane with their connection, so there is one.
    fn send_on_current(&self, frame: Frame) -> Option<TransportAction> {
        self.connection.current().map(|conn| TransportAction::Send { conn, frame })
    }

    pub(super) fn write_notice(
        &mut self,
        id: ChannelId,
        event: &'static str,
        payload: &Payload,
    ) -> Option<TransportAction> {
        let channel = self.channels.get(id)?;
        let Phase::Joined { join_ref } = channel.phase else { return None };
        let topic = channel.topic.clone();
        let reference = self.next_ref();
        let frame = self.write(Some(join_ref), reference, &topic, event, payload)?;
        self.send_on_current(frame)
    }

    pub(super) fn write_heartbeat(&mut self) -> Option<Frame> {
        let reference = self.next_ref();
        self.heartbeat.taken(reference);
        self.write(None, reference, &Text::from_static(wire::PHOENIX), wire::HEARTBEAT, &Payload::EMPTY)
    }

    /// Of a channel that is being left, or of a join that timed out, whose channel stays.
    pub(super) fn write_leave(&mut self, topic: &Text, join_ref: u64) -> Option<Frame> {
        let reference = self.next_ref();
        if let Some(id) = self.channels.find_lifetime(topic.as_bytes(), join_ref) {
            self.channels.set_phase(id, Phase::Leaving { join_ref, reference: Some(reference) });
        }
        self.write(Some(join_ref), reference, topic, wire::LEAVE, &Payload::EMPTY)
    }

    pub(super) fn write_join(&mut self, id: ChannelId) -> Option<Frame> {
        let channel = self.channels.get(id).filter(|channel| channel.phase == Phase::Queued)?;
        let (topic, payload) = (channel.topic.clone(), channel.payload.clone());
        let timeout = channel.timeout.unwrap_or(self.config.join_timeout);
        let join_ref = self.next_ref();
        self.channels.set_phase(id, Phase::Joining { join_ref });
        self.channels.set_deadline(id, Some(self.now.saturating_add(timeout)));
        self.write(Some(join_ref), join_ref, &topic, wire::JOIN, &payload)
    }

    pub(super) fn write_push(&mut self, id: PushId) -> Option<Frame> {
        let entry = self.pushes.get(id).filter(|entry| entry.place == Place::Lane)?;
        let channel = self.channels.get(entry.channel)?;
        let join_ref = channel.phase.join_ref()?;
        let (topic, event, payload) = (channel.topic.clone(), entry.event.clone(), entry.payload.clone());
        let (wants_reply, mut user_event) = (entry.wants_reply, entry.user_event.clone());
        let mut lossless = true;
        if let Some(user) = user_event.as_mut().filter(|user| !user.as_text)
            && self.transport() == TransportKind::LongPoll
        {
            // Whoever serves long-poll knows no binary broadcasts (specification, section 10.2), and
            // metadata are for the server only there: in text everybody would read them.
            user.as_text = true;
            lossless = user.metadata.is_none();
        }
        let reference = self.next_ref();
        let (serializer, user_event) = (self.config.serializer, user_event.as_ref());
        let frame = lossless
            .then(|| encode(serializer, Some(join_ref), reference, &topic, &event, user_event, &payload))
            .flatten();
        match (wants_reply, frame.is_some()) {
            (true, true) => {
                self.pushes.set_place(id, Place::Sent { reference });
                self.event(Event::PushSent { push: id });
            }
            (false, true) => self.finish_push(id, PushOutcome::Sent),
            // `check` has let only messages in that can be written; a broadcast of bytes or with metadata,
            // though, not on the long-poll that has taken the WebSocket's place since.
            (_, false) => self.give_up(id),
        }
        frame
    }

    pub(super) fn write(
        &self,
        join_ref: Option<u64>,
        reference: u64,
        topic: &Text,
        event: &'static str,
        payload: &Payload,
    ) -> Option<Frame> {
        encode(self.config.serializer, join_ref, reference, topic, &Text::from_static(event), None, payload)
    }
}

/// Two refs of at most 20 digits, and the brackets and names around everything.
pub(super) const FRAME_OVERHEAD: usize = 160;

/// Refuses what could never be written into a frame.
fn check(push: &Push, topic: &Text, config: &Config) -> Result<(), PushError> {
    if push.event.starts_with("phx_") {
        return Err(PushError::ReservedEvent);
    }
    let event = push.user_event.as_ref().map_or(&push.event, |user| &user.event);
    let metadata = push.user_event.as_ref().and_then(|user| user.metadata.as_ref()).map_or(0, Payload::len);
    let len = topic.as_bytes().len() + event.as_bytes().len() + metadata + push.payload.len() + FRAME_OVERHEAD;
    if len > config.limits.largest_outbound() {
        return Err(PushError::TooLarge { len });
    }
    let bytes = push.payload.is_binary();
    let as_text = |user: &UserPush| user.as_text || config.transport == Transport::LongPoll;
    match (config.serializer, &push.user_event) {
        (Serializer::V1, _) if bytes => return Err(PushError::Encode(EncodeError::BinaryNeedsV2)),
        (Serializer::V2, Some(user)) if bytes && as_text(user) => {
            return Err(PushError::Encode(EncodeError::BinaryAsText));
        }
        (Serializer::V2, Some(user)) if !as_text(user) => {}
        (Serializer::V2, None) if bytes => {}
        // Text has room for names of any length.
        _ => return Ok(()),
    }
    for (field, text) in [("topic", topic), ("event", event)] {
        let len = text.as_bytes().len();
        if len > 255 {
            return Err(PushError::Encode(EncodeError::FieldTooLong { field, len }));
        }
    }
    Ok(())
}

fn encode(
    serializer: Serializer,
    join_ref: Option<u64>,
    reference: u64,
    topic: &Text,
    event: &Text,
    user_event: Option<&UserPush>,
    payload: &Payload,
) -> Option<Frame> {
    let (join_ref, reference) = (join_ref.map(Decimal::new), Decimal::new(reference));
    let head = Head {
        join_ref: join_ref.as_ref().map(Decimal::wire),
        reference: Some(reference.wire()),
        topic,
        event,
        status: None,
        user_event: user_event.map(|user| UserHead {
            event: &user.event,
            metadata: user.metadata.as_ref(),
            as_text: user.as_text,
        }),
        payload,
    };
    serializer.encode(&head, Side::Client).ok()
}
