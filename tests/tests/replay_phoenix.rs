//! The recorded conversations of `tests/recordings/phoenix`: decoded, and lived through again.

use std::collections::BTreeSet;

use rejoin_recording::{Dir, Row};
use rejoin_sim::replay;

/// Conversations that a client of ours cannot have, and why.
const NOT_DRIVEN: [(&str, &str); 12] = [
    ("auth_token_longpoll", "long-poll: no WebSocket"),
    ("longpoll", "long-poll: no WebSocket"),
    ("longpoll_raw", "long-poll: no WebSocket"),
    ("raw_bad_binary", "the client's frames are malformed on purpose"),
    ("raw_bad_json", "the client's frames are malformed on purpose"),
    ("raw_bad_payload_type", "a join with a payload that our client refuses to send"),
    ("raw_bad_shape_array4", "the client's frames are malformed on purpose"),
    ("raw_bad_shape_object", "the client's frames are malformed on purpose"),
    ("rejoin_same_topic", "one topic joined twice, pushes with stale refs: our client does neither"),
    ("vsn_3_0_0", "a vsn that nobody speaks"),
    ("vsn_abc", "a vsn that nobody speaks"),
    ("vsn_0_9", "a vsn that nobody speaks"),
];

/// Conversations that one server session alone cannot have, and why. A whole server has them in the tests of
/// rejoin-pump (`server/recorded.rs`).
const NOT_SERVED: [(&str, &str); 19] = [
    ("auth_token_longpoll", "long-poll: told again with its own half"),
    ("auth_token_ws_bad", "refused at the upgrade"),
    ("binary", "two clients hear each other: a hub's business"),
    ("broadcast", "two clients hear each other: a hub's business"),
    ("connect_refused", "refused at the upgrade"),
    ("connect_refused_reason", "refused at the upgrade"),
    ("join_timeout", "Phoenix holds the whole socket up while a join is decided; ours lets a given-up join go"),
    ("longpoll", "long-poll: told again with its own half"),
    ("longpoll_raw", "long-poll: told again with its own half"),
    ("presence_3clients", "three clients see each other: a hub's business"),
    ("raw_ws_ping_and_close", "pings and closes are the WebSocket library's"),
    ("server_disconnect_broadcast", "the host closes, and there is a second socket"),
    ("server_sigterm", "the host closes, and there is a second socket"),
    ("vsn_0_9", "refused at the upgrade"),
    ("vsn_2_0_0_rc_1", "refused at the upgrade"),
    ("vsn_2_1_0", "refused at the upgrade"),
    ("vsn_3_0_0", "refused at the upgrade"),
    ("vsn_abc", "refused at the upgrade"),
    ("wrong_path", "refused at the upgrade"),
];

fn recordings() -> Vec<(String, Vec<Row>)> {
    replay::recordings("phoenix")
}

fn recording(name: &str) -> Vec<Row> {
    recordings().into_iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no recording {name}")).1
}

#[test]
fn every_frame_of_the_recorded_servers_decodes() {
    let (mut frames, mut files) = (0, 0);
    for (name, rows) in recordings() {
        files += 1;
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
                // What we write ourselves reads the same.
                let again = serializer.decode_from_server(serializer.encode_from_server(&message).unwrap());
                assert_eq!(again.as_ref(), Ok(&message), "{name}");
                frames += 1;
            }
        }
    }
    assert!(files == 45 && frames > 250, "{files} files, {frames} frames");
}

#[test]
fn every_well_formed_frame_of_the_recorded_clients_decodes() {
    for (name, rows) in recordings().into_iter().filter(|(name, _)| !name.starts_with("raw_bad")) {
        let Some(serializer) = replay::serializer(&rows) else { continue };
        for row in rows.iter().filter(|row| row.dir == Some(Dir::ToServer)) {
            let Some(frame) = row.to_frame() else { continue };
            assert!(serializer.decode_from_client(frame).is_ok(), "{name}: {:?}", row.data);
        }
    }
}

#[test]
fn a_client_reaches_the_recorded_outcomes() {
    let (mut driven, mut lines) = (0, 0);
    for (name, rows) in recordings() {
        if NOT_DRIVEN.iter().any(|(not, _)| *not == name) {
            continue;
        }
        let Some(serializer) = replay::serializer(&rows) else {
            // Refused for its vsn: there is no conversation.
            assert!(rows.iter().any(|row| row.kind == "upgrade_rejected"), "{name}");
            continue;
        };
        driven += 1;
        for client in replay::clients(&rows) {
            let seen = replay::drive(&client, serializer).unwrap_or_else(|e| panic!("{name}: {e}"));
            lines += seen.actual.len();
            assert_eq!(seen.actual, seen.expected, "{name}");
        }
    }
    assert!(driven >= 28 && lines > 200, "{driven} driven, {lines} lines");
}

#[test]
fn what_is_not_driven_is_there_and_indeed_cannot_be() {
    for (name, why) in NOT_DRIVEN {
        let rows = recording(name);
        let drives = replay::serializer(&rows).is_some_and(|serializer| {
            replay::clients(&rows).iter().all(|client| {
                replay::drive(client, serializer)
                    .is_ok_and(|seen| seen.actual == seen.expected && !seen.actual.is_empty())
            })
        });
        assert!(!drives, "{name} can be driven after all ({why})");
    }
}

#[test]
fn a_server_gives_the_recorded_answers_in_the_recorded_order() {
    let mut served = 0;
    for (name, rows) in recordings() {
        if NOT_SERVED.iter().any(|(not, _)| *not == name) {
            continue;
        }
        let serializer = replay::serializer(&rows).unwrap();
        let seen = replay::serve(&rows, serializer).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(seen.actual, seen.expected, "{name}");
        assert!(!seen.actual.is_empty(), "{name}");
        served += 1;
    }
    assert_eq!((served, served + NOT_SERVED.len()), (26, 45));
}
