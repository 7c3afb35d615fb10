//! Who is in which topic, and how a message reaches them: the hub, behind one lock.
//!
//! A member is in its topic from the same moment on as its client knows it: what is said to the
//! topic after the answer to a join is heard, and nothing before it.

use std::fmt;
use std::sync::{Mutex, MutexGuard};

use rejoin_core::hub::{Broadcast, Fanout, Hub, HubConfig, MemberId, TrackError};
use rejoin_core::phoenix::{JoinId, OutboxOverflow, ServerChannelId, ServerPushError};
use rejoin_core::{Payload, Text};

use super::lock;
use super::socket::Seat;
use crate::peer::{Peer, Time};

pub(super) struct Rooms {
    hub: Mutex<Hub<Place>>,
    /// Members that the hub takes.
    limit: usize,
    time: Time,
}

/// Where the messages for one member go.
#[derive(Debug)]
struct Place {
    peer: Peer,
    channel: ServerChannelId,
}

impl Rooms {
    pub(super) fn new(config: HubConfig, seed: u64, time: Time) -> Self {
        Self { limit: config.members, hub: Mutex::new(Hub::new(config, seed)), time }
    }

    /// Answers a join and takes the client into the topic; `None` if it has gone meanwhile.
    pub(super) fn enter(
        &self,
        seat: &Seat,
        join: JoinId,
        response: Payload,
        overflow: Option<OutboxOverflow>,
    ) -> Option<ServerChannelId> {
        let peer = &seat.peer;
        let mut hub = self.hub();
        if hub.total_members() >= self.limit {
            let _ = peer.refuse_join(join, super::channel::with_reason("too many members"));
            return None;
        }
        let channel = peer.accept_join(join, response).ok()?;
        if let Some(overflow) = overflow {
            // One that is gone again needs no policy.
            let _ = peer.set_overflow(channel, overflow);
        }
        let place = Place { peer: peer.clone(), channel };
        let member = hub.join(&seat.topic, peer.serializer(), place).ok()?;
        seat.take(channel, member);
        Some(channel)
    }

    pub(super) fn leave(&self, member: MemberId) {
        let mut hub = self.hub();
        let Some(left) = hub.leave(member) else { return };
        self.deliver(left.diff);
        // A handle to the socket, whose drop may wake its pump, outlives the lock.
        let member = left.member;
        drop(hub);
        drop(member);
    }

    /// Tells how many members it was for.
    pub(super) fn broadcast(&self, topic: &Text, broadcast: Broadcast) -> usize {
        self.deliver(self.hub().broadcast(topic, broadcast))
    }

    pub(super) fn track(&self, member: MemberId, key: &str, meta: &Payload) -> Result<(), TrackError> {
        self.hub().track(member, key, meta).map(|diff| _ = self.deliver(diff))
    }

    pub(super) fn update(&self, member: MemberId, key: &str, meta: &Payload) -> Result<(), TrackError> {
        self.hub().update(member, key, meta).map(|diff| _ = self.deliver(diff))
    }

    pub(super) fn untrack(&self, member: MemberId, key: &str) -> Result<(), TrackError> {
        self.hub().untrack(member, key).map(|diff| _ = self.deliver(diff))
    }

    pub(super) fn presence_state(&self, topic: &Text) -> Payload {
        self.hub().presence_state(topic)
    }

    pub(super) fn push_presence_state(&self, seat: &Seat, channel: ServerChannelId) -> Result<(), ServerPushError> {
        // Under the lock: the diffs that follow are those that this state lacks.
        let hub = self.hub();
        seat.peer.push(channel, "presence_state", hub.presence_state(&seat.topic))
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        let hub = self.hub();
        (hub.topic_count(), hub.total_members())
    }

    fn deliver(&self, fanout: Fanout<'_, Place>) -> usize {
        let now = self.time.now();
        let mut delivered = 0;
        for (Place { peer, channel }, frame) in fanout {
            // One that is gone has left, or is about to.
            delivered += usize::from(peer.push_encoded_at(now, *channel, frame).is_ok());
        }
        delivered
    }

    fn hub(&self) -> MutexGuard<'_, Hub<Place>> {
        lock(&self.hub)
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (topics, members) = self.counts();
        f.debug_struct("Rooms").field("topics", &topics).field("members", &members).finish_non_exhaustive()
    }
}
