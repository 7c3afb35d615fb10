//! The scripted Supabase says what the recorded one said, and when.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use rejoin_recording::{Row, read};
use rejoin_sim::supabase::{PeerConfig, replay};

/// How far a recorded server may be from one that takes no time, in milliseconds: it was cold.
const SLACK_MS: u64 = 250;

fn recording(name: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("recordings/supabase/{name}.jsonl"));
    read(BufReader::new(File::open(path).unwrap())).unwrap()
}

/// The real server on the day of the recordings, but for the time that its work took.
fn config() -> PeerConfig {
    let unix_epoch = Duration::from_secs(1_795_198_218);
    PeerConfig { unix_epoch, join_time: Duration::ZERO, ..PeerConfig::default() }
}

fn agrees(name: &str, config: PeerConfig) {
    let said = replay::play(&recording(name), config).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!said.expected.is_empty(), "{name} says nothing");
    assert_eq!(said.actual.keys().collect::<Vec<_>>(), said.expected.keys().collect::<Vec<_>>(), "{name}");
    for (conn, expected) in &said.expected {
        let actual = &said.actual[conn];
        let values = |said: &replay::Said| said.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>();
        assert_eq!(values(actual), values(expected), "{name}, connection {conn}");
        for ((at, value), (expected_at, _)) in actual.iter().zip(expected) {
            assert!(at.abs_diff(*expected_at) <= SLACK_MS, "{name}: {value} at {at}, not at {expected_at}");
        }
    }
}

#[test]
fn the_peer_says_what_the_recorded_server_said_when_it_said_it() {
    for name in [
        "access_token_expired_push",
        "access_token_refresh",
        "bad_frames",
        "broadcast_ack",
        "broadcast_self_off",
        "broadcast_self_on",
        "broadcast_text_v2",
        "connect_bad_vsn",
        "connect_expired",
        "connect_malformed_jwt",
        "connect_missing_apikey",
        "connect_missing_role",
        "connect_no_vsn",
        "heartbeat",
        "join_expired_token",
        "join_ok",
        "join_topic_errors",
        "leave",
        "limit_channels",
        "private_allowed",
        "private_denied",
        "private_denied_js",
        "private_js_accesstoken_race",
        "token_expires_while_joined",
    ] {
        agrees(name, config());
    }
}
