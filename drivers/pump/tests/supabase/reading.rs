//! Broadcasts that are read into types of the application.

use rejoin_core::Payload;
use rejoin_core::supabase::ChannelConfig;
use rejoin_pump::Inflow;
use rejoin_pump::supabase::{Channel, ChannelEvent, Client, Listen, Typed, TypedBroadcast};
use rejoin_sim::supabase::{Body, Broadcast};
use serde::Deserialize;
use serde_json::json;

use crate::lab::{Lab, has_ended, heard, story};

#[derive(Debug, PartialEq, Deserialize)]
struct Cursor {
    x: u32,
}

fn in_room() -> (Lab, Client, Channel) {
    let (mut lab, client) = Lab::new();
    let (room, _) = lab.join(&client, "room", ChannelConfig::default());
    (lab, client, room)
}

fn say(lab: &mut Lab, event: &str, payload: Payload, metadata: Option<Payload>) {
    let body = Body::User { event: event.into(), metadata, payload };
    let broadcast = Broadcast { topic: "realtime:room".into(), private: false, body };
    lab.order(move |peer, now| peer.deliver(now, broadcast));
}

fn cursor(lab: &mut Lab, x: u32) {
    say(lab, "cursor", Payload::json(&json!({ "x": x })).unwrap(), None);
}

/// The cursors, and the rest in words.
fn told(heard: Vec<Typed<TypedBroadcast<Cursor>>>) -> Vec<String> {
    let word = |heard| match heard {
        Typed::Message(TypedBroadcast { payload: Cursor { x }, .. }) => format!("cursor {x}"),
        Typed::Unreadable { event, .. } => format!("unreadable {}", story(&[event])[0]),
        Typed::Channel(event) => story(&[event]).remove(0),
        other => format!("{other:?}"),
    };
    heard.into_iter().map(word).collect()
}

#[test]
fn broadcasts_are_read_and_whatever_else_happens_is_told_in_its_place() {
    let (mut lab, _client, room) = in_room();
    let mut cursors = lab.wait(room.broadcasts::<Cursor>("cursor")).unwrap();
    cursor(&mut lab, 1);
    say(&mut lab, "cursor", Payload::json(&json!({ "x": "left" })).unwrap(), None);
    say(&mut lab, "cursor", Payload::binary(vec![1].into()), None);
    say(&mut lab, "other", Payload::EMPTY, None);
    cursor(&mut lab, 2);
    lab.order(|peer, now| peer.cut(now));
    lab.live(2);
    cursor(&mut lab, 3);
    lab.wait(room.unsubscribe()).unwrap();
    let expected = "subscribed, cursor 1, unreadable broadcast cursor, unreadable broadcast cursor, cursor 2, \
                    errored, subscribed again, gap, cursor 3, closed: left";
    assert_eq!(told(heard(&mut cursors)).join(", "), expected);
    drop(room);
    lab.rig.settle();
    assert!(has_ended(&mut cursors));
}

#[test]
fn what_cannot_be_read_is_handed_out_as_it_came() {
    let (mut lab, _client, room) = in_room();
    let mut cursors = lab.wait(room.broadcasts::<Cursor>("*")).unwrap();
    heard(&mut cursors);
    let sent = Payload::json(&json!({ "y": 1 })).unwrap();
    say(&mut lab, "cursor", sent.clone(), None);
    let Some(Typed::Unreadable { error, event }) = heard(&mut cursors).pop() else { panic!() };
    assert!(error.to_string().contains("missing field"), "{error}");
    assert_eq!(event, ChannelEvent::Broadcast { event: "cursor".into(), payload: sent, meta: None });
}

#[test]
fn a_broadcast_says_its_event_and_whether_it_is_of_the_past() {
    let (mut lab, _client, room) = in_room();
    let mut cursors = lab.wait(room.broadcasts::<Cursor>("*")).unwrap();
    heard(&mut cursors);
    let meta = Payload::json(&json!({ "id": "7", "replayed": true })).unwrap();
    say(&mut lab, "moved", Payload::json(&json!({ "x": 1 })).unwrap(), Some(meta));
    let Some(Typed::Message(cursor)) = heard(&mut cursors).pop() else { panic!() };
    assert_eq!((cursor.event.as_str(), cursor.payload), ("moved", Cursor { x: 1 }));
    assert_eq!((cursor.meta.id, cursor.meta.replayed), (Some("7".into()), true));
}

#[test]
fn a_reader_that_lags_hears_how_many_it_missed_before_what_was_kept() {
    let (mut lab, _client, room) = in_room();
    let inflow = Inflow::DropOldest { capacity: 2 };
    let mut cursors = lab.wait(room.listen_with(Listen::broadcast("cursor"), inflow)).unwrap().broadcasts::<Cursor>();
    heard(&mut cursors);
    (0..10).for_each(|x| cursor(&mut lab, x));
    assert_eq!(told(heard(&mut cursors)), ["lagged 8", "cursor 8", "cursor 9"]);
}
