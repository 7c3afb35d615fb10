//! What a pump does besides moving frames: it watches the wall clock and drives answers.

mod rig;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::FutureExt;
use rejoin_core::phoenix::{Config, JoinOptions, ServerConfig, ServerEvent, ServerSession};
use rejoin_core::{
    Backoff, ConnId, ConnectRequest, Frame, Jitter, Machine, OpenError, Payload, Timestamp, TransportAction,
    TransportEvent,
};
use rejoin_pump::memory::{MemoryListener, MemoryRuntime, network};
use rejoin_pump::{
    Bridge, ChannelEvent, Client, Clock, ConnectOptions, Direction, Inflow, Pump, Runtime, Tap, connect_with, serve,
};
use rig::Rig;

const HOUR: Duration = Duration::from_secs(3600);

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// Trap T8: one heartbeat, not one for each that was slept through.
#[test]
fn a_suspended_host_checks_its_connection_once_when_it_wakes() {
    let (mut rig, seen, _client) = connected(secs(60));
    rig.advance(secs(30));
    assert_eq!(seen.heartbeats(), 0, "nothing has happened");
    rig.runtime.suspend(HOUR);
    rig.advance(secs(29));
    assert_eq!(seen.heartbeats(), 0, "asleep");
    rig.advance(secs(1));
    // The next regular one is due now too: still there is only one.
    assert_eq!(seen.heartbeats(), 1);

    rig.advance(secs(20));
    rig.runtime.suspend(HOUR);
    rig.advance(secs(30));
    assert_eq!(seen.heartbeats(), 2, "ten seconds early");
    rig.advance(secs(59));
    assert_eq!(seen.heartbeats(), 2);
    rig.advance(secs(1));
    assert_eq!(seen.heartbeats(), 3, "one interval after the early one");
}

#[test]
fn a_suspension_is_noticed_without_heartbeats_too() {
    let mut config = Config::new("ws://test/socket").unwrap();
    config.heartbeat_interval = None;
    let (mut rig, seen, _client) = connected_with(config);
    rig.advance(secs(30));
    rig.runtime.suspend(HOUR);
    rig.advance(secs(30));
    assert_eq!(seen.heartbeats(), 1);
}

#[test]
fn a_suspended_client_that_waits_for_its_next_attempt_dials_when_it_wakes() {
    let (runtime, listener) = network();
    drop(listener);
    let mut config = Config::new("ws://test/socket").unwrap();
    config.reconnect = Backoff::Steps(vec![secs(120)]);
    config.jitter = Jitter::None;
    let (mut rig, seen, _client) = dialling(config, runtime);
    rig.advance(secs(30));
    assert_eq!(seen.dials(), 1);
    rig.runtime.suspend(HOUR);
    rig.advance(secs(30));
    assert_eq!(seen.dials(), 2);
}

#[test]
fn a_client_that_wants_no_connection_is_left_asleep() {
    let (runtime, _listener) = network();
    let mut options = ConnectOptions::default();
    options.connect = false;
    let (_client, pump) = connect_with(Config::new("ws://test/socket").unwrap(), options, runtime.clone());
    let mut rig = Rig::new(runtime);
    rig.spawn(pump);
    assert_eq!(rig.advance(HOUR), 0);
}

#[test]
fn the_wall_clock_is_told_first_of_all_then_when_a_timer_fires_and_once_a_second() {
    let (runtime, _listener) = network();
    let begin = runtime.unix_time();
    let told = Told::default();
    let (_open, answered) = oneshot::channel();
    let machine = Asker { deadline: Some(Timestamp::from_millis(300)), ..Asker::default() };
    let mut rig = asking(machine, Watcher { told: told.clone(), answered }, runtime);

    rig.poll_all();
    rig.advance(Duration::from_millis(300));
    rig.advance(Duration::from_millis(999));
    rig.poll_all();
    rig.advance(Duration::from_millis(1));
    rig.poll_all();
    rig.runtime.suspend(HOUR);
    rig.poll_all();
    rig.advance(secs(1));
    rig.poll_all();
    rig.advance(secs(7));
    rig.poll_all();
    let told: Vec<_> = told.0.lock().unwrap().iter().map(|(at, jumped)| ((*at - begin).as_millis(), *jumped)).collect();
    assert_eq!(told, [(0, false), (300, false), (1_300, false), (3_602_300, true), (3_609_300, false)]);
}

#[test]
fn answers_arrive_while_the_machine_is_congested_and_when_nobody_holds_a_handle() {
    for congested in [false, true] {
        let (runtime, _listener) = network();
        let (answer, answered) = oneshot::channel();
        let machine = Asker { congested, ..Asker::default() };
        let mut rig = asking(machine, Watcher { told: Told::default(), answered }, runtime);
        assert_eq!(rig.running(), 1);
        answer.send(()).unwrap();
        rig.settle();
        assert_eq!(rig.running(), 0, "the answer was all that it waited for");
    }
}

#[test]
fn closing_waits_for_no_reader() {
    let (runtime, listener) = network();
    drop(listener);
    let (mut rig, _seen, client) = dialling(Config::new("ws://test/socket").unwrap(), runtime);
    // Each failed attempt is an event, and nobody reads a single one.
    let _unread = client.inbox(Inflow::Block { capacity: 1 }).now_or_never().unwrap().unwrap();
    rig.advance(HOUR);
    client.close().now_or_never().unwrap();
    rig.advance(HOUR);
    assert_eq!(rig.running(), 0);
}

/// A Supabase server that is spoken to in plain Phoenix sends these, too.
#[test]
fn a_binary_user_broadcast_reaches_the_readers_of_a_phoenix_channel() {
    let (runtime, listener) = network();
    let (mut rig, _seen, client) = dialling(Config::new("ws://test/socket").unwrap(), runtime.clone());
    rig.spawn(async move {
        let accepted = listener.accept().await.expect("the client is alive");
        let config = ServerConfig::new(accepted.serializer);
        let (peer, mut events, pump) = serve(accepted.websocket, ConnId::new(1), config, runtime);
        let host = async {
            while let Some(event) = events.next().await {
                let ServerEvent::Join { join, .. } = event else { continue };
                let channel = peer.accept_join(join, Payload::EMPTY).unwrap();
                let (meta, payload) = (Payload::json(&[7]).unwrap(), Payload::binary(vec![1].into()));
                peer.push_user_broadcast(channel, "cursor", Some(meta), payload).unwrap();
            }
        };
        futures_lite::future::zip(pump, host).await;
    });
    let (said, mut hears) = oneshot::channel();
    rig.spawn(async move {
        let (_room, mut events) = client.join("room", JoinOptions::default()).await.unwrap();
        while let Some(event) = events.next().await {
            if let ChannelEvent::UserBroadcast { event, payload, meta } = event {
                said.send((event.to_string(), payload, meta)).unwrap();
                return;
            }
        }
    });
    let (event, payload, meta) = hears.try_recv().unwrap().expect("it is heard");
    assert_eq!((event.as_str(), payload.as_bytes()), ("cursor", &[1][..]));
    assert_eq!(meta.unwrap().as_json(), Some("[7]"));
}

/// A client of a server that answers heartbeats, with what its connections carry.
fn connected(heartbeat_interval: Duration) -> (Rig, Seen, Client) {
    let mut config = Config::new("ws://test/socket").unwrap();
    config.heartbeat_interval = Some(heartbeat_interval);
    connected_with(config)
}

fn connected_with(config: Config) -> (Rig, Seen, Client) {
    let (runtime, listener) = network();
    let (mut rig, seen, client) = dialling(config, runtime.clone());
    rig.spawn(server(listener, runtime));
    (rig, seen, client)
}

/// Found on two threads, where the reader of a full queue reads while its pump looks for room.
#[test]
fn room_that_is_made_while_the_pump_looks_on_wakes_nobody_and_is_used() {
    let (runtime, listener) = network();
    let (client, pump) =
        connect_with(Config::new("ws://test/socket").unwrap(), ConnectOptions::default(), runtime.clone());
    let mut rig = Rig::new(runtime.clone());
    rig.spawn(async move {
        let accepted = listener.accept().await.expect("the client is alive");
        let clock = Clock::new(runtime.now());
        let session = ServerSession::new(ServerConfig::new(accepted.serializer), ConnId::new(1), Timestamp::ZERO);
        let pump = Pump::new(session, Host { has_looked: false }, runtime, clock, 1024);
        pump.with_socket(ConnId::new(1), accepted.websocket).await;
    });
    rig.spawn(pump);
    let mut joining = Box::pin(client.join("room", JoinOptions::default()));
    assert!(joining.as_mut().now_or_never().is_none());
    rig.settle();
    let (room, mut events) = joining.now_or_never().expect("it is carried out").expect("it is new");
    assert!(events.joined().now_or_never().is_some(), "it was read");
    drop(room);
}

/// Lets everybody in. Has no room the first time it is asked, and wakes nobody for having some.
struct Host {
    has_looked: bool,
}

impl Bridge<ServerSession> for Host {
    fn poll_command(&mut self, _: &mut Context<'_>, _: &mut ServerSession, _: Timestamp) -> Poll<Option<()>> {
        Poll::Pending
    }

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &ServerSession) -> Poll<()> {
        if std::mem::replace(&mut self.has_looked, true) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn deliver(&mut self, session: &mut ServerSession, now: Timestamp, event: ServerEvent) {
        if let ServerEvent::Join { join, .. } = event {
            session.accept_join(now, join, Payload::EMPTY).unwrap();
        }
    }

    fn publish(&mut self) {}

    fn request(&mut self, _: &mut ServerSession, _: Timestamp, request: Infallible) {
        match request {}
    }

    fn hang_up(&mut self, _: &mut ServerSession, _: Timestamp) {}
}

fn dialling(config: Config, runtime: MemoryRuntime) -> (Rig, Seen, Client) {
    let seen = Seen::default();
    let mut options = ConnectOptions::default();
    options.tap = Some(Box::new(seen.clone()));
    let (client, pump) = connect_with(config, options, runtime.clone());
    let mut rig = Rig::new(runtime);
    rig.spawn(pump);
    (rig, seen, client)
}

async fn server(listener: MemoryListener, runtime: MemoryRuntime) {
    let accepted = listener.accept().await.expect("the client is alive");
    let mut config = ServerConfig::new(accepted.serializer);
    config.idle_timeout = None;
    let (_peer, _events, pump) = serve(accepted.websocket, ConnId::new(1), config, runtime);
    pump.await;
}

/// Counts what leaves.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    dials: usize,
    heartbeats: usize,
}

impl Seen {
    fn dials(&self) -> usize {
        self.0.lock().unwrap().dials
    }

    fn heartbeats(&self) -> usize {
        self.0.lock().unwrap().heartbeats
    }
}

impl Tap for Seen {
    fn opening(&mut self, _: &ConnectRequest) {
        self.0.lock().unwrap().dials += 1;
    }

    fn opened(&mut self, _: ConnId) {}

    fn open_failed(&mut self, _: ConnId, _: &OpenError) {}

    fn frame(&mut self, _: ConnId, direction: Direction, frame: &Frame) {
        let is_heartbeat = frame.as_bytes().windows(9).any(|name| name == b"heartbeat");
        if direction == Direction::Out && is_heartbeat {
            self.0.lock().unwrap().heartbeats += 1;
        }
    }

    fn closed(&mut self, _: ConnId, _: Direction, _: Option<u16>, _: &str) {}
}

/// A machine with one question, finished when it is answered.
#[derive(Default)]
struct Asker {
    congested: bool,
    deadline: Option<Timestamp>,
    asked: bool,
    answered: bool,
}

impl Machine for Asker {
    type Event = Infallible;
    type Request = ();

    fn handle_transport(&mut self, _: Timestamp, _: TransportEvent) {}

    fn handle_timeout(&mut self, now: Timestamp) {
        self.deadline = self.deadline.filter(|at| *at > now);
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.deadline
    }

    fn poll_transport(&mut self) -> Option<TransportAction> {
        None
    }

    fn poll_request(&mut self) -> Option<()> {
        (!std::mem::replace(&mut self.asked, true)).then_some(())
    }

    fn poll_event(&mut self) -> Option<Infallible> {
        None
    }

    fn connection(&self) -> Option<ConnId> {
        None
    }

    fn is_congested(&self) -> bool {
        self.congested
    }

    fn is_finished(&self) -> bool {
        self.answered
    }
}

fn asking(machine: Asker, bridge: Watcher, runtime: MemoryRuntime) -> Rig {
    let clock = Clock::new(runtime.now());
    let mut rig = Rig::new(runtime.clone());
    rig.spawn(Pump::new(machine, bridge, runtime, clock, 1024));
    rig
}

/// Without handles from the beginning; knows the answer when the test does.
struct Watcher {
    told: Told,
    answered: oneshot::Receiver<()>,
}

/// What the wall clock said, and whether it jumped.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<(Duration, bool)>>>);

impl Bridge<Asker> for Watcher {
    fn poll_command(&mut self, _: &mut Context<'_>, _: &mut Asker, _: Timestamp) -> Poll<Option<()>> {
        assert!(!self.told.0.lock().unwrap().is_empty(), "the time of day comes first");
        Poll::Ready(None)
    }

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &Asker) -> Poll<()> {
        Poll::Ready(())
    }

    fn deliver(&mut self, _: &mut Asker, _: Timestamp, event: Infallible) {
        match event {}
    }

    fn publish(&mut self) {}

    fn request(&mut self, machine: &mut Asker, _: Timestamp, (): ()) {
        assert!(machine.asked);
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>, machine: &mut Asker, _: Timestamp) -> bool {
        if machine.answered || !machine.asked {
            return false;
        }
        machine.answered = matches!(Pin::new(&mut self.answered).poll(cx), Poll::Ready(Ok(())));
        machine.answered
    }

    fn wall_clock(&mut self, _: &mut Asker, _: Timestamp, since_unix_epoch: Duration, jumped: bool) {
        self.told.0.lock().unwrap().push((since_unix_epoch, jumped));
    }

    fn hang_up(&mut self, _: &mut Asker, _: Timestamp) {}
}
