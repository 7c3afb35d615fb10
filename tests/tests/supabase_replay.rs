//! Stored broadcasts: storing them, hearing them again, and none of them twice.

use std::time::Duration;

use proptest::prelude::*;
use rejoin_core::phoenix::{ChannelId, PushError, PushId, PushOutcome, Transport};
use rejoin_core::supabase::{Broadcast, BroadcastMeta, ChannelConfig, Event, Persist, Replay, UnixMillis};
use rejoin_core::wire::Serializer;
use rejoin_core::{Frame, Machine, Payload, Timestamp, TransportAction, TransportKind};
use rejoin_sim::{EPOCH, SupabaseScript, supabase_config, token};
use serde_json::{Value, json};

const ROOM: &str = "realtime:room";

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn replaying(replay: Replay) -> ChannelConfig {
    ChannelConfig::default().private().broadcast_ack().replay(replay)
}

/// Since ten minutes before the script.
fn since() -> UnixMillis {
    UnixMillis::from_secs(EPOCH.as_secs() - 600)
}

fn in_room(channel: &ChannelConfig) -> (SupabaseScript, ChannelId) {
    let mut config = supabase_config();
    config.access_token = Some(token(secs(86_400), 1));
    SupabaseScript::in_room(config, channel)
}

fn rejoin(s: &mut SupabaseScript) {
    s.closed(Some(1006));
    s.advance(secs(1));
    s.opened();
    s.accept(ROOM);
}

/// A stored broadcast, as text.
fn store(s: &mut SupabaseScript, n: u32, replayed: bool) {
    let meta =
        if replayed { json!({"id": format!("id-{n}"), "replayed": true}) } else { json!({"id": format!("id-{n}")}) };
    let payload = json!({"event": "e", "meta": meta, "payload": {"n": n}, "type": "broadcast"});
    s.say(ROOM, "broadcast", &payload.to_string());
}

/// The broadcasts that were heard, with whether they were replayed.
fn heard(s: &mut SupabaseScript) -> Vec<(u32, bool)> {
    let of = |event| match event {
        Event::Broadcast { payload, meta, .. } => {
            let n = payload.parse::<Value>().unwrap()["n"].as_u64().unwrap();
            Some((u32::try_from(n).unwrap(), meta.is_some_and(|meta| BroadcastMeta::of(&meta).replayed)))
        }
        _ => None,
    };
    s.take_events().into_iter().filter_map(of).collect()
}

/// What the last join asks to be replayed.
fn asked(s: &SupabaseScript) -> Value {
    let join: Value = s.joins(ROOM).last().expect("a join was sent").message.payload.parse().unwrap();
    join["config"]["broadcast"]["replay"].clone()
}

/// Row 30 of the failure modes and trap T57; row 38: the order is the server's.
#[test]
fn a_replayed_broadcast_is_heard_once_in_the_servers_order() {
    let (mut s, _) = in_room(&replaying(Replay::since(since())));
    for n in [3, 1, 2] {
        store(&mut s, n, true);
    }
    store(&mut s, 4, false);
    assert_eq!(heard(&mut s), [(3, true), (1, true), (2, true), (4, false)]);
    rejoin(&mut s);
    for n in [1, 2, 4, 5] {
        store(&mut s, n, true);
    }
    assert_eq!(heard(&mut s), [(5, true)]);
    assert_eq!(s.session.stats().repeated_broadcasts, 3);
    // In binary, too.
    let meta = br#"{"id":"id-5","replayed":true}"#;
    let head = [4, 13, 1, u8::try_from(meta.len()).unwrap(), 1];
    let frame = [&head[..], b"realtime:room", b"e", meta, br#"{"n":5}"#].concat();
    s.receive_frame(Frame::Binary(frame.into()));
    assert_eq!(heard(&mut s), []);
}

#[test]
fn without_a_replay_nothing_is_held_against_a_broadcast() {
    let (mut s, _) = in_room(&ChannelConfig::default());
    store(&mut s, 1, false);
    store(&mut s, 1, false);
    assert_eq!(heard(&mut s), [(1, false), (1, false)]);
}

/// Section 6.5 of the specification.
#[test]
fn a_rejoin_asks_for_what_is_newer_than_the_last_sign_of_life() {
    let mut config = supabase_config();
    config.access_token = Some(token(secs(86_400), 1));
    let mut s = SupabaseScript::open(config);
    s.subscribe("room", &replaying(Replay::since(since()).limit(7)));
    assert_eq!(asked(&s), json!({"since": since().as_millis(), "limit": 7}));
    s.accept(ROOM);
    s.answers_heartbeats = false;
    s.advance(secs(20));
    store(&mut s, 1, false);
    s.advance(secs(16));
    assert_eq!(s.ends.len(), 1, "a heartbeat was not answered");
    s.opened();
    // The last that was heard, less a margin for what was on its way.
    assert_eq!(asked(&s), json!({"since": (EPOCH + secs(15)).as_millis(), "limit": 7}));

    let (mut s, _) = in_room(&replaying(Replay::since(since()).without_resume()));
    s.advance(secs(20));
    rejoin(&mut s);
    assert_eq!(asked(&s), json!({"since": since().as_millis()}));
    // What was asked for first is never exceeded.
    let (mut s, _) = in_room(&replaying(Replay::since(UnixMillis::from_secs(EPOCH.as_secs() + 99))));
    s.advance(secs(20));
    rejoin(&mut s);
    assert_eq!(asked(&s), json!({"since": (EPOCH + secs(99)).as_millis()}));
}

/// The stored broadcasts come behind the answer to the join, or get lost there.
#[test]
fn a_rejoin_that_is_lost_before_its_replay_asks_for_it_again() {
    let (mut s, _) = in_room(&replaying(Replay::since(since())));
    // The very first one, too.
    rejoin(&mut s);
    assert_eq!(asked(&s), json!({"since": since().as_millis()}));
    s.advance(secs(20));
    store(&mut s, 1, false);
    for _ in 0..3 {
        rejoin(&mut s);
        assert_eq!(asked(&s), json!({"since": (EPOCH + secs(16)).as_millis()}));
    }
    s.advance(secs(20));
    store(&mut s, 2, false);
    rejoin(&mut s);
    assert_eq!(asked(&s), json!({"since": (EPOCH + secs(39)).as_millis()}));
}

/// A host that slept, whose own time does not count the sleep, and which slept again before it was back.
#[test]
fn what_was_stored_while_the_host_slept_is_asked_for() {
    let (mut s, _) = in_room(&replaying(Replay::since(since())));
    s.advance(secs(20));
    store(&mut s, 1, false);
    for hours in [1, 2] {
        s.advance(secs(1));
        let slept = secs(3_600 * hours);
        s.with(|session, now| session.set_wall_clock(now, EPOCH + (now.saturating_since(Timestamp::ZERO)) + slept));
        if hours == 1 {
            s.closed(Some(1006));
        }
    }
    s.advance(secs(1));
    s.opened();
    assert_eq!(asked(&s), json!({"since": (EPOCH + secs(15)).as_millis()}));
}

/// A clock that was ahead and is put right.
#[test]
fn a_clock_that_is_set_back_makes_nothing_missing() {
    let (mut s, _) = in_room(&replaying(Replay::since(since())));
    s.advance(secs(20));
    store(&mut s, 1, false);
    s.with(|session, now| session.set_wall_clock(now, EPOCH - secs(80)));
    rejoin(&mut s);
    assert_eq!(asked(&s), json!({"since": (EPOCH - secs(85)).as_millis()}));
}

#[test]
fn an_id_that_no_server_makes_is_not_remembered() {
    let (mut s, _) = in_room(&replaying(Replay::since(since())));
    let payload = json!({"event": "e", "meta": {"id": "x".repeat(256)}, "payload": {"n": 1}, "type": "broadcast"});
    for _ in 0..2 {
        s.say(ROOM, "broadcast", &payload.to_string());
    }
    assert_eq!(heard(&mut s), [(1, false), (1, false)]);
}

/// Section 6.1 of the specification.
#[test]
fn a_broadcast_is_stored_where_that_is_possible_and_refused_where_not() {
    let stored = |persist| Broadcast::new("e", Payload::EMPTY).persist(persist).without_ack();
    for (persist, meta) in
        [(Persist::Default, r#"{"persist":true}"#), (Persist::Seconds(60), r#"{"persist":{"ttl":60}}"#)]
    {
        let (mut s, room) = in_room(&ChannelConfig::default().private());
        s.plugged = true;
        s.with(|session, now| session.broadcast(now, room, stored(persist))).unwrap();
        let Some(TransportAction::Send { frame: Frame::Binary(frame), .. }) = s.session.poll_transport() else {
            panic!("a binary frame")
        };
        let head = [3, 1, 1, 13, 1, u8::try_from(meta.len()).unwrap(), 1];
        assert_eq!(frame, [&head[..], b"12realtime:roome", meta.as_bytes(), b"{}"].concat());
    }
    let (mut s, room) = in_room(&ChannelConfig::default());
    let refused = s.with(|session, now| session.broadcast(now, room, stored(Persist::Default)));
    assert_eq!(refused, Err(PushError::PersistNeedsPrivate));
    let mut as_text = supabase_config();
    as_text.text_broadcasts = true;
    let mut vsn1 = supabase_config();
    vsn1.phoenix.serializer = Serializer::V1;
    let mut long_poll = supabase_config();
    long_poll.phoenix.transport = Transport::LongPoll;
    for config in [as_text, vsn1, long_poll] {
        let (mut s, room) = SupabaseScript::in_room(config, &ChannelConfig::default().private());
        let refused = s.with(|session, now| session.broadcast(now, room, stored(Persist::Default)));
        assert_eq!(refused, Err(PushError::PersistNeedsBinary));
    }
}

/// What was to be stored must not go as one that is not, with its wish for all to see.
#[test]
fn a_broadcast_to_be_stored_is_dropped_on_the_long_poll_that_took_the_websockets_place() {
    let mut config = supabase_config();
    config.phoenix.transport = Transport::AUTO;
    config.phoenix.fallback_memory = TransportKind::LongPoll;
    config.access_token = Some(token(secs(86_400), 1));
    let (mut s, room) = SupabaseScript::in_room(config, &ChannelConfig::default().private().broadcast_ack());
    let stored = Broadcast::new("e", Payload::EMPTY).persist(Persist::Default);
    let push = s.with(|session, now| session.broadcast(now, room, stored)).unwrap();
    assert_eq!((s.outcomes(push), s.take_sent().len()), (vec![PushOutcome::Dropped], 0));
}

/// Section 4.11 of the specification.
#[test]
fn an_unacknowledged_broadcast_is_sent_again_if_it_asks_for_that() {
    let (mut s, room) = in_room(&ChannelConfig::default().broadcast_ack());
    let send = |s: &mut SupabaseScript, broadcast: Broadcast| {
        s.with(|session, now| session.broadcast(now, room, broadcast)).unwrap()
    };
    let once = send(&mut s, Broadcast::new("once", Payload::EMPTY));
    let first = send(&mut s, Broadcast::new("first", Payload::EMPTY).resend_on_reconnect());
    let second = send(&mut s, Broadcast::new("second", Payload::EMPTY).resend_on_reconnect());
    assert_eq!(s.take_sent_names().len(), 3);
    rejoin(&mut s);
    assert_eq!(s.outcomes(once), [PushOutcome::Unknown]);
    let again: Vec<_> = s.take_sent().into_iter().filter(|sent| sent.event() == "broadcast").collect();
    let names: Vec<_> = again.iter().map(|sent| sent.message.user_event.as_ref().unwrap().event.as_str()).collect();
    assert_eq!(names, ["first", "second"]);
    s.answer(&again[0], "ok", "{}");
    assert_eq!(s.outcomes(first), [PushOutcome::Ok(Payload::EMPTY)]);
    s.advance(secs(10));
    assert_eq!(s.outcomes(second), [PushOutcome::TimedOut], "ten seconds after it was accepted");
    assert_eq!(s.session.open_pushes(), 0);
}

/// The server may have got it the first time, so that nobody can call it dropped.
#[test]
fn a_broadcast_that_is_given_up_before_it_is_sent_again_is_unknown() {
    let give_ups: [fn(&mut SupabaseScript, ChannelId, PushId); 2] = [
        |s, _, push| s.with(|session, _| session.cancel(push)),
        |s, room, _| s.with(|session, now| session.unsubscribe(now, room)).unwrap(),
    ];
    for give_up in give_ups {
        let (mut s, room) = in_room(&ChannelConfig::default().broadcast_ack());
        let broadcast = Broadcast::new("e", Payload::EMPTY).resend_on_reconnect();
        let push = s.with(|session, now| session.broadcast(now, room, broadcast)).unwrap();
        s.closed(None);
        give_up(&mut s, room, push);
        assert_eq!(s.outcomes(push), [PushOutcome::Unknown]);
    }
}

proptest! {
    /// Whatever a server replays after however many losses: everything once.
    #[test]
    fn replay_never_delivers_twice(
        sendings in prop::collection::vec((0..40_u32, any::<bool>(), prop::bool::weighted(0.1)), 0..100)
    ) {
        let (mut s, _) = in_room(&replaying(Replay::since(since())));
        let mut all = Vec::new();
        for (n, replayed, lose) in sendings {
            if lose {
                rejoin(&mut s);
            }
            store(&mut s, n, replayed);
            all.extend(heard(&mut s).into_iter().map(|(n, _)| n));
            prop_assert!(all.contains(&n), "{n} is not heard at all");
        }
        let heard = all.len();
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), heard);
    }
}
