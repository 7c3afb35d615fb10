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

impl Members {
    /// Those of a state, and how many metas were over a limit.
    pub(super) fn of(state: &State<'_>, limits: &PresenceLimits) -> (Self, usize) {
        let mut members = Self::default();
        let dropped = members.join(state, &State::default(), limits);
        (members, dropped)
    }

    /// Puts the joins in and takes the leaves out. How many metas were over a limit.
    pub(super) fn apply(&mut self, diff: &Diff<'_>, limits: &PresenceLimits) -> usize {
        // What leaves makes room for what joins, or an update would not fit where the limit is reached.
        for (key, left) in diff.leaves.iter() {
            self.leave(key, left);
        }
        self.join(&diff.joins, &diff.leaves, limits)
    }

    /// The keys of a diff, each with what it has now, to be compared with what it has after the diff.
    pub(super) fn touched_by<'d>(&self, diff: &'d Diff<'_>) -> Vec<(&'d str, Vec<Meta>)> {
        let mut keys: Vec<_> = diff.joins.iter().chain(diff.leaves.iter()).map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().map(|key| (key, self.get(key).unwrap_or_default().to_vec())).collect()
    }

    /// All keys of now or before, each with what it had before.
    pub(super) fn with_keys_of<'a>(&'a self, after: &'a Self) -> Vec<(&'a str, &'a [Meta])> {
        let new = after.metas.keys().filter(|key| !self.metas.contains_key(*key));
        let mut before: Vec<_> = self.iter().chain(new.map(|key| (key.as_str(), &[][..]))).collect();
        before.sort_by_key(|(key, _)| *key);
        before
    }

    /// What has changed about these keys, and that it is complete.
    pub(super) fn since<'a>(&self, before: impl Iterator<Item = (&'a str, &'a [Meta])>) -> Vec<PresenceChange> {
        let (mut joins, mut updates, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        for (key, old) in before {
            let new = self.get(key).unwrap_or_default();
            let (mut joined, mut left) = (without(new, old), without(old, new));
            joined.retain(|new| {
                let replaced = left.iter().position(|old| new.phx_ref_prev.as_ref() == Some(&old.phx_ref));
                let Some(at) = replaced else { return true };
                updates.push(PresenceChange::Update { key: key.into(), old: left.remove(at), new: new.clone() });
                false
            });
            if !left.is_empty() {
                leaves.push(PresenceChange::Leave { key: key.into(), current: new.to_vec(), left });
            }
            if !joined.is_empty() {
                joins.push(PresenceChange::Join { key: key.into(), current: old.to_vec(), joined });
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
        for (key, joined) in joins.iter() {
            let has_gone = has_ref(leaves.get(key), |meta| meta.phx_ref().as_bytes());
            for meta in joined.iter().filter(|meta| !has_gone(meta.phx_ref().as_bytes())) {
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
        let has_left = has_ref(left, |meta| meta.phx_ref().as_bytes());
        metas.retain(|meta| {
            let stays = !has_left(meta.phx_ref.as_bytes());
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
    let is_known = has_ref(others, |meta| meta.phx_ref.as_bytes());
    metas.iter().filter(|meta| !is_known(meta.phx_ref.as_bytes())).cloned().collect()
}

/// Whether one of the metas has a ref. A key with a thousand connections must not cost a million
/// comparisons, and one with a few no memory.
fn has_ref<'a, M>(metas: &'a [M], phx_ref: impl Fn(&'a M) -> &'a [u8]) -> impl Fn(&[u8]) -> bool {
    const FEW: usize = 8;
    let mut sorted: Vec<_> = if metas.len() > FEW { metas.iter().map(&phx_ref).collect() } else { Vec::new() };
    sorted.sort_unstable();
    move |wanted| match metas.len() {
        ..=FEW => metas.iter().any(|meta| phx_ref(meta) == wanted),
        _ => sorted.binary_search(&wanted).is_ok(),
    }
}
