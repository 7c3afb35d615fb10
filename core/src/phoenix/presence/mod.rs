//! Who is in a channel, kept equal to what the server knows by states and diffs of it.
//!
//! The rules are those of the specification, section 7.2: metas are told apart by their `phx_ref` and
//! nothing else, and what a diff says before the state of its lifetime has come waits for that state.

mod change;
mod members;
#[cfg(test)]
mod tests;
mod wire;

use alloc::collections::VecDeque;
use core::mem;

pub use change::{Meta, PresenceChange, PresenceChanges, PresenceError};
use members::Members;
use wire::{Diff, State};

use crate::payload::Payload;

/// Who is present in a channel: keys, each with the metas of its connections.
///
/// Give it every `presence_state` and `presence_diff` of the channel and tell the joins of the channel
/// apart by a number: the `lifetime`, which may be any, as long as each join has another. After a
/// rejoin the members known before stay visible, and diffs wait, until the state of the new lifetime
/// says who has come and gone meanwhile.
///
/// It copies what it keeps, so that no frame stays alive for it. Keys and metas are the text that came
/// and can be any, `__proto__` and the empty key included.
///
/// ```
/// use rejoin_core::Payload;
/// use rejoin_core::phoenix::{Presence, PresenceChange};
///
/// #[derive(serde::Deserialize)]
/// struct Status { away: bool }
///
/// let json = |text: &'static str| Payload::from_json_text(text);
/// let mut presence = Presence::default();
/// presence.state(1, &json(r#"{"ann":{"metas":[{"phx_ref":"a","away":false}]}}"#)?)?;
///
/// let update = r#"{"joins":{"ann":{"metas":[{"phx_ref":"b","phx_ref_prev":"a","away":true}]}},
///                  "leaves":{"ann":{"metas":[{"phx_ref":"a","away":false}]}}}"#;
/// let changes = presence.diff(1, &json(update)?)?.changes;
///
/// let [PresenceChange::Update { key, old, new }, PresenceChange::Sync] = &changes[..] else { panic!() };
/// assert_eq!(*key, "ann");
/// assert!(!old.parse::<Status>()?.away && new.parse::<Status>()?.away);
/// assert_eq!(presence.get("ann"), Some(&[new.clone()][..]));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Presence {
    limits: PresenceLimits,
    members: Members,
    /// The lifetime whose state has come.
    synced: Option<u64>,
    pending: Pending,
}

impl Presence {
    /// Nobody is present, and no state has come.
    #[must_use]
    pub fn new(limits: PresenceLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The payload of a `presence_state` in the lifetime `lifetime`.
    ///
    /// It may come late, and twice in one lifetime, since a server that is asked to track a client
    /// which joined without presence sends it then. The changes are what differs between the members
    /// known before and those of the state with the diffs that waited for it.
    ///
    /// # Errors
    /// If it is not a map of keys with metas that have refs. Nothing has changed then.
    pub fn state(&mut self, lifetime: u64, payload: &Payload) -> Result<PresenceChanges, PresenceError> {
        let state: State<'_> = wire::read(payload)?;
        let (members, mut dropped_metas) = Members::of(&state, &self.limits);
        let before = mem::replace(&mut self.members, members);
        for payload in self.pending.take(lifetime) {
            dropped_metas += wire::read(&payload).map_or(0, |diff| self.members.apply(&diff, &self.limits));
        }
        self.synced = Some(lifetime);
        let changes = self.members.since(before.with_keys_of(&self.members).into_iter());
        Ok(PresenceChanges { changes, dropped_metas, dropped_diffs: 0 })
    }

    /// The payload of a `presence_diff` in the lifetime `lifetime`. It says no lifetime of its own: it
    /// is of the join that the channel has.
    ///
    /// Before the state of the lifetime it waits, and there are no changes. A channel joined without
    /// presence may never get a state: then [`pending`](Self::pending) grows up to its limit.
    ///
    /// # Errors
    /// If it has joins or leaves that are not maps of keys with metas that have refs. Nothing has
    /// changed then.
    pub fn diff(&mut self, lifetime: u64, payload: &Payload) -> Result<PresenceChanges, PresenceError> {
        let diff: Diff<'_> = wire::read(payload)?;
        if self.synced != Some(lifetime) {
            let dropped_diffs = self.pending.push(lifetime, payload.detach(), &self.limits);
            return Ok(PresenceChanges { dropped_diffs, ..PresenceChanges::default() });
        }
        let before = self.members.touched_by(&diff);
        let dropped_metas = self.members.apply(&diff, &self.limits);
        let changes = self.members.since(before.iter().map(|(key, metas)| (*key, &metas[..])));
        Ok(PresenceChanges { changes, dropped_metas, dropped_diffs: 0 })
    }

    /// The metas of a key, one for each of its connections, or `None` if it is not present.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[Meta]> {
        self.members.get(key)
    }

    /// The keys with their metas, of which there is at least one, in the byte order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Meta])> {
        self.members.iter()
    }

    /// How many keys are present.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is known to be present.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lifetime whose state these members go back to; `None` before any state.
    #[must_use]
    pub const fn synced(&self) -> Option<u64> {
        self.synced
    }

    /// How many diffs wait for a state.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.diffs.len()
    }
}

/// How much a [`Presence`] keeps, whatever the server says. What is over a limit is left out and
/// counted in [`PresenceChanges`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceLimits {
    /// Keys; default 10,000.
    pub keys: usize,
    /// Metas of one key, which are connections of one user in most applications; default 1,000.
    pub metas_per_key: usize,
    /// Bytes of all keys and metas; default 16 MiB, as much as a frame may have.
    pub bytes: usize,
    /// Diffs that wait for a state; default 1,024 (specification, section 13). The oldest make room,
    /// for those are the first that a state makes superfluous.
    pub pending: usize,
    /// Bytes of the diffs that wait for a state; default 1 MiB.
    pub pending_bytes: usize,
}

impl Default for PresenceLimits {
    fn default() -> Self {
        Self { keys: 10_000, metas_per_key: 1_000, bytes: 16 << 20, pending: 1_024, pending_bytes: 1 << 20 }
    }
}

/// The diffs of a lifetime whose state has not come.
#[derive(Clone, Debug, Default)]
struct Pending {
    lifetime: u64,
    diffs: VecDeque<Payload>,
    bytes: usize,
}

impl Pending {
    /// How many diffs had to make room for this one. Those of an earlier lifetime do not count: the
    /// state of the present one knows what they said.
    fn push(&mut self, lifetime: u64, diff: Payload, limits: &PresenceLimits) -> usize {
        if self.lifetime != lifetime {
            *self = Self { lifetime, ..Self::default() };
        }
        self.bytes += diff.len();
        self.diffs.push_back(diff);
        let waiting = self.diffs.len();
        while self.diffs.len() > limits.pending || self.bytes > limits.pending_bytes {
            self.bytes -= self.diffs.pop_front().map_or(self.bytes, |oldest| oldest.len());
        }
        waiting - self.diffs.len()
    }

    /// Those of this lifetime; any others are out of date.
    fn take(&mut self, lifetime: u64) -> VecDeque<Payload> {
        let pending = mem::take(self);
        if pending.lifetime == lifetime { pending.diffs } else { VecDeque::new() }
    }
}
