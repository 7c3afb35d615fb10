//! What goes to the client, what is told of what does not, and the end.

use core::time::Duration;

use super::config::OutboxOverflow;
use super::event::{EndReason, ServerEvent, ServerPushError, Status};
use super::outbox::Full;
use super::shared_frame::SharedFrame;
use super::{Channel, PendingJoin, ServerSession, State};
use crate::machine::{Frame, TransportAction};
use crate::payload::Payload;
use crate::phoenix::ids::ServerChannelId;
use crate::text::Text;
use crate::wire::{self, Message, Ref};

/// A flood of drops is no flood of events: after one, the next comes no sooner.
const QUIET: Duration = Duration::from_secs(1);

// Messages and answers.
impl ServerSession {
    pub(super) fn answer_join(&mut self, pending: &PendingJoin, status: Status, response: &Payload) {
        // A join's answer has to be JSON; bytes would be a reply that no client expects there.
        let response = if response.is_binary() { &Payload::EMPTY } else { response };
        let reply = Message::reply(pending.topic.clone(), status, response)
            .with_refs(pending.join_ref.clone(), pending.reference.clone());
        self.send_json(&reply);
    }

    pub(super) fn answer(&mut self, to: &Message, join_ref: Option<Ref>, status: Status, response: &Payload) {
        let reply = Message::reply(to.topic.clone(), status, response).with_refs(join_ref, to.reference.clone());
        self.send_json(&reply);
    }

    pub(super) fn end_replaced(&mut self, channel: Option<Channel>) {
        if let Some(channel) = channel {
            self.send_end(&channel, wire::CLOSE, Payload::EMPTY);
        }
    }

    /// `phx_close` or `phx_error`, whose ref is the join_ref.
    pub(super) fn send_end(&mut self, channel: &Channel, event: &'static str, payload: Payload) {
        let message = Message::new(channel.topic.clone(), Text::from_static(event), payload);
        self.send_json(&message.with_refs(channel.join_ref.clone(), channel.join_ref.clone()));
    }

    /// Messages of our own making are JSON, which every serializer can write.
    fn send_json(&mut self, message: &Message) {
        let frame = self.encode(message);
        debug_assert!(frame.is_ok(), "JSON fits every serializer");
        if let Ok(frame) = frame {
            self.send_control(frame);
        }
    }

    pub(super) fn encode(&self, message: &Message) -> Result<Frame, ServerPushError> {
        self.config.serializer.encode_from_server(message).map_err(ServerPushError::Encode)
    }

    /// Sends what may not be dropped.
    pub(super) fn send_control(&mut self, frame: Frame) {
        if !self.is_open() {
            self.stats.unsent += 1;
            return;
        }
        let sent = self.outbox.push_control(self.config.outbox_bytes, frame);
        self.sent(sent);
    }

    /// Sends a message of a channel, or drops it if its channel says so.
    pub(super) fn send_message(&mut self, channel: ServerChannelId, overflow: OutboxOverflow, frame: SharedFrame) {
        if !self.is_open() {
            self.stats.unsent += 1;
            return;
        }
        let sent = self.outbox.push_message(self.config.outbox_bytes, channel, overflow, frame);
        self.sent(sent);
    }

    fn sent(&mut self, sent: Result<(), Full>) {
        match sent {
            Ok(()) => self.tell(),
            Err(Full) => {
                self.stats.unsent += 1;
                self.abort(EndReason::TooSlow);
            }
        }
    }
}

// What was dropped and refused.
impl ServerSession {
    pub(super) fn has_untold(&self) -> bool {
        self.outbox.has_dropped() || self.rates.as_ref().is_some_and(|rates| rates.has_refused())
    }

    /// Tells what was dropped and refused, unless that was told a moment ago.
    pub(super) fn tell(&mut self) {
        if self.has_untold() && self.quiet_until <= self.now {
            self.quiet_until = self.now.saturating_add(QUIET);
            self.tell_now();
        }
    }

    fn tell_now(&mut self) {
        let dropped = self.outbox.take_dropped();
        self.events.extend(dropped.map(|(channel, messages)| ServerEvent::Dropped { channel, messages }));
        let refused = self.rates.iter_mut().flat_map(|rates| rates.take_refused());
        self.events.extend(refused.map(|(limit, messages)| ServerEvent::Limited { limit, messages }));
    }
}

// The end.
impl ServerSession {
    pub(super) fn close_with(&mut self, code: u16, reason: Text, why: EndReason) {
        if self.is_open() {
            let deadline = self.now.saturating_add(self.config.close_timeout);
            self.state = State::Closing { deadline, reason: why };
            // Whoever is accepted now would be a member that nothing reaches.
            self.joins.clear();
            self.stats.unheard += self.release_held() as u64;
            self.farewell = Some(TransportAction::Close { conn: self.conn, code, reason: cut(&reason) });
            self.tell_now();
        }
    }

    pub(super) fn abort(&mut self, reason: EndReason) {
        self.farewell = Some(TransportAction::Abort { conn: self.conn });
        self.end(reason);
    }

    pub(super) fn end(&mut self, reason: EndReason) {
        if matches!(self.state, State::Ended) {
            return;
        }
        self.farewell.take_if(|action| matches!(action, TransportAction::Close { .. }));
        self.stats.unsent += self.outbox.clear();
        self.stats.unheard += self.release_held() as u64;
        self.joins.clear();
        self.tell_now();
        let keys: alloc::vec::Vec<_> = self.channels.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.remove_channel(key);
        }
        self.state = State::Ended;
        self.events.push_back(ServerEvent::Ended { reason });
    }
}

/// What a close frame has room for besides the code (RFC 6455, section 5.5).
const REASON_BYTES: usize = 123;

/// As much of a reason as can be said.
fn cut(reason: &Text) -> Text {
    let text = reason.as_str();
    let longest = (0..=REASON_BYTES).rev().find_map(|end| text.get(..end));
    reason.slice_ref(longest.unwrap_or_default())
}
