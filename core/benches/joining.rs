//! What it takes to join channels, and what a joined one that nobody uses keeps in memory.
//!
//! Joining must be linear in the number of channels, and an idle channel must stay below 1 KiB. The
//! floor writes the same joins and reads the same replies, for nobody.

#![expect(clippy::disallowed_methods, reason = "it is not the core that looks at the clock here")]

mod counting;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rejoin_core::phoenix::{self, JoinOptions};
use rejoin_core::supabase::{self, AccessToken, ChannelConfig};
use rejoin_core::wire::{Message, Ref, Serializer};
use rejoin_core::{ConnId, Frame, Machine, Payload, Text, Timestamp, TransportAction, TransportEvent};

use counting::heap;

const NOW: Timestamp = Timestamp::ZERO;
const ROUNDS: usize = 25;

fn main() {
    println!("{:26} {:>8} {:>12} {:>12} {:>14}", "", "channels", "ns/channel", "floor", "bytes/channel");
    // At 1,025 every table has just doubled.
    for count in [100, 1_000, 1_025, 10_000] {
        let topics: Vec<_> = (0..count).map(|i| format!("realtime:room:{}", 10_000 + i)).collect();
        report("phoenix session", &topics, phoenix_session);
        report("supabase session", &topics, || supabase_session(None));
        report("supabase, token of 1 KiB", &topics, || supabase_session(Some(token())));
    }
}

fn report<S: Joins>(what: &str, topics: &[String], session: impl Fn() -> S) {
    let payload = payload_of_a_join(&mut session());
    let (mut joining, mut floor) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        joining = joining.min(time_to_join(topics, &mut session()));
        floor = floor.min(time_of_floor(topics, &payload));
    }
    let per_channel = |time: Duration| time.as_nanos() / topics.len() as u128;
    let (joining, floor, bytes) = (per_channel(joining), per_channel(floor), idle_bytes(topics, &mut session()));
    println!("{what:26} {:>8} {joining:>12} {floor:>12} {bytes:>14}", topics.len());
    assert!(bytes < 1 << 10, "{what}: {bytes} bytes");
}

fn time_to_join<S: Joins>(topics: &[String], session: &mut S) -> Duration {
    let conn = open(session);
    let replies = replies(topics);
    let start = Instant::now();
    join_all(session, conn, topics, replies);
    start.elapsed()
}

fn time_of_floor(topics: &[String], payload: &Payload) -> Duration {
    let replies = replies(topics);
    let start = Instant::now();
    for (topic, number) in topics.iter().zip(1..) {
        let join = Message::new(topic.as_str(), Text::from_static("phx_join"), payload.clone());
        let join = join.with_refs(Some(Ref::from(number)), Some(Ref::from(number)));
        black_box(Serializer::V2.encode_from_client(&join).unwrap());
    }
    for reply in replies {
        black_box(Serializer::V2.decode_from_server(reply).unwrap().as_reply());
    }
    start.elapsed()
}

/// What the session keeps for each channel when its events are read. The replies share a buffer, as
/// those of one read do, which any slice that is kept would keep whole.
fn idle_bytes<S: Joins>(topics: &[String], session: &mut S) -> i64 {
    let conn = open(session);
    let before = heap().0;
    join_all(session, conn, topics, replies(topics));
    (heap().0 - before) / topics.len() as i64
}

/// A session of either dialect, with all pacing off.
trait Joins: Machine {
    fn join_one(&mut self, topic: &str);
}

impl Joins for phoenix::Session {
    fn join_one(&mut self, topic: &str) {
        self.join(NOW, topic, JoinOptions::default()).unwrap();
    }
}

impl Joins for supabase::Session {
    fn join_one(&mut self, topic: &str) {
        self.subscribe(NOW, topic, &ChannelConfig::default()).unwrap();
    }
}

fn phoenix_session() -> phoenix::Session {
    let mut config = phoenix::Config::new("ws://localhost/socket").unwrap();
    config.limits.joins_in_flight = usize::MAX;
    let mut session = phoenix::Session::new(config, NOW);
    session.connect(NOW);
    session
}

fn supabase_session(token: Option<AccessToken>) -> supabase::Session {
    let mut config = supabase::Config::new("ws://localhost/socket", "key").unwrap();
    config.phoenix.limits.joins_in_flight = usize::MAX;
    config.phoenix.limits.joins_per_second = None;
    config.access_token = token;
    let mut session = supabase::Session::new(config, NOW);
    session.connect(NOW);
    session
}

fn token() -> AccessToken {
    AccessToken::new(format!("e30.e30.{}", "c2ln".repeat(254))).unwrap()
}

fn open<S: Machine>(session: &mut S) -> ConnId {
    let Some(TransportAction::Open(request)) = session.poll_transport() else { panic!("it dials") };
    session.handle_transport(NOW, TransportEvent::Opened { conn: request.conn });
    assert!(session.poll_event().is_some(), "it is connected");
    request.conn
}

fn join_all<S: Joins>(session: &mut S, conn: ConnId, topics: &[String], replies: Vec<Frame>) {
    for topic in topics {
        session.join_one(topic);
    }
    for _ in topics {
        assert!(matches!(session.poll_transport(), Some(TransportAction::Send { .. })));
    }
    for frame in replies {
        session.handle_transport(NOW, TransportEvent::Received { conn, frame });
        assert!(session.poll_event().is_some(), "it is joined");
    }
}

fn payload_of_a_join<S: Joins>(session: &mut S) -> Payload {
    open(session);
    session.join_one("realtime:room");
    let Some(TransportAction::Send { frame, .. }) = session.poll_transport() else { panic!("it joins") };
    Serializer::V2.decode_from_client(frame).unwrap().payload
}

/// What a server answers to joins in this order.
fn replies(topics: &[String]) -> Vec<Frame> {
    let mut buffer = BytesMut::new();
    let mut frame = |(topic, number): (&String, u64)| {
        let reply = Message::reply(topic.as_str(), "ok", &Payload::EMPTY);
        let reply = reply.with_refs(Some(Ref::from(number)), Some(Ref::from(number)));
        let frame = Serializer::V2.encode_from_server(&reply).unwrap();
        buffer.extend_from_slice(frame.as_bytes());
        frame.len()
    };
    let lens: Vec<_> = topics.iter().zip(1..).map(&mut frame).collect();
    lens.into_iter().map(|len| Frame::Text(Text::assume_utf8(buffer.split_to(len).freeze()))).collect()
}
