//! What the application sends on its channels: broadcasts and other messages, over the socket or past it.

use super::broadcast::Broadcast;
use super::channels::Channel;
use super::config::Config;
use super::session::Session;
use crate::phoenix::{ChannelId, Push, PushError, PushId, Transport};
use crate::time::Timestamp;
use crate::wire::Serializer;

impl Session {
    /// Broadcasts in a channel, or lets it wait until the channel is joined.
    ///
    /// Every accepted broadcast ends in exactly one [`Event::PushDone`](super::Event::PushDone): with the
    /// server's word if it is acknowledged, else with `Sent`.
    ///
    /// # Errors
    /// If an acknowledgement is asked for on a channel without `ack`, or storage on one that is not
    /// private, a name is too long for its frame, or the push is refused as in
    /// [`phoenix::Session::push`](crate::phoenix::Session::push).
    pub fn broadcast(&mut self, now: Timestamp, channel: ChannelId, broadcast: Broadcast) -> Result<PushId, PushError> {
        self.advance(now);
        let &Channel { ack, private, .. } = self.channels.get(channel).ok_or(PushError::UnknownChannel)?;
        if broadcast.ack == Some(true) && !ack {
            return Err(PushError::AckDisabled);
        }
        if broadcast.persist.is_some() {
            if !private {
                return Err(PushError::PersistNeedsPrivate);
            }
            let Config { text_broadcasts, phoenix, .. } = &self.config;
            if *text_broadcasts || phoenix.serializer == Serializer::V1 || phoenix.transport == Transport::LongPoll {
                return Err(PushError::PersistNeedsBinary);
            }
        }
        let broadcast = match self.fall_back(channel, broadcast) {
            Ok(push) => return Ok(push),
            Err(broadcast) => broadcast,
        };
        let wants_reply = broadcast.ack.unwrap_or(ack);
        self.push(now, channel, broadcast.into_push(wants_reply, self.config.text_broadcasts))
    }

    /// Sends any other message on a channel. Supabase's servers answer `broadcast` and `presence`
    /// alone (specification, section 9.6), so that another event should not want a reply.
    ///
    /// # Errors
    /// As in [`phoenix::Session::push`](crate::phoenix::Session::push).
    pub fn push(&mut self, now: Timestamp, channel: ChannelId, push: Push) -> Result<PushId, PushError> {
        self.advance(now);
        let pushed = self.inner.push(now, channel, push);
        self.absorb();
        pushed
    }

    /// Gives a push up: `Dropped` if it was not sent yet, `Unknown` if it was. A wish about presence
    /// stays; nobody hears of its outcome any more.
    pub fn cancel(&mut self, push: PushId) {
        if self.own_pushes > 0 && !self.cancel_http(push) {
            self.cancel_presence(push);
        }
        self.inner.cancel(push);
        self.absorb();
    }
}
