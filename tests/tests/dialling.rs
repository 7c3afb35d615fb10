//! Connecting: every loss leads to another attempt, at the right time, and only while one is wanted.

use std::time::Duration;

use rejoin_core::phoenix::{ChannelState, Config, ConnectionState, Event, LossReason};
use rejoin_core::{Backoff, ConnId, Jitter, OpenError, Timestamp, TransportEvent};
use rejoin_sim::{Script, config};

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn dial_gaps(script: &Script) -> Vec<u64> {
    let times: Vec<_> = script.dials.iter().map(|(at, _)| at.as_millis()).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn an_auth_token_travels_as_a_subprotocol_and_never_shows() {
    // What phoenix.js sent in recordings/phoenix/auth_token_ws.jsonl, and what its `btoa` makes of the other.
    for (token, sent) in [("good:zoe", "Z29vZDp6b2U"), ("good~~~", "Z29vZH5+fg")] {
        let mut config = config();
        config.auth_token = Some(token.into());
        assert!(!format!("{config:?}").contains("good"));
        let mut s = Script::new(config);
        s.connect();
        let (_, request) = &s.dials[0];
        let header = ("sec-websocket-protocol".into(), format!("phoenix, base64url.bearer.phx.{sent}").into());
        assert_eq!(request.headers, [header]);
        assert!(!format!("{request:?}").contains("Z29vZ"));
    }
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
fn without_auto_reconnect_every_loss_waits_for_connect() {
    let mut config = config();
    config.auto_reconnect = false;
    let mut s = Script::open(config);
    let room = s.join("room");
    s.accept("room");
    for lose in [|s: &mut Script| s.closed(Some(1006)), |s: &mut Script| s.refused(503, None)] {
        s.events.clear();
        lose(&mut s);
        let retry_at = s.take_events().into_iter().find_map(|event| match event {
            Event::Disconnected { retry_at, .. } => Some(retry_at),
            _ => None,
        });
        assert_eq!(retry_at, Some(None));
        let dials = s.dials.len();
        s.advance(Duration::from_secs(3600));
        assert_eq!(s.dials.len(), dials);
        s.connect();
        assert_eq!(s.dials.len(), dials + 1);
    }
    s.opened();
    s.accept("room");
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
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
