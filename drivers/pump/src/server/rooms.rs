//! Who is in which topic, and how a message reaches them: the hub, behind one lock.
//!
//! A member is in its topic from the same moment on as its client knows it: what is said to the
//! topic after the answer to a join is heard, and nothing before it.

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock};

use rejoin_core::hub::{Broadcast, Fanout, Hub, HubConfig, MemberId, TrackError};
use rejoin_core::phoenix::{JoinId, OutboxOverflow, ServerChannelId, ServerPushError};
use rejoin_core::{Payload, Text};

use super::history::Ask;
use super::lock;
use super::reason::with_reason;
use crate::peer::Peer;
use crate::served::Time;
use crate::wakers::Wakers;

pub(super) struct Rooms {
    hub: Mutex<Hub<Place>>,
    keeps_history: bool,
    /// Whether some topic keeps the latest message only.
    has_latest: bool,
    time: Time,
}

/// How a client enters a topic.
pub(super) struct Entry {
    pub(super) response: Payload,
    pub(super) overflow: Option<OutboxOverflow>,
    /// What it has missed, in its own words.
    pub(super) ask: Option<Ask>,
}

/// Where the messages for one member go.
#[derive(Debug)]
struct Place {
    peer: Peer,
    /// Set before anybody else sees it.
    channel: OnceLock<ServerChannelId>,
}

/// The hub, and whom it has given something to do: woken after the lock is free.
struct Locked<'a> {
    hub: MutexGuard<'a, Hub<Place>>,
    wakers: Wakers,
}

impl Rooms {
    pub(super) fn new(config: HubConfig, seed: u64, has_latest: bool, time: Time) -> Self {
        Self { keeps_history: config.history.is_some(), has_latest, hub: Mutex::new(Hub::new(config, seed)), time }
    }

    pub(super) const fn keeps_history(&self) -> bool {
        self.keeps_history
    }

    /// Answers a join and takes the client into the topic; `None` if it has gone meanwhile.
    pub(super) fn enter(
        &self,
        topic: &Text,
        peer: &Peer,
        join: JoinId,
        entry: Entry,
    ) -> Option<(ServerChannelId, MemberId)> {
        let Entry { response, overflow, ask } = entry;
        let serializer = peer.serializer();
        let Locked { hub, wakers } = &mut self.lock();
        let Ok(member) = hub.join(topic, serializer, Place { peer: peer.clone(), channel: OnceLock::new() }) else {
            // One that is gone needs no answer.
            let _ = peer.refuse_join(join, with_reason("too many members"));
            return None;
        };
        let history = ask.as_ref().and_then(|ask| ask.look_up(hub, topic));
        let response = match (&ask, &history) {
            (Some(ask), Some(history)) => ask.tell(history, response),
            _ => response,
        };
        let Ok(channel) = peer.accept_join(join, response) else {
            drop(hub.leave(member));
            return None;
        };
        // What finds a channel that is gone again is lost with it, here and below.
        if let Some(overflow) = overflow {
            let _ = peer.set_overflow(channel, overflow);
        }
        let now = self.time.now();
        for missed in history.iter().flat_map(|history| &history.messages) {
            if let Some(frame) = missed.frame(serializer) {
                let _ = peer.push_encoded_at(now, channel, frame, wakers);
            }
        }
        if let Some(place) = hub.get(member) {
            let _ = place.channel.set(channel);
        }
        Some((channel, member))
    }

    pub(super) fn leave(&self, member: MemberId) {
        // A handle to the socket, whose drop may wake its pump, outlives the lock.
        let _member = self.take_out(member);
    }

    fn take_out(&self, member: MemberId) -> Option<Place> {
        let Locked { hub, wakers } = &mut self.lock();
        let left = hub.leave(member)?;
        self.deliver(left.diff, wakers);
        Some(left.member)
    }

    /// Tells how many members it was for.
    pub(super) fn broadcast(&self, topic: &Text, mut broadcast: Broadcast) -> usize {
        // The latest of its event, unless it says something else.
        if self.has_latest {
            broadcast.key.get_or_insert_with(|| broadcast.event.clone());
        }
        let Locked { hub, wakers } = &mut self.lock();
        self.deliver(hub.broadcast(topic, broadcast), wakers)
    }

    pub(super) fn track(&self, member: MemberId, key: &str, meta: &Payload) -> Result<(), TrackError> {
        let Locked { hub, wakers } = &mut self.lock();
        hub.track(member, key, meta).map(|diff| _ = self.deliver(diff, wakers))
    }

    pub(super) fn update(&self, member: MemberId, key: &str, meta: &Payload) -> Result<(), TrackError> {
        let Locked { hub, wakers } = &mut self.lock();
        hub.update(member, key, meta).map(|diff| _ = self.deliver(diff, wakers))
    }

    pub(super) fn untrack(&self, member: MemberId, key: &str) -> Result<(), TrackError> {
        let Locked { hub, wakers } = &mut self.lock();
        hub.untrack(member, key).map(|diff| _ = self.deliver(diff, wakers))
    }

    pub(super) fn presence_state(&self, topic: &Text) -> Payload {
        self.lock().hub.presence_state(topic)
    }

    pub(super) fn push_presence_state(
        &self,
        topic: &Text,
        peer: &Peer,
        channel: ServerChannelId,
    ) -> Result<(), ServerPushError> {
        // Under the lock: the diffs that follow are those that this state lacks.
        let Locked { hub, wakers } = &mut self.lock();
        peer.push_quietly(channel, "presence_state", hub.presence_state(topic), wakers)
    }

    pub(super) fn has_presence(&self, topic: &Text) -> bool {
        self.lock().hub.presence(topic).next().is_some()
    }

    /// Topics, members, and messages that were not sent because a serializer cannot say them.
    pub(super) fn counts(&self) -> (usize, usize, u64) {
        let Locked { hub, .. } = &self.lock();
        (hub.topic_count(), hub.total_members(), hub.stats().skipped)
    }

    fn deliver(&self, fanout: Fanout<'_, Place>, wakers: &mut Wakers) -> usize {
        let now = self.time.now();
        let mut delivered = 0;
        for (Place { peer, channel }, frame) in fanout {
            let Some(channel) = channel.get() else { continue };
            // One that is gone has left, or is about to.
            delivered += usize::from(peer.push_encoded_at(now, *channel, frame, wakers).is_ok());
        }
        delivered
    }

    fn lock(&self) -> Locked<'_> {
        Locked { hub: lock(&self.hub), wakers: Wakers::default() }
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (topics, members, _) = self.counts();
        f.debug_struct("Rooms").field("topics", &topics).field("members", &members).finish_non_exhaustive()
    }
}
