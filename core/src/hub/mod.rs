//! What a server has besides its sockets: topics, who is in them, and what is said to all of them.
//!
//! Nothing here sends. A [`Hub`] says which member gets which frame; the host, which knows the members'
//! sockets by the handles that it joined them with, hands the frames over, for example with
//! [`ServerSession::push_encoded`](crate::phoenix::ServerSession::push_encoded).

mod config;
mod error;
mod fanout;
mod history;
mod members;
mod presence;
mod recording;
mod refs;
mod stamp;
#[cfg(test)]
mod tests;
mod tracking;

use alloc::collections::BTreeMap;

pub use config::{HistoryLimits, HubConfig, HubStats, TrackLimits};
pub use error::{HubFull, TrackError};
use fanout::Said;
pub use fanout::{Broadcast, Fanout};
use history::{Archive, Log};
pub use history::{History, Position, Recorded};
use members::{Member, Members, Roll};
use presence::Presence;
use refs::Refs;

use crate::slab::{Key, Slab};
use crate::text::Text;
use crate::wire::Serializer;

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
/// let told: Vec<_> = hub.broadcast(&lobby, shout).map(|(socket, shared)| (*socket, shared.frame)).collect();
/// assert_eq!(told, [("bob's socket", Frame::Text(r#"[null,null,"room:lobby","shout",{}]"#.into()))]);
/// # drop(hub.leave(bob));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Hub<M> {
    config: HubConfig,
    members: Members<M>,
    topics: Slab<Topic>,
    /// Ordered, and not hashed, because strangers choose the names.
    names: BTreeMap<Text, Key>,
    archive: Archive,
    /// Of all histories.
    kept_bytes: usize,
    refs: Refs,
    stats: HubStats,
}

#[derive(Debug)]
struct Topic {
    name: Text,
    roll: Roll,
    presence: Presence,
    /// If history is kept.
    log: Option<Log>,
}

/// Names a member of one topic, from `join` to `leave`. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(Key);

/// What a member leaves behind.
#[derive(Debug)]
#[non_exhaustive]
pub struct Left<'h, M> {
    /// The handle that it joined with.
    pub member: M,
    /// The one `presence_diff` of all that it tracked, to those who stay. Nobody gets one if it tracked
    /// nothing.
    pub diff: Fanout<'h, M>,
}

impl<M> Hub<M> {
    /// A hub without topics.
    ///
    /// The names that it gives, each `phx_ref` and each epoch of a history, begin with what it makes of
    /// `seed`. Two hubs, be it on two nodes or one after a restart, need two seeds, or a client might take
    /// the names of one for those of the other. They are no secrets.
    #[must_use]
    pub fn new(config: HubConfig, seed: u64) -> Self {
        Self {
            config,
            members: Members::new(),
            topics: Slab::new(),
            names: BTreeMap::new(),
            archive: Archive::default(),
            kept_bytes: 0,
            refs: Refs::new(seed),
            stats: HubStats::default(),
        }
    }

    /// Lets a member in, behind all who are there. From now on it misses nothing.
    ///
    /// The host bounds the length of topics and how many a socket is in, as
    /// [`ServerConfig`](crate::phoenix::ServerConfig) does.
    ///
    /// # Errors
    /// If there are [`HubConfig::members`] already.
    pub fn join(&mut self, topic: &Text, serializer: Serializer, member: M) -> Result<MemberId, HubFull> {
        if self.is_full() {
            return Err(HubFull { limit: self.config.members });
        }
        let known = self.names.get(topic.as_bytes()).copied();
        let key = known.unwrap_or_else(|| self.open(topic));
        let mut roll = self.topics.get(key).map(|topic| topic.roll).unwrap_or_default();
        let member = self.members.append(&mut roll, Member::new(member, serializer, key));
        if let Some(topic) = self.topics.get_mut(key) {
            topic.roll = roll;
        }
        Ok(MemberId(member))
    }

    /// Lets a member go, with all that it tracked. `None` if it has gone before.
    #[must_use = "those who stay learn of it by way of its diff"]
    pub fn leave(&mut self, member: MemberId) -> Option<Left<'_, M>> {
        let key = self.members.get(member.0)?.topic;
        let topic = self.topics.get_mut(key)?;
        let Member { handle, tracked, .. } = self.members.remove(&mut topic.roll, member.0)?;
        let diff = topic.untrack_all(tracked);
        if topic.roll.is_empty() {
            self.close(key);
        }
        Some(Left { member: handle, diff: self.fan_out(diff) })
    }

    /// Says something to everybody in a topic, in the order in which they joined, by way of what this
    /// returns.
    pub fn broadcast(&mut self, topic: &Text, broadcast: Broadcast) -> Fanout<'_, M> {
        let except = broadcast.except;
        let said = broadcast.into_said(topic.clone());
        let recorded = self.record(topic, &said);
        let roll = self.roll(topic);
        self.fan_out((roll, said)).recorded(recorded).except(except)
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

    /// Whether the next `join` would be refused, for hosts that have something to do before it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.members.len() >= self.config.members
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
    fn topic(&self, name: &Text) -> Option<&Topic> {
        self.topics.get(*self.names.get(name.as_bytes())?)
    }

    fn roll(&self, topic: &Text) -> Roll {
        self.topic(topic).map(|topic| topic.roll).unwrap_or_default()
    }

    fn open(&mut self, name: &Text) -> Key {
        let name = name.detach();
        let log = self.take_log(&name);
        let topic = Topic { name: name.clone(), roll: Roll::default(), presence: Presence::default(), log };
        let key = self.topics.insert(topic);
        self.names.insert(name, key);
        key
    }

    fn close(&mut self, key: Key) {
        if let Some(topic) = self.topics.remove(key) {
            self.names.remove(topic.name.as_bytes());
            self.keep_log(topic);
        }
    }

    fn fan_out(&mut self, (roll, said): (Roll, Said)) -> Fanout<'_, M> {
        Fanout::new(self.members.of(roll), said, &mut self.stats.skipped)
    }
}
