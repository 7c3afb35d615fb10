//! What is kept of broadcasts, and who asks for it.

use super::fanout::Said;
use super::history::{History, Log, Position};
use super::{Hub, Topic};
use crate::phoenix::SharedFrame;
use crate::slab::Key;
use crate::text::Text;
use crate::wire::Serializer;

impl<M> Hub<M> {
    /// What was broadcast in a topic after a position: everything, with
    /// [`recovered`](History::recovered), or no message. A member that excepted itself from a broadcast
    /// finds it here.
    ///
    /// Ask together with the join, so that nothing comes between. `None` if no history is kept, or nothing
    /// is known of the topic, as if its history had been [forgotten](super::HubStats::forgotten).
    #[must_use]
    pub fn history_after(&self, topic: &Text, position: &Position) -> Option<History> {
        self.log(topic).map(|log| log.after(position))
    }

    /// The last messages of a topic, or fewer if not so many are kept. With a count of 0 it tells where
    /// the history is now. `None` as for [`history_after`](Self::history_after).
    #[must_use]
    pub fn history_last(&self, topic: &Text, count: usize) -> Option<History> {
        self.log(topic).map(|log| log.last(count))
    }

    fn log(&self, topic: &Text) -> Option<&Log> {
        match self.topic(topic) {
            Some(topic) => topic.log.as_ref(),
            None => self.archive.get(topic),
        }
    }

    /// The number that the message has, and the frame of vsn 2.0.0 that is kept; nothing if no history is, or
    /// if the message cannot be said.
    pub(super) fn record(&mut self, topic: &Text, said: &Said) -> Option<(u64, SharedFrame)> {
        self.config.history.as_ref()?;
        let frame = said.encode(Serializer::V2).ok()?;
        let known = self.names.get(topic.as_bytes()).copied();
        if known.is_none() && self.archive.get_mut(topic).is_none() {
            self.archive.put(topic.detach(), Log::new(self.refs.next()));
            self.forget();
        }
        let limits = self.config.history.as_ref()?;
        let log = match known {
            Some(key) => self.topics.get_mut(key)?.log.as_mut()?,
            None => self.archive.get_mut(topic)?,
        };
        let before = log.bytes();
        let offset = log.record(&frame, limits);
        self.kept_bytes = self.kept_bytes - before + log.bytes();
        self.forget();
        self.give_way(known);
        Some((offset, frame))
    }

    /// The log of a topic that gets its first member.
    pub(super) fn take_log(&mut self, topic: &Text) -> Option<Log> {
        self.config.history.as_ref()?;
        Some(self.archive.take(topic).unwrap_or_else(|| Log::new(self.refs.next())))
    }

    /// Keeps the log of a topic whose last member has left.
    pub(super) fn keep_log(&mut self, topic: Topic) {
        if let Some(log) = topic.log {
            self.archive.put(topic.name, log);
            self.forget();
        }
    }

    /// Forgets topics without members, as far as the limits say.
    fn forget(&mut self) {
        let Some(limits) = &self.config.history else { return };
        while self.archive.len() > limits.idle_topics || self.kept_bytes > limits.total_bytes {
            let Some(log) = self.archive.pop() else { break };
            self.kept_bytes -= log.bytes();
            self.stats.forgotten += 1;
        }
    }

    /// Makes the topic that speaks give what is still too much, which is at most what it has just said.
    fn give_way(&mut self, speaker: Option<Key>) {
        let Some(limits) = &self.config.history else { return };
        let over = self.kept_bytes.saturating_sub(limits.total_bytes);
        let log = speaker.and_then(|key| self.topics.get_mut(key)?.log.as_mut());
        if let Some(log) = log.filter(|_| over > 0) {
            let before = log.bytes();
            log.shrink(limits.messages, before.saturating_sub(over));
            self.kept_bytes -= before - log.bytes();
        }
    }
}
