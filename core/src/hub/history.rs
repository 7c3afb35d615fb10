//! What was said lately in a topic, for members who were away: they get all that they missed, or are told
//! that it is not there any more.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::config::HistoryLimits;
use crate::phoenix::SharedFrame;
use crate::text::Text;
use crate::wire::Serializer;

/// A place in the history of a topic: behind a message, or before the first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// The name of this history. One that is begun anew, because the old one was forgotten or the server
    /// was restarted, has another.
    pub epoch: Text,
    /// The number of the message; they are numbered from 1 without gaps.
    pub offset: u64,
}

impl Position {
    /// A position as a client tells it; any will do, and those that never were lead nowhere.
    #[must_use]
    pub fn new(epoch: impl Into<Text>, offset: u64) -> Self {
        Self { epoch: epoch.into(), offset }
    }
}

/// An answer of [`Hub::history_after`](super::Hub::history_after) or
/// [`Hub::history_last`](super::Hub::history_last).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// Where the history is now: behind its newest message.
    pub position: Position,
    /// Whether a position was asked for and `messages` are all that came after it.
    pub recovered: bool,
    /// From the oldest to the newest.
    pub messages: Vec<Recorded>,
}

/// A message of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    offset: u64,
    /// Under vsn 2.0.0, which can say everything that vsn 1.0.0 can. Those who were there share it.
    frame: SharedFrame,
}

impl Recorded {
    /// Its number; see [`Position::offset`].
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The message as everybody got it. `None` if this serializer cannot say it.
    #[must_use]
    pub fn frame(&self, serializer: Serializer) -> Option<SharedFrame> {
        if serializer == Serializer::V2 {
            return Some(self.frame.clone());
        }
        let SharedFrame { frame, key } = self.frame.clone();
        let message = Serializer::V2.decode_from_server(frame).ok()?;
        Some(SharedFrame { frame: serializer.encode_from_server(&message).ok()?, key })
    }

    /// What it counts.
    fn bytes(&self) -> usize {
        let key = self.frame.key.as_ref().map_or(0, |key| key.as_bytes().len());
        self.frame.frame.len() + key + PLACE_BYTES
    }
}

/// What a message counts beside its content.
const PLACE_BYTES: usize = 128;

const _: () = assert!(size_of::<Recorded>() <= PLACE_BYTES, "a message counts for less than it is");

/// The messages of one topic that are kept, and how many there have been.
#[derive(Debug)]
pub(super) struct Log {
    epoch: Text,
    /// Of the newest message, kept or not.
    offset: u64,
    messages: VecDeque<Recorded>,
    bytes: usize,
}

impl Log {
    pub(super) const fn new(epoch: Text) -> Self {
        Self { epoch, offset: 0, messages: VecDeque::new(), bytes: 0 }
    }

    /// The number that the message has.
    pub(super) fn record(&mut self, frame: &SharedFrame, limits: &HistoryLimits) -> u64 {
        self.offset += 1;
        let message = Recorded { offset: self.offset, frame: frame.clone() };
        self.bytes += message.bytes();
        self.messages.push_back(message);
        self.shrink(limits.messages, limits.bytes);
        self.offset
    }

    /// Forgets the oldest messages, until there are no more than these and of no more bytes.
    pub(super) fn shrink(&mut self, messages: usize, bytes: usize) {
        while self.messages.len() > messages || self.bytes > bytes {
            self.bytes -= self.messages.pop_front().map_or(self.bytes, |oldest| oldest.bytes());
        }
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn after(&self, position: &Position) -> History {
        let missed = self.offset.checked_sub(position.offset).filter(|_| position.epoch == self.epoch);
        let missed = missed.and_then(|missed| usize::try_from(missed).ok());
        let missed = missed.filter(|missed| *missed <= self.messages.len());
        History { recovered: missed.is_some(), ..self.last(missed.unwrap_or(0)) }
    }

    pub(super) fn last(&self, count: usize) -> History {
        let older = self.messages.len().saturating_sub(count);
        History {
            position: Position { epoch: self.epoch.clone(), offset: self.offset },
            recovered: false,
            messages: self.messages.iter().skip(older).cloned().collect(),
        }
    }
}

/// The histories of topics that nobody is in.
#[derive(Debug, Default)]
pub(super) struct Archive {
    logs: BTreeMap<Text, (u64, Log)>,
    /// The topics, as their histories came in.
    order: BTreeMap<u64, Text>,
    last: u64,
}

impl Archive {
    pub(super) fn put(&mut self, topic: Text, log: Log) {
        self.last += 1;
        self.order.insert(self.last, topic.clone());
        self.logs.insert(topic, (self.last, log));
    }

    /// Takes out the one that was put here first.
    pub(super) fn pop(&mut self) -> Option<Log> {
        let (_, topic) = self.order.pop_first()?;
        self.logs.remove(topic.as_bytes()).map(|(_, log)| log)
    }

    pub(super) fn len(&self) -> usize {
        self.logs.len()
    }

    pub(super) fn take(&mut self, topic: &Text) -> Option<Log> {
        let (number, log) = self.logs.remove(topic.as_bytes())?;
        self.order.remove(&number);
        Some(log)
    }

    pub(super) fn get(&self, topic: &Text) -> Option<&Log> {
        self.logs.get(topic.as_bytes()).map(|(_, log)| log)
    }

    pub(super) fn get_mut(&mut self, topic: &Text) -> Option<&mut Log> {
        self.logs.get_mut(topic.as_bytes()).map(|(_, log)| log)
    }

    #[cfg(test)]
    pub(super) fn logs(&self) -> impl Iterator<Item = &Log> {
        assert_eq!(self.logs.len(), self.order.len());
        self.logs.values().map(|(_, log)| log)
    }
}
