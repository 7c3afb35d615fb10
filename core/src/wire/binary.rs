//! Phoenix's binary frames of vsn 2.0.0 (section 2.3): kind 0 push, 1 reply, 2 broadcast.
//!
//! One length byte a field, counting UTF-8 bytes, then the fields, then the data. A push has a ref
//! on its way to the server and none on its way back, so decoding must know who sent it.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Body, DecodeError, EncodeError, Envelope, Head, REPLY, Side, WireRef};

const PUSH: u8 = 0;
const REPLY_KIND: u8 = 1;
const BROADCAST: u8 = 2;

pub(super) fn decode(frame: &[u8], from: Side) -> Result<Envelope<'_>, DecodeError> {
    let (&kind, rest) = frame.split_first().ok_or(DecodeError::Truncated)?;
    match (kind, from) {
        (PUSH, Side::Client) => {
            let ([join_ref, reference, topic, event], data) = fields(rest)?;
            Ok(envelope(join_ref, reference, topic, event, data, None))
        }
        (PUSH, Side::Server) => {
            let ([join_ref, topic, event], data) = fields(rest)?;
            Ok(envelope(join_ref, b"", topic, event, data, None))
        }
        (REPLY_KIND, Side::Server) => {
            let ([join_ref, reference, topic, status], data) = fields(rest)?;
            Ok(envelope(join_ref, reference, topic, REPLY.as_bytes(), data, Some(status)))
        }
        (BROADCAST, Side::Server) => {
            let ([topic, event], data) = fields(rest)?;
            Ok(envelope(b"", b"", topic, event, data, None))
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
    match (from, head.status) {
        (Side::Client, _) => write(PUSH, [join_ref, reference, topic, event], data),
        (Side::Server, Some(status)) => {
            write(REPLY_KIND, [join_ref, reference, topic, ("status", status.as_bytes())], data)
        }
        (Side::Server, None) if head.join_ref.is_some() => write(PUSH, [join_ref, topic, event], data),
        (Side::Server, None) => write(BROADCAST, [topic, event], data),
    }
}

/// The `N` fields that the header announces, and the data behind them.
fn fields<const N: usize>(frame: &[u8]) -> Result<([&[u8]; N], &[u8]), DecodeError> {
    let (lengths, mut rest) = frame.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
    let mut fields: [&[u8]; N] = [b""; N];
    for (field, &len) in fields.iter_mut().zip(lengths) {
        (*field, rest) = rest.split_at_checked(len.into()).ok_or(DecodeError::Truncated)?;
        core::str::from_utf8(field).map_err(|_| DecodeError::NotUtf8)?;
    }
    Ok((fields, rest))
}

fn envelope<'f>(
    join_ref: &'f [u8],
    reference: &'f [u8],
    topic: &'f [u8],
    event: &'f [u8],
    data: &'f [u8],
    status: Option<&'f [u8]>,
) -> Envelope<'f> {
    // The server writes a missing ref as an empty one.
    let wire_ref = |text: &'f [u8]| (!text.is_empty()).then_some(WireRef { text: Cow::Borrowed(text), number: false });
    Envelope {
        join_ref: wire_ref(join_ref),
        reference: wire_ref(reference),
        topic: Cow::Borrowed(topic),
        event: Cow::Borrowed(event),
        body: Body::Binary { data, status },
    }
}

fn write<const N: usize>(kind: u8, fields: [(&'static str, &[u8]); N], data: &[u8]) -> Result<Bytes, EncodeError> {
    let len = 1 + N + fields.iter().map(|(_, field)| field.len()).sum::<usize>() + data.len();
    let mut out = Vec::with_capacity(len);
    out.push(kind);
    for (name, field) in fields {
        let len = u8::try_from(field.len());
        out.push(len.map_err(|_| EncodeError::FieldTooLong { field: name, len: field.len() })?);
    }
    for (_, field) in fields {
        out.extend_from_slice(field);
    }
    out.extend_from_slice(data);
    Ok(out.into())
}

fn bytes_of<'a>(reference: &'a Option<WireRef<'_>>) -> &'a [u8] {
    reference.as_ref().map_or(b"", |r| &r.text)
}
