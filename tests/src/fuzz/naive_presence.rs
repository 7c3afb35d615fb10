//! Presence as the specification tells it, kept naively, to compare the real one with.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use rejoin_core::Payload;
use rejoin_core::phoenix::{Meta, Presence, PresenceChange};
use serde_json::{Value, json};

/// Who is present, as keys with refs.
pub type Shown = BTreeMap<String, BTreeSet<String>>;

const KEYS: [&str; 3] = ["__proto__", "", "a \"key\"\\\u{0}é"];
const REFS: [&str; 4] = ["a", "b", "\\", "d"];
/// A bit for each ref of each key.
const BITS: usize = KEYS.len() * REFS.len();

/// States and diffs of a few keys and refs, lawful or not: what is shown is what a naive reading of
/// section 7.2 of the specification shows, and the changes add up to it.
#[expect(clippy::missing_panics_doc, reason = "panicking is how a fuzz target speaks")]
pub fn presence(messages: &[u32]) {
    let (mut presence, mut naive, mut told) = (Presence::default(), Naive::default(), Shown::new());
    for message in messages {
        let (joins, leaves) = (message & ((1 << BITS) - 1), (message >> BITS) & ((1 << BITS) - 1));
        let (lifetime, is_state) = (u64::from(message >> (2 * BITS)) % 4, message >> 31 == 1);
        let said = if is_state {
            naive.state(lifetime, shown_of(joins));
            presence.state(lifetime, &payload(&members(joins)))
        } else {
            naive.diff(lifetime, shown_of(joins), shown_of(leaves));
            presence.diff(lifetime, &payload(&json!({ "joins": members(joins), "leaves": members(leaves) })))
        };
        let said = said.expect("it is well formed");
        assert_eq!((said.dropped_metas, said.dropped_diffs), (0, 0));
        let syncs = said.changes.iter().filter(|change| **change == PresenceChange::Sync).count();
        assert_eq!(syncs, usize::from(naive.synced == Some(lifetime)));
        assert!(no_update_is_torn(&said.changes), "{:?}", said.changes);
        said.changes.into_iter().for_each(|change| follow(&mut told, change));

        assert_eq!(shown(&presence), naive.shown);
        assert_eq!(told, naive.shown, "the changes say all that changed");
        assert_eq!(presence.pending(), naive.pending.len());
        assert_eq!(presence.synced(), naive.synced);
    }
}

#[derive(Default)]
struct Naive {
    shown: Shown,
    synced: Option<u64>,
    /// Diffs with their lifetime.
    pending: Vec<(u64, Shown, Shown)>,
}

impl Naive {
    fn state(&mut self, lifetime: u64, state: Shown) {
        (self.shown, self.synced) = (state, Some(lifetime));
        for (of, joins, leaves) in mem::take(&mut self.pending) {
            if of == lifetime {
                self.apply(joins, &leaves);
            }
        }
    }

    fn diff(&mut self, lifetime: u64, joins: Shown, leaves: Shown) {
        if self.synced == Some(lifetime) {
            self.apply(joins, &leaves);
            return;
        }
        self.pending.retain(|(of, ..)| *of == lifetime);
        self.pending.push((lifetime, joins, leaves));
    }

    fn apply(&mut self, joins: Shown, leaves: &Shown) {
        for (key, refs) in joins {
            self.shown.entry(key).or_default().extend(refs);
        }
        self.shown.retain(|key, refs| {
            refs.retain(|phx_ref| !leaves.get(key).is_some_and(|left| left.contains(phx_ref)));
            !refs.is_empty()
        });
    }
}

fn bits(bits: u32) -> impl Iterator<Item = (&'static str, usize)> {
    let set = (0..BITS).filter(move |bit| bits >> bit & 1 == 1);
    set.map(|bit| (KEYS[bit / REFS.len()], bit % REFS.len()))
}

fn shown_of(of: u32) -> Shown {
    let mut shown = Shown::new();
    for (key, phx_ref) in bits(of) {
        shown.entry(key.into()).or_default().insert(REFS[phx_ref].into());
    }
    shown
}

/// Each meta says that it replaces the one whose ref comes before its own.
fn members(of: u32) -> Value {
    let mut members: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (key, n) in bits(of) {
        let prev = n.checked_sub(1).map(|n| REFS[n]);
        members.entry(key).or_default().push(json!({ "phx_ref": REFS[n], "phx_ref_prev": prev, "metas": [] }));
    }
    members.into_iter().map(|(key, metas)| (key.to_owned(), json!({ "metas": metas }))).collect()
}

fn payload(value: &Value) -> Payload {
    Payload::json(value).expect("it is JSON")
}

fn refs(metas: &[Meta]) -> BTreeSet<String> {
    metas.iter().map(|meta| meta.phx_ref.to_string()).collect()
}

/// Who is present, as keys with refs.
#[must_use]
pub fn shown(presence: &Presence) -> Shown {
    presence.iter().map(|(key, metas)| (key.to_owned(), refs(metas))).collect()
}

/// Applies a change to what an application knows, which it must fit.
#[expect(clippy::missing_panics_doc, reason = "panicking is how a fuzz target speaks")]
pub fn follow(told: &mut Shown, change: PresenceChange) {
    match change {
        PresenceChange::Join { key, current, joined } => {
            let known = told.entry(key.to_string()).or_default();
            assert_eq!(*known, refs(&current));
            assert!(known.is_disjoint(&refs(&joined)) && !joined.is_empty());
            known.extend(refs(&joined));
        }
        PresenceChange::Update { key, old, new } => {
            assert_eq!(new.phx_ref_prev.as_ref(), Some(&old.phx_ref));
            let known = told.get_mut(key.as_str()).expect("only who is there is updated");
            assert!(known.remove(old.phx_ref.as_str()) && known.insert(new.phx_ref.to_string()));
        }
        PresenceChange::Leave { key, current, left } => {
            let known = told.get_mut(key.as_str()).expect("only who is there leaves");
            assert!(known.is_superset(&refs(&left)) && !left.is_empty());
            known.retain(|phx_ref| !refs(&left).contains(phx_ref));
            assert_eq!(*known, refs(&current));
            if known.is_empty() {
                told.remove(key.as_str());
            }
        }
        PresenceChange::Sync => {}
        other => panic!("an unknown change: {other:?}"),
    }
}

/// Whether no meta that has come replaces one that is told to have left.
fn no_update_is_torn(changes: &[PresenceChange]) -> bool {
    let left = |key: &str, phx_ref: &str| {
        changes.iter().any(|change| {
            matches!(change, PresenceChange::Leave { key: of, left, .. }
                if *of == key && left.iter().any(|left| left.phx_ref == phx_ref))
        })
    };
    changes.iter().all(|change| match change {
        PresenceChange::Join { key, joined, .. } => {
            joined.iter().all(|meta| meta.phx_ref_prev.as_ref().is_none_or(|prev| !left(key, prev)))
        }
        _ => true,
    })
}
