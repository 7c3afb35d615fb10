//! Where the parts of a change lie in its message, without reading the row.
//!
//! A row may have a megabyte, and most of the work of a channel is to hand it on. In every recording
//! the server writes the table and the kind first and the ids of the bindings last, so that a look
//! at the two ends is enough; any other order is parsed.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::payload::{Payload, PayloadError};
use crate::wire::scan::string;

/// What routing a change needs, as places in its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChangeEnvelope {
    pub(super) kind: ChangeKind,
    /// Where the object begins that tells of the change.
    pub(super) data: usize,
    /// Where its record begins, if the record comes right behind the kind.
    pub(super) record: Option<usize>,
    /// The ids and the commas between them.
    pub(super) ids: Range<usize>,
}

impl ChangeEnvelope {
    #[inline]
    pub(super) fn of(payload: &Payload) -> Result<Self, PayloadError> {
        scan(payload).map_or_else(|| parse(payload), Ok)
    }
}

/// `{"data":{…},"ids":[…]}`, read from the two ends: the kind right behind the table, as today's server
/// writes it, or at the very end of the data, where a server that sorts its keys does. `None` for any
/// other order.
#[inline]
fn scan(payload: &Payload) -> Option<ChangeEnvelope> {
    let whole = payload.as_text()?.as_bytes();
    let data = whole.strip_prefix(br#"{"data":"#)?;
    // In valid JSON this tail is a member of the outermost object and nothing else. The last brace
    // closes that object, and no quote of the tail is escaped, so that counted from the last they
    // close and open by turns: the comma is in no string.
    let before_ids = before_numbers(whole.strip_suffix(b"]}")?)?;
    let ids = before_ids.len()..whole.len() - b"]}".len();
    let before_ids = before_ids.strip_suffix(br#","ids":["#)?;
    let (kind, record) = kind_in_front(data).or_else(|| Some((kind_at_end(before_ids)?, None)))?;
    let at = |part: &[u8]| whole.len() - part.len();
    Some(ChangeEnvelope { kind, data: at(data), record: record.map(at), ids })
}

/// What stands before numbers and the commas between them. `None` if one may be too large.
fn before_numbers(text: &[u8]) -> Option<&[u8]> {
    const DIGITS: usize = u64::MAX.ilog10() as usize;
    let (mut rest, mut digits) = (text, 0);
    while let [before @ .., last] = rest {
        match last {
            b'0'..=b'9' if digits < DIGITS => digits += 1,
            b',' if digits > 0 => digits = 0,
            b'[' if digits > 0 || rest.len() == text.len() => return Some(rest),
            _ => return None,
        }
        rest = before;
    }
    None
}

/// The kind, and the record with all that follows it.
#[inline]
fn kind_in_front(data: &[u8]) -> Option<(ChangeKind, Option<&[u8]>)> {
    let (_, rest) = string(data.strip_prefix(br#"{"table":"#)?)?;
    let (kind, rest) = string(rest.strip_prefix(br#","type":"#)?)?;
    Some((ChangeKind::of(kind)?, rest.strip_prefix(br#","record":"#)))
}

/// The kind as the last member of what comes before the ids. That is the data: a message has no third
/// member. No quote is escaped here either, as the brace is in no string.
#[inline]
fn kind_at_end(before_ids: &[u8]) -> Option<ChangeKind> {
    let members = before_ids.strip_suffix(br#""}"#)?;
    [ChangeKind::Insert, ChangeKind::Update, ChangeKind::Delete].into_iter().find(|kind| {
        let rest = members.strip_suffix(kind.as_str().as_bytes());
        rest.is_some_and(|rest| rest.ends_with(br#","type":""#))
    })
}

/// Any order and spacing, and the legacy API's changes, which have no envelope.
#[cold]
fn parse(payload: &Payload) -> Result<ChangeEnvelope, PayloadError> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow, default)]
        data: Option<&'a RawValue>,
        #[serde(borrow, default)]
        ids: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Data {
        #[serde(rename = "type")]
        kind: ChangeKind,
    }
    let text = payload.as_json().ok_or(PayloadError::Binary)?;
    let wire: Wire<'_> = serde_json::from_str(object(text)?)?;
    let data = wire.data.map_or(text, RawValue::get);
    let kind = serde_json::from_str::<Data>(object(data)?)?.kind;
    let ids = match wire.ids.map(RawValue::get) {
        Some(ids) if ids != "null" => {
            serde_json::from_str::<Vec<u64>>(ids)?;
            ids.trim_matches(['[', ']'])
        }
        _ => "",
    };
    let at = |part: &str| (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let ids = if ids.is_empty() { 0..0 } else { at(ids)..at(ids) + ids.len() };
    Ok(ChangeEnvelope { kind, data: at(data), record: None, ids })
}

/// Serde would read an array as well, member by member.
fn object(text: &str) -> Result<&str, PayloadError> {
    let is_object = text.trim_ascii_start().starts_with('{');
    is_object.then_some(text).ok_or_else(|| PayloadError::Json("a change is an object".into()))
}

impl<'de> Deserialize<'de> for ChangeKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Self::of(name.as_bytes()).ok_or_else(|| serde::de::Error::custom("`type` is no INSERT, UPDATE or DELETE"))
    }
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It came.
    Insert,
    /// It changed.
    Update,
    /// It went.
    Delete,
}

impl ChangeKind {
    /// `INSERT`, `UPDATE` or `DELETE`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }

    /// Whatever the case (trap T47).
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        [Self::Insert, Self::Update, Self::Delete]
            .into_iter()
            .find(|kind| name.eq_ignore_ascii_case(kind.as_str().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::change::PostgresChange;
    use super::*;
    use crate::text::Text;

    fn of(text: &str) -> Result<PostgresChange, PayloadError> {
        PostgresChange::of(&Payload::unread_json(Text::from(text)))
    }

    #[test]
    fn ids_may_stand_anywhere_or_be_missing() {
        let data = r#""data":{"type":"insert"}"#;
        for (text, ids) in [
            (format!(r#"{{"ids":[1, 2 ,3],{data}}}"#), &[1, 2, 3][..]),
            (format!("{{\n{data}, \"ids\": [ 18446744073709551615 ] }}"), &[u64::MAX]),
            (format!(r#"{{{data},"ids":null}}"#), &[]),
            (format!(r#"{{{data},"ids":[]}}"#), &[]),
            (format!("{{{data}}}"), &[]),
        ] {
            let change = of(&text).unwrap();
            assert!(change.ids().eq(ids.iter().copied()), "{text}");
            assert_eq!(change.kind(), ChangeKind::Insert);
        }
    }

    #[test]
    fn what_is_no_change_is_an_error() {
        let binary = Payload::binary(bytes::Bytes::from_static(br#"{"type":"INSERT"}"#));
        assert_eq!(PostgresChange::of(&binary), Err(PayloadError::Binary));
        let data = |data: &str| format!(r#"{{"data":{data},"ids":[1]}}"#);
        for other in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"ids":[1]}"#,
            &data("null"),
            &data("[\"INSERT\"]"),
            &data(r#"{"type":1}"#),
            &data(r#"{"table":"t","type":"TRUNCATE"}"#),
            r#"{"data":{"type":"INSERT"},"ids":["1"]}"#,
            r#"{"data":{"type":"INSERT"},"ids":1}"#,
            r#"{"data":{"type":"INSERT"},"ids":[-1]}"#,
        ] {
            assert!(of(other).is_err(), "{other}");
        }
        // As the server writes it, too: without its ids a change would be for every binding.
        for ids in ["1,", ",1", "1,,2", "18446744073709551616", "1,184467440737095516150"] {
            for data in [r#"{"table":"t","type":"INSERT"}"#, r#"{"record":{},"type":"INSERT"}"#] {
                let change = format!(r#"{{"data":{data},"ids":[{ids}]}}"#);
                assert!(of(&change).is_err(), "{change}");
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            Just(Value::from(r#"},"ids":[7]}"#)),
            Just(json!({"ids": [7]})),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::from))
    }

    prop_compose! {
        /// The members of a change in any order, perhaps not all of them.
        fn members()(
            table in any::<String>(), kind in prop::sample::select([ "INSERT", "UPDATE", "DELETE" ].to_vec()),
            record in value(), old in value(),
        )(
            some in prop::sample::subsequence(
                [("table", Value::from(table)), ("type", kind.into()), ("record", record), ("old_record", old)].to_vec(), 2..=4,
            ).prop_flat_map(|some| prop_oneof![Just(some.clone()), Just(some).prop_shuffle()]),
        ) -> Vec<(&'static str, Value)> { some }
    }

    fn object(members: &[(&str, Value)]) -> String {
        let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    }

    proptest! {
        #[test]
        fn every_order_says_what_a_parser_reads(
            data in members(), ids in prop::collection::vec(any::<u64>(), 0..4), ids_first in any::<bool>(),
        ) {
            let data = object(&data);
            let ids_json = Value::from(ids.clone());
            let text = if ids_first { format!(r#"{{"ids":{ids_json},"data":{data}}}"#) }
                else { format!(r#"{{"data":{data},"ids":{ids_json}}}"#) };
            let data: Value = serde_json::from_str(&data).unwrap();
            let found = of(&text);
            prop_assert_eq!(found.is_ok(), data["type"].is_string(), "{}", text);
            if let Ok(change) = found {
                prop_assert_eq!(change.kind().as_str(), data["type"].as_str().unwrap());
                prop_assert!(change.ids().eq(ids), "{}", text);
                let value = |key: &str| data.get(key).filter(|value| !value.is_null()).cloned();
                prop_assert_eq!(change.record::<Value>().unwrap(), value("record"));
                prop_assert_eq!(change.old_record::<Value>().unwrap(), value("old_record"));
                let table = data.get("table").and_then(Value::as_str).unwrap_or_default();
                let details = change.details().unwrap();
                prop_assert_eq!(details.table.as_str(), table);
            }
        }
    }
}
