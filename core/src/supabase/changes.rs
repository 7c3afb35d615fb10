//! Database changes of a session's channels: whose they are, and whether they flow.

use alloc::boxed::Box;

use super::bindings::Bindings;
use super::event::{CloseReason, Event, PostgresFailure, Retry, SubscribeFailure};
use super::extras::Readiness;
use super::postgres::PostgresChange;
use super::session::Session;
use crate::payload::Payload;
use crate::phoenix::{ChannelId, ChannelState};
use crate::text::Text;
use crate::time::Timestamp;

/// So many words of a server about the flow of changes are kept for each join, whoever polls them.
const KEPT_WORDS: u32 = 8;

impl Session {
    /// A `postgres_changes` message; gives it back if it is none or the channel asked for none.
    #[inline]
    pub(super) fn absorb_change(&mut self, channel: ChannelId, payload: Payload) -> Option<Payload> {
        let Some(postgres) = self.channels.get_mut(channel).and_then(|channel| channel.postgres()) else {
            return Some(payload);
        };
        let Ok(change) = PostgresChange::of(&payload) else { return Some(payload) };
        let bindings = postgres.subscription.route(&change);
        if bindings.is_empty() {
            self.stats.unmatched_changes += 1;
            return None;
        }
        if postgres.readiness != Readiness::Ready {
            // Whatever the server has said or not said: they flow.
            self.absorb_readiness(channel, true, Text::EMPTY);
        }
        self.message(Event::PostgresChange { channel, bindings, change });
        None
    }

    /// On topics of the legacy API the kind of the change is the event (specification, section 5.3).
    #[cold]
    pub(super) fn absorb_legacy_change(&mut self, channel: ChannelId, payload: Payload) -> Option<Payload> {
        let Ok(change) = PostgresChange::of(&payload) else { return Some(payload) };
        self.message(Event::PostgresChange { channel, bindings: Bindings::default(), change });
        None
    }

    /// Whether the server has joined the channel for other changes than were asked for: then it is left.
    pub(super) fn is_mismatched(&mut self, id: ChannelId, response: &Payload) -> bool {
        let Some(channel) = self.channels.get_mut(id) else { return false };
        let Some(Err(mismatch)) = channel.postgres().map(|postgres| postgres.subscription.learn(response)) else {
            return false;
        };
        channel.end = Some(Box::new(CloseReason::Refused));
        let failure = SubscribeFailure::BindingMismatch(Box::new(mismatch));
        self.event(Event::SubscribeFailed { channel: id, failure, retry: Retry::Never });
        // It has just been joined.
        let _ = self.inner.leave(self.now, id);
        true
    }

    /// The channel is joined: the server says when changes flow, if it has not said so before.
    pub(super) fn await_changes(&mut self, id: ChannelId) {
        let until = self.now.saturating_add(self.config.postgres_ready_timeout);
        let Some(postgres) = self.channels.get_mut(id).and_then(|channel| channel.postgres()) else { return };
        match postgres.readiness {
            Readiness::Unknown => postgres.readiness = Readiness::Awaited { until },
            Readiness::Ready => self.changes_flow(id),
            Readiness::Awaited { .. } | Readiness::Failed => {}
        }
        self.channels.reschedule(id);
    }

    /// What the server says about the flow of changes; it may say so before it answers the join, and
    /// more than once (trap T40).
    pub(super) fn absorb_readiness(&mut self, id: ChannelId, ok: bool, message: Text) {
        let now = self.now;
        let Some(channel) = self.channels.get_mut(id) else { return };
        let joined = channel.joined;
        let Some(postgres) = channel.postgres() else { return };
        let before = core::mem::replace(&mut postgres.readiness, if ok { Readiness::Ready } else { Readiness::Failed });
        if ok {
            if joined && before != Readiness::Ready {
                self.changes_flow(id);
            }
        } else {
            if before == Readiness::Ready {
                postgres.missed_since.get_or_insert(now);
            }
            let failure = PostgresFailure::Refused { message };
            self.tell_flow(id, Event::PostgresFailed { channel: id, failure });
        }
        self.channels.reschedule(id);
    }

    fn changes_flow(&mut self, id: ChannelId) {
        let Some(postgres) = self.channels.get_mut(id).and_then(|channel| channel.postgres()) else { return };
        let missed_since = postgres.missed_since.take();
        self.tell_flow(id, Event::PostgresReady { channel: id, missed_since });
    }

    /// A server may repeat itself for as long as a trouble lasts: what nobody polls is bounded.
    fn tell_flow(&mut self, id: ChannelId, event: Event) {
        let Some(postgres) = self.channels.get_mut(id).and_then(|channel| channel.postgres()) else { return };
        postgres.words = postgres.words.saturating_add(1);
        if postgres.words <= KEPT_WORDS { self.event(event) } else { self.message(event) }
    }

    /// The channel is no longer joined: since then changes are missed, and nobody is tracked.
    pub(super) fn lose_extras(&mut self, id: ChannelId, since: Timestamp) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        if let Some(postgres) = channel.postgres()
            && core::mem::replace(&mut postgres.readiness, Readiness::Unknown) == Readiness::Ready
        {
            postgres.missed_since.get_or_insert(since);
        }
        if let Some((settled, void)) = channel.presence().map(|members| members.tracking.lost()) {
            for settled in settled {
                self.settle(settled);
            }
            if let Some(call) = void {
                self.inner.cancel(call);
            }
        }
        self.channels.reschedule(id);
    }

    /// What has come due for channels that do more than broadcast.
    pub(super) fn extras_timeouts(&mut self) {
        while let Some((_, id)) = self.channels.due().filter(|(at, _)| *at <= self.now) {
            let now = self.now;
            if self.inner.channel_state(id) != Some(ChannelState::Joined) {
                // It is being left: there is nothing more to do for it.
                self.channels.rest(id);
                continue;
            }
            let late = |readiness| matches!(readiness, Readiness::Awaited { until } if until <= now);
            if let Some(postgres) = self.channels.get_mut(id).and_then(|channel| channel.postgres())
                && late(postgres.readiness)
            {
                postgres.readiness = Readiness::Failed;
                self.tell_flow(id, Event::PostgresFailed { channel: id, failure: PostgresFailure::TimedOut });
            }
            self.tell_presence(id);
            self.channels.reschedule(id);
        }
    }
}
