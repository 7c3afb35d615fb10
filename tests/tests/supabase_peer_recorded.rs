//! The scripted Supabase against recordings in which the real one makes names up: they are told by
//! when they first come.

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_core::Payload;
use rejoin_recording::Row;
use rejoin_sim::replay;
use rejoin_sim::supabase::replay::{Said, play};
use rejoin_sim::supabase::{BAD_SIGNATURE, PeerConfig, Stored};
use serde_json::{Value, json};

/// The real server on the day of the recordings, but for the time that its work took.
fn config() -> PeerConfig {
    let unix_epoch = Duration::from_secs(1_795_198_218);
    PeerConfig { unix_epoch, join_time: Duration::ZERO, ..PeerConfig::default() }
}

fn recording(name: &str) -> Vec<Row> {
    let (_, rows) = replay::recordings("supabase").into_iter().find(|(found, _)| found == name).unwrap();
    rows
}

fn agrees(name: &str, config: PeerConfig) {
    rows_agree(name, &recording(name), config);
}

fn rows_agree(name: &str, rows: &[Row], config: PeerConfig) {
    let said = play(rows, config).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!said.expected.is_empty(), "{name} says nothing");
    for (conn, expected) in &said.expected {
        assert_eq!(named(&said.actual[conn]), named(expected), "{name}, connection {conn}");
    }
}

/// What was said, with made-up names numbered in the order of their appearance.
fn named(said: &Said) -> Vec<Value> {
    let mut names = BTreeMap::new();
    let mut said: Vec<Value> = said.iter().map(|(_, value)| rename(value.clone(), &mut names)).collect();
    // Some clients hang up before their leave is answered.
    let leave = json!({ "status": "ok", "response": {} });
    while said.pop_if(|last| last["event"] == "phx_close" || last["payload"] == leave).is_some() {}
    said
}

fn rename(value: Value, names: &mut BTreeMap<String, usize>) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| match name.as_str() {
                "phx_ref" | "phx_ref_prev" | "id" => (name, number(&value, names)),
                "ids" => (name, value.as_array().into_iter().flatten().map(|id| number(id, names)).collect()),
                // Nothing takes time here.
                "commit_timestamp" => (name, Value::Null),
                _ => (name, rename(value, names)),
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(|item| rename(item, names)).collect(),
        other => other,
    }
}

fn number(name: &Value, names: &mut BTreeMap<String, usize>) -> Value {
    let next = names.len();
    (*names.entry(name.to_string()).or_insert(next)).into()
}

#[test]
fn presence_is_what_the_recorded_server_told() {
    for name in ["presence_raw", "presence_rate_limit", "presence_3clients", "private_presence_denied"] {
        agrees(name, config());
    }
}

/// The recorded database, which subscribes at once.
fn database() -> PeerConfig {
    let tables = ["todos", "todos_full"].map(|table| ("public".into(), table.into())).into();
    PeerConfig { tables, postgres_delay: Duration::from_millis(1), ..config() }
}

#[test]
fn subscriptions_to_the_database_fail_in_the_words_of_the_recorded_server() {
    agrees("pg_changes_errors", database());
    let mut rows = recording("pg_changes_new_filters");
    // Nobody here knows the columns of a table.
    rows.retain(|row| !matches!(row.conn, Some(81 | 82)));
    rows_agree("pg_changes_new_filters", &rows, database());
}

#[test]
fn changes_of_the_database_are_told_as_the_recorded_server_told_them() {
    for name in [
        "pg_changes_filters",
        "pg_changes_full",
        "pg_changes_token_refresh",
        "pg_changes_legacy_topic",
        "pg_changes_too_large",
        "pg_changes_types",
        "pg_changes_v1",
    ] {
        agrees(name, database());
    }
    let mut rows = recording("pg_changes_select");
    // One selects a column that does not exist, and one is told too little to see what it was filtered by.
    rows.retain(|row| !matches!(row.conn, Some(2 | 3)));
    rows_agree("pg_changes_select", &rows, database());
}

#[test]
fn broadcasts_over_http_are_what_the_recorded_server_made_of_them() {
    let mut rows = recording("broadcast_http");
    // Nobody here can check a signature.
    let (forged, conn) = ("OiKjA1V21kmomr6ypV5jzvA_XQPywHZbOXFMaB2QyN8", Some(31));
    for row in rows.iter_mut().filter(|row| row.conn == conn && row.kind == "http_request") {
        let headers = row.rest["headers"].to_string().replace(forged, BAD_SIGNATURE);
        row.rest["headers"] = serde_json::from_str(&headers).unwrap();
    }
    rows_agree("broadcast_http", &rows, config());
}

#[test]
fn stored_broadcasts_are_replayed_in_the_order_of_the_recorded_server() {
    let stored = |n: u32, at_unix_ms| {
        let (event, payload) = match n {
            0 => ("oldbin", Payload::binary(vec![1, 2].into())),
            n => ("old", Payload::json(&json!({ "id": format!("{at_unix_ms}/{n}"), "n": n })).unwrap()),
        };
        let id = format!("{at_unix_ms}/{n}");
        Stored { topic: "priv:rw:replay".into(), event: event.into(), payload, id, at_unix_ms }
    };
    // Two transactions of three each.
    let at = 1_795_194_803_337;
    let stored = [at, at + 1].into_iter().flat_map(|at| [1, 2, 0].map(|n| stored(n, at))).collect();
    agrees("broadcast_replay", PeerConfig { stored, ..config() });
}
