//! A row change and a presence diff through a Supabase session: from frame to an event that says for
//! which bindings the change is, or what changed about who is present.

use std::hint::black_box;

use criterion::Criterion;
use rejoin_core::supabase::{ChannelConfig, Config, Event, PostgresBinding, PostgresEvent, Session};
use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{ConnId, Frame, Machine, Payload, TransportAction, TransportEvent};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::NOW;
use crate::frames::{Cycle, frames, least_scan, topics, user_payload, v2_text};

/// What each binding of a channel is called by the server, from here on.
const IDS: usize = 68_883_293;

pub(crate) fn changes(c: &mut Criterion) {
    for (name, size) in [("200 B", 200), ("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)] {
        let mut group = c.benchmark_group(format!("row change, row of {name}"));
        let text = change_of("realtime:room:0000", size);
        group.bench_function("scan", |b| b.iter(|| black_box(least_scan(black_box(text.as_bytes())))));
        group.bench_function("serde", |b| b.iter(|| black_box(ids_by_serde(black_box(&text)))));
        // A thousand rows of a megabyte would measure the memory.
        for count in [1, 1000].into_iter().filter(|count| count * size <= 256 << 20) {
            let topics = topics(count);
            for bindings in [1, 20] {
                let (mut session, conn) = session(&topics, &listening(bindings));
                let mut frames = Cycle::of(frames(&topics.iter().map(|t| change_of(t, size)).collect::<Vec<_>>()));
                group.bench_function(format!("session, {bindings} bindings, {count} channels"), |b| {
                    b.iter(|| black_box(route(&mut session, conn, frames.next())));
                });
                let event = route(&mut session, conn, frames.next());
                assert!(matches!(event, Some(Event::PostgresChange { bindings, .. }) if bindings.contains(0)));
            }
        }
        group.finish();
    }
}

pub(crate) fn presence(c: &mut Criterion) {
    let mut group = c.benchmark_group("presence diff, one join");
    for count in [1, 1000] {
        let topics = topics(count);
        let (mut session, conn) = session(&topics, &ChannelConfig::default().presence("me"));
        for topic in &topics {
            let state = v2_text(topic, "presence_state", "{}");
            let _ = route(&mut session, conn, &Frame::Text(state.into()));
            while session.poll_event().is_some() {}
        }
        // Somebody comes and goes in each, so that the room does not grow.
        let join = |topic: &String| v2_text(topic, "presence_diff", &diff(true));
        let leave = |topic: &String| v2_text(topic, "presence_diff", &diff(false));
        let texts: Vec<_> = topics.iter().flat_map(|topic| [join(topic), leave(topic)]).collect();
        let mut frames = Cycle::of(frames(&texts));
        group.bench_function(format!("session, a join and a leave by turns, {count} channels"), |b| {
            b.iter(|| {
                session.handle_transport(NOW, TransportEvent::Received { conn, frame: frames.next().clone() });
                while let Some(event) = session.poll_event() {
                    black_box(event);
                }
            });
        });
    }
    let text = v2_text("realtime:room:0000", "presence_diff", &diff(true));
    group.bench_function("serde value", |b| {
        b.iter(|| black_box(serde_json::from_str::<Value>(black_box(&text)).unwrap().is_array()));
    });
    group.finish();
}

fn listening(bindings: usize) -> ChannelConfig {
    let binding = |n| PostgresBinding::new(PostgresEvent::All).table(format!("table{n}"));
    (0..bindings).map(binding).fold(ChannelConfig::default(), ChannelConfig::postgres_changes)
}

/// As the recorded server writes an insert.
fn change_of(topic: &str, size: usize) -> String {
    let payload = format!(
        concat!(
            r#"{{"data":{{"table":"table0","type":"INSERT","record":{},"columns":[{{"name":"x","type":"float8"}}],"#,
            r#""errors":null,"schema":"public","commit_timestamp":"2026-11-20T18:10:44.738Z"}},"ids":[{}]}}"#,
        ),
        user_payload(size),
        IDS
    );
    v2_text(topic, "postgres_changes", &payload)
}

fn diff(join: bool) -> String {
    let member =
        json!({"8d7e": {"metas": [{"phx_ref": "GAvMfZkT2gCAYAQh", "name": "Ann", "since": "2026-11-20T18:10:44Z"}]}});
    let (joins, leaves) = if join { (member, json!({})) } else { (json!({}), member) };
    json!({"joins": joins, "leaves": leaves}).to_string()
}

/// The usual way with the row left unread.
fn ids_by_serde(text: &str) -> usize {
    #[derive(serde::Deserialize)]
    struct Change<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
        ids: Vec<u64>,
    }
    type Array<'a> = (Option<&'a str>, Option<&'a str>, &'a str, &'a str, Change<'a>);
    let change = serde_json::from_str::<Array<'_>>(text).unwrap().4;
    change.data.get().len() + change.ids.len()
}

fn route(session: &mut Session, conn: ConnId, frame: &Frame) -> Option<Event> {
    session.handle_transport(NOW, TransportEvent::Received { conn, frame: frame.clone() });
    session.poll_event()
}

/// A session that has joined these topics, and whose bindings have their ids.
fn session(topics: &[String], channel: &ChannelConfig) -> (Session, ConnId) {
    let mut config = Config::new("ws://localhost/socket", "key").unwrap();
    config.phoenix.limits.joins_in_flight = usize::MAX;
    config.phoenix.limits.joins_per_second = None;
    let mut session = Session::new(config, NOW);
    session.connect(NOW);
    for topic in topics {
        session.subscribe(NOW, topic, channel).unwrap();
    }
    let Some(TransportAction::Open(request)) = session.poll_transport() else { panic!("it dials") };
    let conn = request.conn;
    session.handle_transport(NOW, TransportEvent::Opened { conn });
    while let Some(TransportAction::Send { frame, .. }) = session.poll_transport() {
        let join = Serializer::V2.decode_from_client(frame).unwrap();
        let mut payload: Value = join.payload.parse().unwrap();
        let echoes = payload["config"]["postgres_changes"].as_array_mut().unwrap();
        for (n, echo) in echoes.iter_mut().enumerate() {
            echo["id"] = json!(IDS + n);
        }
        let response = Payload::json(&json!({ "postgres_changes": echoes })).unwrap();
        let reply = Message::reply(join.topic.clone(), "ok", &response).with_refs(join.join_ref, join.reference);
        let frame = Serializer::V2.encode_from_server(&reply).unwrap();
        session.handle_transport(NOW, TransportEvent::Received { conn, frame });
    }
    while session.poll_event().is_some() {}
    (session, conn)
}
