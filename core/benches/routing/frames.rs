//! What is routed, as text, as a frame out of a read buffer, and as the floors see it.

use std::fmt::Write;

use bytes::BytesMut;
use rejoin_core::{Frame, Text};
use serde_json::value::RawValue;

/// A user's payload of cells and a text that fills it up to `size` bytes.
pub(crate) fn user_payload(size: usize) -> String {
    let mut json = String::from(r#"{"x":12.5,"y":-3.25,"cells":["#);
    for i in 0.. {
        if json.len() + 64 > size {
            break;
        }
        let comma = if i == 0 { "" } else { "," };
        write!(json, r#"{comma}{{"id":{i},"label":"cell {i}","on":true}}"#).unwrap();
    }
    json.push_str(r#"],"pad":""#);
    while json.len() + 2 < size {
        json.push('.');
    }
    json + r#""}"#
}

pub(crate) fn v2_text(topic: &str, event: &str, payload: &str) -> String {
    format!(r#"[null,null,"{topic}","{event}",{payload}]"#)
}

/// So many topics, every one as long as the next.
pub(crate) fn topics(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("realtime:room:{i:04}")).collect()
}

/// All frames in one buffer, as a read leaves them, so that cloning one is the reference count and
/// nothing else.
pub(crate) fn frames(texts: &[String]) -> Vec<Frame> {
    slices(texts.iter().map(String::as_bytes)).map(|bytes| Frame::Text(Text::assume_utf8(bytes))).collect()
}

/// The same of binary frames.
pub(crate) fn binary_frames(frames: &[Frame]) -> Vec<Frame> {
    slices(frames.iter().map(Frame::as_bytes)).map(Frame::Binary).collect()
}

fn slices<'a>(parts: impl Iterator<Item = &'a [u8]> + Clone) -> impl Iterator<Item = bytes::Bytes> {
    let mut buffer: BytesMut = parts.clone().flatten().copied().collect();
    parts.map(|part| part.len()).collect::<Vec<_>>().into_iter().map(move |len| buffer.split_to(len).freeze())
}

/// Round robin, so that nothing is warm because it was the last one.
pub(crate) struct Cycle {
    frames: Vec<Frame>,
    next: usize,
}

impl Cycle {
    pub(crate) const fn of(frames: Vec<Frame>) -> Self {
        Self { frames, next: 0 }
    }

    pub(crate) fn next(&mut self) -> &Frame {
        let frame = &self.frames[self.next];
        self.next = if self.next + 1 == self.frames.len() { 0 } else { self.next + 1 };
        frame
    }
}

/// The least: where four items before the payload begin and end, with no regard to escapes.
pub(crate) fn least_scan(mut rest: &[u8]) -> Option<([&[u8]; 4], &[u8])> {
    let mut items = [&b""[..]; 4];
    rest = rest.strip_prefix(b"[")?;
    for item in &mut items {
        let len = match rest {
            [b'"', text @ ..] => 2 + text.iter().position(|byte| *byte == b'"')?,
            _ => rest.iter().position(|byte| *byte == b',')?,
        };
        *item = &rest[..len];
        rest = rest.get(len + 1..)?;
    }
    Some((items, rest.strip_suffix(b"]")?))
}

/// The usual way with the payload left unread.
pub(crate) fn by_serde(text: &str) -> &RawValue {
    type Array<'a> = (Option<&'a str>, Option<&'a str>, &'a str, &'a str, &'a RawValue);
    serde_json::from_str::<Array<'_>>(text).unwrap().4
}
