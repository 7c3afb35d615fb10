//! What is kept of broadcasts, and who asks for it.

use super::fanout::Said;
use super::history::{History, Log, Position};
use super::{Hub, Topic};
use crate::phoenix::SharedFrame;
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
        let limits = self.config.history.as_ref()?;
        let frame = said.encode(Serializer::V2).ok()?;
        let open = self.names.get(topic.as_bytes()).and_then(|key| self.topics.get_mut(*key));
        let log = match open {
            Some(topic) => topic.log.as_mut(),
            None => {
                if self.archive.get(topic).is_none() {
                    let log = Log::new(self.refs.next());
                    self.stats.forgotten += self.archive.put(topic.detach(), log, limits);
                }
                self.archive.get_mut(topic)
            }
        };
        Some((log?.record(&frame, limits), frame))
    }

    /// The log of a topic that gets its first member.
    pub(super) fn take_log(&mut self, topic: &Text) -> Option<Log> {
        self.config.history.as_ref()?;
        Some(self.archive.take(topic).unwrap_or_else(|| Log::new(self.refs.next())))
    }

    /// Keeps the log of a topic whose last member has left.
    pub(super) fn keep_log(&mut self, topic: Topic) {
        if let (Some(log), Some(limits)) = (topic.log, &self.config.history) {
            self.stats.forgotten += self.archive.put(topic.name, log, limits);
        }
    }
}
