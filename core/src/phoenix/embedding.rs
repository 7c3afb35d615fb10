//! What a dialect that owns a session needs of it: seeing what leaves next, and having the last word.
//!
//! Supabase's session decides at the moment of sending which token a join carries, and whether it
//! may leave at all. So it looks at the head of the lane before it takes it.

use core::time::Duration;

use super::channel::Phase;
use super::connection::ConnectionState;
use super::event::CloseReason;
use super::ids::{ChannelId, PushId};
use super::lane::Outgoing;
use super::session::Session;
use crate::machine::{ConnId, TransportAction};
use crate::payload::Payload;
use crate::time::Timestamp;

/// What leaves the transport lane next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextUp {
    Dial(ConnId),
    Join(ChannelId),
    Notice(ChannelId),
    Heartbeat,
    Other,
}

impl Session {
    pub(crate) fn next_up(&self) -> Option<NextUp> {
        Some(match self.lane.head()? {
            Outgoing::Open(request) => NextUp::Dial(request.conn),
            Outgoing::Join(id) if self.channels.get(*id).is_some_and(|c| c.phase == Phase::Queued) => NextUp::Join(*id),
            Outgoing::Notice(id) => NextUp::Notice(*id),
            Outgoing::Heartbeat => NextUp::Heartbeat,
            // A join among them is void: its channel has gone, or the session is closing.
            Outgoing::Close { .. }
            | Outgoing::Abort { .. }
            | Outgoing::Leave { .. }
            | Outgoing::Push(_)
            | Outgoing::Join(_) => NextUp::Other,
        })
    }

    /// Takes the head of the lane alone; `None` if it has become void.
    pub(crate) fn take_next(&mut self) -> Option<TransportAction> {
        let outgoing = self.lane.pop()?;
        self.carry_out(outgoing)
    }

    /// Wants to say something on a joined channel that is neither buffered nor answered: what it
    /// says is decided when it leaves ([`Session::take_notice`]), and a lost connection forgets it.
    pub(crate) fn notify(&mut self, channel: ChannelId) {
        // Channels outlive a `close` until its handshake is over.
        if self.state() == ConnectionState::Connected
            && let Some(state) = self.channels.get_mut(channel)
            && !core::mem::replace(&mut state.notified, true)
        {
            self.lane.send(Outgoing::Notice(channel));
        }
    }

    /// Takes the notice at the head of the lane, with these words.
    pub(crate) fn take_notice(&mut self, event: &'static str, payload: &Payload) -> Option<TransportAction> {
        let Some(Outgoing::Notice(id)) = self.lane.pop() else { return None };
        self.channels.get_mut(id)?.notified = false;
        self.write_notice(id, event, payload)
    }

    /// Whether anything can still be sent, now or later.
    pub(crate) const fn accepts_pushes(&self) -> bool {
        !matches!(self.state(), ConnectionState::Closing | ConnectionState::Closed)
    }

    /// An id for something that the dialect settles by itself, told apart from every push here.
    pub(crate) const fn reserve_push(&mut self) -> PushId {
        self.pushes.reserve()
    }

    /// Gives the attempt that is under way more time: it was kept waiting by us, not by the server.
    pub(crate) fn extend_dial(&mut self, now: Timestamp, by: Duration) {
        self.advance(now);
        self.connection.extend_dial(self.now.saturating_add(by));
        // What of it is for more than connecting is not for the policy to lose patience in.
        self.choice.extend(self.now.saturating_add(by.saturating_sub(self.config.connect_timeout)));
    }

    /// Ends a channel for good without a word to the server, which has ended it already.
    pub(crate) fn end_channel(&mut self, channel: ChannelId, reason: CloseReason) {
        self.close_channel(channel, reason);
    }

    /// The server complained about the number of joins.
    pub(crate) fn slow_joins(&mut self) {
        self.pace.slow_down(self.now);
    }
}
