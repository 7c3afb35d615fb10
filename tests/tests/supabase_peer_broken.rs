//! Broken servers: up to where a client of ours gets with each.

use std::time::Duration;

use rejoin_core::phoenix::{ConnectionState, LossReason};
use rejoin_core::supabase::{
    Broadcast, ChannelConfig, ChannelState, Config, Event, PostgresBinding, PostgresEvent, PostgresFailure,
    SubscribeFailure,
};
use rejoin_core::{Jitter, Payload};
use rejoin_sim::supabase::{Broken, LATE, Lab, PeerConfig, token};

/// How far a client gets within a minute, and what it is told on its way.
#[derive(Debug, PartialEq)]
struct Reached {
    connected: bool,
    /// The status of the first refused upgrade.
    status: Option<u16>,
    /// Whether the connection was given up.
    lost: bool,
    joined: bool,
    refused: bool,
    heard_itself: bool,
    saw_members: bool,
    postgres: bool,
    /// Whether the server said that it will not tell of the database.
    postgres_refused: bool,
}

const ALL_IS_WELL: Reached = Reached {
    connected: true,
    status: None,
    lost: false,
    joined: true,
    refused: false,
    heard_itself: true,
    saw_members: true,
    postgres: true,
    postgres_refused: false,
};

fn reached(project: PeerConfig) -> Reached {
    let mut config = Config::new("ws://project.test/socket", &token("anon", LATE)).unwrap();
    config.phoenix.jitter = Jitter::None;
    let mut lab = Lab::new(config, project);
    let channel = ChannelConfig::default()
        .broadcast_self()
        .presence("")
        .postgres_changes(PostgresBinding::new(PostgresEvent::All).table("todos"));
    lab.with(|client, now| client.connect(now));
    let id = lab.with(|client, now| client.subscribe(now, "a", &channel).unwrap());
    lab.advance(Duration::from_secs(5));
    let (connected, joined) =
        (lab.client.state() == ConnectionState::Connected, lab.client.channel_state(id) == Some(ChannelState::Joined));
    if joined {
        lab.with(|client, now| client.broadcast(now, id, Broadcast::new("e", Payload::EMPTY)).unwrap());
    }
    lab.advance(Duration::from_secs(55));
    let events = lab.take_events();
    let any = |wanted: fn(&Event) -> bool| events.iter().any(wanted);
    Reached {
        connected,
        joined,
        status: events.iter().find_map(|event| match event {
            Event::Disconnected { reason: LossReason::Open(error), .. } => error.status,
            _ => None,
        }),
        lost: any(|event| matches!(event, Event::Disconnected { .. })),
        refused: any(|event| matches!(event, Event::SubscribeFailed { failure: SubscribeFailure::Refused(_), .. })),
        heard_itself: any(|event| matches!(event, Event::Broadcast { .. })),
        saw_members: lab.client.presence(id).is_some_and(|presence| presence.synced().is_some()),
        postgres: any(|event| matches!(event, Event::PostgresReady { .. })),
        postgres_refused: any(|event| {
            matches!(event, Event::PostgresFailed { failure: PostgresFailure::Refused { .. }, .. })
        }),
    }
}

#[test]
fn each_broken_server_fails_its_client_where_it_says() {
    assert_eq!(reached(PeerConfig::default()), ALL_IS_WELL);
    let none = Reached {
        connected: false,
        lost: true,
        joined: false,
        heard_itself: false,
        saw_members: false,
        postgres: false,
        ..ALL_IS_WELL
    };
    for broken in Broken::ALL {
        let expected = match broken {
            Broken::Unanswered => Reached { ..none },
            Broken::Upgrade(status) => Reached { status: Some(status), ..none },
            Broken::Heartbeats => Reached { lost: true, ..ALL_IS_WELL },
            Broken::JoinRefused => Reached { connected: true, lost: false, refused: true, ..none },
            Broken::JoinUnanswered => Reached { connected: true, lost: false, ..none },
            Broken::Broadcasts => Reached { heard_itself: false, ..ALL_IS_WELL },
            Broken::Presence => Reached { saw_members: false, ..ALL_IS_WELL },
            Broken::PostgresFailed => Reached { postgres: false, postgres_refused: true, ..ALL_IS_WELL },
            Broken::PostgresNeverReady => Reached { postgres: false, ..ALL_IS_WELL },
        };
        assert_eq!(reached(broken.breaks(PeerConfig::default())), expected, "{broken:?}");
    }
}
