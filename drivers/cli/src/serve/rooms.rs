//! Who is in which topic, and how a message reaches them: encoded once a serializer, handed over
//! without waiting for anybody's socket.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use rejoin_core::phoenix::{JoinId, ServerChannelId, StaleHandle};
use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{ConnId, Payload, Text};
use rejoin_pump::Peer;

use super::lock;

#[derive(Debug, Default)]
pub(crate) struct Rooms {
    topics: Mutex<BTreeMap<Text, Room>>,
    /// Binary messages that were not sent to members whose serializer knows none.
    skipped: AtomicU64,
}

type Room = BTreeMap<ConnId, Member>;

#[derive(Clone, Debug)]
struct Member {
    peer: Peer,
    channel: ServerChannelId,
}

impl Rooms {
    /// Lets a client in. From now on it misses nothing.
    pub(crate) fn enter(&self, topic: &Text, peer: &Peer, join: JoinId) -> Result<ServerChannelId, StaleHandle> {
        // Together: what is said after the answer is heard.
        let mut topics = self.topics();
        let channel = peer.accept_join(join, Payload::EMPTY)?;
        let member = Member { peer: peer.clone(), channel };
        topics.entry(topic.clone()).or_default().insert(peer.conn(), member);
        Ok(channel)
    }

    pub(crate) fn leave(&self, topic: &Text, conn: ConnId) {
        let mut topics = self.topics();
        let Some(room) = topics.get_mut(topic) else { return };
        room.remove(&conn);
        if room.is_empty() {
            topics.remove(topic);
        }
    }

    /// Sends a message to everybody in the topic but its sender.
    pub(crate) fn broadcast(&self, sender: &Peer, topic: &Text, event: Text, payload: Payload) {
        let message = Message::new(topic.clone(), event, payload);
        let (mut v1, mut v2) = (None, None);
        let topics = self.topics();
        let Some(room) = topics.get(topic) else { return };
        for member in room.values().filter(|member| member.peer.conn() != sender.conn()) {
            let serializer = member.peer.serializer();
            let encoded = if serializer == Serializer::V1 { &mut v1 } else { &mut v2 };
            match encoded.get_or_insert_with(|| serializer.encode_from_server(&message).ok()) {
                // One that is gone has left or is about to.
                Some(frame) => drop(member.peer.push_encoded(member.channel, frame.clone())),
                None => drop(self.skipped.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    /// Says on stderr what did not reach its readers.
    pub(crate) fn report(&self) {
        let skipped = self.skipped.load(Ordering::Relaxed);
        if skipped > 0 {
            eprintln!("{skipped} binary messages were not sent to clients of vsn 1.0.0, which has none");
        }
    }

    fn topics(&self) -> MutexGuard<'_, BTreeMap<Text, Room>> {
        lock(&self.topics)
    }
}
