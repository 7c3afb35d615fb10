//! What a client asks for when it joins (section 4.3).

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct JoinPayload {
    /// Missing in the legacy API.
    pub(super) config: Option<JoinConfig>,
    pub(super) access_token: Option<String>,
    /// As the legacy API has it.
    pub(super) user_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct JoinConfig {
    pub(super) broadcast: BroadcastConfig,
    pub(super) presence: PresenceConfig,
    /// May be null or hold nulls.
    pub(super) postgres_changes: Option<Vec<Option<Map<String, Value>>>>,
    pub(super) postgres_changes_options: PostgresOptions,
    pub(super) private: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BroadcastConfig {
    pub(super) ack: bool,
    #[serde(rename = "self")]
    pub(super) to_self: bool,
    pub(super) replay: Option<Value>,
    pub(super) replication_ready: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PresenceConfig {
    pub(super) enabled: bool,
    pub(super) key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PostgresOptions {
    pub(super) wait: bool,
    /// In milliseconds.
    pub(super) timeout: Option<u64>,
}

impl JoinPayload {
    /// What it runs as, unless as the key of the upgrade.
    pub(super) fn token(&self) -> Option<&str> {
        let token = self.user_token.as_deref().or(self.access_token.as_deref());
        token.filter(|token| !token.starts_with("sb_"))
    }
}

impl JoinConfig {
    pub(super) fn wishes(&mut self) -> Vec<Map<String, Value>> {
        self.postgres_changes.take().into_iter().flatten().flatten().collect()
    }
}
