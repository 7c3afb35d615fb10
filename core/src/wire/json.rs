//! Text frames by serde: everything the hand scan leaves, and all encoding.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{BROADCAST, Body, DecodeError, Envelope, Head, Reply, Side, WireRef, quoted};
use crate::payload::Payload;
use crate::text::Text;

/// `[join_ref, ref, topic, event, payload, …]`: more than five elements are tolerated (section 2.5).
#[cold]
pub(super) fn decode_v2(frame: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let Array([join_ref, reference, topic, event, payload]) = parse(frame)?;
    envelope(join_ref, reference, topic, event, Some(payload))
}

/// `{"topic": …, "event": …, "payload": …, "ref": …, "join_ref": …}` in any order.
pub(super) fn decode_v1(frame: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let object: Object<'_> = parse(frame)?;
    let null = RawValue::NULL;
    envelope(
        object.join_ref.unwrap_or(null),
        object.reference.unwrap_or(null),
        object.topic,
        object.event,
        object.payload,
    )
}

/// Five or more JSON values, each still unread.
struct Array<'f>([&'f RawValue; 5]);

#[derive(serde::Deserialize)]
struct Object<'f> {
    #[serde(borrow)]
    topic: &'f RawValue,
    #[serde(borrow)]
    event: &'f RawValue,
    #[serde(borrow, default)]
    payload: Option<&'f RawValue>,
    #[serde(borrow, default, rename = "ref")]
    reference: Option<&'f RawValue>,
    #[serde(borrow, default)]
    join_ref: Option<&'f RawValue>,
}

impl<'de> Deserialize<'de> for Array<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Five;
        impl<'de> Visitor<'de> for Five {
            type Value = Array<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of five")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = [RawValue::NULL; 5];
                for (i, item) in items.iter_mut().enumerate() {
                    *item = seq.next_element()?.ok_or_else(|| serde::de::Error::invalid_length(i, &self))?;
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Array(items))
            }
        }
        deserializer.deserialize_seq(Five)
    }
}

fn envelope<'f>(
    join_ref: &'f RawValue,
    reference: &'f RawValue,
    topic: &'f RawValue,
    event: &'f RawValue,
    payload: Option<&'f RawValue>,
) -> Result<Envelope<'f>, DecodeError> {
    Ok(Envelope {
        join_ref: wire_ref(join_ref)?,
        reference: wire_ref(reference)?,
        topic: string(topic)?,
        event: string(event)?,
        // A missing or null payload routes as `{}` (section 2.5).
        body: Body::Json(match payload.map(RawValue::get) {
            None | Some("null") => b"{}",
            Some(json) => json.as_bytes(),
        }),
    })
}

fn wire_ref(raw: &RawValue) -> Result<Option<WireRef<'_>>, DecodeError> {
    match raw.get().as_bytes() {
        b"null" => Ok(None),
        number @ [b'-' | b'0'..=b'9', ..] => Ok(Some(WireRef { text: Cow::Borrowed(number), number: true })),
        _ => Ok(Some(WireRef { text: string(raw)?, number: false })),
    }
}

fn string(raw: &RawValue) -> Result<Cow<'_, [u8]>, DecodeError> {
    #[derive(serde::Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
    match parse::<Borrowed<'_>>(raw.get().as_bytes())?.0 {
        Cow::Borrowed(text) => Ok(Cow::Borrowed(text.as_bytes())),
        Cow::Owned(text) => Ok(Cow::Owned(text.into_bytes())),
    }
}

fn parse<'f, T: Deserialize<'f>>(json: &'f [u8]) -> Result<T, DecodeError> {
    let text = core::str::from_utf8(json).map_err(|e| DecodeError::Syntax { column: e.valid_up_to() + 1 })?;
    // The parser's own words may quote the frame, and frames carry tokens: only the place is kept.
    serde_json::from_str(text).map_err(|error| match (error.classify(), serde_json::from_str::<IgnoredAny>(text)) {
        (serde_json::error::Category::Data, Ok(_)) => DecodeError::Shape { column: error.column() },
        // The wrong type may be noticed before what makes the whole no JSON at all.
        (_, Err(syntax)) => DecodeError::Syntax { column: syntax.column() },
        (_, Ok(_)) => DecodeError::Syntax { column: error.column() },
    })
}

/// Status and response out of a reply's payload.
pub(crate) fn parse_reply(payload: &Payload) -> Option<Reply> {
    #[derive(serde::Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        status: Cow<'a, str>,
        #[serde(borrow, default)]
        response: Option<&'a RawValue>,
    }
    let json = payload.as_json()?;
    let wire: Wire<'_> = serde_json::from_str(json).ok()?;
    let status = match &*wire.status {
        "ok" => Text::from_static("ok"),
        "error" => Text::from_static("error"),
        other => other.into(),
    };
    let response = match wire.response {
        Some(response) => payload.slice(response.get()),
        None => Payload::unread_json(Text::from_static("null")),
    };
    Some(Reply { status, response })
}

/// Exact where the status needs no escapes, so that the buffer is neither grown nor shrunk.
pub(super) fn reply_payload(status: &str, response: &str) -> Payload {
    let mut out = Vec::with_capacity(response.len() + status.len() + 25);
    out.extend_from_slice(br#"{"status":"#);
    push_quoted(&mut out, status.as_bytes());
    out.extend_from_slice(br#","response":"#);
    out.extend_from_slice(response.as_bytes());
    out.push(b'}');
    Payload::unread_json(Text::assume_utf8(out.into()))
}

pub(super) fn encode_v2(head: &Head<'_>) -> Text {
    let mut out = Vec::with_capacity(encoded_len(head));
    out.push(b'[');
    push_ref(&mut out, head.join_ref.as_ref());
    out.push(b',');
    push_ref(&mut out, head.reference.as_ref());
    out.push(b',');
    push_string(&mut out, head.topic);
    out.push(b',');
    push_string(&mut out, head.event);
    out.push(b',');
    push_payload(&mut out, head);
    out.push(b']');
    Text::assume_utf8(out.into())
}

/// The payload comes last, so that a reader can leave it unread.
pub(super) fn encode_v1(head: &Head<'_>, from: Side) -> Text {
    let mut out = Vec::with_capacity(encoded_len(head) + 48);
    out.push(b'{');
    if let (Side::Client, Some(join_ref)) = (from, &head.join_ref) {
        out.extend_from_slice(br#""join_ref":"#);
        push_ref(&mut out, Some(join_ref));
        out.push(b',');
    }
    out.extend_from_slice(br#""ref":"#);
    push_ref(&mut out, head.reference.as_ref());
    out.extend_from_slice(br#","topic":"#);
    push_string(&mut out, head.topic);
    out.extend_from_slice(br#","event":"#);
    push_string(&mut out, head.event);
    out.extend_from_slice(br#","payload":"#);
    push_payload(&mut out, head);
    out.push(b'}');
    Text::assume_utf8(out.into())
}

/// Exact for a vsn 2 frame without escapes, so that its buffer is neither grown nor shrunk.
fn encoded_len(head: &Head<'_>) -> usize {
    let reference = |r: &Option<WireRef<'_>>| match r {
        None => 4,
        Some(r) if r.number => r.text.len(),
        Some(r) => r.text.len() + 2,
    };
    let strings = head.topic.as_bytes().len() + head.event.as_bytes().len() + 4;
    let user = head.user_event.as_ref().map_or(0, |user| {
        let metadata = user.metadata.map_or(0, |metadata| metadata.len() + 8);
        user.event.as_bytes().len() + metadata + 42
    });
    reference(&head.join_ref) + reference(&head.reference) + strings + user + head.payload.len() + 6
}

/// The payload of a user broadcast is wrapped as servers wrap it (section 6.1).
fn push_payload(out: &mut Vec<u8>, head: &Head<'_>) {
    let Some(user) = &head.user_event else { return out.extend_from_slice(head.payload.as_bytes()) };
    out.extend_from_slice(br#"{"event":"#);
    push_string(out, user.event);
    if let Some(metadata) = user.metadata.filter(|metadata| !metadata.is_empty()) {
        out.extend_from_slice(br#","meta":"#);
        out.extend_from_slice(metadata.as_bytes());
    }
    out.extend_from_slice(br#","payload":"#);
    out.extend_from_slice(head.payload.as_bytes());
    out.extend_from_slice(br#","type":""#);
    out.extend_from_slice(BROADCAST.as_bytes());
    out.extend_from_slice(br#""}"#);
}

fn push_ref(out: &mut Vec<u8>, reference: Option<&WireRef<'_>>) {
    match reference {
        None => out.extend_from_slice(b"null"),
        Some(r) if r.number => out.extend_from_slice(&r.text),
        Some(r) => push_quoted(out, &r.text),
    }
}

fn push_string(out: &mut Vec<u8>, text: &Text) {
    push_quoted(out, text.as_bytes());
}

fn push_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().any(|&b| b < b' ' || b == b'"' || b == b'\\') {
        out.extend_from_slice(quoted(&String::from_utf8_lossy(bytes)).as_bytes());
    } else {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
    }
}
