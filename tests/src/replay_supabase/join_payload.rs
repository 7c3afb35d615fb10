//! The payloads that recorded clients joined Supabase's channels with.

use rejoin_core::Payload;
use rejoin_core::supabase::{ChannelConfig, PostgresBinding, PostgresEvent, Replay, UnixMillis};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinPayload {
    /// Clients of the legacy API have none. Ours sends one that asks for nothing, which is the same to
    /// everybody but the server: that would not take the topic for a subscription any more.
    #[serde(default)]
    pub(crate) config: JoinConfig,
    #[serde(alias = "user_token")]
    pub(crate) access_token: Option<String>,
    #[serde(rename = "version")]
    _version: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct JoinConfig {
    broadcast: JoinBroadcast,
    presence: JoinPresence,
    postgres_changes: Vec<JoinBinding>,
    private: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JoinBroadcast {
    ack: bool,
    #[serde(rename = "self")]
    echo: bool,
    replay: Option<JoinReplay>,
    replication_ready: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinReplay {
    since: u64,
    limit: Option<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JoinPresence {
    key: String,
    enabled: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinBinding {
    #[serde(default = "every_event")]
    event: String,
    schema: String,
    table: Option<String>,
    filter: Option<String>,
    #[serde(default)]
    select: Vec<String>,
}

impl JoinPayload {
    pub(crate) fn read(payload: &Payload) -> Result<Self, String> {
        payload.parse().map_err(|e| format!("a join that our client does not send: {e}"))
    }

    /// The payload with everything that its client left to the server, as the server takes it, and
    /// without its version.
    pub(crate) fn with_defaults(payload: Value) -> Value {
        let mut whole = json!({"config": {
            "broadcast": {"ack": false, "self": false},
            "presence": {"key": "", "enabled": false},
            "postgres_changes": [],
            "private": false,
        }});
        overlay(&mut whole, payload);
        for binding in whole["config"]["postgres_changes"].as_array_mut().into_iter().flatten() {
            let event = binding["event"].as_str().map_or_else(every_event, str::to_uppercase);
            binding["event"] = event.into();
        }
        if let Some(members) = whole.as_object_mut() {
            members.remove("version");
            if let Some(token) = members.remove("user_token") {
                members.insert("access_token".into(), token);
            }
        }
        whole
    }
}

impl JoinConfig {
    pub(crate) fn to_channel_config(&self) -> Result<ChannelConfig, String> {
        let mut config = ChannelConfig::default();
        (config.broadcast.ack, config.broadcast.echo) = (self.broadcast.ack, self.broadcast.echo);
        config.broadcast.replication_ready = self.broadcast.replication_ready;
        config.broadcast.replay = self.broadcast.replay.as_ref().map(|replay| {
            let since = Replay::since(UnixMillis::from_millis(replay.since));
            replay.limit.map_or(since, |limit| since.limit(limit))
        });
        config.presence.enabled = self.presence.enabled;
        config.presence.key = Some(self.presence.key.as_str().into()).filter(|_| !self.presence.key.is_empty());
        config.private = self.private;
        for binding in &self.postgres_changes {
            config = config.postgres_changes(binding.to_binding()?);
        }
        Ok(config)
    }
}

impl JoinBinding {
    fn to_binding(&self) -> Result<PostgresBinding, String> {
        let events = [PostgresEvent::All, PostgresEvent::Insert, PostgresEvent::Update, PostgresEvent::Delete];
        let event = events.into_iter().find(|event| event.as_str().eq_ignore_ascii_case(&self.event));
        let event = event.ok_or_else(|| format!("changes of the kind {}, which does not exist", self.event))?;
        let mut binding = PostgresBinding::new(event).schema(self.schema.as_str()).select(self.select.clone());
        (binding.table, binding.filter) =
            (self.table.as_deref().map(Into::into), self.filter.as_deref().map(Into::into));
        Ok(binding)
    }
}

fn every_event() -> String {
    "*".into()
}

fn overlay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                overlay(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}
