//! Both halves of long-poll with a session at each end and HTTP between them.
//!
//! `SIM_SEED=<n>` plays one seed of the storms, `SIM_SEEDS=<n>` so many of them.

use std::time::Duration;

use rejoin_core::http::{HttpMethod, HttpRequest};
use rejoin_core::phoenix::{ChannelState, Config, ConnectionState, Event, LossReason, PushOutcome, Transport};
use rejoin_core::wire::Serializer;
use rejoin_core::{Machine, TransportKind};
use rejoin_sim::longpoll::{LongPollStorm, LongPollWorld};
use rejoin_sim::{Op, Topic, config};

const SEEDS: u64 = 2_000;

const ROOM: Topic = Topic(1);

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn long_poll(serializer: Serializer) -> Config {
    let mut config = config();
    (config.transport, config.serializer) = (Transport::LongPoll, serializer);
    config
}

fn connected(config: Config) -> LongPollWorld {
    let mut world = LongPollWorld::new(config);
    world.apply(&Op::Connect);
    world.advance(secs(1));
    assert_eq!(world.client.state(), ConnectionState::Connected);
    world
}

fn in_room(config: Config) -> LongPollWorld {
    let mut world = connected(config);
    let room = world.join(ROOM);
    world.advance(secs(1));
    assert_eq!(world.client.channel_state(room), Some(ChannelState::Joined));
    world.take_events();
    world.requests.clear();
    world
}

fn posts(world: &LongPollWorld) -> Vec<&HttpRequest> {
    world.requests.iter().filter(|request| request.method == HttpMethod::Post).collect()
}

fn losses(world: &mut LongPollWorld) -> Vec<LossReason> {
    let reason = |event| if let Event::Disconnected { reason, .. } = event { Some(reason) } else { None };
    world.take_events().into_iter().filter_map(reason).collect()
}

#[test]
fn pushes_are_answered_and_messages_come_under_both_serializers() {
    for serializer in [Serializer::V1, Serializer::V2] {
        let mut world = in_room(long_poll(serializer));
        let (echo, fail) = (world.push(ROOM, "echo", false).unwrap(), world.push(ROOM, "fail", false).unwrap());
        world.apply(&Op::Broadcast { topic: ROOM, binary: false });
        world.advance(secs(1));
        assert!(matches!(world.outcome(echo), Some(PushOutcome::Ok(_))), "{serializer:?}");
        assert!(matches!(world.outcome(fail), Some(PushOutcome::Error(_))));
        let messages = world.take_events().into_iter().filter(|event| matches!(event, Event::Message { .. })).count();
        assert_eq!(messages, 1);
        let content_type = if serializer == Serializer::V1 { "application/json" } else { "application/x-ndjson" };
        assert!(posts(&world).iter().all(|post| &*post.headers[0].1 == content_type));
        world.close_and_check();
        assert!(world.violations().is_empty(), "{:?}", world.violations());
    }
}

#[test]
fn bytes_travel_in_base64_and_come_back_raw() {
    let mut world = in_room(long_poll(Serializer::V2));
    let push = world.push(ROOM, "echo", true).unwrap();
    world.advance(secs(1));
    let Some(PushOutcome::Ok(response)) = world.outcome(push) else { panic!("{:?}", world.outcome(push)) };
    assert_eq!((response.is_binary(), response.as_bytes()), (true, &1u64.to_be_bytes()[..]));
}

#[test]
fn two_hundred_and_fifty_pushes_are_three_posts_in_their_order() {
    let mut world = in_room(long_poll(Serializer::V2));
    let pushes = world.push_many(ROOM, "echo", 250);
    world.advance(secs(2));
    let lines: Vec<_> = posts(&world).iter().map(|post| post.body.split(|b| *b == b'\n').count()).collect();
    assert_eq!(lines, [100, 100, 50]);
    let done: Vec<_> = world
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            Event::PushDone { push, outcome: PushOutcome::Ok(_) } => Some(push),
            _ => None,
        })
        .collect();
    assert_eq!(done, pushes, "each is answered, in the order of the pushes");
}

#[test]
fn an_idle_connection_is_polled_for_ever_and_never_lost() {
    let mut world = in_room(long_poll(Serializer::V2));
    world.advance(secs(3_600));
    assert_eq!(losses(&mut world), []);
    assert_eq!(posts(&world).len(), 0, "there is no heartbeat");
    // A window of 10 s and two ways.
    assert!((350..=360).contains(&world.requests.len()), "{}", world.requests.len());
}

#[test]
fn a_session_that_the_server_has_forgotten_is_replaced_and_everything_is_joined_again() {
    let mut world = in_room(long_poll(Serializer::V2));
    world.restart_server();
    world.advance(secs(3));
    assert_eq!(world.admitted(), 2);
    world.check_liveness();
    // This time the GET survives, as behind a balancer, and a POST finds the session gone.
    let push = {
        world.apply(&Op::Kick { code: 1012 });
        world.push(ROOM, "echo", false).unwrap()
    };
    world.advance(secs(5));
    assert_eq!(world.outcome(push), Some(&PushOutcome::Unknown));
    let gone = LossReason::Closed { code: Some(3410), reason: "session_gone".into() };
    assert_eq!(losses(&mut world).last(), Some(&gone));
    world.check_liveness();
    assert!(world.violations().is_empty(), "{:?}", world.violations());
}

#[test]
fn exchanges_that_break_off_or_are_never_answered_are_a_loss_that_heals() {
    for op in [Op::Cut { keep: 0 }, Op::Vanish] {
        let mut world = in_room(long_poll(Serializer::V2));
        let push = world.push(ROOM, "echo", false).unwrap();
        world.apply(&op);
        world.advance(secs(30));
        assert!(matches!(world.outcome(push), Some(PushOutcome::Unknown | PushOutcome::TimedOut)), "{op:?}");
        assert_eq!(losses(&mut world).len(), 1, "{op:?}");
        world.check_liveness();
        world.close_and_check();
        assert!(world.violations().is_empty(), "{:?}", world.violations());
    }
}

#[test]
fn an_answer_that_is_lost_is_a_loss_and_not_a_hole_in_the_messages() {
    let mut world = in_room(long_poll(Serializer::V2));
    world.lose_answers(1);
    world.apply(&Op::Broadcast { topic: ROOM, binary: false });
    world.advance(secs(1));
    world.apply(&Op::Broadcast { topic: ROOM, binary: false });
    world.advance(secs(30));
    let events = world.take_events();
    let lost = events.iter().position(|event| matches!(event, Event::Disconnected { .. }));
    let heard = events.iter().position(|event| matches!(event, Event::Message { .. }));
    assert!(lost.is_some() && heard.is_none(), "{events:?}");
    world.check_liveness();
    assert!(world.violations().is_empty(), "{:?}", world.violations());
}

#[test]
fn a_close_delivers_what_was_pushed_before_it() {
    let mut world = in_room(long_poll(Serializer::V2));
    world.push_many(ROOM, "noreply", 250);
    world.apply(&Op::Close);
    world.advance(secs(4));
    assert!(world.client.is_finished());
    assert_eq!(world.seen().count(), 250);
    assert_eq!(world.take_events().last(), Some(&Event::Closed));
}

#[test]
fn a_disconnect_delivers_too_and_connecting_again_is_a_new_session() {
    let mut world = in_room(long_poll(Serializer::V2));
    world.push(ROOM, "noreply", false).unwrap();
    world.apply(&Op::Disconnect);
    world.advance(secs(20));
    assert_eq!((world.seen().count(), world.client.state()), (1, ConnectionState::Idle));
    world.apply(&Op::Connect);
    world.advance(secs(2));
    assert_eq!(world.admitted(), 2);
    world.check_liveness();
    assert!(world.violations().is_empty(), "{:?}", world.violations());
}

#[test]
fn where_no_websocket_gets_through_the_session_ends_up_on_long_poll_and_works() {
    let mut config = config();
    config.transport = Transport::AUTO;
    let mut world = LongPollWorld::new(config);
    world.apply(&Op::Connect);
    world.join(ROOM);
    world.advance(secs(10));
    assert_eq!(world.client.transport(), TransportKind::LongPoll);
    world.check_liveness();
    let changed = world.take_events().into_iter().filter(|e| matches!(e, Event::TransportChanged { .. })).count();
    assert_eq!(changed, 1);
    assert!(world.violations().is_empty(), "{:?}", world.violations());
}

#[test]
fn a_long_poll_that_works_is_not_given_up_for_the_websocket() {
    let mut config = config();
    (config.transport, config.fallback_memory) = (Transport::AUTO, TransportKind::LongPoll);
    let mut world = in_room(config);
    world.advance(secs(1_000));
    assert_eq!(losses(&mut world), []);
    // The next dial tries the WebSocket once, and comes back.
    world.restart_server();
    world.advance(secs(20));
    assert_eq!((world.client.transport(), losses(&mut world).len()), (TransportKind::LongPoll, 2));
    world.check_liveness();
    assert!(world.violations().is_empty(), "{:?}", world.violations());
}

#[test]
fn no_storm_over_long_poll_breaks_a_promise() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut pushes = 0;
    for seed in seeds {
        let storm = LongPollStorm::of_seed(seed);
        match storm.run() {
            Ok(world) => pushes += world.seen().count(),
            Err(what) => panic!("SIM_SEED={seed}: {what}\n{storm:?}"),
        }
    }
    assert!(pushes > 0);
}
