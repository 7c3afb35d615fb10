//! A Supabase session and the scripted Supabase meet under virtual time.

use std::time::Duration;

use rejoin_core::http::HttpError;
use rejoin_core::phoenix::{ChannelId, ConnectionState, LossReason, PresenceChange, PushOutcome};
use rejoin_core::supabase::{
    AccessToken, Broadcast, ChannelConfig, ChannelState, Config, Event, HttpBroadcast, HttpFailure, PostgresBinding,
    PostgresEvent, SubscribeFailure, TokenReason, Trouble,
};
use rejoin_core::{Jitter, Payload, Timestamp};
use rejoin_sim::supabase::{HttpAnswer, LATE, Lab, PeerConfig, PeerEvent, Rest, RowChange, token as key};
use rejoin_sim::{EPOCH, token};

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A client with a key that expires then, and nothing done yet.
fn idle(exp: i64) -> Lab {
    let mut config = Config::new("ws://project.test/socket", &key("anon", exp)).unwrap();
    config.phoenix.jitter = Jitter::None;
    config.token_provider = true;
    Lab::new(config, PeerConfig::default())
}

/// A client that is in `realtime:a`.
fn in_room() -> (Lab, ChannelId) {
    let mut lab = idle(LATE);
    lab.provides(|_| Ok(Some(token(secs(1_000_000), 1))));
    let id = subscribe(&mut lab, "a", &ChannelConfig::default().broadcast_ack());
    assert_eq!(lab.client.channel_state(id), Some(ChannelState::Joined));
    lab.take_sent();
    lab.take_events();
    (lab, id)
}

fn subscribe(lab: &mut Lab, name: &str, config: &ChannelConfig) -> ChannelId {
    lab.with(|client, now| client.connect(now));
    let id = lab.with(|client, now| client.subscribe(now, name, config).unwrap());
    lab.advance(Duration::from_millis(100));
    id
}

#[test]
fn a_client_dials_the_project_and_joins() {
    let mut lab = idle(LATE);
    lab.provides(|_| Ok(Some(token(secs(1_000_000), 1))));
    subscribe(&mut lab, "a", &ChannelConfig::default());
    let sent: Vec<_> = lab.take_sent().iter().map(|(at, sent)| (at.as_millis(), sent.event.to_string())).collect();
    assert_eq!(sent, [(20, "phx_join".into())], "a round trip after the dial");
    assert!(matches!(&lab.seen[..], [(_, PeerEvent::Joined { topic, .. })] if topic == "realtime:a"));
    assert!(lab.take_events().iter().any(|event| matches!(event, Event::Subscribed { again: false, .. })));
}

#[test]
fn a_key_that_is_refused_is_refused_after_two_seconds() {
    let mut lab = idle(1_700_000_000);
    subscribe(&mut lab, "a", &ChannelConfig::default());
    lab.advance(secs(2));
    let lost = lab.events.iter().find_map(|(at, event)| match event {
        Event::Disconnected { reason: LossReason::Open(error), .. } => Some((at.as_millis(), error)),
        _ => None,
    });
    let (at, error) = lost.unwrap();
    assert_eq!((error.status, error.message.as_str()), (Some(401), r#"{"error":"Token has expired"}"#));
    assert_eq!(at, 2_020);
}

#[test]
fn a_join_that_is_refused_for_now_is_tried_again() {
    let (mut lab, id) = in_room();
    lab.with_peer(|peer, now| {
        peer.refuse("realtime:a", "RealtimeRestarting: Realtime is restarting, please standby", 1);
        peer.crash(now, "realtime:a");
    });
    lab.advance(secs(30));
    let refused = |event: &Event| matches!(event, Event::SubscribeFailed { failure: SubscribeFailure::Refused(_), .. });
    assert_eq!(lab.take_events().iter().filter(|event| refused(event)).count(), 1);
    assert_eq!(lab.client.channel_state(id), Some(ChannelState::Joined));
}

#[test]
fn a_broadcast_is_seen_and_acknowledged() {
    let (mut lab, id) = in_room();
    let push = lab.with(|client, now| client.broadcast(now, id, Broadcast::new("e", Payload::EMPTY)).unwrap());
    lab.advance(Duration::from_millis(20));
    let done = Event::PushDone { push, outcome: PushOutcome::Ok(Payload::EMPTY) };
    assert!(lab.take_events().contains(&done));
    assert!(lab.seen.iter().any(|(_, event)| matches!(event, PeerEvent::Broadcast(_))));
}

#[test]
fn a_cut_is_noticed_at_once_and_a_silent_one_by_the_heartbeat() {
    let (mut lab, id) = in_room();
    lab.cut();
    lab.advance(Duration::from_millis(10));
    assert_ne!(lab.client.state(), ConnectionState::Connected);
    lab.advance(secs(5));
    assert_eq!((lab.client.channel_state(id), lab.dials.len()), (Some(ChannelState::Joined), 2));

    let (mut lab, id) = in_room();
    lab.cut_silently();
    lab.advance(secs(20));
    assert_eq!(lab.client.state(), ConnectionState::Connected);
    lab.advance(secs(20));
    assert_eq!((lab.client.channel_state(id), lab.dials.len()), (Some(ChannelState::Joined), 2));
    assert!(lab.take_events().iter().any(|event| matches!(event, Event::Gap { .. })));
}

#[test]
fn a_channel_that_the_server_forgot_is_noticed_by_the_next_push() {
    let (mut lab, id) = in_room();
    lab.with_peer(|peer, now| peer.drop_channels(now));
    lab.with(|client, now| client.broadcast(now, id, Broadcast::new("e", Payload::EMPTY)).unwrap());
    lab.advance(secs(20));
    let forgotten = |event: &Event| matches!(event, Event::ChannelErrored { trouble: Trouble::Forgotten, .. });
    assert!(lab.take_events().iter().any(forgotten));
    assert_eq!(lab.client.channel_state(id), Some(ChannelState::Joined));
}

#[test]
fn tokens_are_renewed_before_the_server_minds() {
    let mut lab = idle(LATE);
    lab.provider_delay = secs(2);
    lab.provides(|now| {
        let unix = EPOCH + now.saturating_since(Timestamp::ZERO) + secs(300);
        Ok(Some(AccessToken::new(key("authenticated", unix.as_secs().cast_signed())).unwrap()))
    });
    let id = subscribe(&mut lab, "priv:rw:1", &ChannelConfig::default().private());
    assert_eq!(lab.client.channel_state(id), Some(ChannelState::AwaitingToken));
    lab.advance(secs(3_600));
    assert_eq!(lab.client.channel_state(id), Some(ChannelState::Joined));
    assert_eq!(lab.asked[0].1, TokenReason::Missing);
    assert!(lab.asked[1..].iter().all(|(_, reason)| *reason == TokenReason::Expiring), "{:?}", lab.asked);
    let pushed = lab.seen.iter().filter(|(_, event)| matches!(event, PeerEvent::TokenPushed { .. })).count();
    assert!((13..=15).contains(&pushed), "{pushed} pushes");
    let ended = lab.seen.iter().any(|(_, event)| matches!(event, PeerEvent::Left { .. } | PeerEvent::Refused { .. }));
    assert!(!ended, "{:?}", lab.seen);
}

#[test]
fn a_client_hears_of_guests_and_of_the_database() {
    let mut lab = idle(LATE);
    lab.provides(|_| Ok(Some(token(secs(1_000_000), 1))));
    let todos = PostgresBinding::new(PostgresEvent::Insert).table("todos").filter("n=gt.1");
    subscribe(&mut lab, "a", &ChannelConfig::default().presence("me").postgres_changes(todos));
    lab.advance(secs(1));
    lab.take_events();

    lab.guest(1, r#"["1","1","realtime:a","phx_join",{"config":{"presence":{"key":"guest"}}}]"#);
    lab.guest(1, r#"["1","2","realtime:a","presence",{"event":"track","payload":{"n":1}}]"#);
    lab.advance(secs(1));
    lab.guest_goes(1);
    lab.change(&RowChange::insert("todos", &serde_json::json!({ "id": 1, "n": 1 })));
    lab.change(&RowChange::insert("todos", &serde_json::json!({ "id": 2, "n": 2 })));
    lab.send("a", false, "e", Payload::EMPTY);
    lab.advance(secs(1));
    let told: Vec<String> = lab
        .take_events()
        .into_iter()
        .map(|event| match event {
            Event::Presence { change, .. } => match *change {
                PresenceChange::Join { key, .. } => format!("{key} came"),
                PresenceChange::Leave { key, .. } => format!("{key} went"),
                other => format!("{other:?}"),
            },
            Event::PostgresChange { change, .. } => {
                change.record::<serde_json::Value>().unwrap().unwrap()["id"].to_string()
            }
            Event::Broadcast { event, meta, .. } => format!("{event}, {}", meta.is_some()),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["guest came", "Sync", "guest went", "Sync", "2", "e, true"]);
}

#[test]
fn a_broadcast_over_http_is_answered_and_heard() {
    let (mut lab, _) = in_room();
    let broadcast = |lab: &mut Lab| {
        let broadcast = HttpBroadcast::new("a", "e", Payload::EMPTY);
        let push = lab.with(|client, now| client.http_broadcast(now, broadcast).unwrap());
        lab.advance(secs(20));
        let events = lab.take_events();
        let heard = events.iter().any(|event| matches!(event, Event::Broadcast { .. }));
        let done = events.into_iter().find_map(|event| match event {
            Event::HttpDone { push: of, outcome } if of == push => Some(outcome),
            _ => None,
        });
        (heard, done.unwrap())
    };
    assert_eq!(broadcast(&mut lab), (true, Ok(())));
    lab.web.failure = Some(HttpError::TimedOut);
    assert_eq!(broadcast(&mut lab), (false, Err(HttpFailure::Http(HttpError::TimedOut))));
    lab.web.failure = None;
    lab.project.config.rest = Rest::Silent;
    assert_eq!(broadcast(&mut lab), (false, Err(HttpFailure::Http(HttpError::TimedOut))));
    lab.project.config.rest = Rest::Answers(HttpAnswer::html(200));
    assert_eq!(broadcast(&mut lab), (false, Err(HttpFailure::NotRealtime { status: 200 })));
    assert_eq!(lab.web.requests.len(), 4);
}
