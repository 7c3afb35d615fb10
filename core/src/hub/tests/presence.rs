//! Who is present: the members are told what the hub knows, whatever anybody tracks.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::phoenix::{Meta, Presence};

const ROOM: Text = Text::from_static("room");

/// What strangers might call themselves.
const KEYS: [&str; 8] =
    ["ann", "bob", "", "__proto__", "constructor", "a\u{0}\"\\\n\u{7f}", "caf\u{e9}", "cafe\u{301}"];

/// What they might say about themselves.
const METAS: [&str; 8] = [
    "{}",
    r#"{"n":1}"#,
    r#" { "n" : [ {"phx_ref":"inner"} ] } "#,
    r#"{"phx_ref":"spoofed","n":2}"#,
    r#"{"n":3,"phx_ref_prev":"spoofed","phx\u005fref":{"not":"text"}}"#,
    r#"{"__proto__":{"admin":true},"metas":[],"":null}"#,
    r#"{"n":1.000000000000000000000000000001,"n":"twice","s":"\ud83d\ude00\u0000"}"#,
    r#"{"joins":{},"leaves":{}}"#,
];

#[derive(Clone, Debug)]
enum Op {
    Join { client: usize, serializer: bool },
    Leave { client: usize },
    Track { client: usize, key: usize, meta: usize },
    Update { client: usize, key: usize, meta: usize },
    Untrack { client: usize, key: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let (client, key, meta) = (0..4_usize, 0..KEYS.len(), 0..METAS.len());
    prop_oneof![
        3 => (client.clone(), any::<bool>()).prop_map(|(client, serializer)| Op::Join { client, serializer }),
        1 => client.clone().prop_map(|client| Op::Leave { client }),
        4 => (client.clone(), key.clone(), meta.clone()).prop_map(|(client, key, meta)| Op::Track { client, key, meta }),
        3 => (client.clone(), key.clone(), meta).prop_map(|(client, key, meta)| Op::Update { client, key, meta }),
        2 => (client, key).prop_map(|(client, key)| Op::Untrack { client, key }),
    ]
}

/// A socket in the room, and what its client knows.
struct Client {
    member: MemberId,
    serializer: Serializer,
    presence: Presence,
}

impl Client {
    fn receive(&mut self, frame: Frame) {
        let message = self.serializer.decode_from_server(frame).unwrap();
        assert_eq!((&*message.topic, &*message.event, message.join_ref), ("room", "presence_diff", None));
        let changes = self.presence.diff(1, &message.payload).unwrap();
        assert_eq!((changes.dropped_metas, changes.dropped_diffs), (0, 0));
    }
}

#[derive(Default)]
struct World {
    clients: BTreeMap<usize, Client>,
    /// Who tracks what, in order, as naively as can be.
    tracked: Vec<(usize, &'static str, &'static str)>,
    /// What each name has ever stood for.
    named: BTreeMap<Text, Payload>,
}

impl World {
    fn apply(&mut self, hub: &mut Hub<usize>, op: Op) {
        match op {
            Op::Join { client, .. } if self.clients.contains_key(&client) => {}
            Op::Join { client, serializer } => {
                let serializer = if serializer { Serializer::V2 } else { Serializer::V1 };
                let member = hub.join(&ROOM, serializer, client).unwrap();
                let mut presence = Presence::default();
                presence.state(1, &hub.presence_state(&ROOM)).unwrap();
                self.clients.insert(client, Client { member, serializer, presence });
            }
            Op::Leave { client } => {
                let Some(Client { member, .. }) = self.clients.remove(&client) else { return };
                let Left { member, diff } = hub.leave(member).unwrap();
                assert_eq!(member, client);
                let has_tracked = self.tracked.iter().any(|(who, ..)| *who == client);
                let told = self.hear(Ok(diff)).unwrap();
                assert_eq!(told, if has_tracked { self.clients.len() } else { 0 });
                self.tracked.retain(|(who, ..)| *who != client);
            }
            Op::Track { client, key, meta } => {
                let Some(member) = self.member(client) else { return };
                let known = self.find(client, KEYS[key]);
                let told = self.hear(hub.track(member, KEYS[key], &meta_of(meta)));
                assert_eq!(told, known.map_or(Ok(self.clients.len()), |_| Err(TrackError::AlreadyTracked)));
                self.tracked.extend(told.map(|_| (client, KEYS[key], METAS[meta])));
            }
            Op::Update { client, key, meta } => {
                let Some(member) = self.member(client) else { return };
                let known = self.find(client, KEYS[key]);
                let told = self.hear(hub.update(member, KEYS[key], &meta_of(meta)));
                assert_eq!(told, known.map_or(Err(TrackError::NotTracked), |_| Ok(self.clients.len())));
                if let Some(at) = known {
                    self.tracked.remove(at);
                    self.tracked.push((client, KEYS[key], METAS[meta]));
                }
            }
            Op::Untrack { client, key } => {
                let Some(member) = self.member(client) else { return };
                let known = self.find(client, KEYS[key]);
                let told = self.hear(hub.untrack(member, KEYS[key]));
                assert_eq!(told, known.map_or(Err(TrackError::NotTracked), |_| Ok(self.clients.len())));
                known.map(|at| self.tracked.remove(at));
            }
        }
    }

    fn member(&self, client: usize) -> Option<MemberId> {
        self.clients.get(&client).map(|client| client.member)
    }

    fn find(&self, client: usize, key: &str) -> Option<usize> {
        self.tracked.iter().position(|(who, tracked, _)| (*who, *tracked) == (client, key))
    }

    /// Gives the frames to the clients; how many there were.
    fn hear(&mut self, diff: Result<Fanout<'_, usize>, TrackError>) -> Result<usize, TrackError> {
        Ok(diff?.map(|(client, shared)| self.clients.get_mut(client).unwrap().receive(shared.frame)).count())
    }

    /// Everybody knows the same, and it is what was tracked.
    fn check(&mut self, hub: &Hub<usize>) {
        let present: Vec<_> = hub.presence(&ROOM).collect();
        for client in self.clients.values() {
            assert_eq!(client.presence.iter().collect::<Vec<_>>(), present);
        }
        let mut expected = BTreeMap::<&str, Vec<Value>>::new();
        for (_, key, meta) in &self.tracked {
            expected.entry(key).or_default().push(without_refs(serde_json::from_str(meta).unwrap()));
        }
        let shown = present.iter().map(|(key, metas)| (*key, metas.iter().map(|meta| self.read(meta)).collect()));
        assert_eq!(shown.collect::<BTreeMap<_, _>>(), expected);
        let refs: BTreeSet<_> = present.iter().flat_map(|(_, metas)| metas.iter().map(|meta| &meta.phx_ref)).collect();
        assert_eq!(refs.len(), self.tracked.len());
    }

    /// What a meta says besides its refs, of which there is one each and no second meta has it.
    fn read(&mut self, meta: &Meta) -> Value {
        let named = self.named.entry(meta.phx_ref.clone()).or_insert_with(|| meta.payload.clone());
        assert_eq!(*named, meta.payload);
        // This reader takes the last of two fields of a name, as a browser does.
        let value: Value = meta.parse().unwrap();
        assert_eq!(value.get("phx_ref").and_then(Value::as_str), Some(meta.phx_ref.as_str()));
        assert_eq!(value.get("phx_ref_prev").and_then(Value::as_str), meta.phx_ref_prev.as_deref());
        without_refs(value)
    }
}

fn without_refs(mut meta: Value) -> Value {
    let fields = meta.as_object_mut().unwrap();
    fields.remove("phx_ref");
    fields.remove("phx_ref_prev");
    meta
}

fn meta_of(meta: usize) -> Payload {
    Payload::from_json_text(METAS[meta]).unwrap()
}

proptest! {
    #[test]
    fn nobody_ever_sees_another_presence_than_the_hub(ops in prop::collection::vec(op(), 0..60)) {
        let mut hub = Hub::new(HubConfig::default(), 7);
        let mut world = World::default();
        for op in ops {
            world.apply(&mut hub, op);
            world.check(&hub);
        }
        for client in 0..4 {
            world.apply(&mut hub, Op::Leave { client });
        }
        prop_assert_eq!((hub.total_members(), hub.topic_count()), (0, 0));
    }
}

/// As the recording `presence_3clients` of Phoenix 1.8.12 has it.
#[test]
fn diffs_and_states_are_those_of_phoenix() {
    let mut hub = Hub::new(HubConfig::default(), 7);
    let [alice, bob] = [0, 1].map(|client| hub.join(&ROOM, Serializer::V2, client).unwrap());
    let a = frames(hub.track(alice, "alice", &json(r#"{"online_at":5,"n":1}"#)));
    let b = frames(hub.track(bob, "bob", &json(r#"{"n":2}"#)));
    let c = frames(hub.update(bob, "bob", &json(r#"{"n":22}"#)));
    let refs = hub.presence(&ROOM).flat_map(|(_, metas)| metas.iter().cloned()).collect::<Vec<_>>();
    let [Meta { phx_ref: a_ref, .. }, Meta { phx_ref: c_ref, phx_ref_prev: Some(b_ref), .. }] = &refs[..] else {
        panic!("{refs:?}")
    };
    let diff = |joins: &str, leaves: &str| {
        let diff =
            alloc::format!(r#"[null,null,"room","presence_diff",{{"joins":{{{joins}}},"leaves":{{{leaves}}}}}]"#);
        [Frame::Text(diff.as_str().into()), Frame::Text(diff.into())]
    };
    let alice_is = alloc::format!(r#""alice":{{"metas":[{{"phx_ref":"{a_ref}","online_at":5,"n":1}}]}}"#);
    let bob_was = alloc::format!(r#""bob":{{"metas":[{{"phx_ref":"{b_ref}","n":2}}]}}"#);
    let bob_is = alloc::format!(r#""bob":{{"metas":[{{"phx_ref":"{c_ref}","phx_ref_prev":"{b_ref}","n":22}}]}}"#);
    assert_eq!(a, diff(&alice_is, ""));
    assert_eq!(b, diff(&bob_was, ""));
    assert_eq!(c, diff(&bob_is, &bob_was));
    assert_eq!(hub.presence_state(&ROOM).as_json(), Some(&*alloc::format!("{{{alice_is},{bob_is}}}")));
    let left = frames(Ok(hub.leave(bob).unwrap().diff));
    assert_eq!(left, diff("", &bob_is)[..1]);
    assert_eq!(a_ref.len(), 16);
}

#[test]
fn whoever_leaves_with_several_keys_leaves_in_one_diff() {
    let mut hub = Hub::new(HubConfig::default(), 7);
    let [ann, bob] = [0, 1].map(|client| hub.join(&ROOM, Serializer::V2, client).unwrap());
    for key in ["phone", "laptop", "\"\u{1}"] {
        assert_eq!(frames(hub.track(ann, key, &Payload::EMPTY)).len(), 2);
    }
    let left = frames(Ok(hub.leave(ann).unwrap().diff));
    let [Frame::Text(diff)] = &left[..] else { panic!("one frame, to bob") };
    let message = Serializer::V2.decode_from_server(Frame::Text(diff.clone())).unwrap();
    let diff: Value = message.payload.parse().unwrap();
    assert_eq!(diff["leaves"].as_object().unwrap().keys().collect::<Vec<_>>(), ["\"\u{1}", "laptop", "phone"]);
    assert_eq!(hub.presence(&ROOM).count(), 0);
    assert!(hub.get(bob).is_some());
}

#[test]
fn two_hubs_give_no_name_twice() {
    let refs = |seed| {
        let mut refs = Refs::new(seed);
        (0..1_000).map(|_| refs.next()).collect::<BTreeSet<_>>()
    };
    let (a, b) = (refs(1), refs(2));
    assert_eq!((a.len(), b.len()), (1_000, 1_000));
    assert!(a.is_disjoint(&b));
    assert_eq!(a, refs(1), "and one seed always the same");
}

#[test]
fn a_meta_that_is_no_object_changes_nothing() {
    let mut hub = Hub::new(HubConfig::default(), 7);
    let ann = hub.join(&ROOM, Serializer::V2, 0).unwrap();
    // The last has a name that is half a surrogate pair, which would spoil the diff for its readers.
    for bad in ["[]", "1", "null", "", "{", r#"{"a":1} {}"#, r#"{"\ud800":1}"#] {
        let bad = Payload::unread_json(bad.into());
        assert_eq!(hub.track(ann, "ann", &bad).err(), Some(TrackError::NotAnObject), "{:?}", bad.as_json());
    }
    let bytes = Payload::binary(Bytes::from_static(b"{}"));
    assert_eq!(hub.track(ann, "ann", &bytes).err(), Some(TrackError::NotAnObject));
    let deep = alloc::format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert!(hub.track(ann, "ann", &json(&deep)).is_ok(), "however deep it is");
    assert!(Presence::default().state(1, &hub.presence_state(&ROOM)).is_ok());
    assert_eq!(hub.update(ann, "ann", &bytes).err(), Some(TrackError::NotAnObject));
    assert_eq!(hub.presence(&ROOM).map(|(_, metas)| metas.len()).sum::<usize>(), 1);
}

#[test]
fn each_limit_of_presence_is_named_and_what_leaves_makes_room() {
    let presence =
        TrackLimits { key_bytes: 4, meta_bytes: 16, keys_per_member: 2, metas_per_key: 2, metas: 4, bytes: 1_000 };
    let mut hub = Hub::new(HubConfig { presence, ..HubConfig::default() }, 7);
    let [a, b, c] = [0, 1, 2].map(|client| hub.join(&ROOM, Serializer::V2, client).unwrap());
    let mut track = |member, key, meta| hub.track(member, key, &json(meta)).map(Iterator::count);
    assert_eq!(track(a, "fives", "{}"), Err(TrackError::KeyTooLong { limit: 4 }));
    assert_eq!(track(a, "four", r#"{"n":"123456789"}"#), Err(TrackError::MetaTooLong { limit: 16 }));
    assert_eq!(track(a, "x", "{}"), Ok(3));
    assert_eq!(track(a, "x", "{}"), Err(TrackError::AlreadyTracked));
    assert_eq!(track(a, "y", "{}"), Ok(3));
    assert_eq!(track(a, "z", "{}"), Err(TrackError::MemberFull { limit: 2 }));
    assert_eq!(track(b, "x", "{}"), Ok(3));
    assert_eq!(track(c, "x", "{}"), Err(TrackError::KeyFull { limit: 2 }));
    assert_eq!(track(b, "z", "{}"), Ok(3));
    assert_eq!(track(c, "z", "{}"), Err(TrackError::TopicFull { limit: 4 }));
    assert_eq!(hub.untrack(a, "z").err(), Some(TrackError::NotTracked));
    assert_eq!(hub.untrack(a, "y").map(Iterator::count), Ok(3));
    assert_eq!(hub.track(c, "z", &Payload::EMPTY).map(Iterator::count), Ok(3));
    drop(hub.leave(c));
    assert_eq!(hub.track(c, "w", &Payload::EMPTY).err(), Some(TrackError::Gone));
}

#[test]
fn the_presence_of_a_topic_is_bounded_in_bytes_and_forgotten_with_its_members() {
    let mut config = HubConfig::default();
    config.presence.bytes = 100;
    let mut hub = Hub::new(config, 7);
    let [a, b] = [0, 1].map(|client| hub.join(&ROOM, Serializer::V2, client).unwrap());
    let long = json(r#"{"n":"12345678901234567890123456789012345"}"#);
    assert!(hub.track(a, "a", &long).is_ok());
    let full = TrackError::TopicTooLong { limit: 100 };
    assert_eq!(hub.track(b, "b", &long).err(), Some(full));
    assert_eq!(hub.update(a, "a", &json(r#"{"n":"1234567890123456789012345678901234567890"}"#)).err(), Some(full));
    assert!(hub.update(a, "a", &Payload::EMPTY).is_ok());
    assert!(hub.track(b, "b", &Payload::EMPTY).is_ok());
    for member in [a, b] {
        drop(hub.leave(member));
    }
    let a = hub.join(&ROOM, Serializer::V2, 0).unwrap();
    assert_eq!(hub.presence_state(&ROOM).as_json(), Some("{}"));
    assert!(hub.track(a, "a", &long).is_ok());
}

#[test]
fn a_host_may_set_no_limit_to_presence() {
    let all = usize::MAX;
    let presence = TrackLimits {
        key_bytes: all,
        meta_bytes: all,
        keys_per_member: all,
        metas_per_key: all,
        metas: all,
        bytes: all,
    };
    let mut hub = Hub::new(HubConfig { presence, ..HubConfig::default() }, 7);
    let ann = hub.join(&ROOM, Serializer::V2, 0).unwrap();
    assert_eq!(hub.track(ann, "ann", &json(r#"{"n":1}"#)).map(Iterator::count), Ok(1));
    assert_eq!(hub.update(ann, "ann", &json(r#"{"n":2}"#)).map(Iterator::count), Ok(1));
    assert_eq!(hub.untrack(ann, "ann").map(Iterator::count), Ok(1));
}

fn json(text: &str) -> Payload {
    Payload::from_json_text(text).unwrap()
}

fn frames(diff: Result<Fanout<'_, usize>, TrackError>) -> Vec<Frame> {
    diff.unwrap().map(|(_, shared)| shared.frame).collect()
}
