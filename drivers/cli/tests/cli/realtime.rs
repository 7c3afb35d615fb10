//! A scripted Supabase on a real socket: the peers of `rejoin-sim`, driven as every machine is, and
//! its HTTP and long-poll on the same port.

mod http;
mod long_poll;
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver as Seen, Sender as Notes, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use async_channel::{Receiver, Sender};
use futures_lite::Stream;
use rejoin_core::phoenix::UpgradeConfig;
use rejoin_core::{ConnId, Payload, Text, Timestamp};
use rejoin_pump::{Bridge, Clock, Pump, Runtime, UpgradeRequest};
use rejoin_sim::supabase::{Broken, Commons, PeerConfig, PeerEvent, Refused, Spread, SupabasePeer, Upgrade, Upgrades};
use rejoin_smol::SmolRuntime;
use smol::Async;

use self::long_poll::Sessions;
use crate::program::DEADLINE;

/// Something that is done with one socket's peer.
type Order = Box<dyn FnOnce(&mut SupabasePeer, Timestamp) + Send>;

/// A Supabase project. Its sockets live for as long as the process.
pub(crate) struct Realtime {
    address: SocketAddr,
    shared: Arc<Shared>,
    seen: Seen<PeerEvent>,
}

struct Shared {
    config: PeerConfig,
    /// Done with each peer before its client says anything.
    greeting: fn(&mut SupabasePeer),
    /// Of the next upgrades.
    refusals: Mutex<VecDeque<Refused>>,
    /// What all sockets share.
    commons: Commons,
    peers: Mutex<BTreeMap<ConnId, Sender<Order>>>,
    /// Those that poll, by their tokens.
    sessions: Sessions,
    /// How many clients there were.
    clients: AtomicU64,
    notes: Notes<PeerEvent>,
}

impl Realtime {
    /// The recorded server, but quick to refuse.
    pub(crate) fn start() -> Self {
        Self::with(quick(), |_| {})
    }

    /// The same, broken in one way.
    pub(crate) fn broken(broken: Broken) -> Self {
        Self::with(broken.breaks(quick()), |_| {})
    }

    pub(crate) fn with(config: PeerConfig, greeting: fn(&mut SupabasePeer)) -> Self {
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("a free port");
        let address = listener.get_ref().local_addr().expect("bound");
        let (notes, seen) = channel();
        let shared = Shared {
            config,
            greeting,
            refusals: Mutex::default(),
            commons: Commons::default(),
            peers: Mutex::default(),
            sessions: Sessions::default(),
            clients: AtomicU64::new(0),
            notes,
        };
        let shared = Arc::new(shared);
        let sockets = shared.clone();
        smol::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                smol::spawn(host(sockets.clone(), tcp)).detach();
            }
        })
        .detach();
        Self { address, shared, seen }
    }

    /// The URL of its socket.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/socket", self.address)
    }

    /// The next `times` upgrades are refused.
    pub(crate) fn refuse_upgrades(&self, status: u16, error: &str, times: usize) {
        let refused = Refused::new(status, error, self.shared.config.upgrade_delay);
        lock(&self.shared.refusals).extend(std::iter::repeat_n(refused, times));
    }

    /// Has every peer do this.
    pub(crate) fn order(&self, order: impl FnOnce(&mut SupabasePeer, Timestamp) + Clone + Send + 'static) {
        for peer in lock(&self.shared.peers).values() {
            // A socket that is gone has nothing to do.
            let _ = peer.try_send(Box::new(order.clone()));
        }
    }

    /// `realtime.send` of the database, to channels of this topic, which is without `realtime:`.
    pub(crate) fn send(&self, topic: &str, private: bool, event: &str, payload: Payload) {
        let broadcast = self.shared.commons.send(since_1970(), topic, private, event, payload);
        self.shared.tell(None, &broadcast.into());
    }

    /// Reads on to the next event that is wanted.
    pub(crate) fn sees(&self, wanted: impl Fn(&PeerEvent) -> bool) -> PeerEvent {
        loop {
            let event = self.seen.recv_timeout(DEADLINE).expect("the project sees it in time");
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Reads on to the next join, and gives its payload.
    pub(crate) fn joined(&self) -> serde_json::Value {
        let joined = self.sees(|event| matches!(event, PeerEvent::Joined { .. }));
        let PeerEvent::Joined { payload, .. } = joined else { unreachable!("it was just looked at") };
        payload.parse().expect("JSON")
    }
}

impl Shared {
    /// What everybody but this socket's client is to hear.
    fn tell(&self, but: Option<ConnId>, spread: &Spread) {
        for (_, peer) in lock(&self.peers).iter().filter(|(conn, _)| Some(**conn) != but) {
            let spread = spread.clone();
            let _ = peer.try_send(Box::new(move |peer, now| peer.deliver(now, spread)));
        }
    }

    /// The configuration of a peer whose time begins now.
    fn config_now(&self) -> PeerConfig {
        PeerConfig { unix_epoch: since_1970(), ..self.config.clone() }
    }

    /// Lets a client in, or not.
    fn check(&self, config: &PeerConfig, target: &str, headers: &[(Text, Text)]) -> Result<Upgrade, Refused> {
        let scripted = lock(&self.refusals).pop_front();
        scripted.map_or_else(|| config.check_upgrade(target, headers, Timestamp::ZERO), Err)
    }

    /// A new client's peer, with the orders for it.
    fn peer(&self, config: PeerConfig, upgrade: Upgrade) -> (ConnId, SupabasePeer, Pin<Box<Receiver<Order>>>) {
        let conn = ConnId::new(self.clients.fetch_add(1, Relaxed));
        let mut peer = SupabasePeer::new(config, upgrade, conn, Timestamp::ZERO).sharing(&self.commons);
        (self.greeting)(&mut peer);
        let (sender, orders) = async_channel::unbounded();
        lock(&self.peers).insert(conn, sender);
        (conn, peer, Box::pin(orders))
    }

    /// A peer tells something.
    fn note(&self, conn: ConnId, event: PeerEvent) {
        if let Some(spread) = event.spread() {
            self.tell(Some(conn), &spread);
        }
        // A test need not look.
        let _ = self.notes.send(event);
    }

    /// Answers one request after the other, or none at all.
    async fn serve_http(self: Arc<Self>, mut tcp: Async<TcpStream>) {
        if self.config.upgrades != Upgrades::Unanswered {
            while let Some(request) = http::Request::read(&mut tcp).await {
                let response = if request.is_poll() { Some(self.polled(request).await) } else { self.posted(&request) };
                let Some(response) = response else { break };
                if response.write(&mut tcp).await.is_err() {
                    return;
                }
            }
        }
        http::ignore(tcp).await;
    }

    fn posted(&self, request: &http::Request) -> Option<http::Response> {
        let http::Request { method, target, headers, body } = request;
        let config = self.config_now();
        let (answer, broadcasts) = config.handle_http(&self.commons, Timestamp::ZERO, method, target, headers, body);
        broadcasts.into_iter().for_each(|broadcast| self.tell(None, &broadcast.into()));
        answer.map(http::Response::from)
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("later than 1970")
}

/// The recorded server, whose refusals nobody has to wait for.
pub(crate) fn quick() -> PeerConfig {
    let quick = Duration::from_millis(50);
    PeerConfig { upgrade_delay: quick, refusal_delay: quick, ..PeerConfig::default() }
}

/// Serves one connection to its end.
async fn host(shared: Arc<Shared>, tcp: Async<TcpStream>) {
    if shared.config.upgrades == Upgrades::Unanswered || !http::is_upgrade(&tcp).await {
        return shared.serve_http(tcp).await;
    }
    let Ok(request) = UpgradeRequest::read(rejoin_smol::plain(tcp)).await else { return };
    let headers: Vec<(Text, Text)> = request.headers().map(|(name, value)| (name.into(), value.into())).collect();
    let config = shared.config_now();
    let upgrade = match shared.check(&config, request.target(), &headers) {
        Ok(upgrade) => upgrade,
        Err(refused) => {
            smol::Timer::after(refused.delay).await;
            request.refuse(refused.status, &refused.body).await;
            return;
        }
    };
    let runtime = SmolRuntime::default();
    let clock = Clock::new(runtime.now());
    let frame_bytes = config.frame_bytes * 2;
    let decision = UpgradeConfig::default().decide(&request.head());
    let Ok(accepted) = request.answer_with(decision, frame_bytes).await else { return };
    let (conn, peer, orders) = shared.peer(config, upgrade);
    let bridge = PeerBridge { conn, shared: shared.clone(), orders };
    Pump::new(peer, bridge, runtime, clock, frame_bytes).with_socket(conn, accepted.websocket).await;
    lock(&shared.peers).remove(&conn);
}

struct PeerBridge {
    conn: ConnId,
    shared: Arc<Shared>,
    orders: Pin<Box<Receiver<Order>>>,
}

impl Bridge<SupabasePeer> for PeerBridge {
    fn poll_command(&mut self, cx: &mut Context<'_>, peer: &mut SupabasePeer, now: Timestamp) -> Poll<Option<()>> {
        let order = ready!(self.orders.as_mut().poll_next(cx));
        Poll::Ready(order.map(|order| order(peer, now)))
    }

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &SupabasePeer) -> Poll<()> {
        Poll::Ready(())
    }

    fn deliver(&mut self, _: &mut SupabasePeer, _: Timestamp, event: PeerEvent) {
        self.shared.note(self.conn, event);
    }

    fn publish(&mut self) {}

    fn request(&mut self, _: &mut SupabasePeer, _: Timestamp, request: Infallible) {
        match request {}
    }

    fn hang_up(&mut self, peer: &mut SupabasePeer, now: Timestamp) {
        peer.cut(now);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
