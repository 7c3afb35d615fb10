//! Broadcasts of the scripted Supabase that are stored, come from the database, or never come back.

use rejoin_core::{ConnId, Frame, Payload};
use rejoin_sim::supabase::{Desk, LATE, PeerConfig, token};
use serde_json::{Value, json};

const NAME: &str = "priv:rw:1";
const REPLAY: &str = r#"{"private":true,"broadcast":{"replay":{"since":0}}}"#;

fn private() -> Value {
    json!({ "private": true })
}

#[test]
fn what_the_database_sends_has_an_id_and_is_replayed_if_it_is_private() {
    let mut desk = Desk::new(PeerConfig::default());
    let (stranger, member) = (desk.client(1), desk.client(2));
    desk.joins(stranger, NAME, &json!({}));
    desk.joins(member, NAME, &private());
    desk.send(NAME, true, "e", Payload::json(&json!({ "n": 1 })).unwrap());
    desk.send(NAME, false, "e", Payload::json(&json!({ "n": 2 })).unwrap());
    let (to_stranger, to_member) = (desk.take(stranger).concat(), desk.take(member).concat());
    assert!(to_stranger.starts_with('\u{4}') && to_stranger.ends_with(r#","n":2}"#), "{to_stranger}");
    let (_, told) = to_member.split_once(r#"{"id":""#).unwrap();
    let (id, payload) = told.split_once(r#""}"#).unwrap();
    assert_eq!(payload, format!(r#"{{"id":"{id}","n":1}}"#));

    let late = desk.client(3);
    let sent = desk.joins(late, NAME, &serde_json::from_str(REPLAY).unwrap());
    let replayed: Value = serde_json::from_str(&sent[1]).unwrap();
    let payload = json!({
        "type": "broadcast", "event": "e", "payload": { "id": id, "n": 1 }, "meta": { "id": id, "replayed": true },
    });
    assert_eq!((sent.len(), &replayed[4]), (2, &payload));
}

#[test]
fn a_client_has_its_broadcasts_stored_on_newer_servers() {
    for persists in [false, true] {
        let mut desk = Desk::new(PeerConfig { persists, ..PeerConfig::default() });
        let (sender, other) = (desk.client(1), desk.client(2));
        desk.joins(sender, NAME, &json!({ "private": true, "broadcast": { "ack": true } }));
        desk.joins(other, NAME, &private());
        let frame = b"\x03\x01\x01\x12\x01\x10\x0112realtime:priv:rw:1e{\"persist\":true}{\"n\":1}";
        desk.hears_frame(sender, Frame::Binary(frame[..].into()));
        assert!(desk.take(sender).concat().contains(r#""ok""#));
        assert_eq!(desk.take(other).concat().contains(r#"{"id":""#), persists);
        let sent = desk.joins(other, NAME, &serde_json::from_str(REPLAY).unwrap());
        assert_eq!(sent.iter().any(|text| text.contains("replayed")), persists, "{sent:?}");
    }
}

#[test]
fn whether_the_database_is_listened_to_is_told_on_demand() {
    let wish = json!({ "broadcast": { "replication_ready": true } });
    for (replication, expected) in
        [(true, "Replication connection established"), (false, "Replication connection was not established in time")]
    {
        let mut desk = Desk::new(PeerConfig { replication, ..PeerConfig::default() });
        let conn = desk.client(1);
        let mut sent = desk.joins(conn, "a", &wish);
        assert_eq!(sent.len() == 2, replication);
        desk.hears(conn, r#"[null,"9","phoenix","heartbeat",{}]"#);
        desk.advance(57_000);
        sent.extend(desk.take(conn));
        assert!(sent.iter().any(|text| text.contains(expected)), "{sent:?}");
        assert_eq!(sent.iter().any(|text| text.contains("phx_close")), !replication);
    }
}

#[test]
fn a_broken_server_acknowledges_broadcasts_and_returns_none() {
    let mut desk = Desk::new(PeerConfig { returns_broadcasts: false, ..PeerConfig::default() });
    let conn = desk.client(1);
    desk.joins(conn, "a", &json!({ "broadcast": { "self": true, "ack": true } }));
    desk.hears(conn, r#"["1","2","realtime:a","broadcast",{"type":"broadcast","event":"e","payload":{}}]"#);
    assert_eq!(desk.take(conn), [r#"["1","2","realtime:a","phx_reply",{"status":"ok","response":{}}]"#]);
}

#[test]
fn a_client_that_polls_hears_text_only_and_may_be_silent() {
    let mut desk = Desk::new(PeerConfig::default());
    let target = format!("/socket/longpoll?vsn=2.0.0&apikey={}", token("anon", LATE));
    let upgrade = desk.project.check_upgrade(desk.now, &target, &[]).unwrap();
    let conn = ConnId::new(1);
    desk.project.open(desk.now, conn, upgrade);
    desk.joins(conn, "a", &json!({}));
    desk.advance(600_000);
    desk.send("a", false, "e", Payload::binary(vec![7].into()));
    desk.send("a", false, "e", Payload::json(&7).unwrap());
    let sent = desk.read(conn);
    let id = &sent[0][4]["meta"]["id"];
    let payload = json!({ "type": "broadcast", "event": "e", "payload": 7, "meta": { "id": id } });
    assert_eq!(sent, [json!([null, null, "realtime:a", "broadcast", payload])]);
    assert!(id.is_string() && desk.ends.is_empty());
}
