//! The hot path: the leading fields of a text frame scanned by hand, the payload left unread.
//!
//! `None` means "nothing for me": whitespace, escapes in a leading field or anything unusual, for
//! which the caller falls back to serde. Reading the payload would make a 64 KiB message cost a
//! thousand times what routing it does.

use alloc::borrow::Cow;

use super::{Body, Envelope, WireRef};

/// `[join_ref,ref,"topic","event",payload]`
pub(super) fn v2(frame: &[u8]) -> Option<Envelope<'_>> {
    let rest = frame.strip_prefix(b"[")?;
    let (join_ref, rest) = reference(rest)?;
    let (reference, rest) = reference(comma(rest)?)?;
    let (topic, rest) = string(comma(rest)?)?;
    let (event, rest) = string(comma(rest)?)?;
    let payload = comma(rest)?.strip_suffix(b"]")?;
    Some(Envelope {
        join_ref,
        reference,
        topic: Cow::Borrowed(topic),
        event: Cow::Borrowed(event),
        body: Body::Json(whole_value(payload)?),
    })
}

/// `{"ref":…,"topic":"…","event":"…","payload":…}` in any order that has the payload last, as
/// Phoenix writes it.
pub(super) fn v1(frame: &[u8]) -> Option<Envelope<'_>> {
    let (mut refs, mut topic, mut event) = ([const { None }; 2], None, None);
    let mut rest = frame.strip_prefix(b"{")?;
    loop {
        let (key, after) = string(rest)?;
        let value = after.strip_prefix(b":")?;
        rest = match key {
            b"topic" => keep(string(value)?, &mut topic)?,
            b"event" => keep(string(value)?, &mut event)?,
            b"ref" => keep(reference(value)?, &mut refs[0])?,
            b"join_ref" => keep(reference(value)?, &mut refs[1])?,
            b"payload" => {
                let [Some(reference), join_ref] = refs else { return None };
                return Some(Envelope {
                    join_ref: join_ref.flatten(),
                    reference,
                    topic: Cow::Borrowed(topic?),
                    event: Cow::Borrowed(event?),
                    // Only an object is taken: `…}` at both ends cannot hide a further plain key.
                    body: Body::Json(whole_value(value.strip_suffix(b"}")?).filter(|p| p.starts_with(b"{"))?),
                });
            }
            _ => return None,
        };
        rest = comma(rest)?;
    }
}

/// Stores a field and goes on behind it; a key that comes twice is unusual.
fn keep<'f, T>((value, rest): (T, &'f [u8]), slot: &mut Option<T>) -> Option<&'f [u8]> {
    slot.replace(value).is_none().then_some(rest)
}

fn comma(rest: &[u8]) -> Option<&[u8]> {
    rest.strip_prefix(b",")
}

/// A string without escapes, and what follows its closing quote.
#[inline]
fn string(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = rest.strip_prefix(b"\"")?;
    let end = rest.iter().position(|&b| b == b'"' || b == b'\\' || b < b' ')?;
    (rest[end] == b'"').then(|| (&rest[..end], &rest[end + 1..]))
}

/// `null` or a string; a number is rare enough for the fallback.
#[inline]
fn reference(rest: &[u8]) -> Option<(Option<WireRef<'_>>, &[u8])> {
    if let Some(rest) = rest.strip_prefix(b"null") {
        return Some((None, rest));
    }
    let (text, rest) = string(rest)?;
    Some((Some(WireRef { text: Cow::Borrowed(text), number: false }), rest))
}

/// Whether this can be one JSON value by its two ends. A sixth array element or white space would
/// show here; what is wrong inside shows to whoever parses the payload.
#[inline]
fn whole_value(payload: &[u8]) -> Option<&[u8]> {
    match payload {
        [b'{', .., b'}'] | [b'[', .., b']'] | [b'"', .., b'"'] => Some(payload),
        _ => None,
    }
}
