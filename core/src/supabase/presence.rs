//! Presence of a session's channels: what the server says of it, and what is said to the server.

use core::time::Duration;

use super::errors::TrackError;
use super::event::{Event, PresenceTrouble};
use super::session::Session;
use super::tracking::{Settled, Wish};
use crate::payload::Payload;
use crate::phoenix::{self, ChannelId, JoinError, Presence, PresenceChanges, PresenceError, Push, PushId, PushOutcome};
use crate::text::Text;
use crate::time::Timestamp;

const EVENT: &str = "presence";
/// What a call has besides its topic and what is tracked: it has to fit a frame, or it would never leave.
const ENVELOPE_BYTES: usize = EVENT.len() + r#"{"type":"presence","event":"track","payload":}"#.len();
/// How long to wait where the transport had no room for a call.
const NO_ROOM: Duration = Duration::from_secs(1);

impl Session {
    /// Wants to be shown as present in a channel, with this JSON object, from now until
    /// [`untrack`](Session::untrack), through every loss. Only the last wish counts; more than
    /// `Config::presence_budget` wait for their time.
    ///
    /// Ends in one [`Event::PushDone`]: `Ok` once the server shows it, however long that takes;
    /// `Dropped` if a later wish came before it was sent; `Error` if the server does not want it;
    /// `TimedOut` if it has not answered, which leaves the wish to the next join.
    ///
    /// # Errors
    /// If the channel was subscribed without presence, the payload is no object or too large, or there
    /// is no such channel.
    pub fn track(&mut self, now: Timestamp, channel: ChannelId, payload: Payload) -> Result<PushId, TrackError> {
        if !payload.as_json().is_some_and(|json| json.trim_ascii_start().starts_with('{')) {
            return Err(TrackError::NotAnObject);
        }
        if let Some(topic) = self.inner.topic(channel)
            && let Err(JoinError::TooLarge { len }) = self.inner.check_join(topic, payload.len() + ENVELOPE_BYTES)
        {
            return Err(TrackError::TooLarge { len });
        }
        self.wish(now, channel, Wish::Track(payload.detach()))
    }

    /// No longer wants to be shown as present. Ends in one [`Event::PushDone`], at once if the channel is
    /// not joined or was untracked before.
    ///
    /// # Errors
    /// If the channel was subscribed without presence or there is no such channel.
    pub fn untrack(&mut self, now: Timestamp, channel: ChannelId) -> Result<PushId, TrackError> {
        self.wish(now, channel, Wish::Untrack)
    }

    /// Who is present in a channel; `None` if it was subscribed without presence. While the channel is
    /// not joined these are the last known members.
    #[must_use]
    pub fn presence(&self, channel: ChannelId) -> Option<&Presence> {
        Some(&self.channels.get(channel)?.extras.as_ref()?.presence.as_ref()?.presence)
    }

    fn wish(&mut self, now: Timestamp, id: ChannelId, wish: Wish) -> Result<PushId, TrackError> {
        self.advance(now);
        let state = self.inner.channel_state(id);
        let channel = self.channels.get_mut(id).ok_or(TrackError::UnknownChannel)?;
        let joined = channel.joined;
        let members = channel.presence().ok_or(TrackError::PresenceNotEnabled)?;
        if state == Some(phoenix::ChannelState::Leaving) || !self.inner.accepts_pushes() {
            return Err(TrackError::Leaving);
        }
        let push = self.inner.reserve_push();
        let settled = members.tracking.wish(wish, push, joined);
        self.own_pushes += 1;
        for settled in settled {
            self.settle(settled);
        }
        self.tell_presence(id);
        self.absorb();
        Ok(push)
    }

    /// Says to the server what it does not know yet, if it may be said now.
    pub(super) fn tell_presence(&mut self, id: ChannelId) {
        let now = self.now;
        // A loss ends calls before it is heard of.
        if self.inner.channel_state(id) != Some(phoenix::ChannelState::Joined) {
            return;
        }
        let Some(members) = self.channels.get_mut(id).and_then(|channel| channel.presence()) else { return };
        if let Some(wish) = members.tracking.next_call(now) {
            let push = Push::new(Text::from_static(EVENT), wish.to_payload());
            match self.inner.push(now, id, push) {
                Ok(push) => {
                    members.tracking.sending(push);
                    self.tracking.insert(push, id);
                }
                Err(_) => members.tracking.put_off(now.saturating_add(NO_ROOM)),
            }
        }
        self.channels.reschedule(id);
    }

    /// A push has left that may be a presence call: who waits for it, in the end?
    pub(super) fn presence_sent(&mut self, push: PushId) -> Option<PushId> {
        let Some(&id) = self.tracking.get(&push) else { return Some(push) };
        let now = self.now;
        self.channels.get_mut(id)?.presence()?.tracking.sent(now)
    }

    /// A push is over that may be a presence call; if it is, gives nothing back.
    pub(super) fn presence_done(&mut self, push: PushId, outcome: PushOutcome) -> Option<(PushId, PushOutcome)> {
        let Some(id) = self.tracking.remove(&push) else { return Some((push, outcome)) };
        let later = self.now.saturating_add(NO_ROOM);
        let outcome = match outcome {
            // The server has forgotten the channel, which is no word on the wish (trap T14).
            PushOutcome::Error(response) if phoenix::is_unmatched(&response) => PushOutcome::Unknown,
            outcome => outcome,
        };
        let settled = self.channels.get_mut(id)?.presence()?.tracking.done(push, outcome, later);
        self.settle(settled);
        self.tell_presence(id);
        None
    }

    /// Nobody waits for this wish to be known any more, if it is one.
    pub(super) fn cancel_presence(&mut self, push: PushId) {
        let settled = self.channels.iter_mut().find_map(|channel| channel.presence()?.tracking.cancel(push));
        self.settle(settled);
    }

    /// The server speaks of presence; gives the payload back if the channel has none.
    pub(super) fn absorb_presence(&mut self, id: ChannelId, is_state: bool, payload: Payload) -> Option<Payload> {
        let Some(members) = self.channels.get_mut(id).and_then(|channel| channel.presence()) else {
            return Some(payload);
        };
        let lifetime = members.lifetime;
        let changes = match is_state {
            true => members.presence.state(lifetime, &payload),
            false => members.presence.diff(lifetime, &payload),
        };
        self.tell_changes(id, changes);
        None
    }

    fn tell_changes(&mut self, channel: ChannelId, changes: Result<PresenceChanges, PresenceError>) {
        let PresenceChanges { changes, dropped_metas, dropped_diffs, .. } = match changes {
            Ok(changes) => changes,
            Err(error) => {
                let trouble = PresenceTrouble::Unreadable(error);
                return self.message(Event::PresenceTrouble { channel, trouble });
            }
        };
        for change in changes {
            self.message(Event::Presence { channel, change: change.into() });
        }
        if dropped_metas > 0 {
            let trouble = PresenceTrouble::TooMany { metas: dropped_metas };
            self.message(Event::PresenceTrouble { channel, trouble });
        }
        if dropped_diffs > 0 {
            let trouble = PresenceTrouble::Behind { diffs: dropped_diffs };
            self.message(Event::PresenceTrouble { channel, trouble });
        }
    }

    /// One who waited for something that the session itself looks after need not any more.
    pub(super) fn settle(&mut self, settled: Settled) {
        if let Some((push, outcome)) = settled {
            self.own_pushes -= 1;
            self.event(Event::PushDone { push, outcome });
        }
    }
}

impl Wish {
    /// As it stands on the wire (specification, section 7.1).
    fn to_payload(&self) -> Payload {
        Payload::unread_json(match self {
            Self::Track(payload) => {
                let json = payload.as_json().unwrap_or_default();
                alloc::format!(r#"{{"type":"presence","event":"track","payload":{json}}}"#).into()
            }
            Self::Untrack => Text::from_static(r#"{"type":"presence","event":"untrack"}"#),
        })
    }
}
