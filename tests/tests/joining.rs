//! The life of a channel: joins, refusals, leaves, and words of lifetimes that are over.

use std::time::Duration;

use rejoin_core::phoenix::{
    ChannelState, CloseReason, Event, JoinError, JoinFailure, JoinOptions, PushOutcome, TroubleCause,
};
use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{Frame, Payload, Timestamp};
use rejoin_sim::{Script, config};

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn script(serializer: Serializer) -> Script {
    let mut config = config();
    config.serializer = serializer;
    Script::open(config)
}

/// A server's message as it is written under the script's serializer.
fn say(s: &mut Script, join_ref: Option<&str>, reference: Option<&str>, topic: &str, event: &str, payload: &str) {
    let message = Message::new(topic, event, Payload::from_json_text(payload).unwrap());
    let message = message.with_refs(join_ref.map(Into::into), reference.map(Into::into));
    let frame = s.session.config().serializer.encode_from_server(&message).unwrap();
    s.receive_frame(frame);
}

const OK: &str = r#"{"status":"ok","response":{}}"#;

#[test]
fn a_refusal_after_five_seconds_is_a_refusal_and_not_a_timeout() {
    let mut s = Script::open(config());
    let room = s.join("room");
    s.advance(Duration::from_millis(5_200));
    s.answer_join("room", "error", r#"{"reason":"no"}"#);
    let retry_at = Some(s.now.saturating_add(secs(1)));
    let response = Payload::from_json_text(r#"{"reason":"no"}"#).unwrap();
    let failure = JoinFailure::Refused { response };
    assert_eq!(failure.to_string(), "refused: no");
    assert_eq!(s.take_events(), [Event::JoinFailed { channel: room, failure, retry_at }]);
}

#[test]
fn joins_behind_a_refused_one_get_their_time_again_once() {
    let mut config = config();
    config.join_timeout = secs(8);
    let mut s = Script::open(config);
    let channels = ["a", "b", "c"].map(|topic| s.join(topic));
    // Each refusal takes the server 5 s, during which it does nothing else.
    s.advance(secs(5));
    s.answer_join("a", "error", "{}");
    s.advance(secs(5));
    s.answer_join("b", "error", "{}");
    s.advance(Duration::from_millis(100));
    s.answer_join("c", "ok", "{}");
    assert_eq!(s.session.channel_state(channels[2]), Some(ChannelState::Joined));
    let timeouts = s.take_events().into_iter().filter(|event| {
        matches!(event, Event::Disconnected { .. } | Event::JoinFailed { failure: JoinFailure::TimedOut, .. })
    });
    assert_eq!(timeouts.count(), 0);
}

#[test]
fn at_most_three_joins_are_in_flight() {
    let mut s = Script::open(config());
    for n in 0..10 {
        s.join(&format!("room:{n}"));
    }
    assert_eq!(s.sent.len(), 3);
    s.answer_join("room:0", "error", "{}");
    assert_eq!(s.sent.len(), 4, "a refusal makes room");
    s.answer_join("room:1", "ok", "{}");
    assert_eq!(s.sent.len(), 5, "so does success");
    s.advance(secs(15));
    assert!(s.sent.iter().filter(|sent| sent.event() == "phx_join").count() > 5, "and a timeout");
}

#[test]
fn refusals_are_retried_after_the_delays_of_the_table() {
    let mut s = Script::open(config());
    let room = s.join("room");
    let mut delays = Vec::new();
    for _ in 0..5 {
        s.answer_join("room", "error", r#"{"reason":"busy"}"#);
        let refused = s.now;
        let before = s.sent.len();
        while s.sent.iter().skip(before).all(|sent| sent.event() != "phx_join") {
            s.advance(secs(1));
        }
        delays.push(s.sent.last().unwrap().at.saturating_since(refused).as_secs());
    }
    assert_eq!(delays, [1, 2, 5, 10, 10]);
    s.accept("room");
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
    s.receive_error("room");
    let joins = s.sent.len();
    s.advance(secs(1));
    assert_eq!(s.sent.len(), joins + 1, "success starts the delays again");
}

#[test]
fn a_join_that_times_out_is_left_and_tried_again() {
    let mut s = Script::open(config());
    let room = s.join("room");
    s.advance(secs(15));
    let retry_at = Some(s.now.saturating_add(secs(1)));
    assert_eq!(s.take_events(), [Event::JoinFailed { channel: room, failure: JoinFailure::TimedOut, retry_at }]);
    let sent = s.take_sent();
    assert_eq!((sent[1].event(), sent[1].join_ref()), ("phx_leave", "1"));
    s.advance(secs(1));
    // The late answers, as a server gives them after a slow join.
    say(&mut s, Some("1"), Some("1"), "room", "phx_reply", OK);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joining));
    s.accept("room");
    say(&mut s, Some("1"), Some("1"), "room", "phx_close", "{}");
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
}

#[test]
fn the_close_of_an_earlier_lifetime_does_not_end_the_present_one() {
    for serializer in [Serializer::V1, Serializer::V2] {
        let mut s = script(serializer);
        let room = s.join("room");
        s.accept("room");
        s.receive_error("room");
        s.advance(secs(1));
        s.accept("room");
        say(&mut s, Some("1"), Some("1"), "room", "phx_close", "{}");
        say(&mut s, Some("1"), Some("1"), "room", "phx_error", "{}");
        assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined), "{serializer:?}");
        assert_eq!(s.session.stats().stale_messages, 2);
    }
}

/// Leave and join again at once: the three answers in all six orders.
#[test]
fn leaving_and_joining_again_at_once_ends_joined_in_any_order_of_answers() {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (serializer, order) in [Serializer::V1, Serializer::V2].into_iter().flat_map(|v| ORDERS.map(|o| (v, o))) {
        let mut s = script(serializer);
        let old = s.join("room");
        s.accept("room");
        s.leave(old);
        let new = s.join("room");
        assert_ne!(old, new);
        for answer in order {
            match answer {
                0 => say(&mut s, Some("1"), Some("2"), "room", "phx_reply", OK),
                1 => say(&mut s, Some("1"), Some("1"), "room", "phx_close", "{}"),
                _ => say(&mut s, Some("3"), Some("3"), "room", "phx_reply", OK),
            }
        }
        assert_eq!(s.session.channel_state(new), Some(ChannelState::Joined), "{serializer:?} {order:?}");
        let closed: Vec<_> =
            s.take_events().into_iter().filter(|event| matches!(event, Event::ChannelClosed { .. })).collect();
        assert_eq!(closed, [Event::ChannelClosed { channel: old, reason: CloseReason::Left }], "{order:?}");
    }
}

#[test]
fn a_join_that_replaces_a_leave_whose_answer_never_comes_closes_the_old_channel() {
    let (mut s, old) = Script::in_room(config());
    s.leave(old);
    let new = s.join("room");
    s.accept("room");
    assert!(s.take_events().contains(&Event::ChannelClosed { channel: old, reason: CloseReason::Left }));
    assert_eq!(s.session.channel_state(new), Some(ChannelState::Joined));
}

#[test]
fn messages_without_a_join_ref_are_delivered_only_while_joined() {
    let fast = r#"[null,null,"room","news",{}]"#;
    let mut s = Script::open(config());
    let room = s.join("room");
    s.receive(fast);
    s.accept("room");
    s.receive(fast);
    s.receive_error("room");
    s.receive(fast);
    s.advance(secs(1));
    s.receive(fast);
    s.accept("room");
    s.receive(fast);
    s.leave(room);
    s.receive(fast);
    s.advance(secs(10));
    s.receive(fast);
    assert_eq!(s.messages(), ["news", "news"]);
    let stats = s.session.stats();
    assert_eq!((stats.stale_messages, stats.unknown_topic), (4, 1));
}

#[test]
fn messages_of_the_present_join_are_delivered_even_before_its_answer() {
    let mut s = Script::open(config());
    s.join("room");
    s.receive(r#"["1",null,"room","early",{}]"#);
    s.receive(r#"["7",null,"room","not ours",{}]"#);
    assert_eq!(s.messages(), ["early"]);
}

#[test]
fn every_channel_frame_says_its_join_ref_under_both_serializers() {
    for serializer in [Serializer::V1, Serializer::V2] {
        let mut s = script(serializer);
        let room = s.join("room");
        s.accept("room");
        s.push(room, "a");
        s.advance(secs(30));
        s.leave(room);
        for sent in s.take_sent() {
            let expected = if sent.topic() == "phoenix" { "null" } else { "1" };
            assert_eq!(sent.join_ref(), expected, "{serializer:?} {sent:?}");
        }
    }
}

#[test]
fn an_unmatched_topic_while_joined_leads_to_one_rejoin() {
    let (mut s, room) = Script::in_room(config());
    let pushes = [s.push(room, "a"), s.push(room, "b")];
    let unmatched = r#"{"status":"error","response":{"reason":"unmatched topic"}}"#;
    say(&mut s, None, Some("2"), "room", "phx_reply", unmatched);
    say(&mut s, None, Some("3"), "room", "phx_reply", unmatched);
    assert!(matches!(s.outcomes(pushes[0])[..], [PushOutcome::Error(_)]));
    assert_eq!(s.outcomes(pushes[1]), [PushOutcome::Unknown]);
    let errored: Vec<_> =
        s.take_events().into_iter().filter(|event| matches!(event, Event::ChannelErrored { .. })).collect();
    let retry_at = Some(s.now.saturating_add(secs(1)));
    assert_eq!(errored, [Event::ChannelErrored { channel: room, cause: TroubleCause::Forgotten, retry_at }]);
    s.take_sent();
    s.advance(secs(2));
    assert_eq!(s.take_sent_names(), ["phx_join"]);
}

#[test]
fn numeric_refs_of_the_server_count_like_ours() {
    let mut s = Script::open(config());
    let room = s.join("room");
    s.receive(r#"[1,1,"room","phx_reply",{"status":"ok","response":{}}]"#);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
    let push = s.push(room, "a");
    s.receive(r#"[1,2,"room","phx_reply",{"status":"ok","response":{}}]"#);
    assert!(matches!(s.outcomes(push)[..], [PushOutcome::Ok(_)]));
    s.receive(r#"[1,null,"room","news",{}]"#);
    assert_eq!(s.messages(), ["news"]);
}

#[test]
fn refs_that_only_look_like_ours_match_nothing() {
    let (mut s, room) = Script::in_room(config());
    let push = s.push(room, "a");
    for reference in [r#""02""#, r#""+2""#, r#""2 ""#, "2.0", "-2", r#""""#, "18446744073709551618", "null"] {
        s.receive(&format!(r#"["1",{reference},"room","phx_reply",{{"status":"ok","response":{{}}}}]"#));
    }
    assert_eq!(s.outcomes(push), []);
    assert_eq!(s.session.stats().unmatched_replies, 8);
}

#[test]
fn a_channel_is_closed_by_the_server_once_and_may_be_joined_again() {
    let (mut s, room) = Script::in_room(config());
    s.receive(r#"["1","1","room","phx_close",{}]"#);
    s.receive(r#"["1","1","room","phx_close",{}]"#);
    assert_eq!(s.take_events(), [Event::ChannelClosed { channel: room, reason: CloseReason::ServerClosed }]);
    s.advance(secs(60));
    assert!(s.sent.iter().all(|sent| sent.event() == "heartbeat"), "it is not joined again on its own");
    let again = s.join("room");
    s.accept("room");
    assert_eq!(s.session.channel_state(again), Some(ChannelState::Joined));
    assert!(s.events.iter().any(|(_, event)| matches!(event, Event::Joined { again: false, .. })));
}

#[test]
fn a_topic_is_joined_once_at_a_time() {
    let (mut s, room) = Script::in_room(config());
    let mut join = |topic: &str| s.with(|session, now| session.join(now, topic, JoinOptions::default()));
    assert_eq!(join("room"), Err(JoinError::AlreadyJoined(room)));
    assert_eq!(join(""), Err(JoinError::InvalidTopic));
    assert_eq!(join("phoenix"), Err(JoinError::InvalidTopic));
    let binary = JoinOptions::with_payload(Payload::binary(vec![1].into()));
    assert_eq!(s.with(|session, now| session.join(now, "other", binary)), Err(JoinError::PayloadNotObject));
    assert!(s.sent.is_empty());
}

#[test]
fn a_leave_without_an_answer_ends_at_its_deadline() {
    let (mut s, room) = Script::in_room(config());
    s.leave(room);
    s.leave(room);
    assert_eq!(s.take_sent_names(), ["phx_leave"]);
    s.advance(secs(10) - Duration::from_nanos(1));
    assert_eq!(s.take_events(), []);
    s.advance(Duration::from_nanos(1));
    assert_eq!(s.take_events(), [Event::ChannelClosed { channel: room, reason: CloseReason::Left }]);
}

#[test]
fn any_answer_to_a_leave_completes_it_once() {
    let answers: [(&str, &str, &str); 4] = [
        ("2", "phx_reply", OK),
        ("2", "phx_reply", r#"{"status":"error","response":{}}"#),
        ("1", "phx_close", "{}"),
        ("1", "phx_error", "{}"),
    ];
    for (reference, event, payload) in answers {
        let (mut s, room) = Script::in_room(config());
        s.leave(room);
        say(&mut s, Some("1"), Some(reference), "room", event, payload);
        say(&mut s, Some("1"), Some("1"), "room", "phx_close", "{}");
        let closed = Event::ChannelClosed { channel: room, reason: CloseReason::Left };
        assert_eq!(s.take_events(), [closed], "{event} {payload}");
    }
}

#[test]
fn only_the_answer_to_a_join_makes_a_channel_joined() {
    let mut s = Script::open(config());
    let room = s.join("room");
    s.receive(r#"["1",null,"room","system",{"status":"ok","message":"Subscribed"}]"#);
    s.receive(r#"["1","99","room","phx_reply",{"status":"ok","response":{}}]"#);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joining));
}

#[test]
fn a_crash_during_the_join_is_a_failed_join() {
    let mut s = Script::open(config());
    let room = s.join("room");
    s.receive_error("room");
    let events = s.take_events();
    assert!(
        matches!(events[..], [Event::JoinFailed { channel, failure: JoinFailure::Crashed, .. }] if channel == room),
        "{events:?}"
    );
}

#[test]
fn unknown_events_are_messages() {
    let (mut s, _) = Script::in_room(config());
    s.receive(r#"["1",null,"room","never heard of",{"a":1}]"#);
    s.receive(r#"["1",null,"room","",{}]"#);
    s.receive(r#"["1",null,"room","phx_unheard_of",{}]"#);
    assert_eq!(s.messages(), ["never heard of", ""], "phx_ belongs to the protocol");
    assert_eq!(s.session.stats().malformed, 0);
}

#[test]
fn a_bad_frame_costs_one_event_and_not_the_connection() {
    let (mut s, _) = Script::in_room(config());
    let binary = |bytes: &[u8]| Frame::Binary(bytes.to_vec().into());
    let mut bad: Vec<_> = (3..=255).map(|kind| binary(&[kind, 0, 0, 0, 0])).collect();
    bad.extend((0..=2).flat_map(|kind| (0..3).map(move |n| binary(&vec![kind; 1 + n]))));
    bad.extend([binary(&[]), binary(b"\x02\x01\x01\xffe"), binary(b"\x00\xff\x01\x01room"), binary(b"\x01\x00\x00")]);
    bad.extend(
        ["", "{not json", "[]", "42", r#"["1","2","room","e"]"#, r#"["1","2",3,"e",{}]"#]
            .map(|text| Frame::Text(text.into())),
    );
    bad.push(Frame::Text(rejoin_core::Text::assume_utf8(b"[null,null,\"\xff\"".to_vec().into())));
    // Legal lengths of nothing are messages of the empty topic, not malformed.
    bad.retain(|frame| s.session.config().serializer.decode_from_server(frame.clone()).is_err());
    assert!(bad.len() > 260, "{}", bad.len());
    s.receive(r#"["1",null,"room","before",{}]"#);
    for frame in &bad {
        s.receive_frame(frame.clone());
    }
    s.receive(r#"["1",null,"room","after",{}]"#);
    assert_eq!(s.messages(), ["before", "after"]);
    let malformed = s.take_events().into_iter().filter(|event| matches!(event, Event::Malformed { .. })).count();
    assert_eq!(malformed, bad.len());
    assert!(s.ends.is_empty());
}

#[test]
fn an_oversized_frame_is_malformed_and_costs_nothing_else() {
    let mut config = config();
    config.limits.frame_bytes = 1_000;
    let (mut s, _) = Script::in_room(config);
    s.receive(&format!(r#"["1",null,"room","big",{{"a":"{}"}}]"#, "x".repeat(1_000)));
    s.receive(r#"["1",null,"room","after",{}]"#);
    assert_eq!((s.messages(), s.session.stats().malformed), (vec!["after".to_owned()], 1));
}

#[test]
fn a_nesting_bomb_is_delivered_and_shows_to_whoever_parses_it() {
    let (mut s, _) = Script::in_room(config());
    s.receive(&format!(r#"["1",null,"room","bomb",{}{}]"#, "[".repeat(400_000), "]".repeat(400_000)));
    s.receive(r#"["1",null,"room","after",{}]"#);
    let payloads: Vec<_> = s.take_events();
    let Event::Message { payload, .. } = &payloads[0] else { panic!("{payloads:?}") };
    assert!(payload.parse::<serde_json::Value>().is_err());
    assert!(matches!(&payloads[1], Event::Message { event, .. } if *event == "after"));
}

#[test]
fn a_handler_that_leaves_and_joins_on_every_event_goes_on_for_ever() {
    let mut s = Script::open(config());
    let mut room = s.join("room");
    s.accept("room");
    let (mut closed, rounds) = (0, 10_000);
    for _ in 0..rounds {
        s.leave(room);
        let leave = s.take_sent().pop().unwrap();
        room = s.join("room");
        s.answer(&leave, "ok", "{}");
        s.accept("room");
        closed += s.take_events().iter().filter(|event| matches!(event, Event::ChannelClosed { .. })).count();
    }
    assert_eq!((closed, s.session.channels().count()), (rounds, 1));
}

#[test]
fn every_failure_says_why_and_when_it_is_tried_again() {
    let (mut s, room) = Script::in_room(config());
    s.receive_error("room");
    let (at, event) = s.events.pop().unwrap();
    let retry_at = Some(at.saturating_add(secs(1)));
    assert_eq!(event, Event::ChannelErrored { channel: room, cause: TroubleCause::Crashed, retry_at });
    s.closed(Some(1012));
    let events = s.take_events();
    let Event::Disconnected { reason, retry_at } = &events[0] else { panic!("{events:?}") };
    assert_eq!(reason.to_string(), "closed with code 1012");
    assert!(*retry_at > Some(Timestamp::ZERO));
}

trait Crash {
    fn receive_error(&mut self, topic: &str);
}

impl Crash for Script {
    /// `phx_error` for the last join of a topic that was sent, or for join_ref 1.
    fn receive_error(&mut self, topic: &str) {
        let join = self.sent.iter().rev().find(|sent| sent.topic() == topic && sent.event() == "phx_join");
        let join_ref = join.map_or("1", |join| join.join_ref()).to_owned();
        say(self, Some(&join_ref), Some(&join_ref), topic, "phx_error", "{}");
    }
}
