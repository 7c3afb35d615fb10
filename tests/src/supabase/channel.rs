//! What happens on a joined channel: pushes, tokens that are renewed or run out, shutdowns.

use rejoin_core::phoenix::{ReplyTo, ServerChannelId};
use rejoin_core::wire::Message;
use rejoin_core::{Payload, Text, Timestamp};
use serde_json::{Value, json};

use super::broadcasting::Body;
use super::config::Access;
use super::events::PeerEvent;
use super::peer::SupabasePeer;
use super::postgres::Subscription;
use super::presence::Membership;
use super::token::Claims;

/// A channel that was joined.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: ServerChannelId,
    pub(super) private: bool,
    pub(super) access: Access,
    pub(super) token: String,
    pub(super) expires: Option<i64>,
    /// Whether broadcasts are answered.
    pub(super) ack: bool,
    /// Whether they come back to their sender.
    pub(super) to_self: bool,
    /// When the server gives up to listen to its database, and the channel with it.
    pub(super) replication_due: Option<Timestamp>,
    pub(super) presence: Membership,
    pub(super) postgres: Subscription,
}

impl SupabasePeer {
    pub(super) fn pushed(&mut self, id: ServerChannelId, event: Text, payload: Payload, reply: ReplyTo) {
        let Some(topic) = self.topic_of(id) else { return };
        match &*event {
            "broadcast" => self.broadcast(topic, Body::Text(payload), reply),
            "presence" => self.presence(&topic, &payload, reply),
            "access_token" => {
                self.renew(&topic, &payload);
                self.events.push_back(PeerEvent::TokenPushed { topic, payload });
            }
            _ => self.events.push_back(PeerEvent::Unknown { topic, event, payload }),
        }
    }

    /// Without a join_ref, as everything that does not come from the channel's own process.
    pub(super) fn send_unattributed(&mut self, topic: &Text, event: &str, payload: Payload) {
        let Some(channel) = self.channels.get(topic.as_str()) else { return };
        let message = Message::new(topic.clone(), event, payload);
        if let Ok(frame) = self.session.serializer().encode_from_server(&message) {
            let _stale = self.session.push_encoded(self.now, channel.id, frame);
        }
    }

    /// `system`, from the channel's own process.
    pub(super) fn send_system(&mut self, topic: &Text, extension: &str, status: &str, message: &str) {
        let Some(channel) = self.channels.get(topic.as_str()) else { return };
        let payload = json!({
            "message": message, "status": status, "extension": extension, "channel": sub_topic(topic),
        });
        let _stale = self.session.push(self.now, channel.id, "system", to_payload(&payload));
    }

    /// Ends a channel with `phx_close`, after a message that says why.
    pub(super) fn end_channel(&mut self, topic: &Text, message: Option<&str>) {
        if let Some(message) = message {
            self.send_system(topic, "system", "error", message);
        }
        if let Some(channel) = self.channels.get(topic.as_str()) {
            let _stale = self.session.close_channel(self.now, channel.id, false);
        }
    }

    /// A new token (section 8.2).
    fn renew(&mut self, topic: &Text, payload: &Payload) {
        let pushed: Value = payload.parse().unwrap_or_default();
        let Some(token) = pushed["access_token"].as_str().filter(|token| !token.starts_with("sb_")) else { return };
        let (config, now) = (&self.config, self.now);
        let Some(channel) = self.channels.get_mut(topic.as_str()).filter(|channel| channel.token != token) else {
            return;
        };
        let claims = match Claims::of(token, config.unix_seconds(now)) {
            Ok(claims) => claims,
            Err(flaw) => return self.end_channel(topic, Some(&flaw.to_string())),
        };
        if channel.private {
            channel.access = (config.access)(&claims.role, sub_topic(topic));
            if channel.access == Access::Nothing {
                let message = forbidden(sub_topic(topic));
                return self.end_channel(topic, Some(&message));
            }
        }
        (channel.token, channel.expires) = (token.into(), claims.exp);
        self.subscribe(topic, true);
    }

    pub(super) fn next_of_channels(&self) -> Option<Timestamp> {
        let of = |channel: &Channel| {
            let expiry = channel.expires.map(|exp| self.config.timestamp(exp));
            [expiry, channel.replication_due, channel.postgres.next(), channel.presence.next()]
        };
        self.channels.values().flat_map(of).flatten().min()
    }

    pub(super) fn run_channels(&mut self) {
        let unix = self.config.unix_seconds(self.now);
        let topics: Vec<Text> = self.channels.keys().map(|topic| topic.as_str().into()).collect();
        for topic in topics {
            let Some(channel) = self.channels.get(topic.as_str()) else { continue };
            if let Some(exp) = channel.expires.filter(|exp| *exp <= unix) {
                let message = format!("Token has expired {} seconds ago", unix - exp);
                self.end_channel(&topic, Some(&message));
                continue;
            }
            if channel.replication_due.is_some_and(|at| at <= self.now) {
                self.end_channel(&topic, Some("Replication connection was not established in time"));
                continue;
            }
            self.run_postgres(&topic);
            self.run_presence(&topic);
        }
    }
}

/// The topic as users know it.
pub(super) fn sub_topic(topic: &str) -> &str {
    topic.strip_prefix("realtime:").unwrap_or(topic)
}

pub(super) fn forbidden(sub_topic: &str) -> String {
    format!("You do not have permissions to read from this Channel topic: {sub_topic}")
}

pub(super) fn to_payload(value: &Value) -> Payload {
    Payload::json(value).unwrap_or_default()
}
