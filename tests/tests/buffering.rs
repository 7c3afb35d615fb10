//! Pushes: where they wait, in which order they leave, and the one outcome that each of them has.

use std::time::Duration;

use rejoin_core::phoenix::{ChannelState, Config, Event, JoinOptions, Overflow, Push, PushError, PushId, PushOutcome};
use rejoin_core::wire::Serializer;
use rejoin_core::{Frame, Payload};
use rejoin_sim::{Script, config};

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn try_push(s: &mut Script, channel: rejoin_core::phoenix::ChannelId, event: &str) -> Result<PushId, PushError> {
    s.with(|session, now| session.push(now, channel, Push::new(event, Payload::EMPTY)))
}

fn small(overflow: Overflow) -> Config {
    let mut config = config();
    (config.limits.push_buffer, config.limits.send_buffer) = (100, 100);
    config.limits.overflow = overflow;
    config
}

#[test]
fn pushes_made_before_the_join_leave_after_it_in_order_with_new_refs() {
    let mut s = Script::open(config());
    let room = s.join("room");
    let pushes: Vec<_> = ["a", "b", "c"].map(|event| s.push(room, event)).into();
    s.accept("room");
    let sent = s.take_sent();
    assert_eq!(sent.iter().map(|m| m.event()).collect::<Vec<_>>(), ["phx_join", "a", "b", "c"]);
    assert_eq!(sent.iter().map(|m| m.reference()).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    assert!(sent.iter().all(|m| m.join_ref() == "1"));
    for (message, n) in sent[1..].iter().zip(1..) {
        s.answer(message, "ok", &n.to_string());
    }
    for (push, n) in pushes.iter().zip(1..) {
        let response = Payload::from_json_text(n.to_string()).unwrap();
        assert_eq!(s.outcomes(*push), [PushOutcome::Ok(response)]);
    }
}

#[test]
fn a_push_that_timed_out_while_waiting_is_never_sent() {
    let mut s = Script::open(config());
    let room = s.join("room");
    let push = s.push(room, "a");
    s.advance(secs(10));
    assert_eq!(s.outcomes(push), [PushOutcome::TimedOut]);
    s.accept("room");
    assert_eq!(s.take_sent_names(), ["phx_join"]);
}

#[test]
fn an_unanswered_push_times_out_exactly_at_its_deadline() {
    let (mut s, room) = Script::in_room(config());
    let push = s.push(room, "a");
    s.advance(secs(10) - Duration::from_nanos(1));
    assert_eq!(s.outcomes(push), []);
    s.advance(Duration::from_nanos(1));
    assert_eq!(s.outcomes(push), [PushOutcome::TimedOut]);
}

#[test]
fn a_late_reply_is_ignored() {
    let (mut s, room) = Script::in_room(config());
    let push = s.push(room, "a");
    let message = s.take_sent().remove(0);
    s.advance(secs(10));
    s.answer(&message, "ok", "{}");
    s.answer(&message, "ok", "{}");
    assert_eq!(s.outcomes(push), [PushOutcome::TimedOut]);
    assert_eq!(s.session.stats().unmatched_replies, 2);
}

#[test]
fn ten_thousand_pushes_leave_nothing_behind() {
    let mut config = config();
    config.limits.send_buffer = 20_000;
    config.limits.push_buffer = 20_000;
    config.limits.pending_replies = 20_000;
    let mut s = Script::open(config);
    let room = s.join("room");
    for _ in 0..5_000 {
        s.push(room, "waits");
    }
    s.advance(secs(10));
    assert_eq!(s.session.open_pushes(), 0);
    s.accept("room");
    s.take_events();
    for _ in 0..5_000 {
        s.push(room, "sent");
    }
    s.advance(secs(10));
    let events = s.take_events();
    assert_eq!(events.iter().filter(|e| matches!(e, Event::PushDone { .. })).count(), 5_000);
    assert_eq!((s.session.open_pushes(), s.session.queued_events()), (0, 0));
}

#[test]
fn cycles_of_join_push_timeout_and_leave_leave_nothing_behind() {
    let mut s = Script::open(config());
    s.answers_heartbeats = true;
    for n in 0..5_000 {
        let room = s.join("room");
        s.push(room, "waits");
        s.accept("room");
        if n % 2 == 0 {
            s.advance(secs(10));
        }
        s.leave(room);
        let leave = s.take_sent().into_iter().rev().find(|sent| sent.event() == "phx_leave").unwrap();
        s.answer(&leave, "ok", "{}");
        s.take_events();
    }
    assert_eq!((s.session.open_pushes(), s.session.channels().count()), (0, 0));
    s.advance(Duration::from_millis(1));
    // The only thing that is left to wait for is the heartbeat.
    assert!(s.deadline().unwrap() <= s.now.saturating_add(secs(30)));
}

#[test]
fn a_full_buffer_rejects_and_says_so() {
    let mut s = Script::open(small(Overflow::RejectNew));
    let room = s.join("room");
    for _ in 0..100 {
        s.push(room, "a");
    }
    assert_eq!(try_push(&mut s, room, "b"), Err(PushError::Full));
    s.accept("room");
    assert_eq!(s.take_sent().len(), 101);
}

#[test]
fn an_evicted_push_ends_as_dropped() {
    let mut s = Script::open(small(Overflow::DropOldest));
    let room = s.join("room");
    let pushes: Vec<_> = (0..101).map(|_| s.push(room, "a")).collect();
    assert_eq!(s.outcomes(pushes[0]), [PushOutcome::Dropped]);
    s.accept("room");
    assert_eq!(s.take_sent().len(), 101);

    let mut s = Script::open(small(Overflow::DropNewest));
    let room = s.join("room");
    let pushes: Vec<_> = (0..101).map(|_| s.push(room, "a")).collect();
    assert_eq!(s.outcomes(pushes[100]), [PushOutcome::Dropped]);
}

#[test]
fn waiting_bytes_are_bounded_too() {
    let mut config = config();
    config.limits.send_buffer_bytes = 10;
    let mut s = Script::open(config);
    let room = s.join("room");
    let big = Payload::from_json_text(r#""12345678901""#).unwrap();
    let refused = s.with(|session, now| session.push(now, room, Push::new("a", big)));
    assert_eq!(refused, Err(PushError::Full));
    assert!(try_push(&mut s, room, "small").is_ok());
}

#[test]
fn a_full_transport_lane_rejects_and_recovers() {
    let mut config = config();
    config.limits.outbound_frames = 3;
    let (mut s, room) = Script::in_room(config);
    s.plugged = true;
    for _ in 0..3 {
        s.push(room, "a");
    }
    assert!(rejoin_core::Machine::is_congested(&s.session));
    assert_eq!(try_push(&mut s, room, "b"), Err(PushError::Full));
    s.plugged = false;
    s.drain();
    assert!(try_push(&mut s, room, "b").is_ok());
}

#[test]
fn awaited_replies_are_bounded() {
    let mut config = config();
    config.limits.pending_replies = 2;
    let (mut s, room) = Script::in_room(config);
    let first = s.push(room, "a");
    s.push(room, "b");
    assert_eq!(try_push(&mut s, room, "c"), Err(PushError::Full));
    let unanswered = Push::new("d", Payload::EMPTY).without_reply();
    assert!(s.with(|session, now| session.push(now, room, unanswered)).is_ok());
    s.with(|session, _| session.cancel(first));
    assert!(try_push(&mut s, room, "c").is_ok());
}

#[test]
fn a_loss_makes_sent_pushes_unknown_and_keeps_unsent_ones_in_order() {
    let (mut s, room) = Script::in_room(config());
    let sent = s.push(room, "sent");
    s.plugged = true;
    let unsent = s.push(room, "unsent");
    s.closed(None);
    s.plugged = false;
    s.drain();
    let later = s.push(room, "later");
    assert_eq!(s.outcomes(sent), [PushOutcome::Unknown]);
    assert_eq!(s.outcomes(unsent), []);
    s.take_sent();
    s.advance(secs(1));
    s.opened();
    s.accept("room");
    assert_eq!(s.take_sent_names(), ["phx_join", "unsent", "later"]);
    assert_eq!(s.outcomes(later), []);
}

#[test]
fn a_crash_of_the_channel_makes_sent_pushes_unknown_and_keeps_unsent_ones() {
    let (mut s, room) = Script::in_room(config());
    let sent = s.push(room, "sent");
    s.plugged = true;
    s.push(room, "unsent");
    s.receive(r#"["1","1","room","phx_error",{}]"#);
    s.plugged = false;
    s.drain();
    assert_eq!(s.outcomes(sent), [PushOutcome::Unknown]);
    s.take_sent();
    s.advance(secs(1));
    s.accept("room");
    assert_eq!(s.take_sent_names(), ["phx_join", "unsent"]);
}

#[test]
fn a_push_that_wants_no_reply_is_done_when_the_transport_takes_it() {
    let (mut s, room) = Script::in_room(config());
    s.plugged = true;
    let push = s.with(|session, now| session.push(now, room, Push::new("a", Payload::EMPTY).without_reply())).unwrap();
    assert_eq!(s.outcomes(push), []);
    s.plugged = false;
    s.drain();
    assert_eq!(s.outcomes(push), [PushOutcome::Sent]);
    let message = s.take_sent().remove(0);
    s.answer(&message, "ok", "{}");
    assert_eq!(s.outcomes(push), [PushOutcome::Sent]);
}

#[test]
fn a_cancelled_push_is_dropped_if_unsent_and_unknown_if_sent() {
    let (mut s, room) = Script::in_room(config());
    let sent = s.push(room, "a");
    s.plugged = true;
    let unsent = s.push(room, "b");
    for push in [sent, unsent, sent] {
        s.with(|session, _| session.cancel(push));
    }
    s.plugged = false;
    s.drain();
    assert_eq!((s.outcomes(sent), s.outcomes(unsent)), (vec![PushOutcome::Unknown], vec![PushOutcome::Dropped]));
    assert_eq!(s.take_sent_names(), ["a"]);
}

#[test]
fn leaving_drops_what_waits_and_keeps_what_was_sent() {
    let mut s = Script::open(config());
    let room = s.join("room");
    let waiting = s.push(room, "a");
    s.leave(room);
    assert_eq!(s.outcomes(waiting), [PushOutcome::Dropped]);
    assert_eq!(try_push(&mut s, room, "b"), Err(PushError::Leaving));

    let (mut s, room) = Script::in_room(config());
    let sent = s.push(room, "a");
    let message = s.take_sent().remove(0);
    s.leave(room);
    s.answer(&message, "ok", "{}");
    assert!(matches!(s.outcomes(sent)[..], [PushOutcome::Ok(_)]));
    assert_eq!(try_push(&mut s, room, "b"), Err(PushError::Leaving));
}

#[test]
fn a_reply_may_be_any_json_or_bytes() {
    for response in [r#""payload_size_exceeded""#, "null", "[1,2]", "42", "{}", "true"] {
        let (mut s, room) = Script::in_room(config());
        let push = s.push(room, "a");
        s.receive(&format!(r#"["1","2","room","phx_reply",{{"status":"error","response":{response}}}]"#));
        assert_eq!(s.outcomes(push), [PushOutcome::Error(Payload::from_json_text(response).unwrap())]);
    }
    let (mut s, room) = Script::in_room(config());
    let push = s.push(room, "a");
    s.receive_frame(Frame::Binary(b"\x01\x01\x01\x04\x0212roomok\x00\xff".to_vec().into()));
    assert_eq!(s.outcomes(push), [PushOutcome::Ok(Payload::binary(vec![0, 255].into()))]);
}

#[test]
fn a_reply_without_a_status_is_malformed_and_resolves_nothing() {
    let (mut s, room) = Script::in_room(config());
    let push = s.push(room, "a");
    s.receive(r#"["1","2","room","phx_reply",{"response":{}}]"#);
    s.receive(r#"["1","2","room","phx_reply",42]"#);
    assert_eq!((s.outcomes(push).len(), s.session.stats().malformed), (0, 2));
}

#[test]
fn a_status_of_the_applications_own_is_passed_on() {
    let (mut s, room) = Script::in_room(config());
    let push = s.push(room, "a");
    s.receive(r#"["1","2","room","phx_reply",{"status":"maybe","response":{}}]"#);
    let other = PushOutcome::Other { status: "maybe".into(), response: Payload::EMPTY };
    assert_eq!(s.outcomes(push), [other]);
}

#[test]
fn a_reply_with_the_right_ref_on_the_wrong_topic_resolves_nothing() {
    let mut s = Script::open(config());
    let (a, b) = (s.join("a"), s.join("b"));
    s.accept("a");
    s.accept("b");
    let push = s.push(a, "e");
    let reference = s.take_sent().pop().unwrap().reference().to_owned();
    s.receive(&format!(r#"["2","{reference}","b","phx_reply",{{"status":"ok","response":{{}}}}]"#));
    assert_eq!(s.outcomes(push), []);
    assert_eq!(s.session.channel_state(b), Some(ChannelState::Joined));
}

#[test]
fn an_error_reply_to_a_push_fails_that_push_and_not_the_channel() {
    let (mut s, room) = Script::in_room(config());
    let push = s.push(room, "a");
    s.receive(r#"["1","2","room","phx_reply",{"status":"error","response":{"reason":"no"}}]"#);
    assert!(matches!(s.outcomes(push)[..], [PushOutcome::Error(_)]));
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
}

#[test]
fn a_retried_push_never_shares_a_ref() {
    let (mut s, room) = Script::in_room(config());
    let mut refs = std::collections::BTreeSet::new();
    for _ in 0..20 {
        s.plugged = true;
        s.push(room, "a");
        s.closed(None);
        s.plugged = false;
        s.drain();
        s.advance(secs(1));
        s.opened();
        s.accept("room");
        for sent in s.take_sent() {
            assert!(refs.insert(sent.reference().to_owned()), "{sent:?}");
        }
    }
}

#[test]
fn what_could_never_be_sent_is_refused_at_once() {
    let (mut s, room) = Script::in_room(config());
    assert_eq!(try_push(&mut s, room, "phx_leave"), Err(PushError::ReservedEvent));
    let binary = |event: String| Push::new(event, Payload::binary(vec![1].into()));
    let long = s.with(|session, now| session.push(now, room, binary("e".repeat(256))));
    assert!(matches!(long, Err(PushError::Encode(_))), "{long:?}");
    assert!(s.with(|session, now| session.push(now, room, binary("e".repeat(255)))).is_ok());

    let mut v1 = config();
    v1.serializer = Serializer::V1;
    let (mut s, room) = Script::in_room(v1);
    assert!(matches!(s.with(|session, now| session.push(now, room, binary("e".into()))), Err(PushError::Encode(_))));

    let mut tiny = config();
    tiny.limits.frame_bytes = 200;
    let (mut s, room) = Script::in_room(tiny);
    let big = Payload::json(&"x".repeat(200)).unwrap();
    let refused = s.with(|session, now| session.push(now, room, Push::new("a", big)));
    assert!(matches!(refused, Err(PushError::TooLarge { .. })));
    assert!(s.sent.is_empty());
}

#[test]
fn too_many_channels_are_a_local_error() {
    let mut config = config();
    config.limits.channels = 1;
    let mut s = Script::open(config);
    s.join("a");
    let refused = s.with(|session, now| session.join(now, "b", JoinOptions::default()));
    assert_eq!(refused, Err(rejoin_core::phoenix::JoinError::Full));
}

#[test]
fn messages_that_nobody_reads_are_dropped_and_counted_and_the_rest_goes_on() {
    let mut config = config();
    config.limits.events = 4;
    let (mut s, _) = Script::in_room(config);
    let conn = s.conn();
    // Past the script, which reads everything.
    for n in 0..1_000 {
        let frame = Frame::Text(format!(r#"[null,null,"room","e{n}",{{}}]"#).into());
        rejoin_core::Machine::handle_transport(
            &mut s.session,
            s.now,
            rejoin_core::TransportEvent::Received { conn, frame },
        );
    }
    assert!(s.session.queued_events() <= 4);
    s.advance(secs(30));
    assert_eq!(s.take_sent_names(), ["heartbeat"], "heartbeats do not depend on readers");
    let events = s.take_events();
    let missed = events.iter().find_map(|e| if let Event::Lagged { missed } = e { Some(*missed) } else { None });
    assert_eq!(missed, Some(996), "{events:?}");
    assert_eq!(s.session.stats().lagged, 996);
}

#[test]
fn losses_and_joins_behind_a_stuck_transport_let_no_queue_grow() {
    let mut config = config();
    (config.limits.send_buffer, config.limits.outbound_frames) = (4, 4);
    let (mut s, room) = Script::in_room(config);
    let other = s.join("other");
    for _ in 0..10 {
        s.plugged = true;
        while s.with(|session, now| session.push(now, room, Push::new("a", Payload::EMPTY))).is_ok() {}
        while s.with(|session, now| session.push(now, other, Push::new("b", Payload::EMPTY))).is_ok() {}
        assert!(s.session.open_pushes() <= 8, "{}", s.session.open_pushes());
        s.closed(None);
        s.advance(Duration::from_millis(1));
        s.plugged = false;
        s.drain();
        s.connect();
        s.opened();
        // The transport is stuck again before the answer comes.
        s.plugged = true;
        s.accept("room");
    }
}
