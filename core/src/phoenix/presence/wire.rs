//! A state and a diff as they are on the wire (specification, section 7.1), borrowed from the frame.
//!
//! What a connection tracks is never read here: it is any JSON, as deep as its sender likes.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Deref;
use core::{fmt, mem};

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::change::{Meta, PresenceError};
use crate::payload::Payload;
use crate::text::Text;

/// Each key with its metas, in the order of the keys.
#[derive(Default)]
pub(super) struct State<'a>(Vec<(WireText<'a>, WirePresence<'a>)>);

impl<'a> State<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[WireMeta<'a>])> {
        self.0.iter().map(|(key, presence)| (&**key, &presence.metas[..]))
    }

    /// The metas of a key; none if it is not there.
    pub(super) fn get(&self, key: &str) -> &[WireMeta<'a>] {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok();
        at.and_then(|at| self.0.get(at)).map_or(&[], |(_, presence)| &presence.metas)
    }
}

#[derive(Deserialize)]
pub(super) struct Diff<'a> {
    #[serde(borrow, default)]
    pub(super) joins: State<'a>,
    #[serde(borrow, default)]
    pub(super) leaves: State<'a>,
}

/// What an application adds beside the metas is not looked at.
#[derive(Deserialize)]
struct WirePresence<'a> {
    #[serde(borrow)]
    metas: Vec<WireMeta<'a>>,
}

/// Text that is copied only if it has escapes; a bare `Cow` would always be.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct WireText<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for WireText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

pub(super) struct WireMeta<'a> {
    refs: Refs<'a>,
    json: &'a RawValue,
}

struct Refs<'a> {
    phx_ref: WireText<'a>,
    phx_ref_prev: Option<WireText<'a>>,
}

impl WireMeta<'_> {
    pub(super) fn phx_ref(&self) -> &str {
        &self.refs.phx_ref
    }

    /// How many bytes keeping it takes, without the refs, which are in it.
    pub(super) fn len(&self) -> usize {
        self.json.get().len()
    }

    /// A copy, for which no frame stays alive. The refs share its memory.
    pub(super) fn detach(&self) -> Meta {
        let json = self.json.get();
        let copy = Text::from(json);
        // One with escapes was written anew and lies elsewhere.
        let same = |text: &WireText<'_>| {
            let at = (text.as_ptr() as usize).checked_sub(json.as_ptr() as usize);
            let part = at.and_then(|at| copy.as_bytes().get(at..at + text.len()));
            part.map_or_else(|| Text::from(&**text), |part| copy.slice_bytes(part))
        };
        let (phx_ref, phx_ref_prev) = (same(&self.refs.phx_ref), self.refs.phx_ref_prev.as_ref().map(same));
        Meta { phx_ref, phx_ref_prev, payload: Payload::unread_json(copy) }
    }
}

/// Of a key that comes twice the last counts, as for every JSON reader.
impl<'de: 'a, 'a> Deserialize<'de> for State<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StateVisitor).map(|state: State<'de>| state)
    }
}

struct StateVisitor;

impl<'de> Visitor<'de> for StateVisitor {
    type Value = State<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys with their metas")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<State<'de>, A::Error> {
        let mut keys = Vec::new();
        while let Some(key) = map.next_entry::<WireText<'de>, WirePresence<'de>>()? {
            keys.push(key);
        }
        // Servers write them in this order already, unless there are many.
        if !keys.is_sorted_by(|(a, _), (b, _)| a < b) {
            keys.sort_by(|(a, _), (b, _)| a.cmp(b));
            keys.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    mem::swap(later, earlier);
                }
                same
            });
        }
        Ok(State(keys))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for WireMeta<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        let refs = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
        Ok(Self { refs, json })
    }
}

/// A connection may track fields of these names, of any type. The server's own, which it writes first,
/// count, and none can make a message unreadable that speaks of others too.
impl<'de: 'a, 'a> Deserialize<'de> for Refs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RefsVisitor).map(|refs: Refs<'de>| refs)
    }
}

struct RefsVisitor;

impl<'de> Visitor<'de> for RefsVisitor {
    type Value = Refs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a meta with its phx_ref")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Refs<'de>, A::Error> {
        let (mut phx_ref, mut phx_ref_prev) = (None, None);
        while let Some(field) = fields.next_key::<WireText<'de>>()? {
            match &*field {
                "phx_ref" if phx_ref.is_none() => phx_ref = Some(fields.next_value()?),
                "phx_ref_prev" if phx_ref_prev.is_none() => {
                    phx_ref_prev = serde_json::from_str(fields.next_value::<&RawValue>()?.get()).ok();
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let phx_ref = phx_ref.ok_or_else(|| A::Error::missing_field("phx_ref"))?;
        Ok(Refs { phx_ref, phx_ref_prev })
    }
}

/// Reads a [`State`] or a [`Diff`].
pub(super) fn read<'a, T: Deserialize<'a>>(payload: &'a Payload) -> Result<T, PresenceError> {
    let json = payload.as_json().ok_or(PresenceError::Binary)?;
    // An array is no diff either.
    if !json.trim_ascii_start().starts_with('{') {
        return Err(PresenceError::Malformed { column: 1 });
    }
    serde_json::from_str(json).map_err(|error| PresenceError::Malformed { column: error.column() })
}
