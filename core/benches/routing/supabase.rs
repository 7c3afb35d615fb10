//! Supabase broadcasts in their three forms, from frame to [`Event::Broadcast`].
//!
//! A [`phoenix::Session`] is the floor under a Supabase one: the same frames, not taken apart.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use rejoin_core::phoenix;
use rejoin_core::supabase::{ChannelConfig, Config, Event, Session};
use rejoin_core::wire::{Message, Serializer, UserEvent};
use rejoin_core::{ConnId, Frame, Machine, Payload, TransportAction, TransportEvent};
use serde_json::value::RawValue;

use crate::NOW;
use crate::frames::{Cycle, binary_frames, by_serde, frames, least_scan, topics, user_payload, v2_text};

const META: &str = r#"{"id":"0b5e4c1e-3a58-4a5e-9b8e-5f0c3f9a2d11"}"#;

pub(crate) fn routing(c: &mut Criterion) {
    for (name, size) in [("64 B", 64), ("500 B", 500), ("4 KiB", 4 << 10), ("64 KiB", 64 << 10)] {
        let payload = user_payload(size);
        assert_eq!(payload.len(), size);
        let mut group = c.benchmark_group(format!("user payload {name}"));
        floors(&mut group, &text_of("realtime:room:0000", None, &payload));
        for count in [1, 1000] {
            let topics = topics(count);
            let (mut phoenix, phoenix_conn) = phoenix_session(&topics);
            let (mut session, conn) = supabase_session(&topics);
            for (form, frames) in forms(&topics, &payload) {
                let mut frames = Cycle::of(frames);
                group.bench_function(format!("phoenix session, {form}, {count} channels"), |b| {
                    b.iter(|| black_box(route(&mut phoenix, phoenix_conn, frames.next())));
                });
                group.bench_function(format!("supabase session, {form}, {count} channels"), |b| {
                    b.iter(|| black_box(route(&mut session, conn, frames.next())));
                });
                let event = route(&mut session, conn, frames.next());
                assert!(matches!(&event, Some(Event::Broadcast { event, payload, meta, .. })
                    if event == "tick" && payload.len() == size && meta.is_some() == (form == "text with meta")));
            }
        }
        group.finish();
    }
}

/// What finding out the sender's event costs with the payload left unread, and nothing else.
fn floors(group: &mut BenchmarkGroup<'_, WallTime>, text: &str) {
    #[derive(serde::Deserialize)]
    struct Inner<'a> {
        event: &'a str,
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    group.bench_function("scan", |b| b.iter(|| black_box(least_scan(black_box(text.as_bytes())))));
    group.bench_function("serde", |b| {
        b.iter(|| {
            let inner: Inner<'_> = serde_json::from_str(by_serde(black_box(text)).get()).unwrap();
            black_box((inner.event.len(), inner.payload.get().len()))
        });
    });
}

/// For each topic the frame of the same broadcast.
fn forms(topics: &[String], payload: &str) -> [(&'static str, Vec<Frame>); 3] {
    let text = |meta| frames(&topics.iter().map(|topic| text_of(topic, meta, payload)).collect::<Vec<_>>());
    let binary = |topic: &String| {
        let payload = Payload::from_json_text(payload).unwrap();
        let message = Message::user_broadcast(topic.as_str(), UserEvent::new("tick"), payload);
        Serializer::V2.encode_from_server(&message).unwrap()
    };
    let kind_4: Vec<_> = topics.iter().map(binary).collect();
    [("text", text(None)), ("text with meta", text(Some(META))), ("kind 4", binary_frames(&kind_4))]
}

fn text_of(topic: &str, meta: Option<&str>, payload: &str) -> String {
    let meta = meta.map(|meta| format!(r#""meta":{meta},"#)).unwrap_or_default();
    let inner = format!(r#"{{"event":"tick",{meta}"payload":{payload},"type":"broadcast"}}"#);
    v2_text(topic, "broadcast", &inner)
}

fn route<M: Machine>(session: &mut M, conn: ConnId, frame: &Frame) -> Option<M::Event> {
    session.handle_transport(NOW, TransportEvent::Received { conn, frame: frame.clone() });
    session.poll_event()
}

fn phoenix_session(topics: &[String]) -> (phoenix::Session, ConnId) {
    let mut config = phoenix::Config::new("ws://localhost/socket").unwrap();
    config.limits.joins_in_flight = usize::MAX;
    let mut session = phoenix::Session::new(config, NOW);
    session.connect(NOW);
    for topic in topics {
        session.join(NOW, topic.as_str(), phoenix::JoinOptions::default()).unwrap();
    }
    let conn = answer_joins(&mut session, topics.len());
    (session, conn)
}

fn supabase_session(topics: &[String]) -> (Session, ConnId) {
    let mut config = Config::new("ws://localhost/socket", "key").unwrap();
    config.phoenix.limits.joins_in_flight = usize::MAX;
    config.phoenix.limits.joins_per_second = None;
    let mut session = Session::new(config, NOW);
    session.connect(NOW);
    for topic in topics {
        session.subscribe(NOW, topic, &ChannelConfig::default()).unwrap();
    }
    let conn = answer_joins(&mut session, topics.len());
    (session, conn)
}

/// Accepts so many joins, and reads their events.
fn answer_joins<M: Machine>(session: &mut M, count: usize) -> ConnId {
    let Some(TransportAction::Open(request)) = session.poll_transport() else { panic!("it dials") };
    let conn = request.conn;
    session.handle_transport(NOW, TransportEvent::Opened { conn });
    for _ in 0..count {
        let Some(TransportAction::Send { frame, .. }) = session.poll_transport() else { panic!("it joins") };
        let join = Serializer::V2.decode_from_client(frame).unwrap();
        let reply = Message::reply(join.topic.clone(), "ok", &Payload::EMPTY).with_refs(join.join_ref, join.reference);
        let frame = Serializer::V2.encode_from_server(&reply).unwrap();
        session.handle_transport(NOW, TransportEvent::Received { conn, frame });
    }
    while session.poll_event().is_some() {}
    conn
}
