//! The channels of a session: who they are, where they stand, who may join next.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hasher};
use core::time::Duration;

use hashbrown::HashTable;

use super::config::JoinOptions;
use super::ids::{ChannelId, PushId};
use crate::deadlines::Deadlines;
use crate::payload::Payload;
use crate::slab::Slab;
use crate::text::Text;
use crate::time::Timestamp;

/// Where a channel stands. One that is gone has no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelState {
    /// Waiting for a connection, for its turn or for the server's answer.
    Joining,
    /// The server has accepted the join.
    Joined,
    /// The last join came to nothing or the channel was lost; it will be joined again.
    Errored,
    /// `phx_leave` is on its way.
    Leaving,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) topic: Text,
    pub(super) payload: Payload,
    pub(super) timeout: Option<Duration>,
    pub(super) phase: Phase,
    pub(super) joined_before: bool,
    /// Failed joins and crashes since the last join that succeeded.
    pub(super) failures: u32,
    /// Whether a server's refusal has given this join more time already (trap T1).
    pub(super) extended: bool,
    /// Whether a notice of it is in the transport lane.
    pub(super) notified: bool,
    /// Whether it is kept from joining until somebody says when.
    pub(super) held: bool,
    /// The time before which it is not joined, whatever becomes of the connection.
    pub(super) not_before: Option<Timestamp>,
    pub(super) rejoin_on_close: bool,
    pub(super) waiting: VecDeque<PushId>,
    pub(super) waiting_bytes: usize,
    /// Pushes in the transport lane or waiting for their reply.
    pub(super) live_pushes: u32,
    /// Whether it stands in the queue of those who want to join.
    in_turn: bool,
    serial: u64,
    deadline: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Wanted, and no join under way: waits for a connection, its turn, or the rejoin timer.
    Idle {
        errored: bool,
    },
    /// Its join is in the transport lane.
    Queued,
    /// Its join is sent.
    Joining {
        join_ref: u64,
    },
    Joined {
        join_ref: u64,
    },
    /// The ref is `None` until the transport takes the `phx_leave`.
    Leaving {
        join_ref: u64,
        reference: Option<u64>,
    },
}

impl Phase {
    const fn is_join_in_flight(self) -> bool {
        matches!(self, Self::Queued | Self::Joining { .. })
    }

    /// The join_ref of the lifetime that the server knows of.
    pub(super) const fn join_ref(self) -> Option<u64> {
        match self {
            Self::Joining { join_ref } | Self::Joined { join_ref } | Self::Leaving { join_ref, .. } => Some(join_ref),
            Self::Idle { .. } | Self::Queued => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Channels {
    slab: Slab<Channel>,
    /// Topic to slot, of all but those whose topic was joined anew while they were leaving.
    index: HashTable<u32>,
    hasher: foldhash::fast::FixedState,
    /// Leaving channels whose topic belongs to a newer channel.
    displaced: Vec<ChannelId>,
    deadlines: Deadlines<ChannelId>,
    /// Who wants to join, in order.
    turn: VecDeque<ChannelId>,
    in_flight: usize,
    serials: u64,
}

impl Channels {
    pub(super) const fn new() -> Self {
        Self {
            slab: Slab::new(),
            index: HashTable::new(),
            hasher: foldhash::fast::FixedState::with_seed(0),
            displaced: Vec::new(),
            deadlines: Deadlines::new(),
            turn: VecDeque::new(),
            in_flight: 0,
            serials: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn get(&self, id: ChannelId) -> Option<&Channel> {
        self.slab.get(id.0)
    }

    /// For everything but the phase, which only [`Channels::set_phase`] changes.
    pub(super) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.slab.get_mut(id.0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ChannelId, &Channel)> {
        self.slab.iter().map(|(key, channel)| (ChannelId(key), channel))
    }

    /// The ids, oldest channel first.
    pub(super) fn by_age(&self) -> Vec<ChannelId> {
        let mut ids: Vec<_> = self.iter().map(|(id, channel)| (channel.serial, id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// The channel that a topic belongs to now.
    pub(super) fn find(&self, topic: &[u8]) -> Option<(ChannelId, &Channel)> {
        let hash = hash(&self.hasher, topic);
        let slot = *self.index.find(hash, |slot| topic_at(&self.slab, *slot) == topic)?;
        self.slab.at(slot).map(|(key, channel)| (ChannelId(key), channel))
    }

    /// The channel of this topic and lifetime, be it the present one or one that is being left.
    pub(super) fn find_lifetime(&self, topic: &[u8], join_ref: u64) -> Option<ChannelId> {
        let matches = |id: ChannelId| {
            self.get(id).is_some_and(|c| c.topic.as_bytes() == topic && c.phase.join_ref() == Some(join_ref))
        };
        let present = self.find(topic).map(|(id, _)| id);
        present.into_iter().chain(self.displaced.iter().copied()).find(|id| matches(*id))
    }

    /// The channel whose `phx_leave` has this ref.
    pub(super) fn find_leaving(&self, topic: &[u8], leave: u64) -> Option<ChannelId> {
        let matches = |id: ChannelId| {
            self.get(id).is_some_and(|c| {
                c.topic.as_bytes() == topic
                    && matches!(c.phase, Phase::Leaving { reference, .. } if reference == Some(leave))
            })
        };
        let present = self.find(topic).map(|(id, _)| id);
        present.into_iter().chain(self.displaced.iter().copied()).find(|id| matches(*id))
    }

    /// Leaving channels of a topic that now belongs to another channel.
    pub(super) fn displaced(&self, topic: &[u8]) -> Vec<ChannelId> {
        let of_topic = |id: &ChannelId| self.get(*id).is_some_and(|c| c.topic.as_bytes() == topic);
        self.displaced.iter().copied().filter(of_topic).collect()
    }

    /// Adds a channel. A leaving one with the same topic makes way.
    pub(super) fn insert(&mut self, topic: Text, options: JoinOptions) -> ChannelId {
        if let Some((old, _)) = self.find(topic.as_bytes()) {
            self.unindex(old);
            self.displaced.push(old);
        }
        self.serials += 1;
        let hash = hash(&self.hasher, topic.as_bytes());
        let id = ChannelId(self.slab.insert(Channel {
            topic,
            payload: options.payload,
            timeout: options.timeout,
            phase: Phase::Idle { errored: false },
            joined_before: false,
            failures: 0,
            extended: false,
            notified: false,
            held: false,
            not_before: None,
            rejoin_on_close: options.rejoin_on_close,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            live_pushes: 0,
            in_turn: false,
            serial: self.serials,
            deadline: None,
        }));
        let (slab, hasher) = (&self.slab, &self.hasher);
        self.index.insert_unique(hash, id.0.slot, |slot| self::hash(hasher, topic_at(slab, *slot)));
        id
    }

    pub(super) fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        self.set_phase(id, Phase::Idle { errored: false });
        self.set_deadline(id, None);
        match self.displaced.iter().position(|other| *other == id) {
            Some(at) => drop(self.displaced.remove(at)),
            None => self.unindex(id),
        }
        self.leave_turn(id);
        self.slab.remove(id.0)
    }

    pub(super) fn set_phase(&mut self, id: ChannelId, phase: Phase) {
        let Some(channel) = self.slab.get_mut(id.0) else { return };
        let old = core::mem::replace(&mut channel.phase, phase);
        self.in_flight = self.in_flight + usize::from(phase.is_join_in_flight()) - usize::from(old.is_join_in_flight());
    }

    pub(super) fn set_deadline(&mut self, id: ChannelId, at: Option<Timestamp>) {
        if let Some(channel) = self.slab.get_mut(id.0) {
            self.deadlines.set(id, &mut channel.deadline, at);
        }
    }

    pub(super) fn due(&self) -> Option<(Timestamp, ChannelId)> {
        self.deadlines.first()
    }

    /// Whether a join is queued or unanswered.
    pub(super) const fn is_join_in_flight(&self) -> bool {
        self.in_flight > 0
    }

    /// Whether anybody who wants to join may, with at most `limit` joins in flight.
    pub(super) fn has_turn(&self, limit: usize) -> bool {
        self.in_flight < limit.max(1) && !self.turn.is_empty()
    }

    /// Puts a channel at the end of those who want to join.
    pub(super) fn queue_join(&mut self, id: ChannelId) {
        if let Some(channel) = self.slab.get_mut(id.0).filter(|channel| !channel.in_turn) {
            channel.in_turn = true;
            self.turn.push_back(id);
        }
    }

    /// Takes a channel out of those who want to join.
    pub(super) fn leave_turn(&mut self, id: ChannelId) {
        if let Some(channel) = self.slab.get_mut(id.0).filter(|channel| channel.in_turn) {
            channel.in_turn = false;
            self.turn.retain(|other| *other != id);
        }
    }

    pub(super) fn forget_turns(&mut self) {
        for id in core::mem::take(&mut self.turn) {
            if let Some(channel) = self.slab.get_mut(id.0) {
                channel.in_turn = false;
            }
        }
    }

    /// The next channel that may join now, with at most `limit` joins in flight.
    pub(super) fn next_turn(&mut self, limit: usize) -> Option<ChannelId> {
        while self.in_flight < limit.max(1) {
            let id = self.turn.pop_front()?;
            let Some(channel) = self.slab.get_mut(id.0) else { continue };
            channel.in_turn = false;
            if matches!(channel.phase, Phase::Idle { .. }) && !channel.held {
                return Some(id);
            }
        }
        None
    }

    fn unindex(&mut self, id: ChannelId) {
        let Some(channel) = self.slab.get(id.0) else { return };
        let hash = hash(&self.hasher, channel.topic.as_bytes());
        if let Ok(entry) = self.index.find_entry(hash, |slot| *slot == id.0.slot) {
            entry.remove();
        }
    }
}

impl Channel {
    pub(super) const fn state(&self) -> ChannelState {
        match self.phase {
            Phase::Idle { errored: true } => ChannelState::Errored,
            Phase::Idle { errored: false } | Phase::Queued | Phase::Joining { .. } => ChannelState::Joining,
            Phase::Joined { .. } => ChannelState::Joined,
            Phase::Leaving { .. } => ChannelState::Leaving,
        }
    }
}

fn topic_at(slab: &Slab<Channel>, slot: u32) -> &[u8] {
    slab.at(slot).map_or(b"", |(_, channel)| channel.topic.as_bytes())
}

fn hash(hasher: &foldhash::fast::FixedState, topic: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(topic);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_channel_is_pinned() {
        assert_eq!(size_of::<Option<Channel>>(), 208);
    }
}
