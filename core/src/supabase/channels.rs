//! What a Supabase session knows of each channel besides what the Phoenix session does.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::access_token::AccessToken;
use super::channel_config::{ChannelConfig, RejoinPolicy};
use super::event::CloseReason;
use super::extras::{Extras, Members, Postgres};
use super::refusal::RefusalClass;
use super::resuming::Resuming;
use crate::deadlines::Deadlines;
use crate::phoenix::ChannelId;
use crate::text::Text;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: ChannelId,
    /// The `config` of the join payload, as JSON.
    pub(super) config: Text,
    pub(super) ack: bool,
    pub(super) private: bool,
    pub(super) anonymous: bool,
    pub(super) rejoin: RejoinPolicy,
    /// A token for this channel alone.
    pub(super) own_token: Option<Box<AccessToken>>,
    /// The token that the server was given last.
    pub(super) carried: Carried,
    /// Whether that was in a push, and not in the join.
    pub(super) told: bool,
    /// What it carried when the server turned it away for it; another one has to come first.
    pub(super) refused: Option<Box<Refused>>,
    /// Whether it is kept from joining until there is a token.
    pub(super) waits: bool,
    pub(super) joined: bool,
    /// When the server last showed that it knows the channel.
    pub(super) heard_at: Timestamp,
    /// Since when messages may be missing.
    pub(super) gap_since: Option<Timestamp>,
    /// The last error that the server spoke of: the reason of a `phx_close` behind it.
    pub(super) last_error: Option<Box<LastError>>,
    /// Why it is being ended by us.
    pub(super) end: Option<Box<CloseReason>>,
    /// What it does besides broadcasting.
    pub(super) extras: Option<Box<Extras>>,
}

impl Channel {
    pub(super) fn new(id: ChannelId, config: &ChannelConfig, json: Text, extras: Option<Extras>) -> Self {
        Self {
            id,
            config: json,
            ack: config.broadcast.ack,
            private: config.private,
            anonymous: config.anonymous,
            rejoin: config.rejoin,
            own_token: None,
            carried: Carried::default(),
            told: false,
            refused: None,
            waits: false,
            joined: false,
            heard_at: Timestamp::ZERO,
            gap_since: None,
            last_error: None,
            end: None,
            extras: extras.map(Box::new),
        }
    }

    pub(super) fn postgres(&mut self) -> Option<&mut Postgres> {
        self.extras.as_mut()?.postgres.as_mut()
    }

    pub(super) fn presence(&mut self) -> Option<&mut Members> {
        self.extras.as_mut()?.presence.as_mut()
    }

    pub(super) fn resuming(&mut self) -> Option<&mut Resuming> {
        self.extras.as_mut()?.resuming.as_mut()
    }
}

/// With what the server turned a channel away.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) carried: Carried,
    /// When the next token may be tried, if there is one so soon.
    pub(super) not_before: Timestamp,
}

/// What is kept of a `system` error.
#[derive(Debug)]
pub(super) struct LastError {
    pub(super) at: Timestamp,
    pub(super) message: Text,
    pub(super) class: RefusalClass,
}

/// The text of a token, or none. It shows neither.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Carried(Option<Text>);

impl Carried {
    pub(super) fn of(token: Option<&AccessToken>) -> Self {
        Self(token.map(|token| token.text().clone()))
    }

    pub(super) fn is(&self, token: Option<&AccessToken>) -> bool {
        self.0.as_ref() == token.map(AccessToken::text)
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carried(..)")
    }
}

/// The channels by the slots of their ids.
#[derive(Debug)]
pub(super) struct Channels {
    slots: Vec<Option<Channel>>,
    count: usize,
    deadlines: Deadlines<ChannelId>,
}

impl Channels {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), count: 0, deadlines: Deadlines::new() }
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn insert(&mut self, channel: Channel) {
        let slot = channel.id.slot();
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.count += usize::from(self.slots[slot].replace(channel).is_none());
    }

    pub(super) fn get(&self, id: ChannelId) -> Option<&Channel> {
        self.slots.get(id.slot())?.as_ref().filter(|channel| channel.id == id)
    }

    pub(super) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.slots.get_mut(id.slot())?.as_mut().filter(|channel| channel.id == id)
    }

    pub(super) fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        let slot = self.slots.get_mut(id.slot())?;
        let mut channel = slot.take_if(|channel| channel.id == id)?;
        if let Some(extras) = &mut channel.extras {
            self.deadlines.set(id, &mut extras.deadline, None);
        }
        self.count -= 1;
        Some(channel)
    }

    /// A channel's extras need not be looked after until they are rescheduled.
    pub(super) fn rest(&mut self, id: ChannelId) {
        self.set_deadline(id, |_| None);
    }

    /// Something about a channel's extras has changed: when do they want to be looked after?
    pub(super) fn reschedule(&mut self, id: ChannelId) {
        self.set_deadline(id, |channel| channel.extras.as_ref().and_then(|extras| extras.due(channel.joined)));
    }

    fn set_deadline(&mut self, id: ChannelId, at: impl FnOnce(&Channel) -> Option<Timestamp>) {
        let slot = self.slots.get_mut(id.slot()).and_then(Option::as_mut);
        let Some(channel) = slot.filter(|channel| channel.id == id) else { return };
        let at = at(channel);
        if let Some(extras) = &mut channel.extras {
            self.deadlines.set(id, &mut extras.deadline, at);
        }
    }

    /// Whose extras want to be looked after next, and when.
    pub(super) fn due(&self) -> Option<(Timestamp, ChannelId)> {
        self.deadlines.first()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.slots.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.slots.iter_mut().flatten()
    }

    pub(super) fn ids(&self) -> Vec<ChannelId> {
        self.iter().map(|channel| channel.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every idle channel has one of these and one of the Phoenix session's, and up to as many again
    /// are empty when a table has just grown.
    #[test]
    fn the_size_of_a_channel_is_pinned() {
        assert_eq!(size_of::<Option<Channel>>(), 144);
    }
}
