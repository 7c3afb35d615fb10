//! What Supabase's binary kinds 3 and 4 say beyond a Phoenix message: an event of the user's own
//! and metadata (section 2.4).

use core::fmt;

use bytes::{Buf, Bytes};

use super::{Body, offset};
use crate::machine::Frame;
use crate::payload::Payload;
use crate::text::Text;

/// The name of a Supabase broadcast and what came with it: the head of kinds 3 and 4.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserEvent {
    /// The user's name of the event; the message's own event is `broadcast`.
    pub event: Text,
    /// A JSON object such as `{"replayed":true,"id":"…"}`, unread; `None` is length 0 on the wire,
    /// never `{}` (trap T51).
    pub metadata: Option<Payload>,
}

impl UserEvent {
    /// An event without metadata.
    #[must_use]
    pub fn new(event: impl Into<Text>) -> Self {
        Self { event: event.into(), metadata: None }
    }

    pub(super) const fn head(&self) -> UserHead<'_> {
        UserHead { event: &self.event, metadata: self.metadata.as_ref(), as_text: false }
    }
}

/// A user event on its way into a frame, borrowed.
pub(crate) struct UserHead<'a> {
    pub(crate) event: &'a Text,
    pub(crate) metadata: Option<&'a Payload>,
    /// Under vsn 2.0.0 a text frame all the same, for servers that know no kind 3 and for names
    /// longer than its header can say.
    pub(crate) as_text: bool,
}

/// A received user broadcast, taken apart when asked: three slices of its frame.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserBroadcast {
    /// Event, metadata and payload, one behind the other as they came.
    bytes: Bytes,
    event_len: u8,
    metadata_len: u8,
    json: bool,
}

impl UserBroadcast {
    /// The user's name of the event.
    #[must_use]
    pub fn event(&self) -> Text {
        Text::assume_utf8(self.bytes.slice(..usize::from(self.event_len)))
    }

    /// What the server says about the message, unread; `None` if it says nothing.
    #[must_use]
    pub fn metadata(&self) -> Option<Payload> {
        let at = usize::from(self.event_len);
        metadata(self.bytes.slice(at..at + usize::from(self.metadata_len)))
    }

    /// What the sender sent: unread JSON, which no server has looked at either, or raw bytes.
    #[must_use]
    pub fn payload(&self) -> Payload {
        let head = usize::from(self.event_len) + usize::from(self.metadata_len);
        payload(self.bytes.slice(head..), self.json)
    }

    /// Event, metadata and payload, for less than asking for one after the other.
    #[must_use]
    pub fn into_parts(mut self) -> (Text, Option<Payload>, Payload) {
        let event = self.bytes.split_to(self.event_len.into());
        let about = self.bytes.split_to(self.metadata_len.into());
        (Text::assume_utf8(event), metadata(about), payload(self.bytes, self.json))
    }
}

/// Kind and sizes only: payloads are user data and may carry tokens.
impl fmt::Debug for UserBroadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (event, metadata) = (self.event_len, self.metadata_len);
        let payload = self.bytes.len() - usize::from(event) - usize::from(metadata);
        let kind = if self.json { "json" } else { "binary" };
        write!(f, "UserBroadcast({kind}, event {event} B, metadata {metadata} B, payload {payload} B)")
    }
}

/// Where in its frame a user broadcast lies: what is kept of a [`Body`] while the frame moves.
#[derive(Clone, Copy)]
pub(crate) struct UserParts {
    event_at: u16,
    event_len: u8,
    metadata_len: u8,
    json: bool,
}

impl Body<'_> {
    /// `None` for every other kind of body.
    pub(crate) fn user_parts(self, frame: &Frame) -> Option<UserParts> {
        let Self::UserBroadcast { event, metadata, json, .. } = self else { return None };
        Some(UserParts {
            event_at: offset(frame, event)?.try_into().ok()?,
            event_len: event.len().try_into().ok()?,
            metadata_len: metadata.len().try_into().ok()?,
            json,
        })
    }
}

/// Turns the frame into its broadcast without touching the reference count.
pub(crate) fn user_broadcast(frame: Frame, parts: UserParts) -> UserBroadcast {
    let UserParts { event_at, event_len, metadata_len, json } = parts;
    let mut bytes = match frame {
        Frame::Text(text) => text.into_bytes(),
        Frame::Binary(bytes) => bytes,
    };
    bytes.advance(event_at.into());
    UserBroadcast { bytes, event_len, metadata_len, json }
}

fn metadata(bytes: Bytes) -> Option<Payload> {
    (!bytes.is_empty()).then(|| payload(bytes, true))
}

fn payload(bytes: Bytes, json: bool) -> Payload {
    if json { Payload::unread_json(Text::assume_utf8(bytes)) } else { Payload::binary(bytes) }
}

#[cfg(test)]
mod tests {
    use super::super::{EncodeError, Head, Serializer, Side};
    use super::*;

    fn received(frame: &'static [u8]) -> UserBroadcast {
        let frame = Frame::Binary(frame.into());
        let parts = Serializer::V2.envelope(&frame, Side::Server).unwrap().body.user_parts(&frame).unwrap();
        user_broadcast(frame, parts)
    }

    const WITH_METADATA: &[u8] = b"\x04\x03\x0a\x11\x01topuser-event{\"replayed\":true}{\"a\":\"b\"}";
    const BINARY: &[u8] = b"\x04\x03\x0a\x00\x00topuser-event\x01\x04";

    #[test]
    fn a_broadcast_stays_small_enough_for_the_event_queue() {
        assert!(size_of::<UserBroadcast>() <= 40, "{}", size_of::<UserBroadcast>());
    }

    #[test]
    fn the_parts_are_the_same_one_by_one_and_together() {
        let json = |text| Payload::from_json_text(text).unwrap();
        for (frame, metadata, payload) in [
            (WITH_METADATA, Some(json(r#"{"replayed":true}"#)), json(r#"{"a":"b"}"#)),
            (BINARY, None, Payload::binary(b"\x01\x04"[..].into())),
            (b"\x04\x03\x0a\x00\x00topuser-event", None, Payload::binary(Bytes::new())),
        ] {
            let parts = (Text::from("user-event"), metadata, payload);
            let broadcast = received(frame);
            assert_eq!((broadcast.event(), broadcast.metadata(), broadcast.payload()), parts);
            assert_eq!(broadcast.into_parts(), parts);
        }
    }

    #[test]
    fn the_parts_are_slices_of_the_frame() {
        let (event, metadata, payload) = received(WITH_METADATA).into_parts();
        for (part, at) in [(event.as_bytes(), 8), (metadata.as_ref().unwrap().as_bytes(), 18), (payload.as_bytes(), 35)]
        {
            assert_eq!(part.as_ptr(), WITH_METADATA[at..].as_ptr());
        }
    }

    #[test]
    fn a_broadcast_may_go_as_text_unless_it_is_raw_bytes() {
        let (topic, event, user_event) = (Text::from("t"), Text::from("broadcast"), Text::from("user-event"));
        let (metadata, payload) = (Payload::json(&[1]).unwrap(), Payload::binary(Bytes::new()));
        let head = |metadata, payload| Head {
            join_ref: None,
            reference: None,
            topic: &topic,
            event: &event,
            status: None,
            user_event: Some(UserHead { event: &user_event, metadata, as_text: true }),
            payload,
        };
        let empty = Payload::EMPTY;
        let text = |metadata| Serializer::V2.encode(&head(metadata, &empty), Side::Client).unwrap();
        for (metadata, inner) in [
            (None, r#"{"event":"user-event","payload":{},"type":"broadcast"}"#),
            (Some(&metadata), r#"{"event":"user-event","meta":[1],"payload":{},"type":"broadcast"}"#),
        ] {
            let expected = alloc::format!(r#"[null,null,"t","broadcast",{inner}]"#);
            assert_eq!(text(metadata), Frame::Text(expected.into()));
        }
        assert_eq!(Serializer::V2.encode(&head(None, &payload), Side::Client), Err(EncodeError::BinaryAsText));
    }

    #[test]
    fn debug_shows_no_content() {
        assert_eq!(
            alloc::format!("{:?}", received(WITH_METADATA)),
            "UserBroadcast(json, event 10 B, metadata 17 B, payload 9 B)"
        );
    }
}
