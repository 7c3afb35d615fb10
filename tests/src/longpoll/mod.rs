//! A client session and its servers with long-poll between them: both of its halves, and HTTP that
//! may fail, under virtual time and the eyes of the [`Oracle`].

mod gateway;
mod http;
mod storm;

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_core::http::HttpRequest;
use rejoin_core::phoenix::{
    ChannelId, ChannelState, Config, ConnectionState, Event, JoinOptions, LongPoll, Push, PushId, PushOutcome, Session,
};
use rejoin_core::{ConnId, Machine, OpenError, Text, Timestamp, TransportAction, TransportEvent, TransportKind};

pub use storm::{LongPollOp, LongPollStorm};

use crate::app::{Policy, numbered};
use crate::op::{Op, Topic, Word};
use crate::oracle::Oracle;
use crate::weather::{Climate, Dial};
use gateway::Gateway;
use http::{Arrival, Http};

/// One client, the transport that it dials, HTTP and a server.
#[derive(Debug)]
pub struct LongPollWorld {
    /// The client.
    pub client: Session,
    /// Every event, unless [`LongPollWorld::take_events`] took it.
    events: Vec<Event>,
    /// Every request.
    pub requests: Vec<HttpRequest>,
    now: Timestamp,
    link: Option<LongPoll>,
    http: Http,
    gateway: Gateway,
    oracle: Oracle,
    dialled: Vec<ConnId>,
    channels: BTreeMap<String, ChannelId>,
    pushes: Vec<PushId>,
    unread_until: Timestamp,
}

impl LongPollWorld {
    /// A world with a client of this configuration; nothing is connected yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let client = Session::new(config, Timestamp::ZERO);
        Self {
            oracle: Oracle::new(&client, Climate::Lawful),
            client,
            events: Vec::new(),
            requests: Vec::new(),
            now: Timestamp::ZERO,
            link: None,
            http: Http::fair(),
            gateway: Gateway::default(),
            dialled: Vec::new(),
            channels: BTreeMap::new(),
            pushes: Vec::new(),
            unread_until: Timestamp::ZERO,
        }
    }

    /// What was wrong so far.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        self.oracle.violations()
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// How many sessions the server has admitted.
    #[must_use]
    pub const fn admitted(&self) -> u64 {
        self.gateway.admitted
    }

    /// The serial numbers of the pushes that arrived at the server.
    pub fn seen(&self) -> impl Iterator<Item = u64> {
        self.gateway.app.seen.iter().copied()
    }

    /// The events since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The outcome of a push, if its event was not taken yet.
    #[must_use]
    pub fn outcome(&self, push: PushId) -> Option<&PushOutcome> {
        self.events.iter().find_map(|event| match event {
            Event::PushDone { push: done, outcome } if *done == push => Some(outcome),
            _ => None,
        })
    }

    /// `join`, which is accepted.
    #[expect(clippy::missing_panics_doc, reason = "a test that cannot join is wrong")]
    pub fn join(&mut self, topic: Topic) -> ChannelId {
        self.apply(&Op::Join { topic });
        *self.channels.get(&topic.name()).expect("the join is accepted")
    }

    /// `push` of a numbered payload; many of them leave together.
    pub fn push(&mut self, topic: Topic, event: &str, binary: bool) -> Option<PushId> {
        let pushed = self.try_push(topic, event, binary, true, None);
        self.settle();
        pushed
    }

    /// The same so many times before the transport is asked for anything.
    pub fn push_many(&mut self, topic: Topic, event: &str, count: usize) -> Vec<PushId> {
        let pushed = (0..count).filter_map(|_| self.try_push(topic, event, false, true, None)).collect();
        self.settle();
        pushed
    }

    /// The server is restarted, and knows nobody any more.
    pub fn restart_server(&mut self) {
        self.gateway.restart();
        let broken = self.http.cut(self.now, 0);
        self.hang_up(broken);
        self.settle();
    }

    /// The next answers of the server are lost.
    pub fn lose_answers(&mut self, count: u8) {
        self.http.lost_answers = count;
    }

    /// Lets so much time pass.
    pub fn advance(&mut self, time: Duration) {
        self.run_until(self.now.saturating_add(time));
    }

    /// Lets everything happen that happens until `until`.
    pub fn run_until(&mut self, until: Timestamp) {
        while let Some(at) = self.next().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.step();
            if !self.violations().is_empty() {
                return;
            }
        }
        self.now = self.now.max(until);
    }

    fn next(&self) -> Option<Timestamp> {
        let unread = (self.unread_until > self.now).then_some(self.unread_until);
        [self.client.poll_timeout(), self.http.next(), self.gateway.next(), unread].into_iter().flatten().min()
    }

    fn step(&mut self) {
        self.settle();
        while let Some(arrival) = self.http.pop_due(self.now) {
            self.arrives(arrival);
        }
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.handle_timeout(self.now);
            self.oracle.inspects(&self.client, self.now, true);
        }
        let woken = self.gateway.wake(self.now);
        self.judge(woken);
        self.settle();
    }

    fn arrives(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Request { number, request } => {
                let taken = self.gateway.request(self.now, number, &request);
                self.judge(taken);
            }
            Arrival::HungUp { number } => self.gateway.hung_up(number),
            Arrival::Result { conn, id, result } => {
                if let Some(link) = self.link.as_mut().filter(|link| link.conn() == conn) {
                    link.handle_response(id, result);
                }
            }
        }
        self.settle();
    }

    fn hang_up(&mut self, broken: Vec<Arrival>) {
        for arrival in broken {
            if let Arrival::HungUp { number } = arrival {
                self.gateway.hung_up(number);
            }
        }
    }

    fn judge(&mut self, verdict: Result<(), String>) {
        if let Err(what) = verdict {
            self.oracle.accuse(what);
        }
    }

    /// What a driver does until nothing moves: actions to the transport, its events to the session,
    /// its requests to HTTP.
    fn settle(&mut self) {
        loop {
            for (number, response) in self.gateway.answers() {
                self.http.answer(self.now, number, &response);
            }
            let moved =
                self.take_actions() | self.take_transport_events() | self.take_requests() | self.take_events_out();
            if !moved {
                return self.oracle.inspects(&self.client, self.now, false);
            }
        }
    }

    /// The lane is left alone while the transport takes nothing, unless its connection is over.
    fn take_actions(&mut self) -> bool {
        let mut moved = false;
        while self.link.as_ref().is_none_or(|link| link.is_ready() || self.client.connection() != Some(link.conn()))
            && let Some(action) = self.client.poll_transport()
        {
            moved = true;
            self.oracle.leaves(&action);
            self.act(action);
        }
        moved
    }

    fn act(&mut self, action: TransportAction) {
        match action {
            TransportAction::Open(request) => {
                self.drop_link();
                self.dialled.push(request.conn);
                match request.transport {
                    TransportKind::LongPoll => {
                        let frame_bytes = self.client.config().limits.frame_bytes;
                        self.link = Some(LongPoll::new(request, frame_bytes));
                    }
                    // There is none in this world.
                    TransportKind::WebSocket => {
                        let error = OpenError::io("no WebSocket gets through");
                        self.tell(TransportEvent::OpenFailed { conn: request.conn, error });
                    }
                }
            }
            TransportAction::Send { conn, frame } => {
                if let Some(link) = self.link.as_mut().filter(|link| link.conn() == conn) {
                    link.send(frame);
                }
            }
            TransportAction::Close { conn, .. } => {
                if let Some(link) = self.link.as_mut().filter(|link| link.conn() == conn) {
                    link.close();
                }
            }
            TransportAction::Abort { conn } => {
                if self.link.as_ref().is_some_and(|link| link.conn() == conn) {
                    self.drop_link();
                }
            }
        }
    }

    fn drop_link(&mut self) {
        if let Some(link) = self.link.take() {
            let broken = self.http.drop_connection(link.conn());
            self.hang_up(broken);
        }
    }

    fn take_transport_events(&mut self) -> bool {
        let Some(event) = self.link.as_mut().and_then(LongPoll::poll_event) else { return false };
        if matches!(event, TransportEvent::Closed { .. } | TransportEvent::OpenFailed { .. }) {
            self.drop_link();
        }
        self.tell(event);
        true
    }

    fn tell(&mut self, event: TransportEvent) {
        self.oracle.arrives(&event);
        self.client.handle_transport(self.now, event);
    }

    fn take_requests(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        let Some(request) = link.poll_request() else { return false };
        let conn = link.conn();
        self.requests.push(request.clone());
        self.http.request(self.now, conn, request);
        if self.http.under_way(conn) > 2 {
            self.oracle.accuse("more than a GET and a POST are under way");
        }
        true
    }

    fn take_events_out(&mut self) -> bool {
        let mut moved = false;
        while self.now >= self.unread_until
            && let Some(event) = self.client.poll_event()
        {
            moved = true;
            self.oracle.reports(self.now, &event);
            if let Event::ChannelClosed { channel, .. } = event {
                self.channels.retain(|_, id| *id != channel);
            }
            self.events.push(event);
        }
        moved
    }

    /// Applies an operation now; those that mean nothing here do nothing.
    pub fn apply(&mut self, op: &Op) {
        let now = self.now;
        match op {
            Op::Connect => self.client.connect(now),
            Op::Disconnect => self.client.disconnect(now),
            Op::Reconnect => self.client.reconnect(now),
            Op::Probe => self.client.probe(now),
            Op::Close => self.client.close(now),
            Op::Unread { ms } => {
                self.unread_until = now.saturating_add(Duration::from_millis((*ms).into()));
                self.oracle.reads_promptly = false;
            }
            Op::Join { topic } => {
                if let Ok(id) = self.client.join(now, topic.name(), JoinOptions::default()) {
                    self.oracle.joins(id);
                    self.channels.insert(topic.name(), id);
                }
            }
            Op::Leave { topic } => {
                if let Some(id) = self.channels.get(&topic.name()) {
                    // One that has just been closed needs no leave.
                    let _gone = self.client.leave(now, *id);
                }
            }
            Op::Push { topic, event, reply, binary, timeout_ms } => {
                self.try_push(*topic, event.name(), *binary, *reply, *timeout_ms);
            }
            Op::Cancel { back } => {
                if let Some(push) = self.pushes.iter().rev().nth((*back).into()) {
                    self.client.cancel(*push);
                }
            }
            Op::Policy { topic, policy } => drop(self.gateway.app.policies.insert(topic.name(), *policy)),
            Op::Broadcast { .. } | Op::Crash { .. } | Op::End { .. } | Op::Kick { .. } => self.serve(op),
            Op::Latency { ms } => self.http.latency_ms = *ms,
            Op::Dialling { dial } => self.http.dial = *dial,
            Op::Stall => self.http.stalled = true,
            Op::Resume => self.http.stalled = false,
            Op::Cut { keep } => {
                let broken = self.http.cut(now, *keep);
                self.hang_up(broken);
            }
            Op::Vanish => self.http.vanish(),
            Op::LateWord { back, word } => self.late_word(*back, *word),
            _ => {}
        }
        self.settle();
    }

    fn try_push(
        &mut self,
        topic: Topic,
        event: &str,
        binary: bool,
        reply: bool,
        timeout_ms: Option<u16>,
    ) -> Option<PushId> {
        let id = *self.channels.get(&topic.name())?;
        let serial = 1 + self.pushes.len() as u64;
        let mut push = Push::new(event, numbered(serial, binary));
        push.timeout = timeout_ms.map(|ms| Duration::from_millis(ms.into()));
        push.wants_reply = reply;
        let pushed = self.client.push(self.now, id, push).ok()?;
        self.oracle.pushes(pushed, serial, reply);
        self.pushes.push(pushed);
        Some(pushed)
    }

    fn serve(&mut self, op: &Op) {
        let now = self.now;
        let Some((token, site, app)) = self.gateway.last() else { return };
        let server = &mut site.server;
        match op {
            Op::Broadcast { topic, binary } => app.broadcast(now, server, &topic.name(), *binary),
            Op::Crash { topic } | Op::End { topic } => {
                if let Some(id) = server.channels.remove(&topic.name()) {
                    let _gone = server.session.close_channel(now, id, matches!(op, Op::Crash { .. }));
                }
            }
            Op::Kick { code } => server.session.close(now, *code, "kicked"),
            _ => {}
        }
        let settled = self.gateway.settle(now, &token);
        self.judge(settled);
    }

    fn late_word(&mut self, back: u8, word: Word) {
        let Some(conn) = self.dialled.iter().rev().nth(back.into()).copied() else { return };
        if self.client.connection() == Some(conn) {
            return;
        }
        self.tell(match word {
            Word::OpenFailed => TransportEvent::OpenFailed { conn, error: OpenError::io("late") },
            Word::Opened => TransportEvent::Opened { conn },
            Word::Closed | Word::Message => TransportEvent::Closed { conn, code: Some(1000), reason: Text::EMPTY },
        });
    }

    /// Ends all trouble: HTTP is fair, every join is accepted, and the client wants to be connected.
    pub fn heal(&mut self) {
        let http = &mut self.http;
        (http.latency_ms, http.dial, http.stalled, http.lost_answers) = (20, Dial::Accept, false, 0);
        self.unread_until = self.now;
        self.gateway.app.policies.extend((0..Topic::COUNT).map(|n| (Topic(n).name(), Policy::Accept)));
        self.settle();
        self.client.connect(self.now);
        self.settle();
    }

    /// After [`LongPollWorld::heal`] and enough time: every wanted channel is joined, at both ends, and
    /// every push has its outcome.
    pub fn check_liveness(&mut self) {
        self.oracle.expects_all_done();
        if self.client.state() == ConnectionState::Closed {
            return;
        }
        if self.client.state() != ConnectionState::Connected {
            return self.oracle.accuse(format!("L1: the client is {:?}", self.client.state()));
        }
        let states: Vec<_> = self.client.channels().map(|(_, topic, state)| (topic.to_string(), state)).collect();
        if let Some(other) = states.iter().find(|(_, state)| *state != ChannelState::Joined) {
            return self.oracle.accuse(format!("L1: {other:?}"));
        }
        let mut ours: Vec<_> = states.into_iter().map(|(topic, _)| topic).collect();
        ours.sort_unstable();
        let theirs: Vec<_> =
            self.gateway.last().map(|(_, site, _)| site.server.channels.keys().cloned().collect()).unwrap_or_default();
        if ours != theirs {
            self.oracle.accuse(format!("L1: the client has joined {ours:?}, the server knows {theirs:?}"));
        }
    }

    /// Closes the client; after the close timeout nothing is left of it, and the server forgets it too.
    pub fn close_and_check(&mut self) {
        self.client.close(self.now);
        self.settle();
        self.advance(self.client.config().close_timeout);
        if !self.client.is_finished() || self.client.poll_timeout().is_some() {
            self.oracle.accuse(format!("L4: after close the client is {:?}", self.client.state()));
        }
        self.advance(Duration::from_secs(60));
        if self.gateway.next().is_some() {
            self.oracle.accuse("L4: the server keeps a session that nobody polls");
        }
        self.oracle.expects_all_done();
        self.oracle.concludes(&self.gateway.app.seen, &self.gateway.app.seen_twice);
    }
}
