//! The recorded conversations of `tests/recordings/supabase`: decoded, and lived through again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rejoin_core::Frame;
use rejoin_recording::{Dir, Row};
use rejoin_sim::supabase::{self, PeerConfig};
use rejoin_sim::{replay, replay_supabase};

/// Clients (by their first connection) that did what a client of ours cannot do, and why.
const NOT_DRIVEN: [(&str, &[u64], &str); 9] = [
    ("bad_frames", &[103, 104, 105, 106, 107, 108, 109], "the client's frames are malformed on purpose"),
    ("broadcast_replay", &[4], "a replay on a public channel, and one since no time: refused before they are sent"),
    ("connect_bad_vsn", &[11], "a vsn that nobody speaks"),
    ("connect_missing_apikey", &[6], "there is no configuration without a key"),
    ("join_topic_errors", &[4], "topics without a name or without their prefix: the one is refused, the other given"),
    ("join_wrong_token", &[63], "one of its tokens is no JWT: refused before it is sent"),
    ("pg_changes_errors", &[88, 89, 90], "a binding with a strange event, and bindings without a schema"),
    (
        "pg_changes_new_filters",
        &[77, 78, 79, 80, 83],
        "filters that no server understands: refused before they are sent",
    ),
    ("pg_changes_select", &[4, 5, 8], "columns that are no list or of no table, and a strange event"),
];

/// How far a recorded server may be from one that takes no time, in milliseconds: it was cold.
const SLACK_MS: u64 = 250;

/// Recordings without a WebSocket.
const NO_SOCKET: [&str; 1] = ["longpoll_realtime"];

fn recordings() -> Vec<(String, Vec<Row>)> {
    replay::recordings("supabase")
}

#[test]
fn every_frame_of_the_recorded_servers_decodes_and_binary_ones_come_out_byte_for_byte() {
    let (mut frames, mut binary) = (0, 0);
    for (name, rows) in recordings() {
        for conn in rows.iter().filter_map(|row| row.conn).collect::<BTreeSet<_>>() {
            let of_conn: Vec<_> = rows.iter().filter(|row| row.conn == Some(conn)).cloned().collect();
            let Some(serializer) = replay::serializer(&of_conn) else { continue };
            for row in of_conn.iter().filter(|row| row.dir == Some(Dir::ToClient)) {
                let Some(frame) = row.to_frame() else { continue };
                let message = serializer.decode_from_server(frame.clone());
                let message = message.unwrap_or_else(|e| panic!("{name}: {e}: {:?}", row.data));
                if let Some(json) = message.payload.as_json() {
                    assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{name}: {json}");
                }
                let again = serializer.encode_from_server(&message).unwrap();
                if let Frame::Binary(_) = &frame {
                    assert_eq!(again, frame, "{name}");
                    binary += 1;
                }
                assert_eq!(serializer.decode_from_server(again).as_ref(), Ok(&message), "{name}");
                frames += 1;
            }
        }
    }
    assert!(frames > 700 && binary > 10, "{frames} frames, {binary} binary ones");
}

#[test]
fn every_well_formed_frame_of_the_recorded_clients_decodes() {
    let mut malformed = 0;
    for (name, rows) in recordings() {
        for row in rows.iter().filter(|row| row.dir == Some(Dir::ToServer)) {
            let Some(frame) = row.to_frame() else { continue };
            let of_conn: Vec<_> = rows.iter().filter(|other| other.conn == row.conn).cloned().collect();
            let serializer = replay::serializer(&of_conn).unwrap_or_default();
            match serializer.decode_from_client(frame.clone()) {
                Ok(message) if matches!(frame, Frame::Binary(_)) => {
                    assert_eq!(serializer.encode_from_client(&message), Ok(frame), "{name}");
                }
                Ok(_) => {}
                Err(_) if name == "bad_frames" => malformed += 1,
                Err(error) => panic!("{name}: {error}: {:?}", row.data),
            }
        }
    }
    assert_eq!(malformed, 7);
}

#[test]
fn a_client_reaches_the_recorded_outcomes_and_sends_what_the_recorded_one_sent() {
    let (mut driven, mut lines) = (0, Vec::new());
    for (name, rows) in recordings() {
        for client in replay_supabase::clients(&rows).iter().filter(|client| !is_listed(&name, client)) {
            let seen = replay_supabase::drive(client).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(seen.actual, seen.expected, "{name}");
            driven += 1;
            lines.extend(seen.actual);
        }
    }
    let told = |of: &str| lines.iter().filter(|line| line.contains(of)).count();
    let (changes, flows, failures) = (told(" changed for "), told(" changes flow, "), told(" changes do not flow: "));
    let (syncs, updates) = (told(" is in sync"), told(" update "));
    assert!(driven >= 75 && lines.len() > 1_200, "{driven} clients, {} lines", lines.len());
    assert!(changes >= 34 && flows >= 23 && failures >= 6, "{changes} changes, {flows} flows, {failures} failures");
    assert!(syncs >= 20 && updates >= 7, "{syncs} states and diffs, {updates} updates");
}

#[test]
fn a_broadcast_over_http_is_asked_as_the_recorded_one_and_its_answer_is_understood() {
    let mut outcomes = Vec::new();
    for (name, rows) in recordings() {
        for (asked, answered) in replay_supabase::http_broadcasts(&rows) {
            let seen = replay_supabase::http(&asked, &answered).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(seen.actual, seen.expected, "{name}");
            outcomes.extend(seen.actual.last().map(|outcome| outcome.chars().take(16).collect::<String>()));
        }
    }
    assert_eq!(outcomes, ["accepted", "accepted", "accepted", "refused with 422", "refused with 401", "accepted"]);
}

#[test]
fn what_is_not_driven_is_there_and_indeed_cannot_be() {
    let recordings = recordings();
    for (name, conns, why) in NOT_DRIVEN {
        let (_, rows) = recordings.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}"));
        let listed = replay_supabase::clients(rows).into_iter().filter(|client| is_listed(name, client));
        let cannot = listed.filter(|client| replay_supabase::drive(client).is_err()).count();
        assert_eq!(cannot, conns.len(), "{name} can be driven after all ({why})");
    }
    let without = recordings.iter().filter(|(_, rows)| replay_supabase::clients(rows).is_empty());
    assert!(without.map(|(name, _)| name).eq(NO_SOCKET));
}

fn is_listed(name: &str, client: &[Row]) -> bool {
    let conn = client.first().and_then(|row| row.conn);
    NOT_DRIVEN.iter().any(|(not, conns, _)| *not == name && conns.iter().any(|listed| Some(*listed) == conn))
}

/// The real server on the day of the recordings, but for the time that its work took.
fn config() -> PeerConfig {
    let unix_epoch = Duration::from_secs(1_795_198_218);
    PeerConfig { unix_epoch, join_time: Duration::ZERO, ..PeerConfig::default() }
}

fn agrees(name: &str, rows: &[Row], config: PeerConfig) {
    let said = supabase::replay::play(rows, config).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!said.expected.is_empty(), "{name} says nothing");
    assert_eq!(said.actual.keys().collect::<Vec<_>>(), said.expected.keys().collect::<Vec<_>>(), "{name}");
    for (conn, expected) in &said.expected {
        let actual = &said.actual[conn];
        let values = |said: &supabase::replay::Said| said.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>();
        assert_eq!(values(actual), values(expected), "{name}, connection {conn}");
        for ((at, value), (expected_at, _)) in actual.iter().zip(expected) {
            assert!(at.abs_diff(*expected_at) <= SLACK_MS, "{name}: {value} at {at}, not at {expected_at}");
        }
    }
}

#[test]
fn the_peer_says_what_the_recorded_server_said_when_it_said_it() {
    let recordings: BTreeMap<_, _> = recordings().into_iter().collect();
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
        agrees(name, &recordings[name], config());
    }
}
