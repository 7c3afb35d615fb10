//! Database changes of a Supabase client: whose they are, when they flow, and what they tell.

use std::time::Duration;

use rejoin_core::phoenix::ChannelId;
use rejoin_core::supabase::{
    ChangeKind, ChannelConfig, ChannelState, CloseReason, Event, PostgresBinding, PostgresChange, PostgresEvent,
    PostgresFailure, Retry, SubscribeFailure,
};
use rejoin_core::{Machine, Timestamp};
use rejoin_sim::{SupabaseScript, supabase_config};
use serde_json::{Value, json};

const ROOM: &str = "realtime:room";

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn todos(event: PostgresEvent) -> PostgresBinding {
    PostgresBinding::new(event).table("todos")
}

fn listening_for(bindings: impl IntoIterator<Item = PostgresBinding>) -> ChannelConfig {
    bindings.into_iter().fold(ChannelConfig::default(), ChannelConfig::postgres_changes)
}

/// A client whose join was answered with these ids, in the order of the bindings that it sent.
fn joined(config: &ChannelConfig, ids: &[u64]) -> (SupabaseScript, ChannelId) {
    let mut s = SupabaseScript::open(supabase_config());
    let room = s.subscribe("room", config);
    answer(&mut s, ids);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
    s.sent.clear();
    s.events.clear();
    (s, room)
}

/// The server repeats what the last join asked for, with these ids.
fn answer(s: &mut SupabaseScript, ids: &[u64]) {
    let mut echoes = asked(s);
    for (echo, id) in echoes.iter_mut().zip(ids) {
        echo["id"] = json!(id);
    }
    s.answer_join(ROOM, "ok", &json!({ "postgres_changes": echoes }).to_string());
}

/// The bindings of the last join that was sent.
fn asked(s: &SupabaseScript) -> Vec<Value> {
    let join: Value = s.joins(ROOM).last().expect("a join was sent").message.payload.parse().unwrap();
    join["config"]["postgres_changes"].as_array().unwrap().clone()
}

fn change(s: &mut SupabaseScript, data: &Value, ids: &[u64]) {
    let payload = format!(r#"{{"data":{data},"ids":{}}}"#, json!(ids));
    s.receive_message(None, None, ROOM, "postgres_changes", &payload);
}

fn insert() -> Value {
    json!({"table": "todos", "type": "INSERT", "record": {"id": 1}, "schema": "public"})
}

fn postgres_says(s: &mut SupabaseScript, status: &str, message: &str) {
    let payload = json!({"extension": "postgres_changes", "status": status, "message": message, "channel": "room"});
    s.say(ROOM, "system", &payload.to_string());
}

fn ready(s: &mut SupabaseScript) {
    postgres_says(s, "ok", "Subscribed to PostgreSQL");
}

/// The changes among the events, with the places of their bindings.
fn changes(s: &mut SupabaseScript) -> Vec<(Vec<usize>, PostgresChange)> {
    let of = |event| match event {
        Event::PostgresChange { bindings, change, .. } => Some((bindings.iter().collect(), change)),
        _ => None,
    };
    s.take_events().into_iter().filter_map(of).collect()
}

/// What the events say about the flow of changes.
fn flow(s: &mut SupabaseScript) -> Vec<String> {
    let of = |event| match event {
        Event::PostgresReady { missed_since, .. } => Some(format!("ready {missed_since:?}")),
        Event::PostgresFailed { failure, .. } => Some(failure.to_string()),
        Event::Subscribed { again, .. } => Some(format!("subscribed, again: {again}")),
        _ => None,
    };
    s.take_events().into_iter().filter_map(of).collect()
}

/// Traps T36 and T39.
#[test]
fn equal_bindings_are_sent_once_and_every_one_of_them_hears_a_change_once() {
    let all = PostgresBinding::new(PostgresEvent::All);
    let config = listening_for([todos(PostgresEvent::Insert), todos(PostgresEvent::Insert), all]);
    let mut s = SupabaseScript::open(supabase_config());
    s.subscribe("room", &config);
    let wire = json!([
        {"event": "INSERT", "schema": "public", "table": "todos"},
        {"event": "*", "schema": "public"},
    ]);
    assert_eq!(Value::from(asked(&s)), wire);
    answer(&mut s, &[7, 9]);
    s.events.clear();

    change(&mut s, &insert(), &[9, 7, 7]);
    let changes = changes(&mut s);
    assert_eq!(changes.len(), 1, "one frame is one change");
    assert_eq!(changes[0].0, [0, 1, 2]);
    assert_eq!(changes[0].1.kind(), ChangeKind::Insert);
}

/// Row 25 of the failure modes.
#[test]
fn an_answer_for_other_changes_ends_the_channel_and_says_what_differs() {
    let mut s = SupabaseScript::open(supabase_config());
    let room = s.subscribe("room", &listening_for([todos(PostgresEvent::All)]));
    let other = json!([{"id": 1, "event": "*", "schema": "private", "table": "todos"}]);
    s.answer_join(ROOM, "ok", &json!({ "postgres_changes": other }).to_string());
    assert_eq!(s.take_sent_names(), ["phx_join", "phx_leave"]);
    s.end(ROOM, "phx_close");
    let events = s.take_events();
    let mismatch = events.iter().find_map(|event| match event {
        Event::SubscribeFailed { failure: SubscribeFailure::BindingMismatch(mismatch), retry, .. } => {
            assert_eq!(*retry, Retry::Never);
            Some(mismatch)
        }
        _ => None,
    });
    let mismatch = mismatch.expect("it is said");
    assert_eq!(mismatch.index, 0);
    assert!(mismatch.to_string().contains("private"), "{mismatch}");
    assert!(events.contains(&Event::ChannelClosed { channel: room, reason: CloseReason::Refused }), "{events:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Subscribed { .. })));
    s.advance(secs(600));
    assert!(s.joins(ROOM).is_empty(), "it would be answered in the same way again");
}

/// Row 31 of the failure modes and trap T41.
#[test]
fn joined_is_one_thing_and_hearing_of_changes_another() {
    let (mut s, room) = joined(&listening_for([todos(PostgresEvent::All)]), &[1]);
    assert_eq!(flow(&mut s), [""; 0]);
    s.advance(secs(2));
    ready(&mut s);
    ready(&mut s);
    assert_eq!(flow(&mut s), ["ready None"], "said twice, told once");
    s.advance(secs(3600));
    assert_eq!(flow(&mut s), [""; 0]);

    let lost_at = s.now;
    s.closed(Some(1006));
    s.advance(secs(1));
    s.opened();
    answer(&mut s, &[1]);
    assert_eq!(flow(&mut s), ["subscribed, again: true"]);
    s.advance(secs(3));
    ready(&mut s);
    let Some(Event::PostgresReady { channel, missed_since: Some(since) }) =
        s.take_events().into_iter().find(|event| matches!(event, Event::PostgresReady { .. }))
    else {
        panic!("changes flow again")
    };
    assert_eq!(channel, room);
    assert!(since <= lost_at && since >= Timestamp::ZERO, "{since:?}");
}

#[test]
fn the_word_that_changes_flow_may_come_before_the_answer_to_the_join() {
    let mut s = SupabaseScript::open(supabase_config());
    let room = s.subscribe("room", &listening_for([todos(PostgresEvent::All)]));
    ready(&mut s);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joining), "it joins nothing");
    assert_eq!(flow(&mut s), [""; 0]);
    answer(&mut s, &[1]);
    assert_eq!(flow(&mut s), ["subscribed, again: false", "ready None"]);
    s.advance(secs(60));
    assert_eq!(flow(&mut s), [""; 0]);
}

/// Row 31 of the failure modes: the errors.
#[test]
fn what_keeps_changes_from_flowing_is_told_and_so_is_its_end() {
    let (mut s, room) = joined(&listening_for([todos(PostgresEvent::All)]), &[1]);
    s.advance(secs(14));
    assert_eq!(flow(&mut s), [""; 0]);
    s.advance(secs(1));
    let event = Event::PostgresFailed { channel: room, failure: PostgresFailure::TimedOut };
    assert_eq!(s.take_events(), [event], "said once");
    s.advance(secs(60));
    postgres_says(&mut s, "error", "column \"x\" does not exist");
    postgres_says(&mut s, "error", "column \"x\" does not exist");
    let failed = "no database changes: column \"x\" does not exist";
    assert_eq!(flow(&mut s), [failed, failed]);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
    ready(&mut s);
    assert_eq!(flow(&mut s), ["ready None"]);
    s.advance(secs(9));
    let stopped_at = s.now;
    postgres_says(&mut s, "error", "Too many database timeouts");
    s.advance(secs(5));
    ready(&mut s);
    let expected = format!("ready {:?}", Some(stopped_at));
    assert_eq!(flow(&mut s), ["no database changes: Too many database timeouts".to_owned(), expected]);
}

#[test]
fn a_change_proves_that_changes_flow() {
    let (mut s, _) = joined(&listening_for([todos(PostgresEvent::All)]), &[1]);
    s.advance(secs(15));
    s.events.clear();
    change(&mut s, &insert(), &[1]);
    let events = s.take_events();
    assert!(matches!(&events[..], [Event::PostgresReady { .. }, Event::PostgresChange { .. }]), "{events:?}");
    ready(&mut s);
    assert_eq!(flow(&mut s), [""; 0]);
}

#[test]
fn a_server_that_cannot_make_up_its_mind_fills_no_memory() {
    let mut config = supabase_config();
    config.phoenix.limits.events = 100;
    let mut s = SupabaseScript::open(config);
    s.subscribe("room", &listening_for([todos(PostgresEvent::All)]));
    answer(&mut s, &[1]);
    s.events.clear();
    for _ in 0..1_000 {
        let payload = r#"{"extension":"postgres_changes","status":"error","message":"no"}"#;
        let conn = s.conn();
        for status in ["error", "ok"] {
            let text = format!(r#"["1","1","{ROOM}","system",{}]"#, payload.replace("error", status));
            let frame = rejoin_core::Frame::Text(text.into());
            s.session.handle_transport(s.now, rejoin_core::TransportEvent::Received { conn, frame });
        }
    }
    assert!(s.session.queued_events() <= 120, "{}", s.session.queued_events());
    s.drain();
    assert!(s.take_events().iter().any(|event| matches!(event, Event::Lagged { .. })));
}

/// Row 32 of the failure modes.
#[test]
fn why_nothing_arrives_is_told() {
    let (mut s, _) = joined(&listening_for([todos(PostgresEvent::All)]), &[1]);
    let unauthorized =
        json!({"schema": "public", "table": "todos", "type": "INSERT", "errors": ["Error 401: Unauthorized"]});
    change(&mut s, &unauthorized, &[1]);
    let [(places, change)] = &changes(&mut s)[..] else { panic!("one change") };
    assert_eq!(*places, [0]);
    let details = change.details().unwrap();
    assert_eq!(details.errors, ["Error 401: Unauthorized"]);
    assert_eq!(change.record::<Value>(), Ok(None));
    postgres_says(&mut s, "error", "Unable to subscribe to changes with given parameters.");
    let events = s.take_events();
    let system =
        |event: &Event| matches!(event, Event::System { message, .. } if message.extension == "postgres_changes");
    assert!(events.iter().any(system) && events.len() == 2, "{events:?}");
}

/// Traps T42 and T43, rows 39 to 41 of the failure modes.
#[test]
fn rows_come_as_they_are_whatever_is_missing() {
    let (mut s, _) = joined(&listening_for([todos(PostgresEvent::All)]), &[1]);
    let big = r#"{"table":"todos","type":"UPDATE","record":{"id":9007199254740993,"n":0.1000000000000000055},"old_record":{"id":9007199254740993}}"#;
    s.receive_message(None, None, ROOM, "postgres_changes", &format!(r#"{{"data":{big},"ids":[1]}}"#));
    change(&mut s, &json!({"table": "todos", "type": "DELETE", "old_record": {"id": 7}}), &[1]);
    let errors = ["Error 413: Payload Too Large"];
    change(&mut s, &json!({"table": "todos", "type": "INSERT", "record": {"id": 1}, "errors": errors}), &[1]);
    let changes: Vec<_> = changes(&mut s).into_iter().map(|(_, change)| change).collect();
    assert_eq!(
        changes[0].raw_record().unwrap().unwrap().as_json(),
        Some(r#"{"id":9007199254740993,"n":0.1000000000000000055}"#)
    );
    assert_eq!(changes[1].old_record::<Value>(), Ok(Some(json!({"id": 7}))));
    assert_eq!(changes[1].record::<Value>(), Ok(None));
    assert_eq!(changes[2].truncated(), Ok(true));
}

#[test]
fn changes_that_nobody_asked_for_are_counted_and_what_is_no_change_is_passed_on() {
    let (mut s, room) = joined(&listening_for([todos(PostgresEvent::Insert)]), &[1]);
    change(&mut s, &insert(), &[2]);
    let update = json!({"table": "todos", "type": "UPDATE", "record": {"id": 1}});
    change(&mut s, &update, &[1]);
    assert_eq!(s.take_events(), []);
    assert_eq!(s.session.stats().unmatched_changes, 2);
    s.receive_message(None, None, ROOM, "postgres_changes", r#"{"data":7}"#);
    assert!(
        matches!(&s.take_events()[..], [Event::Message { channel, event, .. }] if *channel == room && event == "postgres_changes")
    );
}

#[test]
fn a_server_that_names_no_ids_is_understood_by_table_and_event() {
    let mut s = SupabaseScript::open(supabase_config());
    s.subscribe("room", &listening_for([todos(PostgresEvent::Insert), PostgresBinding::new(PostgresEvent::Delete)]));
    s.accept(ROOM);
    s.events.clear();
    change(&mut s, &insert(), &[]);
    let delete = json!({"table": "notes", "type": "DELETE", "schema": "public", "old_record": {"id": 1}});
    s.receive_message(None, None, ROOM, "postgres_changes", &json!({ "data": delete }).to_string());
    let places: Vec<_> = changes(&mut s).into_iter().map(|(places, _)| places).collect();
    assert_eq!(places, [[0], [1]]);
}

#[test]
fn topics_of_the_legacy_api_tell_changes_without_bindings() {
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default());
    s.receive_message(None, None, ROOM, "INSERT", &insert().to_string());
    let [(places, change)] = &changes(&mut s)[..] else { panic!("one change") };
    assert!(places.is_empty());
    assert_eq!(change.record::<Value>(), Ok(Some(json!({"id": 1}))));
    s.receive_message(None, None, ROOM, "INSERT", r#"{"coin":1}"#);
    let events = s.take_events();
    assert!(matches!(&events[..], [Event::Message { channel, .. }] if *channel == room), "{events:?}");
}

#[test]
fn ids_are_learned_anew_with_every_join() {
    let (mut s, _) = joined(&listening_for([todos(PostgresEvent::Insert)]), &[1]);
    s.closed(None);
    s.advance(secs(1));
    s.opened();
    answer(&mut s, &[2]);
    s.events.clear();
    change(&mut s, &insert(), &[1]);
    assert_eq!(changes(&mut s).len(), 0);
    change(&mut s, &insert(), &[2]);
    assert_eq!(changes(&mut s).len(), 1);
}
