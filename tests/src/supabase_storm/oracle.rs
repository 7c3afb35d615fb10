//! What must hold for everything that a Supabase session does, whatever its user, its clock, its
//! provider and its server do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rejoin_core::phoenix::{ChannelId, PushId, PushOutcome};
use rejoin_core::supabase::{
    AccessToken, CloseReason, Config, Event, RefusalClass, Request, RequestId, Retry, Session, SubscribeFailure,
    TokenFailure, Trouble,
};
use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{ConnId, Machine, Timestamp, TransportAction, TransportEvent};
use serde_json::Value;

use super::Transcript;
use super::op::Room;
use crate::supabase::{Access, Watch};
use crate::trace::{Fingerprint, Recorder};
use crate::weather::Climate;
use crate::wirelog::WireLog;

/// How every token begins.
const SECRET: &str = "eyJ";

/// Watches a Supabase session and says what is wrong.
#[derive(Debug)]
pub(crate) struct Oracle {
    wire: WireLog,
    serializer: Serializer,
    climate: Climate,
    config: Config,
    channels: BTreeMap<ChannelId, ChannelLog>,
    /// How each topic was subscribed last; the channel before may still be leaving.
    newest: BTreeMap<&'static str, Room>,
    pushes: BTreeMap<PushId, PushLog>,
    tokens: TokenLog,
    /// When the last joins left.
    joins: VecDeque<Timestamp>,
    /// What the next event has to be, if anything in particular.
    next: Option<Next>,
    connected: bool,
    closed: bool,
    kinds: BTreeSet<String>,
    recorder: Recorder,
    reported: Fingerprint,
    violations: Vec<String>,
}

#[derive(Debug)]
struct ChannelLog {
    room: Room,
    joined: bool,
    joined_before: bool,
    /// The server's `Retry::Never` and the like: `ChannelClosed` has to follow.
    condemned: bool,
    closed: bool,
}

#[derive(Debug)]
struct PushLog {
    wants_reply: bool,
    sent: bool,
    done: Option<PushOutcome>,
}

/// What is known of tokens from outside.
#[derive(Debug, Default)]
struct TokenLog {
    /// What the client was told about the time of day, and when.
    wall: (Timestamp, Duration),
    /// The question that is open, and until when.
    asking: Option<(RequestId, Timestamp)>,
    /// Whether the client had a token at any time.
    any: bool,
    /// Whether the user signed out at any time.
    signed_out: bool,
    /// What was shown last on each connection and topic.
    shown: BTreeMap<(ConnId, String), Option<String>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Gap(ChannelId),
}

impl Oracle {
    pub(super) fn new(config: &Config, climate: Climate) -> Self {
        let phoenix = &config.phoenix;
        Self {
            wire: WireLog::new(phoenix.serializer, phoenix.limits.joins_in_flight),
            serializer: phoenix.serializer,
            climate,
            config: config.clone(),
            channels: BTreeMap::new(),
            newest: BTreeMap::new(),
            pushes: BTreeMap::new(),
            tokens: TokenLog { any: config.access_token.is_some(), ..TokenLog::default() },
            joins: VecDeque::new(),
            next: None,
            connected: false,
            closed: false,
            kinds: BTreeSet::new(),
            recorder: Recorder::default(),
            reported: Fingerprint::default(),
            violations: Vec::new(),
        }
    }

    pub(super) fn violations(&self) -> &[String] {
        &self.violations
    }

    pub(super) fn accuse(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    pub(super) fn transcript(&self) -> Transcript {
        let (actions, events) = (self.recorder.actions.finish(), self.reported.finish());
        Transcript { actions, events, kinds: self.kinds.clone() }
    }

    pub(super) fn subscribes(&mut self, id: ChannelId, room: Room) {
        self.newest.insert(room.topic, room);
        let log = ChannelLog { room, joined: false, joined_before: false, condemned: false, closed: false };
        if self.channels.insert(id, log).is_some() {
            self.accuse(format!("S3: {id:?} is given out twice"));
        }
    }

    pub(super) fn pushes(&mut self, push: PushId, wants_reply: bool) {
        if self.pushes.insert(push, PushLog { wants_reply, sent: false, done: None }).is_some() {
            self.accuse(format!("S2: {push:?} is given out twice"));
        }
    }

    pub(super) fn last_push(&self) -> Option<PushId> {
        self.pushes.keys().last().copied()
    }

    pub(super) fn room(&self, id: ChannelId) -> Room {
        self.channels[&id].room
    }

    /// Whether a signed-in user may not join it.
    pub(super) fn is_forbidden(&self, id: ChannelId) -> bool {
        let Room { topic, private, .. } = self.room(id);
        let sub_topic = topic.trim_start_matches("realtime:");
        private && Access::recorded("authenticated", sub_topic) == Access::Nothing
    }

    /// The client is told the time of day.
    pub(super) fn wall(&mut self, now: Timestamp, since_unix_epoch: Duration) {
        self.tokens.wall = (now, since_unix_epoch);
    }

    /// A token is set, which answers an open question.
    pub(super) fn signs_in(&mut self) {
        (self.tokens.any, self.tokens.asking) = (true, None);
    }

    /// All tokens are forgotten.
    pub(super) fn signs_out(&mut self) {
        (self.tokens.signed_out, self.tokens.asking) = (true, None);
    }

    /// L2: every push has its outcome.
    pub(super) fn expects_all_done(&mut self) {
        let open: Vec<_> = self.pushes.iter().filter(|(_, log)| log.done.is_none()).map(|(push, _)| *push).collect();
        if !open.is_empty() {
            self.accuse(format!("L2: no outcome for {open:?}"));
        }
    }

    /// L4: the end was told to everybody.
    pub(super) fn expects_all_closed(&mut self) {
        let open = self.channels.values().filter(|log| !log.closed).count();
        if open > 0 || !self.closed {
            self.accuse(format!("L4: {open} channels without an end, Closed: {}", self.closed));
        }
    }

    fn sends(&mut self, now: Timestamp, conn: ConnId, message: &Message) {
        match message.event.as_str() {
            "phx_join" => {
                self.paces(now);
                let token = self.carried(now, message);
                self.shows_none(message, token.is_none());
                self.tokens.shown.insert((conn, message.topic.to_string()), token);
            }
            "access_token" => {
                let token = self.carried(now, message);
                let before = self.tokens.shown.insert((conn, message.topic.to_string()), token.clone());
                if token.is_none() || before == Some(token) {
                    self.accuse(format!("T74: a token is shown twice on {}", message.topic));
                }
            }
            _ => {}
        }
    }

    /// T32: so many joins within a second.
    fn paces(&mut self, now: Timestamp) {
        let Some(limit) = self.config.phoenix.limits.joins_per_second else { return };
        self.joins.push_back(now);
        if self.joins.len() > limit.get() as usize {
            let nth_last = self.joins.pop_front();
            if nth_last.is_some_and(|at| at.saturating_add(Duration::from_secs(1)) > now) {
                self.accuse(format!("T32: more than {limit} joins within a second"));
            }
        }
    }

    /// The token that a frame carries, which has not expired by the client's clock.
    fn carried(&mut self, now: Timestamp, message: &Message) -> Option<String> {
        let payload: Value = message.payload.parse().ok()?;
        let text = payload.get("access_token")?.as_str()?.to_owned();
        let (at, wall) = self.tokens.wall;
        // Of small steps of the clock nobody takes notice.
        let unix = wall + now.saturating_since(at) - Duration::from_secs(1);
        if AccessToken::new(text.clone()).is_ok_and(|token| token.is_expired(unix)) {
            self.accuse(format!("T69: {} on {} with a token that has expired", message.event, message.topic));
        }
        Some(text)
    }

    /// Who joins without a token is nobody, or has none and cannot get one.
    fn shows_none(&mut self, message: &Message, none: bool) {
        let Some(Room { private, anonymous, .. }) = self.newest.get(message.topic.as_str()).copied() else {
            return self.accuse(format!("{} is joined, which nobody wanted", message.topic));
        };
        let may =
            anonymous || (self.tokens.signed_out && !private) || (!self.config.token_provider && !self.tokens.any);
        if none && !may {
            self.accuse(format!("T73: {} is joined without a token", message.topic));
        }
        if !none && anonymous {
            self.accuse(format!("{} is joined with a token, which it must not be", message.topic));
        }
    }

    fn channel_reports(&mut self, now: Timestamp, event: &Event) {
        let (Event::Subscribed { channel, .. }
        | Event::SubscribeFailed { channel, .. }
        | Event::ChannelErrored { channel, .. }
        | Event::ChannelClosed { channel, .. }
        | Event::Gap { channel, .. }
        | Event::Broadcast { channel, .. }
        | Event::System { channel, .. }
        | Event::Message { channel, .. }) = event
        else {
            return;
        };
        let Some(log) = self.channels.get_mut(channel).filter(|log| !log.closed) else {
            return self.violations.push(format!("S3: {event:?} of a channel that is not there"));
        };
        let wrong = match event {
            Event::Subscribed { again, .. } => {
                let wrong = log.joined || *again != log.joined_before;
                if *again {
                    self.next = Some(Next::Gap(*channel));
                }
                (log.joined, log.joined_before) = (true, true);
                wrong
            }
            Event::SubscribeFailed { failure, retry, .. } => {
                log.condemned = *retry == Retry::Never;
                let too_soon = match failure {
                    SubscribeFailure::Refused(refusal) => match refusal.class {
                        RefusalClass::Permanent => !log.condemned,
                        RefusalClass::Rate => is_past(*retry, now.saturating_add(self.config.rate_delay)),
                        _ => false,
                    },
                    _ => false,
                };
                log.joined || too_soon || is_past(*retry, now)
            }
            Event::ChannelErrored { trouble, retry, .. } => {
                let lost = matches!(trouble, Trouble::ConnectionLost | Trouble::Crashed);
                let lost = lost || self.climate == Climate::Hostile;
                let wrong = (!log.joined && !lost) || is_past(*retry, now) || *retry == Retry::Never;
                log.joined = false;
                wrong
            }
            Event::ChannelClosed { reason, .. } => {
                (log.joined, log.closed) = (false, true);
                *reason == CloseReason::Refused && !log.condemned
            }
            Event::Gap { since, until, .. } => since > until || *until > now,
            // One that overtakes the answer to the join is heard, too.
            _ => !log.joined && self.climate == Climate::Lawful,
        };
        if wrong {
            let what = format!("S3: {event:?} while {log:?}");
            self.accuse(what);
        }
    }

    fn push_done(&mut self, push: PushId, outcome: &PushOutcome) {
        let Some(log) = self.pushes.get_mut(&push) else {
            return self.accuse(format!("S2: PushDone of {push:?}, which nobody pushed"));
        };
        let wrong = log.done.is_some()
            || match outcome {
                PushOutcome::Ok(_) | PushOutcome::Error(_) | PushOutcome::Other { .. } => !log.sent || !log.wants_reply,
                PushOutcome::Sent => log.wants_reply,
                PushOutcome::Unknown => !log.sent,
                PushOutcome::Dropped => log.sent,
                _ => false,
            };
        log.done = Some(outcome.clone());
        if wrong {
            let what = format!("S2: {push:?} ends as {outcome:?}, but {log:?}");
            self.accuse(what);
        }
    }

    fn connection_reports(&mut self, now: Timestamp, event: &Event) {
        match event {
            Event::Connected { .. } if std::mem::replace(&mut self.connected, true) => {
                self.accuse("S4: Connected twice");
            }
            Event::Disconnected { retry_at, .. } => {
                self.connected = false;
                if retry_at.is_some_and(|at| at < now) {
                    self.accuse("S7: a retry in the past");
                }
            }
            Event::TokenUnavailable { retry_at, .. } if *retry_at < now => self.accuse("S7: a question in the past"),
            Event::Malformed { error } if self.climate == Climate::Lawful => {
                self.accuse(format!("S12: the client calls the server malformed: {error}"));
            }
            Event::Closed => self.closed = true,
            _ => {}
        }
    }
}

impl Watch for Oracle {
    fn arrives(&mut self, event: &TransportEvent) {
        self.wire.arrives(event);
    }

    fn acts(&mut self, now: Timestamp, action: &TransportAction) {
        self.recorder.leaves(now, action);
        if let Err(what) = self.wire.leaves(action) {
            self.accuse(what);
        }
        if self.closed && matches!(action, TransportAction::Open(_) | TransportAction::Send { .. }) {
            self.accuse(format!("S3: {action:?} after Closed"));
        }
        if let TransportAction::Send { conn, frame } = action
            && let Ok(message) = self.serializer.decode_from_client(frame.clone())
        {
            self.sends(now, *conn, &message);
        }
    }

    fn asks(&mut self, now: Timestamp, request: &Request) {
        let Request::Token { id, .. } = request else { return };
        let until = now.saturating_add(self.config.token_timeout);
        if self.tokens.asking.replace((*id, until)).is_some_and(|(_, until)| until > now) || self.closed {
            self.accuse("a token is asked for while one is asked for, or by nobody");
        }
    }

    fn answers(&mut self, _now: Timestamp, id: RequestId, answer: &Result<Option<AccessToken>, TokenFailure>) {
        self.tokens.asking = self.tokens.asking.filter(|(open, _)| *open != id);
        match answer {
            Ok(Some(_)) => self.tokens.any = true,
            Ok(None) => self.tokens.signed_out = true,
            Err(_) => {}
        }
    }

    fn reports(&mut self, now: Timestamp, event: &Event) {
        let shown = format!("{event:?}");
        if shown.contains(SECRET) {
            self.accuse("an event shows a token");
        }
        self.reported.add(now, &shown);
        self.kinds.insert(kind(&shown));
        if self.closed {
            self.accuse(format!("S3: {event:?} after Closed"));
        }
        let gap = match event {
            Event::Gap { channel, .. } => Some(Next::Gap(*channel)),
            _ => None,
        };
        if self.next.take() != gap {
            self.accuse(format!("a gap that is not told, or not at its place: {event:?}"));
        }
        match event {
            Event::PushSent { push } => match self.pushes.get_mut(push) {
                Some(log) if log.wants_reply && !log.sent && log.done.is_none() => log.sent = true,
                log => {
                    let what = format!("S2: PushSent of {push:?}, of which is known {log:?}");
                    self.accuse(what);
                }
            },
            Event::PushDone { push, outcome } => self.push_done(*push, outcome),
            _ => {
                self.connection_reports(now, event);
                self.channel_reports(now, event);
            }
        }
    }

    fn rests(&mut self, now: Timestamp, client: &Session) {
        if client.channels().count() > self.config.phoenix.limits.channels
            || client.open_pushes() != self.pushes.values().filter(|log| log.done.is_none()).count()
        {
            self.accuse(format!("S6: {} channels, {} pushes", client.channels().count(), client.open_pushes()));
        }
        if client.poll_timeout().is_some_and(|at| at < now) {
            self.accuse("S7: a deadline was missed");
        }
        if self.channels.values().any(|log| log.condemned && !log.closed) {
            self.accuse("a channel is refused for good and stays");
        }
    }
}

/// The first names in the words for an event.
fn kind(shown: &str) -> String {
    let words = shown.split(|c: char| !c.is_alphanumeric());
    let names = words.filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase()));
    let names = names.filter(|name| !["ChannelId", "Key", "PushId"].contains(name));
    names.take(3).collect::<Vec<_>>().join(" ")
}

fn is_past(retry: Retry, now: Timestamp) -> bool {
    matches!(retry, Retry::At(at) if at < now)
}
