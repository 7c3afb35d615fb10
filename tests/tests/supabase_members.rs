//! Who is present for a Supabase client: joins, updates and leaves, through every loss.

use std::time::Duration;

use rejoin_core::phoenix::{ChannelId, PresenceChange};
use rejoin_core::supabase::{ChannelConfig, Event, PresenceTrouble};
use rejoin_sim::{SupabaseScript, supabase_config};
use serde_json::{Value, json};

const ROOM: &str = "realtime:room";

fn present() -> ChannelConfig {
    ChannelConfig::default().presence("me")
}

fn rejoin(s: &mut SupabaseScript) {
    s.closed(Some(1006));
    s.advance(Duration::from_secs(1));
    s.opened();
    s.accept(ROOM);
}

/// Keys and refs of everybody in the room.
fn members(s: &SupabaseScript, room: ChannelId) -> Vec<(String, Vec<String>)> {
    let refs = |metas: &[rejoin_core::phoenix::Meta]| metas.iter().map(|meta| meta.phx_ref.to_string()).collect();
    s.session.presence(room).unwrap().iter().map(|(key, metas)| (key.to_owned(), refs(metas))).collect()
}

fn state(s: &mut SupabaseScript, members: &[(&str, &str)]) {
    let state: serde_json::Map<_, _> =
        members.iter().map(|(key, r)| ((*key).into(), json!({"metas": [{"phx_ref": r}]}))).collect();
    s.say(ROOM, "presence_state", &Value::from(state).to_string());
}

fn diff(s: &mut SupabaseScript, joins: &Value, leaves: &Value) {
    let payload = json!({"joins": joins, "leaves": leaves}).to_string();
    s.receive_message(None, None, ROOM, "presence_diff", &payload);
}

fn metas(key: &str, meta: &Value) -> Value {
    json!({ key: { "metas": [meta] } })
}

/// What the presence events say, in order.
fn said(s: &mut SupabaseScript) -> Vec<String> {
    let of = |event| match event {
        Event::Presence { change, .. } => Some(match *change {
            PresenceChange::Join { key, .. } => format!("join {key}"),
            PresenceChange::Update { key, old, new } => format!("update {key} {} {}", old.phx_ref, new.phx_ref),
            PresenceChange::Leave { key, .. } => format!("leave {key}"),
            PresenceChange::Sync => "sync".into(),
            other => format!("{other:?}"),
        }),
        Event::PresenceTrouble { trouble, .. } => Some(trouble.to_string()),
        _ => None,
    };
    s.take_events().into_iter().filter_map(of).collect()
}

/// Row 52 of the failure modes, traps T61, T62, T63 and T67.
#[test]
fn members_join_update_and_leave_once_each() {
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &present());
    state(&mut s, &[("ann", "a1"), ("bob", "b1")]);
    assert_eq!(said(&mut s), ["join ann", "join bob", "sync"]);
    let update = metas("ann", &json!({"phx_ref": "a2", "phx_ref_prev": "a1"}));
    diff(&mut s, &update, &metas("ann", &json!({"phx_ref": "a1"})));
    assert_eq!(said(&mut s), ["update ann a1 a2", "sync"]);
    diff(&mut s, &metas("ann", &json!({"phx_ref": "a3"})), &metas("nobody", &json!({"phx_ref": "x"})));
    assert_eq!(said(&mut s), ["join ann", "sync"]);
    diff(&mut s, &json!({}), &metas("ann", &json!({"phx_ref": "a2"})));
    assert_eq!(said(&mut s), ["leave ann", "sync"]);
    assert_eq!(members(&s, room), [("ann".into(), vec!["a3".into()]), ("bob".into(), vec!["b1".into()])]);
}

/// Rows 51 and 53 of the failure modes, traps T60 and T92.
#[test]
fn whoever_left_during_an_absence_leaves_with_the_next_state_and_diffs_wait_for_it() {
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &present());
    diff(&mut s, &metas("early", &json!({"phx_ref": "e"})), &json!({}));
    assert_eq!(said(&mut s), [""; 0], "it waits for the state");
    state(&mut s, &[("ann", "a"), ("bob", "b")]);
    assert_eq!(said(&mut s), ["join ann", "join bob", "join early", "sync"]);
    rejoin(&mut s);
    diff(&mut s, &metas("cyd", &json!({"phx_ref": "c"})), &json!({}));
    assert_eq!(said(&mut s), [""; 0]);
    assert_eq!(members(&s, room).len(), 3, "the old members stay visible meanwhile");
    state(&mut s, &[("ann", "a")]);
    assert_eq!(said(&mut s), ["join cyd", "leave bob", "leave early", "sync"]);
    // Servers send a further state when the first track enables presence (trap T96).
    state(&mut s, &[("ann", "a"), ("cyd", "c"), ("me", "m")]);
    assert_eq!(said(&mut s), ["join me", "sync"]);
}

/// Traps T64 and T66.
#[test]
fn what_a_server_says_of_presence_is_bounded_and_what_is_left_out_is_told() {
    let mut config = supabase_config();
    config.presence_limits.keys = 2;
    config.presence_limits.pending = 3;
    let (mut s, room) = SupabaseScript::in_room(config, &present());
    for n in 0..5 {
        diff(&mut s, &metas("k", &json!({"phx_ref": format!("r{n}")})), &json!({}));
    }
    let behind = PresenceTrouble::Behind { diffs: 1 }.to_string();
    assert_eq!(said(&mut s), [behind.clone(), behind]);
    state(&mut s, &[("", "a"), ("__proto__", "b"), ("constructor", "c")]);
    let said = said(&mut s);
    assert!(said.iter().any(|line| line.contains("left out")), "{said:?}");
    assert_eq!(members(&s, room).len(), 2);
    s.say(ROOM, "presence_state", r#"{"ann":7}"#);
    let events = s.take_events();
    assert!(
        matches!(&events[..], [Event::PresenceTrouble { trouble: PresenceTrouble::Unreadable(_), .. }]),
        "{events:?}"
    );
}
