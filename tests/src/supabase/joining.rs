//! Joins: one at a time, and the socket waits with them (traps of section 9, Appendix C).

use std::time::Duration;

use rejoin_core::phoenix::JoinId;
use rejoin_core::{Payload, Text, Timestamp};
use serde_json::{Map, Value, json};

use super::channel::{Channel, forbidden, sub_topic, to_payload};
use super::config::{Access, Joins, Stored};
use super::events::PeerEvent;
use super::join_payload::{JoinConfig, JoinPayload};
use super::peer::SupabasePeer;
use super::postgres::{self, Subscription};
use super::presence::Membership;
use super::token::Claims;

/// The join that the socket waits for.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) until: Timestamp,
    join: JoinId,
    topic: Text,
    payload: Payload,
    verdict: Result<Box<Admission>, Refusal>,
}

#[derive(Debug)]
struct Admission {
    config: JoinConfig,
    wishes: Vec<Map<String, Value>>,
    postgres: Subscription,
    token: String,
    claims: Claims,
    access: Access,
    presence_access: Access,
    replay: Vec<Stored>,
}

#[derive(Debug)]
struct Refusal {
    reason: String,
    /// How long it takes to find it.
    after: Duration,
    closes_socket: bool,
}

impl SupabasePeer {
    /// Decides about a join now and answers it later.
    pub(super) fn begin_join(&mut self, join: JoinId, topic: Text, payload: Payload) {
        if !topic.starts_with("realtime:") {
            let _stale = self.session.refuse_unmatched(self.now, join);
            let reason = "unmatched topic".into();
            return self.events.push_back(PeerEvent::Refused { topic, reason });
        }
        if self.config.joins == Joins::Unanswered {
            return;
        }
        let verdict = self.decide(&topic, &payload);
        let delay = match &verdict {
            Ok(admission) => self.config.join_time + admission.postgres.waits(),
            Err(refusal) => self.config.refusal_delay + refusal.after,
        };
        let until = self.now.saturating_add(delay);
        self.joining = Some(Joining { until, join, topic, payload, verdict });
    }

    pub(super) fn end_join(&mut self, Joining { join, topic, payload, verdict, .. }: Joining) {
        match verdict {
            Ok(admission) => self.admit(join, topic, payload, *admission),
            Err(Refusal { reason, closes_socket, .. }) => {
                let response = to_payload(&json!({ "reason": reason }));
                let _stale = self.session.refuse_join(self.now, join, response);
                if closes_socket {
                    self.session.close(self.now, 1001, "");
                }
                self.events.push_back(PeerEvent::Refused { topic, reason });
            }
        }
    }

    fn decide(&mut self, topic: &Text, payload: &Payload) -> Result<Box<Admission>, Refusal> {
        let name = sub_topic(topic);
        let refuse = |reason: String| Err(Refusal { reason, after: Duration::ZERO, closes_socket: false });
        if let Some(reason) = self.scripted_refusal(topic) {
            return refuse(reason);
        }
        if let Joins::Refused(reason) = &self.config.joins {
            return refuse(reason.clone());
        }
        if name.is_empty() {
            return refuse("TopicNameRequired: You must provide a topic name".into());
        }
        if self.joins.is_exceeded(self.now, self.config.joins_per_second) {
            let reason = "ClientJoinRateLimitReached: Too many joins per second".into();
            return Err(Refusal { reason, after: Duration::ZERO, closes_socket: true });
        }
        if self.channels.len() >= self.config.max_channels {
            return refuse("ChannelRateLimitReached: Too many channels".into());
        }
        let Ok(payload) = payload.parse::<JoinPayload>() else {
            return refuse("Unknown Error on Channel".into());
        };
        let token = payload.token().unwrap_or(&self.upgrade.key).to_owned();
        let legacy = payload.config.is_none();
        let mut config = payload.config.unwrap_or_default();
        let wishes = if legacy { vec![postgres::legacy_wish(topic)] } else { config.wishes() };
        let claims = match Claims::of(&token, self.config.unix_seconds(self.now)) {
            Ok(claims) => claims,
            Err(flaw) => return refuse(format!("{}: {flaw}", flaw.code())),
        };
        if self.config.private_only && !config.private {
            return refuse("PrivateOnly: This project only allows private channels".into());
        }
        let access = if config.private { (self.config.access)(&claims.role, name) } else { Access::Write };
        let presence_access =
            if config.private { (self.config.presence_access)(&claims.role, name) } else { Access::Write };
        if access == Access::Nothing {
            return refuse(format!("Unauthorized: {}", forbidden(name)));
        }
        let replay = match self.replayed(name, &config) {
            Ok(replay) => replay,
            Err(reason) => return refuse(format!("UnableToReplayMessages: {reason}")),
        };
        let subscription = Subscription::new(&wishes, legacy, &self.config);
        match subscription.waiting(&config.postgres_changes_options, &self.config) {
            Ok(postgres) => {
                Ok(Box::new(Admission { config, wishes, postgres, token, claims, access, presence_access, replay }))
            }
            Err((after, reason)) => Err(Refusal { reason, after, closes_socket: false }),
        }
    }

    fn scripted_refusal(&mut self, topic: &Text) -> Option<String> {
        let (reason, left) = self.refusals.get_mut(topic.as_str()).filter(|(_, left)| *left > 0)?;
        *left -= 1;
        Some(reason.clone())
    }

    fn admit(&mut self, join: JoinId, topic: Text, payload: Payload, admission: Admission) {
        let Admission { config, wishes, postgres, token, claims, access, presence_access, replay } = admission;
        self.tell_early(&topic, &postgres);
        let response = postgres::answer(&wishes, self.config.echo);
        let Ok(id) = self.session.accept_join(self.now, join, response) else { return };
        let key = config.presence.key.filter(|key| !key.is_empty()).unwrap_or_else(|| self.commons.key());
        let channel = Channel {
            id,
            private: config.private,
            access,
            token,
            expires: claims.exp,
            ack: config.broadcast.ack,
            to_self: config.broadcast.to_self,
            replication_due: None,
            presence: Membership::new(key, config.presence.enabled, presence_access),
            postgres,
        };
        let replaced = self.channels.insert(topic.to_string(), channel);
        replaced.inspect(|channel| self.vanish(&topic, channel));
        self.welcome(&topic);
        self.subscribe(&topic, false);
        self.run_postgres(&topic);
        self.replay(&topic, replay);
        self.await_replication(&topic, config.broadcast.replication_ready);
        self.events.push_back(PeerEvent::Joined { topic, payload });
    }
}
