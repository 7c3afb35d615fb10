//! What a row change costs from its frame to the bindings that it is for, and what reading its row does.
//!
//! The first must not grow with the row. The floors are measured in the same run: `serde envelope`
//! is the usual way, which leaves the row unread but has to find its end, `serde value` the whole
//! message as a tree.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use rejoin_core::supabase::{
    ChangeKind, ChannelConfig, Config, Event, PostgresBinding, PostgresChange, PostgresEvent, Session,
};
use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{ConnId, Frame, Machine, Payload, Text, Timestamp, TransportAction, TransportEvent};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

const NOW: Timestamp = Timestamp::ZERO;
const TOPIC: &str = "realtime:room:0000";
const IDS: &str = "[68883293,21077450]";
const ANSWER: &str = concat!(
    r#"{"postgres_changes":[{"id":68883293,"event":"INSERT","schema":"public","table":"orders"},"#,
    r#"{"id":21077450,"event":"*","schema":"public","table":"orders"}]}"#
);

fn whose_change(c: &mut Criterion) {
    let mut sessions = [1, 1_000].map(|count| (count, subscribed(count)));
    for (name, size) in [("200 B", 200), ("869 B", 869), ("8 KiB", 8 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)] {
        let recorded = data([TABLE, TYPE, RECORD, COLUMNS, ERRORS, SCHEMA, TIMESTAMP], size);
        let sorted = data([COLUMNS, TIMESTAMP, ERRORS, RECORD, SCHEMA, TABLE, TYPE], size);
        let text = v2(&format!(r#"{{"data":{recorded},"ids":{IDS}}}"#));
        let mut group = c.benchmark_group(format!("row change of {name}"));
        group.bench_function("serde value", |b| {
            b.iter(|| black_box(serde_json::from_str::<Value>(black_box(&text)).unwrap().is_array()));
        });
        group.bench_function("serde envelope", |b| b.iter(|| black_box(by_serde(black_box(&text)))));
        let frame = frame(&text);
        group.bench_function("decode alone", |b| b.iter(|| black_box(decode(black_box(&frame)))));
        for (order, text) in [
            ("", text),
            (", members sorted", v2(&format!(r#"{{"data":{sorted},"ids":{IDS}}}"#))),
            (", ids first", v2(&format!(r#"{{"ids":{IDS},"data":{recorded}}}"#))),
        ] {
            let frame = self::frame(&text);
            let payload = decode(&frame).payload;
            group.bench_function(format!("change and ids{order}"), |b| {
                b.iter(|| black_box(whose(black_box(&payload))));
            });
            for (count, (session, conn)) in &mut sessions {
                group.bench_function(format!("session with binding match{order}, {count} channels"), |b| {
                    b.iter(|| black_box(route(session, *conn, black_box(&frame))));
                });
                let Some(Event::PostgresChange { bindings, change, .. }) = route(session, *conn, &frame) else {
                    panic!("it is a change")
                };
                assert!(bindings.iter().eq([0, 1]) && change.kind() == ChangeKind::Insert);
            }
        }
        group.finish();
    }
}

fn row(c: &mut Criterion) {
    let data = data([TABLE, TYPE, RECORD, COLUMNS, ERRORS, SCHEMA, TIMESTAMP], 0);
    let payload = Payload::from_json_text(format!(r#"{{"data":{data},"ids":{IDS}}}"#)).unwrap();
    let change = PostgresChange::of(&payload).unwrap();
    let record = change.raw_record().unwrap().unwrap();
    let mut group = c.benchmark_group(format!("row of 8 columns, {} B", record.len()));
    group.bench_function("serde alone", |b| {
        b.iter(|| black_box(black_box(&record).parse::<Order<'_>>().unwrap().total()));
    });
    group.bench_function("typed", |b| {
        b.iter(|| black_box(black_box(&change).record::<Order<'_>>().unwrap().unwrap().total()));
    });
    group.bench_function("typed, owned", |b| {
        b.iter(|| black_box(black_box(&change).record::<OwnedOrder>().unwrap()));
    });
    group.bench_function("value", |b| {
        b.iter(|| black_box(black_box(&change).record::<Value>().unwrap().is_some()));
    });
    group.bench_function("raw", |b| b.iter(|| black_box(black_box(&change).raw_record().unwrap().is_some())));
    group.bench_function("details", |b| b.iter(|| black_box(black_box(&change).details().unwrap().columns.len())));
    group.bench_function("whole way", |b| {
        b.iter(|| {
            let change = PostgresChange::of(black_box(&payload)).unwrap();
            black_box((change.ids().sum::<u64>(), change.record::<Order<'_>>().unwrap().unwrap().total()))
        });
    });
    group.finish();
}

/// The table's row as an application names it; what is text borrows from the frame.
#[derive(Deserialize)]
struct Order<'a> {
    id: i64,
    customer: &'a str,
    status: &'a str,
    #[serde(borrow)]
    price: &'a RawValue,
    quantity: i32,
    paid: bool,
    note: Option<&'a str>,
    inserted_at: &'a str,
}

impl Order<'_> {
    /// Something of each column, so that none is left out.
    fn total(&self) -> i64 {
        let text = self.customer.len() + self.status.len() + self.price.get().len() + self.inserted_at.len();
        self.id + i64::from(self.quantity) + i64::from(self.paid) + (text + self.note.map_or(0, str::len)) as i64
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is read, and that is all")]
struct OwnedOrder {
    id: i64,
    customer: String,
    status: String,
    price: f64,
    quantity: i32,
    paid: bool,
    note: Option<String>,
    inserted_at: String,
}

const TABLE: &str = r#""table":"orders""#;
const TYPE: &str = r#""type":"INSERT""#;
const SCHEMA: &str = r#""schema":"public""#;
const ERRORS: &str = r#""errors":null"#;
const TIMESTAMP: &str = r#""commit_timestamp":"2026-11-20T18:10:44.738Z""#;
const COLUMNS: &str = concat!(
    r#""columns":[{"name": "id", "type": "int8"}, {"name": "customer", "type": "uuid"}, {"name": "status", "type": "text"}, "#,
    r#"{"name": "price", "type": "numeric"}, {"name": "quantity", "type": "int4"}, {"name": "paid", "type": "bool"}, "#,
    r#"{"name": "note", "type": "text"}, {"name": "inserted_at", "type": "timestamptz"}]"#,
);
/// Stands for the row, whose size varies.
const RECORD: &str = "record";

/// What is told of an insert, in this order, with a row of so many bytes, if it has that many.
fn data(order: [&str; 7], size: usize) -> String {
    let mut record = String::from(concat!(
        r#""record":{"id": 4711, "customer": "6f7b1c1e-8a44-4d0e-9c55-0b2f4c2d9e11", "status": "on hold", "#,
        r#""price": 129.90, "quantity": 3, "paid": false, "note": null, "#,
        r#""inserted_at": "2026-01-02T03:04:05.678901+00:00""#,
    ));
    let pad = (size + r#""record":"#.len()).saturating_sub(record.len() + r#", "pad": ""}"#.len());
    if size > 0 {
        write!(record, r#", "pad": "{}""#, "x".repeat(pad)).unwrap();
    }
    record.push('}');
    let members = order.map(|member| if member == RECORD { record.as_str() } else { member });
    format!("{{{}}}", members.join(","))
}

fn v2(payload: &str) -> String {
    format!(r#"[null,null,"{TOPIC}","postgres_changes",{payload}]"#)
}

/// As a read leaves it: a slice of a shared buffer.
fn frame(text: &str) -> Frame {
    let buffer = Bytes::from([text, "behind it"].concat());
    Frame::Text(Text::assume_utf8(buffer.slice(..text.len())))
}

fn decode(frame: &Frame) -> Message {
    Serializer::V2.decode_from_server(frame.clone()).unwrap()
}

fn whose(payload: &Payload) -> (ChangeKind, u64) {
    let change = PostgresChange::of(payload).unwrap();
    (change.kind(), change.ids().sum())
}

/// The usual way with the row left unread.
fn by_serde(text: &str) -> (usize, u64) {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        data: Data<'a>,
        ids: Vec<u64>,
    }
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        #[serde(borrow)]
        record: Option<&'a RawValue>,
    }
    type Array<'a> = (Option<&'a str>, Option<&'a str>, &'a str, &'a str, Wire<'a>);
    let (_, _, topic, event, wire) = serde_json::from_str::<Array<'_>>(text).unwrap();
    let record = wire.data.record.map_or(0, |record| record.get().len());
    (topic.len() + event.len() + wire.data.kind.len() + record, wire.ids.iter().sum())
}

/// Each channel asks for the inserts and for all changes of the table.
fn subscribed(channels: usize) -> (Session, ConnId) {
    let mut config = Config::new("ws://localhost/socket", "key").unwrap();
    config.phoenix.limits.joins_in_flight = usize::MAX;
    config.phoenix.limits.joins_per_second = None;
    let mut session = Session::new(config, NOW);
    session.connect(NOW);
    let orders = |event| PostgresBinding::new(event).table("orders");
    let channel = ChannelConfig::default()
        .postgres_changes(orders(PostgresEvent::Insert))
        .postgres_changes(orders(PostgresEvent::All));
    for i in 0..channels {
        session.subscribe(NOW, &format!("realtime:room:{i:04}"), &channel).unwrap();
    }
    let Some(TransportAction::Open(request)) = session.poll_transport() else { panic!("it dials") };
    let conn = request.conn;
    session.handle_transport(NOW, TransportEvent::Opened { conn });
    let response = Payload::from_json_text(ANSWER).unwrap();
    for _ in 0..channels {
        let Some(TransportAction::Send { frame, .. }) = session.poll_transport() else { panic!("it joins") };
        let join = Serializer::V2.decode_from_client(frame).unwrap();
        let reply = Message::reply(join.topic.clone(), "ok", &response).with_refs(join.join_ref, join.reference);
        let frame = Serializer::V2.encode_from_server(&reply).unwrap();
        session.handle_transport(NOW, TransportEvent::Received { conn, frame });
    }
    while session.poll_event().is_some() {}
    (session, conn)
}

fn route(session: &mut Session, conn: ConnId, frame: &Frame) -> Option<Event> {
    session.handle_transport(NOW, TransportEvent::Received { conn, frame: frame.clone() });
    session.poll_event()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(50)
        .without_plots();
    targets = whose_change, row
}
criterion_main!(benches);
