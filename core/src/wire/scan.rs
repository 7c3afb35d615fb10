//! The hot path: the leading fields of a text frame scanned by hand, the payload left unread.
//!
//! `None` means "nothing for me": whitespace, escapes in a leading field or anything unusual, for
//! which the caller falls back to serde. Reading the payload would make a 64 KiB message cost a
//! thousand times what routing it does.

use alloc::borrow::Cow;

use super::{Body, Envelope, WireRef};

/// `[join_ref,ref,"topic","event",payload]`
#[inline]
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
pub(crate) fn string(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = rest.strip_prefix(b"\"")?;
    let (text, rest) = rest.split_at(plain_len(rest));
    Some((text, rest.strip_prefix(b"\"")?))
}

/// How many bytes come before the first quote, backslash or control character, counted in eights.
#[inline]
fn plain_len(text: &[u8]) -> usize {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const TOP: u64 = EACH << 7;
    // The top bit of every byte that is below `limit`, and perhaps of some behind the first such byte.
    let below = |bytes: u64, limit: u8| bytes.wrapping_sub(EACH * u64::from(limit)) & !bytes & TOP;
    let is = |bytes: u64, byte: u8| below(bytes ^ (EACH * u64::from(byte)), 1);
    let (eights, rest) = text.as_chunks::<8>();
    for (i, eight) in eights.iter().enumerate() {
        let bytes = u64::from_le_bytes(*eight);
        let ends = is(bytes, b'"') | is(bytes, b'\\') | below(bytes, b' ');
        if ends != 0 {
            return i * 8 + ends.trailing_zeros() as usize / 8;
        }
    }
    let plain = rest.iter().position(|&b| b == b'"' || b == b'\\' || b < b' ');
    eights.len() * 8 + plain.unwrap_or(rest.len())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_in_eights_stops_where_counting_byte_by_byte_does() {
        let ends = |b: &u8| matches!(b, b'"' | b'\\' | 0..b' ');
        for len in 0..20 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    // What follows may upset the arithmetic, but only behind the place that counts.
                    for filler in [b'a', b' ', b'!', b'#', 0x7f, 0x80, 0xff, b'"', 0] {
                        let mut text = [b'a'; 20];
                        text[at] = byte;
                        text[at + 1..].fill(filler);
                        let text = &text[..len];
                        assert_eq!(plain_len(text), text.iter().position(ends).unwrap_or(len), "{text:?}");
                    }
                }
            }
        }
    }
}
