//! One message on its way to many: encoded when the first who needs that encoding is reached.

use super::MemberId;
use super::members::Walk;
use crate::payload::Payload;
use crate::phoenix::SharedFrame;
use crate::text::Text;
use crate::wire::{EncodeError, Message, Serializer};

/// What is said to the members of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broadcast {
    /// The event.
    pub event: Text,
    /// What it carries. Bytes reach members of vsn 2.0.0 only.
    pub payload: Payload,
    /// The one who need not be told, usually because it spoke; default nobody.
    pub except: Option<MemberId>,
    /// What it is the latest state of; see [`SharedFrame::key`]. Default `None`.
    pub key: Option<Text>,
}

impl Broadcast {
    /// To everybody.
    #[must_use]
    pub fn new(event: impl Into<Text>, payload: Payload) -> Self {
        Self { event: event.into(), payload, except: None, key: None }
    }

    /// To everybody but this member.
    #[must_use]
    pub const fn except(mut self, member: MemberId) -> Self {
        self.except = Some(member);
        self
    }

    /// As the latest state of `key`: where a channel says so, it takes the place of an earlier one that
    /// still waits.
    #[must_use]
    pub fn key(self, key: impl Into<Text>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    pub(super) fn into_said(self, topic: Text) -> Said {
        // The frame is going to be our own; the key may be a slice of whatever brought it, which must not wait
        // in outboxes and histories with it.
        let key = self.key.as_ref().map(Text::detach);
        Said { message: Message::new(topic, self.event, self.payload), key }
    }
}

/// A message before it is encoded.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) message: Message,
    /// As in [`Broadcast::key`].
    pub(super) key: Option<Text>,
}

impl Said {
    pub(super) fn encode(&self, serializer: Serializer) -> Result<SharedFrame, EncodeError> {
        let frame = serializer.encode_from_server(&self.message)?;
        Ok(SharedFrame { frame, key: self.key.clone() })
    }
}

/// Who gets which frame, in the order in which they joined.
///
/// Each step takes a reference count and at most once a serializer encodes. Members whose serializer
/// cannot say the message are passed over and counted in [`HubStats::skipped`](super::HubStats::skipped).
#[derive(Debug)]
#[must_use = "nobody is told what nobody iterates over"]
pub struct Fanout<'h, M> {
    members: Walk<'h, M>,
    except: Option<MemberId>,
    said: Said,
    offset: Option<u64>,
    v1: Encoded,
    v2: Encoded,
    skipped: &'h mut u64,
}

#[derive(Debug)]
enum Encoded {
    NotYet,
    Impossible,
    As(SharedFrame),
}

impl<'h, M> Fanout<'h, M> {
    pub(super) const fn new(members: Walk<'h, M>, said: Said, skipped: &'h mut u64) -> Self {
        let (v1, v2) = (Encoded::NotYet, Encoded::NotYet);
        Self { members, except: None, said, offset: None, v1, v2, skipped }
    }

    pub(super) const fn except(mut self, member: Option<MemberId>) -> Self {
        self.except = member;
        self
    }

    pub(super) fn recorded(mut self, recorded: Option<(u64, SharedFrame)>) -> Self {
        if let Some((offset, frame)) = recorded {
            (self.offset, self.v2) = (Some(offset), Encoded::As(frame));
        }
        self
    }

    /// The number that the message has in the history of its topic, if it is kept there; see
    /// [`Position::offset`](super::Position::offset).
    #[must_use]
    pub const fn offset(&self) -> Option<u64> {
        self.offset
    }

    fn encoded(&mut self, serializer: Serializer) -> Option<SharedFrame> {
        let slot = match serializer {
            Serializer::V1 => &mut self.v1,
            Serializer::V2 => &mut self.v2,
        };
        if let Encoded::NotYet = slot {
            *slot = self.said.encode(serializer).map_or(Encoded::Impossible, Encoded::As);
        }
        match slot {
            Encoded::As(frame) => Some(frame.clone()),
            _ => None,
        }
    }
}

impl<'h, M> Iterator for Fanout<'h, M> {
    type Item = (&'h M, SharedFrame);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (key, member) = self.members.next()?;
            if self.except == Some(MemberId(key)) {
                continue;
            }
            match self.encoded(member.serializer) {
                Some(frame) => return Some((&member.handle, frame)),
                None => *self.skipped += 1,
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.members.size_hint().1)
    }
}
