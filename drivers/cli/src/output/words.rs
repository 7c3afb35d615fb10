//! Payloads, texts and numbers as people read them.

use std::borrow::Cow;
use std::fmt::Write as _;

use rejoin_core::Payload;

/// A payload in words: JSON as it is, the first bytes of others.
pub(crate) fn shown(payload: &Payload) -> Cow<'_, str> {
    const SOME: usize = 16;
    let Some(json) = payload.as_json() else {
        let bytes = payload.as_bytes();
        let mut text = format!("<{} bytes", bytes.len());
        for (at, byte) in bytes.iter().take(SOME).enumerate() {
            let _ = write!(text, "{}{byte:02x}", if at == 0 { ": " } else { " " });
        }
        text.push_str(if bytes.len() > SOME { " …>" } else { ">" });
        return text.into();
    };
    json.into()
}

/// The text with its control characters escaped: one line, and no orders to a terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.into()
}

/// A number of things, in words.
pub(crate) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_sends_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2J\nb\u{9b}"), "a\\u{1b}[2J\\nb\\u{9b}");
        assert_eq!(printable("ž ok"), "ž ok");
    }

    #[test]
    fn bytes_are_shown_by_their_beginning() {
        assert_eq!(shown(&Payload::binary(vec![0, 255].into())), "<2 bytes: 00 ff>");
        assert_eq!(shown(&Payload::binary(vec![1; 17].into())), format!("<17 bytes:{} …>", " 01".repeat(16)));
        assert_eq!(shown(&Payload::binary(vec![].into())), "<0 bytes>");
    }
}
