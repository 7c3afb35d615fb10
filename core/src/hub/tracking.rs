//! What members say about themselves, and the diffs that tell the others.

use alloc::vec::Vec;

use super::fanout::Said;
use super::members::{Roll, Tracked};
use super::presence::{self, Change};
use super::stamp::stamp;
use super::{Broadcast, Fanout, Hub, MemberId, Topic, TrackError};
use crate::payload::Payload;
use crate::phoenix::Meta;
use crate::text::Text;

impl<M> Hub<M> {
    /// Makes a member present under a key, with a JSON object about it, and tells everybody in its topic,
    /// the member included. As in Phoenix, several members may be present under one key, each with a meta of
    /// its own, and one member under several keys.
    ///
    /// The meta gets a `phx_ref`; fields of this name and `phx_ref_prev` are left out.
    ///
    /// # Errors
    /// If the member has left or is present under this key, if the meta is not an object, or if a limit of
    /// [`HubConfig::presence`](super::HubConfig::presence) is reached. Nothing has changed then.
    pub fn track(&mut self, member: MemberId, key: &str, meta: &Payload) -> Result<Fanout<'_, M>, TrackError> {
        let limits = &self.config.presence;
        let tracker = self.members.get_mut(member.0).ok_or(TrackError::Gone)?;
        let topic = self.topics.get_mut(tracker.topic).ok_or(TrackError::Gone)?;
        if tracker.find(key).is_some() {
            return Err(TrackError::AlreadyTracked);
        }
        if key.len() > limits.key_bytes {
            return Err(TrackError::KeyTooLong { limit: limits.key_bytes });
        }
        if meta.len() > limits.meta_bytes {
            return Err(TrackError::MetaTooLong { limit: limits.meta_bytes });
        }
        if tracker.tracked.len() >= limits.keys_per_member {
            return Err(TrackError::MemberFull { limit: limits.keys_per_member });
        }
        let (key, phx_ref) = (Text::from(key), self.refs.next());
        let joined = topic.presence.track(&key, stamp(meta, &phx_ref, None)?, limits)?;
        tracker.tracked.push(Tracked { key, phx_ref });
        let diff = topic.diff(&[joined], &[]);
        Ok(self.fan_out(diff))
    }

    /// Says something else about a member, and tells everybody in its topic: the new meta joins, with the
    /// `phx_ref` of the old one as its `phx_ref_prev`, and the old one leaves.
    ///
    /// # Errors
    /// If the member has left or is not present under this key, if the meta is not an object, or if a limit
    /// is reached. Nothing has changed then.
    pub fn update(&mut self, member: MemberId, key: &str, meta: &Payload) -> Result<Fanout<'_, M>, TrackError> {
        let limits = &self.config.presence;
        let tracker = self.members.get_mut(member.0).ok_or(TrackError::Gone)?;
        let topic = self.topics.get_mut(tracker.topic).ok_or(TrackError::Gone)?;
        let at = tracker.find(key).ok_or(TrackError::NotTracked)?;
        let tracked = tracker.tracked.get_mut(at).ok_or(TrackError::NotTracked)?;
        if meta.len() > limits.meta_bytes {
            return Err(TrackError::MetaTooLong { limit: limits.meta_bytes });
        }
        let phx_ref = self.refs.next();
        let meta = stamp(meta, &phx_ref, Some(&tracked.phx_ref))?;
        let (joined, left) = topic.presence.update(&tracked.key, &tracked.phx_ref, meta, limits)?;
        tracked.phx_ref = phx_ref;
        let diff = topic.diff(&[joined], &[left]);
        Ok(self.fan_out(diff))
    }

    /// Takes a member's presence under a key back, and tells everybody in its topic.
    ///
    /// # Errors
    /// If the member has left or is not present under this key, which Phoenix lets pass.
    pub fn untrack(&mut self, member: MemberId, key: &str) -> Result<Fanout<'_, M>, TrackError> {
        let tracker = self.members.get_mut(member.0).ok_or(TrackError::Gone)?;
        let topic = self.topics.get_mut(tracker.topic).ok_or(TrackError::Gone)?;
        let at = tracker.find(key).ok_or(TrackError::NotTracked)?;
        let Tracked { key, phx_ref } = tracker.tracked.remove(at);
        let left = topic.presence.untrack(&key, &phx_ref).ok_or(TrackError::NotTracked)?;
        let diff = topic.diff(&[], &[left]);
        Ok(self.fan_out(diff))
    }

    /// Who is present in a topic: the keys in their byte order, each with its metas in the order in which
    /// they were tracked; an updated one counts as tracked anew.
    pub fn presence(&self, topic: &Text) -> impl Iterator<Item = (&str, &[Meta])> {
        self.topic(topic).into_iter().flat_map(|topic| topic.presence.iter())
    }

    /// The payload of a `presence_state`, which a client needs once after its join; diffs do the rest. Push
    /// it on the member's channel, so that it has the channel's join_ref, before anything else is
    /// broadcast.
    #[must_use]
    pub fn presence_state(&self, topic: &Text) -> Payload {
        self.topic(topic).map_or(Payload::EMPTY, |topic| topic.presence.state())
    }
}

impl Topic {
    /// The one diff of everything that somebody tracked who has left.
    pub(super) fn untrack_all(&mut self, mut tracked: Vec<Tracked>) -> (Roll, Said) {
        tracked.sort_by(|a, b| a.key.cmp(&b.key));
        let left = tracked.iter().filter_map(|tracked| self.presence.untrack(&tracked.key, &tracked.phx_ref));
        let left: Vec<_> = left.collect();
        self.diff(&[], &left)
    }

    /// A diff, and who has to know; nobody if there is nothing to say.
    fn diff(&self, joins: &[Change], leaves: &[Change]) -> (Roll, Said) {
        let event = Text::from_static("presence_diff");
        let said = |payload| Broadcast::new(event, payload).into_said(self.name.clone());
        if self.roll.is_empty() || (joins.is_empty() && leaves.is_empty()) {
            return (Roll::default(), said(Payload::EMPTY));
        }
        (self.roll, said(presence::diff(joins, leaves)))
    }
}
