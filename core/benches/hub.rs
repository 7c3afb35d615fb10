//! What a hub costs: a message for each of many members, who is present, and coming and going.
//!
//! The floor of a delivery is to walk a list of the same handles and to share the bytes with each. What
//! one presence costs must not grow with how many there are, apart from telling them.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rejoin_core::hub::{Broadcast, HistoryLimits, Hub, HubConfig, MemberId};
use rejoin_core::wire::Serializer;
use rejoin_core::{Payload, Text};

const ROOM: Text = Text::from_static("room:lobby");
const MEMBERS: [usize; 3] = [1, 100, 10_000];

/// What a host needs in order to reach a member.
type Handle = (Arc<()>, u64);

fn fan_out(c: &mut Criterion) {
    let payload = Payload::json(&"x".repeat(64)).unwrap();
    for count in MEMBERS {
        let mut group = c.benchmark_group(format!("fan-out to {count}"));
        group.throughput(Throughput::Elements(count as u64));
        let (mut hub, mut recording) = (room_of(count, None), room_of(count, Some(HistoryLimits::default())));
        let handles: Vec<Handle> = handles(count).collect();
        let bytes = Bytes::from(vec![b'x'; 128]);
        group.bench_function("floor", |b| b.iter(|| deliver(handles.iter().map(|handle| (handle, bytes.clone())))));
        let say = || Broadcast::new("say", payload.clone());
        group.bench_function("broadcast", |b| b.iter(|| deliver(hub.broadcast(&ROOM, say()))));
        group.bench_function("broadcast, recorded", |b| b.iter(|| deliver(recording.broadcast(&ROOM, say()))));
        churn(&mut hub);
        group.bench_function("broadcast, members came and went", |b| b.iter(|| deliver(hub.broadcast(&ROOM, say()))));
        group.finish();
    }
}

/// Hands every frame over to somebody who drops it.
fn deliver<'h, F>(frames: impl Iterator<Item = (&'h Handle, F)>) -> u64 {
    frames.map(|(handle, frame)| black_box((handle, frame)).0.1 & 1).sum()
}

/// Half of the members leave and join again, so that the order in memory is not the order of joining.
fn churn(hub: &mut Hub<Handle>) {
    let ids: Vec<MemberId> = hub.members(&ROOM).map(|(id, _)| id).collect();
    let scattered = (0..ids.len() / 2).map(|n| ids[n * 7_919 % ids.len()]);
    for id in scattered {
        let Some(left) = hub.leave(id) else { continue };
        let member = left.member;
        hub.join(&ROOM, Serializer::V2, member).unwrap();
    }
}

fn presence(c: &mut Criterion) {
    let meta = Payload::from_json_text(r#"{"name":"Ann","online_at":"2026-01-02T03:04:05.678Z"}"#).unwrap();
    for count in MEMBERS {
        let mut group = c.benchmark_group(format!("presence among {count}"));
        let mut hub = room_of(count, None);
        let ids: Vec<MemberId> = hub.members(&ROOM).map(|(id, _)| id).collect();
        for (n, id) in ids.iter().enumerate().skip(1) {
            drop(hub.track(*id, &format!("user-{n:05}"), &meta).unwrap());
        }
        group.bench_function("track and untrack, nobody told", |b| {
            b.iter(|| {
                drop(black_box(hub.track(ids[0], "user-00000", &meta).unwrap()));
                drop(black_box(hub.untrack(ids[0], "user-00000").unwrap()));
            });
        });
        group.bench_function("track and untrack, everybody told", |b| {
            b.iter(|| {
                deliver(hub.track(ids[0], "user-00000", &meta).unwrap())
                    + deliver(hub.untrack(ids[0], "user-00000").unwrap())
            });
        });
        drop(hub.track(ids[0], "user-00000", &meta).unwrap());
        group.bench_function("update, nobody told", |b| {
            b.iter(|| drop(black_box(hub.update(ids[0], "user-00000", &meta).unwrap())));
        });
        group.bench_function("state", |b| b.iter(|| black_box(hub.presence_state(&ROOM))));
        group.finish();
    }
}

fn coming_and_going(c: &mut Criterion) {
    let mut group = c.benchmark_group("join and leave");
    for count in MEMBERS {
        let mut hub = room_of(count, None);
        let handle: Handle = (Arc::default(), 0);
        group.bench_function(format!("a topic of {count}"), |b| {
            b.iter(|| {
                let id = hub.join(&ROOM, Serializer::V2, handle.clone()).unwrap();
                black_box(hub.leave(id));
            });
        });
    }
    for topics in [1, 10_000] {
        let mut hub = Hub::new(HubConfig::default(), 1);
        for (n, handle) in handles(topics).enumerate() {
            hub.join(&Text::from(format!("room:{n}")), Serializer::V2, handle).unwrap();
        }
        let (topic, handle): (Text, Handle) = ("room:5000 again".into(), (Arc::default(), 0));
        group.bench_function(format!("a topic of its own, among {topics}"), |b| {
            b.iter(|| {
                let id = hub.join(&topic, Serializer::V2, handle.clone()).unwrap();
                black_box(hub.leave(id));
            });
        });
    }
    group.finish();
}

fn room_of(count: usize, history: Option<HistoryLimits>) -> Hub<Handle> {
    let mut config = HubConfig::default();
    config.history = history;
    let mut hub = Hub::new(config, 1);
    for handle in handles(count) {
        hub.join(&ROOM, Serializer::V2, handle).unwrap();
    }
    hub
}

fn handles(count: usize) -> impl Iterator<Item = Handle> {
    (0..count as u64).map(|n| (Arc::default(), n))
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(900))
        .sample_size(50)
        .without_plots();
    targets = fan_out, presence, coming_and_going
}
criterion_main!(benches);
