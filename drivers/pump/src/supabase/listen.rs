//! What of a channel somebody wants to hear.

use rejoin_core::Text;
use rejoin_core::supabase::{ChannelConfig, PostgresBinding};

use super::errors::SubscribeError;
use super::event::ChannelEvent;

/// Which messages of a channel to listen to. The life of the channel ([`ChannelEvent::Subscribed`],
/// `Gap`, `Closed` and the like) is heard whatever is chosen, so that no loss goes unnoticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen(pub(super) What);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Everything,
    Status,
    Broadcasts,
    Broadcast(Text),
    Changes,
    /// As it was asked for.
    ChangesOf(Box<PostgresBinding>),
    /// By the binding's place in the channel's configuration.
    ChangesAt(usize),
    Presence,
    System,
    Event(Text),
}

impl Listen {
    /// Every message.
    #[must_use]
    pub const fn everything() -> Self {
        Self(What::Everything)
    }

    /// No message at all.
    #[must_use]
    pub const fn status() -> Self {
        Self(What::Status)
    }

    /// Broadcasts of this event, compared exactly; `*` is all of them.
    #[must_use]
    pub fn broadcast(event: impl Into<Text>) -> Self {
        let event = event.into();
        Self(if event == "*" { What::Broadcasts } else { What::Broadcast(event) })
    }

    /// Database changes, for whichever of the channel's bindings; all of a topic of the legacy API.
    #[must_use]
    pub const fn postgres_changes() -> Self {
        Self(What::Changes)
    }

    /// Database changes for this binding, which has to be one of the channel's configuration: what the
    /// server is asked for is settled when the channel is joined.
    #[must_use]
    pub fn changes(binding: &PostgresBinding) -> Self {
        Self(What::ChangesOf(Box::new(binding.clone())))
    }

    /// Who is present, and how that changes; [`Channel::presence`](super::Channel::presence) remembers
    /// the members. A listener that lags asks for them: [`Channel::presence_state`](super::Channel::presence_state).
    #[must_use]
    pub const fn presence() -> Self {
        Self(What::Presence)
    }

    /// What the server says about the channel itself.
    #[must_use]
    pub const fn system() -> Self {
        Self(What::System)
    }

    /// Other messages of this event, compared exactly; `*` is everything.
    #[must_use]
    pub fn event(event: impl Into<Text>) -> Self {
        let event = event.into();
        Self(if event == "*" { What::Everything } else { What::Event(event) })
    }

    /// The same, for a channel of this configuration.
    ///
    /// # Errors
    /// If it asks for a binding that is not in there.
    pub(super) fn of(self, config: &ChannelConfig) -> Result<Self, SubscribeError> {
        let What::ChangesOf(wanted) = &self.0 else { return Ok(self) };
        let place = config.postgres_changes.iter().position(|binding| binding == &**wanted);
        place.map(|place| Self(What::ChangesAt(place))).ok_or(SubscribeError::UnknownBinding)
    }

    #[inline]
    pub(super) fn wants(&self, event: &ChannelEvent) -> bool {
        match (&self.0, event) {
            (What::Everything | What::Broadcasts, ChannelEvent::Broadcast { .. }) => true,
            (What::Broadcast(wanted), ChannelEvent::Broadcast { event, .. }) => wanted == event,
            (_, ChannelEvent::Broadcast { .. }) => false,
            (what, ChannelEvent::PostgresChange { bindings, .. }) => match what {
                What::Everything | What::Changes => true,
                What::ChangesAt(place) => bindings.contains(*place),
                What::Event(wanted) => *wanted == "postgres_changes",
                _ => false,
            },
            (
                what,
                ChannelEvent::Presence(_) | ChannelEvent::PresenceState { .. } | ChannelEvent::PresenceTrouble(_),
            ) => matches!(what, What::Everything | What::Presence),
            (what, ChannelEvent::System(_)) => match what {
                What::Everything | What::System => true,
                What::Event(wanted) => *wanted == "system",
                _ => false,
            },
            (what, ChannelEvent::Message { event, .. }) => match what {
                What::Everything => true,
                // As they come on a channel that was subscribed without presence.
                What::Presence => *event == "presence_state" || *event == "presence_diff",
                What::Event(wanted) => wanted == event,
                _ => false,
            },
            // The life of the channel.
            _ => true,
        }
    }
}
