//! The names of things: numbers that are never used again.

use crate::slab::Key;
use crate::wire::Ref;

/// Names a channel of one session, from `join` to `ChannelClosed`. Never used again, not even for
/// the same topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub(super) Key);

impl ChannelId {
    /// A small number that no other *living* channel of the session has: an index for the host's
    /// own table.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.0.slot as usize
    }
}

/// Names a push. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PushId(pub(super) u64);

/// Names a joined channel of one socket. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerChannelId(pub(super) Key);

/// A join to be answered once: it cannot be cloned, and answering consumes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a client whose join nobody answers waits until it times out"]
pub struct JoinId(pub(super) u64);

/// A push to be replied to at most once: it cannot be cloned, and replying consumes it.
#[derive(Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub(super) channel: ServerChannelId,
    pub(super) reference: Option<Ref>,
}
