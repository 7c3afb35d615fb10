//! UTF-8 text that is a slice of the frame it came in.

use alloc::string::String;
use core::borrow::Borrow;
use core::fmt;
use core::ops::Deref;

use bytes::Bytes;

/// Immutable text in a reference-counted buffer: cloning and slicing copy nothing.
///
/// A `Text` cut out of a frame keeps that whole frame alive. Keep what you pass on as it is, and
/// [`detach`](Text::detach) what you store for long.
///
/// The bytes are checked when they are *read as text*, not when a frame is cut up, so that
/// routing a 64 KiB message costs the same as routing a small one. Bytes that turn out not to be
/// UTF-8 (only [`Text::assume_utf8`] lets them in) read as their longest valid prefix.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Bytes);

impl Text {
    /// The empty text.
    pub const EMPTY: Self = Self::from_static("");

    /// Text that lives in the program; costs nothing to clone.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Takes bytes over without copying.
    ///
    /// # Errors
    /// If the bytes are not UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, core::str::Utf8Error> {
        core::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }

    /// Takes over bytes that were checked before, for example by the WebSocket library, without
    /// checking them again.
    ///
    /// Nothing unsafe can come of bytes that were not: they read as their longest valid prefix.
    #[must_use]
    pub const fn assume_utf8(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match core::str::from_utf8(&self.0) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&self.0[..error.valid_up_to()]).unwrap_or_default(),
        }
    }

    /// The bytes, unchecked and as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub(crate) const fn bytes_mut(&mut self) -> &mut Bytes {
        &mut self.0
    }

    /// The buffer itself.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The same text as `part`, which must be borrowed from this one, without copying.
    ///
    /// A `part` from elsewhere is copied.
    #[must_use]
    pub fn slice_ref(&self, part: &str) -> Self {
        self.slice_bytes(part.as_bytes())
    }

    /// The same of bytes that nobody has checked yet.
    pub(crate) fn slice_bytes(&self, part: &[u8]) -> Self {
        let at = (part.as_ptr() as usize).checked_sub(self.0.as_ptr() as usize);
        match at {
            Some(at) if at + part.len() <= self.0.len() => Self(self.0.slice(at..at + part.len())),
            _ => Self(Bytes::copy_from_slice(part)),
        }
    }

    /// A copy in a buffer of its own, which no longer keeps a frame alive.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The text for names that nearly every frame carries, without touching the frame's reference count.
    pub(crate) fn well_known(name: &[u8]) -> Option<Self> {
        const NAMES: [&str; 5] = ["broadcast", "postgres_changes", "presence_diff", "presence_state", "system"];
        NAMES.iter().find(|known| known.as_bytes() == name).map(|known| Self::from_static(known))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_read_as_their_valid_prefix() {
        let text = Text::assume_utf8(Bytes::from_static(b"room:\xff\xfe"));
        assert_eq!(text.as_str(), "room:");
        assert_eq!(text.as_bytes(), b"room:\xff\xfe");
        assert!(Text::from_utf8(Bytes::from_static(b"\xff")).is_err());
    }
}
