//! Changes of the database: what a channel has asked for, and when it begins to come (section 5).

mod binding;
mod change;
mod matching;

use std::time::Duration;

use rejoin_core::wire::Message;
use rejoin_core::{Payload, Text, Timestamp, TransportAction};
use serde_json::{Map, Value, json};

pub use change::{RowChange, RowError};

use super::channel::{sub_topic, to_payload};
use super::config::{Echo, PeerConfig, Readiness};
use super::join_payload::PostgresOptions;
use super::peer::SupabasePeer;
use binding::Binding;

/// What a channel hears of the database.
#[derive(Debug)]
pub(super) struct Subscription {
    bindings: Vec<Binding>,
    /// Asked for by a topic of the legacy API, whose changes come bare, named after their kind.
    legacy: bool,
    /// What is said once the subscription has come about, if it does.
    outcome: Result<(), String>,
    due: Option<Timestamp>,
    /// How long the answer to the join waits for it, if it does.
    wait: Option<Duration>,
    /// Whether changes flow.
    streaming: bool,
}

impl Subscription {
    /// `wishes` are the parameters as they came.
    pub(super) fn new(wishes: &[Map<String, Value>], legacy: bool, config: &PeerConfig) -> Self {
        let mut bindings = Vec::new();
        let mut outcome = match &config.readiness {
            Readiness::Failing(message) => Err(message.clone()),
            _ => Ok(()),
        };
        for wish in wishes {
            match Binding::of(wish, &config.tables) {
                Ok(binding) => bindings.push(binding),
                Err(flaw) => outcome = outcome.and(Err(flaw)),
            }
        }
        Self { bindings, legacy, outcome, due: None, wait: None, streaming: false }
    }

    /// The same, for a client that may want its join to be answered only then (section 4.5).
    ///
    /// # Errors
    /// If it does not come about: when and why the join is refused.
    pub(super) fn waiting(self, options: &PostgresOptions, config: &PeerConfig) -> Result<Self, (Duration, String)> {
        if !(config.honours_wait && options.wait && self.is_wanted()) {
            return Ok(self);
        }
        let longest = options.timeout.map_or(Duration::from_secs(15), Duration::from_millis);
        match &self.outcome {
            _ if config.readiness == Readiness::Never => {
                let reason = "PostgresChangesSubscribeTimeout: Timed out while subscribing to PostgreSQL";
                Err((longest.min(Duration::from_secs(20)), reason.into()))
            }
            Ok(()) => Ok(Self { wait: Some(config.postgres_delay), ..self }),
            Err(flaw) => Err((config.postgres_delay, format!("RealtimeDisabledForConfiguration: {flaw}"))),
        }
    }

    pub(super) fn waits(&self) -> Duration {
        self.wait.unwrap_or_default()
    }

    /// Whether anything was asked for at all.
    const fn is_wanted(&self) -> bool {
        !self.bindings.is_empty() || self.outcome.is_err()
    }

    pub(super) const fn next(&self) -> Option<Timestamp> {
        self.due
    }
}

/// The answer to a join. Equal wishes have equal ids, on every channel.
pub(super) fn answer(wishes: &[Map<String, Value>], echo: Echo) -> Payload {
    let echoed = echo.of(wishes);
    echoed.map_or(Payload::EMPTY, |echoed| to_payload(&json!({ "postgres_changes": echoed })))
}

/// What a topic of the legacy API asks for: `SCHEMA[:TABLE[:FILTER]]`.
pub(super) fn legacy_wish(topic: &str) -> Map<String, Value> {
    let parts = sub_topic(topic).splitn(3, ':').map(Value::from);
    ["schema", "table", "filter"].into_iter().map(String::from).zip(parts).collect()
}

impl SupabasePeer {
    /// A row came, changed or went: to every channel that asked for it and is subscribed.
    pub fn change(&mut self, now: Timestamp, change: &RowChange) {
        let mut change = change.clone();
        change.committed(self.config.unix(now));
        self.post_change(now, change);
    }

    pub(super) fn hand_over_change(&mut self, change: &RowChange) {
        let topics: Vec<Text> = self.topics().map(Text::from).collect();
        for topic in topics {
            let Some(channel) = self.channels.get(topic.as_str()).filter(|channel| channel.postgres.streaming) else {
                continue;
            };
            let legacy = channel.postgres.legacy;
            for (select, ids) in change.audience(&channel.postgres.bindings) {
                let data = change.seen_by(select.as_deref(), self.config.row_bytes);
                let (event, payload) = match legacy {
                    true => (change.kind().as_str(), data),
                    false => ("postgres_changes", format!(r#"{{"data":{data},"ids":{}}}"#, json!(ids))),
                };
                if let Ok(payload) = Payload::from_json_text(payload) {
                    self.send_unattributed(&topic, event, payload);
                }
            }
        }
    }

    /// Before the answer to the join: only a server whose messages overtake one another does so
    /// (trap T40).
    pub(super) fn tell_early(&mut self, topic: &Text, subscription: &Subscription) {
        if self.config.readiness != Readiness::Early || !subscription.is_wanted() {
            return;
        }
        let payload = system(topic, &subscription.outcome);
        let mut message = Message::new(topic.clone(), "system", to_payload(&payload));
        message.join_ref = self.join_ref.clone();
        if let Ok(frame) = self.session.serializer().encode_from_server(&message) {
            let conn = self.session.conn();
            self.actions.push_back(TransportAction::Send { conn, frame });
        }
    }

    /// Begins to subscribe: with a join, and with every new token.
    pub(super) fn subscribe(&mut self, topic: &Text, again: bool) {
        let Some(channel) = self.channels.get_mut(topic.as_str()) else { return };
        let subscription = &mut channel.postgres;
        if !subscription.is_wanted() {
            return;
        }
        match self.config.readiness {
            Readiness::Never => {}
            Readiness::Early if !again => subscription.streaming = subscription.outcome.is_ok(),
            _ if subscription.wait.is_some() && !again => subscription.due = Some(self.now),
            _ => subscription.due = Some(self.now.saturating_add(self.config.postgres_delay)),
        }
    }

    pub(super) fn run_postgres(&mut self, topic: &Text) {
        let Some(channel) = self.channels.get_mut(topic.as_str()) else { return };
        let subscription = &mut channel.postgres;
        if subscription.due.take_if(|at| *at <= self.now).is_none() {
            return;
        }
        subscription.streaming = subscription.outcome.is_ok();
        let payload = system(topic, &subscription.outcome);
        let _stale = self.session.push(self.now, channel.id, "system", to_payload(&payload));
    }
}

fn system(topic: &Text, outcome: &Result<(), String>) -> Value {
    let (status, message) = match outcome {
        Ok(()) => ("ok", "Subscribed to PostgreSQL"),
        Err(message) => ("error", message.as_str()),
    };
    json!({ "message": message, "status": status, "extension": "postgres_changes", "channel": sub_topic(topic) })
}
