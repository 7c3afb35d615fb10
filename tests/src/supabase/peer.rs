//! The server's end of one socket: a server session, and Supabase's rules on top of it.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use rejoin_core::phoenix::{OnMalformed, ReplyTo, ServerChannelId, ServerConfig, ServerEvent, ServerSession, Status};
use rejoin_core::wire::Ref;
use rejoin_core::{ConnId, Frame, Machine, Payload, Text, Timestamp, TransportAction, TransportEvent};
use serde_json::json;

use super::channel::{Channel, to_payload};
use super::commons::Commons;
use super::config::PeerConfig;
use super::events::{PeerEvent, Spread};
use super::joining::Joining;
use super::postgres::RowChange;
use super::upgrade::Upgrade;

/// One socket of a Supabase project, without I/O.
///
/// While a join is being decided the whole socket waits: what the client sends, heartbeats
/// included, what other sockets broadcast, and what the test orders comes after it, in turn.
#[derive(Debug)]
pub struct SupabasePeer {
    pub(super) config: PeerConfig,
    pub(super) upgrade: Upgrade,
    pub(super) commons: Commons,
    pub(super) session: ServerSession,
    pub(super) now: Timestamp,
    pub(super) channels: BTreeMap<String, Channel>,
    pub(super) joining: Option<Joining>,
    /// Of the last frame that came: of the join that is decided.
    pub(super) join_ref: Option<Ref>,
    mailbox: VecDeque<Letter>,
    /// Reasons of joins to refuse, by topic, with how often.
    pub(super) refusals: BTreeMap<String, (String, usize)>,
    pub(super) joins: Rate,
    pub(super) messages: Rate,
    /// Ahead of what the session sends.
    pub(super) actions: VecDeque<TransportAction>,
    pub(super) events: VecDeque<PeerEvent>,
}

/// What waits while a join is being decided.
#[derive(Debug)]
enum Letter {
    Frame(Frame),
    Spread(Spread),
    Change(RowChange),
    Push { topic: Text, event: Text, payload: Payload, attributed: bool },
    End { topic: Text, message: Option<String> },
    Crash(Text),
    Close { code: u16, announced: bool },
    Forget,
}

impl SupabasePeer {
    /// The server's end of a socket whose upgrade has succeeded.
    #[must_use]
    pub fn new(config: PeerConfig, upgrade: Upgrade, conn: ConnId, now: Timestamp) -> Self {
        Self {
            session: session(&config, &upgrade, conn, now),
            config,
            upgrade,
            commons: Commons::default(),
            now,
            channels: BTreeMap::new(),
            joining: None,
            join_ref: None,
            mailbox: VecDeque::new(),
            refusals: BTreeMap::new(),
            joins: Rate::default(),
            messages: Rate::default(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The same, as one socket of many: it shares with the others what their project has in common.
    #[must_use]
    pub fn sharing(mut self, commons: &Commons) -> Self {
        self.commons = commons.clone();
        self
    }

    /// The topics that are joined.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.channels.keys().map(String::as_str)
    }

    /// The next `times` joins of a topic are refused, after the usual delay.
    pub fn refuse(&mut self, topic: &str, reason: &str, times: usize) {
        self.refusals.insert(topic.into(), (reason.into(), times));
    }

    /// Sends the client what concerns its channels of what another socket's client did.
    pub fn deliver(&mut self, now: Timestamp, spread: impl Into<Spread>) {
        self.post(now, Letter::Spread(spread.into()));
    }

    /// Sends any message on a channel, with its join_ref if `attributed`: `system` and
    /// `presence_state` have it, `postgres_changes` and `presence_diff` have not.
    pub fn push(&mut self, now: Timestamp, topic: &str, event: &str, payload: Payload, attributed: bool) {
        self.post(now, Letter::Push { topic: topic.into(), event: event.into(), payload, attributed });
    }

    /// Ends a channel with an error message and `phx_close` (section 9.3).
    pub fn shut_down(&mut self, now: Timestamp, topic: &str, message: &str) {
        self.post(now, Letter::End { topic: topic.into(), message: Some(message.into()) });
    }

    /// Ends a channel with a `phx_close` that nothing explains.
    pub fn close_channel(&mut self, now: Timestamp, topic: &str) {
        self.post(now, Letter::End { topic: topic.into(), message: None });
    }

    /// Ends a channel with `phx_error`.
    pub fn crash(&mut self, now: Timestamp, topic: &str) {
        self.post(now, Letter::Crash(topic.into()));
    }

    /// An operator's doing: every channel hears "Server requested disconnect", then 1012.
    pub fn disconnect(&mut self, now: Timestamp) {
        self.post(now, Letter::Close { code: 1012, announced: true });
    }

    /// A restart: 1012.
    pub fn drain(&mut self, now: Timestamp) {
        self.post(now, Letter::Close { code: 1012, announced: false });
    }

    /// Forgets every channel without a word: pushes to them are "unmatched topic" from now on.
    pub fn drop_channels(&mut self, now: Timestamp) {
        self.post(now, Letter::Forget);
    }

    /// Drops the connection without a close frame.
    pub fn cut(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        let conn = self.session.conn();
        let reason = Text::from_static("cut");
        self.session.handle_transport(self.now, TransportEvent::Closed { conn, code: None, reason });
        self.actions.push_back(TransportAction::Abort { conn });
        self.react();
    }

    pub(super) fn post_change(&mut self, now: Timestamp, change: RowChange) {
        self.post(now, Letter::Change(change));
    }

    fn post(&mut self, now: Timestamp, letter: Letter) {
        self.now = self.now.max(now);
        self.mailbox.push_back(letter);
        self.run();
    }

    /// Does what can be done now: everything up to the next join that takes time.
    fn run(&mut self) {
        loop {
            match self.joining.take() {
                Some(joining) if joining.until > self.now => {
                    self.joining = Some(joining);
                    return;
                }
                Some(joining) => self.end_join(joining),
                None => {
                    let Some(letter) = self.mailbox.pop_front() else { return };
                    self.open(letter);
                }
            }
            self.react();
        }
    }

    fn open(&mut self, letter: Letter) {
        match letter {
            Letter::Frame(frame) => {
                let message = self.session.serializer().decode_from_client(frame.clone()).ok();
                if message.as_ref().is_some_and(|message| message.topic == "phoenix") && !self.config.answers_heartbeats
                {
                    return;
                }
                self.join_ref = message.and_then(|message| message.join_ref);
                let conn = self.session.conn();
                self.session.handle_transport(self.now, TransportEvent::Received { conn, frame });
            }
            Letter::Spread(Spread::Broadcast(broadcast)) => self.hand_over(&broadcast),
            Letter::Spread(Spread::Presence(diff)) => self.hand_over_presence(&diff),
            Letter::Change(change) => self.hand_over_change(&change),
            Letter::Push { topic, event, payload, attributed: false } => {
                self.send_unattributed(&topic, &event, payload);
            }
            Letter::Push { topic, event, payload, attributed: true } => {
                if let Some(channel) = self.channels.get(topic.as_str()) {
                    let _unsendable = self.session.push(self.now, channel.id, event, payload);
                }
            }
            Letter::End { topic, message } => self.end_channel(&topic, message.as_deref()),
            Letter::Crash(topic) => {
                if let Some(channel) = self.channels.get(topic.as_str()) {
                    let _stale = self.session.close_channel(self.now, channel.id, true);
                }
            }
            Letter::Close { code, announced } => {
                let topics: Vec<Text> = self.topics().map(Text::from).collect();
                let payload = json!({
                    "message": "Server requested disconnect", "status": "ok", "extension": "system",
                });
                for topic in topics.iter().filter(|_| announced) {
                    self.send_unattributed(topic, "system", to_payload(&payload));
                }
                self.session.close(self.now, code, "");
            }
            Letter::Forget => {
                self.actions.extend(std::iter::from_fn(|| self.session.poll_transport()));
                self.session = session(&self.config, &self.upgrade, self.session.conn(), self.now);
                for (topic, channel) in std::mem::take(&mut self.channels) {
                    self.vanish(&topic.into(), &channel);
                }
            }
        }
    }

    fn react(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                ServerEvent::Join { join, topic, payload } => self.begin_join(join, topic, payload),
                ServerEvent::Push { channel, event, payload, reply } => self.pushed(channel, event, payload, reply),
                ServerEvent::UserBroadcast { channel, event, metadata, payload, reply } => {
                    if let Some(topic) = self.topic_of(channel) {
                        self.user_broadcast(topic, event, metadata.as_ref(), payload, reply);
                    }
                }
                ServerEvent::Left { channel } => {
                    if let Some(topic) = self.topic_of(channel) {
                        let channel = self.channels.remove(topic.as_str());
                        self.events.push_back(PeerEvent::Left { topic: topic.clone() });
                        channel.inspect(|channel| self.vanish(&topic, channel));
                    }
                }
                ServerEvent::Malformed { error } => self.events.push_back(PeerEvent::Malformed { error }),
                ServerEvent::Ended { reason } => {
                    self.mailbox.clear();
                    self.joining = None;
                    self.events.push_back(PeerEvent::Ended { reason });
                }
                _ => {}
            }
        }
    }

    pub(super) fn answer(&mut self, reply: ReplyTo, status: Status, response: Payload) {
        let _stale = self.session.reply(self.now, reply, status, response);
    }

    pub(super) fn topic_of(&self, id: ServerChannelId) -> Option<Text> {
        let (topic, _) = self.channels.iter().find(|(_, channel)| channel.id == id)?;
        Some(topic.as_str().into())
    }
}

impl Machine for SupabasePeer {
    type Event = PeerEvent;
    type Request = Infallible;

    fn handle_transport(&mut self, now: Timestamp, event: TransportEvent) {
        match event {
            TransportEvent::Received { conn, frame } if conn == self.session.conn() => {
                if frame.len() > self.config.frame_bytes {
                    return self.cut(now);
                }
                self.post(now, Letter::Frame(frame));
            }
            event => {
                self.now = self.now.max(now);
                self.session.handle_transport(self.now, event);
                self.react();
            }
        }
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.run();
        if self.joining.is_none() {
            self.run_channels();
            self.session.handle_timeout(self.now);
            self.react();
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.joining {
            Some(joining) => Some(joining.until),
            None => [self.session.poll_timeout(), self.next_of_channels()].into_iter().flatten().min(),
        }
    }

    fn poll_transport(&mut self) -> Option<TransportAction> {
        self.actions.pop_front().or_else(|| self.session.poll_transport())
    }

    fn poll_request(&mut self) -> Option<Infallible> {
        None
    }

    fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    fn connection(&self) -> Option<ConnId> {
        self.session.connection()
    }

    fn is_congested(&self) -> bool {
        self.session.is_congested()
    }

    fn is_finished(&self) -> bool {
        self.session.is_finished() && self.events.is_empty() && self.actions.is_empty()
    }
}

fn session(config: &PeerConfig, upgrade: &Upgrade, conn: ConnId, now: Timestamp) -> ServerSession {
    let mut server = ServerConfig::new(upgrade.serializer);
    server.idle_timeout = Some(config.idle_timeout).filter(|_| !upgrade.polls);
    server.idle_code = 1000;
    // Over long-poll Phoenix writes, and it does not know them (section 10.2).
    server.user_broadcasts = !upgrade.polls;
    server.malformed = OnMalformed::Ignore;
    // This server has a limit of its own, with a reason of its own.
    server.channels = usize::MAX;
    ServerSession::new(server, conn, now)
}

/// How often something happened during the last minute, which is what the server averages over.
#[derive(Debug, Default)]
pub(super) struct Rate {
    times: VecDeque<Timestamp>,
}

impl Rate {
    const WINDOW: Duration = Duration::from_secs(60);

    /// Counts one more, and says whether that is too much.
    pub(super) fn is_exceeded(&mut self, now: Timestamp, per_second: usize) -> bool {
        self.times.push_back(now);
        while self.times.front().is_some_and(|at| now.saturating_since(*at) >= Self::WINDOW) {
            self.times.pop_front();
        }
        self.times.len() > per_second.saturating_mul(60)
    }
}
