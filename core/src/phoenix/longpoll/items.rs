//! What a server reads out of the body of a POST (specification, section 10.3).

use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::IgnoredAny;

use super::MAX_ITEMS;
use super::call::LongPollBody;
use crate::machine::Frame;
use crate::text::Text;

/// The frames of a body, and how many items there were beyond the hundred that count; `None` if one
/// of them is neither JSON nor base64, where all are refused.
pub(super) fn frames(kind: LongPollBody, body: &Bytes) -> Option<(Vec<Frame>, usize)> {
    match kind {
        LongPollBody::Whole => json(body.clone()).map(|frame| (Vec::from([frame]), 0)),
        LongPollBody::Lines => {
            let lines = || {
                let lines = body.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
                // Some writers end every line, the last one included.
                lines.filter(|line| !line.is_empty())
            };
            let frames: Option<_> = lines().take(MAX_ITEMS).map(|line| item(body.slice_ref(line))).collect();
            Some((frames?, lines().count().saturating_sub(MAX_ITEMS)))
        }
    }
}

fn item(line: Bytes) -> Option<Frame> {
    match line.first() {
        Some(b'[') => json(line),
        _ => BASE64.decode(&line).ok().map(|bytes| Frame::Binary(bytes.into())),
    }
}

fn json(text: Bytes) -> Option<Frame> {
    serde_json::from_slice::<IgnoredAny>(&text).ok()?;
    Text::from_utf8(text).ok().map(Frame::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: LongPollBody, body: &'static str) -> Option<Vec<Frame>> {
        frames(kind, &Bytes::from_static(body.as_bytes())).map(|(frames, _)| frames)
    }

    #[test]
    fn lines_are_arrays_or_base64_and_a_whole_body_is_one_frame() {
        let text = |text: &str| Frame::Text(text.into());
        let binary = Frame::Binary(Bytes::from_static(&[0, 1, 255]));
        let lines = read(LongPollBody::Lines, "[1]\nAAH/\r\n[\"\\n\"]");
        assert_eq!(lines, Some([text("[1]"), binary, text("[\"\\n\"]")].into()));
        assert_eq!(read(LongPollBody::Lines, "[1]\n\n[2]\n"), Some([text("[1]"), text("[2]")].into()));
        assert_eq!(read(LongPollBody::Whole, "{\n}"), Some([text("{\n}")].into()));
        assert_eq!(read(LongPollBody::Whole, "[1]"), Some([text("[1]")].into()));
    }

    #[test]
    fn one_bad_item_refuses_all() {
        for body in ["[1]\n{bad json", "[1]\n[", "[1]\nAAH", "[1]\n{}", "[1] [2]"] {
            assert_eq!(read(LongPollBody::Lines, body), None, "{body}");
        }
        for body in ["", "{", "{} {}", "nonsense"] {
            assert_eq!(read(LongPollBody::Whole, body), None, "{body}");
        }
    }

    #[test]
    fn a_hundred_items_count() {
        let body = Bytes::from(["[]"; 103].join("\n"));
        let (read, ignored) = frames(LongPollBody::Lines, &body).unwrap();
        assert_eq!((read.len(), ignored), (100, 3));
    }
}
