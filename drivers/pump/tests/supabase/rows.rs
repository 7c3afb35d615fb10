//! Database changes: who hears which, as what, and since when they flow.

use rejoin_core::supabase::{
    ChangeKind, ChannelConfig, CloseReason, PostgresBinding, PostgresEvent, PostgresFailure, SubscribeFailure, Trouble,
};
use rejoin_pump::Inflow;
use rejoin_pump::supabase::{
    Channel, ChannelEvent, Client, Listen, NotReady, SubscribeError, Typed, TypedChange, TypedListener,
};
use rejoin_sim::supabase::{Echo, Readiness, RowChange, RowError};
use serde::Deserialize;
use serde_json::json;

use crate::lab::{Lab, config, heard, secs, story};

#[derive(Debug, PartialEq, Deserialize)]
struct Todo {
    id: i64,
    task: String,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Key {
    id: i64,
}

fn todos() -> PostgresBinding {
    PostgresBinding::new(PostgresEvent::All).table("todos")
}

fn new_notes() -> PostgresBinding {
    PostgresBinding::new(PostgresEvent::Insert).table("notes")
}

/// Todos twice, as somebody may ask for them.
fn rows() -> ChannelConfig {
    [todos(), new_notes(), todos()].into_iter().fold(ChannelConfig::default(), ChannelConfig::postgres_changes)
}

fn change(lab: &mut Lab, change: RowChange) {
    lab.order(move |peer, now| peer.change(now, &change));
}

/// A handle whose changes flow.
fn flowing() -> (Lab, Client, Channel) {
    let (mut lab, client) = Lab::new();
    let (room, _) = lab.join(&client, "room", rows());
    lab.live(1);
    assert_eq!(lab.wait(room.wait_ready(secs(0))), Ok(()));
    (lab, client, room)
}

#[test]
fn every_listener_of_a_binding_hears_its_changes_once() {
    let (mut lab, client, room) = flowing();
    let (other, _ears) = lab.join(&client, "room", rows());
    let todo = ["insert", "update", "delete"];
    let all = ["insert", "update", "delete", "insert"];
    let choices: [(Listen, &[&str]); 6] = [
        (Listen::changes(&todos()), &todo),
        (Listen::changes(&new_notes()), &["insert"]),
        (Listen::postgres_changes(), &all),
        (Listen::event("postgres_changes"), &all),
        (Listen::everything(), &all),
        (Listen::presence(), &[]),
    ];
    let mut listeners = Vec::new();
    for room in [&room, &room, &other] {
        for (listen, expected) in &choices {
            listeners.push((lab.wait(room.listen(listen.clone())).unwrap(), expected));
        }
    }
    change(&mut lab, RowChange::insert("todos", &json!({"id": 1, "task": "rest"})));
    change(&mut lab, RowChange::update("todos", &json!({"id": 1}), &json!({"id": 1, "task": "sleep"})));
    change(&mut lab, RowChange::delete("todos", &json!({"id": 1})));
    change(&mut lab, RowChange::insert("notes", &json!({"id": 1})));
    change(&mut lab, RowChange::delete("notes", &json!({"id": 1})));
    for (listener, expected) in &mut listeners {
        assert_eq!(story(&heard(listener))[2..], ***expected, "behind `subscribed` and `ready`");
    }
}

#[test]
fn a_binding_that_the_channel_does_not_ask_for_is_an_error() {
    let (mut lab, client, room) = flowing();
    let unknown = todos().filter("id=eq.7");
    assert_eq!(lab.wait(room.listen(Listen::changes(&unknown))).err(), Some(SubscribeError::UnknownBinding));
    assert_eq!(lab.wait(room.changes::<Todo>(&unknown)).err(), Some(SubscribeError::UnknownBinding));
    let (inbox, _events) = lab.wait(client.inbox(Inflow::default())).unwrap();
    let into = lab.wait(room.listen_into(inbox, Listen::changes(&unknown)));
    assert_eq!(into, Err(SubscribeError::UnknownBinding));
}

#[test]
fn a_binding_that_comes_after_joining_is_refused_until_it_can_be_asked_for() {
    let (mut lab, client, room) = flowing();
    let late = PostgresBinding::new(PostgresEvent::All).table("late");
    let with_late = client.channel("room", rows().postgres_changes(late.clone())).unwrap();
    let mut changes = lab.wait(with_late.changes::<Key>(&late)).unwrap();
    assert_eq!(lab.wait(with_late.subscribe()), Err(SubscribeError::ConfigDiffers));
    assert_eq!((lab.wait(with_late.state()), lab.sent("phx_join")), (Ok(None), 1));
    change(&mut lab, RowChange::insert("late", &json!({"id": 1})));
    assert_eq!(heard(&mut changes), [], "nobody has asked for it");

    lab.wait(room.unsubscribe()).unwrap();
    lab.wait(with_late.subscribe()).unwrap();
    lab.live(1);
    assert_eq!((lab.wait(with_late.wait_ready(secs(0))), lab.sent("phx_join")), (Ok(()), 2));
    change(&mut lab, RowChange::insert("late", &json!({"id": 2})));
    let ids = heard(&mut changes).into_iter().filter_map(|heard| match heard {
        Typed::Message(change) => Some(change.new.unwrap().id),
        _ => None,
    });
    assert_eq!(ids.collect::<Vec<_>>(), [2]);
}

fn typed(lab: &mut Lab, room: &Channel) -> TypedListener<TypedChange<Todo>> {
    let mut changes = lab.wait(room.changes::<Todo>(&todos())).unwrap();
    heard(&mut changes);
    changes
}

#[test]
fn rows_are_read_as_what_the_application_calls_them() {
    let (mut lab, _client, room) = flowing();
    let mut changes = typed(&mut lab, &room);
    let todo = |task: &str| Todo { id: 1, task: task.into() };
    change(&mut lab, RowChange::insert("todos", &json!({"id": 1, "task": "rest"})));
    change(&mut lab, RowChange::update("todos", &json!({"id": 1}), &json!({"id": 1, "task": "sleep"})));
    change(&mut lab, RowChange::delete("todos", &json!({"id": 1})));
    let read = heard(&mut changes).into_iter().map(|heard| match heard {
        Typed::Message(change) => (change.kind, change.raw.old_record::<Key>().unwrap(), change.new),
        other => panic!("{other:?}"),
    });
    let expected = [
        (ChangeKind::Insert, None, Some(todo("rest"))),
        (ChangeKind::Update, Some(Key { id: 1 }), Some(todo("sleep"))),
        (ChangeKind::Delete, Some(Key { id: 1 }), None),
    ];
    assert_eq!(read.collect::<Vec<_>>(), expected);
}

#[test]
fn a_row_that_cannot_be_read_is_told_as_it_came_and_the_next_one_is_read() {
    let (mut lab, _client, room) = flowing();
    let mut changes = typed(&mut lab, &room);
    change(&mut lab, RowChange::insert("todos", &json!({"id": 1, "task": 7})));
    change(&mut lab, RowChange::insert("todos", &json!({"id": 2, "task": "rest"})).failing(RowError::Unauthorized));
    change(&mut lab, RowChange::insert("todos", &json!({"id": 3, "task": "x".repeat(65)})).failing(RowError::TooLarge));
    change(&mut lab, RowChange::insert("todos", &json!({"id": 4, "task": "rest"})));
    let heard = heard(&mut changes);
    let raw = |heard: &Typed<TypedChange<Todo>>| match heard {
        Typed::Unreadable { event: ChannelEvent::PostgresChange { change, .. }, .. } => change.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(raw(&heard[0]).record::<serde_json::Value>(), Ok(Some(json!({"id": 1, "task": 7}))));
    let Typed::Message(change) = &heard[1] else { panic!("{:?}", heard[1]) };
    assert_eq!((&change.new, &*change.raw.details().unwrap().errors), (&None, &["Error 401: Unauthorized".into()][..]));
    assert_eq!((raw(&heard[2]).record::<Key>(), raw(&heard[2]).truncated()), (Ok(Some(Key { id: 3 })), Ok(true)));
    assert!(matches!(&heard[3], Typed::Message(change) if change.new.as_ref().is_some_and(|todo| todo.id == 4)));
    assert_eq!(heard.len(), 4);
}

#[test]
fn a_reader_of_rows_that_lags_hears_how_many_it_missed_and_what_else_happened() {
    let (mut lab, _client, room) = flowing();
    let inflow = Inflow::DropOldest { capacity: 4 };
    let mut changes = lab.wait(room.listen_with(Listen::changes(&todos()), inflow)).unwrap().changes::<Todo>();
    heard(&mut changes);
    for id in 0..10 {
        change(&mut lab, RowChange::insert("todos", &json!({"id": id, "task": ""})));
    }
    let losses: Vec<_> = heard(&mut changes).into_iter().filter(is_loss).collect();
    assert!(matches!(losses[..], [Typed::Channel(ChannelEvent::Lagged { missed: 6 })]), "{losses:?}");
    lab.order(|peer, now| peer.cut(now));
    lab.live(2);
    let losses = heard(&mut changes).into_iter().filter(is_loss).count();
    assert_eq!(losses, 2, "the gap of the channel, and that of its changes");
}

fn is_loss<M>(heard: &Typed<M>) -> bool {
    matches!(heard, Typed::Channel(event) if event.is_loss())
}

#[test]
fn a_channel_is_ready_when_its_changes_flow_and_says_since_when_some_may_be_missing() {
    let (mut lab, client) = Lab::new();
    let (room, mut ears) = lab.join(&client, "room", rows());
    assert_eq!(lab.wait(room.wait_ready(secs(0))), Err(NotReady::TimedOut), "joined, but not ready");
    lab.live(1);
    assert_eq!(story(&heard(&mut ears)), ["system", "ready"]);
    lab.live(10);
    lab.order(|peer, now| peer.crash(now, "realtime:room"));
    let lost = heard(&mut ears);
    assert_eq!(story(&lost), ["errored"]);
    lab.live(2);
    let events = heard(&mut ears);
    assert_eq!(story(&events), ["subscribed again", "gap", "system", "ready again"]);
    let ChannelEvent::Gap { since, .. } = &events[1] else { panic!("{events:?}") };
    assert_eq!(events[3], ChannelEvent::PostgresReady { missed_since: Some(*since) });
    let mut late = lab.wait(room.listen(Listen::status())).unwrap();
    assert_eq!(story(&heard(&mut late)), ["subscribed", "ready"], "nothing is missing for whoever comes late");
}

#[test]
fn whoever_waits_for_a_channel_hears_why_it_is_not_ready_when_the_time_is_over() {
    let failing = Readiness::Failing("Unable to subscribe to changes".into());
    let (mut lab, client) = Lab::against(|server| server.readiness = failing);
    let (room, mut ears) = lab.join(&client, "room", rows());
    lab.live(1);
    assert_eq!(story(&heard(&mut ears)), ["system", "not ready"]);
    let failed = PostgresFailure::Refused { message: "Unable to subscribe to changes".into() };
    assert_eq!(lab.wait(room.wait_ready(secs(0))), Err(NotReady::PostgresFailed(failed)));
    // The table is published at last.
    let (told, outcome) = async_channel::bounded(1);
    lab.rig.spawn(async move { told.send(room.wait_ready(secs(5)).await).await.unwrap() });
    lab.live(4);
    assert!(outcome.try_recv().is_err(), "it is waited for");
    let ready = r#"{"message":"Subscribed","status":"ok","extension":"postgres_changes","channel":"room"}"#;
    let ready = rejoin_core::Payload::from_json_text(ready).unwrap();
    lab.order(move |peer, now| peer.push(now, "realtime:room", "system", ready, true));
    assert_eq!(outcome.try_recv(), Ok(Ok(())));
    assert_eq!(story(&heard(&mut ears)), ["system", "ready", "closed: left"]);
}

#[test]
fn whoever_waits_for_a_channel_that_is_lost_meanwhile_hears_so() {
    let (mut lab, client) = Lab::against(|server| server.readiness = Readiness::Never);
    let (room, _ears) = lab.join(&client, "room", rows());
    let (told, outcome) = async_channel::bounded(1);
    lab.rig.spawn(async move { told.send(room.wait_ready(secs(1)).await).await.unwrap() });
    lab.order(|peer, now| peer.crash(now, "realtime:room"));
    lab.silence(true);
    lab.advance(secs(1));
    assert_eq!(outcome.try_recv(), Ok(Err(NotReady::Errored(Trouble::Crashed))));
}

#[test]
fn whoever_waits_for_a_channel_that_cannot_be_had_hears_so_at_once() {
    let (mut lab, client) = Lab::against(|server| server.echo = Echo::OtherSchema);
    let room = client.channel("room", rows()).unwrap();
    assert_eq!(lab.wait(room.wait_ready(secs(9))), Err(NotReady::NotSubscribed));
    lab.wait(client.disconnect()).unwrap();
    lab.wait(room.subscribe()).unwrap();
    let waiting = async { futures_lite::future::zip(room.wait_ready(secs(9)), client.connect()).await.0 };
    let failed = lab.wait(waiting);
    assert!(matches!(&failed, Err(NotReady::SubscribeFailed(SubscribeFailure::BindingMismatch(_)))), "{failed:?}");
    let (mut lab, client) = Lab::with(config(), Default::default());
    let (room, _) = lab.join(&client, "room", ChannelConfig::default());
    assert_eq!(lab.wait(room.wait_ready(secs(0))), Ok(()), "without bindings it is ready when it is joined");
    lab.wait(client.close());
    assert_eq!(lab.wait(room.wait_ready(secs(9))), Err(NotReady::Closed(CloseReason::SessionClosed)));
}
