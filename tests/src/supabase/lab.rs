//! One client session and the Supabase project that it dials, under virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use rejoin_core::phoenix::serializer_of;
use rejoin_core::supabase::{AccessToken, Config, Event, Request, RequestId, Session, TokenFailure, TokenReason};
use rejoin_core::wire::Message;
use rejoin_core::{
    ConnId, ConnectRequest, Frame, Machine, OpenError, Payload, Text, Timestamp, TransportAction, TransportEvent,
};

use super::config::{PeerConfig, Upgrades};
use super::desk::LATE;
use super::events::PeerEvent;
use super::peer::SupabasePeer;
use super::postgres::RowChange;
use super::project::Project;
use super::token::token;
use super::web::{Step, Web};
use crate::network::{Delivery, Network};
use crate::storm::Polls;
use crate::weather::{Climate, Dial};

/// Looks at everything that passes between a client and its world, as it passes.
pub trait Watch {
    /// Something is about to reach the client.
    fn arrives(&mut self, _event: &TransportEvent) {}

    /// The client told its transport to do something.
    fn acts(&mut self, _now: Timestamp, _action: &TransportAction) {}

    /// The client asked for something.
    fn asks(&mut self, _now: Timestamp, _request: &Request) {}

    /// The client's provider is about to answer.
    fn answers(&mut self, _now: Timestamp, _id: RequestId, _answer: &Result<Option<AccessToken>, TokenFailure>) {}

    /// The client reported something.
    fn reports(&mut self, _now: Timestamp, _event: &Event) {}

    /// All lanes are empty.
    fn rests(&mut self, _now: Timestamp, _client: &Session) {}
}

impl Watch for () {}

type Provider = Box<dyn FnMut(Timestamp) -> Result<Option<AccessToken>, TokenFailure>>;

/// A client, a project, and a network with latency between them. Everything that comes out is kept
/// with its time until it is taken.
pub struct Lab<W = ()> {
    /// The client. Call it through [`Lab::with`], so that its lanes are drained.
    pub client: Session,
    /// The time.
    pub now: Timestamp,
    /// The server. Order something from a peer through [`Lab::with_peer`].
    pub project: Project,
    /// Every attempt to connect.
    pub dials: Vec<(Timestamp, ConnectRequest)>,
    /// What the client sent.
    pub sent: Vec<(Timestamp, Message)>,
    /// How the client closed connections (with the code) or dropped them.
    pub ends: Vec<(Timestamp, ConnId, Option<u16>)>,
    /// What the client reported.
    pub events: Vec<(Timestamp, Event)>,
    /// When and why the client asked for a token.
    pub asked: Vec<(Timestamp, TokenReason)>,
    /// What the project saw.
    pub seen: Vec<(Timestamp, PeerEvent)>,
    /// How long the token provider takes; default not at all.
    pub provider_delay: Duration,
    /// What becomes of requests over HTTP.
    pub web: Web,
    /// In which order the client's lanes are drained.
    pub polls: Polls,
    /// Who watches.
    pub watch: W,
    provider: Option<Provider>,
    /// The questions to the provider, by when it answers.
    questions: VecDeque<(Timestamp, RequestId)>,
    network: Network,
    /// What was dialled.
    upgrades: BTreeMap<ConnId, ConnectRequest>,
}

impl Lab {
    /// A client that knows the time of day and has not been called yet, and a project. Whatever is
    /// sent arrives 10 ms later.
    #[must_use]
    pub fn new(config: Config, project: PeerConfig) -> Self {
        Self::watched(config, project, ())
    }
}

impl<W: Watch> Lab<W> {
    /// The same under somebody's eyes.
    #[must_use]
    pub fn watched(config: Config, project: PeerConfig, watch: W) -> Self {
        let mut client = Session::new(config, Timestamp::ZERO);
        client.set_wall_clock(Timestamp::ZERO, project.unix_epoch);
        Self {
            client,
            now: Timestamp::ZERO,
            project: Project::new(project),
            dials: Vec::new(),
            sent: Vec::new(),
            ends: Vec::new(),
            events: Vec::new(),
            asked: Vec::new(),
            seen: Vec::new(),
            provider_delay: Duration::ZERO,
            polls: Polls::TransportFirst,
            watch,
            provider: None,
            questions: VecDeque::new(),
            network: network(Climate::Lawful, 0),
            web: Web::default(),
            upgrades: BTreeMap::new(),
        }
    }

    /// What the token provider answers from now on, given the time. Without it, it never does.
    pub fn provides(&mut self, answer: impl FnMut(Timestamp) -> Result<Option<AccessToken>, TokenFailure> + 'static) {
        self.provider = Some(Box::new(answer));
    }

    /// Calls the client and lets what follows at once happen.
    pub fn with<T>(&mut self, call: impl FnOnce(&mut Session, Timestamp) -> T) -> T {
        let result = call(&mut self.client, self.now);
        self.settle();
        result
    }

    /// Orders something from the peer of the client's connection.
    #[expect(clippy::missing_panics_doc, reason = "a test that orders something from nobody is wrong")]
    pub fn with_peer<T>(&mut self, order: impl FnOnce(&mut SupabasePeer, Timestamp) -> T) -> T {
        let conn = self.client.connection().expect("the client has a connection");
        let result = self.project.with_peer(self.now, conn, order).expect("the project knows the connection");
        self.settle();
        result
    }

    /// A row came, changed or went.
    pub fn change(&mut self, change: &RowChange) {
        self.project.change(self.now, change);
        self.settle();
    }

    /// `realtime.send` of the database; see [`Project::send`].
    pub fn send(&mut self, topic: &str, private: bool, event: &str, payload: Payload) {
        self.project.send(self.now, topic, private, event, payload);
        self.settle();
    }

    /// Another client of the project says this, in vsn 2.0.0 and with the key of `anon`. It is there
    /// from its first word on, with no way in between, and does not hear what it is told. Guests of
    /// different numbers are different clients; one that is silent for a minute is closed.
    #[expect(clippy::missing_panics_doc, reason = "a test whose guests are refused is wrong")]
    pub fn guest(&mut self, number: u32, text: &str) {
        let conn = guest(number);
        if self.project.peer(conn).is_none() {
            let target = format!("/socket/websocket?vsn=2.0.0&apikey={}", token("anon", LATE));
            let upgrade = self.project.check_upgrade(self.now, &target, &[]).expect("guests are let in");
            self.project.open(self.now, conn, upgrade);
        }
        let frame = Frame::Text(text.into());
        self.project.handle_transport(self.now, conn, TransportEvent::Received { conn, frame });
        self.settle();
    }

    /// A guest hangs up.
    pub fn guest_goes(&mut self, number: u32) {
        let conn = guest(number);
        let closed = TransportEvent::Closed { conn, code: Some(1000), reason: Text::EMPTY };
        self.project.handle_transport(self.now, conn, closed);
        self.settle();
    }

    /// Lets time pass, from one thing that happens to the next.
    pub fn advance(&mut self, duration: Duration) {
        let until = self.now.saturating_add(duration);
        while let Some(at) = self.next().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.step();
        }
        self.now = until;
    }

    /// What happens to frames on their way. Wanted before anything is sent. The project makes up
    /// its names from the same seed.
    pub fn weather(&mut self, climate: Climate, seed: u64) {
        self.project.commons.seed(seed);
        self.network = network(climate, seed);
    }

    /// How attempts to connect fare on their way to the project.
    pub fn dialling(&mut self, dial: Dial) {
        self.network.weather.dial = dial;
    }

    /// The connection ends, and both ends hear of it.
    pub fn cut(&mut self) {
        self.cut_off(true);
    }

    /// The connection ends, and nobody hears of it.
    pub fn cut_silently(&mut self) {
        self.cut_off(false);
    }

    fn cut_off(&mut self, notice: bool) {
        if let Some(conn) = self.client.connection() {
            self.network.cut(self.now, conn, 0, notice);
        }
    }

    /// What the client sent since the last call.
    pub fn take_sent(&mut self) -> Vec<(Timestamp, Message)> {
        std::mem::take(&mut self.sent)
    }

    /// What the client reported since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events).into_iter().map(|(_, event)| event).collect()
    }

    fn next(&self) -> Option<Timestamp> {
        let answer = self.questions.front().map(|(at, _)| *at);
        let deadlines =
            [self.client.poll_timeout(), self.project.poll_timeout(), self.network.next(), answer, self.web.next()];
        deadlines.into_iter().flatten().min()
    }

    fn step(&mut self) {
        while let Some((conn, delivery)) = self.network.pop_due(self.now) {
            match delivery {
                Delivery::Upgrade => self.upgrade(conn),
                Delivery::ToServer(event) => self.project.handle_transport(self.now, conn, event),
                Delivery::ToClient(event) => self.tell_client(event),
            }
            self.settle();
        }
        while self.questions.front().is_some_and(|(at, _)| *at <= self.now) {
            let question = self.questions.pop_front();
            if let (Some((_, id)), Some(provider)) = (question, &mut self.provider) {
                let answer = provider(self.now);
                self.watch.answers(self.now, id, &answer);
                self.client.handle_token(self.now, id, answer);
                self.settle();
            }
        }
        while let Some(step) = self.web.pop_due(self.now) {
            match step {
                Step::Arrives(request) => self.web.arrive(self.now, request, &mut self.project),
                Step::Answered(id, answer) => self.client.handle_http(self.now, id, answer),
            }
            self.settle();
        }
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.handle_timeout(self.now);
        }
        self.project.handle_timeout(self.now);
        self.settle();
        let deadlines = [self.client.poll_timeout(), self.project.poll_timeout()];
        assert!(deadlines.iter().flatten().all(|at| *at > self.now), "a deadline is left behind: {deadlines:?}");
    }

    fn upgrade(&mut self, conn: ConnId) {
        let Some(request) = self.upgrades.get(&conn) else { return };
        if self.project.config.upgrades == Upgrades::Unanswered {
            return;
        }
        let target = target(&request.url);
        match self.project.check_upgrade(self.now, &target, &request.headers) {
            Ok(upgrade) => {
                self.project.open(self.now, conn, upgrade);
                self.network.send(self.now, conn, Delivery::ToClient(TransportEvent::Opened { conn }));
            }
            Err(refused) => {
                let error = OpenError::refused(refused.status, None, refused.body);
                let failed = Delivery::ToClient(TransportEvent::OpenFailed { conn, error });
                self.network.send_after(self.now, conn, refused.delay, failed);
            }
        }
    }

    fn tell_client(&mut self, event: TransportEvent) {
        self.watch.arrives(&event);
        self.client.handle_transport(self.now, event);
    }

    /// Takes everything out of all lanes.
    fn settle(&mut self) {
        while match self.polls {
            Polls::TransportFirst => self.take_action() || self.take_news(),
            // The last look into the transport lane may have made news, though nothing came out.
            Polls::EventsFirst => self.take_news() || self.take_action() || self.take_news(),
            Polls::InTurn => self.take_action() | self.take_news(),
        } {}
        self.watch.rests(self.now, &self.client);
        while let Some(action) = self.project.poll_transport() {
            self.serve(action);
        }
        self.seen.extend(std::iter::from_fn(|| self.project.poll_event()).map(|(_, event)| (self.now, event)));
    }

    fn take_action(&mut self) -> bool {
        let Some(action) = self.client.poll_transport() else { return false };
        self.watch.acts(self.now, &action);
        self.act(action);
        true
    }

    /// A request or an event.
    fn take_news(&mut self) -> bool {
        if let Some(request) = self.client.poll_request() {
            self.watch.asks(self.now, &request);
            match request {
                Request::Token { id, reason } => {
                    self.asked.push((self.now, reason));
                    self.questions.push_back((self.now.saturating_add(self.provider_delay), id));
                }
                Request::Http(request) => self.web.send(self.now, request),
                other => unreachable!("nobody knows how to do {other:?}"),
            }
            return true;
        }
        let Some(event) = self.client.poll_event() else { return false };
        self.watch.reports(self.now, &event);
        self.events.push((self.now, event));
        true
    }

    fn act(&mut self, action: TransportAction) {
        match action {
            TransportAction::Open(request) => {
                let conn = request.conn;
                self.upgrades.insert(conn, request.clone());
                self.dials.push((self.now, request));
                self.network.dial(self.now, conn);
            }
            TransportAction::Send { conn, frame } => {
                self.record(conn, &frame);
                self.send_to_server(conn, TransportEvent::Received { conn, frame });
            }
            TransportAction::Close { conn, code, reason } => {
                self.ends.push((self.now, conn, Some(code)));
                let closed = TransportEvent::Closed { conn, code: Some(code), reason };
                self.send_to_server(conn, closed.clone());
                self.send_to_client(conn, closed);
            }
            TransportAction::Abort { conn } => {
                self.ends.push((self.now, conn, None));
                self.send_to_server(conn, TransportEvent::Closed { conn, code: None, reason: Text::EMPTY });
            }
        }
    }

    fn serve(&mut self, action: TransportAction) {
        match action {
            TransportAction::Send { conn, frame } => {
                self.send_to_client(conn, TransportEvent::Received { conn, frame })
            }
            TransportAction::Close { conn, code, reason } => {
                let closed = TransportEvent::Closed { conn, code: Some(code), reason };
                self.send_to_client(conn, closed.clone());
                self.send_to_server(conn, closed);
            }
            TransportAction::Abort { conn } => {
                self.send_to_client(conn, TransportEvent::Closed { conn, code: None, reason: Text::EMPTY });
            }
            TransportAction::Open(_) => unreachable!("a server does not dial"),
        }
    }

    fn record(&mut self, conn: ConnId, frame: &Frame) {
        let dialled = self.upgrades.get(&conn).map(|request| target(&request.url)).unwrap_or_default();
        let serializer = serializer_of(&dialled).expect("clients ask for a vsn that exists");
        let message = serializer.decode_from_client(frame.clone()).expect("clients send messages");
        self.sent.push((self.now, message));
    }

    fn send_to_server(&mut self, conn: ConnId, event: TransportEvent) {
        self.network.send(self.now, conn, Delivery::ToServer(event));
    }

    fn send_to_client(&mut self, conn: ConnId, event: TransportEvent) {
        self.network.send(self.now, conn, Delivery::ToClient(event));
    }
}

impl<W> fmt::Debug for Lab<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab").field("now", &self.now).field("client", &self.client).finish_non_exhaustive()
    }
}

/// Clients count their connections from below.
const fn guest(number: u32) -> ConnId {
    ConnId::new(u64::MAX - number as u64)
}

fn network(climate: Climate, seed: u64) -> Network {
    let mut network = Network::new(climate, seed);
    network.weather.latency_ms = 10;
    network
}

/// Path and query of a URL.
pub(super) fn target(url: &str) -> String {
    format!("/{}", url.splitn(4, '/').last().unwrap_or_default())
}
