//! What a server has besides its sockets: topics, who is in them, and what is said to all of them.
//!
//! Nothing here sends. A [`Hub`] says which member gets which frame; the host, which knows the members'
//! sockets by the handles that it joined them with, hands the frames over, for example with
//! [`ServerSession::push_encoded`](crate::phoenix::ServerSession::push_encoded).

mod config;
mod fanout;
mod members;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;

pub use config::{HubConfig, HubFull, HubStats};
pub use fanout::{Broadcast, Fanout};
use members::{Member, Members, Roll};

use crate::slab::{Key, Slab};
use crate::text::Text;
use crate::wire::{Message, Serializer};

/// Topics and their members, of the kind `M`: whatever the host needs in order to reach one.
///
/// One socket in three topics is three members. The hub looks at no other topic than the one it is
/// asked about, and a topic that nobody is in costs nothing.
///
/// ```
/// use rejoin_core::hub::{Broadcast, Hub, HubConfig};
/// use rejoin_core::wire::Serializer;
/// use rejoin_core::{Frame, Payload, Text};
///
/// let mut hub = Hub::new(HubConfig::default(), 42);
/// let lobby = Text::from("room:lobby");
/// let ann = hub.join(&lobby, Serializer::V2, "ann's socket")?;
/// let bob = hub.join(&lobby, Serializer::V2, "bob's socket")?;
///
/// let shout = Broadcast::new("shout", Payload::EMPTY).except(ann);
/// let told: Vec<_> = hub.broadcast(&lobby, shout).map(|(socket, frame)| (*socket, frame)).collect();
/// assert_eq!(told, [("bob's socket", Frame::Text(r#"[null,null,"room:lobby","shout",{}]"#.into()))]);
/// # hub.leave(bob);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Hub<M> {
    config: HubConfig,
    members: Members<M>,
    topics: Slab<Topic>,
    /// Ordered, and not hashed, because strangers choose the names.
    names: BTreeMap<Text, Key>,
    stats: HubStats,
}

#[derive(Debug)]
struct Topic {
    name: Text,
    roll: Roll,
}

/// Names a member of one topic, from `join` to `leave`. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(Key);

impl<M> Hub<M> {
    /// A hub without topics. Everything it calls into being is named after `seed`: two hubs, be it on
    /// two nodes or after a restart, need two seeds, or a client might take the names of one for those
    /// of the other.
    #[must_use]
    pub const fn new(config: HubConfig, _seed: u64) -> Self {
        Self { config, members: Members::new(), topics: Slab::new(), names: BTreeMap::new(), stats: HubStats::new() }
    }

    /// Lets a member in, behind all who are there. From now on it misses nothing.
    ///
    /// The host bounds the length of topics and how many a socket is in, as
    /// [`ServerConfig`](crate::phoenix::ServerConfig) does.
    ///
    /// # Errors
    /// If there are [`HubConfig::members`] already.
    pub fn join(&mut self, topic: &Text, serializer: Serializer, member: M) -> Result<MemberId, HubFull> {
        if self.members.len() >= self.config.members {
            return Err(HubFull { limit: self.config.members });
        }
        let topic = self.find(topic).unwrap_or_else(|| self.open(topic));
        let mut roll = self.topics.get(topic).map(|topic| topic.roll).unwrap_or_default();
        let member = self.members.append(&mut roll, Member::new(member, serializer, topic));
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.roll = roll;
        }
        Ok(MemberId(member))
    }

    /// Lets a member go, and gives its handle back. `None` if it has gone before.
    pub fn leave(&mut self, member: MemberId) -> Option<M> {
        let topic = self.members.get(member.0)?.topic;
        let roll = &mut self.topics.get_mut(topic)?.roll;
        let member = self.members.remove(roll, member.0)?;
        if roll.is_empty() {
            self.close(topic);
        }
        Some(member.handle)
    }

    /// Says something to everybody in a topic, in the order in which they joined, by way of what this
    /// returns.
    pub fn broadcast(&mut self, topic: &Text, broadcast: Broadcast) -> Fanout<'_, M> {
        let topic = self.names.get(topic.as_bytes()).and_then(|key| self.topics.get(*key));
        let roll = topic.map(|topic| topic.roll).unwrap_or_default();
        let name = topic.map_or(Text::EMPTY, |topic| topic.name.clone());
        let Broadcast { event, payload, except, .. } = broadcast;
        Fanout::new(&self.members, roll, except, Message::new(name, event, payload), &mut self.stats.skipped)
    }

    /// The handle of a member; `None` once it has left.
    #[must_use]
    pub fn get(&self, member: MemberId) -> Option<&M> {
        self.members.get(member.0).map(|member| &member.handle)
    }

    /// The topic of a member; `None` once it has left.
    #[must_use]
    pub fn topic_of(&self, member: MemberId) -> Option<&Text> {
        let topic = self.members.get(member.0)?.topic;
        self.topics.get(topic).map(|topic| &topic.name)
    }

    /// The members of a topic, in the order in which they joined.
    pub fn members(&self, topic: &Text) -> impl Iterator<Item = (MemberId, &M)> {
        self.members.of(self.roll(topic)).map(|(key, member)| (MemberId(key), &member.handle))
    }

    /// How many members a topic has.
    #[must_use]
    pub fn member_count(&self, topic: &Text) -> usize {
        self.roll(topic).len()
    }

    /// How many members there are in all topics.
    #[must_use]
    pub fn total_members(&self) -> usize {
        self.members.len()
    }

    /// How many topics have members.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// What was left out so far.
    #[must_use]
    pub const fn stats(&self) -> HubStats {
        self.stats
    }
}

// The topics.
impl<M> Hub<M> {
    fn find(&self, topic: &Text) -> Option<Key> {
        self.names.get(topic.as_bytes()).copied()
    }

    fn roll(&self, topic: &Text) -> Roll {
        self.find(topic).and_then(|key| self.topics.get(key)).map(|topic| topic.roll).unwrap_or_default()
    }

    fn open(&mut self, name: &Text) -> Key {
        let name = name.detach();
        let key = self.topics.insert(Topic { name: name.clone(), roll: Roll::default() });
        self.names.insert(name, key);
        key
    }

    fn close(&mut self, key: Key) {
        if let Some(topic) = self.topics.remove(key) {
            self.names.remove(topic.name.as_bytes());
        }
    }
}
