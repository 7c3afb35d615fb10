//! The long-poll endpoint as any HTTP client sees it: one that is slow, wrong, greedy or gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin_pump::memory::network;
use rejoin_pump::{Incoming, LongPollHub, LongPollOptions, LongPollSession};

use crate::rig::Rig;
use crate::server::Server;
use crate::wire::Wire;

const GET: &str = "GET /socket/longpoll?vsn=2.0.0";

#[test]
fn a_session_is_opened_with_410_and_each_poll_carries_what_there_is_to_say() {
    let mut lab = Lab::new();
    let (mut wire, token) = lab.session();
    lab.post(&mut wire, &token, r#"["1","1","room:1","phx_join",{}]"#);
    wire.heard();
    lab.post(&mut wire, &token, r#"["1","2","room:1","echo","hé"]"#);
    let pushed = wire.heard();
    assert!(pushed.starts_with("HTTP/1.1 200 OK\r\n") && pushed.ends_with("\r\n\r\n{\"status\":200}"), "{pushed}");
    lab.get(&mut wire, &token);
    let polled = wire.heard();
    let reply = |n: u32, response: &str| {
        format!(r#"[\"1\",\"{n}\",\"room:1\",\"phx_reply\",{{\"status\":\"ok\",\"response\":{response}}}]"#)
    };
    let messages = format!(r#""messages":["{}","{}"],"status":200"#, reply(1, "{}"), reply(2, r#"\"hé\""#));
    assert!(polled.contains(&messages), "{polled}");
    for header in ["content-type: application/json; charset=utf-8", "access-control-allow-origin: *"] {
        assert!(polled.contains(&format!("\r\n{header}\r\n")), "{polled}");
    }
}

#[test]
fn a_poll_is_held_for_ten_seconds_and_a_session_lives_for_fifteen_without_one() {
    let mut lab = Lab::new();
    let (mut wire, token) = lab.session();
    lab.get(&mut wire, &token);
    lab.rig.advance(Duration::from_millis(9_999));
    assert_eq!(wire.heard(), "");
    lab.rig.advance(Duration::from_millis(1));
    assert!(wire.heard().contains("\"status\":204"));
    lab.rig.advance(Duration::from_millis(14_999));
    assert_eq!(lab.sessions(), 1);
    lab.rig.advance(Duration::from_millis(1));
    assert_eq!(lab.sessions(), 0);
    lab.post(&mut wire, &token, "[]");
    assert!(wire.heard().ends_with("{\"status\":410}"));
}

#[test]
fn what_is_said_to_a_poll_that_was_given_up_is_said_to_the_next_one() {
    let mut lab = Lab::new();
    let (mut wire, token) = lab.session();
    lab.post(&mut wire, &token, r#"["1","1","room:1","phx_join",{}]"#);
    wire.heard();
    lab.get(&mut wire, &token);
    wire.heard();
    let mut poll = Wire::dial(&lab.rig.runtime);
    lab.get(&mut poll, &token);
    drop(poll);
    lab.rig.settle();
    lab.post(&mut wire, &token, r#"["1","2","room:1","echo",1]"#);
    wire.heard();
    lab.get(&mut wire, &token);
    assert!(wire.heard().contains("phx_reply"));
}

#[test]
fn tokens_are_long_and_never_the_same() {
    let mut lab = Lab::new();
    let tokens: std::collections::BTreeSet<String> = (0..20).map(|_| lab.session().1).collect();
    assert_eq!(tokens.len(), 20);
    assert!(tokens.iter().all(|token| token.len() == 32));
    assert!(!format!("{:?}", lab.hub).contains(tokens.first().unwrap().as_str()));
}

#[test]
fn what_is_no_request_to_the_endpoint_is_answered_in_http() {
    let post = "POST /socket/longpoll?vsn=2.0.0 HTTP/1.1\r\nhost: h";
    let head = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(70_000));
    for (request, status, keeps) in [
        ("GET /elsewhere HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(), "404 Not Found", true),
        (format!("{GET} HTTP/1.0\r\n\r\n").replace("longpoll", "x"), "404 Not Found", false),
        ("GET / HTTP/1.1\r\nconnection: keep-alive, Close\r\n\r\n".into(), "404 Not Found", false),
        ("GET /socket/websocket HTTP/1.1\r\nhost: h\r\n\r\n".into(), "426 Upgrade Required", true),
        ("POST /socket/websocket HTTP/1.1\r\ncontent-length: 0\r\n\r\n".into(), "405 Method Not Allowed", true),
        ("OPTIONS /socket/longpoll HTTP/1.1\r\nhost: h\r\n\r\n".into(), "200 OK", true),
        (
            "PUT /socket/longpoll HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n".into(),
            "405 Method Not Allowed",
            false,
        ),
        ("PUT /socket/longpoll HTTP/1.1\r\nhost: h\r\n\r\n".into(), "405 Method Not Allowed", false),
        ("HEAD /socket/longpoll HTTP/1.1\r\nhost: h\r\n\r\n".into(), "405 Method Not Allowed", false),
        (
            "PATCH /socket/longpoll HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello".into(),
            "405 Method Not Allowed",
            false,
        ),
        ("DELETE /elsewhere HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello".into(), "404 Not Found", false),
        (format!("{GET}&a=% HTTP/1.1\r\nhost: h\r\n\r\n"), "400 Bad Request", true),
        (format!("{post}\r\n\r\n"), "411 Length Required", false),
        // There is no session that it could be for.
        (format!("{post}\r\ncontent-length: 65537\r\n\r\n"), "200 OK", false),
        (format!("{post}\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"), "400 Bad Request", false),
        (format!("{post}\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n"), "400 Bad Request", false),
        (format!("{post}\r\ntransfer-encoding: gzip\r\n\r\n"), "400 Bad Request", false),
        (format!("{post}\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"), "400 Bad Request", false),
        (format!("{post}\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), "400 Bad Request", false),
        (
            format!("{post}\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n"),
            "400 Bad Request",
            false,
        ),
        (format!("{post}\r\ntransfer-encoding: Chunked\r\n\r\n0\r\n\r\n"), "200 OK", true),
        (format!("{GET} HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello"), "400 Bad Request", false),
        ("\0\x01\x02\r\n\r\n".into(), "400 Bad Request", false),
        ("GET nonsense\r\n\r\n".into(), "400 Bad Request", false),
        (format!("GET / HTTP/1.1\r\n\r\n{head}"), "431 Request Header Fields Too Large", false),
    ] {
        let mut lab = Lab::new();
        let mut wire = Wire::dial(&lab.rig.runtime);
        wire.say(&mut lab.rig, &request);
        lab.rig.settle();
        let answer = wire.heard();
        let answer = &answer[answer.rfind("HTTP/1.1").unwrap_or_default()..];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:.90}: {answer}");
        assert_eq!(wire.has_ended(), !keeps, "{request:.90}");
        assert_eq!(!answer.contains("\r\nconnection: close\r\n"), keeps, "{answer}");
    }
}

#[test]
fn a_browser_of_another_origin_is_told_that_it_may() {
    let mut lab = Lab::new();
    let mut wire = Wire::dial(&lab.rig.runtime);
    let asks = "access-control-request-headers: x-phoenix-authtoken";
    wire.say(&mut lab.rig, &format!("OPTIONS /socket/longpoll HTTP/1.1\r\n{asks}\r\n\r\n"));
    let answer = wire.heard();
    for header in ["allow-origin: *", "allow-headers: x-phoenix-authtoken", "max-age: 3600"] {
        assert!(answer.contains(&format!("access-control-{header}\r\n")), "{answer}");
    }
}

#[test]
fn a_host_sees_who_asks_for_a_session_and_pages_of_elsewhere_never_reach_it() {
    let mut options = LongPollOptions::default();
    options.upgrade.token_required = true;
    let (runtime, listener) = network();
    let (hub, seen) = (LongPollHub::new(options), Arc::new(Mutex::new(Vec::new())));
    let mut rig = Rig::new(runtime.clone());
    let (clock, asked) = (runtime.clone(), seen.clone());
    rig.spawn(async move {
        while let Some(io) = listener.accept_io().await {
            let Ok(Incoming::Http(connection)) = Incoming::read(io).await else { return };
            let admit = |session: LongPollSession| {
                assert!(!format!("{session:?}").contains("s3cret"));
                let token = session.token().map(|token| token.expose().to_owned());
                asked.lock().unwrap().push((token, session.params().get("user").map(|user| user.into_owned())));
            };
            hub.serve(connection, clock.clone(), admit).await;
        }
    });
    let mut wire = Wire::dial(&runtime);
    for (query, headers) in [
        ("", ""),
        ("&token=s3cret", "origin: http://elsewhere\r\n"),
        ("&user=a%20b&token=old", "x-phoenix-authtoken: s3cret\r\norigin: http://h\r\n"),
    ] {
        wire.say(&mut rig, &format!("{GET}{query} HTTP/1.1\r\nhost: h\r\n{headers}\r\n"));
        let answer = wire.heard();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"status\":403}"), "{answer}");
    }
    assert_eq!(*seen.lock().unwrap(), [(Some("s3cret".to_owned()), Some("a b".to_owned()))]);
}

#[test]
fn a_client_that_waits_to_be_let_speak_is_told_to_go_on() {
    let mut lab = Lab::new();
    let (mut wire, token) = lab.session();
    let head = format!("POST /socket/longpoll?vsn=2.0.0&token={token} HTTP/1.1\r\ncontent-type: application/x-ndjson");
    wire.say(&mut lab.rig, &format!("{head}\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"));
    assert_eq!(wire.heard(), "HTTP/1.1 100 Continue\r\n\r\n");
    for piece in ["20\r\n[\"1\",\"1\",\"room:1\",", "\"phx_join\",{}]\r\n", "0\r\n\r\n"] {
        wire.say(&mut lab.rig, piece);
    }
    assert!(wire.heard().ends_with("{\"status\":200}"));
}

#[test]
fn requests_that_are_sent_ahead_are_answered_one_after_the_other() {
    let mut lab = Lab::new();
    let mut wire = Wire::dial(&lab.rig.runtime);
    wire.say(&mut lab.rig, "GET /a HTTP/1.1\r\n\r\nOPTIONS /socket/longpoll HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
    let answers = wire.heard();
    let statuses: Vec<_> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["404", "200", "404"]);
}

#[test]
fn a_slow_client_has_half_a_minute_for_a_request_and_a_minute_between_two() {
    let mut lab = Lab::new();
    let mut wire = Wire::dial(&lab.rig.runtime);
    wire.say(&mut lab.rig, "GET /a HTTP/1.1\r\n\r\n");
    wire.heard();
    lab.rig.advance(Duration::from_secs(59));
    wire.say(&mut lab.rig, "P");
    for _ in 0..29 {
        lab.rig.advance(Duration::from_secs(1));
        wire.say(&mut lab.rig, "O");
    }
    assert!(wire.heard().is_empty() && !wire.has_ended());
    lab.rig.advance(Duration::from_secs(1));
    assert!(wire.heard().starts_with("HTTP/1.1 408 "));
    assert!(wire.has_ended());
}

#[test]
fn a_client_that_does_not_hear_its_answer_is_given_up() {
    let mut lab = Lab::new();
    let (mut wire, token) = lab.session();
    lab.post(&mut wire, &token, r#"["1","1","room:1","phx_join",{}]"#);
    let large = format!(r#"["1","2","room:1","echo","{}"]"#, "x".repeat(100_000));
    lab.post(&mut wire, &token, &large);
    wire.heard();
    lab.get(&mut wire, &token);
    lab.rig.advance(Duration::from_secs(30));
    let heard = wire.heard();
    assert!(heard.len() < large.len() && wire.has_ended());
}

#[test]
fn a_session_that_the_host_does_not_serve_is_forbidden() {
    let mut lab = Lab::new();
    lab.server.refuse_sessions();
    let mut wire = Wire::dial(&lab.rig.runtime);
    lab.get(&mut wire, "");
    assert!(wire.heard().ends_with("{\"status\":403}"));
    assert_eq!(lab.sessions(), 0);
    let mut unknown = Wire::dial(&lab.rig.runtime);
    unknown.say(&mut lab.rig, "GET /socket/longpoll?vsn=9.0.0 HTTP/1.1\r\n\r\n");
    assert!(unknown.heard().ends_with("{\"status\":403}"), "nobody speaks that vsn");
}

#[test]
fn there_are_no_more_sessions_than_allowed() {
    let mut options = LongPollOptions::default();
    options.sessions = 2;
    let mut lab = Lab::with(options);
    let (mut wire, _) = lab.session();
    lab.session();
    lab.get(&mut wire, "");
    assert!(wire.heard().starts_with("HTTP/1.1 503 "));
    lab.rig.advance(Duration::from_secs(15));
    lab.session();
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_said() {
    for expects in ["", "expect: 100-continue\r\n"] {
        let mut lab = Lab::new();
        let (mut wire, token) = lab.session();
        let head = format!("POST /socket/longpoll?vsn=2.0.0&token={token} HTTP/1.1\r\nhost: h\r\n{expects}");
        wire.say(&mut lab.rig, &format!("{head}content-length: 10000001\r\n\r\n"));
        let answer = wire.heard();
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close\r\n"), "{answer}");
    }
}

#[test]
fn a_hub_that_is_closed_gives_its_last_answers_and_begins_nothing() {
    let mut lab = Lab::new();
    let (mut polling, token) = lab.session();
    lab.post(&mut polling, &token, r#"["1","1","room:1","phx_join",{}]"#);
    lab.get(&mut polling, &token);
    polling.heard();
    lab.get(&mut polling, &token);
    let (mut idle, mut late) = (Wire::dial(&lab.rig.runtime), Wire::dial(&lab.rig.runtime));
    lab.get(&mut idle, "");
    idle.heard();
    late.say(&mut lab.rig, "GET /socket/");

    lab.hub.close();
    lab.rig.settle();
    assert!(idle.has_ended());
    late.say(&mut lab.rig, "longpoll?vsn=2.0.0 HTTP/1.1\r\n\r\n");
    let answer = late.heard();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 5\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n") && late.has_ended(), "{answer}");
    assert_eq!(polling.heard(), "", "a session goes on until its host ends it");
    lab.server.close_everybody();
    lab.rig.settle();
    let answer = polling.heard();
    assert!(answer.contains("connection: close\r\n") && answer.contains("\"status\":410"), "{answer}");
    assert!(polling.has_ended());
}

struct Lab {
    rig: Rig,
    hub: LongPollHub,
    server: Server,
}

impl Lab {
    fn new() -> Self {
        Self::with(LongPollOptions::default())
    }

    fn with(options: LongPollOptions) -> Self {
        let (runtime, listener) = network();
        let (hub, server) = (LongPollHub::new(options), Server::default());
        let mut rig = Rig::new(runtime.clone());
        rig.spawn(server.clone().run(listener, runtime, hub.clone()));
        Self { rig, hub, server }
    }

    /// A connection on which a session was begun, and its token.
    fn session(&mut self) -> (Wire, String) {
        let mut wire = Wire::dial(&self.rig.runtime);
        self.get(&mut wire, "");
        let opened = wire.heard();
        let (_, body) = opened.split_once("\r\n\r\n").unwrap();
        let token = body.strip_prefix(r#"{"messages":[],"status":410,"token":""#).expect(body);
        (wire, token.trim_end_matches("\"}").to_owned())
    }

    fn sessions(&self) -> usize {
        self.server.sessions()
    }

    fn get(&mut self, wire: &mut Wire, token: &str) {
        let token = if token.is_empty() { String::new() } else { format!("&token={token}") };
        wire.say(&mut self.rig, &format!("{GET}{token} HTTP/1.1\r\nhost: test\r\n\r\n"));
    }

    fn post(&mut self, wire: &mut Wire, token: &str, body: &str) {
        let head = format!("POST /socket/longpoll?vsn=2.0.0&token={token} HTTP/1.1\r\nhost: test\r\n");
        let framing = format!("content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n", body.len());
        wire.say(&mut self.rig, &(head + &framing + body));
    }
}
