//! Client and server over long-poll, and beside clients on WebSockets.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use rejoin_core::phoenix::{Config, JoinOptions, Push, PushOutcome, Transport};
use rejoin_core::wire::Serializer;
use rejoin_core::{Jitter, Payload, Text, TransportKind};
use rejoin_pump::memory::network;
use rejoin_pump::{
    Channel, ChannelEvent, Client, ConnectOptions, ConnectionEvent, Events, InboxEvent, Inflow, LongPollHub,
    LongPollOptions, PushFailed, connect_with,
};

use crate::rig::Rig;
use crate::server::Server;

#[test]
fn a_conversation_is_the_same_over_both_transports_and_under_both_serializers() {
    for transport in [Transport::WebSocket, Transport::LongPoll] {
        for serializer in [Serializer::V1, Serializer::V2] {
            let mut lab = Lab::new();
            let mut config = config(transport);
            config.serializer = serializer;
            let client = lab.connect(config);
            let (room, _events) = lab.join(&client);
            let payload = Payload::json("wörld 🐎").unwrap();
            let outcome = lab.push(&room, "echo", payload.clone());
            assert_eq!(outcome, Some(Ok(PushOutcome::Ok(payload))), "{transport:?} {serializer:?}");
        }
    }
}

#[test]
fn clients_of_both_transports_hear_each_other() {
    let mut lab = Lab::new();
    let (far, near) = (lab.connect(config(Transport::LongPoll)), lab.connect(config(Transport::WebSocket)));
    let (far_room, mut far_events) = lab.join(&far);
    let (near_room, mut near_events) = lab.join(&near);
    lab.push(&far_room, "shout", Payload::json(&1u32).unwrap());
    lab.push(&near_room, "shout", Payload::json(&2u32).unwrap());
    assert_eq!(heard(&mut near_events), [message(1)]);
    assert_eq!(heard(&mut far_events), [message(2)]);
}

#[test]
fn many_messages_arrive_whole_and_in_order_in_both_directions() {
    let mut lab = Lab::new();
    let (far, near) = (lab.connect(config(Transport::LongPoll)), lab.connect(config(Transport::WebSocket)));
    let (far_room, mut far_events) = lab.join(&far);
    let (near_room, mut near_events) = lab.join(&near);
    for hundred in 0..10 {
        for n in hundred * 100..(hundred + 1) * 100 {
            for room in [&far_room, &near_room] {
                let push = Push::new("shout", Payload::json(&n).unwrap());
                let _ticket = room.push(push).now_or_never().unwrap().unwrap();
            }
            if n % 7 == 0 {
                lab.rig.settle();
            }
        }
        lab.rig.settle();
        let expected: Vec<_> = (hundred * 100..(hundred + 1) * 100).map(message).collect();
        assert_eq!(heard(&mut near_events), expected);
        assert_eq!(heard(&mut far_events), expected);
    }
}

#[test]
fn a_burst_of_more_than_a_response_holds_arrives_whole_and_in_order() {
    const BURST: u32 = 10_000;
    let mut lab = Lab::new();
    let client = lab.connect(config(Transport::LongPoll));
    let (_room, mut events) = lab.join(&client);
    lab.server.shout((0..BURST).map(|n| Payload::json(&n).unwrap()));
    let mut story = Vec::new();
    while story.len() < BURST as usize {
        lab.rig.settle();
        let news = heard(&mut events);
        assert!(!news.is_empty(), "only {} arrived", story.len());
        story.extend(news);
    }
    assert_eq!(story, (0..BURST).map(message).collect::<Vec<_>>());
}

#[test]
fn a_quiet_session_goes_on_for_hours() {
    let mut lab = Lab::new();
    let client = lab.connect(config(Transport::LongPoll));
    let (room, mut events) = lab.join(&client);
    for _ in 0..3_600 {
        lab.rig.advance(Duration::from_secs(2));
    }
    assert_eq!((lab.server.sessions(), heard(&mut events)), (1, Vec::new()));
    assert!(matches!(lab.push(&room, "echo", Payload::EMPTY), Some(Ok(PushOutcome::Ok(_)))));
}

#[test]
fn a_client_that_closes_is_forgotten_by_the_server() {
    let mut lab = Lab::new();
    let client = lab.connect(config(Transport::LongPoll));
    let _room = lab.join(&client);
    client.close().now_or_never().unwrap();
    lab.rig.settle();
    lab.rig.advance(Duration::from_secs(15));
    assert_eq!(lab.server.sessions(), 0);
}

#[test]
fn a_session_that_the_server_ends_is_begun_anew_and_its_channels_are_joined_again() {
    let mut lab = Lab::new();
    let client = lab.connect(config(Transport::LongPoll));
    let (room, mut events) = lab.join(&client);
    let _ticket = room.push(Push::new("close", Payload::EMPTY)).now_or_never().unwrap().unwrap();
    lab.rig.settle();
    lab.rig.advance(Duration::from_secs(1));
    let story: Vec<_> = std::iter::from_fn(|| events.next().now_or_never().flatten()).collect();
    assert!(matches!(story[..], [ChannelEvent::Errored { .. }, ChannelEvent::Joined { .. }]), "{story:?}");
    assert_eq!(lab.server.sessions(), 1);
    assert!(matches!(lab.push(&room, "echo", Payload::EMPTY), Some(Ok(PushOutcome::Ok(_)))));
}

#[test]
fn where_upgrades_are_refused_auto_falls_back_to_long_poll() {
    let mut lab = Lab::new();
    lab.server.refuse_upgrades(true);
    let client = lab.connect(config(Transport::AUTO));
    let (_, mut inbox) = client.inbox(Inflow::default()).now_or_never().unwrap().unwrap();
    let (room, mut events) = lab.subscribe(&client);
    for _ in 0..20 {
        lab.rig.advance(Duration::from_secs(1));
    }
    assert_eq!(events.joined().now_or_never(), Some(Ok(Payload::EMPTY)));
    assert_eq!(lab.server.sessions(), 1);
    let mut story = std::iter::from_fn(|| inbox.next().now_or_never().flatten());
    let to_keep = story.find_map(|event| match event {
        InboxEvent::Connection(ConnectionEvent::TransportChanged { transport }) => Some(transport),
        _ => None,
    });
    assert_eq!(to_keep, Some(TransportKind::LongPoll));
    assert!(matches!(lab.push(&room, "echo", Payload::EMPTY), Some(Ok(PushOutcome::Ok(_)))));
}

fn config(transport: Transport) -> Config {
    let mut config = Config::new("ws://test/socket").unwrap();
    config.transport = transport;
    config.jitter = Jitter::None;
    config
}

fn message(n: u32) -> (Text, Text) {
    ("shout".into(), n.to_string().into())
}

/// The messages that have arrived.
fn heard(events: &mut Events) -> Vec<(Text, Text)> {
    let mut heard = Vec::new();
    while let Some(Some(event)) = events.next().now_or_never() {
        let ChannelEvent::Message { event, payload } = event else { panic!("{event:?}") };
        heard.push((event, payload.as_json().unwrap().into()));
    }
    heard
}

struct Lab {
    rig: Rig,
    server: Server,
}

impl Lab {
    fn new() -> Self {
        let (runtime, listener) = network();
        let (hub, server) = (LongPollHub::new(LongPollOptions::default()), Server::default());
        let mut rig = Rig::new(runtime.clone());
        rig.spawn(server.clone().run(listener, runtime, hub));
        Self { rig, server }
    }

    fn connect(&mut self, config: Config) -> Client {
        let (client, pump) = connect_with(config, ConnectOptions::default(), self.rig.runtime.clone());
        self.rig.spawn(pump);
        client
    }

    /// A channel, joined or not.
    fn subscribe(&mut self, client: &Client) -> (Channel, Events) {
        let mut joining = pin!(client.join("room:1", JoinOptions::default()));
        assert!(joining.as_mut().now_or_never().is_none());
        self.rig.settle();
        joining.now_or_never().unwrap().unwrap()
    }

    fn join(&mut self, client: &Client) -> (Channel, Events) {
        let (room, mut events) = self.subscribe(client);
        assert_eq!(events.joined().now_or_never(), Some(Ok(Payload::EMPTY)));
        (room, events)
    }

    /// What came of a push, if that takes no time.
    fn push(&mut self, room: &Channel, event: &str, payload: Payload) -> Option<Result<PushOutcome, PushFailed>> {
        let ticket = room.push(Push::new(event, payload)).now_or_never().unwrap().unwrap();
        self.rig.settle();
        ticket.now_or_never()
    }
}
