//! What a message carries: JSON text or raw bytes, parsed only when somebody asks.

use alloc::string::{String, ToString};
use core::fmt;

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

use crate::text::Text;

/// The payload of a message: JSON text that nobody has parsed yet, or raw bytes.
///
/// A received payload is a slice of its frame. Cloning it is a reference count, parsing it is the
/// reader's choice, and one that is not JSON shows only then, as the `Err` of [`Payload::parse`].
///
/// ```
/// # use rejoin_core::Payload;
/// #[derive(serde::Deserialize)]
/// struct Cursor<'a> { x: f64, user: &'a str }
///
/// let payload = Payload::from_json_text(r#"{"x":1.5,"user":"ann"}"#)?;
/// let cursor: Cursor<'_> = payload.parse()?;
/// assert_eq!((cursor.x, cursor.user), (1.5, "ann"));
/// # Ok::<(), rejoin_core::PayloadError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    Json(Text),
    Binary(Bytes),
}

impl Payload {
    /// `{}`, what Phoenix sends where there is nothing to say.
    pub const EMPTY: Self = Self(Repr::Json(Text::from_static("{}")));

    /// The JSON of a value.
    ///
    /// # Errors
    /// If the value's `Serialize` fails or it has a map key that is not a string.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        let text = serde_json::to_string(value)?;
        Ok(Self(Repr::Json(text.into())))
    }

    /// JSON text as it is, after checking that it is exactly one JSON value.
    ///
    /// # Errors
    /// If it is not.
    pub fn from_json_text(text: impl Into<Text>) -> Result<Self, PayloadError> {
        let text = text.into();
        // `from_slice` and not the text's valid prefix: bytes that are not UTF-8 must not slip through.
        serde_json::from_slice::<&serde_json::value::RawValue>(text.as_bytes())?;
        Ok(Self(Repr::Json(text)))
    }

    /// Raw bytes; they travel only over vsn 2.0.0.
    #[must_use]
    pub const fn binary(bytes: Bytes) -> Self {
        Self(Repr::Binary(bytes))
    }

    pub(crate) const fn unread_json(text: Text) -> Self {
        Self(Repr::Json(text))
    }

    /// The JSON as the slice of a frame that it is.
    pub(crate) const fn as_text(&self) -> Option<&Text> {
        match &self.0 {
            Repr::Json(text) => Some(text),
            Repr::Binary(_) => None,
        }
    }

    /// The part of this JSON payload that `part`, a borrow of its text, stands for.
    pub(crate) fn slice(&self, part: &str) -> Self {
        self.as_text().map_or_else(|| self.clone(), |text| Self::unread_json(text.slice_ref(part)))
    }

    /// This part of it alone, without touching the reference count.
    pub(crate) fn narrow(mut self, range: core::ops::Range<usize>) -> Self {
        // In place: a buffer that was just written to in parts is slow to move.
        let bytes = match &mut self.0 {
            Repr::Json(text) => text.bytes_mut(),
            Repr::Binary(bytes) => bytes,
        };
        bytes.truncate(range.end);
        bytes.advance(range.start);
        self
    }

    /// Reads the payload as JSON; the result may borrow from it.
    ///
    /// # Errors
    /// If the payload is binary, is not JSON, or is JSON of another shape. Nesting deeper than
    /// 128 levels counts as not JSON.
    pub fn parse<'de, T: Deserialize<'de>>(&'de self) -> Result<T, PayloadError> {
        let text = self.as_json().ok_or(PayloadError::Binary)?;
        Ok(serde_json::from_str(text)?)
    }

    /// The JSON text, unless the payload is binary. It has not been checked to be JSON.
    #[must_use]
    pub fn as_json(&self) -> Option<&str> {
        self.as_text().map(Text::as_str)
    }

    /// The bytes of either kind.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Json(text) => text.as_bytes(),
            Repr::Binary(bytes) => bytes,
        }
    }

    /// The bytes of either kind, shared.
    pub(crate) fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Repr::Json(text) => text.clone().into_bytes(),
            Repr::Binary(bytes) => bytes.clone(),
        }
    }

    /// Whether these are raw bytes and not JSON text.
    #[must_use]
    pub const fn is_binary(&self) -> bool {
        matches!(self.0, Repr::Binary(_))
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether there is not a single byte. `{}` is two.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// A copy in a buffer of its own, which no longer keeps a frame alive.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self(match &self.0 {
            Repr::Json(text) => Repr::Json(text.detach()),
            Repr::Binary(bytes) => Repr::Binary(Bytes::copy_from_slice(bytes)),
        })
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Kind and size only: payloads are user data and may carry tokens.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_binary() { "binary" } else { "json" };
        write!(f, "Payload({kind}, {} B)", self.len())
    }
}

/// Why a payload could not be made or read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PayloadError {
    /// It is raw bytes, not JSON.
    Binary,
    /// It is not JSON, or JSON of another shape; what the parser said, with line and column.
    Json(String),
}

impl From<serde_json::Error> for PayloadError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary => f.write_str("the payload is binary, not JSON"),
            Self::Json(what) => write!(f, "the payload is not the expected JSON: {what}"),
        }
    }
}

impl core::error::Error for PayloadError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_text_must_be_exactly_one_value() {
        assert!(Payload::from_json_text(r#"{"a":1} "#).is_ok());
        for bad in ["", "{", "{} {}", "{not json", "undefined"] {
            assert!(Payload::from_json_text(bad).is_err(), "{bad:?}");
        }
        assert!(Payload::from_json_text(Text::assume_utf8(Bytes::from_static(b"{}\xff"))).is_err());
        assert!(Payload::from_json_text(Text::assume_utf8(Bytes::from_static(b"\"\xff\""))).is_err());
    }

    #[test]
    fn a_nesting_bomb_is_an_error_of_the_reader_only() {
        let bomb = Payload::unread_json("[".repeat(800_000).into());
        assert!(bomb.parse::<serde_json::Value>().is_err());
    }

    #[test]
    fn debug_shows_no_content() {
        let payload = Payload::from_json_text(r#"{"token":"secret"}"#).unwrap();
        assert_eq!(alloc::format!("{payload:?}"), "Payload(json, 18 B)");
    }
}
