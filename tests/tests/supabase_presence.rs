//! Being present as a Supabase client: what is tracked is known to the server, through every loss and
//! within its budget.

use std::time::Duration;

use proptest::prelude::*;
use rejoin_core::phoenix::{ChannelId, PushId, PushOutcome};
use rejoin_core::supabase::{ChannelConfig, Event, TrackError};
use rejoin_core::{Payload, Timestamp};
use rejoin_sim::{SupabaseScript, supabase_config};
use serde_json::{Value, json};

const ROOM: &str = "realtime:room";

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn present() -> ChannelConfig {
    ChannelConfig::default().presence("me")
}

fn in_room() -> (SupabaseScript, ChannelId) {
    SupabaseScript::in_room(supabase_config(), &present())
}

fn status(n: u32) -> Payload {
    Payload::json(&json!({ "n": n })).unwrap()
}

fn track(s: &mut SupabaseScript, room: ChannelId, n: u32) -> PushId {
    s.with(|session, now| session.track(now, room, status(n))).unwrap()
}

fn untrack(s: &mut SupabaseScript, room: ChannelId) -> PushId {
    s.with(|session, now| session.untrack(now, room)).unwrap()
}

/// What the presence calls that were sent and not taken yet say; each is answered `ok`.
fn calls(s: &mut SupabaseScript) -> Vec<Value> {
    timed_calls(s).into_iter().map(|(_, call)| call).collect()
}

/// When the calls left, and what they track: null is an untrack.
fn timed_calls(s: &mut SupabaseScript) -> Vec<(Timestamp, Value)> {
    let mut calls = Vec::new();
    // An answer may set the next one free.
    loop {
        let sent: Vec<_> = s.take_sent().into_iter().filter(|sent| sent.event() == "presence").collect();
        if sent.is_empty() {
            return calls;
        }
        for call in sent {
            let payload: Value = call.message.payload.parse().unwrap();
            assert_eq!(payload["type"], "presence");
            let said = match payload["event"].as_str() {
                Some("track") => payload["payload"]["n"].clone(),
                Some("untrack") => Value::Null,
                other => panic!("{other:?}"),
            };
            calls.push((call.at, said));
            s.answer(&call, "ok", "{}");
        }
    }
}

fn rejoin(s: &mut SupabaseScript) {
    s.closed(Some(1006));
    s.advance(secs(1));
    s.opened();
    s.accept(ROOM);
}

/// Row 54 of the failure modes.
#[test]
fn tracking_needs_a_channel_with_presence() {
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default());
    let tracked = s.with(|session, now| session.track(now, room, status(1)));
    assert_eq!(tracked, Err(TrackError::PresenceNotEnabled));
    assert_eq!(s.with(|session, now| session.untrack(now, room)), Err(TrackError::PresenceNotEnabled));
    assert_eq!(s.take_sent().len(), 0);
    assert!(s.session.presence(room).is_none());
    s.receive_message(None, None, ROOM, "presence_diff", r#"{"joins":{},"leaves":{}}"#);
    let events = s.take_events();
    assert!(matches!(&events[..], [Event::Message { event, .. }] if event == "presence_diff"), "{events:?}");

    let (mut s, room) = in_room();
    let list = Payload::json(&[1]).unwrap();
    assert_eq!(s.with(|session, now| session.track(now, room, list)), Err(TrackError::NotAnObject));
    let large = Payload::json(&json!({ "x": "y".repeat(6_000_000) })).unwrap();
    let refused = s.with(|session, now| session.track(now, room, large));
    assert!(matches!(refused, Err(TrackError::TooLarge { .. })), "{refused:?}");
}

/// Row 51 of the failure modes and trap T65.
#[test]
fn who_was_tracked_is_tracked_again_once_after_every_rejoin_until_untracked() {
    let (mut s, room) = in_room();
    let tracked = track(&mut s, room, 1);
    assert_eq!(calls(&mut s), [1]);
    assert_eq!(s.outcomes(tracked), [PushOutcome::Ok(Payload::EMPTY)]);
    rejoin(&mut s);
    assert_eq!(calls(&mut s), [1]);
    s.events.clear();
    s.advance(secs(100));
    assert_eq!(calls(&mut s), [0; 0]);
    let untracked = untrack(&mut s, room);
    assert_eq!(calls(&mut s), [Value::Null]);
    assert_eq!(s.outcomes(untracked), [PushOutcome::Ok(Payload::EMPTY)]);
    rejoin(&mut s);
    s.advance(secs(100));
    assert_eq!(calls(&mut s), [0; 0]);

    let mut once = present();
    once.presence.retrack = false;
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &once);
    track(&mut s, room, 1);
    assert_eq!(calls(&mut s), [1]);
    rejoin(&mut s);
    s.advance(secs(100));
    assert_eq!(calls(&mut s), [0; 0]);
    // Whoever hears that there was no answer has to wish again, too.
    let silent = track(&mut s, room, 2);
    s.advance(secs(10));
    assert_eq!((s.outcomes(silent), s.take_sent().len()), (vec![PushOutcome::TimedOut], 1));
    rejoin(&mut s);
    assert_eq!(calls(&mut s), [0; 0]);
}

#[test]
fn a_wish_waits_for_the_channel_and_an_untrack_of_nothing_is_done() {
    let mut s = SupabaseScript::open(supabase_config());
    let room = s.subscribe("room", &present());
    let first = track(&mut s, room, 1);
    let second = track(&mut s, room, 2);
    assert_eq!(s.outcomes(first), [PushOutcome::Dropped], "nobody will ever see it");
    s.accept(ROOM);
    assert_eq!(calls(&mut s), [2]);
    assert_eq!(s.outcomes(second), [PushOutcome::Ok(Payload::EMPTY)]);
    let same = track(&mut s, room, 2);
    assert_eq!((calls(&mut s), s.outcomes(same)), (vec![], vec![PushOutcome::Ok(Payload::EMPTY)]), "it is known");
    s.closed(None);
    let third = track(&mut s, room, 3);
    let none = untrack(&mut s, room);
    assert_eq!(
        (s.outcomes(third), s.outcomes(none)),
        (vec![PushOutcome::Dropped], vec![PushOutcome::Ok(Payload::EMPTY)])
    );
    s.advance(secs(1));
    s.opened();
    s.accept(ROOM);
    assert_eq!(calls(&mut s), [0; 0]);
    assert_eq!(s.session.open_pushes(), 0);
}

#[test]
fn a_call_that_a_loss_left_open_is_made_again_and_ends_once() {
    let (mut s, room) = in_room();
    let tracked = track(&mut s, room, 1);
    assert_eq!(s.take_sent().len(), 1);
    s.closed(Some(1006));
    assert_eq!(s.outcomes(tracked), []);
    s.advance(secs(1));
    s.opened();
    s.accept(ROOM);
    assert_eq!(calls(&mut s), [1]);
    assert_eq!(s.outcomes(tracked), [PushOutcome::Ok(Payload::EMPTY)]);

    let tracked = track(&mut s, room, 2);
    s.with(|session, now| session.close(now));
    s.closed(Some(1000));
    assert_eq!(s.outcomes(tracked), [PushOutcome::Unknown], "it was sent");
    assert_eq!(s.with(|session, now| session.track(now, room, status(3))), Err(TrackError::UnknownChannel));
}

#[test]
fn what_a_server_does_not_want_is_not_offered_again() {
    let (mut s, room) = in_room();
    let refused = track(&mut s, room, 1);
    let call = s.take_sent().pop().unwrap();
    s.answer(&call, "error", r#"{"reason":"Presence track payload must be a map"}"#);
    assert!(matches!(&s.outcomes(refused)[..], [PushOutcome::Error(_)]));
    rejoin(&mut s);
    assert_eq!(calls(&mut s), [0; 0]);
    let silent = track(&mut s, room, 2);
    s.advance(secs(10));
    assert_eq!((s.outcomes(silent), s.take_sent().len()), (vec![PushOutcome::TimedOut], 1));
    rejoin(&mut s);
    assert_eq!(calls(&mut s), [2], "it may have been lost");
}

/// Trap T14: that the channel is unknown is no word on the wish.
#[test]
fn a_server_that_has_forgotten_the_channel_is_told_again_after_the_rejoin() {
    let (mut s, room) = in_room();
    let tracked = track(&mut s, room, 1);
    let call = s.take_sent().pop().unwrap();
    let unmatched = r#"{"status":"error","response":{"reason":"unmatched topic"}}"#;
    s.receive_message(None, Some(call.reference()), ROOM, "phx_reply", unmatched);
    assert_eq!(s.outcomes(tracked), []);
    s.advance(secs(2));
    s.accept(ROOM);
    assert_eq!(calls(&mut s), [1]);
    assert_eq!(s.outcomes(tracked), [PushOutcome::Ok(Payload::EMPTY)]);
    assert_eq!(s.session.open_pushes(), 0);
}

/// Row 55 of the failure modes and trap T65.
#[test]
fn twenty_wishes_in_a_second_are_five_calls_and_the_last_one_wins() {
    let (mut s, room) = in_room();
    let mut sent = Vec::new();
    for n in 1..=20 {
        track(&mut s, room, n);
        sent.extend(calls(&mut s));
        s.advance(Duration::from_millis(50));
    }
    assert_eq!(sent, [1, 2, 3, 4, 5]);
    s.advance(secs(28));
    assert_eq!(calls(&mut s), [0; 0]);
    s.advance(secs(3));
    assert_eq!(calls(&mut s), [20], "those in between were passed over");
    assert_eq!(s.session.open_pushes(), 0);
}

#[test]
fn a_channel_that_is_left_with_a_wish_that_waits_ends_it() {
    let (mut s, room) = in_room();
    let wishes: Vec<_> = (1..=6).map(|n| (track(&mut s, room, n), calls(&mut s)).0).collect();
    s.advance(secs(25));
    s.with(|session, now| session.unsubscribe(now, room)).unwrap();
    // The server takes its time, and the budget has room again meanwhile.
    s.advance(secs(40));
    for wish in wishes {
        assert_eq!(s.outcomes(wish).len(), 1);
    }
    assert_eq!((calls(&mut s), s.session.open_pushes()), (vec![], 0));
}

#[test]
fn a_cancelled_wish_stays_and_tells_nobody() {
    let mut s = SupabaseScript::open(supabase_config());
    let room = s.subscribe("room", &present());
    let tracked = track(&mut s, room, 1);
    s.with(|session, _| session.cancel(tracked));
    assert_eq!(s.outcomes(tracked), [PushOutcome::Dropped]);
    s.accept(ROOM);
    assert_eq!(calls(&mut s), [1]);
    assert_eq!(s.outcomes(tracked).len(), 1);
}

/// A stuck transport, and then a loss or a crash: what the lane held is not said besides what is wished then.
#[test]
fn a_call_that_never_left_is_not_made_once_more_after_the_rejoin() {
    for crash in [false, true] {
        for wished_meanwhile in [None, Some(2)] {
            let (mut s, room) = in_room();
            s.plugged = true;
            let tracked = track(&mut s, room, 1);
            if crash {
                s.end(ROOM, "phx_error");
            } else {
                s.closed(Some(1006));
            }
            let later = wished_meanwhile.map(|n| track(&mut s, room, n));
            s.plugged = false;
            s.advance(secs(1));
            if !crash {
                s.opened();
            }
            s.accept(ROOM);
            assert_eq!(calls(&mut s), [wished_meanwhile.unwrap_or(1)], "crash: {crash}");
            match later {
                None => assert_eq!(s.outcomes(tracked), [PushOutcome::Ok(Payload::EMPTY)]),
                Some(later) => {
                    assert_eq!(s.outcomes(tracked), [PushOutcome::Dropped]);
                    assert_eq!(s.outcomes(later), [PushOutcome::Ok(Payload::EMPTY)]);
                }
            }
            assert_eq!(s.session.open_pushes(), 0);
        }
    }
}

/// Whoever says untrack while nobody is tracked must not be shown after the rejoin.
#[test]
fn a_call_that_never_left_does_not_undo_an_untrack_during_the_absence() {
    let (mut s, room) = in_room();
    s.plugged = true;
    let tracked = track(&mut s, room, 1);
    s.closed(Some(1006));
    let untracked = untrack(&mut s, room);
    assert_eq!(
        (s.outcomes(tracked), s.outcomes(untracked)),
        (vec![PushOutcome::Dropped], vec![PushOutcome::Ok(Payload::EMPTY)])
    );
    s.plugged = false;
    s.advance(secs(1));
    s.opened();
    s.accept(ROOM);
    assert_eq!(calls(&mut s), [0; 0]);
    assert_eq!(s.session.open_pushes(), 0);
}

#[test]
fn an_untrack_behind_a_call_that_a_crash_ends_is_done_with_the_crash() {
    let (mut s, room) = in_room();
    let tracked = track(&mut s, room, 1);
    let untracked = untrack(&mut s, room);
    assert_eq!(s.take_sent().len(), 1);
    s.end(ROOM, "phx_error");
    assert_eq!(
        (s.outcomes(tracked), s.outcomes(untracked)),
        (vec![PushOutcome::Unknown], vec![PushOutcome::Ok(Payload::EMPTY)])
    );
    s.advance(secs(1));
    s.accept(ROOM);
    assert_eq!(calls(&mut s), [0; 0], "the server has forgotten it anyway");
}

#[test]
fn a_call_without_an_answer_is_not_taken_for_one_that_the_server_knows() {
    let (mut s, room) = in_room();
    track(&mut s, room, 1);
    s.advance(secs(10));
    s.take_sent();
    let again = track(&mut s, room, 1);
    assert_eq!(calls(&mut s), [1]);
    assert_eq!(s.outcomes(again), [PushOutcome::Ok(Payload::EMPTY)]);

    // One that has never left is still to be made.
    s.plugged = true;
    let late = track(&mut s, room, 2);
    s.advance(secs(10));
    assert_eq!(s.outcomes(late), [PushOutcome::TimedOut]);
    s.plugged = false;
    s.drain();
    assert_eq!(calls(&mut s), [2]);
}

#[test]
fn whoever_is_untracked_already_need_not_say_so_again() {
    let (mut s, room) = in_room();
    track(&mut s, room, 1);
    untrack(&mut s, room);
    assert_eq!(calls(&mut s), [json!(1), Value::Null]);
    let again = untrack(&mut s, room);
    assert_eq!((calls(&mut s), s.outcomes(again)), (vec![], vec![PushOutcome::Ok(Payload::EMPTY)]));
}

/// What passes the check fits a frame: else it would wait for ever.
#[test]
fn whatever_may_be_tracked_can_be_sent() {
    let mut config = supabase_config();
    config.phoenix.limits.outbound_frame_bytes = 70_000;
    let (mut s, room) = SupabaseScript::in_room(config, &present());
    let mut accepted = 0;
    for len in 69_600..69_900 {
        let payload = Payload::json(&json!({ "n": "x".repeat(len) })).unwrap();
        if s.with(|session, now| session.track(now, room, payload)).is_ok() {
            assert_eq!(calls(&mut s).len(), 1, "{len} bytes");
            accepted += 1;
            s.advance(secs(40));
        }
    }
    assert!(accepted > 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Track(u32),
    /// Its answer is lost with the connection.
    TrackInVain(u32),
    /// The transport never takes it before the connection is lost.
    TrackUnsent(u32),
    Untrack,
    Wait(u64),
    Lose,
    /// The channel alone is lost, with what is in flight.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u32).prop_map(Step::Track),
        1 => (0..3_u32).prop_map(Step::TrackInVain),
        1 => (0..3_u32).prop_map(Step::TrackUnsent),
        1 => Just(Step::Untrack),
        3 => (1..20_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Lose),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    /// Whatever is wished and lost: one outcome a wish, five calls in any 30 s, and in the end the
    /// server shows the last wish.
    #[test]
    fn the_last_wish_is_what_the_server_shows(steps in prop::collection::vec(step(), 0..60)) {
        let (mut s, room) = in_room();
        let (mut shown, mut wished, mut pushes) = (None, None, Vec::new());
        let mut made: Vec<Timestamp> = Vec::new();
        for step in steps.into_iter().chain([Step::Wait(40_000); 3]) {
            match step {
                Step::Track(n) | Step::TrackInVain(n) | Step::TrackUnsent(n) => {
                    s.plugged = matches!(step, Step::TrackUnsent(_));
                    pushes.push(track(&mut s, room, n));
                    wished = Some(json!(n));
                }
                Step::Untrack => {
                    pushes.push(untrack(&mut s, room));
                    wished = None;
                }
                Step::Wait(millis) => s.advance(Duration::from_millis(millis)),
                Step::Lose | Step::Crash => {}
            }
            if matches!(step, Step::Lose | Step::Crash | Step::TrackInVain(_) | Step::TrackUnsent(_)) {
                let lost = s.take_sent();
                made.extend(lost.iter().filter(|sent| sent.event() == "presence").map(|sent| sent.at));
                if matches!(step, Step::Crash) {
                    s.end(ROOM, "phx_error");
                    s.advance(secs(1));
                    s.accept(ROOM);
                } else {
                    s.closed(Some(1006));
                    s.plugged = false;
                    s.advance(secs(1));
                    s.opened();
                    s.accept(ROOM);
                }
                shown = None;
            }
            for (at, call) in timed_calls(&mut s) {
                shown = Some(call).filter(|call| !call.is_null());
                made.push(at);
            }
        }
        for six in made.windows(6) {
            prop_assert!(six[5].saturating_since(six[0]) >= secs(30), "{:?}", six);
        }
        prop_assert_eq!(shown, wished);
        for push in pushes {
            prop_assert_eq!(s.outcomes(push).len(), 1, "{:?}", push);
        }
        prop_assert_eq!(s.session.open_pushes(), 0);
    }
}
