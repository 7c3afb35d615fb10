//! A member's meta with the hub's refs in it, and nobody else's.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::TrackError;
use crate::payload::Payload;
use crate::phoenix::Meta;
use crate::text::Text;

/// Puts the refs before the fields of `meta`. Fields of their names are left out: a reader that takes
/// the last of two would take the member's word for the hub's.
pub(super) fn stamp(meta: &Payload, phx_ref: &Text, phx_ref_prev: Option<&Text>) -> Result<Meta, TrackError> {
    let fields: Fields<'_> = meta.parse().map_err(|_| TrackError::NotAnObject)?;
    let mut json = String::with_capacity(meta.len() + 72);
    json.push_str(r#"{"phx_ref":""#);
    let at = json.len();
    json.push_str(phx_ref);
    json.push('"');
    let prev_at = phx_ref_prev.map(|prev| {
        json.push_str(r#","phx_ref_prev":""#);
        let at = json.len();
        json.push_str(prev);
        json.push('"');
        at..json.len() - 1
    });
    for (name, value) in fields.0 {
        json.push(',');
        json.push_str(name);
        json.push(':');
        json.push_str(value);
    }
    json.push('}');
    let json = Text::from(json);
    let cut = |range: core::ops::Range<usize>| Text::assume_utf8(json.bytes().slice(range));
    let (phx_ref, phx_ref_prev) = (cut(at..at + phx_ref.as_bytes().len()), prev_at.map(cut));
    Ok(Meta { phx_ref, phx_ref_prev, payload: Payload::unread_json(json) })
}

/// Names, with their quotes, and values, as they were written.
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(|fields: Fields<'de>| fields)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            // Read, because an escape may hide what it says, or that no reader could make it out.
            let Name(text) = serde_json::from_str(name.get()).map_err(serde::de::Error::custom)?;
            if !matches!(&*text, "phx_ref" | "phx_ref_prev") {
                fields.push((name.get(), value.get()));
            }
        }
        Ok(Fields(fields))
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
