//! What it costs to keep who is present: a diff in rooms of any size, a state, what reading alone
//! takes, and how much memory a member needs.
//!
//! A diff must cost what it says, however many are present.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![expect(clippy::disallowed_methods, reason = "it is not the core that looks at the clock here")]

mod counting;

use std::hint::black_box;
use std::iter;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use rejoin_core::phoenix::{Presence, PresenceLimits};
use rejoin_core::supabase::{ChannelConfig, Config, Event, Session};
use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{ConnId, Frame, Machine, Payload, Timestamp, TransportAction, TransportEvent};
use serde_json::{Value, json};

use counting::heap;

const NOW: Timestamp = Timestamp::ZERO;
const TOPIC: &str = "realtime:room";

fn diffs(c: &mut Criterion) {
    for count in [1, 100, 1_000, 10_000] {
        let (mut room, mut session) = (room_of(count), session_of(count));
        let mut group = c.benchmark_group(format!("presence diff, {count} members"));
        for (what, diff, before) in changes_of(&(name(count / 2) + " again")) {
            if count == 1 {
                group.bench_function(format!("{what}, serde"), |b| {
                    b.iter(|| black_box(black_box(&diff).parse::<Value>().unwrap().is_object()));
                });
            }
            group.bench_function(what, |b| {
                b.iter_custom(|n| (0..n).map(|_| time_of_diff(&mut room, &diff, &before)).sum());
            });
            let (diff, before) = (frame(diff), before.into_iter().map(frame).collect::<Vec<_>>());
            group.bench_function(format!("{what}, session"), |b| {
                b.iter_custom(|n| (0..n).map(|_| time_of_frame(&mut session, &diff, &before)).sum());
            });
        }
        group.finish();
    }
}

/// Somebody joins, is updated and leaves, each with what to say before so that it can be said again.
fn changes_of(who: &str) -> [(&'static str, Payload, Vec<Payload>); 3] {
    let [old, new] = [("a", None), ("b", Some("a"))].map(|(phx_ref, prev)| json!({ who: presence_of(phx_ref, prev) }));
    let joins = payload(&json!({ "joins": old, "leaves": {} }));
    let updates = payload(&json!({ "joins": new, "leaves": old }));
    let leaves = payload(&json!({ "joins": {}, "leaves": new }));
    let undo = payload(&json!({ "joins": {}, "leaves": old }));
    [
        ("one joins", joins.clone(), vec![undo]),
        ("one is updated", updates.clone(), vec![leaves.clone(), joins.clone()]),
        ("one leaves", leaves, vec![joins, updates]),
    ]
}

/// How long the diff takes after others, and to drop what it tells. A look at the clock is in it.
fn time_of_diff(room: &mut Presence, diff: &Payload, before: &[Payload]) -> Duration {
    for before in before {
        room.diff(1, before).unwrap();
    }
    let start = Instant::now();
    let told = black_box(room.diff(1, black_box(diff)).unwrap().changes).len();
    let time = start.elapsed();
    assert_eq!(told, 2, "one change and the sync");
    time
}

/// The same from frame to the last event.
fn time_of_frame((session, conn): &mut (Session, ConnId), diff: &Frame, before: &[Frame]) -> Duration {
    let mut hear = |frame: &Frame| {
        session.handle_transport(NOW, TransportEvent::Received { conn: *conn, frame: frame.clone() });
        iter::from_fn(|| session.poll_event()).filter(|event| matches!(event, Event::Presence { .. })).count()
    };
    for before in before {
        hear(before);
    }
    let start = Instant::now();
    let told = hear(black_box(diff));
    let time = start.elapsed();
    assert_eq!(told, 2, "one change and the sync");
    time
}

fn states(c: &mut Criterion) {
    let (state, mut room) = (state_of(1_000), room_of(1_000));
    let mut group = c.benchmark_group(format!("presence state, 1000 members, {} B", state.len()));
    group.bench_function("serde", |b| {
        b.iter(|| black_box(black_box(&state).parse::<Value>().unwrap().is_object()));
    });
    group.bench_function("all are new", |b| {
        b.iter(|| black_box(Presence::default().state(1, black_box(&state)).unwrap().changes.len()));
    });
    group.bench_function("after a rejoin, all are known", |b| {
        b.iter(|| black_box(room.state(2, black_box(&state)).unwrap().changes.len()));
    });
    group.finish();
}

fn memory(_: &mut Criterion) {
    println!("{:>8} {:>16} {:>16}", "members", "bytes a member", "of which JSON");
    for count in [1, 100, 1_000, 10_000] {
        let json = state_of(count).len();
        let before = heap().0;
        let room = room_of(count);
        let bytes = heap().0 - before;
        println!("{:>8} {:>16} {:>16}", room.len(), bytes / i64::from(count), json / count as usize);
    }
}

fn room_of(count: u32) -> Presence {
    let mut limits = PresenceLimits::default();
    limits.keys += 1;
    let mut room = Presence::new(limits);
    room.state(1, &state_of(count)).unwrap();
    assert_eq!(room.len(), count as usize);
    room
}

/// A session whose one channel shows the same members.
fn session_of(count: u32) -> (Session, ConnId) {
    let mut config = Config::new("ws://localhost/socket", "key").unwrap();
    config.presence_limits.keys += 1;
    let mut session = Session::new(config, NOW);
    session.connect(NOW);
    session.subscribe(NOW, TOPIC, &ChannelConfig::default().presence("")).unwrap();
    let Some(TransportAction::Open(request)) = session.poll_transport() else { panic!("it dials") };
    let conn = request.conn;
    session.handle_transport(NOW, TransportEvent::Opened { conn });
    let Some(TransportAction::Send { frame, .. }) = session.poll_transport() else { panic!("it joins") };
    let join = Serializer::V2.decode_from_client(frame).unwrap();
    let reply = Message::reply(TOPIC, "ok", &Payload::EMPTY).with_refs(join.join_ref.clone(), join.reference);
    let state = Message::new(TOPIC, "presence_state", state_of(count)).with_refs(join.join_ref, None);
    for message in [reply, state] {
        let frame = Serializer::V2.encode_from_server(&message).unwrap();
        session.handle_transport(NOW, TransportEvent::Received { conn, frame });
        while session.poll_event().is_some() {}
    }
    (session, conn)
}

fn frame(diff: Payload) -> Frame {
    Serializer::V2.encode_from_server(&Message::new(TOPIC, "presence_diff", diff)).unwrap()
}

fn state_of(count: u32) -> Payload {
    let members: Value = (0..count).map(|i| (name(i), presence_of(&format!("F2l{i:05}"), None))).collect();
    payload(&members)
}

fn name(i: u32) -> String {
    format!("user-{i:05}")
}

fn presence_of(phx_ref: &str, prev: Option<&str>) -> Value {
    let mut meta =
        json!({ "phx_ref": phx_ref, "name": "Ann", "online_at": "2026-01-02T03:04:05.678Z", "typing": false });
    if let Some(prev) = prev {
        meta["phx_ref_prev"] = prev.into();
    }
    json!({ "metas": [meta] })
}

fn payload(value: &Value) -> Payload {
    Payload::json(value).unwrap()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(900))
        .sample_size(50)
        .without_plots();
    targets = memory, diffs, states
}
criterion_main!(benches);
