//! Tokens: what joins and channels carry, when a fresh one is asked for, what waits for it.

use std::time::Duration;

use rejoin_core::Timestamp;
use rejoin_core::supabase::{
    AuthError, ChannelConfig, ChannelState, Event, Request, Retry, Session, SubscribeFailure, TokenFailure,
    TokenReason, Trouble,
};
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
fn a_join_waits_for_the_first_answer_of_the_provider() {
    let mut s = SupabaseScript::open(provider_config());
    let room = s.subscribe("room", &ChannelConfig::default());
    s.advance(secs(5));
    assert!(s.sent.is_empty(), "no join without a token");
    assert_eq!(s.session.channel_state(room), Some(ChannelState::AwaitingToken));
    assert!(matches!(s.requests[..], [(_, Request::Token { reason: TokenReason::Missing, .. })]), "asked once");
    let fresh = token(HOUR, 1);
    s.provide(&fresh);
    assert_eq!(s.tokens_sent(), [("phx_join".into(), text(&fresh))]);
    s.accept(ROOM);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
}

#[test]
fn a_provider_that_stays_silent_is_a_typed_failure_and_never_an_anonymous_join() {
    let mut s = SupabaseScript::open(provider_config());
    let room = s.subscribe("room", &ChannelConfig::default());
    s.events.clear();
    s.advance(secs(10));
    let retry_at = at(11);
    let failure = SubscribeFailure::NoToken(TokenFailure::TimedOut);
    assert_eq!(
        s.take_events(),
        [
            Event::TokenUnavailable { failure: TokenFailure::TimedOut, retry_at },
            Event::SubscribeFailed { channel: room, failure, retry: Retry::At(retry_at) },
        ]
    );
    s.advance(secs(60));
    assert!(s.joins(ROOM).is_empty());
    let asked: Vec<u64> = s.requests.iter().map(|(at, _)| at.saturating_since(Timestamp::ZERO).as_secs()).collect();
    assert_eq!(asked, [0, 11, 23, 38, 58], "1, 2, 5, 10 s after each failure");
}

#[test]
fn an_anonymous_channel_waits_for_nobody_and_carries_no_token() {
    let mut s = SupabaseScript::open(provider_config());
    s.subscribe("room", &ChannelConfig::default().anonymous());
    assert_eq!(s.tokens_sent(), [("phx_join".into(), None)]);
    s.accept(ROOM);
    s.provide(&token(HOUR, 1));
    assert_eq!(s.tokens_sent().len(), 1);
}

#[test]
fn a_token_is_refreshed_before_it_expires_and_told_once_a_channel() {
    let (first, second) = (token(HOUR, 1), token(HOUR * 2, 2));
    let mut s = SupabaseScript::open(provider_config());
    s.subscribe("room", &ChannelConfig::default());
    s.subscribe("other", &ChannelConfig::default());
    s.provide(&first);
    s.accept(ROOM);
    s.accept("realtime:other");
    s.take_sent();
    // A tenth of its life before its end.
    s.advance(secs(3_600 - 360 - 1));
    assert!(s.requests.is_empty());
    s.advance(secs(1));
    assert!(matches!(s.requests[..], [(_, Request::Token { reason: TokenReason::Expiring, .. })]));
    s.events.clear();
    s.provide(&second);
    assert_eq!(s.take_events()[0], Event::TokenRefreshed { expires_at: Some(EPOCH + HOUR * 2) });
    let told = ("access_token".to_owned(), text(&second));
    assert_eq!(s.tokens_sent(), [told.clone(), told]);
    s.advance(secs(1_000));
    assert_eq!(s.tokens_sent().len(), 2, "and not again");
    assert_eq!(s.session.open_pushes(), 0, "nobody waits for a reply that never comes");
}

#[test]
fn the_same_token_is_never_told_twice() {
    let mut s = SupabaseScript::open(provider_config());
    let fixed = token(HOUR, 1);
    s.subscribe("room", &ChannelConfig::default());
    s.provide(&fixed);
    s.accept(ROOM);
    s.take_sent();
    for _ in 0..100 {
        s.advance(secs(25));
        s.with(Session::refresh_auth);
        s.provide(&fixed);
        s.with(|session, now| session.set_auth(now, fixed.clone())).unwrap();
    }
    assert!(s.tokens_sent().is_empty(), "{:?}", s.tokens_sent());
}

#[test]
fn a_channel_that_ended_with_its_token_comes_back_with_the_next_one() {
    let (first, second) = (token(HOUR, 1), token(HOUR * 2, 2));
    let mut s = SupabaseScript::open(provider_config());
    let room = s.subscribe("room", &ChannelConfig::default());
    s.provide(&first);
    s.accept(ROOM);
    // The provider is asked in time and says nothing.
    s.advance(HOUR);
    s.events.clear();
    s.shut_down(ROOM, "Token has expired 0 seconds ago");
    let trouble = Trouble::Closed { message: Some("Token has expired 0 seconds ago".into()) };
    assert!(s.take_events().contains(&Event::ChannelErrored { channel: room, trouble, retry: Retry::OnToken }));
    assert_eq!(s.session.channel_state(room), Some(ChannelState::AwaitingToken));
    s.take_sent();
    s.advance(secs(60));
    assert!(s.joins(ROOM).is_empty(), "an expired token is not sent");
    s.provide(&second);
    assert_eq!(s.tokens_sent(), [("phx_join".into(), text(&second))]);
}

#[test]
fn an_answer_that_a_newer_token_has_overtaken_is_ignored() {
    let mut s = SupabaseScript::open(provider_config());
    s.subscribe("room", &ChannelConfig::default());
    let stale = s.take_requests()[0];
    let newer = token(HOUR, 2);
    s.with(|session, now| session.set_auth(now, newer.clone())).unwrap();
    s.with(|session, now| session.handle_token(now, stale, Ok(Some(token(HOUR, 1)))));
    assert_eq!(s.tokens_sent(), [("phx_join".into(), text(&newer))]);
    s.accept(ROOM);
    assert_eq!(s.tokens_sent().len(), 1);
}

#[test]
fn a_token_set_by_hand_does_not_end_the_asking() {
    let mut s = SupabaseScript::open(provider_config());
    s.with(|session, now| session.set_auth(now, token(HOUR, 1))).unwrap();
    s.take_requests();
    s.advance(HOUR - secs(360));
    assert!(matches!(s.requests[..], [(_, Request::Token { reason: TokenReason::Expiring, .. })]));
}

#[test]
fn a_failing_provider_leaves_the_last_token_in_force_until_it_expires() {
    let mut s = SupabaseScript::open(provider_config());
    s.subscribe("room", &ChannelConfig::default());
    let first = token(HOUR, 1);
    s.provide(&first);
    s.accept(ROOM);
    s.advance(HOUR - secs(360));
    let id = s.take_requests()[0];
    s.with(|session, now| session.handle_token(now, id, Err(TokenFailure::Provider("offline".into()))));
    s.closed(Some(1006));
    s.advance(secs(1));
    s.take_sent();
    s.opened();
    assert_eq!(s.tokens_sent(), [("phx_join".into(), text(&first))]);
}

#[test]
fn signing_out_takes_the_token_out_of_joins_and_private_channels_wait() {
    let mut config = supabase_config();
    config.access_token = Some(token(HOUR, 1));
    let mut s = SupabaseScript::open(config);
    s.with(Session::clear_auth);
    s.subscribe("room", &ChannelConfig::default());
    let secret = s.subscribe("secret", &ChannelConfig::default().private());
    assert_eq!(s.tokens_sent(), [("phx_join".into(), None)]);
    assert_eq!(s.session.channel_state(secret), Some(ChannelState::AwaitingToken));
    let failure = SubscribeFailure::NoToken(TokenFailure::SignedOut);
    assert_eq!(s.take_events(), [Event::SubscribeFailed { channel: secret, failure, retry: Retry::OnToken }]);
    s.with(|session, now| session.set_auth(now, token(HOUR, 2))).unwrap();
    assert_eq!(s.joins("realtime:secret").len(), 1);
}

#[test]
fn a_provider_that_says_signed_out_stops_private_channels_and_lets_others_in() {
    let mut s = SupabaseScript::open(provider_config());
    s.subscribe("room", &ChannelConfig::default());
    let secret = s.subscribe("secret", &ChannelConfig::default().private());
    let id = s.take_requests()[0];
    s.events.clear();
    s.with(|session, now| session.handle_token(now, id, Ok(None)));
    assert_eq!(s.tokens_sent(), [("phx_join".into(), None)]);
    let failure = SubscribeFailure::NoToken(TokenFailure::SignedOut);
    assert_eq!(s.take_events(), [Event::SubscribeFailed { channel: secret, failure, retry: Retry::OnToken }]);
}

#[test]
fn an_expired_token_is_refused_at_the_call_and_never_sent() {
    let mut config = supabase_config();
    config.access_token = Some(token(secs(60), 1));
    let mut s = SupabaseScript::open(config);
    s.advance(secs(60));
    assert_eq!(s.with(|session, now| session.set_auth(now, token(secs(60), 2))), Err(AuthError::Expired));
    assert!(s.events.iter().any(|(at, event)| *event == Event::TokenExpired && *at == self::at(60)));
    s.events.clear();
    let room = s.subscribe("room", &ChannelConfig::default());
    assert!(s.joins(ROOM).is_empty());
    let failure = SubscribeFailure::NoToken(TokenFailure::Expired);
    assert_eq!(s.take_events(), [Event::SubscribeFailed { channel: room, failure, retry: Retry::OnToken }]);
}

#[test]
fn a_wall_clock_that_jumps_past_the_expiry_is_heeded_at_once() {
    let mut s = SupabaseScript::open(provider_config());
    s.subscribe("room", &ChannelConfig::default());
    s.provide(&token(HOUR, 1));
    s.accept(ROOM);
    s.events.clear();
    // The host slept for eight hours.
    s.with(|session, now| session.set_wall_clock(now, EPOCH + HOUR * 8));
    s.with(Session::probe);
    assert!(s.take_events().contains(&Event::TokenExpired));
    s.closed(None);
    s.advance(secs(1));
    s.take_sent();
    s.opened();
    assert!(s.joins(ROOM).is_empty());
    let late = token(HOUR * 9, 2);
    s.provide(&late);
    assert_eq!(s.tokens_sent(), [("phx_join".into(), text(&late))]);
}

#[test]
fn a_token_that_changes_while_a_join_is_thought_about_is_told_behind_it() {
    let mut config = supabase_config();
    config.access_token = Some(token(HOUR, 1));
    let mut s = SupabaseScript::open(config);
    s.subscribe("room", &ChannelConfig::default());
    s.with(|session, now| session.set_auth(now, token(HOUR, 2))).unwrap();
    assert_eq!(s.tokens_sent().len(), 1);
    s.accept(ROOM);
    assert_eq!(s.tokens_sent()[1], ("access_token".into(), text(&token(HOUR, 2))));
}
