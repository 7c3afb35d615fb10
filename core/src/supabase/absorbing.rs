//! What the Phoenix session reports, in Supabase's words; and what follows from it.

use alloc::boxed::Box;
use core::time::Duration;

use super::channel_config::RejoinPolicy;
use super::channels::LastError;
use super::envelope::{TextBroadcast, take_apart};
use super::event::{CloseReason, Event, HeartbeatStatus, Retry, SubscribeFailure, Trouble};
use super::refusal::{Refusal, RefusalClass, SystemMessage};
use super::session::Session;
use crate::payload::Payload;
use crate::phoenix::{self, ChannelId, JoinFailure, LossReason, TroubleCause};
use crate::text::Text;
use crate::time::Timestamp;

/// How long after an error the end of the channel is still its consequence; a server sends one right
/// behind the other.
const CONSEQUENCE: Duration = Duration::from_secs(10);

/// The close code of a server that thinks of the whole socket as too busy.
const GOING_AWAY: u16 = 1001;

impl Session {
    /// Takes over everything that the inner session has to say, in the same call that made it say
    /// so: what follows from it must be in the lanes before the host drains them.
    #[inline]
    pub(super) fn absorb(&mut self) {
        use crate::machine::Machine as _;
        while let Some(event) = self.inner.poll_event() {
            match event {
                phoenix::Event::UserBroadcast { channel, broadcast } => {
                    let (event, meta, payload) = broadcast.into_parts();
                    self.absorb_broadcast(channel, TextBroadcast { event, meta, payload });
                }
                phoenix::Event::Message { channel, event, payload } => self.absorb_message(channel, event, payload),
                rare => self.absorb_rare(rare),
            }
        }
    }

    #[inline]
    fn absorb_broadcast(&mut self, channel: ChannelId, broadcast: TextBroadcast) {
        let TextBroadcast { event, meta, payload } = broadcast;
        if let Some(state) = self.channels.get_mut(channel) {
            state.heard_at = self.now;
            if let Some(meta) = &meta
                && let Some(resuming) = state.resuming()
                && resuming.is_repeated(meta)
            {
                self.stats.repeated_broadcasts += 1;
                return;
            }
        }
        self.message(Event::Broadcast { channel, event, payload, meta });
    }

    /// Every other message is told as it is, if it is not what its name says.
    #[inline]
    fn absorb_message(&mut self, channel: ChannelId, event: Text, payload: Payload) {
        let payload = match event.as_bytes() {
            b"broadcast" => match take_apart(payload) {
                Ok(broadcast) => return self.absorb_broadcast(channel, broadcast),
                Err(other) => Some(other),
            },
            b"postgres_changes" => self.absorb_change(channel, payload),
            b"presence_diff" => self.absorb_presence(channel, false, payload),
            b"presence_state" => self.absorb_presence(channel, true, payload),
            b"system" => self.absorb_system(channel, payload),
            b"INSERT" | b"UPDATE" | b"DELETE" => self.absorb_legacy_change(channel, payload),
            _ => Some(payload),
        };
        if let Some(state) = self.channels.get_mut(channel) {
            state.heard_at = self.now;
        }
        if let Some(payload) = payload {
            self.message(Event::Message { channel, event, payload });
        }
    }

    fn absorb_system(&mut self, channel: ChannelId, payload: Payload) -> Option<Payload> {
        let Some(message) = SystemMessage::of(payload.clone()) else { return Some(payload) };
        if let Some(class) = message.class()
            && let Some(state) = self.channels.get_mut(channel)
        {
            let error = LastError { at: self.now, message: message.message.clone(), class };
            state.last_error = Some(Box::new(error));
        }
        let readiness = (message.extension == "postgres_changes").then(|| (message.ok, message.message.clone()));
        self.message(Event::System { channel, message: Box::new(message) });
        if let Some((ok, message)) = readiness {
            self.absorb_readiness(channel, ok, message);
        }
        None
    }

    fn absorb_rare(&mut self, event: phoenix::Event) {
        use phoenix::Event as Inner;
        let event = match event {
            Inner::Connected { conn } => Event::Connected { conn },
            Inner::Disconnected { reason, retry_at } => return self.absorb_loss(reason, retry_at),
            Inner::Joined { channel, response, again } => return self.absorb_joined(channel, &response, again),
            Inner::JoinFailed { channel, failure, retry_at } => {
                return self.absorb_join_failure(channel, failure, retry_at);
            }
            Inner::ChannelErrored { channel, cause, retry_at } => return self.absorb_trouble(channel, cause, retry_at),
            Inner::ChannelClosed { channel, reason } => return self.absorb_end(channel, reason),
            Inner::TransportChanged { transport } => Event::TransportChanged { transport },
            Inner::PushSent { push } => match self.presence_sent(push) {
                Some(push) => Event::PushSent { push },
                None => return,
            },
            Inner::PushDone { push, outcome } => match self.presence_done(push, outcome) {
                Some((push, outcome)) => Event::PushDone { push, outcome },
                None => return,
            },
            Inner::HeartbeatAnswered { rtt, ok } => {
                let status = if ok { HeartbeatStatus::Ok { rtt } } else { HeartbeatStatus::Error { rtt } };
                return self.message(Event::Heartbeat(status));
            }
            Inner::Malformed { error } => return self.message(Event::Malformed { error }),
            Inner::Lagged { missed } => Event::Lagged { missed },
            Inner::GaveUp { attempts } => Event::GaveUp { attempts },
            Inner::Closed => {
                self.rest_for_ever();
                Event::Closed
            }
            // They went their own way before.
            Inner::Message { .. } | Inner::UserBroadcast { .. } => return,
        };
        self.event(event);
    }

    fn absorb_loss(&mut self, reason: LossReason, retry_at: Option<Timestamp>) {
        match &reason {
            LossReason::HeartbeatTimeout => self.message(Event::Heartbeat(HeartbeatStatus::TimedOut)),
            LossReason::Closed { code: Some(GOING_AWAY), .. } => self.inner.slow_joins(),
            _ => {}
        }
        self.event(Event::Disconnected { reason, retry_at });
        if retry_at.is_some() {
            self.prepare_token();
        }
    }

    fn absorb_joined(&mut self, id: ChannelId, response: &Payload, again: bool) {
        if self.is_mismatched(id, response) {
            return;
        }
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.joined = true;
        channel.heard_at = self.now;
        channel.waits = false;
        channel.refused = None;
        channel.last_error = None;
        let gap = channel.gap_since.take();
        if let Some(resuming) = channel.resuming() {
            resuming.joined_at = self.now;
        }
        self.event(Event::Subscribed { channel: id, again });
        if let Some(since) = gap {
            self.event(Event::Gap { channel: id, since, until: self.now });
        }
        // The token may have changed while the server was thinking.
        self.tell_token(id);
        self.await_changes(id);
        self.tell_presence(id);
    }

    fn absorb_join_failure(&mut self, id: ChannelId, failure: JoinFailure, retry_at: Option<Timestamp>) {
        let retry = retry_at.map_or(Retry::OnConnection, Retry::At);
        let (failure, retry) = match failure {
            JoinFailure::Refused { response } => {
                let refusal = Box::new(Refusal::of(response));
                let retry = self.retry_after_refusal(id, &refusal, retry);
                (SubscribeFailure::Refused(refusal), retry)
            }
            JoinFailure::TimedOut => (SubscribeFailure::TimedOut, retry),
            JoinFailure::Crashed => (SubscribeFailure::Crashed, retry),
        };
        self.event(Event::SubscribeFailed { channel: id, failure, retry });
        if retry == Retry::Never {
            self.end(id, CloseReason::Refused);
        }
    }

    fn retry_after_refusal(&mut self, id: ChannelId, refusal: &Refusal, retry: Retry) -> Retry {
        if refusal.class == RefusalClass::Rate {
            self.inner.slow_joins();
        }
        self.retry_by_class(id, refusal.class, retry)
    }

    /// What the class of a refusal or of a shutdown means for the next join (sections 9.2 and 9.3).
    fn retry_by_class(&mut self, id: ChannelId, class: RefusalClass, retry: Retry) -> Retry {
        match class {
            RefusalClass::Permanent => Retry::Never,
            RefusalClass::Auth if self.channels.get(id).is_some_and(|channel| channel.anonymous) => Retry::Never,
            RefusalClass::Auth if self.wait_for_another_token(id, retry) => Retry::OnToken,
            RefusalClass::Rate => {
                let at = self.now.saturating_add(self.rate_delay());
                let at = if let Retry::At(backoff) = retry { at.max(backoff) } else { at };
                let _ = self.inner.retry_join(self.now, id, at);
                Retry::At(at)
            }
            RefusalClass::Auth | RefusalClass::Transient => retry,
        }
    }

    fn absorb_trouble(&mut self, id: ChannelId, cause: TroubleCause, retry_at: Option<Timestamp>) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        let since = match cause {
            TroubleCause::ConnectionLost => self.last_received,
            // Nobody knows when; the channel was there when it was last heard of.
            TroubleCause::Forgotten => channel.heard_at,
            TroubleCause::Crashed | TroubleCause::Closed => self.now,
        };
        if core::mem::take(&mut channel.joined) {
            channel.gap_since.get_or_insert(since);
            self.lose_extras(id, since);
        }
        let retry = retry_at.map_or(Retry::OnConnection, Retry::At);
        let trouble = match cause {
            TroubleCause::ConnectionLost => Trouble::ConnectionLost,
            TroubleCause::Crashed => Trouble::Crashed,
            TroubleCause::Forgotten => Trouble::Forgotten,
            TroubleCause::Closed => return self.absorb_shutdown(id, retry),
        };
        self.event(Event::ChannelErrored { channel: id, trouble, retry });
    }

    /// `phx_close` that nobody here asked for: the `system` message before it is its reason.
    fn absorb_shutdown(&mut self, id: ChannelId, retry: Retry) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        let policy = channel.rejoin;
        let error = channel.last_error.take().filter(|error| self.now.saturating_since(error.at) < CONSEQUENCE);
        let class = error.as_ref().map(|error| error.class);
        let message = error.map(|error| error.message);
        let retry = match (policy, class) {
            (RejoinPolicy::Never, _) | (RejoinPolicy::OnRetryableReason, None) => Retry::Never,
            (RejoinPolicy::Always, None | Some(RefusalClass::Permanent)) => retry,
            (_, Some(class)) => self.retry_by_class(id, class, retry),
        };
        if retry == Retry::Never {
            return self.end(id, CloseReason::ServerClosed { message });
        }
        self.event(Event::ChannelErrored { channel: id, trouble: Trouble::Closed { message }, retry });
    }

    fn end(&mut self, id: ChannelId, reason: CloseReason) {
        if let Some(channel) = self.channels.get_mut(id) {
            channel.end = Some(Box::new(reason));
        }
        self.inner.end_channel(id, phoenix::CloseReason::ServerClosed);
    }

    fn absorb_end(&mut self, id: ChannelId, reason: phoenix::CloseReason) {
        let Some(mut channel) = self.channels.remove(id) else { return };
        if let Some(members) = channel.extras.take().and_then(|extras| extras.presence) {
            for settled in members.tracking.end() {
                self.settle(settled);
            }
        }
        let reason = match (channel.end, reason) {
            (Some(own), _) => *own,
            (None, phoenix::CloseReason::Left) => CloseReason::Left,
            (None, phoenix::CloseReason::ServerClosed) => CloseReason::ServerClosed { message: None },
            (None, phoenix::CloseReason::SessionClosed) => CloseReason::SessionClosed,
        };
        self.event(Event::ChannelClosed { channel: id, reason });
        if self.channels.len() == 0 {
            self.left_alone();
        }
    }
}
