//! Broadcasts: from one client to the others, from the database, and once more for those who come
//! later (section 6).

use std::cmp::Reverse;
use std::time::Duration;

use rejoin_core::phoenix::{ReplyTo, Status};
use rejoin_core::{Payload, Text};
use serde_json::{Value, json};

use super::channel::{Channel, sub_topic, to_payload};
use super::config::{Access, Stored};
use super::events::PeerEvent;
use super::join_payload::JoinConfig;
use super::peer::SupabasePeer;

/// A broadcast on its way from one socket to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// The topic, with `realtime:`.
    pub topic: Text,
    /// Whether it goes to private channels: public ones of that name are others.
    pub private: bool,
    /// What is sent.
    pub body: Body,
}

/// The two forms of broadcasts (section 2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Sent as text: the payload `{"type":"broadcast","event":…,"payload":…}`, as it came.
    Text(Payload),
    /// Sent in binary: what goes to sockets of vsn 2.0.0 in binary again.
    User {
        /// The user's name of the event.
        event: Text,
        /// What the server says about it.
        metadata: Option<Payload>,
        /// JSON or bytes.
        payload: Payload,
    },
}

impl Body {
    fn payload(&self) -> &Payload {
        let (Self::Text(payload) | Self::User { payload, .. }) = self;
        payload
    }
}

impl SupabasePeer {
    /// A broadcast in binary. What it says of itself stays here, but for a wish to be stored, which
    /// newer servers grant on private channels.
    pub(super) fn user_broadcast(
        &mut self,
        topic: Text,
        event: Text,
        metadata: Option<&Payload>,
        payload: Payload,
        reply: ReplyTo,
    ) {
        let wish: Value = metadata.and_then(|metadata| metadata.parse().ok()).unwrap_or_default();
        let wanted = !matches!(wish["persist"], Value::Null | Value::Bool(false));
        let stores = |channel: &Channel| channel.private && channel.access == Access::Write;
        let stored = wanted && self.config.persists && self.channels.get(topic.as_str()).is_some_and(stores);
        let metadata = stored.then(|| {
            let at = self.config.unix(self.now);
            self.commons.store(at, sub_topic(&topic), event.clone(), payload.clone())
        });
        self.broadcast(topic, Body::User { event, metadata, payload }, reply);
    }

    /// Never answered without `ack`, without permission, or while the channel is shut down.
    pub(super) fn broadcast(&mut self, topic: Text, body: Body, reply: ReplyTo) {
        let Some(channel) = self.channels.get(topic.as_str()) else { return };
        let (ack, private) = (channel.ack, channel.private);
        let to_self = channel.to_self && self.config.returns_broadcasts;
        if private && channel.access < Access::Write {
            return self.events.push_back(PeerEvent::Dropped { topic });
        }
        if self.messages.is_exceeded(self.now, self.config.messages_per_second) {
            return self.end_channel(&topic, Some("Too many messages per second"));
        }
        if body.payload().len() > self.config.payload_bytes {
            if ack {
                let response = Payload::json("payload_size_exceeded").unwrap_or_default();
                self.answer(reply, Status::Error, response);
            }
            return self.events.push_back(PeerEvent::Dropped { topic });
        }
        let broadcast = Broadcast { topic, private, body };
        if to_self {
            self.hand_over(&broadcast);
        }
        if ack {
            self.answer(reply, Status::Ok, Payload::EMPTY);
        }
        self.events.push_back(PeerEvent::Broadcast(broadcast));
    }

    /// Sends a broadcast to this socket's client, if it has joined.
    pub(super) fn hand_over(&mut self, broadcast: &Broadcast) {
        let joined = self.channels.get(broadcast.topic.as_str());
        let Some(channel) = joined.filter(|channel| channel.private == broadcast.private) else { return };
        let id = channel.id;
        if self.messages.is_exceeded(self.now, self.config.messages_per_second) {
            return self.end_channel(&broadcast.topic, Some("Too many messages per second"));
        }
        match broadcast.body.clone() {
            Body::Text(payload) => self.send_unattributed(&broadcast.topic, "broadcast", payload),
            Body::User { event, metadata, payload } if self.upgrade.polls => {
                if let Ok(inner) = payload.parse::<Value>() {
                    let about: Value = metadata.and_then(|metadata| metadata.parse().ok()).unwrap_or_default();
                    let mut text = json!({ "type": "broadcast", "event": event.as_str(), "payload": inner });
                    if !about.is_null() {
                        text["meta"] = about;
                    }
                    self.send_unattributed(&broadcast.topic, "broadcast", to_payload(&text));
                }
            }
            Body::User { event, metadata, payload } => {
                // Bytes do not reach a client of vsn 1.0.0.
                let _unsendable = self.session.push_user_broadcast(self.now, id, event, metadata, payload);
            }
        }
    }

    /// Tells the client of a channel that it has just joined what was stored.
    pub(super) fn replay(&mut self, topic: &Text, replay: Vec<Stored>) {
        let Some(channel) = self.channels.get(topic.as_str()) else { return };
        for stored in replay {
            let about = json!({ "id": stored.id, "replayed": true });
            let sent = match stored.payload.parse::<Value>() {
                Ok(inner) => {
                    let event = stored.event.as_str();
                    let payload = json!({ "type": "broadcast", "event": event, "payload": inner, "meta": about });
                    self.session.push(self.now, channel.id, "broadcast", to_payload(&payload))
                }
                Err(_) if self.upgrade.polls => continue,
                Err(_) => {
                    let about = Some(to_payload(&about));
                    self.session.push_user_broadcast(self.now, channel.id, stored.event, about, stored.payload)
                }
            };
            // Bytes do not reach a client of vsn 1.0.0.
            drop(sent);
        }
    }

    /// The newest stored messages that a join asks for, oldest first (section 6.5).
    pub(super) fn replayed(&self, name: &str, config: &JoinConfig) -> Result<Vec<Stored>, &'static str> {
        let Some(replay) = &config.broadcast.replay else { return Ok(Vec::new()) };
        if !config.private {
            return Err("Replay is not allowed for public channels");
        }
        let limit = if replay["limit"].is_null() { Some(25) } else { replay["limit"].as_i64() };
        let (Some(since), Some(limit)) = (replay["since"].as_i64(), limit) else {
            return Err("Replay params are not valid");
        };
        let stored = self.config.stored.iter().cloned().chain(self.commons.stored());
        let mut wanted: Vec<Stored> =
            stored.filter(|stored| stored.topic == name && stored.at_unix_ms >= since).collect();
        // What one transaction has stored comes reversed, as the server's query gives it.
        wanted.sort_by_key(|stored| Reverse(stored.at_unix_ms));
        wanted.truncate(limit.clamp(1, 25).unsigned_abs() as usize);
        wanted.reverse();
        Ok(wanted)
    }

    /// Whether broadcasts of the database reach the channel is told on demand: at once, or by the
    /// channel's end.
    pub(super) fn await_replication(&mut self, topic: &Text, wanted: bool) {
        if wanted && self.config.replication {
            self.send_system(topic, "system", "ok", "Replication connection established");
        } else if let Some(channel) = self.channels.get_mut(topic.as_str()).filter(|_| wanted) {
            channel.replication_due = Some(self.now.saturating_add(REPLICATION_TIMEOUT));
        }
    }
}

/// How long the server tries to listen to its database.
const REPLICATION_TIMEOUT: Duration = Duration::from_secs(60);
