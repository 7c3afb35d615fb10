//! Phoenix messages from frame to event, and from push to frame.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion};
use rejoin_core::phoenix::{ChannelId, Config, Event, JoinOptions, Push, Session};
use rejoin_core::wire::{Message, Ref, Serializer};
use rejoin_core::{ConnId, Frame, Machine, Payload, Text, TransportAction, TransportEvent};

use crate::NOW;
use crate::frames::{Cycle, by_serde, frames, least_scan, topics, user_payload, v2_text};

const TOPIC: &str = "realtime:room:1";

/// What is routed: a small broadcast, a row change of a database, and large broadcasts.
const SHAPES: [(&str, &str, usize); 4] = [
    ("broadcast 148 B", "broadcast", 148),
    ("row change 540 B", "postgres_changes", 540),
    ("broadcast 4 KiB", "broadcast", 4 << 10),
    ("broadcast 64 KiB", "broadcast", 64 << 10),
];

fn broadcast(size: usize) -> String {
    let shell = r#"{"event":"tick","payload":,"type":"broadcast"}"#.len();
    let payload = user_payload(size.saturating_sub(shell));
    format!(r#"{{"event":"tick","payload":{payload},"type":"broadcast"}}"#)
}

fn row_change(size: usize) -> String {
    let change = |text: &str| {
        format!(
            r#"{{"data":{{"columns":[{{"name":"id","type":"int8"}},{{"name":"at","type":"timestamptz"}},{{"name":"title","type":"text"}}],"commit_timestamp":"2026-01-02T03:04:05.678Z","errors":null,"record":{{"at":"2026-01-02T03:04:05.678+00:00","id":4711,"title":"{text}"}},"schema":"public","table":"todos","type":"INSERT"}},"ids":[90134612]}}"#
        )
    };
    let bare = change("").len();
    change(&"n".repeat(size.saturating_sub(bare)))
}

/// The payload with which a vsn 2 frame is `size` bytes long.
fn payload(event: &str, size: usize) -> String {
    let size = size - v2_text(TOPIC, event, "").len();
    if event == "broadcast" { broadcast(size) } else { row_change(size) }
}

/// The order in which Phoenix 1.8 writes the members.
fn v1_payload_last(event: &str, payload: &str) -> String {
    format!(r#"{{"ref":null,"topic":"{TOPIC}","event":"{event}","payload":{payload}}}"#)
}

/// The order of the alphabet, as older servers write it.
fn v1_payload_inside(event: &str, payload: &str) -> String {
    format!(r#"{{"event":"{event}","payload":{payload},"ref":null,"topic":"{TOPIC}"}}"#)
}

/// A session that has joined these topics, with its events read.
fn joined(serializer: Serializer, topics: &[String]) -> (Session, ConnId, Vec<ChannelId>) {
    let mut config = Config::new("ws://localhost/socket").unwrap();
    config.serializer = serializer;
    config.limits.joins_in_flight = usize::MAX;
    let mut session = Session::new(config, NOW);
    session.connect(NOW);
    let channels = topics.iter().map(|t| session.join(NOW, t.as_str(), JoinOptions::default()).unwrap()).collect();
    let Some(TransportAction::Open(request)) = session.poll_transport() else { panic!("it dials") };
    let conn = request.conn;
    session.handle_transport(NOW, TransportEvent::Opened { conn });
    while let Some(TransportAction::Send { frame, .. }) = session.poll_transport() {
        let join = serializer.decode_from_client(frame).unwrap();
        let reply = Message::reply(join.topic.clone(), "ok", &Payload::EMPTY).with_refs(join.join_ref, join.reference);
        let frame = serializer.encode_from_server(&reply).unwrap();
        session.handle_transport(NOW, TransportEvent::Received { conn, frame });
    }
    let events: Vec<_> = std::iter::from_fn(|| session.poll_event()).collect();
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Joined { .. })).count(), topics.len());
    (session, conn, channels)
}

fn route(session: &mut Session, conn: ConnId, frame: &Frame) {
    session.handle_transport(NOW, TransportEvent::Received { conn, frame: frame.clone() });
    let event = session.poll_event();
    debug_assert!(matches!(event, Some(Event::Message { .. })));
    black_box(event);
}

pub(crate) fn routing(c: &mut Criterion) {
    let topics = [TOPIC.to_owned()];
    for (name, event, size) in SHAPES {
        let json = payload(event, size);
        let text = v2_text(TOPIC, event, &json);
        assert_eq!(text.len(), size);
        let mut group = c.benchmark_group(name);

        group.bench_function("utf8", |b| b.iter(|| std::str::from_utf8(black_box(text.as_bytes())).is_ok()));
        group.bench_function("scan", |b| b.iter(|| black_box(least_scan(black_box(text.as_bytes())))));
        group.bench_function("serde", |b| {
            b.iter(|| black_box(by_serde(black_box(&text)).get().len()));
        });
        for (id, serializer, text) in [
            ("v2 session", Serializer::V2, text.clone()),
            ("v1 session", Serializer::V1, v1_payload_last(event, &json)),
            ("v1 session, payload not last", Serializer::V1, v1_payload_inside(event, &json)),
        ] {
            let (mut session, conn, _) = joined(serializer, &topics);
            let frame = frames(&[text]).remove(0);
            group.bench_function(id, |b| b.iter(|| route(&mut session, conn, black_box(&frame))));
        }
        for (id, serializer) in [("encode v2", Serializer::V2), ("encode v1", Serializer::V1)] {
            let (mut session, _, channels) = joined(serializer, &topics);
            let push = Push::new(Text::from_static("tick"), Payload::from_json_text(json.as_str()).unwrap());
            let push = push.without_reply();
            group.bench_function(id, |b| {
                b.iter_batched(
                    || push.clone(),
                    |push| {
                        session.push(NOW, channels[0], push).unwrap();
                        let frame = session.poll_transport();
                        debug_assert!(matches!(frame, Some(TransportAction::Send { .. })));
                        black_box(session.poll_event());
                        frame
                    },
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

/// Which of its channels a message is for.
pub(crate) fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("broadcast 148 B, v2 session, channels");
    for count in [1, 10, 100, 1000] {
        let topics = topics(count);
        let (mut session, conn, _) = joined(Serializer::V2, &topics);
        let json = payload("broadcast", 148);
        let texts: Vec<_> = topics.iter().map(|topic| v2_text(topic, "broadcast", &json)).collect();
        let mut frames = Cycle::of(frames(&texts));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| route(&mut session, conn, frames.next()));
        });
    }
    group.finish();
}

/// Refs on every message, as channel processes push them.
pub(crate) fn refs(c: &mut Criterion) {
    let (mut session, conn, _) = joined(Serializer::V2, &[TOPIC.to_owned()]);
    let message = Message::new(TOPIC, "cursor", Payload::from_json_text(r#"{"x":1,"y":2}"#).unwrap());
    let message = message.with_refs(Some(Ref::from(1)), None);
    let Ok(Frame::Text(text)) = Serializer::V2.encode_from_server(&message) else { panic!("it is JSON") };
    let frame = frames(&[text.as_str().into()]).remove(0);
    c.bench_function("own event with a join_ref, v2 session", |b| {
        b.iter(|| route(&mut session, conn, black_box(&frame)))
    });
}
