//! Reconnecting and rejoining: everything that is wanted comes back, exactly once, and nothing else.

use std::time::Duration;

use rejoin_core::phoenix::{
    ChannelState, CloseReason, Config, ConnectionState, Event, JoinOptions, LossReason, Push, TroubleCause,
};
use rejoin_core::{Backoff, ConnId, Frame, Jitter, OpenError, Payload, Timestamp, TransportEvent};
use rejoin_sim::{Script, config};

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn dial_gaps(script: &Script) -> Vec<u64> {
    let times: Vec<_> = script.dials.iter().map(|(at, _)| at.as_millis()).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn every_remote_close_leads_to_another_attempt_whatever_its_code() {
    for code in [None, Some(1000), Some(1001), Some(1005), Some(1006), Some(1008), Some(1009), Some(1011), Some(1012)]
        .into_iter()
        .chain([3410, 4000, 4999].map(Some))
    {
        let (mut s, room) = Script::in_room(config());
        s.closed(code);
        s.advance(secs(1));
        assert_eq!(s.dials.len(), 2, "{code:?}");
        s.opened();
        s.accept("room");
        assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined), "{code:?}");
    }
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

/// All orders of six things that can happen: what was asked for last is what holds.
#[test]
fn after_disconnect_nothing_is_dialled_in_any_order_of_events() {
    const KINDS: u32 = 6;
    for order in 0..KINDS.pow(6) {
        let mut s = Script::new(config());
        let mut wanted = false;
        for place in 0..6 {
            let conn = s.dials.last().map_or(ConnId::new(1), |(_, request)| request.conn);
            match order / KINDS.pow(place) % KINDS {
                0 => s.transport(TransportEvent::Opened { conn }),
                1 => s.transport(TransportEvent::OpenFailed { conn, error: OpenError::io("no") }),
                2 => s.transport(TransportEvent::Closed { conn, code: Some(1000), reason: "".into() }),
                3 => (wanted, _) = (false, s.with(|session, now| session.disconnect(now))),
                4 => (wanted, _) = (true, s.connect()),
                _ => s.advance(secs(3)),
            }
            let before = s.dials.len();
            let idle = s.session.state() == ConnectionState::Idle;
            assert_eq!(idle, !wanted, "order {order}, step {place}: {:?}", s.session.state());
            if idle {
                assert_eq!(s.dials.len(), before);
            }
        }
        if !wanted {
            let before = s.dials.len();
            s.advance(secs(600));
            // The last word of an attempt that was given up.
            if let Some(conn) = s.dials.last().map(|(_, request)| request.conn) {
                s.transport(TransportEvent::Opened { conn });
                assert_eq!(s.ends.last().map(|end| end.1), Some(conn), "order {order}: it is dropped");
            }
            s.advance(secs(600));
            assert_eq!(s.dials.len(), before, "order {order}");
        }
    }
}

#[test]
fn connecting_while_the_old_connection_closes_makes_one_new_connection() {
    let (mut s, room) = Script::in_room(config());
    let old = s.conn();
    s.with(|session, now| session.disconnect(now));
    assert_eq!(s.ends, [(s.now, old, Some(1000))]);
    s.connect();
    s.connect();
    assert_eq!(s.dials.len(), 2);
    s.opened();
    s.accept("room");
    s.transport(TransportEvent::Closed { conn: old, code: Some(1000), reason: "".into() });
    s.advance(secs(20));
    assert_eq!((s.dials.len(), s.session.channel_state(room)), (2, Some(ChannelState::Joined)));
}

#[test]
fn one_death_reported_by_everybody_counts_once() {
    let (mut s, _) = Script::in_room(config());
    let conn = s.conn();
    s.answers_heartbeats = false;
    s.advance(secs(40));
    s.transport(TransportEvent::OpenFailed { conn, error: OpenError::io("reset") });
    s.transport(TransportEvent::Closed { conn, code: None, reason: "".into() });
    s.transport(TransportEvent::Closed { conn, code: Some(1006), reason: "".into() });
    assert_eq!(s.losses().len(), 1);
    let errored = s.take_events().into_iter().filter(|e| matches!(e, Event::ChannelErrored { .. })).count();
    assert_eq!(errored, 1);
    s.advance(secs(1));
    assert_eq!(s.dials.len(), 2);
    assert_eq!(s.session.stats().stale_connection, 3);
}

#[test]
fn connections_that_die_young_do_not_start_the_delays_again() {
    let mut s = Script::new(config());
    s.connect();
    for _ in 0..10 {
        s.opened();
        s.advance(Duration::from_millis(200));
        s.closed(None);
        s.advance(secs(11).saturating_sub(Duration::from_millis(200)));
        let due = s.dials.last().unwrap().0;
        assert!(due <= s.now);
        s.now = due;
    }
    let delays: Vec<_> = dial_gaps(&s).iter().map(|gap| gap - 200).collect();
    assert_eq!(delays[..5], [1_000, 2_000, 4_000, 8_000, 10_000]);
    assert!(delays[5..].iter().all(|delay| *delay == 10_000), "{delays:?}");
}

#[test]
fn an_answered_join_or_heartbeat_starts_the_delays_again() {
    for by_join in [true, false] {
        let mut s = Script::new(config());
        s.connect();
        for _ in 0..4 {
            s.closed(None);
            s.advance(secs(10));
            s.now = s.dials.last().unwrap().0;
        }
        s.opened();
        if by_join {
            s.join("room");
            s.accept("room");
        } else {
            s.advance(secs(30));
        }
        s.closed(None);
        let lost = s.now;
        s.advance(secs(1));
        assert_eq!(s.dials.last().unwrap().0, lost.saturating_add(secs(1)), "by join: {by_join}");
    }
}

#[test]
fn a_limited_client_says_that_it_gave_up_and_connect_rearms_it() {
    let mut config = config();
    config.max_attempts = Some(3);
    let mut s = Script::new(config);
    s.connect();
    for _ in 0..3 {
        s.closed(None);
        s.advance(secs(60));
    }
    assert_eq!(s.dials.len(), 3);
    assert_eq!(s.take_events().last(), Some(&Event::GaveUp { attempts: 3 }));
    assert_eq!(s.session.state(), ConnectionState::Idle);
    s.connect();
    assert_eq!(s.dials.len(), 4);
}

#[test]
fn delays_are_spread_within_their_bounds_and_the_same_seed_gives_the_same_ones() {
    let delay = |seed| {
        let mut config = config();
        (config.jitter, config.jitter_seed) = (Jitter::Equal, seed);
        let mut s = Script::open(config);
        s.closed(None);
        s.advance(secs(1));
        s.dials[1].0.as_nanos() / 1_000_000
    };
    let mut buckets = [0; 10];
    for seed in 0..1000 {
        let ms = delay(seed);
        assert!((500..=1000).contains(&ms), "{ms}");
        buckets[usize::try_from((ms - 500) / 50).unwrap().min(9)] += 1;
    }
    assert!(buckets.iter().all(|n| *n < 250), "{buckets:?}");
    assert_eq!(delay(7), delay(7));
}

#[test]
fn a_silent_attempt_ends_at_its_deadline() {
    let mut s = Script::new(config());
    s.connect();
    s.advance(secs(10));
    assert_eq!(s.losses(), [LossReason::ConnectTimeout]);
    assert_eq!(s.ends, [(s.now, ConnId::new(1), None)]);
    s.advance(secs(1));
    assert_eq!(s.dials.len(), 2);
    // It opens after all, and nobody else would close it.
    s.transport(TransportEvent::Opened { conn: ConnId::new(1) });
    assert_eq!(s.ends.len(), 2);
    assert_eq!(s.session.state(), ConnectionState::Connecting);
}

#[test]
fn a_refusal_that_comes_late_is_reported_as_what_it_is() {
    let mut s = Script::new(config());
    s.connect();
    s.advance(Duration::from_millis(2_100));
    s.refused(401, None);
    assert!(matches!(&s.losses()[..], [LossReason::Open(error)] if error.status == Some(401)));
}

#[test]
fn refusals_wait_as_long_as_the_server_asks() {
    // status, Retry-After, milliseconds until the next attempt
    let table = [
        (503, None, 1_000),
        (503, Some(0), 1_000),
        (503, Some(7), 7_000),
        (408, Some(7), 7_000),
        (503, Some(100_000), 300_000),
        (429, None, 30_000),
        (429, Some(5), 30_000),
        (429, Some(45), 45_000),
        (401, None, 10_000),
        (403, None, 10_000),
        (404, None, 10_000),
        (500, None, 1_000),
    ];
    for (status, retry_after, expected) in table {
        let mut s = Script::new(config());
        s.connect();
        s.refused(status, retry_after.map(secs));
        s.advance(secs(400));
        assert_eq!(dial_gaps(&s)[0], expected, "{status} {retry_after:?}");
    }
}

#[test]
fn retry_after_is_a_floor_that_no_jitter_goes_below() {
    for seed in 0..100 {
        let mut config = config();
        (config.jitter, config.jitter_seed) = (Jitter::Full, seed);
        let mut s = Script::new(config);
        s.connect();
        s.refused(503, Some(secs(9)));
        assert_eq!(s.deadline(), Some(Timestamp::from_millis(9_000)));
    }
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
fn backoff_delays_are_the_documented_ones() {
    let Config { reconnect, rejoin, .. } = config();
    let table = |backoff: &Backoff| [0, 1, 2, 3, 4, 5].map(|n| backoff.delay(n).as_secs());
    assert_eq!(table(&reconnect), [1, 2, 4, 8, 10, 10]);
    assert_eq!(table(&rejoin), [1, 2, 5, 10, 10, 10]);
}

#[test]
fn a_connection_given_up_before_the_transport_heard_of_it_is_never_opened() {
    type GiveUp = fn(&mut Script);
    let ways: [GiveUp; 4] = [
        |s| s.with(|session, now| session.disconnect(now)),
        |s| s.with(|session, now| session.close(now)),
        |s| s.with(|session, now| session.reconnect(now)),
        |s| s.advance(secs(10)),
    ];
    for (way, give_up) in ways.into_iter().enumerate() {
        let mut s = Script::new(config());
        s.plugged = true;
        s.connect();
        give_up(&mut s);
        s.plugged = false;
        s.drain();
        let dialled: Vec<_> = s.dials.iter().map(|(_, request)| request.conn.get()).collect();
        let expected: &[u64] = if way == 2 { &[2] } else { &[] };
        assert_eq!((dialled.as_slice(), s.ends.len()), (expected, 0), "way {way}");
    }
}

#[test]
fn a_leave_after_close_sends_nothing_behind_the_close_frame() {
    let (mut s, room) = Script::in_room(config());
    s.with(|session, now| session.close(now));
    s.leave(room);
    assert_eq!(s.take_events(), [Event::ChannelClosed { channel: room, reason: CloseReason::Left }]);
    assert!(s.sent.is_empty());
}
