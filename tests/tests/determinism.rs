//! The same seed gives the same run, and what must not matter to a session does not.

use rejoin_recording::read;
use rejoin_sim::{Climate, Habit, Op, Polls, Rng, Storm, Timed, read_trace};

const SEEDS: u64 = 300;

fn storms() -> impl Iterator<Item = Storm> {
    let climates = [Climate::Lawful, Climate::Hostile];
    climates.into_iter().flat_map(|climate| (0..SEEDS).map(move |seed| Storm::of_seed(seed, climate)))
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for storm in storms() {
        assert_eq!(storm.run(), Storm::of_seed(storm.seed, storm.climate).run());
    }
}

#[test]
fn different_seeds_give_different_runs() {
    let lawful = storms().filter(|storm| storm.climate == Climate::Lawful);
    let mut hashes: Vec<_> = lawful.map(|storm| storm.run().map(|outcome| (outcome.actions, outcome.events))).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len() as u64, SEEDS);
}

#[test]
fn the_order_in_which_lanes_are_drained_changes_nothing() {
    for storm in storms() {
        let plain = storm.run();
        for polls in [Polls::EventsFirst, Polls::InTurn] {
            assert_eq!(storm.run_with(Habit { polls, spurious: false }), plain, "seed {} {polls:?}", storm.seed);
        }
    }
}

#[test]
fn timeouts_that_nobody_asked_for_change_nothing() {
    for storm in storms() {
        let spurious = Habit { spurious: true, ..Habit::PLAIN };
        assert_eq!(storm.run_with(spurious), storm.run(), "seed {}", storm.seed);
    }
}

#[test]
fn early_timeouts_among_the_operations_change_nothing() {
    for mut storm in storms() {
        storm.ops.retain(|timed| !matches!(timed.op, Op::Tick { .. }));
        let plain = storm.run();
        let tick = |timed: &Timed| [timed.clone(), Timed { after_ms: 0, op: Op::Tick { early_ms: 500 } }];
        storm.ops = storm.ops.iter().flat_map(tick).collect();
        assert_eq!(storm.run(), plain, "seed {} {:?}", storm.seed, storm.climate);
    }
}

#[test]
fn a_trace_can_be_read_back_and_run_again() {
    for storm in storms().step_by(20) {
        let mut text = Vec::new();
        for row in storm.trace() {
            row.write(&mut text).unwrap();
        }
        let rows = read(text.as_slice()).unwrap();
        assert_eq!(rows[0].kind, "meta");
        let again = read_trace(&rows).expect("a trace of a storm");
        assert_eq!(again, storm);
        assert_eq!(again.run(), storm.run());
    }
}

/// One of each operation, as they stand in traces: the format is fixed, old traces stay readable.
#[test]
fn operations_are_written_as_traces_have_them() {
    let text = include_str!("operations.jsonl");
    let rows = read(text.as_bytes()).unwrap();
    let storm = read_trace(&rows).expect("the format of traces has changed");
    let mut again = String::new();
    let mut at = 0;
    for timed in &storm.ops {
        at += u64::from(timed.after_ms);
        let op = serde_json::to_string(&timed.op).unwrap();
        let side = timed.op.side();
        again += &format!("{{\"t_ms\":{at},\"kind\":\"op\",\"side\":\"{side}\",\"op\":{op}}}\n");
    }
    assert_eq!(text.split_once('\n').unwrap().1, again);
    assert!(storm.run().is_ok());
    let kinds: std::collections::BTreeSet<_> =
        storm.ops.iter().map(|timed| std::mem::discriminant(&timed.op)).map(|d| format!("{d:?}")).collect();
    let mut rng = Rng::new(1);
    let all: std::collections::BTreeSet<_> =
        (0..10_000).map(|_| format!("{:?}", std::mem::discriminant(&Op::random(&mut rng)))).collect();
    assert_eq!(kinds, all, "every operation has its line");
}
