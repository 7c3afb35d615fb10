//! One client session and the servers it dials, joined over the simulated network.
//!
//! Time is a number: [`World::run_until`] jumps from one thing that happens to the next, which is a
//! deadline of the client, a deadline of a server or a delivery.

use std::collections::BTreeMap;

use rejoin_core::phoenix::{
    ChannelId, ChannelState, Config, ConnectionState, Event, JoinOptions, Push, PushId, ServerConfig, ServerSession,
    Session, serializer_of,
};
use rejoin_core::{ConnId, Frame, Machine, OpenError, Text, Timestamp, TransportAction, TransportEvent};
use rejoin_recording::{Dir, Row};

use crate::app::{App, Policy, Server, numbered};
use crate::network::{Delivery, Network};
use crate::op::{Op, Word};
use crate::oracle::Oracle;
use crate::rng::Rng;
use crate::storm::{Habit, Polls};
use crate::trace::Recorder;
use crate::weather::Climate;

/// A client, its servers, and what is between them.
#[derive(Debug)]
pub struct World {
    now: Timestamp,
    client: Session,
    servers: BTreeMap<ConnId, Server>,
    app: App,
    network: Network,
    oracle: Oracle,
    habit: Habit,
    rng: Rng,
    pub(crate) recorder: Recorder,
    /// Which connections were dialled, in order, with the request target.
    dialled: Vec<(ConnId, String)>,
    channels: BTreeMap<String, ChannelId>,
    pushes: Vec<PushId>,
    plugged_until: Timestamp,
    unread_until: Timestamp,
}

impl World {
    /// A world with a client of this configuration; nothing is connected yet.
    #[must_use]
    pub fn new(config: Config, climate: Climate, seed: u64, habit: Habit) -> Self {
        let client = Session::new(config, Timestamp::ZERO);
        Self {
            now: Timestamp::ZERO,
            oracle: Oracle::new(&client, climate),
            client,
            servers: BTreeMap::new(),
            app: App::default(),
            network: Network::new(climate, seed),
            habit,
            rng: Rng::new(!seed),
            recorder: Recorder::default(),
            dialled: Vec::new(),
            channels: BTreeMap::new(),
            pushes: Vec::new(),
            plugged_until: Timestamp::ZERO,
            unread_until: Timestamp::ZERO,
        }
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The client.
    #[must_use]
    pub const fn client(&self) -> &Session {
        &self.client
    }

    /// What was wrong so far.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        self.oracle.violations()
    }

    /// How many pushes the client accepted.
    #[must_use]
    pub fn accepted_pushes(&self) -> usize {
        self.oracle.accepted()
    }

    /// Lets everything happen that happens until `until`.
    pub fn run_until(&mut self, until: Timestamp) {
        while let Some(at) = self.next().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.step();
            if !self.oracle.violations().is_empty() {
                return;
            }
        }
        self.now = self.now.max(until);
    }

    fn next(&self) -> Option<Timestamp> {
        let servers = self.servers.values().flat_map(|s| [s.session.poll_timeout(), s.next_answer()]);
        let late = |until: Timestamp| (until > self.now).then_some(until);
        [self.client.poll_timeout(), self.network.next(), late(self.plugged_until), late(self.unread_until)]
            .into_iter()
            .chain(servers)
            .flatten()
            .min()
    }

    fn step(&mut self) {
        // The transport or the reader may be back.
        self.settle_client();
        while let Some((conn, delivery)) = self.network.pop_due(self.now) {
            self.deliver(conn, delivery);
        }
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.handle_timeout(self.now);
            self.oracle.inspects(&self.client, self.now, true);
            if self.habit.spurious {
                self.client.handle_timeout(self.now);
            }
        }
        self.settle_client();
        let conns: Vec<_> = self.servers.keys().copied().collect();
        for conn in conns {
            let Some(server) = self.servers.get_mut(&conn) else { continue };
            if server.session.poll_timeout().is_some_and(|at| at <= self.now) {
                server.session.handle_timeout(self.now);
                if server.session.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.oracle.accuse("S7: a server's handle_timeout leaves its own deadline behind");
                }
            }
            server.answer_slow(self.now);
            self.settle_server(conn);
        }
    }

    fn deliver(&mut self, conn: ConnId, delivery: Delivery) {
        match delivery {
            Delivery::Upgrade => self.upgrade(conn),
            Delivery::ToServer(event) => {
                if let Some(server) = self.servers.get_mut(&conn) {
                    server.session.handle_transport(self.now, event);
                    self.settle_server(conn);
                }
            }
            Delivery::ToClient(event) => self.deliver_to_client(conn, event),
        }
    }

    fn upgrade(&mut self, conn: ConnId) {
        let target = self.dialled.iter().find(|(dialled, _)| *dialled == conn).map(|(_, target)| target.as_str());
        match serializer_of(target.unwrap_or_default()) {
            Ok(serializer) => {
                let session = ServerSession::new(ServerConfig::new(serializer), conn, self.now);
                self.servers.insert(conn, Server::new(session));
                self.network.send(self.now, conn, Delivery::ToClient(TransportEvent::Opened { conn }));
            }
            Err(error) => {
                let error = OpenError::refused(403, None, error.to_string());
                self.network.send(self.now, conn, Delivery::ToClient(TransportEvent::OpenFailed { conn, error }));
            }
        }
    }

    fn deliver_to_client(&mut self, conn: ConnId, event: TransportEvent) {
        self.recorder.arrives(self.now, &event);
        let opened = matches!(event, TransportEvent::Opened { .. });
        let stale = self.client.connection() != Some(conn) && self.quiet();
        self.oracle.arrives(&event);
        let before = self.look();
        self.client.handle_transport(self.now, event);
        if stale {
            // S11: the only answer to a word about an old connection is to drop one that opened late.
            if opened && self.client.poll_transport() != Some(TransportAction::Abort { conn }) {
                self.oracle.accuse(format!("S11: a stale Opened of connection {conn} is not answered with Abort"));
            }
            if self.look() != before || self.client.poll_transport().is_some() || self.client.queued_events() > 0 {
                self.oracle.accuse(format!("S11: a late word about connection {conn} changes something"));
            }
        }
        if self.habit.spurious && self.rng.chance(300) {
            self.client.handle_timeout(Timestamp::ZERO);
        }
        self.settle_client();
    }

    /// Whether all lanes of the client are empty, so that anything new in them can be told.
    fn quiet(&self) -> bool {
        self.now >= self.plugged_until && self.now >= self.unread_until
    }

    fn look(&self) -> impl PartialEq + use<> {
        let channels: Vec<_> = self.client.channels().map(|(id, _, state)| (id, state)).collect();
        (self.client.state(), self.client.poll_timeout(), channels, self.client.open_pushes())
    }

    /// Takes everything out of the client's lanes, in the order that the habit says.
    fn settle_client(&mut self) {
        loop {
            let moved = match self.habit.polls {
                Polls::TransportFirst => self.take_actions(usize::MAX) + self.take_events(usize::MAX),
                Polls::EventsFirst => self.take_events(usize::MAX) + self.take_actions(usize::MAX),
                Polls::InTurn => self.take_actions(1) + self.take_events(1),
            };
            if moved == 0 {
                return self.oracle.inspects(&self.client, self.now, false);
            }
        }
    }

    fn take_actions(&mut self, most: usize) -> usize {
        let mut taken = 0;
        while taken < most
            && self.now >= self.plugged_until
            && let Some(action) = self.client.poll_transport()
        {
            taken += 1;
            self.recorder.leaves(self.now, &action);
            self.oracle.leaves(&action);
            self.act(action);
        }
        taken
    }

    fn act(&mut self, action: TransportAction) {
        match action {
            TransportAction::Open(request) => {
                let target = request.url.splitn(4, '/').last().unwrap_or_default();
                self.dialled.push((request.conn, format!("/{target}")));
                self.network.dial(self.now, request.conn);
            }
            TransportAction::Send { conn, frame } => {
                self.network.send(self.now, conn, Delivery::ToServer(TransportEvent::Received { conn, frame }));
            }
            TransportAction::Close { conn, code, reason } => {
                let closed = TransportEvent::Closed { conn, code: Some(code), reason };
                self.network.send(self.now, conn, Delivery::ToServer(closed.clone()));
                // The other side's close frame: a round trip later, for all the sender knows.
                self.network.send(self.now, conn, Delivery::ToClient(closed));
            }
            TransportAction::Abort { conn } => {
                let closed = TransportEvent::Closed { conn, code: None, reason: Text::EMPTY };
                self.network.send(self.now, conn, Delivery::ToServer(closed));
            }
        }
    }

    fn take_events(&mut self, most: usize) -> usize {
        let mut taken = 0;
        while taken < most
            && self.now >= self.unread_until
            && let Some(event) = self.client.poll_event()
        {
            taken += 1;
            self.recorder.reports(self.now, &event);
            self.oracle.reports(self.now, &event);
            if let Event::ChannelClosed { channel, .. } = event {
                self.channels.retain(|_, id| *id != channel);
            }
        }
        taken
    }

    fn settle_server(&mut self, conn: ConnId) {
        let Some(server) = self.servers.get_mut(&conn) else { return };
        if let Err(what) = self.app.react(self.now, server) {
            self.oracle.accuse(what);
        }
        if server.malformed && self.network.weather.climate == Climate::Lawful && self.oracle.is_lawful() {
            self.oracle.accuse("S12: a server calls the client malformed");
        }
        while let Some(action) = server.session.poll_transport() {
            match action {
                TransportAction::Send { conn, frame } => {
                    self.network.send(self.now, conn, Delivery::ToClient(TransportEvent::Received { conn, frame }));
                }
                TransportAction::Close { conn, code, reason } => {
                    let closed = TransportEvent::Closed { conn, code: Some(code), reason };
                    self.network.send(self.now, conn, Delivery::ToClient(closed.clone()));
                    self.network.send(self.now, conn, Delivery::ToServer(closed));
                }
                TransportAction::Abort { conn } => {
                    let closed = TransportEvent::Closed { conn, code: None, reason: Text::EMPTY };
                    self.network.send(self.now, conn, Delivery::ToClient(closed));
                }
                TransportAction::Open(_) => self.oracle.accuse("a server that dials"),
            }
        }
        if server.ended && server.session.is_finished() {
            if server.session.poll_timeout().is_some() {
                self.oracle.accuse("L4: a finished server has a deadline");
            }
            self.servers.remove(&conn);
        }
    }

    /// Applies an operation now.
    pub fn apply(&mut self, op: &Op) {
        self.recorder.op(self.now, op);
        let now = self.now;
        match op {
            Op::Connect => self.client.connect(now),
            Op::Disconnect => self.client.disconnect(now),
            Op::Reconnect => self.client.reconnect(now),
            Op::Probe => self.client.probe(now),
            Op::Close => self.client.close(now),
            Op::Tick { early_ms } => {
                let early = now.as_nanos().saturating_sub(u64::from(*early_ms) * 1_000_000);
                self.client.handle_timeout(Timestamp::from_nanos(early));
            }
            Op::Plug { ms } => self.plugged_until = later(now, *ms),
            Op::Unread { ms } => {
                self.unread_until = later(now, *ms);
                self.oracle.reads_promptly = false;
            }
            Op::Join { .. } | Op::JoinPayload { .. } | Op::Leave { .. } | Op::Push { .. } | Op::Cancel { .. } => {
                self.command(op);
            }
            Op::Policy { topic, policy } => {
                self.app.policies.insert(topic.name(), *policy);
            }
            Op::Broadcast { .. } | Op::Crash { .. } | Op::End { .. } | Op::Kick { .. } => self.serve(op),
            _ => self.blow(op),
        }
        self.settle_client();
    }

    fn command(&mut self, op: &Op) {
        let now = self.now;
        let id = |topic: &crate::op::Topic| self.channels.get(&topic.name()).copied();
        match op {
            Op::Join { topic } => {
                if let Ok(id) = self.client.join(now, topic.name(), JoinOptions::default()) {
                    self.oracle.joins(id);
                    self.channels.insert(topic.name(), id);
                }
            }
            Op::JoinPayload { topic, n } => {
                if let Some(id) = id(topic) {
                    // A channel that has just been closed is as good as unknown.
                    let _gone = self.client.set_join_payload(id, numbered((*n).into(), false));
                }
            }
            Op::Leave { topic } => {
                if let Some(id) = id(topic) {
                    let _gone = self.client.leave(now, id);
                }
            }
            Op::Push { topic, event, reply, binary, timeout_ms } => {
                let Some(id) = id(topic) else { return };
                let serial = 1 + self.pushes.len() as u64;
                let mut push = Push::new(event.name(), numbered(serial, *binary));
                push.timeout = timeout_ms.map(|ms| std::time::Duration::from_millis(ms.into()));
                push.wants_reply = *reply;
                if let Ok(id) = self.client.push(now, id, push) {
                    self.oracle.pushes(id, serial, *reply);
                    self.pushes.push(id);
                }
            }
            Op::Cancel { back } => {
                if let Some(push) = self.pushes.iter().rev().nth(usize::from(*back)) {
                    self.client.cancel(*push);
                }
            }
            _ => {}
        }
    }

    fn serve(&mut self, op: &Op) {
        let now = self.now;
        let Some((conn, server)) = self.servers.iter_mut().next_back() else { return };
        let conn = *conn;
        match op {
            Op::Broadcast { topic, binary } => self.app.broadcast(now, server, &topic.name(), *binary),
            Op::Crash { topic } | Op::End { topic } => {
                if let Some(id) = server.channels.remove(&topic.name()) {
                    let _gone = server.session.close_channel(now, id, matches!(op, Op::Crash { .. }));
                }
            }
            Op::Kick { code } => server.session.close(now, *code, "kicked"),
            _ => {}
        }
        self.settle_server(conn);
    }

    fn blow(&mut self, op: &Op) {
        let now = self.now;
        let present = self.dialled.last().map(|(conn, _)| *conn);
        match (op, present) {
            (Op::Latency { ms }, _) => self.network.weather.latency_ms = *ms,
            (Op::Dialling { dial }, _) => self.network.weather.dial = *dial,
            (Op::Stall, Some(conn)) => self.network.stall(conn),
            (Op::Resume, Some(conn)) => self.network.resume(now, conn),
            (Op::Cut { keep }, Some(conn)) => self.network.cut(now, conn, *keep, true),
            (Op::Vanish, Some(conn)) => self.network.cut(now, conn, 0, false),
            (Op::LateWord { back, word }, Some(_)) => self.late_word(*back, *word),
            (Op::Nonsense { to_client, scrap }, Some(conn)) if !self.oracle.is_lawful() => {
                let frame = scrap.frame(self.client.config().serializer, *to_client);
                let received = TransportEvent::Received { conn, frame };
                let delivery = if *to_client { Delivery::ToClient(received) } else { Delivery::ToServer(received) };
                self.network.whisper(now, conn, delivery);
            }
            _ => {}
        }
    }

    fn late_word(&mut self, back: u8, word: Word) {
        let Some((conn, _)) = self.dialled.iter().rev().nth(usize::from(back)) else { return };
        let conn = *conn;
        // About the connection that counts it would be a lie, which no network tells.
        if self.client.connection() == Some(conn) {
            return;
        }
        let event = match word {
            Word::Opened => TransportEvent::Opened { conn },
            Word::OpenFailed => TransportEvent::OpenFailed { conn, error: OpenError::io("late") },
            Word::Closed => TransportEvent::Closed { conn, code: Some(1000), reason: Text::EMPTY },
            Word::Message => {
                let text = r#"["1","1","room:0","phx_reply",{"status":"ok","response":{}}]"#;
                TransportEvent::Received { conn, frame: Frame::Text(text.into()) }
            }
        };
        self.network.whisper(self.now, conn, Delivery::ToClient(event));
    }

    /// Ends all trouble: the network is fair, every join is accepted, somebody reads and writes, and
    /// the client wants to be connected.
    pub fn heal(&mut self) {
        self.network.heal(self.now);
        (self.plugged_until, self.unread_until) = (self.now, self.now);
        self.app.policies.clear();
        self.app.policies.extend((0..crate::op::Topic::COUNT).map(|n| (crate::op::Topic(n).name(), Policy::Accept)));
        self.settle_client();
        self.client.connect(self.now);
        self.settle_client();
    }

    /// L1 and L2, after [`World::heal`] and enough time: every wanted channel is joined, at both ends,
    /// and every push has its outcome.
    pub fn check_liveness(&mut self) {
        self.oracle.expects_all_done();
        // Whatever the weather was, a leave ends.
        if self.client.channels().any(|(_, _, state)| state == ChannelState::Leaving) {
            self.oracle.accuse("L2: a channel is still being left");
        }
        if !self.oracle.is_lawful() || self.client.state() == ConnectionState::Closed {
            return;
        }
        if self.client.state() != ConnectionState::Connected {
            return self.oracle.accuse(format!("L1: the client is {:?}", self.client.state()));
        }
        let mut topics: Vec<String> = Vec::new();
        for (id, topic, state) in self.client.channels() {
            topics.push(topic.to_string());
            if state != ChannelState::Joined {
                let what = format!("L1: {id:?} of {topic} is {state:?}");
                return self.oracle.accuse(what);
            }
        }
        topics.sort_unstable();
        let server = self.client.connection().and_then(|conn| self.servers.get(&conn));
        let joined: Vec<String> = server.map(|s| s.channels.keys().cloned().collect()).unwrap_or_default();
        if topics != joined {
            self.oracle.accuse(format!("L1: the client has joined {topics:?}, the server knows {joined:?}"));
        }
    }

    /// L4: closes the client; after the close timeout nothing is left of it.
    pub fn close_and_check(&mut self) {
        self.client.close(self.now);
        self.settle_client();
        self.run_until(self.now.saturating_add(self.client.config().close_timeout));
        self.settle_client();
        if !self.client.is_finished() || self.client.poll_timeout().is_some() {
            self.oracle.accuse(format!("L4: after close the client is {:?}", self.client.state()));
        }
        if self.client.channels().count() + self.client.open_pushes() > 0 {
            self.oracle.accuse("L4: a closed client has channels or pushes");
        }
        self.oracle.expects_all_done();
        self.oracle.concludes(&self.app.seen, &self.app.seen_twice);
    }

    /// The rows recorded so far.
    pub(crate) fn take_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.recorder.rows)
    }
}

fn later(now: Timestamp, ms: u16) -> Timestamp {
    now.saturating_add(std::time::Duration::from_millis(ms.into()))
}

/// Who sent a frame that a client's transport carries.
pub(crate) const fn direction(to_client: bool) -> Dir {
    if to_client { Dir::ToClient } else { Dir::ToServer }
}
