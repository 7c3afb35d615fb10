//! Binary frames of vsn 2.0.0: Phoenix's kinds 0 push, 1 reply, 2 broadcast (section 2.3) and
//! Supabase's kinds 3 user broadcast push, 4 user broadcast (section 2.4).
//!
//! One length byte a field, counting UTF-8 bytes, then the fields, then the data; kinds 3 and 4
//! tell by a further byte whether the data are JSON. A push has a ref on its way to the server and
//! none on its way back, so decoding must know who sent it.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{BROADCAST, Body, DecodeError, EncodeError, Envelope, Head, REPLY, Side, UserHead, WireRef};

const PUSH: u8 = 0;
const REPLY_KIND: u8 = 1;
const BROADCAST_KIND: u8 = 2;
const USER_PUSH: u8 = 3;
const USER_BROADCAST: u8 = 4;

/// The encoding byte of raw data; servers take every other one for JSON.
const RAW: u8 = 0;
const JSON: u8 = 1;

pub(super) fn decode(frame: &[u8], from: Side) -> Result<Envelope<'_>, DecodeError> {
    let (&kind, rest) = frame.split_first().ok_or(DecodeError::Truncated)?;
    match (kind, from) {
        (PUSH, Side::Client) => {
            let ([join_ref, reference, topic, event], data) = fields(rest)?;
            Ok(envelope([join_ref, reference, topic, event], Body::Binary { data, status: None }))
        }
        (PUSH, Side::Server) => {
            let ([join_ref, topic, event], data) = fields(rest)?;
            Ok(envelope([join_ref, b"", topic, event], Body::Binary { data, status: None }))
        }
        (REPLY_KIND, Side::Server) => {
            let ([join_ref, reference, topic, status], data) = fields(rest)?;
            let body = Body::Binary { data, status: Some(status) };
            Ok(envelope([join_ref, reference, topic, REPLY.as_bytes()], body))
        }
        (BROADCAST_KIND, Side::Server) => {
            let ([topic, event], data) = fields(rest)?;
            Ok(envelope([b"", b"", topic, event], Body::Binary { data, status: None }))
        }
        (USER_PUSH, Side::Client) => {
            let (([join_ref, reference, topic, event, metadata], data), json) = user_fields(rest)?;
            let body = Body::UserBroadcast { event, metadata, data, json };
            Ok(envelope([join_ref, reference, topic, BROADCAST.as_bytes()], body))
        }
        (USER_BROADCAST, Side::Server) => {
            let (([topic, event, metadata], data), json) = user_fields(rest)?;
            let body = Body::UserBroadcast { event, metadata, data, json };
            Ok(envelope([b"", b"", topic, BROADCAST.as_bytes()], body))
        }
        _ => Err(DecodeError::UnknownKind(kind)),
    }
}

pub(super) fn encode(head: &Head<'_>, from: Side) -> Result<Bytes, EncodeError> {
    let join_ref = ("join_ref", bytes_of(&head.join_ref));
    let reference = ("ref", bytes_of(&head.reference));
    let topic = ("topic", head.topic.as_bytes());
    let event = ("event", head.event.as_bytes());
    let data = head.payload.as_bytes();
    if let Some(UserHead { event, metadata, .. }) = &head.user_event {
        let event = ("event", event.as_bytes());
        let metadata = ("metadata", metadata.map_or(&b""[..], |metadata| metadata.as_bytes()));
        let encoding = Some(if head.payload.is_binary() { RAW } else { JSON });
        return match from {
            Side::Client => write(USER_PUSH, [join_ref, reference, topic, event, metadata], encoding, data),
            Side::Server => write(USER_BROADCAST, [topic, event, metadata], encoding, data),
        };
    }
    match (from, head.status) {
        (Side::Client, _) => write(PUSH, [join_ref, reference, topic, event], None, data),
        (Side::Server, Some(status)) => {
            write(REPLY_KIND, [join_ref, reference, topic, ("status", status.as_bytes())], None, data)
        }
        (Side::Server, None) if head.join_ref.is_some() => write(PUSH, [join_ref, topic, event], None, data),
        (Side::Server, None) => write(BROADCAST_KIND, [topic, event], None, data),
    }
}

/// The `N` fields that a header announces, and the data behind them.
type Fields<'f, const N: usize> = ([&'f [u8]; N], &'f [u8]);

fn fields<const N: usize>(frame: &[u8]) -> Result<Fields<'_, N>, DecodeError> {
    let (lengths, rest) = frame.split_first_chunk().ok_or(DecodeError::Truncated)?;
    cut(lengths, rest)
}

/// The same of a header that ends in an encoding byte: with whether the data are JSON.
fn user_fields<const N: usize>(frame: &[u8]) -> Result<(Fields<'_, N>, bool), DecodeError> {
    let (lengths, rest) = frame.split_first_chunk().ok_or(DecodeError::Truncated)?;
    let (&encoding, rest) = rest.split_first().ok_or(DecodeError::Truncated)?;
    Ok((cut(lengths, rest)?, encoding != RAW))
}

fn cut<'f, const N: usize>(lengths: &[u8; N], mut rest: &'f [u8]) -> Result<Fields<'f, N>, DecodeError> {
    let mut fields: [&[u8]; N] = [b""; N];
    for (field, &len) in fields.iter_mut().zip(lengths) {
        (*field, rest) = rest.split_at_checked(len.into()).ok_or(DecodeError::Truncated)?;
        core::str::from_utf8(field).map_err(|_| DecodeError::NotUtf8)?;
    }
    Ok((fields, rest))
}

fn envelope<'f>([join_ref, reference, topic, event]: [&'f [u8]; 4], body: Body<'f>) -> Envelope<'f> {
    // The server writes a missing ref as an empty one.
    let wire_ref = |text: &'f [u8]| (!text.is_empty()).then_some(WireRef { text: Cow::Borrowed(text), number: false });
    Envelope {
        join_ref: wire_ref(join_ref),
        reference: wire_ref(reference),
        topic: Cow::Borrowed(topic),
        event: Cow::Borrowed(event),
        body,
    }
}

fn write<const N: usize>(
    kind: u8,
    fields: [(&'static str, &[u8]); N],
    encoding: Option<u8>,
    data: &[u8],
) -> Result<Bytes, EncodeError> {
    let header = 1 + N + usize::from(encoding.is_some());
    let len = header + fields.iter().map(|(_, field)| field.len()).sum::<usize>() + data.len();
    let mut out = Vec::with_capacity(len);
    out.push(kind);
    for (name, field) in fields {
        let len = u8::try_from(field.len());
        out.push(len.map_err(|_| EncodeError::FieldTooLong { field: name, len: field.len() })?);
    }
    out.extend(encoding);
    for (_, field) in fields {
        out.extend_from_slice(field);
    }
    out.extend_from_slice(data);
    Ok(out.into())
}

fn bytes_of<'a>(reference: &'a Option<WireRef<'_>>) -> &'a [u8] {
    reference.as_ref().map_or(b"", |r| &r.text)
}
