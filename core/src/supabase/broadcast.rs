//! What to broadcast.

use core::time::Duration;

use crate::payload::Payload;
use crate::phoenix::{Push, UserPush};
use crate::text::Text;
use crate::wire;

/// A message for everybody in a channel.
///
/// Under vsn 2.0.0 it travels in binary (kind 3), whichever kind its payload is, so that its event and
/// the topic may have at most 255 bytes; `Config::text_broadcasts` sends it as text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broadcast {
    /// The event, by which its receivers tell it from others.
    pub event: Text,
    /// What it carries: JSON, or bytes under vsn 2.0.0.
    pub payload: Payload,
    /// Whether its outcome is to be the server's word; `None` (the default) is what the channel was
    /// joined with.
    pub ack: Option<bool>,
    /// Instead of `Config::push_timeout`.
    pub timeout: Option<Duration>,
}

impl Broadcast {
    /// Acknowledged if the channel was joined with `ack`.
    #[must_use]
    pub fn new(event: impl Into<Text>, payload: Payload) -> Self {
        Self { event: event.into(), payload, ack: None, timeout: None }
    }

    /// Wants the server's word: `Ok` is "accepted", not "delivered". A server that drops the message
    /// for want of a permission says nothing at all, which ends as `TimedOut` (trap T54).
    #[must_use]
    pub const fn with_ack(mut self) -> Self {
        self.ack = Some(true);
        self
    }

    /// Is done when the transport has taken it, whatever the channel was joined with.
    #[must_use]
    pub const fn without_ack(mut self) -> Self {
        self.ack = Some(false);
        self
    }

    /// Instead of `Config::push_timeout`.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub(super) fn into_push(self, wants_reply: bool, as_text: bool) -> Push {
        let mut push = Push::new(Text::from_static(wire::BROADCAST), self.payload);
        push.timeout = self.timeout;
        push.wants_reply = wants_reply;
        push.user_event = Some(UserPush { event: self.event, as_text });
        push
    }
}
