use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::text::Text;

/// A meta: its ref, which is also what it says.
fn meta(phx_ref: &str) -> Value {
    json!({ "phx_ref": phx_ref, "n": phx_ref })
}

fn update(phx_ref: &str, prev: &str) -> Value {
    json!({ "phx_ref": phx_ref, "phx_ref_prev": prev, "n": phx_ref })
}

/// Keys with their metas, as on the wire.
fn members<const N: usize>(members: [(&str, &[Value]); N]) -> Value {
    members.into_iter().map(|(key, metas)| (String::from(key), json!({ "metas": metas }))).collect()
}

fn diff(joins: Value, leaves: Value) -> Value {
    json!({ "joins": joins, "leaves": leaves })
}

fn joins<const N: usize>(joined: [(&str, &[Value]); N]) -> Value {
    diff(members(joined), json!({}))
}

fn leaves<const N: usize>(left: [(&str, &[Value]); N]) -> Value {
    diff(json!({}), members(left))
}

fn payload(value: &Value) -> Payload {
    Payload::json(value).unwrap()
}

/// A presence in which every message is understood and nothing is over a limit.
#[derive(Default)]
struct Room(Presence);

impl Room {
    /// With this state, in the lifetime 1.
    fn with<const N: usize>(state: [(&str, &[Value]); N]) -> Self {
        let mut room = Self::default();
        room.state(1, &members(state));
        room
    }

    fn state(&mut self, lifetime: u64, state: &Value) -> Vec<String> {
        told(self.0.state(lifetime, &payload(state)))
    }

    fn diff(&mut self, lifetime: u64, diff: &Value) -> Vec<String> {
        told(self.0.diff(lifetime, &payload(diff)))
    }

    fn shown(&self) -> Vec<String> {
        self.0.iter().map(|(key, metas)| format!("{key}: {}", refs(metas))).collect()
    }
}

fn refs(metas: &[Meta]) -> String {
    metas.iter().map(|meta| meta.phx_ref.as_str()).collect::<Vec<_>>().join(" ")
}

fn told(changes: Result<PresenceChanges, PresenceError>) -> Vec<String> {
    let changes = changes.unwrap();
    assert_eq!((changes.dropped_metas, changes.dropped_diffs), (0, 0));
    let line = |change: &PresenceChange| match change {
        PresenceChange::Join { key, current, joined } => {
            format!("join {key}: [{}] and {}", refs(current), refs(joined))
        }
        PresenceChange::Update { key, old, new } => format!("update {key}: {} is {}", old.phx_ref, new.phx_ref),
        PresenceChange::Leave { key, current, left } => format!("leave {key}: {} of [{}]", refs(left), refs(current)),
        PresenceChange::Sync => "sync".into(),
    };
    changes.changes.iter().map(line).collect()
}

/// T60.
#[test]
fn a_diff_before_the_state_waits_for_it() {
    let mut room = Room::default();
    assert!(room.diff(1, &joins([("bob", &[meta("b")])])).is_empty());
    assert_eq!((room.0.pending(), room.0.is_empty(), room.0.synced()), (1, true, None));
    assert_eq!(room.state(1, &members([("ann", &[meta("a")])])), ["join ann: [] and a", "join bob: [] and b", "sync"]);
    assert_eq!(
        (room.0.pending(), room.shown(), room.0.synced()),
        (0, ["ann: a", "bob: b"].map(String::from).into(), Some(1))
    );
}

/// T60, as every Phoenix server does it: the diff of one's own join comes before the state that has it.
#[test]
fn what_both_the_state_and_a_diff_before_it_say_is_told_once() {
    let mut room = Room::default();
    room.diff(1, &joins([("ann", &[meta("a")])]));
    room.diff(1, &joins([("bob", &[meta("b")])]));
    room.diff(1, &leaves([("bob", &[meta("b")])]));
    let state = members([("ann", &[meta("a")]), ("bob", &[meta("b")])]);
    assert_eq!(room.state(1, &state), ["join ann: [] and a", "sync"]);
}

/// T60.
#[test]
fn after_a_rejoin_the_old_members_stay_visible_while_diffs_wait_for_the_new_state() {
    let mut room = Room::with([("ann", &[meta("a")])]);
    assert!(room.diff(2, &joins([("bob", &[meta("b")])])).is_empty());
    assert_eq!((room.shown(), room.0.pending(), room.0.synced()), (Vec::from(["ann: a".into()]), 1, Some(1)));
    assert_eq!(room.state(2, &members([("ann", &[meta("a")])])), ["join bob: [] and b", "sync"]);
    assert_eq!(room.diff(2, &leaves([("bob", &[meta("b")])])), ["leave bob: b of []", "sync"]);
}

/// T60, failure row 53: bob joined while we were there, and left while we were not.
#[test]
fn diffs_of_a_lifetime_that_never_got_its_state_leave_no_ghosts() {
    for waits_in_lifetime_3 in [false, true] {
        let mut room = Room::with([("ann", &[meta("a")])]);
        room.diff(2, &joins([("bob", &[meta("b")])]));
        if waits_in_lifetime_3 {
            room.diff(3, &joins([("eve", &[meta("e")])]));
            assert_eq!(room.0.pending(), 1);
        }
        room.state(3, &members([("ann", &[meta("a")])]));
        assert_eq!(room.0.get("bob"), None);
        assert_eq!(room.0.get("eve").is_some(), waits_in_lifetime_3);
    }
}

/// T61, failure row 52.
#[test]
fn an_update_is_one_change_and_leaves_one_meta() {
    let mut room = Room::with([("ann", &[meta("a1")])]);
    let changed = diff(members([("ann", &[update("a2", "a1")])]), members([("ann", &[meta("a1")])]));
    assert_eq!(room.diff(1, &changed), ["update ann: a1 is a2", "sync"]);
    assert_eq!(room.shown(), ["ann: a2"]);
}

/// T61.
#[test]
fn an_update_of_one_of_two_connections_leaves_the_other_alone() {
    let mut room = Room::with([("ann", &[meta("a1"), meta("b1")])]);
    let joined = members([("ann", &[update("a2", "a1"), meta("c1")])]);
    let changed = diff(joined, members([("ann", &[meta("a1"), meta("b1")])]));
    let told = ["join ann: [a1 b1] and c1", "update ann: a1 is a2", "leave ann: b1 of [a2 c1]", "sync"];
    assert_eq!(room.diff(1, &changed), told);
}

/// T61: only a leave of the same key with the previous ref makes an update.
#[test]
fn a_join_that_replaces_nothing_that_left_is_a_join() {
    let mut room = Room::with([("ann", &[meta("a1")]), ("bob", &[meta("b1")])]);
    assert_eq!(room.diff(1, &joins([("ann", &[update("a2", "a1")])])), ["join ann: [a1] and a2", "sync"]);
    let moved = diff(members([("ann", &[update("a3", "b1")])]), members([("bob", &[meta("b1")])]));
    assert_eq!(room.diff(1, &moved), ["join ann: [a1 a2] and a3", "leave bob: b1 of []", "sync"]);
    let other = diff(members([("ann", &[update("a4", "a3")])]), members([("ann", &[meta("a1")])]));
    assert_eq!(room.diff(1, &other), ["join ann: [a1 a2 a3] and a4", "leave ann: a1 of [a2 a3 a4]", "sync"]);
}

/// T61, T92.
#[test]
fn an_update_during_an_absence_is_an_update() {
    let mut room = Room::with([("ann", &[meta("a1")])]);
    assert_eq!(room.state(2, &members([("ann", &[update("a2", "a1")])])), ["update ann: a1 is a2", "sync"]);
}

/// T62.
#[test]
fn a_leave_of_somebody_unknown_changes_nothing() {
    let mut room = Room::with([("ann", &[meta("a")])]);
    let unknown = leaves([("ann", &[meta("x")]), ("bob", &[meta("b")])]);
    assert_eq!(room.diff(1, &unknown), ["sync"]);
    assert_eq!(room.shown(), ["ann: a"]);
}

/// T62.
#[test]
fn a_key_is_present_until_its_last_connection_leaves() {
    let mut room = Room::with([("ann", &[meta("a"), meta("b")])]);
    assert_eq!(room.diff(1, &leaves([("ann", &[meta("a")])])), ["leave ann: a of [b]", "sync"]);
    assert_eq!(room.diff(1, &leaves([("ann", &[meta("b")])])), ["leave ann: b of []", "sync"]);
    assert!(room.0.is_empty());
}

/// T63.
#[test]
fn metas_are_told_apart_by_their_refs_and_nothing_else() {
    let says = |phx_ref: &str, n: u32| json!({ "phx_ref": phx_ref, "n": n });
    let mut room = Room::with([("ann", &[says("a", 1)])]);
    assert_eq!(room.diff(1, &joins([("ann", &[says("b", 1)])])), ["join ann: [a] and b", "sync"]);
    assert_eq!(room.diff(1, &joins([("ann", &[says("a", 2)])])), ["sync"]);
    assert_eq!(room.diff(1, &leaves([("ann", &[says("a", 3)])])), ["leave ann: a of [b]", "sync"]);
}

/// Section 7.2: what joins and leaves in one diff has left.
#[test]
fn joins_come_before_leaves() {
    let mut room = Room::with([]);
    let both = diff(members([("ann", &[meta("a")]), ("bob", &[meta("b")])]), members([("ann", &[meta("a")])]));
    assert_eq!(room.diff(1, &both), ["join bob: [] and b", "sync"]);
    let swapped = diff(members([("zoe", &[meta("z")])]), members([("bob", &[meta("b")])]));
    assert_eq!(room.diff(1, &swapped), ["join zoe: [] and z", "leave bob: b of []", "sync"]);
}

/// T64, failure row 54: presence was off at the join, and yet there are diffs.
#[test]
fn diffs_whose_state_never_comes_are_bounded_and_the_dropped_are_counted() {
    let mut presence = Presence::default();
    let mut dropped = 0;
    for i in 0..1_030 {
        let changes = presence.diff(1, &payload(&joins([(&format!("user {i:04}"), &[meta("r")])]))).unwrap();
        assert!(changes.changes.is_empty());
        dropped += changes.dropped_diffs;
    }
    assert_eq!((presence.pending(), dropped), (1_024, 6));

    // The first track switches it on, and newer servers send the state then (T96).
    presence.state(1, &payload(&members([("user 0000", &[meta("r")])]))).unwrap();
    assert_eq!((presence.pending(), presence.len()), (0, 1_025));
    assert!(presence.get("user 0005").is_none() && presence.get("user 0006").is_some());
}

/// T64.
#[test]
fn waiting_diffs_are_bounded_in_bytes() {
    let one = payload(&joins([("ann", &[meta("a")])]));
    let mut limits = PresenceLimits { pending_bytes: 2 * one.len(), ..PresenceLimits::default() };
    let mut presence = Presence::new(limits.clone());
    let dropped: Vec<_> = (0..4).map(|_| presence.diff(1, &one).unwrap().dropped_diffs).collect();
    assert_eq!((dropped, presence.pending()), (Vec::from([0, 0, 1, 1]), 2));

    limits.pending_bytes = one.len() - 1;
    let mut presence = Presence::new(limits);
    assert_eq!((presence.diff(1, &one).unwrap().dropped_diffs, presence.pending()), (1, 0));
}

/// T66.
#[test]
fn any_key_is_a_key() {
    let long = "k".repeat(1 << 20);
    for key in ["__proto__", "constructor", "", "metas", "joins", "\u{0}", "\"\\\n", "ключ", &long] {
        let mut room = Room::with([(key, &[meta("a")])]);
        assert_eq!(room.0.get(key).map(refs).as_deref(), Some("a"));
        room.diff(1, &joins([(key, &[meta("b")])]));
        room.diff(1, &leaves([(key, &[meta("a")])]));
        assert_eq!(room.0.iter().map(|(key, metas)| (key, refs(metas))).collect::<Vec<_>>(), [(key, "b".into())]);
        room.diff(1, &leaves([(key, &[meta("b")])]));
        assert!(room.0.is_empty());
    }
}

#[test]
fn keys_may_come_in_any_order_and_of_those_that_come_twice_the_last_counts() {
    let key = |key: &str, phx_ref: &str| format!(r#""{key}":{{"metas":[{{"phx_ref":"{phx_ref}"}}]}}"#);
    for keys in [["b1", "a1", "c1", "b2", "a2"], ["a1", "a2", "b1", "b2", "c1"], ["c1", "b1", "b2", "a1", "a2"]] {
        let members = keys.map(|name| key(&name[..1], name)).join(",");
        let mut room = Room::default();
        room.0.state(1, &Payload::from_json_text(format!("{{{members}}}")).unwrap()).unwrap();
        assert_eq!(room.shown(), ["a: a2", "b: b2", "c: c1"]);
        let diff = format!(r#"{{"joins":{{{}}},"leaves":{{{members}}}}}"#, key("a", "a2"));
        room.0.diff(1, &Payload::from_json_text(diff).unwrap()).unwrap();
        assert!(room.0.is_empty());
    }
}

/// T66. The first refs are the server's: it writes atoms before strings, and does not look for its
/// own names among the fields that a connection tracks.
#[test]
fn tracked_fields_that_are_named_like_refs_spoil_nothing() {
    let cases = [
        (r#""phx_ref":5"#, None),
        (r#""phx_ref":"x""#, None),
        (r#""phx_ref_prev":{}"#, None),
        (r#""phx_ref_prev":"p","phx_ref_prev":"x""#, Some("p")),
    ];
    let mut presence = Presence::default();
    for (tracked, prev) in cases {
        let state = format!(r#"{{"ann":{{"metas":[{{"phx_ref":"a",{tracked}}}]}}}}"#);
        presence.state(1, &Payload::from_json_text(state).unwrap()).unwrap();
        let [meta] = presence.get("ann").unwrap() else { panic!("once") };
        assert_eq!((&*meta.phx_ref, meta.phx_ref_prev.as_deref()), ("a", prev));
    }
}

/// T66.
#[test]
fn tracked_json_may_be_as_deep_as_its_sender_likes() {
    let deep = format!("{}{}", "[".repeat(800_000), "]".repeat(800_000));
    let state = format!(r#"{{"ann":{{"metas":[{{"deep":{deep},"phx_ref":"a"}}],"more":{deep}}}}}"#);
    let mut presence = Presence::default();
    presence.state(1, &Payload::unread_json(state.into())).unwrap();
    assert!(presence.get("ann").unwrap()[0].parse::<Value>().is_err(), "its reader finds out");
}

/// T66.
#[test]
fn members_over_a_limit_are_left_out_and_counted() {
    let state = members([("a", &[meta("1"), meta("2")]), ("b", &[meta("3")]), ("c", &[meta("4")])]);
    let shown = |limits: PresenceLimits| {
        let mut room = Room(Presence::new(limits));
        let dropped = room.0.state(1, &payload(&state)).unwrap().dropped_metas;
        (room.shown().join(", "), dropped)
    };
    let all = PresenceLimits::default;
    assert_eq!(shown(all()), ("a: 1 2, b: 3, c: 4".into(), 0));
    assert_eq!(shown(PresenceLimits { keys: 2, ..all() }), ("a: 1 2, b: 3".into(), 1));
    assert_eq!(shown(PresenceLimits { metas_per_key: 1, ..all() }), ("a: 1, b: 3, c: 4".into(), 1));
    let bytes = 2 + 3 * payload(&meta("1")).len();
    assert_eq!(shown(PresenceLimits { bytes, ..all() }), ("a: 1 2, b: 3".into(), 1));
    assert_eq!(shown(PresenceLimits { bytes: bytes - 1, ..all() }), ("a: 1 2".into(), 2));
    assert_eq!(shown(PresenceLimits { metas_per_key: 0, ..all() }), (String::new(), 4));
}

/// T61, T66.
#[test]
fn at_a_limit_whoever_leaves_makes_room_for_whoever_joins() {
    let bytes = 3 + payload(&update("a2", "a1")).len();
    let limits = PresenceLimits { keys: 1, metas_per_key: 1, bytes, ..PresenceLimits::default() };
    let mut room = Room(Presence::new(limits));
    room.state(1, &members([("ann", &[update("a1", "a0")])]));
    let changed = diff(members([("ann", &[update("a2", "a1")])]), members([("ann", &[meta("a1")])]));
    assert_eq!(room.diff(1, &changed), ["update ann: a1 is a2", "sync"]);
    let swapped = diff(members([("bob", &[update("b1", "b0")])]), members([("ann", &[meta("a2")])]));
    assert_eq!(room.diff(1, &swapped), ["join bob: [] and b1", "leave ann: a2 of []", "sync"]);
}

/// T67.
#[test]
fn a_state_with_all_that_waited_for_it_is_one_sync() {
    let mut room = Room::default();
    for key in ["ann", "bob", "eve"] {
        room.diff(1, &joins([(key, &[meta(key)])]));
    }
    assert_eq!(room.state(1, &json!({})).iter().filter(|line| *line == "sync").count(), 1);
    assert_eq!(room.diff(1, &json!({})), ["sync"], "and each later diff is another");
}

/// T92, failure row 53.
#[test]
fn whoever_left_during_an_absence_leaves_once_with_the_next_state() {
    let mut room = Room::with([("ann", &[meta("a")]), ("bob", &[meta("b1"), meta("b2")])]);
    let state = members([("bob", &[meta("b2")])]);
    assert_eq!(room.state(2, &state), ["leave ann: a of []", "leave bob: b1 of [b2]", "sync"]);
    assert_eq!(room.state(3, &state), ["sync"]);
}

/// T96.
#[test]
fn a_second_state_of_a_lifetime_changes_what_differs_and_nothing_else() {
    let mut room = Room::with([("ann", &[meta("a")])]);
    room.diff(1, &joins([("bob", &[meta("b")])]));
    assert_eq!(room.state(1, &members([("ann", &[meta("a")]), ("bob", &[meta("b")])])), ["sync"]);
    assert_eq!(room.diff(1, &leaves([("ann", &[meta("a")])])), ["leave ann: a of []", "sync"]);
    let state = members([("bob", &[meta("b")]), ("eve", &[meta("e")])]);
    assert_eq!(room.state(1, &state), ["join eve: [] and e", "sync"]);
}

#[test]
fn what_is_no_presence_message_is_an_error_and_changes_nothing() {
    let mut room = Room::with([("ann", &[meta("a")])]);
    let no_states = ["", "[]", "null", r#"{"ann":5}"#, r#"{"ann":{}}"#, r#"{"ann":{"metas":[{"n":1}]}}"#];
    let no_metas =
        [r#"["a"]"#, r#"{"phx_ref":1}"#, "null", "7"].map(|meta| format!(r#"{{"eve":{{"metas":[{meta}]}}}}"#));
    for state in no_states.into_iter().chain(no_metas.iter().map(String::as_str)) {
        let said = Payload::unread_json(state.into());
        assert!(matches!(room.0.state(2, &said), Err(PresenceError::Malformed { .. })), "{state}");
        for member in ["joins", "leaves"] {
            let said = Payload::unread_json(format!(r#"{{"{member}":{state}}}"#).into());
            assert!(matches!(room.0.diff(1, &said), Err(PresenceError::Malformed { .. })), "{state}");
        }
    }
    assert_eq!(room.0.diff(1, &Payload::binary(Bytes::from_static(b"{}"))), Err(PresenceError::Binary));
    assert_eq!((room.shown(), room.0.synced()), (Vec::from(["ann: a".into()]), Some(1)));
}

#[test]
fn no_frame_stays_alive_for_what_is_kept() {
    let frames =
        [members([("ann", &[meta("a")])]), joins([("ann", &[update("b", "a")])]), joins([("bob", &[meta("c")])])];
    let frames = frames.map(|frame| Bytes::from(payload(&frame).as_bytes().to_vec()));
    let said = frames.clone().map(|frame| Payload::unread_json(Text::assume_utf8(frame)));
    let mut presence = Presence::default();
    let kept = (presence.state(1, &said[0]), presence.diff(1, &said[1]), presence.diff(2, &said[2]));
    drop(said);
    assert!(frames.iter().all(Bytes::is_unique));
    assert_eq!((kept.1.unwrap().changes.len(), presence.len(), presence.pending()), (2, 1, 1));
}

#[test]
fn refs_with_escapes_are_the_refs_they_stand_for() {
    let mut room = Room::with([("ann", &[update("a\"b", "\u{1}")])]);
    let [meta_of_ann] = room.0.get("ann").unwrap() else { panic!("once") };
    assert_eq!((&*meta_of_ann.phx_ref, meta_of_ann.phx_ref_prev.as_deref()), ("a\"b", Some("\u{1}")));
    assert_eq!(room.diff(1, &leaves([("ann", &[meta("a\"b")])])), ["leave ann: a\"b of []", "sync"]);
}

#[test]
fn an_error_says_where_and_not_what() {
    let state = Payload::from_json_text(r#"{"ann":{"metas":"secret"}}"#).unwrap();
    let error = Presence::default().state(1, &state).unwrap_err();
    let sentence = "the presence message is not of keys with metas that have a phx_ref (column 24)";
    assert_eq!(format!("{error}"), sentence);
}

/// Any JSON, with the words of the protocol where they hurt.
fn hostile() -> impl Strategy<Value = Value> {
    let word =
        || prop_oneof![Just("joins"), Just("leaves"), Just("metas"), Just("phx_ref"), Just("phx_ref_prev"), Just("")];
    let leaf = prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), word().prop_map(Value::from)];
    leaf.prop_recursive(6, 64, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((word().prop_map(String::from), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Any members, most of them well formed.
fn some_members() -> impl Strategy<Value = Value> {
    let meta = ("[a-d]", "[a-d]").prop_map(|(phx_ref, prev)| update(&phx_ref, &prev));
    let presence = proptest::collection::vec(meta, 0..4).prop_map(|metas| json!({ "metas": metas }));
    let presence = prop_oneof![9 => presence, 1 => hostile()];
    proptest::collection::btree_map("[k-m]", presence, 0..4).prop_map(|members| members.into_iter().collect())
}

proptest! {
    #[test]
    fn no_payload_upsets_it(
        messages in proptest::collection::vec((0_u64..3, any::<bool>(), prop_oneof![
            hostile(), some_members(), (some_members(), some_members()).prop_map(|(joins, leaves)| diff(joins, leaves)),
        ]), 0..24),
        (keys, metas_per_key, bytes, pending, pending_bytes) in (0_usize..4, 0_usize..4, 0_usize..200, 0_usize..4, 0_usize..400),
    ) {
        let limits = PresenceLimits { keys, metas_per_key, bytes, pending, pending_bytes };
        let mut presence = Presence::new(limits);
        for (lifetime, is_state, message) in messages {
            let message = payload(&message);
            let said = if is_state { presence.state(lifetime, &message) } else { presence.diff(lifetime, &message) };
            if let Ok(PresenceChanges { changes, .. }) = said {
                let syncs = changes.iter().filter(|change| **change == PresenceChange::Sync).count();
                prop_assert_eq!(syncs, usize::from(is_state || !changes.is_empty()));
                prop_assert!(changes.is_empty() || changes.last() == Some(&PresenceChange::Sync));
            }
            prop_assert!(presence.len() <= keys && presence.pending() <= pending);
            prop_assert!(presence.iter().all(|(_, metas)| (1..=metas_per_key).contains(&metas.len())));
            let kept = |(key, metas): (&str, &[Meta])| key.len() + metas.iter().map(|meta| meta.payload.len()).sum::<usize>();
            let kept: usize = presence.iter().map(kept).sum();
            prop_assert!(kept <= bytes);
        }
    }

    #[test]
    fn no_wrong_byte_upsets_it(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let changed = diff(members([("ann", &[update("a2", "a1")])]), members([("ann", &[meta("a1")])]));
        let mut bytes = payload(&changed).as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(if cut { at } else { bytes.len() });
        let mut room = Room::with([("ann", &[meta("a1")])]);
        let said = Payload::unread_json(Text::assume_utf8(bytes.into()));
        if room.0.diff(1, &said).is_err() {
            prop_assert_eq!(room.shown(), ["ann: a1"]);
        }
        let understood = room.0.state(2, &said).is_ok();
        prop_assert_eq!(room.0.synced(), Some(if understood { 2 } else { 1 }));
    }
}
