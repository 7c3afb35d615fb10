//! Broadcasts of a Supabase client: how they are written and read, where they wait, how they end,
//! and what becomes of those that nobody reads.

use std::time::Duration;

use rejoin_core::phoenix::{ChannelId, Overflow, PushError, PushId, PushOutcome};
use rejoin_core::supabase::{Broadcast, ChannelConfig, ChannelState, Config, Event};
use rejoin_core::wire::{EncodeError, Serializer};
use rejoin_core::{Frame, Machine, Payload, Timestamp, TransportAction, TransportEvent};
use rejoin_sim::{SupabaseScript, supabase_config};

const ROOM: &str = "realtime:room";

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn in_room(config: Config) -> (SupabaseScript, ChannelId) {
    SupabaseScript::in_room(config, &ChannelConfig::default())
}

fn vsn1() -> Config {
    let mut config = supabase_config();
    config.phoenix.serializer = Serializer::V1;
    config
}

fn as_text() -> Config {
    let mut config = supabase_config();
    config.text_broadcasts = true;
    config
}

fn json(text: &str) -> Payload {
    Payload::from_json_text(text).unwrap()
}

fn try_send(s: &mut SupabaseScript, room: ChannelId, broadcast: Broadcast) -> Result<PushId, PushError> {
    s.with(|session, now| session.broadcast(now, room, broadcast))
}

/// The frame of a broadcast by a client that has joined the room and sent nothing since.
fn written(config: Config, broadcast: Broadcast) -> Frame {
    let (mut s, room) = in_room(config);
    s.plugged = true;
    try_send(&mut s, room, broadcast).unwrap();
    match s.session.poll_transport() {
        Some(TransportAction::Send { frame, .. }) => frame,
        other => panic!("{other:?}"),
    }
}

#[test]
fn broadcasts_are_written_as_the_server_reads_them() {
    let small = || Broadcast::new("user-event", json(r#"{"a":"b"}"#));
    let binary = [b"\x03\x01\x01\x0d\x0a\x00\x01".as_slice(), b"12realtime:roomuser-event", br#"{"a":"b"}"#].concat();
    assert_eq!(written(supabase_config(), small()), Frame::Binary(binary.into()), "no metadata has no length");
    // Lengths count bytes: these ten are seven characters.
    let event = b"\x63\x61\x66\xc3\xa9\x2d\xf0\x9f\x8e\x89";
    let wide = [b"\x03\x01\x01\x0d\x0a\x00\x01".as_slice(), b"12realtime:room", event, b"{}"].concat();
    let cafe = Broadcast::new("café-🎉", Payload::EMPTY);
    assert_eq!(written(supabase_config(), cafe), Frame::Binary(wide.into()));
    let raw = [b"\x03\x01\x01\x0d\x03\x00\x00".as_slice(), b"12realtime:roomraw", b"\x01\x04"].concat();
    let bytes = || Broadcast::new("raw", Payload::binary(vec![1, 4].into()));
    assert_eq!(written(supabase_config(), bytes()), Frame::Binary(raw.into()));

    let object = r#"{"event":"user-event","payload":{"a":"b"},"type":"broadcast"}"#;
    let read = |frame: Frame, path: &str| {
        let Frame::Text(text) = frame else { panic!("{frame:?} is no text") };
        serde_json::from_str::<serde_json::Value>(&text).unwrap().pointer(path).unwrap().clone()
    };
    let expected: serde_json::Value = serde_json::from_str(object).unwrap();
    assert_eq!(read(written(as_text(), small()), "/4"), expected);
    assert_eq!(read(written(vsn1(), small()), "/payload"), expected);

    let (mut s, room) = in_room(vsn1());
    assert_eq!(try_send(&mut s, room, bytes()), Err(PushError::Encode(EncodeError::BinaryNeedsV2)));
    let (mut s, room) = in_room(as_text());
    assert_eq!(try_send(&mut s, room, bytes()), Err(PushError::Encode(EncodeError::BinaryAsText)));
}

#[test]
fn names_that_are_too_long_for_their_frame_are_refused_at_the_call() {
    let long = "é".repeat(128);
    let error = |field| Err(PushError::Encode(EncodeError::FieldTooLong { field, len: 256 }));
    let (mut s, room) = in_room(supabase_config());
    assert_eq!(try_send(&mut s, room, Broadcast::new(&*long, Payload::EMPTY)), error("event"));
    assert!(try_send(&mut s, room, Broadcast::new(&long[..254], Payload::EMPTY)).is_ok());
    let topic = &long[..256 - "realtime:".len() - 1];
    let far = s.subscribe(&format!("{topic}x"), &ChannelConfig::default());
    assert_eq!(try_send(&mut s, far, Broadcast::new("e", Payload::EMPTY)), error("topic"));
    assert_eq!(s.take_sent_names(), ["broadcast", "phx_join"], "a join is text, and text has room");
    for config in [as_text(), vsn1()] {
        let (mut s, room) = in_room(config);
        assert!(try_send(&mut s, room, Broadcast::new(&*long, Payload::EMPTY)).is_ok());
    }
}

/// A user broadcast as the server sends it in binary.
fn kind_4(event: &str, meta: &str, json: bool, payload: &[u8]) -> Frame {
    let len = |text: &str| u8::try_from(text.len()).unwrap();
    let head = [4, len(ROOM), len(event), len(meta), u8::from(json)];
    Frame::Binary([&head, ROOM.as_bytes(), event.as_bytes(), meta.as_bytes(), payload].concat().into())
}

#[test]
fn broadcasts_are_read_in_every_form_in_which_they_come() {
    let text = |object: &str| Frame::Text(format!(r#"[null,null,"{ROOM}","broadcast",{object}]"#).into());
    let vsn1_text = |object: &str| {
        Frame::Text(format!(r#"{{"topic":"{ROOM}","event":"broadcast","payload":{object},"ref":null}}"#).into())
    };
    let replayed = r#"{"id":"1","replayed":true}"#;
    let stored = format!(r#"{{"event":"e","meta":{replayed},"payload":{{"a":1}},"type":"broadcast"}}"#);
    let (rest, peer) = (r#"{"payload":{"a":1},"event":"e","type":"broadcast"}"#, r#"{"event":"e","payload":{"a":1}}"#);
    let a = || json(r#"{"a":1}"#);
    let about = || Some(json(replayed));
    for (config, frame, payload, meta) in [
        (supabase_config(), kind_4("e", "", true, br#"{"a":1}"#), a(), None),
        (supabase_config(), kind_4("e", replayed, true, br#"{"a":1}"#), a(), about()),
        (supabase_config(), kind_4("e", "", false, b"\x01\x04"), Payload::binary(vec![1, 4].into()), None),
        (supabase_config(), text(rest), a(), None),
        (supabase_config(), text(peer), a(), None),
        (supabase_config(), text(&stored), a(), about()),
        (supabase_config(), text(r#"{"event":"e","type":"broadcast"}"#), Payload::EMPTY, None),
        (vsn1(), vsn1_text(rest), a(), None),
        (vsn1(), vsn1_text(&stored), a(), about()),
    ] {
        let (mut s, channel) = in_room(config);
        s.receive_frame(frame);
        assert_eq!(s.take_events(), [Event::Broadcast { channel, event: "e".into(), payload, meta }]);
    }
}

#[test]
fn a_peer_that_sends_no_json_is_noticed_by_whoever_reads_it() {
    let (mut s, _) = in_room(supabase_config());
    s.receive_frame(kind_4("bad", "", true, b"{no json"));
    s.receive_frame(kind_4("good", "", true, b"{}"));
    let events = s.take_events();
    let [Event::Broadcast { payload, .. }, Event::Broadcast { event, .. }] = &events[..] else { panic!("{events:?}") };
    assert!(payload.parse::<serde_json::Value>().is_err());
    assert_eq!((event.as_str(), s.ends.len()), ("good", 0));
}

#[test]
fn a_bad_frame_costs_one_event_and_neither_connection_nor_channel() {
    let (mut s, room) = in_room(supabase_config());
    let binary = |bytes: &[u8]| Frame::Binary(bytes.to_vec().into());
    let good = kind_4("e", "", true, b"{}");
    let mut bad: Vec<_> = (5..=255).map(|kind| binary(&[kind, 0, 0, 0, 0])).collect();
    bad.extend((0..19).map(|cut| binary(&good.as_bytes()[..cut])));
    bad.extend([binary(b"\x04\x0d\xff\x00\x01realtime:roome"), binary(b"\x04\x0d\x02\x00\x01realtime:room\xff\xfe{}")]);
    bad.extend(
        ["", "{not json", "[]", r#"["1","2"]"#, r#"[null,null,7,"broadcast",{}]"#].map(|t| Frame::Text(t.into())),
    );
    for frame in bad.iter().chain([&good]) {
        s.receive_frame(frame.clone());
    }
    let events = s.take_events();
    let malformed = events.iter().filter(|event| matches!(event, Event::Malformed { .. })).count();
    assert_eq!((malformed, events.len()), (bad.len(), bad.len() + 1));
    assert!(matches!(events.last(), Some(Event::Broadcast { .. })));
    assert_eq!((s.session.channel_state(room), s.ends.len()), (Some(ChannelState::Joined), 0));
}

#[test]
fn an_acknowledgement_is_the_servers_word_and_needs_a_channel_that_has_it() {
    let (mut s, room) = in_room(supabase_config());
    let plain = Broadcast::new("e", Payload::EMPTY);
    assert_eq!(try_send(&mut s, room, plain.clone().with_ack()), Err(PushError::AckDisabled));
    assert!(s.sent.is_empty());
    let push = try_send(&mut s, room, plain.clone()).unwrap();
    assert_eq!(s.outcomes(push), [PushOutcome::Sent], "there is nothing to wait for");

    for (status, response, expected) in [
        ("ok", "{}", PushOutcome::Ok(json("{}"))),
        ("error", r#""payload_size_exceeded""#, PushOutcome::Error(json(r#""payload_size_exceeded""#))),
    ] {
        let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default().broadcast_ack());
        let push = s.broadcast(room, "e");
        let sent = s.take_sent().remove(0);
        s.answer(&sent, status, response);
        assert_eq!(s.outcomes(push), [expected]);
        assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined), "a push is no channel");
        let unanswered = try_send(&mut s, room, plain.clone().without_ack()).unwrap();
        assert_eq!(s.outcomes(unanswered), [PushOutcome::Sent]);
    }
}

#[test]
fn what_a_policy_forbids_is_never_answered_and_times_out() {
    let channel = ChannelConfig::default().private().broadcast_ack();
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &channel);
    let push = s.broadcast(room, "e");
    let impatient = try_send(&mut s, room, Broadcast::new("e", Payload::EMPTY).timeout(secs(2))).unwrap();
    s.advance(secs(2));
    assert_eq!((s.outcomes(impatient), s.outcomes(push)), (vec![PushOutcome::TimedOut], vec![]));
    s.advance(secs(8));
    assert_eq!(s.outcomes(push), [PushOutcome::TimedOut]);
    let late = s.take_sent().remove(0);
    s.answer(&late, "ok", "{}");
    assert_eq!((s.outcomes(push).len(), s.session.open_pushes()), (1, 0));
}

#[test]
fn broadcasts_made_before_the_join_leave_right_behind_its_answer_in_order() {
    let mut s = SupabaseScript::open(supabase_config());
    let room = s.subscribe("room", &ChannelConfig::default().broadcast_ack());
    let pushes: Vec<_> = ["a", "b", "c"].map(|event| s.broadcast(room, event)).into();
    s.closed(None);
    s.advance(secs(1));
    s.opened();
    s.accept(ROOM);
    let sent = s.take_sent().split_off(2);
    let user_events: Vec<_> = sent.iter().map(|m| m.message.user_event.as_ref().unwrap().event.as_str()).collect();
    assert_eq!(user_events, ["a", "b", "c"]);
    let refs: Vec<_> = sent.iter().map(|m| (m.join_ref(), m.reference())).collect();
    assert_eq!(refs, [("2", "3"), ("2", "4"), ("2", "5")]);
    for (push, message) in pushes.into_iter().zip(&sent) {
        s.answer(message, "ok", "{}");
        assert_eq!(s.outcomes(push), [PushOutcome::Ok(Payload::EMPTY)]);
    }
}

#[test]
fn a_loss_leaves_no_broadcast_without_an_outcome() {
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default().broadcast_ack());
    let sent = s.broadcast(room, "sent");
    s.closed(None);
    assert_eq!(s.outcomes(sent), [PushOutcome::Unknown]);
    let waiting = s.broadcast(room, "waiting");
    let cancelled = s.broadcast(room, "cancelled");
    s.with(|session, _| session.cancel(cancelled));
    assert_eq!(s.outcomes(cancelled), [PushOutcome::Dropped]);
    s.with(|session, now| session.unsubscribe(now, room)).unwrap();
    assert_eq!((s.outcomes(waiting), s.session.open_pushes()), (vec![PushOutcome::Dropped], 0));
}

/// Two thirds of a channel's mebibyte, then the same again.
#[test]
fn a_channel_that_is_full_rejects_drops_the_oldest_or_drops_the_newest_and_says_so() {
    let big = || Broadcast::new("e", json(&format!(r#""{}""#, "x".repeat(700_000))));
    let dropped = || vec![PushOutcome::Dropped];
    for (overflow, outcomes) in [
        (Overflow::RejectNew, (vec![], Err(PushError::Full))),
        (Overflow::DropOldest, (dropped(), Ok(vec![]))),
        (Overflow::DropNewest, (vec![], Ok(dropped()))),
    ] {
        let mut config = supabase_config();
        config.phoenix.limits.overflow = overflow;
        let mut s = SupabaseScript::open(config);
        let room = s.subscribe("room", &ChannelConfig::default());
        let other = s.subscribe("other", &ChannelConfig::default());
        let first = try_send(&mut s, room, big()).unwrap();
        let elsewhere = try_send(&mut s, other, big()).unwrap();
        let newest = try_send(&mut s, room, big());
        let of_newest = newest.clone().map(|push| s.outcomes(push));
        assert_eq!((s.outcomes(first), of_newest), outcomes, "{overflow:?}");
        assert!(s.outcomes(elsewhere).is_empty(), "another channel's are its own");
        s.accept(ROOM);
        assert_eq!(s.take_sent_names(), ["phx_join", "phx_join", "broadcast"]);
        assert_eq!(s.session.open_pushes(), 1, "the other channel's");
    }
}

#[test]
fn more_than_a_hundred_broadcasts_do_not_wait_in_a_channel() {
    let mut config = supabase_config();
    config.phoenix.limits.send_buffer = 1_000;
    config.phoenix.limits.overflow = Overflow::DropOldest;
    let mut s = SupabaseScript::open(config);
    let room = s.subscribe("room", &ChannelConfig::default());
    let pushes: Vec<_> = (0..250).map(|_| s.broadcast(room, "e")).collect();
    let dropped = pushes.iter().filter(|push| s.outcomes(**push) == [PushOutcome::Dropped]).count();
    assert_eq!(dropped, 150);
    s.accept(ROOM);
    for (n, push) in pushes.iter().enumerate() {
        let outcome = if n < 150 { PushOutcome::Dropped } else { PushOutcome::Sent };
        assert_eq!(s.outcomes(*push), [outcome], "number {n}");
    }
}

/// Nobody polls events: messages are dropped and counted, heartbeats leave in time, states are told.
#[test]
fn what_nobody_reads_is_bounded_and_the_missing_are_counted() {
    let mut config = supabase_config();
    config.phoenix.limits.events = 100;
    let (mut s, _) = in_room(config);
    let conn = s.conn();
    let frame = kind_4("e", "", true, b"{}");
    let mut beats = Vec::new();
    for second in 1..=300 {
        s.now = Timestamp::from_millis(second * 1_000);
        for _ in 0..100 {
            let received = TransportEvent::Received { conn, frame: frame.clone() };
            s.session.handle_transport(s.now, received);
        }
        s.session.handle_timeout(s.now);
        while let Some(action) = s.session.poll_transport() {
            let TransportAction::Send { frame, .. } = action else { panic!("{action:?}") };
            let beat = Serializer::V2.decode_from_client(frame).unwrap();
            let reply = format!(
                r#"[null,"{}","phoenix","phx_reply",{{"status":"ok","response":{{}}}}]"#,
                beat.reference.unwrap().as_str()
            );
            beats.push(second);
            let frame = Frame::Text(reply.into());
            s.session.handle_transport(s.now, TransportEvent::Received { conn, frame });
        }
    }
    assert_eq!(beats, Vec::from_iter((1..=12).map(|n| n * 25)));
    assert_eq!(s.session.queued_events(), 100);
    s.drain();
    let mut events = s.take_events();
    let missed = events.pop();
    assert!(events.iter().all(|event| matches!(event, Event::Broadcast { .. })));
    // All that did not fit, and the two words about each heartbeat.
    assert_eq!((events.len(), missed), (100, Some(Event::Lagged { missed: 29_900 + 2 * 12 })));
    assert_eq!((s.session.stats().lagged, s.session.queued_events()), (29_924, 0));
}

#[test]
fn a_channel_hears_nothing_before_it_is_joined_and_after_it_is_left() {
    let mut s = SupabaseScript::open(supabase_config());
    let room = s.subscribe("room", &ChannelConfig::default());
    let frame = kind_4("e", "", true, b"{}");
    s.receive_frame(frame.clone());
    s.accept(ROOM);
    s.with(|session, now| session.unsubscribe(now, room)).unwrap();
    s.receive_frame(frame);
    assert!(!s.take_events().iter().any(|event| matches!(event, Event::Broadcast { .. })));
    assert_eq!(s.session.stats().stale_messages, 2);
}

#[test]
fn a_broadcast_that_would_cost_the_connection_is_refused_at_the_call() {
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default());
    let of = |bytes: usize| Broadcast::new("e", Payload::binary(vec![0; bytes].into()));
    let refused = s.with(|session, now| session.broadcast(now, room, of(5_000_000)));
    assert!(matches!(refused, Err(PushError::TooLarge { .. })), "{refused:?}");
    s.with(|session, now| session.broadcast(now, room, of(4_900_000))).unwrap();
}
