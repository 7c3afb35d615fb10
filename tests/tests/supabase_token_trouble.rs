//! Tokens in trouble: refused ones, ones that cross or come late, providers that fail, and the end.

use std::time::Duration;

use rejoin_core::supabase::{
    ChannelConfig, ChannelState, CloseReason, Event, Request, Retry, Session, SubscribeFailure, TokenFailure,
    TokenReason,
};
use rejoin_core::{Machine as _, Timestamp};
use rejoin_sim::{EPOCH, SupabaseScript, provider_config, supabase_config, token};

const HOUR: Duration = Duration::from_secs(3_600);
const ROOM: &str = "realtime:room";

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn at(s: u64) -> Timestamp {
    Timestamp::ZERO.saturating_add(secs(s))
}

fn text(token: &rejoin_core::supabase::AccessToken) -> Option<String> {
    Some(token.expose().to_owned())
}

#[test]
fn a_refused_token_is_tried_once_and_its_successor_at_once() {
    let mut s = SupabaseScript::open(provider_config());
    let room = s.subscribe("room", &ChannelConfig::default().private());
    let first = token(HOUR, 1);
    s.provide(&first);
    s.refuse(ROOM, "Unauthorized: You do not have permissions to read from this Channel topic: room");
    assert_eq!(s.session.channel_state(room), Some(ChannelState::AwaitingToken));
    let mut answers = 0;
    for _ in 0..120 {
        s.advance(secs(5));
        if !s.requests.is_empty() {
            s.provide(&first);
            answers += 1;
        }
    }
    assert_eq!(s.joins(ROOM).len(), 1, "ten minutes, one token, one join");
    assert!((15..30).contains(&answers), "asked {answers} times, at last every 30 s");
    while s.requests.is_empty() {
        s.advance(secs(5));
    }
    s.provide(&token(HOUR, 2));
    assert_eq!(s.joins(ROOM).len(), 2);
}

#[test]
fn without_a_provider_a_refused_channel_waits_for_set_auth() {
    let mut s = SupabaseScript::open(supabase_config());
    let room = s.subscribe("room", &ChannelConfig::default().private());
    assert_eq!(s.tokens_sent(), [("phx_join".into(), None)], "the API key speaks");
    s.refuse(ROOM, "Unauthorized: You do not have permissions to read from this Channel topic: room");
    let refused = |event: &Event| matches!(event, Event::SubscribeFailed { retry: Retry::OnToken, .. });
    assert!(s.take_events().iter().any(refused));
    s.advance(HOUR);
    assert_eq!(s.joins(ROOM).len(), 1);
    s.with(|session, now| session.set_auth(now, token(HOUR * 9, 1))).unwrap();
    assert_eq!(s.joins(ROOM).len(), 2);
    s.accept(ROOM);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
}

#[test]
fn where_the_provider_fails_the_configured_token_has_to_do() {
    let mut config = provider_config();
    let configured = token(HOUR, 7);
    config.access_token = Some(configured.clone());
    let mut s = SupabaseScript::open(config);
    s.subscribe("room", &ChannelConfig::default());
    assert!(s.sent.is_empty(), "the provider is heard first");
    s.advance(secs(10));
    assert_eq!(s.tokens_sent(), [("phx_join".into(), text(&configured))]);
}

#[test]
fn a_channel_may_have_a_token_of_its_own() {
    let mut config = supabase_config();
    let (common, own) = (token(HOUR, 1), token(HOUR, 2));
    config.access_token = Some(common.clone());
    let (mut s, room) = SupabaseScript::in_room(config, &ChannelConfig::default());
    s.with(|session, now| session.set_channel_auth(now, room, Some(own.clone()))).unwrap();
    assert_eq!(s.tokens_sent(), [("access_token".into(), text(&own))]);
    s.with(|session, now| session.set_auth(now, token(HOUR, 3))).unwrap();
    assert_eq!(s.tokens_sent().len(), 1, "the session's does not concern it");
    s.closed(None);
    s.advance(secs(1));
    s.opened();
    assert_eq!(s.tokens_sent()[1], ("phx_join".into(), text(&own)));
    s.accept(ROOM);
    s.with(|session, now| session.set_channel_auth(now, room, None)).unwrap();
    assert_eq!(s.tokens_sent()[2], ("access_token".into(), text(&token(HOUR, 3))));
}

#[test]
fn a_token_that_changes_while_the_transport_is_stuck_leaves_once_and_in_its_last_form() {
    let mut config = supabase_config();
    config.access_token = Some(token(HOUR, 0));
    let (mut s, _) = SupabaseScript::in_room(config, &ChannelConfig::default());
    s.plugged = true;
    for generation in 1..100 {
        s.with(|session, now| session.set_auth(now, token(HOUR, generation))).unwrap();
    }
    s.plugged = false;
    s.drain();
    assert_eq!(s.tokens_sent(), [("access_token".into(), text(&token(HOUR, 99)))]);
}

#[test]
fn each_dial_may_carry_a_token_resolved_for_it() {
    let mut config = provider_config();
    config.authorization = true;
    let mut s = SupabaseScript::new(config);
    s.with(Session::connect);
    assert!(s.dials.is_empty(), "the provider is heard first");
    s.provide(&token(HOUR, 1));
    let bearer = |s: &SupabaseScript| {
        let (_, request) = s.dials.last().unwrap();
        let header = request.headers.iter().find(|(name, _)| *name == "authorization").unwrap();
        header.1.to_string()
    };
    assert_eq!(bearer(&s), format!("Bearer {}", token(HOUR, 1).expose()));
    s.opened();
    s.closed(None);
    s.advance(secs(1));
    assert_eq!(s.dials.len(), 1, "and heard anew");
    // Its time does not count as the server's.
    s.advance(secs(9));
    s.provide(&token(HOUR, 2));
    assert_eq!(bearer(&s), format!("Bearer {}", token(HOUR, 2).expose()));
    s.advance(secs(9));
    assert!(s.ends.is_empty(), "the attempt has its ten seconds");
}

#[test]
fn a_disconnect_while_the_provider_is_heard_dials_nothing() {
    let mut config = provider_config();
    config.authorization = true;
    let mut s = SupabaseScript::new(config);
    s.with(Session::connect);
    s.with(Session::disconnect);
    s.provide(&token(HOUR, 1));
    s.advance(secs(60));
    assert!(s.dials.is_empty() && s.ends.is_empty());
}

#[test]
fn an_anonymous_channel_that_needs_a_token_is_refused_for_good() {
    let mut s = SupabaseScript::open(provider_config());
    let room = s.subscribe("room", &ChannelConfig::default().anonymous());
    s.events.clear();
    s.refuse(ROOM, "Unauthorized: You do not have permissions to read from this Channel topic: room");
    let events = s.take_events();
    assert!(matches!(events[0], Event::SubscribeFailed { retry: Retry::Never, .. }));
    assert_eq!(events[1], Event::ChannelClosed { channel: room, reason: CloseReason::Refused });
}

#[test]
fn a_closed_session_asks_for_nothing_and_has_no_deadline_left() {
    let mut s = SupabaseScript::open(provider_config());
    s.subscribe("room", &ChannelConfig::default());
    s.provide(&token(HOUR, 1));
    s.accept(ROOM);
    s.with(Session::close);
    s.closed(Some(1000));
    assert_eq!(s.deadline(), None);
    s.advance(HOUR * 2);
    assert!(s.requests.is_empty());
    assert_eq!(s.take_events().last(), Some(&Event::Closed));
}

#[test]
fn channels_that_wait_for_a_token_use_up_no_joins_of_the_second() {
    let mut s = SupabaseScript::open(provider_config());
    for n in 0..200 {
        s.subscribe(&format!("room:{n}"), &ChannelConfig::default());
    }
    s.provide(&token(HOUR, 1));
    let mut answered = 0;
    while let Some(join) = s.sent.get(answered) {
        let topic = join.topic().to_owned();
        s.accept(&topic);
        answered += 1;
    }
    assert_eq!(s.now, Timestamp::ZERO);
    let joined = s.session.channels().filter(|(_, _, state)| *state == ChannelState::Joined).count();
    assert_eq!(joined, 50, "the first second's");
}

#[test]
fn a_token_that_crosses_with_the_end_of_the_one_before_is_joined_with() {
    let mut s = SupabaseScript::new(supabase_config());
    s.with(|session, now| session.set_auth(now, token(secs(100), 1))).unwrap();
    s.with(Session::connect);
    s.opened();
    let room = s.subscribe("room", &ChannelConfig::default());
    s.accept(ROOM);
    s.sent.clear();
    s.advance(secs(99));
    let fresh = token(HOUR, 2);
    s.with(|session, now| session.set_auth(now, fresh.clone())).unwrap();
    assert_eq!(s.tokens_sent(), [("access_token".into(), text(&fresh))]);
    s.sent.clear();
    s.shut_down(ROOM, "Token has expired 0 seconds ago");
    s.advance(secs(1));
    assert_eq!(s.tokens_sent(), [("phx_join".into(), text(&fresh))]);
    // What is refused in a join is that join's token.
    s.refuse(ROOM, "InvalidJWTToken: Token has expired 0 seconds ago");
    s.sent.clear();
    s.advance(HOUR / 2);
    assert_eq!(s.tokens_sent(), []);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::AwaitingToken));
}

#[test]
fn a_token_that_comes_behind_a_close_is_told_to_nobody() {
    let (mut s, _) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default());
    s.with(Session::close);
    s.sent.clear();
    s.with(|session, now| session.set_auth(now, token(HOUR, 1))).unwrap();
    assert_eq!(s.tokens_sent(), []);
}

#[test]
fn a_wall_clock_that_is_put_right_lets_in_whoever_seemed_too_late() {
    let mut config = supabase_config();
    config.access_token = Some(token(HOUR, 1));
    let mut s = SupabaseScript::new(config);
    s.with(|session, now| session.set_wall_clock(now, EPOCH + HOUR * 24));
    s.with(Session::connect);
    s.opened();
    let room = s.subscribe("room", &ChannelConfig::default());
    assert_eq!(s.session.channel_state(room), Some(ChannelState::AwaitingToken));
    s.with(|session, now| session.set_wall_clock(now, EPOCH));
    assert_eq!(s.tokens_sent(), [("phx_join".into(), text(&token(HOUR, 1)))]);
}

#[test]
fn a_refused_channel_that_is_gone_does_not_end_the_refreshing() {
    let mut s = SupabaseScript::open(provider_config());
    s.subscribe("room", &ChannelConfig::default());
    let other = s.subscribe("other", &ChannelConfig::default().private());
    s.provide(&token(HOUR, 1));
    s.accept(ROOM);
    s.refuse("realtime:other", "Unauthorized: You do not have permissions to read from this Channel topic: other");
    s.with(|session, now| session.unsubscribe(now, other)).unwrap();
    s.provide(&token(HOUR, 1));
    s.advance(secs(3_600 - 360));
    assert!(matches!(s.requests[..], [(_, Request::Token { reason: TokenReason::Expiring, .. })]));
}

#[test]
fn a_provider_that_failed_is_still_asked_for_what_a_refused_channel_needs() {
    let mut s = SupabaseScript::open(provider_config());
    s.subscribe("room", &ChannelConfig::default().private());
    s.provide(&token(HOUR * 9, 1));
    s.refuse(ROOM, "Unauthorized: You do not have permissions to read from this Channel topic: room");
    let id = s.take_requests().remove(0);
    s.with(|session, now| session.handle_token(now, id, Err(TokenFailure::Provider("busy".into()))));
    s.advance(secs(1));
    s.provide(&token(HOUR * 9, 1));
    s.advance(secs(2));
    s.provide(&token(HOUR * 9, 2));
    assert_eq!(s.joins(ROOM).len(), 2);
}

#[test]
fn tokens_that_are_refused_one_after_the_other_are_tried_ever_more_seldom() {
    let mut s = SupabaseScript::open(provider_config());
    s.subscribe("room", &ChannelConfig::default().private());
    let mut joins = Vec::new();
    for generation in 0..600 {
        if !s.requests.is_empty() {
            s.provide(&token(HOUR * 9, generation));
        }
        for join in s.take_sent().into_iter().filter(|sent| sent.event() == "phx_join") {
            joins.push(join.at.as_millis() / 100);
            s.answer(&join, "error", r#"{"reason":"Unauthorized: You do not have permissions to read from this"}"#);
        }
        s.advance(Duration::from_millis(100));
    }
    // In tenths of a second: the second token at once, and then as after any refusal.
    assert_eq!(joins, [0, 1, 21, 71, 171, 271, 371, 471, 571]);
}

#[test]
fn what_is_said_about_tokens_behind_the_end_sets_no_timer() {
    let mut s = SupabaseScript::open(provider_config());
    s.with(Session::close);
    s.closed(Some(1000));
    s.with(|session, now| session.set_auth(now, token(HOUR, 1))).unwrap();
    s.with(|session, now| session.set_wall_clock(now, EPOCH + secs(60)));
    assert_eq!(s.deadline(), None);
    s.advance(HOUR * 2);
    assert_eq!(s.take_events().last(), Some(&Event::Closed));
}

#[test]
fn questions_that_nobody_took_do_not_pile_up() {
    let mut session = Session::new(provider_config(), Timestamp::ZERO);
    for generation in 0..100 {
        session.refresh_auth(Timestamp::ZERO);
        session.set_auth(Timestamp::ZERO, token(HOUR, generation)).unwrap();
    }
    session.refresh_auth(Timestamp::ZERO);
    assert_eq!(std::iter::from_fn(|| session.poll_request()).count(), 1, "the one that may still be answered");
}

#[test]
fn a_bearer_of_the_users_own_gives_way_to_the_resolved_one() {
    let mut config = supabase_config();
    config.authorization = true;
    config.access_token = Some(token(HOUR, 1));
    config.phoenix.headers = vec![("Authorization".into(), "Bearer old".into())];
    let mut s = SupabaseScript::new(config);
    s.with(Session::connect);
    let is_bearer = |name: &&str| name.eq_ignore_ascii_case("authorization");
    let names = s.dials[0].1.headers.iter().map(|(name, _)| name.as_str());
    assert_eq!(names.filter(is_bearer).count(), 1);
}

#[test]
fn no_duration_is_too_long() {
    let forever = Duration::MAX;
    let mut config = provider_config();
    config.authorization = true;
    (config.token_timeout, config.rate_delay, config.disconnect_when_empty) = (forever, forever, Some(forever));
    (config.phoenix.heartbeat_interval, config.phoenix.connect_timeout) = (Some(forever), forever);
    config.phoenix.jitter = rejoin_core::Jitter::Equal;
    let mut s = SupabaseScript::new(config);
    s.with(|session, now| session.set_wall_clock(now, Duration::ZERO));
    s.with(Session::connect);
    s.with(|session, now| session.set_wall_clock(now, Duration::MAX));
    s.with(|session, now| session.set_wall_clock(now, EPOCH));
    s.provide(&token(HOUR, 1));
    s.opened();
    let room = s.subscribe("room", &ChannelConfig::default());
    s.refuse(ROOM, "ChannelRateLimitReached: Too many channels");
    s.with(|session, now| session.unsubscribe(now, room)).unwrap();
    s.advance(HOUR / 2);
    assert_eq!(s.session.channels().count(), 0);
}

#[test]
fn a_provider_whose_tokens_live_for_seconds_is_taken_at_its_word() {
    let mut s = SupabaseScript::open(provider_config());
    s.subscribe("room", &ChannelConfig::default());
    for generation in 0..10 {
        if !s.requests.is_empty() {
            let left = s.now.saturating_since(Timestamp::ZERO) + secs(8);
            s.provide(&token(left, generation));
        }
        s.advance(secs(1));
    }
    assert_eq!(s.joins(ROOM).len(), 1);
    assert!(s.joins(ROOM)[0].at < at(1), "at once");
}

#[test]
fn who_waits_for_the_provider_hears_that_the_user_signed_out() {
    let mut s = SupabaseScript::open(provider_config());
    let room = s.subscribe("room", &ChannelConfig::default().private());
    s.subscribe("lobby", &ChannelConfig::default());
    s.events.clear();
    s.with(Session::clear_auth);
    let failure = SubscribeFailure::NoToken(TokenFailure::SignedOut);
    assert_eq!(s.take_events(), [Event::SubscribeFailed { channel: room, failure, retry: Retry::OnToken }]);
    assert_eq!(s.tokens_sent(), [("phx_join".into(), None)], "the public channel's");
}
