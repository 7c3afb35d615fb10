//! What it costs to keep who is present: a diff in rooms of any size, a state, what reading alone
//! takes, and how much memory a member needs.
//!
//! A diff must cost what it says, however many are present.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![expect(clippy::disallowed_methods, reason = "it is not the core that looks at the clock here")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use rejoin_core::Payload;
use rejoin_core::phoenix::{Presence, PresenceLimits};
use serde_json::{Value, json};

fn diffs(c: &mut Criterion) {
    for count in [1, 100, 1_000, 10_000] {
        let mut room = room_of(count);
        let who = name(count / 2) + " again";
        let [before, after] =
            [("a", None), ("b", Some("a"))].map(|(phx_ref, prev)| json!({ who.as_str(): presence_of(phx_ref, prev) }));
        let joins = payload(&json!({ "joins": before, "leaves": {} }));
        let updates = payload(&json!({ "joins": after, "leaves": before }));
        let leaves = payload(&json!({ "joins": {}, "leaves": after }));
        let undo = [payload(&json!({ "joins": {}, "leaves": before })), leaves.clone()];

        let mut group = c.benchmark_group(format!("presence diff, {count} members"));
        for (what, diff, undo) in [
            ("one joins", &joins, &[&undo[0]][..]),
            ("one is updated", &updates, &[&undo[1], &joins]),
            ("one leaves", &leaves, &[&joins, &updates]),
        ] {
            if count == 1 {
                group.bench_function(format!("{what}, serde"), |b| {
                    b.iter(|| black_box(black_box(diff).parse::<Value>().unwrap().is_object()));
                });
            }
            group.bench_function(what, |b| b.iter_custom(|n| (0..n).map(|_| time(&mut room, diff, undo)).sum()));
        }
        group.finish();
    }
}

/// How long the diff takes after others, and to drop what it tells. A look at the clock is in it.
fn time(room: &mut Presence, diff: &Payload, before: &[&Payload]) -> Duration {
    for before in before {
        room.diff(1, before).unwrap();
    }
    let start = Instant::now();
    let told = room.diff(1, black_box(diff)).unwrap().changes;
    let told = black_box(told).len();
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
        let before = LIVE_BYTES.get();
        let room = room_of(count);
        let bytes = LIVE_BYTES.get() - before;
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

struct Counting;

thread_local! {
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator cannot be written without; every call is the system's own")]
// SAFETY: each method passes its arguments on unchanged to `System`, whose contract is the same,
// and counting touches no memory of the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.set(LIVE_BYTES.get() + layout.size() as i64);
        // SAFETY: the caller's promise about `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.set(LIVE_BYTES.get() - layout.size() as i64);
        // SAFETY: the caller's promise about `at` and `layout`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE_BYTES.set(LIVE_BYTES.get() + size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise about `at`, `layout` and `size`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
