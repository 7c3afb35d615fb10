//! What the channels' transitions do to the session: joining, failing, closing.

use alloc::vec::Vec;

use super::channel::Phase;
use super::event::{CloseReason, Event, JoinError, JoinFailure, TroubleCause};
use super::ids::ChannelId;
use super::lane::Outgoing;
use super::pushes::Place;
use super::sending::FRAME_OVERHEAD;
use super::session::Session;
use crate::payload::Payload;
use crate::text::Text;
use crate::time::Timestamp;

impl Session {
    pub(super) fn start_joins(&mut self) {
        if self.connection.open().is_none() {
            return;
        }
        while self.pace.allows(self.now)
            && let Some(id) = self.channels.next_turn(self.config.limits.joins_in_flight)
        {
            self.pace.count(self.now);
            self.channels.set_phase(id, Phase::Queued);
            self.channels.set_deadline(id, None);
            if let Some(channel) = self.channels.get_mut(id) {
                channel.extended = false;
            }
            self.lane.send(Outgoing::Join(id));
        }
    }

    /// Refuses what would cost the connection each time that it is joined.
    pub(crate) fn check_join(&self, topic: &Text, payload: usize) -> Result<(), JoinError> {
        let len = topic.as_bytes().len() + payload + FRAME_OVERHEAD;
        if len > self.config.limits.largest_outbound() { Err(JoinError::TooLarge { len }) } else { Ok(()) }
    }

    /// When the next join may leave, if only its turn in time keeps it.
    pub(super) fn joins_due(&self) -> Option<Timestamp> {
        let waits = self.channels.has_turn(self.config.limits.joins_in_flight) && self.connection.open().is_some();
        self.pace.next().filter(|_| waits)
    }

    pub(super) fn channel_due(&mut self, id: ChannelId) {
        self.channels.set_deadline(id, None);
        match self.channels.get(id).map(|channel| (channel.phase, channel.topic.clone())) {
            Some((Phase::Idle { .. }, _)) => {
                self.channels.queue_join(id);
                self.start_joins();
            }
            Some((Phase::Joining { join_ref }, topic)) => {
                self.lane.send(Outgoing::Leave { topic, join_ref });
                self.fail_join(id, JoinFailure::TimedOut);
            }
            Some((Phase::Leaving { .. }, _)) => self.close_channel(id, CloseReason::Left),
            Some((Phase::Joined { .. } | Phase::Queued, _)) | None => {}
        }
    }

    pub(super) fn joined(&mut self, id: ChannelId, join_ref: u64, response: Payload) {
        self.connection.proof_of_life();
        self.channels.set_phase(id, Phase::Joined { join_ref });
        self.channels.set_deadline(id, None);
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.failures = 0;
        channel.not_before = None;
        let again = core::mem::replace(&mut channel.joined_before, true);
        let waiting = core::mem::take(&mut channel.waiting);
        channel.waiting_bytes = 0;
        self.event(Event::Joined { channel: id, response, again });
        for push in waiting {
            self.pushes.set_place(push, Place::Lane);
            self.count_live(id, 1);
            self.lane.send(Outgoing::Push(push));
        }
        self.start_joins();
    }

    pub(super) fn fail_join(&mut self, id: ChannelId, failure: JoinFailure) {
        let retry_at = self.schedule_rejoin(id);
        if matches!(failure, JoinFailure::Refused { .. }) {
            self.extend_joins();
        }
        self.event(Event::JoinFailed { channel: id, failure, retry_at });
        self.start_joins();
    }

    /// The server lost the channel while the socket stays: it is joined again after a delay.
    pub(super) fn trouble(&mut self, id: ChannelId, cause: TroubleCause) {
        let retry_at = self.schedule_rejoin(id);
        self.event(Event::ChannelErrored { channel: id, cause, retry_at });
        self.unsettle_pushes(Some(id));
        self.start_joins();
    }

    fn schedule_rejoin(&mut self, id: ChannelId) -> Option<Timestamp> {
        let channel = self.channels.get_mut(id)?;
        let delay = self.config.rejoin.delay(channel.failures);
        channel.failures = channel.failures.saturating_add(1);
        let delay = self.rng.spread(delay, self.config.jitter);
        let retry_at = self.now.saturating_add(delay);
        let retry_at = Some(retry_at).filter(|_| !channel.held);
        self.channels.set_phase(id, Phase::Idle { errored: true });
        self.channels.set_deadline(id, retry_at);
        retry_at
    }

    /// Some servers sleep before a refusal and hold the joins behind it up, so those get their time
    /// again, once each (trap T1).
    fn extend_joins(&mut self) {
        if !self.channels.is_join_in_flight() {
            return;
        }
        let joining = |phase| matches!(phase, Phase::Joining { .. });
        let ids: Vec<_> =
            self.channels.iter().filter(|(_, c)| joining(c.phase) && !c.extended).map(|(id, _)| id).collect();
        for id in ids {
            let Some(channel) = self.channels.get_mut(id) else { continue };
            channel.extended = true;
            let timeout = channel.timeout.unwrap_or(self.config.join_timeout);
            self.channels.set_deadline(id, Some(self.now.saturating_add(timeout)));
        }
    }

    pub(super) fn close_channel(&mut self, id: ChannelId, reason: CloseReason) {
        self.drop_waiting(id);
        if self.channels.get(id).is_some_and(|channel| channel.live_pushes > 0) {
            let live: Vec<_> = self.pushes.iter().filter(|(_, e)| e.channel == id).map(|(push, _)| push).collect();
            for push in live {
                self.give_up(push);
            }
        }
        if self.channels.remove(id).is_some() {
            self.event(Event::ChannelClosed { channel: id, reason });
        }
        self.start_joins();
    }
}
