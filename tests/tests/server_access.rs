//! A client that is authenticated after the upgrade is not heard before, and not longer than its token lives.

use std::time::Duration;

use rejoin_core::phoenix::{AUTH_TIMEOUT, EndReason, ServerConfig, ServerEvent};
use rejoin_core::wire::Serializer;
use rejoin_core::{Machine, Timestamp, TransportEvent};
use rejoin_sim::Host;

const JOIN: &str = r#"["1","1","room:a","phx_join",{}]"#;
const HEARTBEAT: &str = r#"[null,"2","phoenix","heartbeat",{}]"#;

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

const fn at(s: u64) -> Option<Timestamp> {
    Some(Timestamp::from_millis(s * 1_000))
}

/// A host that has not authenticated its client.
fn awaiting() -> Host {
    let mut config = ServerConfig::new(Serializer::V2);
    config.auth_timeout = Some(AUTH_TIMEOUT);
    Host::with(config)
}

fn close(host: &mut Host, code: u16) -> Option<EndReason> {
    assert_eq!(host.ends, [Some(code)]);
    host.transport(TransportEvent::Closed { conn: Host::CONN, code: Some(code), reason: "".into() });
    assert!(host.session.is_finished() && host.session.poll_timeout().is_none());
    host.ended.clone()
}

#[test]
fn what_is_said_before_authentication_is_heard_after_it_in_order() {
    let mut host = awaiting();
    host.client(JOIN);
    host.client(HEARTBEAT);
    assert_eq!((host.take().len(), host.channels.len()), (0, 0));
    host.advance(secs(9));
    host.session.authenticate(host.now, None);
    host.drain();
    let expected = [
        r#"[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]"#,
        r#"["1","1","room:a","phx_reply",{"status":"ok","response":{}}]"#,
    ];
    // The heartbeat is answered at once, the join by the host.
    assert_eq!(host.take(), expected);
    host.advance(secs(50));
    assert!(host.ends.is_empty(), "it was authenticated in time");
}

#[test]
fn a_client_that_nobody_authenticates_is_closed_with_1008() {
    let mut host = awaiting();
    assert_eq!(host.session.poll_timeout(), at(10));
    host.client(JOIN);
    host.advance(secs(10));
    assert_eq!(host.session.stats().unheard, 1);
    host.session.authenticate(host.now, None);
    host.drain();
    assert_eq!((host.take().len(), host.channels.len()), (0, 0), "it is too late");
    assert_eq!(close(&mut host, 1008), Some(EndReason::Unauthenticated));
}

#[test]
fn a_client_that_is_refused_is_closed_with_the_code_and_never_heard() {
    let mut host = awaiting();
    host.client(JOIN);
    host.session.refuse(host.now, 1008, "bad token");
    host.drain();
    assert_eq!((host.session.stats().unheard, host.channels.len()), (1, 0));
    assert_eq!(close(&mut host, 1008), Some(EndReason::Refused));
}

#[test]
fn more_than_is_held_closes_with_1008() {
    let mut host = awaiting();
    (0..32).for_each(|_| host.client(HEARTBEAT));
    assert!(host.ends.is_empty());
    host.client(HEARTBEAT);
    assert_eq!(host.session.stats().unheard, 33);
    assert_eq!(close(&mut host, 1008), Some(EndReason::TooEager));

    let mut host = awaiting();
    host.client(&"x".repeat(64 << 10));
    assert!(host.ends.is_empty());
    host.client("x");
    assert_eq!(close(&mut host, 1008), Some(EndReason::TooEager));
}

#[test]
fn a_token_that_expires_is_warned_of_and_ends_channels_and_socket() {
    let mut host = Host::joined();
    let channel = host.channels["room:a"];
    host.session.authenticate(host.now, at(50));
    host.advance(secs(19));
    assert_eq!(host.notices, []);
    host.advance(secs(1));
    assert_eq!(host.notices, [ServerEvent::Expiring { expires_at: Timestamp::from_millis(50_000) }]);
    host.advance(secs(29));
    assert!(host.take().is_empty() && host.ends.is_empty() && host.notices.len() == 1);
    host.advance(secs(1));
    assert_eq!(host.take(), [r#"["1","1","room:a","phx_error",{"reason":"token_expired"}]"#]);
    assert_eq!(host.left, [channel]);
    assert_eq!(close(&mut host, 1008), Some(EndReason::Expired));
}

#[test]
fn a_refreshed_token_lives_longer_and_is_warned_of_anew() {
    let mut host = Host::joined();
    host.session.authenticate(host.now, at(40));
    host.advance(secs(20));
    assert_eq!(host.notices.len(), 1);
    host.session.authenticate(host.now, at(100));
    host.client(HEARTBEAT);
    host.advance(secs(49));
    assert_eq!((host.notices.len(), host.ends.len()), (1, 0));
    host.client(HEARTBEAT);
    host.advance(secs(1));
    assert_eq!(host.notices[1..], [ServerEvent::Expiring { expires_at: Timestamp::from_millis(100_000) }]);
    host.session.authenticate(host.now, None);
    host.advance(secs(58));
    assert!(host.ends.is_empty(), "it has no end any more");
}

#[test]
fn a_token_with_little_time_left_is_warned_of_at_once_and_one_with_none_is_the_end() {
    let mut host = Host::joined();
    host.session.authenticate(host.now, at(3));
    host.drain();
    assert_eq!(host.notices, [ServerEvent::Expiring { expires_at: Timestamp::from_millis(3_000) }]);
    host.advance(secs(3));
    assert_eq!(close(&mut host, 1008), Some(EndReason::Expired));

    let mut host = awaiting();
    host.client(JOIN);
    host.advance(secs(5));
    host.session.authenticate(host.now, at(5));
    host.drain();
    assert_eq!((host.notices.len(), host.take().len(), host.session.stats().unheard), (0, 0, 1));
    assert_eq!(close(&mut host, 1008), Some(EndReason::Expired));
}

#[test]
fn a_host_that_sleeps_through_the_warning_still_ends_the_session_in_time() {
    let mut host = Host::joined();
    host.session.authenticate(host.now, at(50));
    host.now = Timestamp::from_millis(55_000);
    host.session.handle_timeout(host.now);
    host.drain();
    assert_eq!(host.notices, []);
    assert_eq!(close(&mut host, 1008), Some(EndReason::Expired));
}

#[test]
fn nothing_is_heard_after_the_end_of_a_token_even_if_the_timer_is_late() {
    let mut host = Host::joined();
    host.session.authenticate(host.now, at(50));
    host.now = Timestamp::from_millis(50_000);
    host.client(r#"["1","2","room:a","ping",{}]"#);
    assert_eq!(host.take(), [r#"["1","1","room:a","phx_error",{"reason":"token_expired"}]"#]);
    assert_eq!((host.session.stats().unheard, close(&mut host, 1008)), (1, Some(EndReason::Expired)));

    let mut host = awaiting();
    host.now = Timestamp::from_millis(10_000);
    host.client(JOIN);
    assert_eq!((host.session.stats().unheard, close(&mut host, 1008)), (1, Some(EndReason::Unauthenticated)));
}
