//! Presence of the scripted Supabase: who hears of whom, when, and how often one may call.

use std::time::Duration;

use rejoin_core::ConnId;
use rejoin_sim::supabase::{Desk, LATE, PeerConfig, PresenceState, token};
use serde_json::{Value, json};

const ROOM: &str = "realtime:a";

fn joined(desk: &mut Desk, conn: u64, presence: &Value) -> (ConnId, Vec<Value>) {
    let conn = desk.client(conn);
    let sent = desk.joins(conn, "a", &json!({ "presence": presence }));
    (conn, sent.iter().map(|text| serde_json::from_str(text).unwrap()).collect())
}

fn member(desk: &mut Desk, conn: u64, key: &str) -> ConnId {
    joined(desk, conn, &json!({ "enabled": true, "key": key })).0
}

fn calls(desk: &mut Desk, conn: ConnId, call: &Value) {
    desk.hears(conn, &json!(["1", "2", ROOM, "presence", call]).to_string());
}

fn tracks(desk: &mut Desk, conn: ConnId, payload: &Value) {
    calls(desk, conn, &json!({ "type": "presence", "event": "track", "payload": payload }));
}

fn untracks(desk: &mut Desk, conn: ConnId) {
    calls(desk, conn, &json!({ "type": "presence", "event": "untrack" }));
}

fn reply(status: &str, response: Value) -> Value {
    json!(["1", "2", ROOM, "phx_reply", { "status": status, "response": response }])
}

fn ok() -> Value {
    reply("ok", json!({}))
}

/// The one diff that was sent: the metas that joined and those that left.
fn diff(sent: &[Value]) -> (Value, Value) {
    let [diff] = sent else { panic!("one diff was expected: {sent:?}") };
    assert_eq!((&diff[0], &diff[1], &diff[3]), (&Value::Null, &Value::Null, &"presence_diff".into()));
    (diff[4]["joins"].clone(), diff[4]["leaves"].clone())
}

fn without_refs(mut metas: Value) -> Value {
    for meta in metas.as_object_mut().unwrap().values_mut().flat_map(|of_key| of_key["metas"].as_array_mut().unwrap()) {
        meta.as_object_mut().unwrap().retain(|name, _| !name.starts_with("phx_ref"));
    }
    metas
}

#[test]
fn members_hear_of_one_another_and_who_comes_later_is_told() {
    let mut desk = Desk::new(PeerConfig::default());
    let (first, sent) = joined(&mut desk, 1, &json!({ "enabled": true, "key": "k" }));
    assert_eq!(sent[1], json!(["1", null, ROOM, "presence_state", {}]));
    let second = member(&mut desk, 2, "k");
    tracks(&mut desk, first, &json!({ "n": 1 }));
    let mut own = desk.read(first);
    assert_eq!(own.remove(0), ok(), "the reply goes before the diff");
    let (joins, leaves) = diff(&own);
    assert_eq!((without_refs(joins.clone()), leaves), (json!({ "k": { "metas": [{ "n": 1 }] } }), json!({})));
    assert_eq!(desk.read(second), own);
    tracks(&mut desk, second, &json!({ "n": 2 }));
    let (_, sent) = joined(&mut desk, 3, &json!({ "enabled": true }));
    assert_eq!(sent[1][4]["k"]["metas"][0], joins["k"]["metas"][0]);
    assert_eq!(without_refs(sent[1][4].clone()), json!({ "k": { "metas": [{ "n": 1 }, { "n": 2 }] } }));
}

#[test]
fn an_update_joins_and_leaves_and_the_same_again_is_nothing() {
    let mut desk = Desk::new(PeerConfig::default());
    let conn = member(&mut desk, 1, "k");
    tracks(&mut desk, conn, &json!({ "n": 1 }));
    let (before, _) = diff(&desk.read(conn)[1..]);
    tracks(&mut desk, conn, &json!({ "n": 1 }));
    assert_eq!(desk.read(conn), [ok()]);
    tracks(&mut desk, conn, &json!({ "n": 2 }));
    let (joins, leaves) = diff(&desk.read(conn)[1..]);
    assert_eq!(leaves, before);
    assert_eq!(joins["k"]["metas"][0]["phx_ref_prev"], before["k"]["metas"][0]["phx_ref"]);
    untracks(&mut desk, conn);
    assert_eq!(diff(&desk.read(conn)[1..]), (json!({}), joins));
}

#[test]
fn whoever_leaves_crashes_or_is_cut_off_is_gone() {
    for how in ["leave", "crash", "cut", "join again"] {
        let mut desk = Desk::new(PeerConfig::default());
        let (watcher, goer) = (member(&mut desk, 1, "w"), member(&mut desk, 2, "g"));
        tracks(&mut desk, goer, &json!({ "n": 1 }));
        desk.take(watcher);
        match how {
            "leave" => desk.hears(goer, &json!(["1", "3", ROOM, "phx_leave", {}]).to_string()),
            "crash" => desk.orders(goer, |peer, now| peer.crash(now, ROOM)),
            "cut" => desk.orders(goer, |peer, now| peer.cut(now)),
            _ => drop(desk.joins(goer, "a", &json!({ "presence": { "enabled": true } }))),
        }
        let (joins, leaves) = diff(&desk.read(watcher));
        assert_eq!((joins, without_refs(leaves)), (json!({}), json!({ "g": { "metas": [{ "n": 1 }] } })), "{how}");
    }
}

#[test]
fn calls_that_make_no_sense_are_answered_as_by_the_server() {
    let mut desk = Desk::new(PeerConfig::default());
    let conn = member(&mut desk, 1, "k");
    let not_a_map = json!({ "reason": "Presence track payload must be a map" });
    for (call, answer) in [
        (json!({ "event": "track", "payload": "text" }), reply("error", not_a_map)),
        (json!({ "event": "dance" }), reply("error", json!({}))),
        (json!({ "type": "presence" }), ok()),
        (json!({ "event": "UNTRACK" }), ok()),
    ] {
        calls(&mut desk, conn, &call);
        assert_eq!(desk.read(conn), [answer], "{call}");
    }
}

#[test]
fn without_presence_there_is_no_state_and_the_first_track_may_bring_it() {
    for newer in [false, true] {
        let mut desk = Desk::new(PeerConfig { state_on_track: newer, ..PeerConfig::default() });
        let (conn, sent) = joined(&mut desk, 1, &json!({ "enabled": false, "key": "k" }));
        assert_eq!(sent.len(), 1);
        let other = member(&mut desk, 2, "o");
        tracks(&mut desk, other, &json!({}));
        diff(&desk.read(conn));
        for n in 0..2 {
            tracks(&mut desk, conn, &json!({ "n": n }));
            let events: Vec<Value> = desk.read(conn).iter().map(|message| message[3].clone()).collect();
            let with_state = newer && n == 0;
            let expected = if with_state { 3 } else { 2 };
            assert_eq!((events.len(), events[1] == "presence_state"), (expected, with_state), "{events:?}");
        }
    }
}

#[test]
fn a_key_that_is_not_given_is_made_up_from_the_seed_for_each_join() {
    let keys = |seed| {
        let mut desk = Desk::new(PeerConfig::default());
        desk.project.commons.seed(seed);
        let keys = [1, 2].map(|conn| {
            let (conn, _) = joined(&mut desk, conn, &json!({ "enabled": true, "key": "" }));
            tracks(&mut desk, conn, &json!({}));
            let (joins, _) = diff(&desk.read(conn)[1..]);
            joins.to_string()
        });
        assert_ne!(keys[0], keys[1]);
        keys
    };
    assert_eq!(keys(1), keys(1));
    assert_ne!(keys(1), keys(2));
}

#[test]
fn a_sixth_call_within_thirty_seconds_costs_the_channel() {
    let mut desk = Desk::new(PeerConfig::default());
    let conn = member(&mut desk, 1, "k");
    for window in 0..2 {
        for n in 0..5 {
            tracks(&mut desk, conn, &json!({ "n": n, "window": window }));
        }
        desk.advance(30_000);
        desk.hears(conn, r#"[null,"9","phoenix","heartbeat",{}]"#);
    }
    (0..5).for_each(|_| untracks(&mut desk, conn));
    desk.take(conn);
    untracks(&mut desk, conn);
    let sent = desk.read(conn);
    let system = json!({
        "message": "Client presence rate limit exceeded", "status": "error", "extension": "system", "channel": "a",
    });
    assert_eq!(sent, [json!(["1", null, ROOM, "system", system]), json!(["1", "1", ROOM, "phx_close", {}])]);
}

#[test]
fn the_state_comes_late_or_twice_or_never_as_configured() {
    let late = Duration::from_secs(1);
    for (presence_state, times) in [
        (PresenceState::Joined, vec![true, false]),
        (PresenceState::Late(late), vec![false, true]),
        (PresenceState::Twice(late), vec![true, true]),
        (PresenceState::Never, vec![false, false]),
    ] {
        let mut desk = Desk::new(PeerConfig { presence_state, ..PeerConfig::default() });
        let conn = desk.client(1);
        desk.hears(
            conn,
            &json!(["1", "1", ROOM, "phx_join", { "config": { "presence": { "enabled": true } } }]).to_string(),
        );
        for expected in times {
            desk.advance(900);
            let state = desk.read(conn).iter().any(|message| message[3] == "presence_state");
            assert_eq!(state, expected, "{presence_state:?}");
            desk.advance(102);
        }
    }
}

#[test]
fn presence_of_a_private_channel_asks_for_permission() {
    let mut desk = Desk::new(PeerConfig::default());
    let conn = desk.client(1);
    let payload = json!({
        "config": { "private": true, "presence": { "enabled": true } }, "access_token": token("authenticated", LATE),
    });
    desk.hears(conn, &json!(["1", "1", "realtime:priv:bc:1", "phx_join", payload]).to_string());
    desk.advance(2);
    assert_eq!(desk.read(conn).len(), 1, "no state");
    let track = json!({ "event": "track", "payload": {} });
    desk.hears(conn, &json!(["1", "2", "realtime:priv:bc:1", "presence", track]).to_string());
    assert_eq!(desk.read(conn)[0][4], json!({ "status": "error", "response": {} }));
}
