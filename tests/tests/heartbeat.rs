//! Heartbeats: every death is noticed within a known time, and no living connection is given up.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rejoin_core::phoenix::{ConnectionState, Event, JoinFailure, LossReason};
use rejoin_core::{Timestamp, TransportEvent};
use rejoin_sim::{Script, Sent, config};

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn heartbeats(script: &mut Script) -> Vec<Sent> {
    script.take_sent().into_iter().filter(|sent| sent.event() == "heartbeat").collect()
}

#[test]
fn a_vanished_peer_is_noticed_after_exactly_interval_and_timeout() {
    let (mut s, room) = Script::in_room(config());
    s.answers_heartbeats = false;
    s.advance(secs(40) - Duration::from_nanos(1));
    assert_eq!(s.session.state(), ConnectionState::Connected);
    assert_eq!(s.take_events(), []);
    s.advance(Duration::from_nanos(1));
    let events = s.take_events();
    let retry_at = Some(Timestamp::from_millis(41_000));
    assert_eq!(events[0], Event::Disconnected { reason: LossReason::HeartbeatTimeout, retry_at });
    assert!(matches!(events[1], Event::ChannelErrored { channel, .. } if channel == room), "{events:?}");
    assert_eq!(events.len(), 2);
    assert_eq!(s.session.state(), ConnectionState::Waiting);
}

#[test]
fn a_vanished_peer_is_replaced_without_waiting_for_its_end() {
    let (mut s, _) = Script::in_room(config());
    let old = s.conn();
    s.answers_heartbeats = false;
    s.advance(secs(40));
    assert_eq!(s.ends.last().map(|(_, conn, code)| (*conn, *code)), Some((old, None)), "it is dropped");
    s.advance(secs(1));
    assert_eq!(s.dials.len(), 2);
    s.opened();
    s.take_events();
    // The old one trickles in at last.
    let before = (s.session.state(), s.deadline());
    s.transport(TransportEvent::Received { conn: old, frame: rejoin_core::Frame::Text("[]".into()) });
    s.transport(TransportEvent::Closed { conn: old, code: Some(1000), reason: "".into() });
    assert_eq!(s.take_events(), []);
    assert_eq!((s.session.state(), s.deadline()), before);
}

#[test]
fn a_heartbeat_is_not_postponed_by_what_arrives() {
    let (mut s, _) = Script::in_room(config());
    for _ in 0..300 {
        s.advance(secs(1));
        s.receive(r#"[null,null,"room","news",{}]"#);
    }
    let times: Vec<_> = heartbeats(&mut s).iter().map(|sent| sent.at.as_millis() / 1000).collect();
    assert_eq!(times, (1..=10).map(|n| n * 30).collect::<Vec<_>>());
}

#[test]
fn what_arrives_does_not_save_a_peer_that_answers_no_heartbeat() {
    let (mut s, _) = Script::in_room(config());
    s.answers_heartbeats = false;
    for _ in 0..40 {
        s.advance(secs(1));
        s.receive(r#"[null,null,"room","news",{}]"#);
    }
    assert_eq!(s.losses(), [LossReason::HeartbeatTimeout]);
}

#[test]
fn an_unanswered_heartbeat_does_not_outlive_its_connection() {
    let mut s = Script::open(config());
    s.answers_heartbeats = false;
    s.advance(secs(30));
    assert_eq!(heartbeats(&mut s).len(), 1);
    s.closed(None);
    s.advance(secs(1));
    s.opened();
    s.answers_heartbeats = true;
    s.advance(secs(30));
    assert_eq!(heartbeats(&mut s).len(), 1, "the new connection has its own");
    s.advance(secs(600));
    assert_eq!(s.losses().len(), 1, "only the loss that the transport reported");
}

#[test]
fn nothing_happens_after_disconnect() {
    let mut s = Script::open(config());
    s.answers_heartbeats = false;
    s.advance(secs(30));
    s.with(|session, now| session.disconnect(now));
    s.closed(Some(1000));
    s.take_sent();
    s.take_events();
    s.advance(secs(600));
    assert!(s.sent.is_empty() && s.events.is_empty() && s.dials.len() == 1, "{s:?}");
    assert_eq!(s.deadline(), None);
}

#[test]
fn closing_after_disconnect_waits_for_the_same_goodbye() {
    let mut s = Script::open(config());
    s.with(|session, now| session.disconnect(now));
    s.with(|session, now| session.close(now));
    let goodbyes = |s: &Script| s.ends.iter().filter(|(_, _, code)| *code == Some(1000)).count();
    assert_eq!((goodbyes(&s), s.ends.len()), (1, 1), "one close frame, and the socket is not dropped");
    assert_eq!(s.session.state(), ConnectionState::Closing);
    s.closed(Some(1000));
    assert_eq!(s.take_events().last(), Some(&Event::Closed));
    assert_eq!(s.deadline(), None);
}

#[test]
fn a_suspended_host_wakes_to_one_heartbeat_not_to_a_burst() {
    let (mut s, _) = Script::in_room(config());
    s.answers_heartbeats = false;
    s.jump(Timestamp::from_millis(8 * 3_600_000));
    assert_eq!(s.take_sent_names(), ["heartbeat"]);
    assert!(s.losses().is_empty());
    s.advance(secs(10));
    assert_eq!(s.losses(), [LossReason::HeartbeatTimeout]);
    assert_eq!(s.dials.len(), 1);
    s.advance(secs(1));
    assert_eq!(s.dials.len(), 2);
}

#[test]
fn a_host_suspended_while_a_heartbeat_is_out_wakes_to_one_timeout_and_one_attempt() {
    let (mut s, _) = Script::in_room(config());
    s.answers_heartbeats = false;
    s.advance(secs(30));
    s.jump(Timestamp::from_millis(8 * 3_600_000));
    assert_eq!(s.losses(), [LossReason::HeartbeatTimeout]);
    s.advance(secs(1));
    assert_eq!(s.dials.len(), 2);
    assert_eq!(s.take_sent_names(), ["heartbeat"]);
}

#[test]
fn a_probe_sends_at_most_one_early_heartbeat() {
    let (mut s, _) = Script::in_room(config());
    s.answers_heartbeats = false;
    s.advance(secs(5));
    for _ in 0..3 {
        s.with(|session, now| session.probe(now));
    }
    assert_eq!(s.take_sent_names(), ["heartbeat"]);
    s.advance(secs(10));
    assert_eq!(s.losses(), [LossReason::HeartbeatTimeout], "and it counts");
    // Waiting: the attempt starts now.
    s.with(|session, now| session.probe(now));
    assert_eq!(s.dials.len(), 2);
}

#[test]
fn a_heartbeat_overtakes_what_waits_for_the_transport_and_refs_still_rise() {
    let (mut s, room) = Script::in_room(config());
    s.advance(secs(29));
    s.plugged = true;
    s.push(room, "a");
    s.leave(room);
    s.advance(secs(1));
    s.plugged = false;
    s.drain();
    let sent = s.take_sent();
    assert_eq!(sent[0].event(), "heartbeat");
    let refs: Vec<u64> = sent.iter().map(|sent| sent.reference().parse().unwrap()).collect();
    assert!(refs.is_sorted_by(|a, b| a < b), "{refs:?}");
}

#[test]
fn a_stuck_transport_is_a_death_too() {
    let (mut s, _) = Script::in_room(config());
    s.plugged = true;
    s.advance(secs(40));
    assert_eq!(s.losses(), [LossReason::HeartbeatTimeout]);
}

#[test]
fn without_an_interval_no_heartbeat_is_sent() {
    let mut config = config();
    config.heartbeat_interval = None;
    let mut s = Script::open(config);
    assert_eq!(s.deadline(), None);
    s.advance(secs(3600));
    assert!(s.sent.is_empty());
}

#[test]
fn the_round_trip_is_reported() {
    let mut s = Script::open(config());
    s.answers_heartbeats = false;
    s.advance(secs(30));
    let heartbeat = heartbeats(&mut s).remove(0);
    s.advance(Duration::from_millis(70));
    s.answer(&heartbeat, "ok", "{}");
    assert_eq!(s.take_events(), [Event::HeartbeatAnswered { rtt: Duration::from_millis(70), ok: true }]);
}

/// A server that works on one frame at a time and sleeps 5 s before it refuses a join.
#[test]
fn joins_that_block_the_server_cost_no_connection_and_all_reasons_are_told() {
    let mut s = Script::open(config());
    s.answers_heartbeats = false;
    let channels: Vec<_> = (0..8).map(|n| s.join(&format!("room:{n}"))).collect();
    let (mut inbox, mut busy) = (VecDeque::new(), None::<(Timestamp, Sent)>);
    let mut refused = BTreeSet::new();
    for _ in 0..2_400 {
        s.advance(Duration::from_millis(100));
        inbox.extend(s.take_sent());
        if let Some((_, join)) = busy.take_if(|(until, _)| *until <= s.now) {
            s.answer(&join, "error", r#"{"reason":"no"}"#);
        }
        while busy.is_none()
            && let Some(next) = inbox.pop_front()
        {
            match next.event() {
                "phx_join" => busy = Some((s.now.saturating_add(secs(5)), next)),
                _ => s.answer(&next, "ok", "{}"),
            }
        }
        for event in s.take_events() {
            match event {
                Event::JoinFailed { channel, failure: JoinFailure::Refused { .. }, .. } => {
                    refused.insert(channel);
                }
                Event::Disconnected { reason, .. } => panic!("lost: {reason} at {}", s.now),
                _ => {}
            }
        }
    }
    assert_eq!(refused, channels.into_iter().collect());
}
