//! Reconnecting and rejoining: everything that is wanted comes back, exactly once, and nothing else.

use std::num::NonZeroU32;
use std::time::Duration;

use rejoin_core::phoenix::{ChannelState, CloseReason, Event, JoinOptions, Push, TroubleCause};
use rejoin_core::{Backoff, Frame, OpenError, Payload, TransportEvent};
use rejoin_sim::{Script, config};

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn the_first_retry_is_soon_and_joins_leave_with_the_opening() {
    let (mut s, _) = Script::in_room(config());
    s.closed(None);
    let lost = s.now;
    s.advance(secs(1));
    assert_eq!(s.dials[1].0, lost.saturating_add(secs(1)));
    s.opened();
    assert_eq!(s.take_sent_names(), ["phx_join"]);
}

#[test]
fn a_channel_joined_offline_is_joined_once_after_many_failed_attempts() {
    let mut s = Script::new(config());
    s.join("room");
    s.connect();
    for _ in 0..3 {
        s.closed(None);
        s.advance(secs(10));
    }
    s.opened();
    s.advance(secs(10));
    assert_eq!(s.take_sent_names(), ["phx_join"]);
}

#[test]
fn a_join_made_offline_does_not_time_out_before_it_is_sent() {
    let mut s = Script::new(config());
    let room = s.join("room");
    s.advance(secs(60));
    s.connect();
    s.opened();
    s.advance(Duration::from_millis(14_900));
    assert!(!s.events.iter().any(|(_, event)| matches!(event, Event::JoinFailed { .. })));
    s.accept("room");
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
}

/// Every cause of a loss, every state of a channel: afterwards one join for each that is wanted.
#[test]
fn after_any_loss_every_wanted_channel_is_joined_once_and_no_other() {
    type Loss = fn(&mut Script);
    let losses: [(&str, Loss); 4] = [
        ("closed", |s| s.closed(Some(1011))),
        ("error", |s| s.transport(TransportEvent::OpenFailed { conn: s.conn(), error: OpenError::io("reset") })),
        ("heartbeat", |s| {
            s.answers_heartbeats = false;
            s.advance(secs(40));
        }),
        ("reconnect", |s| s.with(|session, now| session.reconnect(now))),
    ];
    for (name, lose) in losses {
        let mut config = config();
        config.limits.joins_in_flight = 10;
        // None of the timers may change a state before the heartbeat is missed.
        (config.join_timeout, config.leave_timeout) = (secs(100), secs(100));
        config.rejoin = Backoff::Steps(vec![secs(100)]);
        let mut s = Script::open(config);
        let joined = s.join("joined");
        s.accept("joined");
        let errored = s.join("errored");
        s.answer_join("errored", "error", "{}");
        let leaving = s.join("leaving");
        s.accept("leaving");
        s.leave(leaving);
        let joining = s.join("joining");
        let states: Vec<_> = [joined, errored, leaving, joining].map(|id| s.session.channel_state(id).unwrap()).into();
        assert_eq!(
            states,
            [ChannelState::Joined, ChannelState::Errored, ChannelState::Leaving, ChannelState::Joining],
            "{name}"
        );
        lose(&mut s);
        s.take_sent();
        s.advance(secs(2));
        s.opened();
        let mut topics: Vec<_> =
            s.take_sent().iter().map(|sent| format!("{} {}", sent.event(), sent.topic())).collect();
        topics.sort_unstable();
        assert_eq!(topics, ["phx_join errored", "phx_join joined", "phx_join joining"], "{name}");
        let closed = Event::ChannelClosed { channel: leaving, reason: CloseReason::Left };
        assert_eq!(s.take_events().iter().filter(|event| **event == closed).count(), 1, "{name}");
    }
}

#[test]
fn a_flapping_connection_costs_one_join_a_channel_and_opening() {
    let mut s = Script::open(config());
    for n in 0..3 {
        s.join(&format!("room:{n}"));
    }
    let mut opens = 1;
    for _ in 0..20 {
        s.closed(None);
        s.advance(secs(10));
        s.opened();
        opens += 1;
    }
    let joins = s.take_sent_names().iter().filter(|name| *name == "phx_join").count();
    assert_eq!(joins, opens * 3);
    let causes = s.take_events().into_iter().filter_map(|event| match event {
        Event::ChannelErrored { cause, .. } => Some(cause),
        _ => None,
    });
    assert!(causes.into_iter().all(|cause| cause == TroubleCause::ConnectionLost));
}

#[test]
fn a_new_connection_starts_with_joins_and_never_with_a_leave() {
    let (mut s, room) = Script::in_room(config());
    let other = s.join("other");
    s.accept("other");
    s.leave(room);
    s.closed(None);
    s.take_sent();
    s.advance(secs(1));
    s.opened();
    assert_eq!(s.take_sent_names(), ["phx_join"]);
    assert_eq!(s.session.channel_state(other), Some(ChannelState::Joining));
}

#[test]
fn a_channel_left_while_reconnecting_is_not_joined_again() {
    for leave_while_waiting in [true, false] {
        let (mut s, room) = Script::in_room(config());
        s.closed(None);
        if !leave_while_waiting {
            s.advance(secs(1));
        }
        s.leave(room);
        assert_eq!(s.take_events().last(), Some(&Event::ChannelClosed { channel: room, reason: CloseReason::Left }));
        for _ in 0..10 {
            s.advance(secs(10));
            s.opened();
            s.closed(None);
        }
        assert!(s.sent.is_empty());
        assert_eq!(s.session.channels().count(), 0);
    }
}

#[test]
fn a_hundred_channels_rejoin_with_few_joins_in_flight() {
    let mut s = Script::open(config());
    for n in 0..100 {
        s.join(&format!("room:{n}"));
    }
    let mut joined = 0;
    while let Some(join) = s.sent.first().cloned() {
        assert!(s.sent.len() <= 3, "{} joins in flight", s.sent.len());
        s.sent.remove(0);
        s.answer(&join, "ok", "{}");
        joined += 1;
    }
    assert_eq!(joined, 100);
}

#[test]
fn a_limited_number_of_joins_leaves_within_any_second() {
    let mut config = config();
    config.limits.joins_per_second = NonZeroU32::new(2);
    let mut s = Script::open(config);
    for n in 0..5 {
        s.join(&format!("room:{n}"));
    }
    let mut times = Vec::new();
    for _ in 0..5 {
        while let Some(join) = s.sent.first().cloned() {
            s.sent.remove(0);
            times.push(join.at.as_millis());
            s.answer(&join, "ok", "{}");
        }
        s.advance(secs(1));
    }
    assert_eq!(times, [0, 0, 1_000, 1_000, 2_000]);
}

#[test]
fn a_held_channel_is_not_joined_until_somebody_says_when() {
    let mut config = config();
    config.limits.joins_in_flight = 1;
    let mut s = Script::open(config);
    s.join("first");
    let room = s.join("room");
    s.with(|session, _| session.hold_join(room)).unwrap();
    s.accept("first");
    for _ in 0..3 {
        s.advance(secs(60));
        s.closed(None);
        s.advance(secs(1));
        s.opened();
        s.accept("first");
    }
    let joins = |s: &Script| s.sent.iter().filter(|sent| sent.topic() == "room").count();
    assert_eq!(joins(&s), 0);
    s.with(|session, now| session.retry_join(now, room, now)).unwrap();
    assert_eq!(joins(&s), 1);
    // A join that was sent already runs its course, and is the last one.
    s.with(|session, _| session.hold_join(room)).unwrap();
    s.answer_join("room", "error", "{}");
    let events = s.take_events();
    assert!(matches!(events.last(), Some(Event::JoinFailed { channel, retry_at: None, .. }) if *channel == room));
    s.advance(secs(60));
    assert_eq!(joins(&s), 1);
}

#[test]
fn a_join_that_has_its_time_keeps_it_through_losses() {
    let mut s = Script::open(config());
    let room = s.join("room");
    s.answer_join("room", "error", "{}");
    let at = s.now.saturating_add(secs(30));
    s.with(|session, now| session.retry_join(now, room, at)).unwrap();
    s.take_sent();
    s.closed(Some(1001));
    s.advance(secs(1));
    s.opened();
    s.advance(secs(28));
    assert!(s.sent.is_empty(), "{:?}", s.sent);
    s.advance(secs(1));
    assert_eq!(s.take_sent_names(), ["phx_join"]);
}

#[test]
fn a_closed_channel_comes_back_if_it_was_joined_so() {
    let mut s = Script::open(config());
    let room = s.with(|session, now| session.join(now, "room", JoinOptions::default().rejoin_on_close())).unwrap();
    s.accept("room");
    s.take_events();
    s.receive(r#"["1","1","room","phx_close",{}]"#);
    let retry_at = Some(s.now.saturating_add(secs(1)));
    assert_eq!(s.take_events(), [Event::ChannelErrored { channel: room, cause: TroubleCause::Closed, retry_at }]);
    s.take_sent();
    s.advance(secs(1));
    assert_eq!(s.take_sent_names(), ["phx_join"]);
}

#[test]
fn channels_rejoin_in_the_order_in_which_they_were_joined() {
    let mut config = config();
    config.limits.joins_in_flight = 1;
    let mut s = Script::open(config);
    for topic in ["c", "a", "b"] {
        s.join(topic);
        s.accept(topic);
    }
    s.closed(None);
    s.take_sent();
    s.advance(secs(1));
    s.opened();
    let mut order = Vec::new();
    while let Some(join) = s.sent.first().cloned() {
        s.sent.remove(0);
        order.push(join.topic().to_owned());
        s.answer(&join, "ok", "{}");
    }
    assert_eq!(order, ["c", "a", "b"]);
}

#[test]
fn a_channel_keeps_its_id_and_its_messages_through_every_loss() {
    let (mut s, room) = Script::in_room(config());
    for _ in 0..5 {
        s.receive(r#"[null,null,"room","news",{}]"#);
        s.closed(None);
        s.advance(secs(1));
        s.opened();
        s.accept("room");
    }
    let events = s.take_events();
    let messages = events.iter().filter(|e| matches!(e, Event::Message { channel, .. } if *channel == room)).count();
    let rejoins = events.iter().filter(|e| matches!(e, Event::Joined { channel, again: true, .. } if *channel == room));
    assert_eq!((messages, rejoins.count()), (5, 5));
}

#[test]
fn a_rejoin_carries_the_payload_of_the_join_or_what_it_was_changed_to() {
    let mut s = Script::open(config());
    let payload = Payload::from_json_text(r#"{"config":{"a":[1, 2]},"token":"t1"}"#).unwrap();
    let room = s.with(|session, now| session.join(now, "room", JoinOptions::with_payload(payload.clone()))).unwrap();
    s.accept("room");
    let first = s.take_sent().remove(0).message.payload;
    s.closed(None);
    s.advance(secs(1));
    s.opened();
    assert_eq!(s.sent[0].message.payload.as_bytes(), first.as_bytes());
    assert_eq!(first.as_bytes(), payload.as_bytes());
    s.accept("room");
    let newer = Payload::from_json_text(r#"{"token":"t2"}"#).unwrap();
    s.with(|session, _| session.set_join_payload(room, newer.clone())).unwrap();
    s.closed(None);
    s.take_sent();
    s.advance(secs(1));
    s.opened();
    assert_eq!(s.sent[0].message.payload.as_bytes(), newer.as_bytes());
}

#[test]
fn frames_that_arrive_right_behind_the_opening_are_processed() {
    let mut s = Script::new(config());
    let room = s.join("room");
    s.connect();
    let conn = s.conn();
    // Nothing is polled in between.
    s.plugged = true;
    s.transport(TransportEvent::Opened { conn });
    let frame = |text: &str| TransportEvent::Received { conn, frame: Frame::Text(text.into()) };
    s.transport(frame(r#"[null,null,"elsewhere","hello",{}]"#));
    s.plugged = false;
    s.drain();
    s.accept("room");
    s.transport(frame(r#"["1",null,"room","hello",{}]"#));
    assert_eq!(s.messages(), ["hello"]);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
}

#[test]
fn a_user_who_disconnected_stays_disconnected_and_keeps_the_channels() {
    let (mut s, room) = Script::in_room(config());
    s.with(|session, now| session.disconnect(now));
    let waiting = s.push(room, "later");
    s.connect();
    s.opened();
    s.take_sent();
    assert!(s.outcomes(waiting).is_empty());
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joining));
}

#[test]
fn close_ends_everything_and_closed_comes_last() {
    let (mut s, room) = Script::in_room(config());
    let sent = s.push(room, "a");
    let other = s.join("other");
    let waiting = s.with(|session, now| session.push(now, other, Push::new("b", Payload::EMPTY))).unwrap();
    s.with(|session, now| session.close(now));
    assert_eq!(format!("{:?}", s.outcomes(waiting)), "[Dropped]");
    s.advance(secs(5));
    assert_eq!(format!("{:?}", s.outcomes(sent)), "[Unknown]");
    assert_eq!(s.take_events().last(), Some(&Event::Closed));
    assert!(rejoin_core::Machine::is_finished(&s.session));
    assert_eq!(s.deadline(), None);
    assert!(s.with(|session, now| session.join(now, "x", JoinOptions::default())).is_err());
}

#[test]
fn a_leave_after_close_sends_nothing_behind_the_close_frame() {
    let (mut s, room) = Script::in_room(config());
    s.with(|session, now| session.close(now));
    s.leave(room);
    assert_eq!(s.take_events(), [Event::ChannelClosed { channel: room, reason: CloseReason::Left }]);
    assert!(s.sent.is_empty());
}

#[test]
fn a_join_that_is_put_off_while_it_waits_for_its_turn_leaves_when_it_is_due() {
    let mut s = Script::open(config());
    let topics = ["room:1", "room:2", "room:3", "room:4"];
    let rooms = topics.map(|topic| s.join(topic));
    assert_eq!(s.sent.len(), 3, "the fourth waits for its turn");
    let later = s.now.saturating_add(secs(60));
    s.with(|session, now| session.retry_join(now, rooms[3], later)).unwrap();
    topics[..3].iter().for_each(|topic| s.accept(topic));
    assert_eq!(s.sent.len(), 3);
    s.advance(secs(60));
    assert_eq!(s.sent.last().map(|join| (join.topic(), join.at)), Some(("room:4", later)));
}
