//! Presence: who is on a channel, told to whoever else is (section 7).

use rejoin_core::phoenix::{ReplyTo, Status};
use rejoin_core::{Payload, Text, Timestamp};
use serde_json::{Map, Value, json};

use super::channel::{Channel, to_payload};
use super::commons::{PresenceDiff, Room};
use super::config::{Access, PresenceState};
use super::events::PeerEvent;
use super::peer::SupabasePeer;

/// A channel's part in presence.
#[derive(Debug)]
pub(super) struct Membership {
    /// What it is listed under.
    pub(super) key: String,
    /// Whether the client wants to hear of the others.
    pub(super) enabled: bool,
    pub(super) access: Access,
    /// Calls since the window began.
    calls: usize,
    window_ends: Timestamp,
    /// When the state is sent, if not with the join.
    state_due: Option<Timestamp>,
}

impl Membership {
    pub(super) fn new(key: String, enabled: bool, access: Access) -> Self {
        Self { key, enabled, access, calls: 0, window_ends: Timestamp::ZERO, state_due: None }
    }

    pub(super) const fn next(&self) -> Option<Timestamp> {
        self.state_due
    }
}

impl SupabasePeer {
    /// Whoever joins with presence is told who is there.
    pub(super) fn welcome(&mut self, topic: &Text) {
        let Some(channel) = self.channels.get_mut(topic.as_str()) else { return };
        if !channel.presence.enabled || channel.presence.access < Access::Read {
            return;
        }
        match self.config.presence_state {
            PresenceState::Joined => self.send_presence_state(topic),
            PresenceState::Late(delay) => channel.presence.state_due = Some(self.now.saturating_add(delay)),
            PresenceState::Twice(delay) => {
                channel.presence.state_due = Some(self.now.saturating_add(delay));
                self.send_presence_state(topic);
            }
            PresenceState::Never => {}
        }
    }

    pub(super) fn run_presence(&mut self, topic: &Text) {
        let Some(channel) = self.channels.get_mut(topic.as_str()) else { return };
        if channel.presence.state_due.take_if(|at| *at <= self.now).is_some() {
            self.send_presence_state(topic);
        }
    }

    /// `track`, `untrack`, or what is neither.
    pub(super) fn presence(&mut self, topic: &Text, payload: &Payload, reply: ReplyTo) {
        let call: Value = payload.parse().unwrap_or_default();
        let Some(event) = call["event"].as_str().map(str::to_ascii_lowercase) else {
            return self.answer(reply, Status::Ok, Payload::EMPTY);
        };
        let Some(channel) = self.channels.get_mut(topic.as_str()) else { return };
        if channel.presence.is_exceeded(self.now, &self.config) {
            return self.end_channel(topic, Some("Client presence rate limit exceeded"));
        }
        if channel.presence.access < Access::Write {
            return self.answer(reply, Status::Error, Payload::EMPTY);
        }
        match (event.as_str(), call.get("payload")) {
            ("track", None) => self.track(topic, Map::new(), reply),
            ("track", Some(Value::Object(fields))) => self.track(topic, fields.clone(), reply),
            ("track", Some(_)) => {
                let response = json!({ "reason": "Presence track payload must be a map" });
                self.answer(reply, Status::Error, to_payload(&response));
            }
            ("untrack", _) => {
                self.answer(reply, Status::Ok, Payload::EMPTY);
                if let Some(diff) = self.room(topic).and_then(|room| self.commons.untrack(&room, self.session.conn())) {
                    self.spread_presence(diff);
                }
            }
            _ => self.answer(reply, Status::Error, Payload::EMPTY),
        }
    }

    fn track(&mut self, topic: &Text, fields: Map<String, Value>, reply: ReplyTo) {
        let (Some(room), Some(channel)) = (self.room(topic), self.channels.get_mut(topic.as_str())) else { return };
        let diff = self.commons.track(&room, self.session.conn(), &channel.presence.key, fields);
        let enabling = !std::mem::replace(&mut channel.presence.enabled, true);
        self.answer(reply, Status::Ok, Payload::EMPTY);
        if enabling && self.config.state_on_track {
            self.send_presence_state(topic);
        }
        if let Some(diff) = diff {
            self.spread_presence(diff);
        }
    }

    /// A channel is over, and with it what it had tracked.
    pub(super) fn vanish(&mut self, topic: &Text, channel: &Channel) {
        let room = (topic.to_string(), channel.private);
        if let Some(diff) = self.commons.untrack(&room, self.session.conn()) {
            self.spread_presence(diff);
        }
    }

    /// To this client as to every other.
    fn spread_presence(&mut self, diff: PresenceDiff) {
        self.hand_over_presence(&diff);
        self.events.push_back(PeerEvent::Presence(diff));
    }

    /// Public channels hear of the others though they did not ask to.
    pub(super) fn hand_over_presence(&mut self, diff: &PresenceDiff) {
        let Some(channel) = self.channels.get(diff.topic.as_str()) else { return };
        let hears = !channel.private || channel.presence.enabled && channel.presence.access >= Access::Read;
        if channel.private == diff.private && hears {
            self.send_unattributed(&diff.topic, "presence_diff", diff.payload.clone());
        }
    }

    fn send_presence_state(&mut self, topic: &Text) {
        let Some(channel) = self.channels.get(topic.as_str()) else { return };
        let state = self.commons.present(topic, channel.private);
        let _stale = self.session.push(self.now, channel.id, "presence_state", state);
    }

    fn room(&self, topic: &Text) -> Option<Room> {
        let channel = self.channels.get(topic.as_str())?;
        Some((topic.to_string(), channel.private))
    }
}

impl Membership {
    /// Counts a call, and says whether that is one too many. Calls are counted whatever they say.
    fn is_exceeded(&mut self, now: Timestamp, config: &super::PeerConfig) -> bool {
        if now >= self.window_ends {
            (self.calls, self.window_ends) = (0, now.saturating_add(config.presence_window));
        }
        self.calls += 1;
        self.calls > config.presence_calls
    }
}
