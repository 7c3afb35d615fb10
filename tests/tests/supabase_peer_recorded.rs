//! The scripted Supabase against recordings in which the real one makes names up: they are told by
//! when they first come.

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_sim::replay;
use rejoin_sim::supabase::PeerConfig;
use rejoin_sim::supabase::replay::{Said, play};
use serde_json::Value;

/// The real server on the day of the recordings, but for the time that its work took.
fn config() -> PeerConfig {
    let unix_epoch = Duration::from_secs(1_795_198_218);
    PeerConfig { unix_epoch, join_time: Duration::ZERO, ..PeerConfig::default() }
}

fn agrees(name: &str, config: PeerConfig) {
    let (_, rows) = replay::recordings("supabase").into_iter().find(|(found, _)| found == name).unwrap();
    let said = play(&rows, config).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!said.expected.is_empty(), "{name} says nothing");
    for (conn, expected) in &said.expected {
        assert_eq!(named(&said.actual[conn]), named(expected), "{name}, connection {conn}");
    }
}

/// What was said, with made-up names numbered in the order of their appearance.
fn named(said: &Said) -> Vec<Value> {
    let mut names = BTreeMap::new();
    said.iter().map(|(_, value)| rename(value.clone(), &mut names)).collect()
}

fn rename(value: Value, names: &mut BTreeMap<String, usize>) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| match name.as_str() {
                "phx_ref" | "phx_ref_prev" | "id" => {
                    let next = names.len();
                    let number = *names.entry(value.to_string()).or_insert(next);
                    (name, number.into())
                }
                _ => (name, rename(value, names)),
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(|item| rename(item, names)).collect(),
        other => other,
    }
}

#[test]
fn presence_is_what_the_recorded_server_told() {
    for name in ["presence_raw", "presence_rate_limit", "presence_3clients", "private_presence_denied"] {
        agrees(name, config());
    }
}

#[test]
fn subscriptions_to_the_database_fail_in_the_words_of_the_recorded_server() {
    let tables = ["todos", "todos_full"].map(|table| ("public".into(), table.into())).into();
    let postgres_delay = Duration::from_millis(1);
    agrees("pg_changes_errors", PeerConfig { tables, postgres_delay, ..config() });
}
