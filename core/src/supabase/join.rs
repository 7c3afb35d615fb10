//! A channel as the wire says it: the topic that is joined, and the payload of the join.
//!
//! Source: specification, section 4.3.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::Serialize;

use super::access_token::AccessToken;
use super::channel_config::{ChannelConfig, PostgresBinding};
use crate::payload::Payload;
use crate::text::Text;

const PREFIX: &str = "realtime:";

/// The topic of the channel with this name: `realtime:` before it, unless it is there already.
///
/// # Errors
/// If nothing comes after `realtime:`; a server would refuse that (specification, section 9.2).
pub fn topic_of(name: &str) -> Result<Text, TopicError> {
    match sub_topic(name) {
        "" => Err(TopicError::Empty),
        sub_topic => Ok([PREFIX, sub_topic].concat().into()),
    }
}

/// What comes after `realtime:` in a topic.
pub(crate) fn sub_topic(topic: &str) -> &str {
    topic.strip_prefix(PREFIX).unwrap_or(topic)
}

/// Why a name cannot be a channel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// It is empty, or `realtime:` and nothing more.
    Empty,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel has no name; give one, such as `room-1`")
    }
}

impl core::error::Error for TopicError {}

/// A join's payload: the config, and the token unless the API key's role is to join.
pub(crate) fn join_payload(config_json: &str, token: Option<&AccessToken>) -> Payload {
    let token_len = token.map_or(0, |token| r#","access_token":"""#.len() + token.expose().len());
    let mut json = String::with_capacity(r#"{"config":}"#.len() + config_json.len() + token_len);
    json.push_str(r#"{"config":"#);
    json.push_str(config_json);
    if let Some(token) = token {
        // A token is base64url and dots: nothing to escape.
        json.push_str(r#","access_token":""#);
        json.push_str(token.expose());
        json.push('"');
    }
    json.push('}');
    Payload::unread_json(json.into())
}

/// How long a server waits for its database before it answers, unless it is told (section 4.5).
const DEFAULT_WAIT: Duration = Duration::from_secs(15);
/// What its answer may take beyond that.
const BEYOND_WAIT: Duration = Duration::from_secs(10);

impl ChannelConfig {
    /// How long the join may stay unanswered, if other than usual: as was asked for, or longer if the
    /// server was asked to wait.
    pub(crate) fn longest_join(&self, usual: Duration) -> Option<Duration> {
        let Some(wait) = self.postgres_wait.filter(|_| !self.postgres_changes.is_empty()) else {
            return self.join_timeout;
        };
        Some(self.join_timeout.unwrap_or(usual).max(wait.timeout.unwrap_or(DEFAULT_WAIT).saturating_add(BEYOND_WAIT)))
    }

    /// The value of `config` in a join's payload.
    pub(crate) fn to_json(&self) -> Text {
        let bindings: Vec<_> = self.distinct_bindings().into_iter().map(PostgresBinding::to_wire).collect();
        let wait = self.postgres_wait.filter(|_| !bindings.is_empty());
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let wire = WireConfig {
            broadcast: WireBroadcast {
                ack: self.broadcast.ack,
                echo: self.broadcast.echo,
                replay: self.broadcast.replay.map(|r| WireReplay { since: r.since.as_millis(), limit: r.limit }),
                replication_ready: self.broadcast.replication_ready,
            },
            presence: WirePresence {
                key: self.presence.key.as_deref().unwrap_or_default(),
                enabled: self.presence.enabled,
            },
            postgres_changes: bindings,
            postgres_changes_options: wait.map(|w| WireWait { wait: true, timeout: w.timeout.map(millis) }),
            private: self.private,
        };
        // Texts, numbers and flags: nothing in there that JSON could not say. The channel keeps it, so
        // in a buffer that fits.
        serde_json::to_string(&wire).unwrap_or_default().as_str().into()
    }
}

impl PostgresBinding {
    /// As it stands in a join's payload.
    pub(super) fn to_json(&self) -> Text {
        serde_json::to_string(&self.to_wire()).unwrap_or_default().into()
    }

    fn to_wire(&self) -> WireBinding<'_> {
        WireBinding {
            event: self.event.as_str(),
            schema: &self.schema,
            table: self.table.as_deref(),
            filter: self.filter.as_deref(),
            select: self.select.iter().map(Text::as_str).collect(),
        }
    }
}

#[derive(Serialize)]
struct WireConfig<'c> {
    broadcast: WireBroadcast,
    presence: WirePresence<'c>,
    postgres_changes: Vec<WireBinding<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    postgres_changes_options: Option<WireWait>,
    private: bool,
}

#[derive(Serialize)]
struct WireBroadcast {
    ack: bool,
    #[serde(rename = "self")]
    echo: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<WireReplay>,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    replication_ready: bool,
}

#[derive(Serialize)]
struct WireReplay {
    since: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u8>,
}

#[derive(Serialize)]
struct WirePresence<'c> {
    key: &'c str,
    enabled: bool,
}

#[derive(Serialize)]
struct WireBinding<'c> {
    event: &'static str,
    schema: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<&'c str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    select: Vec<&'c str>,
}

#[derive(Serialize)]
struct WireWait {
    wait: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supabase::channel_config::{PostgresEvent, PostgresWait, RejoinPolicy, Replay, UnixMillis};
    use alloc::format;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjIwODI3NTg0MDB9.c2lnbmVk";

    fn payload(config: &ChannelConfig, token: Option<&AccessToken>) -> Value {
        join_payload(&config.to_json(), token).parse().unwrap()
    }

    /// What realtime-js leaves out because the application did; the server's defaults.
    fn with_broadcast_defaults(mut recorded: Value) -> Value {
        for key in ["ack", "self"] {
            recorded["config"]["broadcast"].as_object_mut().unwrap().entry(key).or_insert(json!(false));
        }
        recorded
    }

    /// Join payloads of realtime-js 2.109.0, as recorded between it and Realtime 2.129.8.
    #[test]
    fn joins_read_like_those_of_realtime_js() {
        let public = ChannelConfig::default;
        let todos = |event| PostgresBinding::new(event).table("todos_full");
        for (config, recorded) in [
            (
                public(),
                r#"{"config":{"broadcast":{"ack":false,"self":false},"presence":{"key":"","enabled":false},
                    "postgres_changes":[],"private":false}}"#,
            ),
            (
                public().broadcast_ack().broadcast_self(),
                r#"{"config":{"broadcast":{"self":true,"ack":true},"presence":{"key":"","enabled":false},
                    "postgres_changes":[],"private":false}}"#,
            ),
            (
                public().presence("alice"),
                r#"{"config":{"broadcast":{"ack":false,"self":false},"presence":{"key":"alice","enabled":true},
                    "postgres_changes":[],"private":false}}"#,
            ),
            (
                public().private().broadcast_ack(),
                r#"{"config":{"broadcast":{"ack":true},"presence":{"key":"","enabled":false},
                    "postgres_changes":[],"private":true},"access_token":"TOKEN"}"#,
            ),
            (
                public().private().replication_ready(),
                r#"{"config":{"broadcast":{"replication_ready":true},"presence":{"key":"","enabled":false},
                    "postgres_changes":[],"private":true},"access_token":"TOKEN"}"#,
            ),
            (
                public().private().replay(Replay::since(UnixMillis::from_millis(1_795_194_803_337)).limit(10)),
                r#"{"config":{"broadcast":{"replay":{"since":1795194803337,"limit":10}},
                    "presence":{"key":"","enabled":false},"postgres_changes":[],"private":true},
                    "access_token":"TOKEN"}"#,
            ),
            (
                public()
                    .postgres_changes(todos(PostgresEvent::All).filter("task=eq.hello world"))
                    .postgres_changes(todos(PostgresEvent::Insert))
                    .postgres_changes(todos(PostgresEvent::Update))
                    .postgres_changes(todos(PostgresEvent::Delete))
                    .postgres_changes(PostgresBinding::new(PostgresEvent::All)),
                r#"{"config":{"broadcast":{"ack":false,"self":false},"presence":{"key":"","enabled":false},
                    "postgres_changes":[
                        {"event":"*","schema":"public","table":"todos_full","filter":"task=eq.hello world"},
                        {"event":"INSERT","schema":"public","table":"todos_full"},
                        {"event":"UPDATE","schema":"public","table":"todos_full"},
                        {"event":"DELETE","schema":"public","table":"todos_full"},
                        {"event":"*","schema":"public"}],"private":false}}"#,
            ),
        ] {
            let token = recorded.contains("access_token").then(|| AccessToken::new(TOKEN).unwrap());
            let recorded: Value =
                serde_json::from_str(&recorded.replace("\"TOKEN\"", &format!("\"{TOKEN}\""))).unwrap();
            assert_eq!(payload(&config, token.as_ref()), with_broadcast_defaults(recorded));
        }
    }

    #[test]
    fn what_is_ours_alone_is_not_on_the_wire() {
        let config = ChannelConfig::default().anonymous().rejoin(RejoinPolicy::Never);
        assert_eq!(config.to_json(), ChannelConfig::default().to_json());
    }

    #[test]
    fn waiting_for_postgres_is_asked_for_only_with_a_binding() {
        let options = |config: ChannelConfig| payload(&config, None)["config"]["postgres_changes_options"].clone();
        let todos = PostgresBinding::new(PostgresEvent::All).table("todos").select(["id"]);
        let bound = ChannelConfig::default().postgres_changes(todos);
        let wait = PostgresWait::at_most(Duration::from_millis(15_000));
        assert_eq!(options(ChannelConfig::default().postgres_wait(wait)), Value::Null);
        assert_eq!(options(bound.clone()), Value::Null);
        assert_eq!(options(bound.clone().postgres_wait(PostgresWait::default())), json!({"wait": true}));
        assert_eq!(options(bound.postgres_wait(wait)), json!({"wait": true, "timeout": 15_000}));
    }

    #[test]
    fn a_join_has_its_own_time_or_as_long_as_the_server_may_wait() {
        let secs = Duration::from_secs;
        let waiting = |config: ChannelConfig| {
            config
                .postgres_changes(PostgresBinding::new(PostgresEvent::All))
                .postgres_wait(PostgresWait::at_most(secs(20)))
        };
        let (usual, own) = (ChannelConfig::default(), ChannelConfig::default().join_timeout(secs(40)));
        assert_eq!(usual.longest_join(secs(15)), None);
        assert_eq!(own.longest_join(secs(15)), Some(secs(40)));
        assert_eq!(waiting(usual).longest_join(secs(15)), Some(secs(30)));
        assert_eq!(waiting(own).longest_join(secs(15)), Some(secs(40)));
    }

    #[test]
    fn equal_bindings_are_sent_once() {
        let todos = || PostgresBinding::new(PostgresEvent::Insert).schema("app").table("todos").select(["id"]);
        let config = ChannelConfig::default().postgres_changes(todos()).postgres_changes(todos());
        let sent = json!([{"event": "INSERT", "schema": "app", "table": "todos", "select": ["id"]}]);
        assert_eq!(payload(&config, None)["config"]["postgres_changes"], sent);
    }

    #[test]
    fn a_topic_has_the_prefix_once() {
        for (name, topic) in [
            ("room-1", "realtime:room-1"),
            ("realtime:room-1", "realtime:room-1"),
            ("realtime:realtime:x", "realtime:realtime:x"),
            ("a:b", "realtime:a:b"),
        ] {
            assert_eq!(topic_of(name).unwrap(), topic);
            assert_eq!(topic_of(&topic_of(name).unwrap()).unwrap(), topic);
        }
        for name in ["", "realtime:"] {
            assert_eq!(topic_of(name), Err(TopicError::Empty));
        }
        assert_eq!(sub_topic("realtime:room-1"), "room-1");
        assert_eq!(sub_topic("phoenix"), "phoenix");
    }

    fn texts() -> impl Strategy<Value = String> {
        "\\PC{0,8}|[\"\\\\\n\u{0}]{0,4}"
    }

    proptest! {
        #[test]
        fn any_names_survive_the_join(
            (key, schema, table) in (texts(), texts(), texts()),
            columns in prop::collection::vec(texts(), 1..4),
        ) {
            let binding = PostgresBinding::new(PostgresEvent::All).schema(schema.as_str()).table(table.as_str());
            let binding = binding.select(columns.iter().map(String::as_str));
            let config = ChannelConfig::default().presence(key.as_str()).postgres_changes(binding);
            let sent = payload(&config, Some(&AccessToken::new(TOKEN).unwrap()));
            prop_assert_eq!(&sent["access_token"], TOKEN);
            prop_assert_eq!(&sent["config"]["presence"], &json!({"key": key, "enabled": true}));
            let bindings = json!([{"event": "*", "schema": schema, "table": table, "select": columns}]);
            prop_assert_eq!(&sent["config"]["postgres_changes"], &bindings);
        }

        #[test]
        fn a_topic_of_a_topic_is_that_topic(name in "(realtime:){0,2}\\PC{0,8}") {
            if let Ok(topic) = topic_of(&name) {
                prop_assert_eq!(topic_of(&topic), Ok(topic.clone()));
                prop_assert!(name.ends_with(sub_topic(&topic)));
            }
        }
    }
}
