//! Messages and the frames they travel in: vsn 1.0.0 objects, vsn 2.0.0 arrays, binary frames.
//!
//! Sources: `phoenix-supabase` specification, sections 2.1 (vsn 1), 2.2 (vsn 2), 2.3 (Phoenix
//! binary) and 2.4 (Supabase binary).
//! Text or binary is told by the frame, never guessed. Decoding takes a message apart into slices
//! of its frame and leaves the payload unread.

mod binary;
mod error;
mod json;
pub(crate) mod scan;
mod user_event;

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use bytes::{Buf, Bytes};

use crate::machine::Frame;
use crate::payload::Payload;
use crate::text::Text;

pub use error::{DecodeError, EncodeError};
pub(crate) use json::parse_reply;
pub use user_event::{UserBroadcast, UserEvent};
pub(crate) use user_event::{UserHead, user_broadcast};

/// The topic of the connection itself: heartbeats go there.
pub(crate) const PHOENIX: &str = "phoenix";
pub(crate) const JOIN: &str = "phx_join";
pub(crate) const LEAVE: &str = "phx_leave";
pub(crate) const REPLY: &str = "phx_reply";
pub(crate) const ERROR: &str = "phx_error";
pub(crate) const CLOSE: &str = "phx_close";
pub(crate) const HEARTBEAT: &str = "heartbeat";
/// The event of every Supabase broadcast, whatever the user calls it.
pub(crate) const BROADCAST: &str = "broadcast";

/// How messages are written into frames; the `vsn` of the URL's query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Serializer {
    /// `vsn=1.0.0`: JSON objects. Knows no binary payloads, and its server messages no join_ref.
    V1,
    /// `vsn=2.0.0` (the default): JSON arrays of five, and binary frames.
    #[default]
    V2,
}

impl Serializer {
    /// The version text, as it stands in the query.
    #[must_use]
    pub const fn vsn(self) -> &'static str {
        match self {
            Self::V1 => "1.0.0",
            Self::V2 => "2.0.0",
        }
    }

    /// Reads what a server sent.
    ///
    /// # Errors
    /// If the frame is malformed. A payload that is not JSON is not found here.
    pub fn decode_from_server(self, frame: Frame) -> Result<Message, DecodeError> {
        Ok(self.envelope(&frame, Side::Server)?.to_message(&frame))
    }

    /// Reads what a client sent.
    ///
    /// # Errors
    /// If the frame is malformed. A payload that is not JSON is not found here.
    pub fn decode_from_client(self, frame: Frame) -> Result<Message, DecodeError> {
        Ok(self.envelope(&frame, Side::Client)?.to_message(&frame))
    }

    /// Writes a message as a client does. A user broadcast is binary (kind 3) under vsn 2.0.0.
    ///
    /// # Errors
    /// If a binary payload meets vsn 1.0.0, a field is longer than a binary header can say, or a
    /// user event's metadata are not JSON.
    pub fn encode_from_client(self, message: &Message) -> Result<Frame, EncodeError> {
        self.encode(&message.head(), Side::Client)
    }

    /// Writes a message as a server does: vsn 1.0.0 drops the join_ref, and a binary payload
    /// becomes a reply, a push or (without a join_ref) a broadcast. A user broadcast is binary
    /// (kind 4, without refs) under vsn 2.0.0.
    ///
    /// # Errors
    /// If a binary payload meets vsn 1.0.0, a field is longer than a binary header can say, or a
    /// user event's metadata are not JSON.
    pub fn encode_from_server(self, message: &Message) -> Result<Frame, EncodeError> {
        self.encode(&message.head(), Side::Server)
    }

    pub(crate) fn encode(self, head: &Head<'_>, from: Side) -> Result<Frame, EncodeError> {
        let binary = head.payload.is_binary();
        if head.user_event.as_ref().is_some_and(|user| user.metadata.is_some_and(Payload::is_binary)) {
            return Err(EncodeError::BinaryMetadata);
        }
        match (self, &head.user_event) {
            (Self::V1, _) if binary => Err(EncodeError::BinaryNeedsV2),
            (Self::V1, _) => Ok(Frame::Text(json::encode_v1(head, from))),
            (Self::V2, Some(UserHead { as_text: true, .. })) if binary => Err(EncodeError::BinaryAsText),
            (Self::V2, Some(UserHead { as_text: false, .. })) => binary::encode(head, from).map(Frame::Binary),
            (Self::V2, None) if binary => binary::encode(head, from).map(Frame::Binary),
            (Self::V2, _) => Ok(Frame::Text(json::encode_v2(head))),
        }
    }

    /// Takes the head of a message off, borrowing from the frame.
    #[inline]
    pub(crate) fn envelope(self, frame: &Frame, from: Side) -> Result<Envelope<'_>, DecodeError> {
        match (self, frame) {
            (Self::V2, Frame::Text(text)) => match scan::v2(text.as_bytes()) {
                Some(envelope) => Ok(envelope),
                None => json::decode_v2(text.as_bytes()),
            },
            (Self::V1, Frame::Text(text)) => match scan::v1(text.as_bytes()) {
                Some(envelope) => Ok(envelope),
                None => json::decode_v1(text.as_bytes()),
            },
            (Self::V2, Frame::Binary(bytes)) => binary::decode(bytes, from),
            (Self::V1, Frame::Binary(_)) => Err(DecodeError::UnexpectedBinary),
        }
    }
}

/// Who sent a frame: binary pushes look different in the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// One message of the protocol, whichever way it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Which lifetime of the channel it belongs to; `None` for broadcasts and heartbeats.
    pub join_ref: Option<Ref>,
    /// The number of a push, echoed by its reply.
    pub reference: Option<Ref>,
    /// The topic.
    pub topic: Text,
    /// The event.
    pub event: Text,
    /// What it carries.
    pub payload: Payload,
    /// The status of a *binary* reply, which has no JSON to put it in; text replies carry theirs
    /// inside the payload. See [`Message::reply`].
    pub status: Option<Text>,
    /// The head of a user broadcast of kind 3 or 4, whose `event` is `broadcast` and whose payload
    /// is what the user sent; `None` for everything else. Text broadcasts carry theirs inside the
    /// payload.
    pub user_event: Option<UserEvent>,
}

impl Message {
    /// A message without refs.
    #[must_use]
    pub fn new(topic: impl Into<Text>, event: impl Into<Text>, payload: Payload) -> Self {
        Self {
            join_ref: None,
            reference: None,
            topic: topic.into(),
            event: event.into(),
            payload,
            status: None,
            user_event: None,
        }
    }

    /// A Supabase broadcast: a binary frame under vsn 2.0.0, whichever kind its payload is, and an
    /// object around the payload under vsn 1.0.0.
    #[must_use]
    pub fn user_broadcast(topic: impl Into<Text>, user_event: UserEvent, payload: Payload) -> Self {
        Self { user_event: Some(user_event), ..Self::new(topic, Text::from_static(BROADCAST), payload) }
    }

    /// A `phx_reply` with a status and a response, which may be binary.
    #[must_use]
    pub fn reply(topic: impl Into<Text>, status: impl Into<Text>, response: &Payload) -> Self {
        let status = status.into();
        let (payload, status) = match response.as_json() {
            Some(json) => (json::reply_payload(&status, json), None),
            None => (response.clone(), Some(status)),
        };
        Self { status, ..Self::new(topic, Text::from_static(REPLY), payload) }
    }

    /// The same message with these refs.
    #[must_use]
    pub fn with_refs(mut self, join_ref: Option<Ref>, reference: Option<Ref>) -> Self {
        (self.join_ref, self.reference) = (join_ref, reference);
        self
    }

    fn head(&self) -> Head<'_> {
        Head {
            join_ref: self.join_ref.as_ref().map(Ref::wire),
            reference: self.reference.as_ref().map(Ref::wire),
            topic: &self.topic,
            event: &self.event,
            status: self.status.as_ref(),
            user_event: self.user_event.as_ref().map(UserEvent::head),
            payload: &self.payload,
        }
    }

    /// Status and response, if this is a `phx_reply` that has them.
    #[must_use]
    pub fn as_reply(&self) -> Option<Reply> {
        if self.event != REPLY {
            return None;
        }
        match &self.status {
            Some(status) => Some(Reply { status: status.clone(), response: self.payload.clone() }),
            None => json::parse_reply(&self.payload),
        }
    }
}

/// What a `phx_reply` says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// `ok`, `error`, or a status of the application's own.
    pub status: Text,
    /// Any JSON (usually an object), or bytes.
    pub response: Payload,
}

/// A ref or join_ref. Clients of ours number theirs; a peer may send any string or a number, which
/// goes back as it came. Two refs are equal if they read the same.
#[derive(Clone)]
pub struct Ref {
    text: Text,
    number: bool,
}

impl Ref {
    /// The text, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }

    /// Whether it is a JSON number on the wire, not a string.
    #[must_use]
    pub const fn is_number(&self) -> bool {
        self.number
    }

    /// A copy in a buffer of its own, which no longer keeps a frame alive.
    pub(crate) fn detach(&self) -> Self {
        Self { text: self.text.detach(), number: self.number }
    }

    fn wire(&self) -> WireRef<'_> {
        WireRef { text: Cow::Borrowed(self.text.as_bytes()), number: self.number }
    }
}

impl From<u64> for Ref {
    fn from(number: u64) -> Self {
        Self { text: Decimal::new(number).as_str().into(), number: false }
    }
}

impl From<&str> for Ref {
    fn from(text: &str) -> Self {
        Self { text: text.into(), number: false }
    }
}

impl PartialEq for Ref {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Ref {}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.number { f.write_str(self.as_str()) } else { fmt::Debug::fmt(&self.text, f) }
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The head of a message, borrowed from its frame except for what had to be unescaped.
#[derive(Debug)]
pub(crate) struct Envelope<'f> {
    pub(crate) join_ref: Option<WireRef<'f>>,
    pub(crate) reference: Option<WireRef<'f>>,
    pub(crate) topic: Cow<'f, [u8]>,
    pub(crate) event: Cow<'f, [u8]>,
    pub(crate) body: Body<'f>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Body<'f> {
    Json(&'f [u8]),
    Binary { data: &'f [u8], status: Option<&'f [u8]> },
    UserBroadcast { event: &'f [u8], metadata: &'f [u8], data: &'f [u8], json: bool },
}

#[derive(Debug, Clone)]
pub(crate) struct WireRef<'f> {
    text: Cow<'f, [u8]>,
    number: bool,
}

/// Everything that goes into a frame, borrowed.
pub(crate) struct Head<'a> {
    pub(crate) join_ref: Option<WireRef<'a>>,
    pub(crate) reference: Option<WireRef<'a>>,
    pub(crate) topic: &'a Text,
    pub(crate) event: &'a Text,
    pub(crate) status: Option<&'a Text>,
    pub(crate) user_event: Option<UserHead<'a>>,
    pub(crate) payload: &'a Payload,
}

/// A number in decimal, on the stack.
pub(crate) struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    pub(crate) fn new(mut number: u64) -> Self {
        let (mut digits, mut start) = ([b'0'; 20], 20);
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, start };
            }
        }
    }

    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.digits[self.start..]).unwrap_or_default()
    }

    /// As a string ref.
    pub(crate) fn wire(&self) -> WireRef<'_> {
        WireRef { text: Cow::Borrowed(&self.digits[self.start..]), number: false }
    }
}

impl WireRef<'_> {
    /// The ref as one of our own numbers: decimal, no leading zero.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        match &*self.text {
            [b'0', _, ..] | [] => None,
            digits => digits.iter().try_fold(0u64, |n, digit| {
                let digit = digit.checked_sub(b'0').filter(|d| *d < 10)?;
                n.checked_mul(10)?.checked_add(u64::from(digit))
            }),
        }
    }
}

impl Envelope<'_> {
    /// Our own number in the join_ref; `Err` if there is one that is not ours.
    pub(crate) fn join_ref_number(&self) -> Result<Option<u64>, ()> {
        self.join_ref.as_ref().map(|r| r.as_u64().ok_or(())).transpose()
    }

    pub(crate) fn ref_number(&self) -> Option<u64> {
        self.reference.as_ref().and_then(WireRef::as_u64)
    }

    fn to_message(&self, frame: &Frame) -> Message {
        let cut = |field: &[u8]| cut_text(frame, field);
        let cut_ref = |r: &WireRef<'_>| Ref { text: cut(&r.text), number: r.number };
        let (user_event, payload) = match self.body.user_parts(frame) {
            Some(parts) => {
                let (event, metadata, payload) = user_broadcast(frame.clone(), parts).into_parts();
                (Some(UserEvent { event, metadata }), payload)
            }
            None => (None, self.body.to_payload(frame)),
        };
        Message {
            join_ref: self.join_ref.as_ref().map(cut_ref),
            reference: self.reference.as_ref().map(cut_ref),
            topic: cut(&self.topic),
            event: Text::well_known(&self.event).unwrap_or_else(|| cut(&self.event)),
            payload,
            status: match self.body {
                Body::Binary { status: Some(status), .. } => Some(cut_text(frame, status)),
                _ => None,
            },
            user_event,
        }
    }
}

impl Body<'_> {
    pub(crate) fn to_payload(self, frame: &Frame) -> Payload {
        match self {
            Body::Json(data) | Body::UserBroadcast { data, json: true, .. } => {
                Payload::unread_json(cut_text(frame, data))
            }
            Body::Binary { data, .. } | Body::UserBroadcast { data, json: false, .. } => {
                Payload::binary(cut(frame, data))
            }
        }
    }

    /// Where the payload lies, so that the frame itself can be narrowed to it.
    pub(crate) fn range(self, frame: &Frame) -> Option<core::ops::Range<usize>> {
        let (Body::Json(part) | Body::Binary { data: part, .. } | Body::UserBroadcast { data: part, .. }) = self;
        offset(frame, part).map(|at| at..at + part.len())
    }
}

/// Turns the frame into its payload without touching the reference count.
pub(crate) fn narrow(mut frame: Frame, range: core::ops::Range<usize>) -> Payload {
    // In place: a buffer that was just written to in parts is slow to move.
    let bytes = match &mut frame {
        Frame::Text(text) => text.bytes_mut(),
        Frame::Binary(bytes) => bytes,
    };
    bytes.truncate(range.end);
    bytes.advance(range.start);
    match frame {
        Frame::Text(text) => Payload::unread_json(text),
        Frame::Binary(bytes) => Payload::binary(bytes),
    }
}

/// A field as text: a slice of the frame, or its own bytes where it had to be unescaped.
pub(crate) fn cut_text(frame: &Frame, field: &[u8]) -> Text {
    Text::assume_utf8(cut(frame, field))
}

fn cut(frame: &Frame, part: &[u8]) -> Bytes {
    let bytes = match frame {
        Frame::Text(text) => text.bytes(),
        Frame::Binary(bytes) => bytes,
    };
    match offset(frame, part) {
        Some(at) => bytes.slice(at..at + part.len()),
        None => Bytes::copy_from_slice(part),
    }
}

/// Where in the frame a slice of it begins; `None` if it is not one (it was unescaped or static).
fn offset(frame: &Frame, part: &[u8]) -> Option<usize> {
    let frame = frame.as_bytes();
    let at = (part.as_ptr() as usize).checked_sub(frame.as_ptr() as usize)?;
    (at + part.len() <= frame.len()).then_some(at)
}

/// `to_string` of a JSON value that cannot fail to serialize.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}
