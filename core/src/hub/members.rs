//! Who is in a topic, in the order in which they joined.

use alloc::vec::Vec;

use crate::slab::{Key, Slab};
use crate::text::Text;
use crate::wire::Serializer;

/// The members of all topics. Each is linked to the two beside it in its own topic, so that leaving
/// costs the same in a topic of two and of ten thousand.
#[derive(Debug)]
pub(super) struct Members<M>(Slab<Member<M>>);

#[derive(Debug)]
pub(super) struct Member<M> {
    pub(super) handle: M,
    pub(super) serializer: Serializer,
    pub(super) topic: Key,
    /// In the order in which they were tracked.
    pub(super) tracked: Vec<Tracked>,
    before: Option<Key>,
    after: Option<Key>,
}

impl<M> Member<M> {
    pub(super) const fn new(handle: M, serializer: Serializer, topic: Key) -> Self {
        Self { handle, serializer, topic, tracked: Vec::new(), before: None, after: None }
    }

    /// Where in `tracked` a key is.
    pub(super) fn find(&self, key: &str) -> Option<usize> {
        self.tracked.iter().position(|tracked| tracked.key == *key)
    }
}

/// A key under which a member is present, and the name of its meta there.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    pub(super) key: Text,
    pub(super) phx_ref: Text,
}

/// Where the members of one topic begin and end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Roll {
    first: Option<Key>,
    last: Option<Key>,
    len: usize,
}

impl Roll {
    pub(super) const fn len(self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(self) -> bool {
        self.len == 0
    }
}

impl<M> Members<M> {
    pub(super) const fn new() -> Self {
        Self(Slab::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, key: Key) -> Option<&Member<M>> {
        self.0.get(key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Member<M>> {
        self.0.get_mut(key)
    }

    pub(super) fn append(&mut self, roll: &mut Roll, member: Member<M>) -> Key {
        let before = roll.last;
        let key = self.0.insert(Member { before, after: None, ..member });
        match before.and_then(|before| self.0.get_mut(before)) {
            Some(before) => before.after = Some(key),
            None => roll.first = Some(key),
        }
        roll.last = Some(key);
        roll.len += 1;
        key
    }

    /// `roll` is the one that the member was appended to.
    pub(super) fn remove(&mut self, roll: &mut Roll, key: Key) -> Option<Member<M>> {
        let member = self.0.remove(key)?;
        match member.before.and_then(|before| self.0.get_mut(before)) {
            Some(before) => before.after = member.after,
            None => roll.first = member.after,
        }
        match member.after.and_then(|after| self.0.get_mut(after)) {
            Some(after) => after.before = member.before,
            None => roll.last = member.before,
        }
        roll.len -= 1;
        Some(member)
    }

    pub(super) fn of(&self, roll: Roll) -> Walk<'_, M> {
        Walk { members: self, next: roll.first, left: roll.len }
    }
}

/// From the first to the last.
#[derive(Debug)]
pub(super) struct Walk<'h, M> {
    members: &'h Members<M>,
    next: Option<Key>,
    left: usize,
}

impl<'h, M> Iterator for Walk<'h, M> {
    type Item = (Key, &'h Member<M>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.next?;
        let member = self.members.get(key)?;
        self.next = member.after;
        self.left -= 1;
        Some((key, member))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
