//! A Supabase client over long-poll, and the scripted Supabase at the other end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use rejoin_core::phoenix::{PushOutcome, Transport};
use rejoin_core::supabase::{Broadcast, ChannelConfig, Config};
use rejoin_core::{ConnId, Jitter, Payload, Timestamp, TransportKind};
use rejoin_pump::memory::{MemoryListener, MemoryRuntime, network};
use rejoin_pump::supabase::{ChannelEvent, ConnectOptions, ConnectionEvent, Listen, connect_with};
use rejoin_pump::{Bridge, Clock, Incoming, LongPollHub, LongPollOptions, LongPollSession, Pump, Runtime};
use rejoin_sim::supabase::{PeerConfig, PeerEvent, SupabasePeer};

use crate::rig::Rig;

#[test]
fn a_supabase_channel_lives_over_long_poll() {
    let (runtime, listener) = network();
    let mut rig = Rig::new(runtime.clone());
    rig.spawn(server(listener, runtime.clone()));
    let mut config = Config::new("ws://project.test/socket", "sb_publishable_key").unwrap();
    (config.phoenix.transport, config.phoenix.jitter) = (Transport::LongPoll, Jitter::None);
    let (client, pump) = connect_with(config, ConnectOptions::default(), runtime);
    rig.spawn(pump);

    let room = client.channel("room", ChannelConfig::default().broadcast_ack().broadcast_self()).unwrap();
    let mut heard = wait(&mut rig, room.listen(Listen::broadcast("cursor"))).unwrap();
    wait(&mut rig, room.subscribe()).unwrap();
    wait(&mut rig, heard.subscribed()).unwrap();
    for n in 0..3 {
        // Polls come and go.
        rig.advance(Duration::from_secs(8));
        let payload = Payload::json(&n).unwrap();
        let ticket = wait(&mut rig, room.broadcast(Broadcast::new("cursor", payload.clone()))).unwrap();
        assert_eq!(wait(&mut rig, ticket), Ok(PushOutcome::Ok(Payload::EMPTY)));
        let Some(ChannelEvent::Broadcast { payload: echoed, .. }) = wait(&mut rig, heard.next()) else { panic!() };
        assert_eq!(echoed, payload);
    }
}

#[test]
fn a_supabase_client_says_that_it_falls_back_to_long_poll() {
    let (runtime, listener) = network();
    let mut rig = Rig::new(runtime.clone());
    rig.spawn(server(listener, runtime.clone()));
    let mut config = Config::new("ws://project.test/socket", "sb_publishable_key").unwrap();
    (config.phoenix.transport, config.phoenix.jitter) = (Transport::AUTO, Jitter::None);
    let (client, pump) = connect_with(config, ConnectOptions::default(), runtime);
    rig.spawn(pump);

    let mut events = wait(&mut rig, client.connection_events()).unwrap();
    for _ in 0..20 {
        rig.advance(Duration::from_secs(1));
    }
    let story = std::iter::from_fn(|| events.next().now_or_never().flatten());
    let changes: Vec<_> = story.filter(|event| !matches!(event, ConnectionEvent::Disconnected { .. })).collect();
    let (transport, connected) = (TransportKind::LongPoll, ConnectionEvent::Connected);
    assert_eq!(changes, [ConnectionEvent::TransportChanged { transport }, connected]);
}

/// What a future resolves to, in no time.
fn wait<T>(rig: &mut Rig, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..10 {
        if let Some(value) = future.as_mut().now_or_never() {
            return value;
        }
        rig.settle();
    }
    panic!("what it waits for does not come");
}

async fn server(listener: MemoryListener, runtime: MemoryRuntime) {
    let hub = LongPollHub::new(LongPollOptions::default());
    crate::server::run_all(|jobs| async move {
        while let Some(io) = listener.accept_io().await {
            let (hub, runtime, jobs) = (hub.clone(), runtime.clone(), jobs.clone());
            let sessions = jobs.clone();
            jobs.start(async move {
                let Ok(Incoming::Http(connection)) = Incoming::read(io).await else { return };
                let admit = |session: LongPollSession| sessions.start(peer(session, runtime.clone()));
                hub.serve(connection, runtime.clone(), admit).await;
            });
        }
    })
    .await;
}

fn peer(session: LongPollSession, runtime: MemoryRuntime) -> impl Future<Output = ()> {
    let mut config = PeerConfig::default();
    // Polling is the sign of life.
    (config.unix_epoch, config.idle_timeout) = (runtime.unix_time(), Duration::from_secs(3_600));
    config.join_time = Duration::ZERO;
    let conn = ConnId::new(1);
    let upgrade = config.check_upgrade(session.target(), &[], Timestamp::ZERO).expect("a good key");
    let (frame_bytes, clock) = (config.frame_bytes, Clock::new(runtime.now()));
    let peer = SupabasePeer::new(config, upgrade, conn, Timestamp::ZERO);
    Pump::new(peer, Onlooker, runtime, clock, frame_bytes).with_long_poll(conn, session)
}

struct Onlooker;

impl Bridge<SupabasePeer> for Onlooker {
    fn poll_command(&mut self, _: &mut Context<'_>, _: &mut SupabasePeer, _: Timestamp) -> Poll<Option<()>> {
        Poll::Pending
    }

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &SupabasePeer) -> Poll<()> {
        Poll::Ready(())
    }

    fn deliver(&mut self, _: &mut SupabasePeer, _: Timestamp, _: PeerEvent) {}

    fn publish(&mut self) {}

    fn request(&mut self, _: &mut SupabasePeer, _: Timestamp, request: Infallible) {
        match request {}
    }

    fn hang_up(&mut self, _: &mut SupabasePeer, _: Timestamp) {}
}
