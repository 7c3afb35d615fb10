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
    /// Whether the server stores it, to be replayed; default `None`: no. Only on private channels, and
    /// not as text, as over long-poll. Servers up to 2.129.8 ignore it (specification, section 6.1).
    pub persist: Option<Persist>,
    /// Whether it goes over HTTP while the channel cannot send; `None` (the default) is what
    /// `Config::http_fallback` says.
    pub http_fallback: Option<bool>,
    /// Whether it is sent again if the connection breaks before it is acknowledged; default no. It
    /// may then arrive twice.
    pub resend_on_reconnect: bool,
}

/// How long the server stores a broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Persist {
    /// As long as it stores any (the default): 72 h unless the project says otherwise.
    #[default]
    Default,
    /// For so many seconds.
    Seconds(u32),
}

impl Persist {
    /// What stands in the metadata of the broadcast.
    fn metadata(self) -> Payload {
        Payload::unread_json(match self {
            Self::Default => Text::from_static(r#"{"persist":true}"#),
            Self::Seconds(ttl) => alloc::format!(r#"{{"persist":{{"ttl":{ttl}}}}}"#).into(),
        })
    }
}

impl Broadcast {
    /// Acknowledged if the channel was joined with `ack`.
    #[must_use]
    pub fn new(event: impl Into<Text>, payload: Payload) -> Self {
        let event = event.into();
        Self {
            event,
            payload,
            ack: None,
            timeout: None,
            persist: None,
            http_fallback: None,
            resend_on_reconnect: false,
        }
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

    /// Has the server store it, to be replayed to whoever joins later.
    #[must_use]
    pub const fn persist(mut self, persist: Persist) -> Self {
        self.persist = Some(persist);
        self
    }

    /// Goes over HTTP while the channel cannot send, or not, whatever `Config::http_fallback` says.
    #[must_use]
    pub const fn http_fallback(mut self, fallback: bool) -> Self {
        self.http_fallback = Some(fallback);
        self
    }

    /// Is sent again if the connection breaks before it is acknowledged, so that it may arrive twice.
    #[must_use]
    pub const fn resend_on_reconnect(mut self) -> Self {
        self.resend_on_reconnect = true;
        self
    }

    pub(super) fn into_push(self, wants_reply: bool, as_text: bool) -> Push {
        let mut push = Push::new(Text::from_static(wire::BROADCAST), self.payload);
        push.timeout = self.timeout;
        push.wants_reply = wants_reply;
        push.resend_on_reconnect = self.resend_on_reconnect;
        let metadata = self.persist.map(Persist::metadata);
        push.user_event = Some(UserPush { event: self.event, metadata, as_text });
        push
    }
}
