//! Presence against a server that keeps it naively, and against recorded ones.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rejoin_core::Payload;
use rejoin_core::phoenix::{Meta, Presence, PresenceChange, PresenceChanges, PresenceLimits};
use rejoin_recording::{Dir, Row};
use rejoin_sim::fuzz::{Shown, follow, shown};
use rejoin_sim::replay;
use serde_json::{Value, json};

/// What others do, and what happens between the server and the one client that is watched.
#[derive(Clone, Debug)]
enum Op {
    Track {
        connection: u8,
        key: u8,
    },
    Update {
        connection: u8,
        key: u8,
    },
    Untrack {
        connection: u8,
        key: u8,
    },
    /// A connection ends: all it tracks leaves in one diff.
    Gone {
        connection: u8,
    },
    /// What the server says from here on is lost, until the client joins again.
    Cut,
    Join,
    /// The server writes down its state for the client; diffs that come now overtake it.
    WriteState,
    SendState,
}

fn op() -> impl Strategy<Value = Op> {
    let whose = || (0_u8..4, 0_u8..3);
    prop_oneof![
        4 => whose().prop_map(|(connection, key)| Op::Track { connection, key }),
        4 => whose().prop_map(|(connection, key)| Op::Update { connection, key }),
        2 => whose().prop_map(|(connection, key)| Op::Untrack { connection, key }),
        1 => (0_u8..4).prop_map(|connection| Op::Gone { connection }),
        1 => Just(Op::Cut),
        1 => Just(Op::Join),
        1 => Just(Op::WriteState),
        2 => Just(Op::SendState),
    ]
}

/// A server that keeps one meta for each connection and key, and the client that listens to it.
struct World {
    tracked: BTreeMap<(u8, u8), Value>,
    refs: u32,
    connected: bool,
    lifetime: u64,
    written: Option<Value>,
    client: Presence,
    /// What the client's changes alone add up to.
    told: Shown,
}

impl World {
    fn new() -> Self {
        Self {
            tracked: BTreeMap::new(),
            refs: 0,
            connected: false,
            lifetime: 0,
            written: None,
            client: Presence::default(),
            told: Shown::new(),
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Track { connection, key } if !self.tracked.contains_key(&(connection, key)) => {
                let meta = json!({ "phx_ref": self.next_ref() });
                self.tracked.insert((connection, key), meta.clone());
                self.say(vec![(key, meta)], vec![]);
            }
            Op::Update { connection, key } => {
                let phx_ref = self.next_ref();
                let Some(meta) = self.tracked.get_mut(&(connection, key)) else { return };
                let new = json!({ "phx_ref": phx_ref, "phx_ref_prev": meta["phx_ref"] });
                let old = std::mem::replace(meta, new.clone());
                self.say(vec![(key, new)], vec![(key, old)]);
            }
            Op::Untrack { connection, key } => {
                let left = self.tracked.remove(&(connection, key));
                self.say(vec![], left.map(|meta| (key, meta)).into_iter().collect());
            }
            Op::Gone { connection } => {
                let tracked = std::mem::take(&mut self.tracked).into_iter();
                let (left, stays): (Vec<_>, _) = tracked.partition(|((whose, _), _)| *whose == connection);
                self.tracked = stays.into_iter().collect();
                self.say(vec![], left.into_iter().map(|((_, key), meta)| (key, meta)).collect());
            }
            Op::Cut => self.connected = false,
            Op::Join => {
                self.connected = true;
                self.lifetime += 1;
                self.written = None;
            }
            Op::WriteState => {
                // A state that was written before diffs which the client has already is no server's.
                if self.client.synced() != Some(self.lifetime) {
                    self.written = Some(self.state());
                }
            }
            Op::SendState if self.connected => {
                let state = self.written.take().unwrap_or_else(|| self.state());
                let said = self.client.state(self.lifetime, &Payload::json(&state).unwrap());
                self.hear(said.unwrap());
            }
            Op::Track { .. } | Op::SendState => {}
        }
    }

    fn next_ref(&mut self) -> String {
        self.refs += 1;
        format!("r{}", self.refs)
    }

    fn state(&self) -> Value {
        members(self.tracked.iter().map(|((_, key), meta)| (*key, meta.clone())).collect())
    }

    /// A diff to the client, if it is there.
    fn say(&mut self, joins: Vec<(u8, Value)>, leaves: Vec<(u8, Value)>) {
        if !self.connected || joins.len() + leaves.len() == 0 {
            return;
        }
        let diff = json!({ "joins": members(joins), "leaves": members(leaves) });
        let said = self.client.diff(self.lifetime, &Payload::json(&diff).unwrap());
        self.hear(said.unwrap());
    }

    fn hear(&mut self, said: PresenceChanges) {
        assert_eq!((said.dropped_metas, said.dropped_diffs), (0, 0));
        for change in said.changes {
            follow(&mut self.told, change);
        }
        assert_eq!(self.told, shown(&self.client), "the changes say all that changed");
    }

    /// Whatever was going on comes to its end.
    fn settle(&mut self) {
        if !self.connected {
            self.run(&Op::Join);
        }
        if self.client.synced() != Some(self.lifetime) {
            self.run(&Op::SendState);
        }
    }

    fn present(&self) -> Shown {
        let mut present = Shown::new();
        for ((_, key), meta) in &self.tracked {
            present.entry(name(*key)).or_default().insert(meta["phx_ref"].as_str().unwrap().into());
        }
        present
    }
}

/// Keys are whatever their connections say.
fn name(key: u8) -> String {
    ["__proto__", "", "a \"key\"\\\u{0}é"][usize::from(key)].into()
}

fn members(metas: Vec<(u8, Value)>) -> Value {
    let mut members = serde_json::Map::new();
    for (key, meta) in metas {
        let presence = members.entry(name(key)).or_insert_with(|| json!({ "metas": [] }));
        presence["metas"].as_array_mut().unwrap().push(meta);
    }
    members.into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn presence_equals_the_servers_whatever_was_lost_between_joins(ops in proptest::collection::vec(op(), 0..80)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
            if world.connected && world.client.synced() == Some(world.lifetime) {
                prop_assert_eq!(shown(&world.client), world.present());
            }
        }
        world.settle();
        prop_assert_eq!(shown(&world.client), world.present());
        prop_assert_eq!(world.client.pending(), 0);
    }

    #[test]
    fn a_state_that_follows_dropped_diffs_makes_good_for_them(
        ops in proptest::collection::vec(op(), 0..40), pending in 0_usize..4,
    ) {
        let mut world = World::new();
        let mut limits = PresenceLimits::default();
        limits.pending = pending;
        let mut short = Presence::new(limits);
        world.run(&Op::Join);
        for op in ops.iter().filter(|op| !matches!(op, Op::Cut | Op::Join | Op::WriteState | Op::SendState)) {
            let before = world.state();
            world.run(op);
            let (joins, leaves) = (difference(&world.state(), &before), difference(&before, &world.state()));
            let diff = Payload::json(&json!({ "joins": joins, "leaves": leaves })).unwrap();
            short.diff(world.lifetime, &diff).unwrap();
        }
        short.state(world.lifetime, &Payload::json(&world.state()).unwrap()).unwrap();
        prop_assert_eq!(shown(&short), world.present());
    }
}

/// The metas of one state that another does not have.
fn difference(of: &Value, to: &Value) -> Value {
    let has = |key: &str, meta: &Value| to[key]["metas"].as_array().is_some_and(|metas| metas.contains(meta));
    let of = of.as_object().unwrap().iter().map(|(key, presence)| {
        let metas: Vec<_> = presence["metas"].as_array().unwrap().iter().filter(|meta| !has(key, meta)).collect();
        (key.clone(), json!({ "metas": metas }))
    });
    of.collect()
}

/// What each recorded client is told, one line a sync, by the order in which they connected.
fn replayed(folder: &str) -> Vec<Vec<String>> {
    let (_, rows) = replay::recordings(folder).into_iter().find(|(name, _)| name == "presence_3clients").unwrap();
    replay::clients(&rows).iter().map(|rows| heard(rows)).collect()
}

fn heard(rows: &[Row]) -> Vec<String> {
    let serializer = replay::serializer(rows).unwrap();
    let (mut presence, mut lifetime, mut lines, mut told) = (Presence::default(), 0, Vec::new(), Shown::new());
    for row in rows {
        let Some(frame) = row.to_frame() else { continue };
        if row.dir == Some(Dir::ToServer) {
            lifetime += u64::from(serializer.decode_from_client(frame).unwrap().event == "phx_join");
            continue;
        }
        let message = serializer.decode_from_server(frame).unwrap();
        let said = match &*message.event {
            "presence_state" => presence.state(lifetime, &message.payload),
            "presence_diff" => presence.diff(lifetime, &message.payload),
            _ => continue,
        };
        let mut changes = said.unwrap().changes;
        let Some(sync) = changes.pop() else { continue };
        assert_eq!(sync, PresenceChange::Sync);
        lines.push(changes.iter().map(line).collect::<Vec<_>>().join(", "));
        changes.into_iter().for_each(|change| follow(&mut told, change));
        assert_eq!(told, shown(&presence));
    }
    lines
}

fn line(change: &PresenceChange) -> String {
    let n = |meta: &Meta| meta.parse::<Value>().unwrap()["n"].to_string();
    let all = |metas: &[Meta]| metas.iter().map(n).collect::<Vec<_>>().join(" ");
    match change {
        PresenceChange::Join { key, current, joined } => format!("join {key} [{}] {}", all(current), all(joined)),
        PresenceChange::Update { key, old, new } => format!("update {key} {} {}", n(old), n(new)),
        PresenceChange::Leave { key, current, left } => format!("leave {key} {} [{}]", all(left), all(current)),
        other => panic!("not about a key: {other:?}"),
    }
}

/// Alice, Bob and Carol, as realtime-js saw them: each gets the state first and its own join after.
#[test]
fn recorded_supabase_clients_see_each_other() {
    let [alice, bob, carol] = &replayed("supabase")[..] else { panic!("three clients") };
    let update = "update bob 1 2";
    let (bob_left, carol_left) = ("leave bob 2 []", "leave carol 1 []");
    assert_eq!(*alice, ["", "join alice [] 1", "join bob [] 1", "join carol [] 1", update, bob_left, carol_left]);
    let all = ["join alice [] 1", "join bob [] 1", "join carol [] 1", update, bob_left, carol_left, "leave alice 1 []"];
    assert_eq!(*bob, all);
    assert_eq!(*carol, ["join alice [] 1, join bob [] 1", "join carol [] 1", update, bob_left]);
}

/// Alice, Bob, Carol, and Alice once more: each gets its own join first and then the state that has it.
#[test]
fn recorded_phoenix_clients_see_each_other() {
    let [alice, bob, carol, alice_again] = &replayed("phoenix")[..] else { panic!("four clients") };
    let (again, update, bob_left, carol_left) =
        ("join alice [1] 4", "update bob 2 22", "leave bob 22 []", "leave carol 3 []");
    let first = ["join alice [] 1", "join bob [] 2", "join carol [] 3"];
    let rest = [again, update, bob_left, carol_left, "leave alice 4 [1]"];
    assert_eq!(*alice, [&first[..], &rest].concat());
    assert_eq!(*bob, [&["join alice [] 1, join bob [] 2", first[2]], &rest[..], &["leave alice 1 []"]].concat());
    assert_eq!(*carol, [&first.join(", "), again, update, bob_left]);
    let all = "join alice [] 1 4, join bob [] 2, join carol [] 3";
    assert_eq!(*alice_again, [all, update, bob_left, carol_left]);
}
