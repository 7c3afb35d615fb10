//! Broadcasts of a Supabase client over HTTP: asked for, or fallen back to, and never by surprise.

use std::time::Duration;

use rejoin_core::http::{HttpError, HttpMethod, HttpRequest, HttpResponse};
use rejoin_core::phoenix::{ChannelId, PushId, PushOutcome};
use rejoin_core::supabase::{
    Broadcast, ChannelConfig, Config, Event, HttpBroadcast, HttpBroadcastError, HttpFailure, Persist, Request, Session,
};
use rejoin_core::{Machine, Payload, Timestamp};
use rejoin_sim::{SupabaseScript, supabase_config, token};
use serde_json::{Value, json};

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn note() -> HttpBroadcast {
    HttpBroadcast::new("room", "note", Payload::json(&json!({"a": 1})).unwrap())
}

fn carrying(payload: Payload) -> HttpBroadcast {
    HttpBroadcast::new("room", "note", payload)
}

fn send(s: &mut SupabaseScript, broadcast: HttpBroadcast) -> Result<PushId, HttpBroadcastError> {
    s.with(|session, now| session.http_broadcast(now, broadcast))
}

fn requests(s: &mut SupabaseScript) -> Vec<HttpRequest> {
    let of = |(_, request)| match request {
        Request::Http(request) => Some(request),
        _ => None,
    };
    std::mem::take(&mut s.requests).into_iter().filter_map(of).collect()
}

fn answer(s: &mut SupabaseScript, request: &HttpRequest, answer: Result<HttpResponse, HttpError>) {
    s.with(|session, now| session.handle_http(now, request.id, answer));
}

fn outcomes(s: &SupabaseScript, push: PushId) -> Vec<Result<(), HttpFailure>> {
    let of = |event: &Event| match event {
        Event::HttpDone { push: done, outcome } if *done == push => Some(outcome.clone()),
        _ => None,
    };
    s.events.iter().filter_map(|(_, event)| of(event)).collect()
}

fn header<'r>(request: &'r HttpRequest, name: &str) -> Option<&'r str> {
    request.headers.iter().find(|(found, _)| found.as_str() == name).map(|(_, value)| value.as_str())
}

fn with_token() -> Config {
    let mut config = supabase_config();
    config.access_token = Some(token(secs(3600), 1));
    config
}

/// Traps T55 and T56, rows 36 and 37 of the failure modes; section 6.4 of the specification.
#[test]
fn a_broadcast_is_posted_to_its_channel_and_event_with_key_and_token() {
    let mut config = with_token();
    config.phoenix.endpoint = "wss://abc.supabase.co/realtime/v1?x=y".parse().unwrap();
    let mut s = SupabaseScript::new(config);
    let strange = HttpBroadcast::new("realtime:a/b ž", "e&f", note().payload).private().persist(Persist::Seconds(9));
    send(&mut s, strange).unwrap();
    send(&mut s, carrying(Payload::binary(vec![1, 2].into()))).unwrap();
    let [json, binary] = &requests(&mut s)[..] else { panic!("two requests") };
    assert_eq!(json.method, HttpMethod::Post);
    let base = "https://abc.supabase.co/realtime/v1/api/broadcast";
    assert_eq!(json.url, format!("{base}/a%2Fb%20%C5%BE/events/e%26f?private=true&persist%5Bttl%5D=9"));
    assert_eq!(json.body, r#"{"a":1}"#);
    assert_eq!(header(json, "content-type"), Some("application/json"));
    assert_eq!(header(json, "apikey"), Some("sb_publishable_key"));
    assert_eq!(header(json, "authorization").unwrap(), format!("Bearer {}", token(secs(3600), 1).expose()));
    assert_eq!(binary.url, format!("{base}/room/events/note"));
    assert_eq!((header(binary, "content-type"), &binary.body[..]), (Some("application/octet-stream"), &[1, 2][..]));
    assert_eq!(binary.timeout, secs(10));

    let mut config = supabase_config();
    config.phoenix.headers = vec![("x-tenant".into(), "a".into()), ("Authorization".into(), "theirs".into())];
    let mut s = SupabaseScript::new(config);
    send(&mut s, note()).unwrap();
    let [request] = &requests(&mut s)[..] else { panic!("one request") };
    assert_eq!(request.url, "http://sim/api/broadcast/room/events/note");
    assert_eq!(header(request, "authorization"), None, "no token, no header");
    assert_eq!((header(request, "x-tenant"), header(request, "Authorization")), (Some("a"), None));
}

/// Section 6.3 of the specification.
#[test]
fn a_batch_is_one_request_with_bare_topics_and_private_flags() {
    let mut s = SupabaseScript::new(with_token());
    let batch = [note(), HttpBroadcast::new("realtime:other", "e", Payload::EMPTY).private()];
    let push = s.with(|session, now| session.http_broadcast_batch(now, &batch)).unwrap();
    let [request] = &requests(&mut s)[..] else { panic!("one request") };
    assert_eq!(request.url, "http://sim/api/broadcast");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let expected = json!({"messages": [
        {"topic": "room", "event": "note", "payload": {"a": 1}, "private": false},
        {"topic": "other", "event": "e", "payload": {}, "private": true},
    ]});
    assert_eq!(body, expected);
    answer(&mut s, request, Ok(HttpResponse::new(202, "")));
    assert_eq!(outcomes(&s, push), [Ok(())]);
}

#[test]
fn what_a_server_would_refuse_is_refused_at_the_call() {
    let mut s = SupabaseScript::new(supabase_config());
    let null = carrying(Payload::from_json_text(" null ").unwrap());
    let list = carrying(Payload::json(&[1]).unwrap());
    let large = carrying(Payload::json(&"x".repeat(5_000_000)).unwrap());
    assert_eq!(send(&mut s, null), Err(HttpBroadcastError::NullPayload));
    assert!(send(&mut s, list.clone()).is_ok(), "alone it may be any JSON");
    assert!(matches!(send(&mut s, large), Err(HttpBroadcastError::TooLarge { .. })));
    assert!(matches!(send(&mut s, HttpBroadcast::new("", "note", Payload::EMPTY)), Err(HttpBroadcastError::Topic(_))));
    assert_eq!(send(&mut s, HttpBroadcast::new("room", "", Payload::EMPTY)), Err(HttpBroadcastError::NoEvent));
    assert_eq!(send(&mut s, note().persist(Persist::Default)), Err(HttpBroadcastError::PersistNeedsPrivate));
    let mut batch = |batch: &[HttpBroadcast]| s.with(|session, now| session.http_broadcast_batch(now, batch));
    assert_eq!(batch(&[]), Err(HttpBroadcastError::EmptyBatch));
    for single in [list, note().private().persist(Persist::Default)] {
        assert_eq!(batch(&[note(), single]), Err(HttpBroadcastError::BatchNeedsObjects));
    }
    for _ in 0..63 {
        send(&mut s, note()).unwrap();
    }
    assert_eq!(send(&mut s, note()), Err(HttpBroadcastError::Full));

    let mut config = supabase_config();
    config.access_token = Some(token(secs(1), 1));
    let mut s = SupabaseScript::new(config);
    s.advance(secs(2));
    assert_eq!(send(&mut s, note().private()), Err(HttpBroadcastError::NoToken), "an expired one is not shown");
    assert!(send(&mut s, note()).is_ok());
    s.with(|session, now| session.close(now));
    assert_eq!(send(&mut s, note()), Err(HttpBroadcastError::SessionClosed));
}

#[test]
fn every_answer_is_told_as_what_it_is() {
    let refused = |status, message: &str| HttpFailure::Refused { status, message: message.into(), retry_after: None };
    let html = "<!doctype html><title>Not found</title>";
    for (status, body, expected) in [
        (202, "", Ok(())),
        (200, r#"{"ok":true}"#, Ok(())),
        (200, html, Err(HttpFailure::NotRealtime { status: 200 })),
        (404, html, Err(HttpFailure::NotRealtime { status: 404 })),
        (401, r#"{"message":"Unauthorized"}"#, Err(refused(401, "Unauthorized"))),
        (403, r#"{"error":"Tenant is suspended"}"#, Err(refused(403, "Tenant is suspended"))),
        (422, r#"{"errors":{"payload":["can't be blank"]}}"#, Err(refused(422, r#"{"payload":["can't be blank"]}"#))),
        (429, "", Err(refused(429, ""))),
        (500, "\"oops\"", Err(refused(500, "\"oops\""))),
    ] {
        let mut s = SupabaseScript::new(supabase_config());
        let push = send(&mut s, note()).unwrap();
        let request = requests(&mut s).remove(0);
        answer(&mut s, &request, Ok(HttpResponse::new(status, body)));
        answer(&mut s, &request, Ok(HttpResponse::new(202, "")));
        assert_eq!(outcomes(&s, push), [expected], "{status} {body}");
    }
    for error in [HttpError::TimedOut, HttpError::Unreachable("refused".into()), HttpError::Broken("reset".into())] {
        let mut s = SupabaseScript::new(supabase_config());
        let push = send(&mut s, note()).unwrap();
        let request = requests(&mut s).remove(0);
        answer(&mut s, &request, Err(error.clone()));
        assert_eq!(outcomes(&s, push), [Err(HttpFailure::Http(error))]);
    }
}

#[test]
fn a_request_ends_even_if_the_host_forgets_it_or_it_is_given_up() {
    let mut s = SupabaseScript::new(supabase_config());
    let forgotten = send(&mut s, note()).unwrap();
    s.advance(secs(10));
    assert_eq!(outcomes(&s, forgotten), []);
    s.advance(secs(1));
    assert_eq!(outcomes(&s, forgotten), [Err(HttpFailure::Http(HttpError::TimedOut))]);
    let sent = send(&mut s, note()).unwrap();
    s.with(|session, _| session.cancel(sent));
    assert_eq!(outcomes(&s, sent), [Err(HttpFailure::Unknown)]);
    let open = send(&mut s, note()).unwrap();
    s.with(|session, now| session.close(now));
    assert_eq!(outcomes(&s, open), [Err(HttpFailure::Unknown)]);
    assert_eq!(s.events.last().map(|(_, event)| event), Some(&Event::Closed));
    assert_eq!(s.session.open_pushes(), 0);
}

/// The server cannot have acted on what it never got.
#[test]
fn a_request_that_the_host_never_takes_is_dropped_and_not_timed_out() {
    let mut session = Session::new(supabase_config(), Timestamp::ZERO);
    let push = session.http_broadcast(Timestamp::ZERO, note()).unwrap();
    session.handle_timeout(session.poll_timeout().unwrap());
    let dropped = Event::HttpDone { push, outcome: Err(HttpFailure::Dropped) };
    assert_eq!((session.poll_event(), session.poll_request()), (Some(dropped), None));
}

fn falling_back() -> Config {
    let mut config = with_token();
    config.http_fallback = true;
    config
}

fn broadcast(s: &mut SupabaseScript, room: ChannelId, broadcast: Broadcast) -> PushId {
    s.with(|session, now| session.broadcast(now, room, broadcast)).unwrap()
}

/// Row 36 of the failure modes.
#[test]
fn a_channel_that_cannot_send_waits_unless_it_may_fall_back() {
    let hello = || Broadcast::new("hello", Payload::EMPTY);
    for (config, call, falls_back) in [
        (with_token(), None, false),
        (with_token(), Some(true), true),
        (falling_back(), None, true),
        (falling_back(), Some(false), false),
    ] {
        let mut s = SupabaseScript::new(config);
        let room = s.subscribe("room", &ChannelConfig::default().private());
        let mut first = hello();
        first.http_fallback = call;
        let push = broadcast(&mut s, room, first);
        let requests = requests(&mut s);
        assert_eq!(requests.len(), usize::from(falls_back));
        assert_eq!(s.events.iter().any(|(_, event)| *event == Event::FellBackToHttp { push }), falls_back);
        if let Some(request) = requests.first() {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let message = json!({"topic": "room", "event": "hello", "payload": {}, "private": true});
            assert_eq!((request.url.as_str(), body), ("http://sim/api/broadcast", json!({ "messages": [message] })));
            answer(&mut s, request, Ok(HttpResponse::new(202, "")));
            assert_eq!(s.outcomes(push), [PushOutcome::Ok(Payload::EMPTY)]);
        }
        s.with(rejoin_core::supabase::Session::connect);
        s.opened();
        s.accept("realtime:room");
        let sent = s.take_sent().iter().filter(|sent| sent.event() == "broadcast").count();
        assert_eq!(sent, usize::from(!falls_back), "over HTTP or over the socket, not both");
        broadcast(&mut s, room, hello());
        assert_eq!(self::requests(&mut s), [], "a channel that can send does");
    }
}

#[test]
fn what_comes_of_a_fallback_is_the_outcome_of_the_broadcast() {
    let refusal = Ok(HttpResponse::new(401, r#"{"message":"Unauthorized"}"#));
    for (answered, expected) in [
        (Err(HttpError::TimedOut), Some(PushOutcome::TimedOut)),
        (Err(HttpError::Unreachable("no route".into())), Some(PushOutcome::Dropped)),
        (Err(HttpError::Broken("reset".into())), Some(PushOutcome::Unknown)),
        (refusal, None),
    ] {
        let mut s = SupabaseScript::new(falling_back());
        let room = s.subscribe("room", &ChannelConfig::default());
        let push = broadcast(&mut s, room, Broadcast::new("e", Payload::EMPTY));
        let request = requests(&mut s).remove(0);
        answer(&mut s, &request, answered);
        match (&s.outcomes(push)[..], expected) {
            ([outcome], Some(expected)) => assert_eq!(*outcome, expected),
            ([PushOutcome::Error(response)], None) => assert!(response.as_json().unwrap().contains("401")),
            other => panic!("{other:?}"),
        }
    }
    // Bytes do not fit a batch, and go alone.
    let mut s = SupabaseScript::new(falling_back());
    let room = s.subscribe("room", &ChannelConfig::default());
    broadcast(&mut s, room, Broadcast::new("e", Payload::binary(vec![7].into())));
    assert_eq!(requests(&mut s)[0].url, "http://sim/api/broadcast/room/events/e");
    assert_eq!(s.now, Timestamp::ZERO);
}

#[test]
fn no_request_shows_a_secret() {
    let mut s = SupabaseScript::new(with_token());
    send(&mut s, note()).unwrap();
    let shown = format!("{:?} {:?} {:?}", s.requests, s.session, s.events);
    for secret in ["sb_publishable_key", token(secs(3600), 1).expose()] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
