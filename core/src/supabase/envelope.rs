//! The object around a broadcast that came as text (specification, sections 2.4 and 6.1), taken
//! apart without reading what the user sent.
//!
//! It is written by whoever sent the message and sorted by the server, so that any order of keys
//! may come and one comes nearly always: `{"event":…,"meta":…,"payload":…,"type":"broadcast"}`.

use alloc::borrow::Cow;
use core::ops::Range;

use serde_json::value::RawValue;

use crate::payload::Payload;
use crate::text::Text;
use crate::wire::scan::string;

/// What a text broadcast says: three slices of its frame, nothing of the user's read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TextBroadcast {
    pub(crate) event: Text,
    pub(crate) meta: Option<Payload>,
    pub(crate) payload: Payload,
}

/// Gives it back if this is no object with an `event` that is a string. Nothing else is insisted on:
/// not every sender says the `type`, and no payload, or null, is `{}` (section 2.5).
#[inline]
pub(crate) fn take_apart(whole: Payload) -> Result<TextBroadcast, Payload> {
    match whole.as_text().and_then(scan) {
        Some((event, meta, payload)) => Ok(TextBroadcast { event, meta, payload: whole.narrow(payload) }),
        None => whole.as_text().and_then(parse).ok_or(whole),
    }
}

/// The event, the meta, and where the payload lies, by a look at the two ends, however large the
/// payload between them is.
#[inline]
fn scan(text: &Text) -> Option<(Text, Option<Payload>, Range<usize>)> {
    let (event, rest) = string(text.as_bytes().strip_prefix(br#"{"event":"#)?)?;
    let (meta, rest) = match rest.strip_prefix(br#","meta":"#) {
        Some(rest) => object(rest).map(|(meta, rest)| (Some(meta), rest))?,
        None => (None, rest),
    };
    // In valid JSON this tail is a member of the outermost object and nothing else. The last brace
    // closes that object. No quote of the tail is escaped, as none follows a backslash, and so they
    // open and close by turns, counted from the last, which closes: the comma is in no string.
    let tail = br#","type":"broadcast"}"#;
    let payload = rest.strip_prefix(br#","payload":"#)?.strip_suffix(tail)?;
    // A sender's own member may stand in between. A plain one shows here; an object's or an array's
    // ends look like the payload's, and then it is the reader who finds no JSON.
    if !matches!(payload, [b'{', .., b'}'] | [b'[', .., b']']) {
        return None;
    }
    let end = text.as_bytes().len() - tail.len();
    let meta = meta.map(|meta| Payload::unread_json(text.slice_bytes(meta)));
    Some((text.slice_bytes(event), meta, end - payload.len()..end))
}

/// The object that this begins with, up to the brace that closes it, and what follows.
fn object(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth += 1,
            b'}' if depth == 1 && !in_string => return rest.split_at_checked(at + 1),
            b'}' if !in_string => depth = depth.checked_sub(1)?,
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Any other order, white space, escapes in the event, a payload that is neither object nor array.
#[cold]
fn parse(text: &Text) -> Option<TextBroadcast> {
    #[derive(serde::Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        event: Cow<'a, str>,
        #[serde(borrow, default)]
        meta: Option<&'a RawValue>,
        #[serde(borrow, default)]
        payload: Option<&'a RawValue>,
    }
    // Serde would read an array as well, member by member.
    if !text.as_bytes().trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let wire: Wire<'_> = serde_json::from_str(text.as_str()).ok()?;
    let json = |raw: &RawValue| Payload::unread_json(text.slice_ref(raw.get()));
    Some(TextBroadcast {
        event: match wire.event {
            Cow::Borrowed(event) => text.slice_ref(event),
            Cow::Owned(event) => event.into(),
        },
        meta: wire.meta.map(json),
        payload: wire.payload.map_or(Payload::EMPTY, json),
    })
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn unread(text: &[u8]) -> Payload {
        Payload::unread_json(Text::assume_utf8(Bytes::copy_from_slice(text)))
    }

    fn apart(text: &str) -> Option<TextBroadcast> {
        take_apart(unread(text.as_bytes())).ok()
    }

    /// What the whole object says to a parser that reads all of it.
    fn model(text: &str) -> Option<(String, Option<Value>, Value)> {
        let object: Map<String, Value> = serde_json::from_str(text).ok()?;
        let present = |key: &str| object.get(key).filter(|value| !value.is_null()).cloned();
        let event = object.get("event")?.as_str()?.to_owned();
        Some((event, present("meta"), present("payload").unwrap_or_else(|| Map::new().into())))
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            Just(Value::from(r#"{},"type":"broadcast"}"#)),
            Just(serde_json::json!({ "event": "inner", "payload": {}, "type": "broadcast" })),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    prop_compose! {
        /// The members in the order that servers write them, some left out, with a plain one of the sender's own.
        fn members()(
            event in prop_oneof![Just("e".to_owned()), any::<String>()], meta in value(), payload in value(),
            kind in prop_oneof![4 => Just("broadcast"), 1 => Just("other")], own in any::<Option<i32>>(),
            present in proptest::array::uniform4(prop::bool::weighted(0.8)),
        ) -> Vec<(&'static str, Value)> {
            let members = [("event", event.into()), ("meta", meta), ("payload", payload), ("type", kind.into())];
            let mut members: Vec<_> = members.into_iter().zip(present).filter_map(|(m, there)| there.then_some(m)).collect();
            if let Some(own) = own {
                members.insert(members.len().saturating_sub(1), ("seen", own.into()));
            }
            members
        }
    }

    fn written(members: &[(&str, Value)], gaps: &[String]) -> String {
        let mut gaps = gaps.iter().map(String::as_str).cycle();
        let mut gap = || gaps.next().unwrap_or_default();
        let mut text = format!("{}{{{}", gap(), gap());
        for (i, (key, value)) in members.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            text += &format!("{comma}{}\"{key}\"{}:{}{value}{}", gap(), gap(), gap(), gap());
        }
        text + "}" + gap()
    }

    fn check(text: &str) -> Result<(), TestCaseError> {
        let read = |payload: Payload| payload.parse::<Value>().unwrap();
        let found = apart(text).map(|b| (b.event.as_str().to_owned(), b.meta.map(read), read(b.payload)));
        prop_assert_eq!(found, model(text), "{}", text);
        Ok(())
    }

    /// The one order that reading two ends takes for another, pinned by a test of its own below.
    fn hides_a_member(members: &[(&str, Value)]) -> bool {
        let is_wide = |value: &Value| value.is_object() || value.is_array();
        matches!(members, [.., (key, last), ("type", _)] if *key != "payload" && is_wide(last))
    }

    proptest! {
        #[test]
        fn every_order_and_spacing_says_what_a_parser_reads(
            members in members(), shuffled in members().prop_shuffle(),
            gaps in proptest::collection::vec("[ \t\r\n]{0,2}", 12),
        ) {
            for members in [members, shuffled] {
                if !hides_a_member(&members) {
                    check(&written(&members, &[]))?;
                }
                check(&written(&members, &gaps))?;
            }
        }

        #[test]
        fn no_bytes_are_too_strange(
            members in members(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
        ) {
            let mut text = written(&members, &[]).into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            text.truncate(if cut { at } else { text.len() });
            if let Ok(broadcast) = take_apart(unread(&text)) {
                let parts = broadcast.event.as_bytes().len() + broadcast.payload.len();
                prop_assert!(parts <= text.len() + Payload::EMPTY.len(), "{:?}", broadcast);
            }
        }
    }

    /// Two forms that servers write; what the parser would refuse shows that it was not asked.
    #[test]
    fn what_servers_write_is_cut_into_slices_and_not_read() {
        let bomb = [&b"[".repeat(100_000)[..], b"\xff]"].concat();
        for (head, meta) in [
            (&br#"{"event":"e","payload":"#[..], None),
            (br#"{"event":"e","meta":{"id":"}\"","of":[{}]},"payload":"#, Some(r#"{"id":"}\"","of":[{}]}"#)),
        ] {
            let whole = unread(&[head, &bomb, br#","type":"broadcast"}"#].concat());
            let broadcast = take_apart(whole.clone()).unwrap();
            assert_eq!(broadcast.event, "e");
            assert_eq!(broadcast.meta.as_ref().and_then(Payload::as_json), meta);
            assert_eq!(broadcast.payload.as_bytes(), bomb);
            assert_eq!(broadcast.event.as_bytes().as_ptr(), whole.as_bytes()[10..].as_ptr());
            assert_eq!(broadcast.payload.as_bytes().as_ptr(), whole.as_bytes()[head.len()..].as_ptr());
        }
    }

    #[test]
    fn what_is_no_broadcast_is_told() {
        for other in
            ["{}", "[]", "null", r#"["e",{},{}]"#, r#"{"event":1}"#, r#"{"event":null}"#, r#"{"payload":{}}"#, ""]
        {
            assert_eq!(apart(other), None, "{other}");
        }
        let binary = Payload::binary(Bytes::from_static(br#"{"event":"e"}"#));
        assert_eq!(take_apart(binary.clone()), Err(binary));
    }

    #[test]
    fn no_payload_is_an_empty_object() {
        for text in
            [r#"{"event":"e"}"#, r#"{"event":"e","payload":null,"type":"broadcast"}"#, r#"{"event":"e","meta":null}"#]
        {
            let expected = TextBroadcast { event: "e".into(), meta: None, payload: Payload::EMPTY };
            assert_eq!(apart(text), Some(expected), "{text}");
        }
    }

    /// The price of not reading the payload, as with a sixth element of a vsn 2 array.
    #[test]
    fn an_object_between_payload_and_type_is_left_to_the_reader() {
        for between in ["sender", "meta"] {
            let text = format!(r#"{{"event":"e","payload":{{}},"{between}":{{}},"type":"broadcast"}}"#);
            assert!(apart(&text).unwrap().payload.parse::<Value>().is_err());
        }
        let broadcast = apart(r#"{"event":"e","payload":{},"sender":1,"type":"broadcast"}"#).unwrap();
        assert_eq!(broadcast.payload, Payload::EMPTY);
    }
}
