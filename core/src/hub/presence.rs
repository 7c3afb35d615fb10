//! Who is present in one topic, and how that is said (specification, section 7.1).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::config::TrackLimits;
use super::error::TrackError;
use crate::payload::Payload;
use crate::phoenix::Meta;
use crate::text::Text;

#[derive(Debug, Default)]
pub(super) struct Presence {
    /// A key that is here has a meta.
    keys: BTreeMap<Text, Present>,
    metas: usize,
    bytes: usize,
}

/// Under one key.
#[derive(Debug)]
struct Present {
    /// The key as JSON, with its quotes.
    quoted: Text,
    /// In the order in which they were tracked, an update counting as tracked anew.
    metas: Vec<Meta>,
}

/// One meta of a diff, under the JSON of its key.
#[derive(Debug)]
pub(super) struct Change {
    quoted: Text,
    meta: Payload,
}

impl Presence {
    /// What joins.
    pub(super) fn track(&mut self, key: &Text, meta: Meta, limits: &TrackLimits) -> Result<Change, TrackError> {
        let known = self.keys.get(key.as_bytes());
        if self.metas >= limits.metas {
            return Err(TrackError::TopicFull { limit: limits.metas });
        }
        if known.is_some_and(|known| known.metas.len() >= limits.metas_per_key) {
            return Err(TrackError::KeyFull { limit: limits.metas_per_key });
        }
        let quoted = known.map_or_else(|| quote(key), |known| known.quoted.clone());
        let change = Change { quoted, meta: meta.payload.clone() };
        if self.bytes + change.len() > limits.bytes {
            return Err(TrackError::TopicTooLong { limit: limits.bytes });
        }
        self.insert(key, meta, &change);
        Ok(change)
    }

    /// What joins, and what leaves for it.
    pub(super) fn update(
        &mut self,
        key: &Text,
        old: &Text,
        meta: Meta,
        limits: &TrackLimits,
    ) -> Result<(Change, Change), TrackError> {
        let known = self.keys.get(key.as_bytes()).ok_or(TrackError::NotTracked)?;
        let before = known.metas.iter().find(|meta| meta.phx_ref == *old).ok_or(TrackError::NotTracked)?;
        if self.bytes - before.payload.len() + meta.payload.len() > limits.bytes {
            return Err(TrackError::TopicTooLong { limit: limits.bytes });
        }
        let change = Change { quoted: known.quoted.clone(), meta: meta.payload.clone() };
        let left = self.untrack(key, old).ok_or(TrackError::NotTracked)?;
        self.insert(key, meta, &change);
        Ok((change, left))
    }

    /// What leaves; `None` if it is not there.
    pub(super) fn untrack(&mut self, key: &Text, phx_ref: &Text) -> Option<Change> {
        let known = self.keys.get_mut(key.as_bytes())?;
        let at = known.metas.iter().position(|meta| meta.phx_ref == *phx_ref)?;
        let change = Change { quoted: known.quoted.clone(), meta: known.metas.remove(at).payload };
        if known.metas.is_empty() {
            self.keys.remove(key.as_bytes());
        }
        self.metas -= 1;
        self.bytes -= change.len();
        Some(change)
    }

    /// The keys with their metas, in the byte order of the keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[Meta])> {
        self.keys.iter().map(|(key, known)| (key.as_str(), known.metas.as_slice()))
    }

    /// The payload of a `presence_state`.
    pub(super) fn state(&self) -> Payload {
        let mut out = String::with_capacity(self.bytes + self.metas * AROUND_A_META + 2);
        let presences = self.keys.values().map(|known| (&known.quoted, known.metas.iter().map(|meta| &meta.payload)));
        push_presences(&mut out, presences);
        Payload::unread_json(out.into())
    }

    fn insert(&mut self, key: &Text, meta: Meta, change: &Change) {
        self.metas += 1;
        self.bytes += change.len();
        match self.keys.get_mut(key.as_bytes()) {
            Some(known) => known.metas.push(meta),
            None => {
                let known = Present { quoted: change.quoted.clone(), metas: Vec::from([meta]) };
                self.keys.insert(key.clone(), known);
            }
        }
    }
}

impl Change {
    fn len(&self) -> usize {
        self.quoted.as_bytes().len() + self.meta.len()
    }
}

/// The payload of a `presence_diff`, in which no key has two metas on one side.
pub(super) fn diff(joins: &[Change], leaves: &[Change]) -> Payload {
    let len = |changes: &[Change]| changes.iter().map(|change| change.len() + AROUND_A_META).sum::<usize>();
    let mut out = String::with_capacity(len(joins) + len(leaves) + 26);
    for (side, changes) in [(r#"{"joins":"#, joins), (r#","leaves":"#, leaves)] {
        out.push_str(side);
        push_presences(&mut out, changes.iter().map(|change| (&change.quoted, [&change.meta])));
    }
    out.push('}');
    Payload::unread_json(out.into())
}

/// `:{"metas":[]},`, which is a little more than a further meta of the same key takes.
const AROUND_A_META: usize = 14;

fn push_presences<'a, P>(out: &mut String, presences: impl Iterator<Item = (&'a Text, P)>)
where
    P: IntoIterator<Item = &'a Payload>,
{
    let mut before = '{';
    for (quoted, metas) in presences {
        out.push(before);
        out.push_str(quoted);
        out.push_str(r#":{"metas":"#);
        let mut before_meta = '[';
        for meta in metas {
            out.push(before_meta);
            out.push_str(meta.as_json().unwrap_or_default());
            before_meta = ',';
        }
        out.push_str("]}");
        before = ',';
    }
    if before == '{' {
        out.push('{');
    }
    out.push('}');
}

/// Text always can be written as JSON.
fn quote(key: &Text) -> Text {
    serde_json::to_string(key.as_str()).unwrap_or_default().into()
}
