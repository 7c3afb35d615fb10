//! The members, how a diff changes them within the limits, and what is different afterwards.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::PresenceLimits;
use super::change::{Meta, PresenceChange};
use super::wire::{Diff, State, WireMeta};
use crate::text::Text;

/// The keys with their metas, in the order of the keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    /// A key that is here has a meta.
    metas: BTreeMap<Text, Vec<Meta>>,
    bytes: usize,
}

/// The metas that some keys had earlier; none for a key that was not present.
pub(super) type Before = BTreeMap<Text, Vec<Meta>>;

impl Members {
    /// Those of a state, and how many metas were over a limit.
    pub(super) fn of(state: &State<'_>, limits: &PresenceLimits) -> (Self, usize) {
        let mut members = Self::default();
        let dropped = members.join(state, &State::new(), limits);
        (members, dropped)
    }

    /// Puts the joins in and takes the leaves out. How many metas were over a limit.
    pub(super) fn apply(&mut self, diff: &Diff<'_>, limits: &PresenceLimits) -> usize {
        // What leaves makes room for what joins, or an update would not fit where the limit is reached.
        for (key, presence) in &diff.leaves {
            self.leave(key, &presence.metas);
        }
        self.join(&diff.joins, &diff.leaves, limits)
    }

    /// What these keys have now, to be compared with what they have after the diff.
    pub(super) fn touched_by(&self, diff: &Diff<'_>) -> Before {
        let keys = diff.joins.keys().chain(diff.leaves.keys());
        keys.map(|key| (Text::from(&**key), self.get(key).unwrap_or_default().to_vec())).collect()
    }

    /// These members as they were before those came.
    pub(super) fn with_keys_of(mut self, after: &Self) -> Before {
        for key in after.metas.keys() {
            self.metas.entry(key.clone()).or_default();
        }
        self.metas
    }

    /// What has changed about these keys, and that it is complete.
    pub(super) fn since(&self, before: Before) -> Vec<PresenceChange> {
        let (mut joins, mut updates, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        for (key, old) in before {
            let new = self.get(&key).unwrap_or_default();
            let (mut joined, mut left) = (without(new, &old), without(&old, new));
            joined.retain(|new| {
                let replaced = left.iter().position(|old| new.phx_ref_prev.as_ref() == Some(&old.phx_ref));
                let Some(at) = replaced else { return true };
                updates.push(PresenceChange::Update { key: key.clone(), old: left.remove(at), new: new.clone() });
                false
            });
            if !left.is_empty() {
                leaves.push(PresenceChange::Leave { key: key.clone(), current: new.to_vec(), left });
            }
            if !joined.is_empty() {
                joins.push(PresenceChange::Join { key, current: old, joined });
            }
        }
        joins.into_iter().chain(updates).chain(leaves).chain([PresenceChange::Sync]).collect()
    }

    pub(super) fn get(&self, key: &str) -> Option<&[Meta]> {
        self.metas.get(key.as_bytes()).map(Vec::as_slice)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[Meta])> {
        self.metas.iter().map(|(key, metas)| (key.as_str(), metas.as_slice()))
    }

    pub(super) fn len(&self) -> usize {
        self.metas.len()
    }

    /// A meta that joins and leaves in one diff has left: joins come first.
    fn join(&mut self, joins: &State<'_>, leaves: &State<'_>, limits: &PresenceLimits) -> usize {
        let mut dropped = 0;
        for (key, presence) in joins {
            let gone = leaves.get(key).map(|presence| refs(presence.metas.iter().map(WireMeta::phx_ref)));
            let has_gone = |meta: &WireMeta<'_>| gone.as_ref().is_some_and(|gone| contains(gone, meta.phx_ref()));
            for meta in presence.metas.iter().filter(|meta| !has_gone(meta)) {
                dropped += usize::from(!self.admit(key, meta, limits));
            }
        }
        dropped
    }

    /// Whether this meta is among the members now.
    fn admit(&mut self, key: &str, meta: &WireMeta<'_>, limits: &PresenceLimits) -> bool {
        let keys = self.metas.len();
        let metas = self.metas.get_mut(key.as_bytes());
        if metas.as_ref().is_some_and(|metas| metas.iter().any(|known| known.phx_ref == *meta.phx_ref())) {
            return true;
        }
        let (has_room, key_bytes) = match &metas {
            Some(metas) => (metas.len() < limits.metas_per_key, 0),
            None => (keys < limits.keys && limits.metas_per_key > 0, key.len()),
        };
        let bytes = self.bytes + key_bytes + meta.len();
        if !has_room || bytes > limits.bytes {
            return false;
        }
        self.bytes = bytes;
        match metas {
            Some(metas) => metas.push(meta.detach()),
            None => drop(self.metas.insert(key.into(), Vec::from([meta.detach()]))),
        }
        true
    }

    fn leave(&mut self, key: &str, left: &[WireMeta<'_>]) {
        let Some(metas) = self.metas.get_mut(key.as_bytes()) else { return };
        let left = refs(left.iter().map(WireMeta::phx_ref));
        metas.retain(|meta| {
            let stays = !contains(&left, &meta.phx_ref);
            if !stays {
                self.bytes -= meta.payload.len();
            }
            stays
        });
        if metas.is_empty() {
            self.metas.remove(key.as_bytes());
            self.bytes -= key.len();
        }
    }
}

/// The metas whose refs the others do not have.
fn without(metas: &[Meta], others: &[Meta]) -> Vec<Meta> {
    let others = refs(others.iter().map(|meta| &*meta.phx_ref));
    metas.iter().filter(|meta| !contains(&others, &meta.phx_ref)).cloned().collect()
}

/// Refs to search in, so that a key with a thousand connections costs no million comparisons.
fn refs<'a>(refs: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut refs: Vec<_> = refs.collect();
    refs.sort_unstable();
    refs
}

fn contains(refs: &[&str], phx_ref: &str) -> bool {
    refs.binary_search(&phx_ref).is_ok()
}
