//! What it costs to keep who is present: a diff in a room of 100, and what reading it alone takes.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rejoin_core::Payload;
use rejoin_core::phoenix::Presence;
use serde_json::{Value, json};

fn presence(c: &mut Criterion) {
    let mut room = Presence::default();
    let members: Value = (0..100).map(|i| (name(i), presence_of(&format!("F2l{i:05}"), None))).collect();
    room.state(1, &payload(&members)).unwrap();
    assert_eq!(room.len(), 100);

    let joined = json!({ name(100): presence_of("F2l00100", None) });
    let updated = json!({ name(50): presence_of("F2l00100", Some("F2l00050")) });
    let left = json!({ name(50): presence_of("F2l00050", None) });
    let diffs = [
        ("one joins", json!({ "joins": joined, "leaves": {} })),
        ("one is updated", json!({ "joins": updated, "leaves": left })),
        ("one leaves", json!({ "joins": {}, "leaves": left })),
    ];
    let mut group = c.benchmark_group("presence_diff, 100 keys");
    for (what, diff) in diffs {
        let diff = payload(&diff);
        assert_eq!(room.clone().diff(1, &diff).unwrap().changes.len(), 2, "one change and the sync");
        group.bench_function(format!("{what}, serde"), |b| {
            b.iter(|| black_box(black_box(&diff).parse::<Value>().unwrap().is_object()));
        });
        group.bench_function(what, |b| {
            b.iter_batched_ref(|| room.clone(), |room| room.diff(1, black_box(&diff)), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn name(i: u32) -> String {
    format!("user-{i:04}")
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
    targets = presence
}
criterion_main!(benches);
