//! The scripted Supabase keeps the real one's rules, and does what its tests order.

use std::time::Duration;

use rejoin_core::{ConnId, Frame, Machine, Payload, Text, Timestamp};
use rejoin_sim::supabase::{
    BAD_SIGNATURE, Desk, LATE, PeerConfig, PeerEvent, Project, Stored, SupabasePeer, token, token_with,
};
use serde_json::{Value, json};

const HEARTBEAT: &str = r#"[null,"9","phoenix","heartbeat",{}]"#;
const HEARTBEAT_REPLY: &str = r#"[null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]"#;
const BROADCAST: &str = r#"["1","2","realtime:a","broadcast",{"type":"broadcast","event":"e","payload":{}}]"#;
const CLOSED: &str = r#"["1","1","realtime:a","phx_close",{}]"#;
const UNMATCHED: &str =
    r#"[null,"2","realtime:a","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]"#;

fn accepted(topic: &str) -> String {
    format!(r#"["1","1","realtime:{topic}","phx_reply",{{"status":"ok","response":{{"postgres_changes":[]}}}}]"#)
}

fn refused(topic: &str, reason: &str) -> String {
    let response = json!({ "reason": reason });
    format!(r#"["1","1","realtime:{topic}","phx_reply",{{"status":"error","response":{response}}}]"#)
}

/// A system message with its join_ref, whatever the order of its fields.
fn is_system(text: &str, extension: &str, status: &str, message: &str) -> bool {
    let payload = json!({ "message": message, "status": status, "extension": extension, "channel": "a" });
    serde_json::from_str::<Value>(text).unwrap() == json!(["1", null, "realtime:a", "system", payload])
}

fn is_shutdown(sent: &[String], message: &str) -> bool {
    sent.len() == 2 && is_system(&sent[0], "system", "error", message) && sent[1] == CLOSED
}

/// A project and one client that has joined `a` with this config.
fn joined(config: PeerConfig, channel: &Value) -> (Desk, ConnId) {
    let mut desk = Desk::new(config);
    let conn = desk.client(1);
    assert_eq!(desk.joins(conn, "a", channel)[0], accepted("a"));
    desk.events();
    (desk, conn)
}

#[test]
fn a_join_holds_up_whatever_comes_after_it_on_its_socket() {
    let (mut desk, conn) = joined(PeerConfig::default(), &json!({}));
    let other = desk.client(2);
    desk.joins(other, "a", &json!({}));
    desk.hears(conn, r#"["3","3","realtime:","phx_join",{}]"#);
    desk.hears(conn, HEARTBEAT);
    desk.hears(other, BROADCAST);
    desk.advance(4_999);
    assert_eq!(desk.take(conn), Vec::<String>::new());
    desk.hears(other, HEARTBEAT);
    assert_eq!(desk.take(other), [HEARTBEAT_REPLY], "its own socket does not wait");
    desk.advance(1);
    let sent = desk.take(conn);
    assert!(sent[0].contains("TopicNameRequired") && sent[1] == HEARTBEAT_REPLY && sent[2].contains("broadcast"));
}

#[test]
fn joins_wait_for_one_another() {
    let mut desk = Desk::new(PeerConfig::default());
    let conn = desk.client(1);
    for n in 1..=3 {
        desk.hears(conn, &format!(r#"["{n}","{n}","realtime:","phx_join",{{}}]"#));
    }
    for answered in 1..=3 {
        desk.advance(4_999);
        assert_eq!(desk.sent.len(), answered - 1);
        desk.advance(1);
        assert_eq!(desk.sent.len(), answered);
    }
}

#[test]
fn a_client_that_sends_nothing_is_closed_with_1000() {
    let (mut desk, conn) = joined(PeerConfig::default(), &json!({}));
    desk.hears(conn, HEARTBEAT);
    desk.advance(59_999);
    desk.orders(conn, |peer, now| peer.push(now, "realtime:a", "postgres_changes", Payload::EMPTY, false));
    assert!(desk.ends.is_empty());
    desk.advance(1);
    assert_eq!(desk.ends, [(conn, Some(1000))]);
}

#[test]
fn too_many_joins_cost_the_socket() {
    let mut desk = Desk::new(PeerConfig { joins_per_second: 1, ..PeerConfig::default() });
    let conn = desk.client(1);
    for n in 1..=61 {
        desk.hears(conn, &format!(r#"["1","1","realtime:{n}","phx_join",{{}}]"#));
        desk.advance(10);
    }
    desk.advance(5_000);
    let last = desk.take(conn).pop();
    assert_eq!(last, Some(refused("61", "ClientJoinRateLimitReached: Too many joins per second")));
    assert_eq!(desk.ends[0], (conn, Some(1001)));
}

#[test]
fn too_many_messages_cost_the_channel() {
    let (mut desk, conn) = joined(PeerConfig { messages_per_second: 1, ..PeerConfig::default() }, &json!({}));
    for _ in 0..60 {
        desk.hears(conn, BROADCAST);
    }
    assert_eq!(desk.take(conn), Vec::<String>::new());
    desk.hears(conn, BROADCAST);
    assert!(is_shutdown(&desk.take(conn), "Too many messages per second"));
}

#[test]
fn what_is_too_large_is_refused_or_cuts_the_connection() {
    let config = PeerConfig { payload_bytes: 100, frame_bytes: 1_000, ..PeerConfig::default() };
    let (mut desk, conn) = joined(config, &json!({ "broadcast": { "ack": true, "self": true } }));
    let large = |n| format!(r#"["1","2","realtime:a","broadcast",{{"payload":"{}"}}]"#, "x".repeat(n));
    desk.hears(conn, &large(200));
    let exceeded = r#"["1","2","realtime:a","phx_reply",{"status":"error","response":"payload_size_exceeded"}]"#;
    assert_eq!(desk.take(conn), [exceeded]);
    assert_eq!(desk.events(), [PeerEvent::Dropped { topic: "realtime:a".into() }]);
    desk.hears(conn, &large(1_000));
    assert_eq!((desk.take(conn), &desk.ends[..]), (vec![], &[(conn, None)][..]));
}

#[test]
fn private_channels_ask_for_permission() {
    let private = json!({ "private": true, "broadcast": { "ack": true, "self": true } });
    let mut desk = Desk::new(PeerConfig::default());
    let conn = desk.client(1);
    let unauthorized = "Unauthorized: You do not have permissions to read from this Channel topic: priv:none:1";
    assert_eq!(desk.joins(conn, "priv:none:1", &private), [refused("priv:none:1", unauthorized)]);
    assert_eq!(desk.joins(conn, "priv:ro:1", &private), [accepted("priv:ro:1")]);
    desk.events();
    desk.hears(conn, &BROADCAST.replace("realtime:a", "realtime:priv:ro:1"));
    desk.advance(60_000);
    assert_eq!(desk.take(conn), Vec::<String>::new(), "neither sent nor answered");
    assert_eq!(desk.events()[0], PeerEvent::Dropped { topic: "realtime:priv:ro:1".into() });
}

#[test]
fn a_broadcast_stays_on_its_side_of_privacy() {
    let mut desk = Desk::new(PeerConfig::default());
    let (public, private) = (desk.client(1), desk.client(2));
    desk.joins(public, "priv:rw:1", &json!({}));
    desk.joins(private, "priv:rw:1", &json!({ "private": true }));
    desk.hears(public, &BROADCAST.replace("realtime:a", "realtime:priv:rw:1"));
    assert_eq!(desk.take(private), Vec::<String>::new());
}

#[test]
fn a_project_may_have_private_channels_only() {
    let mut desk = Desk::new(PeerConfig { private_only: true, ..PeerConfig::default() });
    let conn = desk.client(1);
    let reason = "PrivateOnly: This project only allows private channels";
    assert_eq!(desk.joins(conn, "a", &json!({})), [refused("a", reason)]);
}

#[test]
fn a_join_is_refused_as_often_as_ordered() {
    let reason = "InitializingProjectConnection: Connecting to the project database";
    let mut desk = Desk::new(PeerConfig::default());
    let conn = desk.client(1);
    desk.orders(conn, |peer, _| peer.refuse("realtime:a", reason, 2));
    assert_eq!(desk.joins(conn, "a", &json!({})), [refused("a", reason)]);
    assert_eq!(desk.joins(conn, "a", &json!({})), [refused("a", reason)]);
    assert_eq!(desk.joins(conn, "a", &json!({})), [accepted("a")]);
}

#[test]
fn upgrades_are_refused_as_often_as_ordered() {
    let mut project = Project::new(PeerConfig::default());
    project.refuse_upgrades(429, "Too many joins per second", 1);
    let target = format!("/socket/websocket?vsn=2.0.0&apikey={}", token("anon", LATE));
    let refused = project.check_upgrade(Timestamp::ZERO, &target, &[]).unwrap_err();
    assert_eq!((refused.status, refused.body.as_str()), (429, r#"{"error":"Too many joins per second"}"#));
    assert_eq!(refused.delay, Duration::from_secs(2));
    assert!(project.check_upgrade(Timestamp::ZERO, &target, &[]).is_ok());
}

#[test]
fn keys_are_checked_and_a_header_goes_before_the_query() {
    let config = PeerConfig::default();
    let check = |query: &str, header: Option<&str>| {
        let headers: Vec<(Text, Text)> = header.map(|key| ("X-Api-Key".into(), key.into())).into_iter().collect();
        let target = format!("/socket/websocket?vsn=2.0.0&apikey={query}");
        config.check_upgrade(&target, &headers, Timestamp::ZERO).map(drop).map_err(|refused| refused.body)
    };
    let good = token("anon", LATE);
    let bad = token_with(&json!({ "role": "anon", "exp": LATE }), BAD_SIGNATURE);
    assert_eq!(check(&good, None), Ok(()));
    assert_eq!(check("sb_publishable_1", None), Ok(()));
    assert_eq!(check("", Some(&good)), Ok(()));
    assert_eq!(check(&good, Some(&bad)), Err(r#"{"error":"Failed to validate JWT signature"}"#.into()));
}

#[test]
fn bad_tokens_are_refused_in_the_words_of_the_server() {
    for (token, reason) in [
        ("garbage".into(), "MalformedJWT: The token provided is not a valid JWT"),
        (token("anon", 0), "InvalidJWTToken: Token expiration time is invalid"),
        (token("anon", 1_799_999_982), "InvalidJWTToken: Token has expired 18 seconds ago"),
        (token_with(&json!({ "role": "anon" }), ""), "InvalidJWTToken: Fields `role` and `exp` are required in JWT"),
        (token_with(&json!({}), BAD_SIGNATURE), "JwtSignatureError: Failed to validate JWT signature"),
    ] {
        let mut desk = Desk::new(PeerConfig::default());
        let conn = desk.client(1);
        let payload = json!({ "access_token": token });
        desk.hears(conn, &format!(r#"["1","1","realtime:a","phx_join",{payload}]"#));
        desk.advance(5_000);
        assert_eq!(desk.take(conn), [refused("a", reason)]);
    }
}

#[test]
fn a_join_with_a_key_of_the_new_style_runs_as_the_key_of_its_upgrade() {
    let mut desk = Desk::new(PeerConfig::default());
    let conn = desk.client_of(1, "2.0.0", &token("authenticated", LATE));
    let payload = json!({ "config": { "private": true }, "access_token": "sb_publishable_1" });
    desk.hears(conn, &format!(r#"["1","1","realtime:priv:rw:1","phx_join",{payload}]"#));
    desk.advance(2);
    assert_eq!(desk.take(conn), [accepted("priv:rw:1")]);
}

#[test]
fn an_access_token_is_never_answered_and_only_a_bad_one_ends_the_channel() {
    let (mut desk, conn) = joined(PeerConfig::default(), &json!({}));
    let push = |token: Value| json!(["1", "2", "realtime:a", "access_token", { "access_token": token }]).to_string();
    for token in
        [Value::Null, "sb_publishable_1".into(), token("authenticated", LATE).into(), token("anon", LATE).into()]
    {
        desk.hears(conn, &push(token));
    }
    assert_eq!(desk.take(conn), Vec::<String>::new());
    assert_eq!(desk.events().len(), 4);
    desk.hears(conn, &push("garbage".into()));
    assert!(is_shutdown(&desk.take(conn), "The token provided is not a valid JWT"));
    desk.hears(conn, HEARTBEAT);
    assert_eq!(desk.take(conn), [HEARTBEAT_REPLY], "the socket stays");
}

#[test]
fn a_renewed_token_counts_for_the_expiry() {
    let config = PeerConfig::default();
    let now = i64::try_from(config.unix_epoch.as_secs()).unwrap();
    let (mut desk, conn) = joined(config, &json!({}));
    let renewed = json!({ "access_token": token("anon", now + 30) });
    desk.hears(conn, &format!(r#"["1","2","realtime:a","access_token",{renewed}]"#));
    desk.advance(24_999);
    assert_eq!(desk.take(conn), Vec::<String>::new());
    desk.advance(1);
    assert!(is_shutdown(&desk.take(conn), "Token has expired 0 seconds ago"));
}

#[test]
fn the_newest_stored_messages_are_replayed_oldest_first() {
    let stored = |n: i64, payload| Stored {
        topic: "priv:rw:1".into(),
        event: "e".into(),
        payload,
        id: n.to_string(),
        at_unix_ms: n,
    };
    let number = |n: i64| Payload::json(&n).unwrap();
    let stored = vec![stored(1, number(1)), stored(2, number(2)), stored(3, Payload::binary(vec![7].into()))];
    let mut desk = Desk::new(PeerConfig { stored, ..PeerConfig::default() });
    let conn = desk.client(1);
    let config = |since: Value, private| json!({ "private": private, "broadcast": { "replay": { "since": since, "limit": 2 } } });
    let sent = desk.joins(conn, "priv:rw:1", &config(0.into(), true));
    let replayed: Value = serde_json::from_str(&sent[1]).unwrap();
    let payload = json!({ "type": "broadcast", "event": "e", "payload": 2, "meta": { "id": "2", "replayed": true } });
    assert_eq!(replayed, json!(["1", null, "realtime:priv:rw:1", "broadcast", payload]));
    assert!(sent.len() == 3 && sent[2].ends_with("\u{7}") && sent[2].contains(r#"{"id":"3","replayed":true}"#));

    let reason = "UnableToReplayMessages: Replay is not allowed for public channels";
    assert_eq!(desk.joins(conn, "b", &config(0.into(), false)), [refused("b", reason)]);
    let reason = "UnableToReplayMessages: Replay params are not valid";
    assert_eq!(desk.joins(conn, "priv:rw:2", &config("x".into(), true)), [refused("priv:rw:2", reason)]);
}

#[test]
fn a_client_of_vsn_1_reads_json_of_binary_broadcasts_and_no_bytes() {
    let (mut desk, conn) = joined(PeerConfig::default(), &json!({}));
    let old = desk.client_of(2, "1.0.0", &token("anon", LATE));
    desk.hears(old, r#"{"topic":"realtime:a","event":"phx_join","payload":{},"ref":"1"}"#);
    desk.advance(2);
    desk.take(old);
    desk.hears_frame(conn, Frame::Binary(b"\x03\x01\x01\x0a\x01\x00\x0013realtime:ae\x01\x02"[..].into()));
    desk.hears_frame(conn, Frame::Binary(b"\x03\x01\x01\x0a\x01\x00\x0112realtime:ae{\"n\":1}"[..].into()));
    let sent = desk.take(old);
    let payload = json!({ "type": "broadcast", "event": "e", "payload": { "n": 1 } });
    let expected = json!({ "ref": null, "topic": "realtime:a", "event": "broadcast", "payload": payload });
    assert_eq!(sent.iter().map(|text| serde_json::from_str(text).unwrap()).collect::<Vec<Value>>(), [expected]);
}

#[test]
fn what_means_nothing_is_not_answered_and_is_seen() {
    let (mut desk, conn) = joined(PeerConfig::default(), &json!({}));
    desk.hears(conn, r#"["1","2","realtime:a","custom",{"n":1}]"#);
    desk.hears(conn, "{bad");
    assert_eq!(desk.take(conn), Vec::<String>::new());
    let events = desk.events();
    assert!(matches!(&events[0], PeerEvent::Unknown { event, .. } if event == "custom"));
    assert!(matches!(&events[1], PeerEvent::Malformed { .. }));
}

#[test]
fn channels_end_as_ordered() {
    let (mut desk, conn) = joined(PeerConfig::default(), &json!({}));
    desk.orders(conn, |peer, now| peer.shut_down(now, "realtime:a", "Track message size exceeded"));
    assert!(is_shutdown(&desk.take(conn), "Track message size exceeded"));
    assert_eq!(desk.events(), [PeerEvent::Left { topic: "realtime:a".into() }]);

    let (mut desk, conn) = joined(PeerConfig::default(), &json!({}));
    desk.orders(conn, |peer, now| peer.close_channel(now, "realtime:a"));
    assert_eq!(desk.take(conn), [CLOSED]);

    let (mut desk, conn) = joined(PeerConfig::default(), &json!({}));
    desk.orders(conn, |peer, now| peer.crash(now, "realtime:a"));
    assert_eq!(desk.take(conn), [r#"["1","1","realtime:a","phx_error",{"reason":"channel_crash"}]"#]);

    let (mut desk, conn) = joined(PeerConfig::default(), &json!({}));
    desk.orders(conn, |peer, now| peer.drop_channels(now));
    assert_eq!(desk.take(conn), Vec::<String>::new());
    desk.hears(conn, BROADCAST);
    assert_eq!(desk.take(conn), [UNMATCHED]);
}

#[test]
fn sockets_end_as_ordered() {
    let (mut desk, conn) = joined(PeerConfig::default(), &json!({}));
    desk.orders(conn, |peer, now| peer.disconnect(now));
    let payload = json!({ "message": "Server requested disconnect", "status": "ok", "extension": "system" });
    let sent: Value = serde_json::from_str(&desk.take(conn).concat()).unwrap();
    assert_eq!(sent, json!([null, null, "realtime:a", "system", payload]));
    assert_eq!(desk.ends, [(conn, Some(1012))]);

    let (mut desk, conn) = joined(PeerConfig::default(), &json!({}));
    desk.orders(conn, |peer, now| peer.drain(now));
    assert_eq!((desk.take(conn), desk.ends), (vec![], vec![(conn, Some(1012))]));

    let (mut desk, conn) = joined(PeerConfig::default(), &json!({}));
    desk.orders(conn, |peer, now| peer.cut(now));
    assert_eq!((desk.take(conn), &desk.ends[..]), (vec![], &[(conn, None)][..]));
    assert!(matches!(desk.events().last(), Some(PeerEvent::Ended { .. })));
    assert!(desk.project.peer(conn).is_none_or(Machine::is_finished));
}

#[test]
fn a_peer_can_be_pumped_over_a_socket() {
    fn pumps<M: Machine + Unpin + Send + 'static>() {}
    pumps::<SupabasePeer>();
}
