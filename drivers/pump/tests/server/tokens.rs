//! Tokens: who comes in, who stays, and what the application learns from them.

use std::time::Duration;

use rejoin_core::auth::{AuthError, Claims, Requirement, TokenVerifier};
use rejoin_core::phoenix::{AUTH_TIMEOUT, PushOutcome};
use rejoin_pump::server::ServerOptions;

use crate::lab::{Lab, joined, json, ok, over_both_transports, secs};
use crate::wire::Wire;

over_both_transports! {
    an_application_knows_its_clients_claims_and_parameters
    a_client_that_brings_a_new_token_stays
    a_token_that_is_not_the_clients_own_changes_nothing
    a_client_whose_token_expires_is_warned_and_closed
}

/// `ann.60` is Ann's, for a minute; `root` is somebody's with every permission.
struct Names;

impl TokenVerifier for Names {
    fn verify(&self, token: &str, now: Duration) -> Result<Claims, AuthError> {
        let (user, seconds) = token.split_once('.').ok_or(AuthError::Refused)?;
        let seconds: u64 = seconds.parse().map_err(|_| AuthError::Refused)?;
        let mut claims = Claims::new(user);
        // Times are counted from the beginning of the test.
        claims.expires_at = Some(secs(1_800_000_000 + seconds));
        claims.permissions = vec![if user == "guest" { "read" } else { "write" }.into()];
        claims.check_times(now)?;
        Ok(claims)
    }
}

fn guarded(lab: Lab) -> Lab {
    let transport = lab.transport;
    let mut lab = Lab::with(|endpoint| endpoint.verifier(Names).require(Requirement::default().permission("write")));
    lab.transport = transport;
    lab
}

/// A client of ours with this token.
fn with_token(lab: &mut Lab, token: &str) -> crate::lab::Guest {
    let client = lab.client_at(&format!("ws://test/socket?token={token}&colour=blue"));
    lab.joining_by(client, "room:1")
}

fn an_application_knows_its_clients_claims_and_parameters(lab: Lab) {
    let mut lab = guarded(lab);
    let guest = with_token(&mut lab, "ann.60");
    assert_eq!(guest.push(&mut lab, "who", "{}"), PushOutcome::Ok(json(r#"{"colour":"blue","user":"ann"}"#)));
    let mut open = Lab::new();
    let guest = open.guest("room:1");
    assert_eq!(guest.push(&mut open, "who", "{}"), PushOutcome::Ok(json(r#"{"colour":null,"user":null}"#)));
}

fn a_client_that_brings_a_new_token_stays(lab: Lab) {
    let mut lab = guarded(lab);
    let mut guest = with_token(&mut lab, "ann.60");
    lab.live(29);
    assert_eq!(guest.hears(), ["joined {}"]);
    lab.live(1);
    assert_eq!(guest.hears(), ["token_expiring 30"]);
    let renewed = guest.push(&mut lab, "access_token", r#"{"access_token":"ann.120"}"#);
    assert_eq!(renewed, PushOutcome::Ok(json("{}")));
    lab.live(59);
    assert!(guest.hears().is_empty());
    lab.live(1);
    assert_eq!(guest.hears(), ["token_expiring 30"], "the new one's");
    let log = lab.app.log();
    let log: Vec<_> = log.iter().filter(|line| !line.contains("join")).collect();
    assert_eq!(log, ["expiring in 30 s", "expiring in 30 s"], "the application does not see the token");
}

fn a_token_that_is_not_the_clients_own_changes_nothing(lab: Lab) {
    let mut lab = guarded(lab);
    let mut guest = with_token(&mut lab, "ann.60");
    for (payload, reason) in [
        (r#"{"access_token":"ben.600"}"#, "the token is another user's"),
        (r#"{"access_token":"nonsense"}"#, "unauthorized"),
        (r#"{"access_token":"ann.0"}"#, "unauthorized"),
        (r#"{"access_token":null}"#, "no access_token"),
        ("{}", "no access_token"),
    ] {
        let refused = PushOutcome::Error(json(&format!(r#"{{"reason":"{reason}"}}"#)));
        assert_eq!(guest.push(&mut lab, "access_token", payload), refused, "{payload}");
    }
    assert_eq!(guest.push(&mut lab, "who", "{}"), PushOutcome::Ok(json(r#"{"colour":"blue","user":"ann"}"#)));
    lab.live(60);
    assert_eq!(guest.hears()[..3], ["joined {}", "token_expiring 30", "errored"]);
}

fn a_client_whose_token_expires_is_warned_and_closed(lab: Lab) {
    let mut lab = guarded(lab);
    let mut guest = with_token(&mut lab, "ann.60");
    lab.live(59);
    assert_eq!(guest.hears(), ["joined {}", "token_expiring 30"]);
    lab.live(1);
    assert_eq!(guest.hears(), ["errored"]);
    lab.live(5);
    assert_eq!(lab.standing(), [0; 4]);
    assert!(lab.counts().refused > 0, "its token does not let it in again");
    assert!(lab.reports().iter().any(|report| report.ends_with("the client's token expired")));
    assert_eq!(lab.app.log().last().map(String::as_str), Some("leave room:1 Left"));
}

#[test]
fn an_expired_client_is_told_so_on_its_channels_and_closed_with_1008() {
    let mut lab = guarded(Lab::new());
    let mut socket = lab.socket_at("vsn=2.0.0&token=ann.40");
    socket.join(&mut lab, "room:1");
    lab.advance(secs(10));
    assert_eq!(socket.hear(&mut lab), [r#"["room:1",null,"room:1","token_expiring",30]"#]);
    lab.advance(secs(30));
    let told = r#"["room:1","room:1","room:1","phx_error",{"reason":"token_expired"}]"#;
    assert_eq!(socket.hear(&mut lab)[..2], [told.to_owned(), "close 1008".into()]);
}

#[test]
fn a_token_that_outlives_its_warning_by_little_is_warned_of_at_once() {
    let mut lab = guarded(Lab::new());
    let mut socket = lab.socket_at("vsn=2.0.0&token=ann.5");
    for (topic, seconds) in [("room:1", 5), ("room:2", 3)] {
        socket.say(&mut lab, &format!(r#"["{topic}","{topic}","{topic}","phx_join",{{}}]"#));
        let warning = format!(r#"["{topic}",null,"{topic}","token_expiring",{seconds}]"#);
        assert_eq!(socket.hear(&mut lab), [joined(topic), warning]);
        lab.advance(secs(2));
    }
    lab.advance(secs(1));
    assert!(socket.hear(&mut lab).contains(&"close 1008".to_owned()));
}

#[test]
fn whoever_has_no_good_token_is_refused_with_403_and_an_empty_body() {
    let upgrade = "GET /socket/websocket?vsn=2.0.0TOKEN HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let poll = "GET /socket/longpoll?vsn=2.0.0TOKEN HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for (token, why) in [
        ("", "there is no token"),
        ("&token=", "there is no token"),
        ("&token=nonsense", "refused"),
        ("&token=ann.0", "expired"),
        ("&token=guest.60", "permission is missing"),
    ] {
        let mut lab = guarded(Lab::new());
        let mut wire = Wire::dial(&lab.rig.runtime);
        wire.say(&mut lab.rig, &upgrade.replace("TOKEN", token));
        let answer = wire.heard();
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("\r\n\r\n"), "{token}: {answer}");
        assert!(answer.contains("\r\ncontent-length: 0\r\n") && wire.has_ended(), "{token}: {answer}");

        let mut wire = Wire::dial(&lab.rig.runtime);
        wire.say(&mut lab.rig, &poll.replace("TOKEN", token));
        let answer = wire.heard();
        assert!(answer.ends_with(r#"{"status":403}"#), "{token}: {answer}");
        let reports = lab.reports();
        assert!(reports.len() == 2 && reports.iter().all(|report| report.contains(why)), "{token}: {reports:?}");
        assert!(!reports.concat().contains("nonsense"), "a token is in no report");
        assert_eq!((lab.counts().refused, lab.standing()[0]), (2, 0));
    }
}

#[test]
fn where_no_token_is_asked_for_an_access_token_is_an_event_like_any_other() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:1");
    socket.push(&mut lab, "room:1", "1", "access_token", "{}");
    assert!(socket.hear(&mut lab)[0].contains("what is access_token?"));
    socket.push(&mut lab, "room:1", "2", "echo", "{}");
    assert_eq!(socket.hear(&mut lab), [ok("room:1", "2", "{}")]);
}

#[test]
fn whoever_was_let_in_has_nothing_left_to_prove() {
    let mut options = ServerOptions::default();
    options.session.auth_timeout = Some(AUTH_TIMEOUT);
    let mut lab = Lab::with(|endpoint| endpoint.options(options));
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:1");
    lab.advance(2 * AUTH_TIMEOUT);
    socket.push(&mut lab, "room:1", "1", "echo", "{}");
    assert_eq!(socket.hear(&mut lab), [ok("room:1", "1", "{}")]);
}
