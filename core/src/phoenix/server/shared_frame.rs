//! A frame for many sockets.

use crate::machine::Frame;
use crate::text::Text;

/// A message that was encoded once for all sockets of the same serializer, for
/// [`ServerSession::push_encoded`](super::ServerSession::push_encoded). Cloning it copies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedFrame {
    /// The frame: a message of the channel's topic without refs.
    pub frame: Frame,
    /// What it is the latest state of, for channels that say [`Latest`](super::OutboxOverflow::Latest): a
    /// cursor's or a document's id, say. Default `None`: it takes no other message's place.
    pub key: Option<Text>,
}

impl SharedFrame {
    /// The same frame as the latest state of `key`.
    #[must_use]
    pub fn with_key(self, key: impl Into<Text>) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}

impl From<Frame> for SharedFrame {
    fn from(frame: Frame) -> Self {
        Self { frame, key: None }
    }
}
