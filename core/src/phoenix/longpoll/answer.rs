//! What a server says in the body of its HTTP response (specification, section 10.2).

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

use crate::machine::Frame;
use crate::text::Text;

/// The body of an answer to a GET or a POST.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    /// What would be the HTTP status in another protocol.
    #[serde(default)]
    pub(super) status: u16,
    #[serde(borrow, default)]
    token: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) messages: Messages,
}

impl<'a> Answer<'a> {
    /// `None` if the body is not such JSON, or has a token that does not fit a header.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        // An array could be read as a struct, too.
        let object = body.trim_ascii_start().starts_with(b"{").then_some(body)?;
        let answer: Self = serde_json::from_slice(object).ok()?;
        let fits = |token: &Cow<'_, str>| token.len() <= 4_096 && token.bytes().all(|b| b.is_ascii_graphic());
        answer.token.as_ref().is_none_or(fits).then_some(answer)
    }

    pub(super) fn token(&self) -> Option<Text> {
        self.token.as_deref().map(Text::from)
    }
}

/// The frames of an answer: one buffer, of which each is a slice.
#[derive(Default)]
pub(super) struct Messages {
    buffer: Vec<u8>,
    ends: Vec<usize>,
}

impl Messages {
    /// Servers put binary frames into these strings as they are, as long as their bytes are UTF-8. No
    /// JSON begins with the control character that such a frame begins with, its kind.
    pub(super) fn into_frames(self) -> impl Iterator<Item = Frame> {
        let (buffer, mut start) = (Bytes::from(self.buffer), 0);
        self.ends.into_iter().map(move |end| {
            let frame = buffer.slice(core::mem::replace(&mut start, end)..end);
            match frame.first() {
                Some(0..=4) => Frame::Binary(frame),
                _ => Frame::Text(Text::assume_utf8(frame)),
            }
        })
    }
}

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Messages;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of strings")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut strings: A) -> Result<Messages, A::Error> {
                let mut messages = Messages::default();
                while strings.next_element_seed(Append(&mut messages))?.is_some() {}
                Ok(messages)
            }
        }
        deserializer.deserialize_seq(Strings)
    }
}

/// Appends one string to the buffer, without a string of its own in between.
struct Append<'m>(&'m mut Messages);

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Append<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, message: &str) -> Result<(), E> {
        self.0.buffer.extend_from_slice(message.as_bytes());
        self.0.ends.push(self.0.buffer.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_frames_and_those_that_begin_with_a_kind_are_binary() {
        let body = br#"{"messages":["[\"1\"]","","\u0002\n\u0003room:lobbybin\u0001"],"status":200,"token":"t"}"#;
        let answer = Answer::read(body).unwrap();
        assert_eq!((answer.status, answer.token()), (200, Some("t".into())));
        let frames: Vec<_> = answer.messages.into_frames().collect();
        let binary = Bytes::from_static(b"\x02\n\x03room:lobbybin\x01");
        assert_eq!(frames, [Frame::Text("[\"1\"]".into()), Frame::Text("".into()), Frame::Binary(binary)]);
    }

    #[test]
    fn what_is_no_answer_is_not_read() {
        let injected = r#"{"status":410,"token":"a\r\nx: y","messages":[]}"#;
        for body in ["", "<html>", "[]", r#"{"messages":[1]}"#, r#"{"messages":"a"}"#, r#"{"status":"ok"}"#, injected] {
            assert!(Answer::read(body.as_bytes()).is_none(), "{body}");
        }
        assert_eq!(Answer::read(b"{}").unwrap().status, 0);
    }
}
