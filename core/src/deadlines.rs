//! Who is to be woken when, in (time, key) order.

use alloc::collections::BTreeSet;

use crate::time::Timestamp;

/// A set of deadlines. The owner of a key remembers its time, so that removal needs no search.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadlines<K: Ord>(BTreeSet<(Timestamp, K)>);

impl<K: Ord + Copy> Deadlines<K> {
    pub(crate) const fn new() -> Self {
        Self(BTreeSet::new())
    }

    /// Moves the deadline of `key` from `slot` to `at`; `None` is no deadline.
    pub(crate) fn set(&mut self, key: K, slot: &mut Option<Timestamp>, at: Option<Timestamp>) {
        if let Some(old) = core::mem::replace(slot, at) {
            self.0.remove(&(old, key));
        }
        if let Some(new) = at {
            self.0.insert((new, key));
        }
    }

    pub(crate) fn first(&self) -> Option<(Timestamp, K)> {
        self.0.first().copied()
    }
}
