//! What must hold for everything that a Supabase session does, whatever its user, its clock, its
//! provider and its server do.

mod sent;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rejoin_core::http::HttpRequest;
use rejoin_core::phoenix::{ChannelId, PushId};
use rejoin_core::supabase::{
    AccessToken, ChannelState, CloseReason, Config, Event, RefusalClass, Request, RequestId, Retry, Session,
    SubscribeFailure, TokenFailure, TrackError, Trouble,
};
use rejoin_core::wire::Serializer;
use rejoin_core::{ConnId, Machine, Payload, Timestamp, TransportAction, TransportEvent};

use super::Transcript;
use super::extras::Extras;
use super::pushes::{Pushes, Way};
use super::room::{Change, Room};
use crate::supabase::{Access, Commons, Watch};
use crate::trace::{Fingerprint, Recorder};
use crate::weather::Climate;
use crate::wirelog::WireLog;

/// How every token begins, and no name that is made up.
const SECRET: &str = "eyJhbGci";

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
    pushes: Pushes,
    tokens: TokenLog,
    /// When the last joins left.
    joins: VecDeque<Timestamp>,
    /// What the next event has to be, if anything in particular.
    next: Option<Next>,
    extras: Extras,
    /// Whether something arrived since the members were compared.
    heard: bool,
    /// Presence calls of each channel that the server knows, with when they left.
    calls: BTreeMap<(String, String), VecDeque<Timestamp>>,
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
            pushes: Pushes::default(),
            tokens: TokenLog { any: config.access_token.is_some(), ..TokenLog::default() },
            joins: VecDeque::new(),
            next: None,
            extras: Extras::new(climate),
            heard: false,
            calls: BTreeMap::new(),
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

    fn expect(&mut self, right: Result<(), String>) {
        self.violations.extend(right.err());
    }

    pub(super) fn transcript(&self) -> Transcript {
        let (actions, events) = (self.recorder.actions.finish(), self.reported.finish());
        Transcript { actions, events, kinds: self.kinds.clone() }
    }

    pub(super) fn subscribes(&mut self, id: ChannelId, room: Room) {
        self.newest.insert(room.topic, room);
        self.extras.subscribes(id, room);
        let log = ChannelLog { room, joined: false, joined_before: false, condemned: false, closed: false };
        if self.channels.insert(id, log).is_some() {
            self.accuse(format!("S3: {id:?} is given out twice"));
        }
    }

    pub(super) fn pushes(&mut self, push: PushId, wants_reply: bool, resent: bool) {
        let begun = self.pushes.begins(push, Way::Socket { wants_reply, resent });
        self.expect(begun);
    }

    pub(super) fn wishes(&mut self, push: PushId, id: ChannelId, n: Option<u8>) {
        let begun = self.pushes.begins(push, Way::Wish);
        self.expect(begun);
        self.extras.wishes(push, id, n);
    }

    pub(super) fn refuses_wish(&mut self, id: ChannelId, error: &TrackError) {
        // It may have gone, or be going.
        let gone = matches!(error, TrackError::UnknownChannel | TrackError::Leaving);
        let without = matches!(error, TrackError::PresenceNotEnabled) && !self.room(id).presence;
        if !gone && !without {
            self.accuse(format!("a wish of {:?} is refused: {error}", self.room(id)));
        }
    }

    pub(super) fn asks_over_http(&mut self, push: PushId) {
        let begun = self.pushes.begins(push, Way::Http);
        self.expect(begun);
    }

    pub(super) fn cancels(&mut self, push: PushId) {
        self.extras.cancels(push);
    }

    /// What a channel tracks.
    pub(super) fn meta(&self, id: ChannelId, n: u8) -> Payload {
        self.extras.meta(id, n)
    }

    /// The id of a row that comes, changes or goes.
    pub(super) fn changes(&mut self, change: Change) -> u32 {
        self.extras.changes(change)
    }

    /// The number of a broadcast that the database stores.
    pub(super) fn stores(&mut self, topic: &'static str) -> u32 {
        self.extras.stores(topic)
    }

    /// L3.
    pub(super) fn expects_settled(&mut self, client: &Session, commons: &Commons) {
        self.violations.extend(self.extras.settled(client, commons));
    }

    /// Everybody who wants to know of this change does.
    pub(super) fn expects_awareness(&mut self, row: u32) {
        let unaware = self.extras.unaware(row);
        if !unaware.is_empty() {
            self.accuse(format!("L3: {unaware:?} are not told of row {row}"));
        }
    }

    pub(super) fn last_push(&self) -> Option<PushId> {
        self.pushes.last()
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
    pub(super) fn wall(&mut self, now: Timestamp, since_unix_epoch: Duration, right: bool) {
        self.tokens.wall = (now, since_unix_epoch);
        if !right {
            self.extras.is_misled();
        }
    }

    /// A token is set, which answers an open question.
    pub(super) fn signs_in(&mut self) {
        (self.tokens.any, self.tokens.asking) = (true, None);
    }

    /// All tokens are forgotten.
    pub(super) fn signs_out(&mut self) {
        (self.tokens.signed_out, self.tokens.asking) = (true, None);
    }

    /// L2: every push has its outcome, but for wishes of channels that are not joined.
    pub(super) fn expects_all_done(&mut self) {
        let open: Vec<_> = self.pushes.open().filter(|push| !self.extras.waits(*push)).collect();
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

    fn channel_reports(&mut self, now: Timestamp, event: &Event) {
        let (Event::Subscribed { channel, .. }
        | Event::SubscribeFailed { channel, .. }
        | Event::ChannelErrored { channel, .. }
        | Event::ChannelClosed { channel, .. }
        | Event::Gap { channel, .. }
        | Event::Broadcast { channel, .. }
        | Event::PostgresChange { channel, .. }
        | Event::PostgresReady { channel, .. }
        | Event::PostgresFailed { channel, .. }
        | Event::Presence { channel, .. }
        | Event::PresenceTrouble { channel, .. }
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
            // Database changes may flow before the join is answered (trap T40).
            Event::System { message, .. } if message.extension == "postgres_changes" => false,
            // One that overtakes the answer to the join is heard, too.
            _ => !log.joined && self.climate == Climate::Lawful,
        };
        if wrong {
            let what = format!("S3: {event:?} while {log:?}");
            self.accuse(what);
        }
    }

    fn push_reports(&mut self, event: &Event) {
        let reported = match event {
            Event::PushSent { push } => self.pushes.sent(*push),
            Event::PushDone { push, outcome } => self.pushes.done(*push, outcome).and(self.extras.done(*push, outcome)),
            Event::FellBackToHttp { push } => self.pushes.falls_back(*push),
            Event::HttpDone { push, .. } => self.pushes.done_over_http(*push),
            _ => Ok(()),
        };
        self.expect(reported);
    }

    /// What a server needs of a broadcast over HTTP (traps T55 and T56).
    fn asked_over_http(&mut self, request: &HttpRequest) {
        let header = |name: &str| request.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str());
        let is_authorized = header("authorization")
            .is_none_or(|value| value.strip_prefix("Bearer ").is_some_and(|token| !token.is_empty()));
        let body = String::from_utf8_lossy(&request.body);
        if header("apikey").is_none()
            || !is_authorized
            || request.url.contains("realtime")
            || body.contains("realtime:")
        {
            self.accuse(format!("T55, T56: {request:?}"));
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
        self.heard = true;
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
        let id = match request {
            Request::Token { id, .. } => id,
            Request::Http(request) => return self.asked_over_http(request),
            _ => return,
        };
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
        let reported = self.extras.reports(event);
        self.expect(reported);
        self.push_reports(event);
        self.connection_reports(now, event);
        self.channel_reports(now, event);
    }

    fn rests(&mut self, now: Timestamp, client: &Session) {
        if client.channels().count() > self.config.phoenix.limits.channels
            || client.open_pushes() != self.pushes.open().count()
        {
            self.accuse(format!("S6: {} channels, {} pushes", client.channels().count(), client.open_pushes()));
        }
        let over_http = self.pushes.over_http();
        if over_http > self.config.http_broadcasts {
            self.accuse(format!("S6: {over_http} requests over HTTP"));
        }
        if std::mem::take(&mut self.heard) {
            let compared = self.extras.compare(client);
            self.expect(compared);
        }
        if client.poll_timeout().is_some_and(|at| at < now) {
            self.accuse("S7: a deadline was missed");
        }
        // One that was joined for other changes than it wanted has to be left first.
        let stays = |id: &ChannelId| client.channel_state(*id).is_some_and(|state| state != ChannelState::Leaving);
        if self.channels.iter().any(|(id, log)| log.condemned && !log.closed && stays(id)) {
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
