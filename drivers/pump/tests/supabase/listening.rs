//! Who hears what: by the kind of message, by its event, and the channel's own life.

use rejoin_core::Payload;
use rejoin_core::supabase::ChannelConfig;
use rejoin_pump::Inflow;
use rejoin_pump::supabase::{ChannelEvent, ConnectionEvent, InboxEvent, Listen, Listener};
use rejoin_sim::supabase::{Body, Broadcast};

use crate::lab::{Lab, heard, story};

/// One of each kind.
fn say_everything(lab: &mut Lab) {
    lab.order(|peer, now| {
        for event in ["cursor", "Cursor", "*"] {
            let body = Body::User { event: event.into(), metadata: None, payload: Payload::EMPTY };
            peer.deliver(now, Broadcast { topic: "realtime:room".into(), private: false, body });
        }
        for event in ["presence_state", "presence_diff", "cursor"] {
            peer.push(now, "realtime:room", event, Payload::EMPTY, false);
        }
        let system =
            r#"{"message":"Subscribed to PostgreSQL","status":"ok","extension":"postgres_changes","channel":"room"}"#;
        peer.push(now, "realtime:room", "system", Payload::from_json_text(system).unwrap(), true);
    });
}

fn choices() -> Vec<(Listen, &'static [&'static str])> {
    vec![
        (Listen::status(), &[]),
        (Listen::broadcast("cursor"), &["broadcast cursor"]),
        (Listen::broadcast("CURSOR"), &[]),
        (Listen::broadcast("*"), &["broadcast cursor", "broadcast Cursor", "broadcast *"]),
        (Listen::presence(), &["message presence_state", "message presence_diff"]),
        (Listen::system(), &["system"]),
        (Listen::event("cursor"), &["message cursor"]),
        (Listen::event("presence_diff"), &["message presence_diff"]),
        (Listen::event("system"), &["system"]),
        (Listen::event("System"), &[]),
        (Listen::everything(), EVERYTHING),
        (Listen::event("*"), EVERYTHING),
    ]
}

const EVERYTHING: &[&str] = &[
    "broadcast cursor",
    "broadcast Cursor",
    "broadcast *",
    "message presence_state",
    "message presence_diff",
    "message cursor",
    "system",
];

#[test]
fn listeners_hear_what_they_chose_whether_attached_before_or_after_subscribing() {
    let (mut lab, client) = Lab::new();
    let room = client.channel("room", ChannelConfig::default()).unwrap();
    let attach = |lab: &mut Lab| -> Vec<Listener> {
        choices().into_iter().map(|(listen, _)| lab.wait(room.listen(listen)).unwrap()).collect()
    };
    let mut listeners = vec![attach(&mut lab)];
    lab.wait(room.subscribe()).unwrap();
    listeners.push(attach(&mut lab));
    say_everything(&mut lab);
    for mut listeners in listeners {
        for ((listen, expected), listener) in choices().iter().zip(&mut listeners) {
            assert_eq!(story(&heard(listener))[1..], **expected, "{listen:?}");
        }
    }
}

#[test]
fn a_broadcast_brings_its_payload_and_what_the_server_adds() {
    let (mut lab, client) = Lab::new();
    let (_room, mut ears) = lab.join(&client, "room", ChannelConfig::default());
    let (json, bytes) = (Payload::json(&[1, 2]).unwrap(), Payload::binary(vec![0, 255].into()));
    let meta = Payload::from_json_text(r#"{"id":"7"}"#).unwrap();
    let text = Payload::from_json_text(r#"{"type":"broadcast","event":"text","payload":[1,2],"meta":{"id":"7"}}"#);
    let bodies = [
        Body::Text(text.unwrap()),
        Body::User { event: "json".into(), metadata: Some(meta.clone()), payload: json.clone() },
        Body::User { event: "bytes".into(), metadata: None, payload: bytes.clone() },
    ];
    lab.order(move |peer, now| {
        for body in bodies {
            peer.deliver(now, Broadcast { topic: "realtime:room".into(), private: false, body });
        }
    });
    let broadcast = |event: &'static str, payload: &Payload, meta: Option<&Payload>| ChannelEvent::Broadcast {
        event: event.into(),
        payload: payload.clone(),
        meta: meta.cloned(),
    };
    let all = [
        broadcast("text", &json, Some(&meta)),
        broadcast("json", &json, Some(&meta)),
        broadcast("bytes", &bytes, None),
    ];
    assert_eq!(heard(&mut ears), all);
}

#[test]
fn every_listener_hears_of_losses_gaps_and_ends() {
    let (mut lab, client) = Lab::new();
    let (room, _ears) = lab.join(&client, "room", ChannelConfig::default());
    let mut listeners: Vec<_> =
        choices().into_iter().map(|(listen, _)| lab.wait(room.listen(listen)).unwrap()).collect();
    lab.order(|peer, now| peer.crash(now, "realtime:room"));
    lab.live(2);
    lab.order(|peer, now| peer.cut(now));
    lab.live(2);
    lab.wait(room.unsubscribe()).unwrap();
    let life = "subscribed, errored, subscribed again, gap, errored, subscribed again, gap, closed: left";
    for listener in &mut listeners {
        assert_eq!(story(&heard(listener)).join(", "), life);
    }
}

#[test]
fn an_inbox_gathers_connection_and_channels_in_order() {
    let (mut lab, client) = Lab::new();
    let (handle, mut inbox) = lab.wait(client.inbox(Inflow::default())).unwrap();
    let rooms = ["one", "two"].map(|name| client.channel(name, ChannelConfig::default()).unwrap());
    for room in &rooms {
        lab.wait(room.listen_into(handle, Listen::everything())).unwrap();
        lab.wait(room.subscribe()).unwrap();
    }
    for (topic, event) in [("realtime:one", "a"), ("realtime:two", "b"), ("realtime:one", "c")] {
        lab.order(move |peer, now| peer.push(now, topic, event, Payload::EMPTY, false));
    }
    lab.order(|peer, now| peer.cut(now));
    let one = rooms[0].id();
    let name = |event: &InboxEvent| match event {
        InboxEvent::Channel { channel, event } if *channel == one => {
            format!("one {}", story(std::slice::from_ref(event))[0])
        }
        InboxEvent::Channel { event, .. } => format!("two {}", story(std::slice::from_ref(event))[0]),
        InboxEvent::Connection(ConnectionEvent::Connected) => "connected".into(),
        InboxEvent::Connection(ConnectionEvent::Disconnected { .. }) => "disconnected".into(),
        other => format!("{other:?}"),
    };
    let names = |events: Vec<InboxEvent>| events.iter().map(name).collect::<Vec<_>>().join(", ");
    assert_eq!(
        names(heard(&mut inbox)),
        "one subscribed, two subscribed, one message a, two message b, one message c, \
         disconnected, one errored, two errored"
    );
    lab.live(1);
    let back = "connected, one subscribed again, one gap, two subscribed again, two gap";
    assert_eq!(names(heard(&mut inbox)), back);
    drop(rooms);
    lab.rig.settle();
    assert_eq!(names(heard(&mut inbox)), "one closed: left, two closed: left");
}

#[test]
fn a_channel_cannot_be_heard_in_an_inbox_that_is_gone() {
    let (mut lab, client) = Lab::new();
    let (room, mut ears) = lab.join(&client, "room", ChannelConfig::default());
    let (gone, inbox) = lab.wait(client.inbox(Inflow::Block { capacity: 1 })).unwrap();
    lab.wait(room.listen_into(gone, Listen::everything())).unwrap();
    drop(inbox);
    // It is forgotten when the next one is made; its place must not be taken for the old one's.
    let (_, mut next) = lab.wait(client.inbox(Inflow::default())).unwrap();
    assert!(lab.wait(room.listen_into(gone, Listen::everything())).is_err());
    lab.order(|peer, now| (0..5).for_each(|_| peer.push(now, "realtime:room", "a", Payload::EMPTY, false)));
    assert_eq!((heard(&mut next), story(&heard(&mut ears)).len()), (vec![], 5));
}
