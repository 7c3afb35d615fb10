//! The client's half of long-poll alone: what it asks of HTTP, and what it makes of the answers.

use std::time::Duration;

use rejoin_core::http::{HttpError, HttpId, HttpMethod, HttpRequest, HttpResponse};
use rejoin_core::phoenix::LongPoll;
use rejoin_core::{ConnId, ConnectRequest, Frame, OpenError, TransportEvent};

const CONN: ConnId = ConnId::new(7);

fn client() -> LongPoll {
    let url = "http://h/socket/longpoll?apikey=secret&vsn=2.0.0";
    let mut request = ConnectRequest::new(CONN, url, Duration::from_secs(10));
    request.headers.push(("x-phoenix-authtoken".into(), "secret".into()));
    LongPoll::new(request, 1_000)
}

fn says(body: &str) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse::new(200, body.to_owned()))
}

fn open() -> LongPoll {
    let mut client = client();
    let get = client.poll_request().unwrap();
    client.handle_response(get.id, says(r#"{"messages":[],"status":410,"token":"t/+"}"#));
    assert_eq!(client.poll_event(), Some(TransportEvent::Opened { conn: CONN }));
    client
}

fn text(text: &str) -> Frame {
    Frame::Text(text.into())
}

fn requests(client: &mut LongPoll) -> Vec<HttpRequest> {
    std::iter::from_fn(|| client.poll_request()).collect()
}

fn header<'r>(request: &'r HttpRequest, name: &str) -> Option<&'r str> {
    request.headers.iter().find(|(key, _)| &**key == name).map(|(_, value)| &**value)
}

fn lines(post: &HttpRequest) -> usize {
    post.body.split(|byte| *byte == b'\n').count()
}

#[test]
fn a_new_session_is_status_410_and_its_token_travels_twice() {
    let mut client = client();
    let get = client.poll_request().unwrap();
    assert_eq!((get.method, get.url.as_str()), (HttpMethod::Get, "http://h/socket/longpoll?apikey=secret&vsn=2.0.0"));
    assert_eq!((get.timeout, get.body_limit), (Duration::from_secs(10), 2_000 + 65_536));
    assert_eq!(header(&get, "x-phoenix-authtoken"), Some("secret"));
    assert_eq!(header(&get, "x-phoenix-longpoll-token"), None);
    assert!(client.poll_request().is_none() && !client.is_ready());

    client.handle_response(get.id, says(r#"{"messages":[],"status":410,"token":"t/+"}"#));
    assert!(client.poll_request().is_none(), "its event comes first");
    assert_eq!(client.poll_event(), Some(TransportEvent::Opened { conn: CONN }));
    let next = client.poll_request().unwrap();
    assert!(next.url.ends_with("vsn=2.0.0&token=t%2F%2B"), "{}", next.url);
    assert_eq!(header(&next, "x-phoenix-longpoll-token"), Some("t/+"));
    assert_eq!(header(&next, "accept"), Some("application/json"));
    assert_eq!(next.timeout, Duration::from_secs(20));
    assert!(client.is_ready());
    let shown = format!("{client:?}");
    assert!(!shown.contains("secret") && !shown.contains("t/+") && !shown.contains("t%2F"), "{shown}");
}

#[test]
fn status_410_on_an_open_session_means_that_it_is_gone() {
    for pushes in [false, true] {
        let mut client = open();
        client.send(text("[]"));
        let [post, get] = requests(&mut client).try_into().unwrap();
        let id = if pushes { post.id } else { get.id };
        client.handle_response(id, says(r#"{"messages":[],"status":410,"token":"new"}"#));
        let gone = TransportEvent::Closed { conn: CONN, code: Some(3410), reason: "session_gone".into() };
        assert_eq!(client.poll_event(), Some(gone));
        assert!(client.poll_request().is_none() && !client.is_ready());
    }
}

#[test]
fn what_an_answer_means_is_told_by_its_body_and_not_by_its_http_status() {
    for (body, code) in [
        (r#"{"status":403}"#, Some(1008)),
        (r#"{"status":500}"#, Some(1011)),
        (r#"{"status":418}"#, Some(1011)),
        (r#"{"status":200,"messages":[1]}"#, Some(1011)),
        (r#"{"status":200,"token":"a\nb"}"#, Some(1011)),
        ("{}", Some(1011)),
        ("<html>", Some(1011)),
        ("", Some(1011)),
    ] {
        let mut client = open();
        let get = client.poll_request().unwrap();
        client.handle_response(get.id, says(body));
        let Some(TransportEvent::Closed { code: closed, .. }) = client.poll_event() else { panic!("{body}") };
        assert_eq!(closed, code, "{body}");
    }
}

#[test]
fn http_that_fails_ends_an_open_connection_and_says_how() {
    for (result, code) in [
        (Ok(HttpResponse::new(502, "bad gateway")), Some(1011)),
        (Err(HttpError::TimedOut), None),
        (Err(HttpError::Broken("reset".into())), None),
        (Err(HttpError::TooLarge { limit: 9 }), None),
    ] {
        let mut client = open();
        let get = client.poll_request().unwrap();
        client.handle_response(get.id, result.clone());
        let Some(TransportEvent::Closed { code: closed, reason, .. }) = client.poll_event() else { panic!() };
        assert_eq!(closed, code);
        assert!(!reason.is_empty(), "{result:?}");
    }
}

#[test]
fn an_attempt_that_opens_nothing_fails_with_what_the_server_said() {
    let refused = |status, message: &str| OpenError::refused(status, None, message);
    let slow_down = {
        let mut response = HttpResponse::new(429, "slow down");
        response.retry_after = Some(Duration::from_secs(9));
        response
    };
    let portal = refused(200, "what answered the poll is no Phoenix long-poll; check the URL");
    for (result, expected) in [
        (says(r#"{"status":403}"#), refused(403, "")),
        (says(r#"{"status":410}"#), refused(410, "")),
        (says(r#"{"status":200,"messages":[]}"#), portal.clone()),
        (says("<html>"), portal),
        (Ok(HttpResponse::new(404, "no such path")), refused(404, "no such path")),
        (Ok(slow_down), OpenError::refused(429, Some(Duration::from_secs(9)), "slow down")),
        (Err(HttpError::TimedOut), OpenError::io("the request took too long")),
    ] {
        let mut client = client();
        let get = client.poll_request().unwrap();
        client.handle_response(get.id, result);
        assert_eq!(client.poll_event(), Some(TransportEvent::OpenFailed { conn: CONN, error: expected }));
        assert!(client.poll_request().is_none() && client.poll_event().is_none());
    }
}

#[test]
fn messages_come_in_order_and_the_next_poll_waits_for_their_reader() {
    let mut client = open();
    let get = client.poll_request().unwrap();
    client.handle_response(get.id, says(r#"{"messages":["[1]","[2]"],"status":200,"token":"t2"}"#));
    let received = |n| TransportEvent::Received { conn: CONN, frame: text(n) };
    assert_eq!(client.poll_event(), Some(received("[1]")));
    assert!(client.poll_request().is_none());
    assert_eq!(client.poll_event(), Some(received("[2]")));
    let get = client.poll_request().unwrap();
    assert!(get.url.ends_with("&token=t2"));
    client.handle_response(get.id, says(r#"{"messages":[],"status":204,"token":"t2"}"#));
    assert_eq!(client.poll_event(), Some(TransportEvent::Alive { conn: CONN }), "nothing to say, but somebody there");
    assert!(client.poll_event().is_none() && client.poll_request().is_some());
}

#[test]
fn two_hundred_and_fifty_frames_travel_in_three_posts_one_after_the_other() {
    let (mut client, mut sent, mut posts) = (open(), 0, Vec::new());
    let get = client.poll_request().unwrap();
    while sent < 250 || !client.is_ready() {
        while sent < 250 && client.is_ready() {
            client.send(text(&format!("[{sent}]")));
            sent += 1;
        }
        let post = client.poll_request().unwrap();
        assert_eq!((post.method, header(&post, "content-type")), (HttpMethod::Post, Some("application/x-ndjson")));
        assert!(client.poll_request().is_none() && !client.is_ready(), "one at a time");
        client.handle_response(post.id, says(r#"{"status":200}"#));
        posts.push(post);
    }
    assert_eq!(posts.iter().map(lines).collect::<Vec<_>>(), [100, 100, 50]);
    let bodies: Vec<_> = posts.iter().map(|post| std::str::from_utf8(&post.body).unwrap()).collect();
    let expected: Vec<_> = (0..250).map(|n| format!("[{n}]")).collect();
    assert_eq!(bodies.join("\n"), expected.join("\n"));
    // The GET has been under way all the time.
    client.handle_response(get.id, says(r#"{"messages":["[]"],"status":200}"#));
    assert!(matches!(client.poll_event(), Some(TransportEvent::Received { .. })));
}

#[test]
fn an_object_of_vsn_1_is_a_body_of_its_own() {
    let mut client = open();
    let _held = client.poll_request();
    client.send(text("{\n}"));
    assert!(!client.is_ready());
    client.send(text("[]"));
    let post = client.poll_request().unwrap();
    assert_eq!((&*post.body, header(&post, "content-type")), (&b"{\n}"[..], Some("application/json")));
    assert!(client.poll_request().is_none());
    client.handle_response(post.id, says(r#"{"status":200}"#));
    assert_eq!(&*client.poll_request().unwrap().body, b"[]");
}

#[test]
fn a_close_delivers_what_was_sent_before_it_and_then_says_1000() {
    let mut client = open();
    let get = client.poll_request().unwrap();
    client.send(text("[1]"));
    let first = client.poll_request().unwrap();
    client.send(text("[2]"));
    client.close();
    client.send(text("[3]"));
    assert!(client.poll_request().is_none() && client.poll_event().is_none());
    client.handle_response(first.id, says(r#"{"status":200}"#));
    let second = client.poll_request().unwrap();
    assert_eq!(&*second.body, b"[2]");
    // A reply to what was sent before may still come.
    client.handle_response(get.id, says(r#"{"messages":["[]"],"status":200}"#));
    assert!(matches!(client.poll_event(), Some(TransportEvent::Received { .. })));
    assert!(client.poll_request().is_none(), "nobody listens for more");
    client.handle_response(second.id, says(r#"{"status":200}"#));
    let closed = TransportEvent::Closed { conn: CONN, code: Some(1000), reason: "".into() };
    assert_eq!(client.poll_event(), Some(closed));
    assert!(client.poll_request().is_none() && client.poll_event().is_none());
}

#[test]
fn a_close_before_the_opening_or_with_nothing_to_send_is_over_at_once() {
    for mut client in [client(), open()] {
        let get = client.poll_request().unwrap();
        client.close();
        assert!(matches!(client.poll_event(), Some(TransportEvent::Closed { code: Some(1000), .. })));
        client.handle_response(get.id, says(r#"{"messages":[],"status":410,"token":"t"}"#));
        assert!(client.poll_request().is_none() && client.poll_event().is_none());
    }
}

#[test]
fn an_answer_to_no_request_of_ours_changes_nothing() {
    let mut client = open();
    let get = client.poll_request().unwrap();
    client.handle_response(HttpId::new(get.id.get() + 1), says(r#"{"status":403}"#));
    client.handle_response(get.id, says(r#"{"status":204}"#));
    client.handle_response(get.id, says(r#"{"status":403}"#));
    assert_eq!(client.poll_event(), Some(TransportEvent::Alive { conn: CONN }));
    assert!(client.poll_event().is_none() && client.poll_request().is_some());
}
