//! A Supabase client over pipes and in virtual time, and the scripted Supabase at their other end.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use futures_lite::future::{block_on, poll_once};
use futures_util::{Stream, StreamExt};
use rejoin_core::phoenix::PresenceChange;
use rejoin_core::supabase::{AccessToken, ChannelConfig, Config};
use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{ConnId, ConnectRequest, Frame, Jitter, OpenError, Timestamp};
use rejoin_pump::memory::{MemoryListener, MemoryRuntime, network};
use rejoin_pump::supabase::{Channel, ChannelEvent, Client, ConnectOptions, Listener, connect_with};
use rejoin_pump::{Bridge, Clock, Direction, Pump, Runtime, Tap};
use rejoin_sim::supabase::{PeerConfig, PeerEvent, SupabasePeer, token};

use crate::rig::Rig;

/// More steps than any wait of a test takes.
const MOST_STEPS: usize = 100;

pub(crate) const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// What the wall clock says when a test begins, and how it counts in tokens.
pub(crate) const BEGIN: u64 = 1_800_000_000;

/// A user's token that expires so many seconds after the test began.
pub(crate) fn user_token(expires_in: i64) -> AccessToken {
    AccessToken::new(token("authenticated", BEGIN.cast_signed() + expires_in)).unwrap()
}

/// Delays that are exactly what the tables say.
pub(crate) fn config() -> Config {
    let mut config = Config::new("ws://project.test/socket", "sb_publishable_key").unwrap();
    config.phoenix.jitter = Jitter::None;
    config
}

/// Everything but the client's handles, which the tests hold and drop.
pub(crate) struct Lab {
    pub(crate) rig: Rig,
    server: Arc<Server>,
    sent: Arc<Mutex<Vec<Message>>>,
}

impl Lab {
    pub(crate) fn new() -> (Self, Client) {
        Self::with(config(), ConnectOptions::default())
    }

    pub(crate) fn with(config: Config, options: ConnectOptions) -> (Self, Client) {
        let (mut lab, client, pump) = Self::asleep(config, options);
        lab.rig.spawn(pump);
        (lab, client)
    }

    /// With a server of another kind than the usual one.
    pub(crate) fn against(server: impl FnOnce(&mut PeerConfig)) -> (Self, Client) {
        let (mut lab, client, pump) = Self::asleep(config(), ConnectOptions::default());
        server(&mut lab.server.config.lock().unwrap());
        lab.rig.spawn(pump);
        (lab, client)
    }

    /// Without a server, and with a client that does not connect: whoever dials waits there.
    pub(crate) fn offline(config: Config) -> (Self, Client, MemoryListener) {
        let (runtime, listener) = network();
        let mut options = ConnectOptions::default();
        options.connect = false;
        let (client, pump) = connect_with(config, options, runtime.clone());
        let mut lab = Self { rig: Rig::new(runtime), server: Arc::default(), sent: Arc::default() };
        lab.rig.spawn(pump);
        (lab, client, listener)
    }

    /// With a pump that nobody drives yet.
    pub(crate) fn asleep(
        config: Config,
        mut options: ConnectOptions,
    ) -> (Self, Client, Pin<Box<dyn Future<Output = ()> + Send>>) {
        let (runtime, listener) = network();
        let sent = Arc::<Mutex<Vec<Message>>>::default();
        options.tap = Some(Box::new(Wire { serializer: config.phoenix.serializer, sent: sent.clone() }));
        let (client, pump) = connect_with(config, options, runtime.clone());
        let server = Arc::<Server>::default();
        let mut rig = Rig::new(runtime.clone());
        rig.spawn(Serving { server: server.clone(), listener, runtime, sockets: BTreeMap::new() }.run());
        (Self { rig, server, sent }, client, Box::pin(pump))
    }

    /// Runs a future of the application until it resolves, in no time.
    pub(crate) fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        for _ in 0..MOST_STEPS {
            self.rig.settle();
            assert!(woken.0.swap(false, Ordering::SeqCst), "what it waits for does not come");
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                self.rig.settle();
                return value;
            }
        }
        panic!("it is woken for nothing");
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.rig.advance(by);
    }

    /// Moves time in small steps, as it moves in the world.
    pub(crate) fn live(&mut self, seconds: u64) {
        (0..seconds).for_each(|_| self.advance(secs(1)));
    }

    /// A handle, subscribed and joined, with a listener to everything that has nothing left to say.
    pub(crate) fn join(&mut self, client: &Client, name: &str, config: ChannelConfig) -> (Channel, Listener) {
        let room = client.channel(name, config).unwrap();
        let mut listener = self.wait(room.listen(rejoin_pump::supabase::Listen::everything())).unwrap();
        self.wait(room.subscribe()).unwrap();
        self.wait(listener.subscribed()).unwrap();
        (room, listener)
    }

    /// Lets the server of the newest socket do something.
    pub(crate) fn order(&mut self, order: impl FnOnce(&mut SupabasePeer, Timestamp) + Send + 'static) {
        let orders = self.server.orders.lock().unwrap().clone().expect("a socket was opened");
        orders.try_send(Box::new(order)).expect("the socket is open");
        self.rig.settle();
    }

    /// Whether the server stops reading and writing, without a word.
    pub(crate) fn silence(&mut self, silent: bool) {
        self.server.silent.store(silent, Ordering::SeqCst);
        // It slept through what would have woken it.
        self.rig.poll_all();
    }

    /// What the server has seen since this was asked last.
    pub(crate) fn take_seen(&self) -> Vec<PeerEvent> {
        std::mem::take(&mut self.server.seen.lock().unwrap())
    }

    /// How many sockets the server has opened.
    pub(crate) fn dials(&self) -> u64 {
        *self.server.dials.lock().unwrap()
    }

    /// How many messages of this event the client has sent.
    pub(crate) fn sent(&self, event: &str) -> usize {
        self.sent.lock().unwrap().iter().filter(|message| message.event == event).count()
    }

    /// What the client has sent since this was asked last.
    pub(crate) fn take_sent(&self) -> Vec<Message> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }
}

/// What a stream has to say now.
pub(crate) fn heard<S: Stream + Unpin>(stream: &mut S) -> Vec<S::Item> {
    block_on(async {
        let mut heard = Vec::new();
        while let Some(Some(item)) = poll_once(stream.next()).await {
            heard.push(item);
        }
        heard
    })
}

/// Whether a stream has ended.
pub(crate) fn has_ended<S: Stream + Unpin>(stream: &mut S) -> bool {
    matches!(block_on(poll_once(stream.next())), Some(None))
}

/// The events without what they carry, for comparing whole stories.
pub(crate) fn story(events: &[ChannelEvent]) -> Vec<String> {
    let word = |event: &ChannelEvent| match event {
        ChannelEvent::Subscribed { again: false } => "subscribed".into(),
        ChannelEvent::Subscribed { again: true } => "subscribed again".into(),
        ChannelEvent::SubscribeFailed { .. } => "failed".into(),
        ChannelEvent::Errored { .. } => "errored".into(),
        ChannelEvent::Gap { .. } => "gap".into(),
        ChannelEvent::Broadcast { event, .. } => format!("broadcast {event}"),
        ChannelEvent::PostgresChange { change, .. } => format!("{:?}", change.kind()).to_lowercase(),
        ChannelEvent::PostgresReady { missed_since: None } => "ready".into(),
        ChannelEvent::PostgresReady { missed_since: Some(_) } => "ready again".into(),
        ChannelEvent::PostgresFailed { .. } => "not ready".into(),
        ChannelEvent::PresenceState { members } => {
            format!("members {}", members.iter().map(|member| member.key.as_str()).collect::<Vec<_>>().join("+"))
        }
        ChannelEvent::Presence(change) => match &**change {
            PresenceChange::Join { key, .. } => format!("join {key}"),
            PresenceChange::Update { key, .. } => format!("update {key}"),
            PresenceChange::Leave { key, .. } => format!("leave {key}"),
            PresenceChange::Sync => "sync".into(),
            other => format!("{other:?}"),
        },
        ChannelEvent::FellBackToHttp => "fell back".into(),
        ChannelEvent::System(_) => "system".into(),
        ChannelEvent::Message { event, .. } => format!("message {event}"),
        ChannelEvent::Lagged { missed } => format!("lagged {missed}"),
        ChannelEvent::Closed { reason } => format!("closed: {reason}"),
        other => format!("{other:?}"),
    };
    events.iter().map(word).collect()
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Keeps what the client sends.
struct Wire {
    serializer: Serializer,
    sent: Arc<Mutex<Vec<Message>>>,
}

impl Tap for Wire {
    fn opening(&mut self, _: &ConnectRequest) {}

    fn opened(&mut self, _: ConnId) {}

    fn open_failed(&mut self, _: ConnId, _: &OpenError) {}

    fn frame(&mut self, _: ConnId, direction: Direction, frame: &Frame) {
        if direction == Direction::Out {
            let message = self.serializer.decode_from_client(frame.clone()).expect("the client sends messages");
            self.sent.lock().unwrap().push(message);
        }
    }

    fn closed(&mut self, _: ConnId, _: Direction, _: Option<u16>, _: &str) {}
}

type Order = Box<dyn FnOnce(&mut SupabasePeer, Timestamp) + Send>;

/// What a test sees of the server and does to it.
struct Server {
    config: Mutex<PeerConfig>,
    orders: Mutex<Option<Sender<Order>>>,
    seen: Mutex<Vec<PeerEvent>>,
    dials: Mutex<u64>,
    silent: AtomicBool,
}

/// A server that thinks about nothing: joins and refusals take no time.
impl Default for Server {
    fn default() -> Self {
        let mut config = PeerConfig::default();
        (config.join_time, config.refusal_delay) = (Duration::ZERO, Duration::ZERO);
        // Tests send as much as they like.
        config.messages_per_second = 1_000_000;
        config.joins_per_second = 1_000_000;
        Self {
            config: Mutex::new(config),
            orders: Mutex::default(),
            seen: Mutex::default(),
            dials: Mutex::default(),
            silent: AtomicBool::default(),
        }
    }
}

/// The server's task: accepts sockets and serves them all.
struct Serving {
    server: Arc<Server>,
    listener: MemoryListener,
    runtime: MemoryRuntime,
    sockets: BTreeMap<u64, Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Serving {
    async fn run(mut self) {
        loop {
            let listener = self.listener.clone();
            let mut accepting = pin!(listener.accept());
            let accepted = std::future::poll_fn(|cx| {
                if !self.server.silent.load(Ordering::SeqCst) {
                    self.sockets.retain(|_, socket| socket.as_mut().poll(cx).is_pending());
                }
                accepting.as_mut().poll(cx)
            });
            let Some(accepted) = accepted.await else { return };
            let mut dials = self.server.dials.lock().unwrap();
            *dials += 1;
            let number = *dials;
            drop(dials);
            let mut config = self.server.config.lock().unwrap().clone();
            config.unix_epoch = self.runtime.unix_time();
            let conn = ConnId::new(number);
            let clock = Clock::new(self.runtime.now());
            let upgrade = config.check_upgrade(&accepted.target, &[], Timestamp::ZERO).expect("a good key");
            let frame_bytes = config.frame_bytes;
            let peer = SupabasePeer::new(config, upgrade, conn, Timestamp::ZERO);
            let (sender, orders) = async_channel::unbounded();
            *self.server.orders.lock().unwrap() = Some(sender);
            let bridge = Ordered { server: self.server.clone(), orders: Box::pin(orders) };
            let pump = Pump::new(peer, bridge, self.runtime.clone(), clock, frame_bytes);
            self.sockets.insert(number, Box::pin(pump.with_socket(conn, accepted.websocket)));
        }
    }
}

/// Between a peer and the test.
struct Ordered {
    server: Arc<Server>,
    orders: Pin<Box<Receiver<Order>>>,
}

impl Bridge<SupabasePeer> for Ordered {
    fn poll_command(&mut self, cx: &mut Context<'_>, peer: &mut SupabasePeer, now: Timestamp) -> Poll<Option<()>> {
        // A newer socket takes the orders; this one goes on as it is.
        let Poll::Ready(Some(order)) = self.orders.as_mut().poll_next(cx) else { return Poll::Pending };
        order(peer, now);
        Poll::Ready(Some(()))
    }

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &SupabasePeer) -> Poll<()> {
        Poll::Ready(())
    }

    fn deliver(&mut self, _: &mut SupabasePeer, _: Timestamp, event: PeerEvent) {
        self.server.seen.lock().unwrap().push(event);
    }

    fn publish(&mut self) {}

    fn request(&mut self, _: &mut SupabasePeer, _: Timestamp, request: Infallible) {
        match request {}
    }

    fn hang_up(&mut self, _: &mut SupabasePeer, _: Timestamp) {}
}
