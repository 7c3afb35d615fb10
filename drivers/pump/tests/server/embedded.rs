//! A server whose requests another HTTP library reads.

use std::future::{Ready, pending, ready};
use std::pin::pin;

use bytes::Bytes;
use futures_util::FutureExt;
use rejoin_core::Payload;
use rejoin_pump::Runtime;
use rejoin_pump::memory::MemoryIo;
use serde::Deserialize;
use ureq_proto::http::{Request, StatusCode};

use crate::lab::{Lab, Raw, millis, secs};

/// A client that polls, whose requests are whole as soon as they are made.
struct Poller {
    token: String,
}

#[derive(Deserialize)]
struct Said {
    status: u16,
    #[serde(default)]
    messages: Vec<String>,
    token: Option<String>,
}

impl Poller {
    fn new(lab: &mut Lab) -> Self {
        let opened = ask(lab, get("vsn=2.0.0"));
        assert_eq!(opened.status, 410);
        Self { token: opened.token.expect("a session has one") }
    }

    /// One that is in this topic, and has heard so.
    fn in_topic(lab: &mut Lab, topic: &str) -> Self {
        let poller = Self::new(lab);
        let join = format!(r#"["1","1","{topic}","phx_join",{{}}]"#);
        let post = Request::post(poller.uri()).body(join.into()).unwrap();
        assert_eq!(ask(lab, post).status, 200);
        let heard = poller.poll(lab);
        assert!(heard.len() == 1 && heard[0].contains("phx_reply"), "{heard:?}");
        poller
    }

    fn poll(&self, lab: &mut Lab) -> Vec<String> {
        ask(lab, self.get()).messages
    }

    fn get(&self) -> Request<Bytes> {
        get(&format!("vsn=2.0.0&token={}", self.token))
    }

    fn uri(&self) -> String {
        format!("/wherever/it/is?vsn=2.0.0&token={}", self.token)
    }
}

fn get(query: &str) -> Request<Bytes> {
    Request::get(format!("/wherever/it/is?{query}")).body(Bytes::new()).unwrap()
}

fn ask(lab: &mut Lab, request: Request<Bytes>) -> Said {
    let server = lab.server.clone();
    let response = lab.wait(server.long_poll(request, whole));
    assert_eq!(response.status(), StatusCode::OK);
    serde_json::from_slice(response.body()).unwrap()
}

/// Reads a body that was never anywhere else.
fn whole(body: Bytes, limit: usize) -> Ready<Result<Bytes, StatusCode>> {
    ready(if body.len() <= limit { Ok(body) } else { Err(StatusCode::PAYLOAD_TOO_LARGE) })
}

fn upgrade() -> Request<()> {
    let request = Request::get("/wherever/it/is?vsn=2.0.0").header("connection", "upgrade");
    let request = request.header("upgrade", "websocket").header("sec-websocket-version", "13");
    request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").body(()).unwrap()
}

#[test]
fn a_poll_that_is_given_up_loses_nothing() {
    let mut lab = Lab::new();
    let poller = Poller::in_topic(&mut lab, "room:1");
    let server = lab.server.clone();
    let news = |n: u32| assert_eq!(server.broadcast("room:1", "news", Payload::json(&n).unwrap()), 1);
    let message = |n: u32| format!(r#"[null,null,"room:1","news",{n}]"#);

    // Given up while there was nothing to say, and just when there is something.
    for (before, after) in [(None, Some(1)), (Some(2), Some(3)), (Some(4), None)] {
        {
            let mut held = pin!(server.long_poll(poller.get(), whole));
            assert!(held.as_mut().now_or_never().is_none());
            lab.rig.settle();
            before.into_iter().for_each(news);
        }
        after.into_iter().for_each(news);
        let expected: Vec<_> = before.into_iter().chain(after).map(message).collect();
        assert_eq!(poller.poll(&mut lab), expected);
    }
}

#[test]
fn a_client_is_served_over_the_stream_that_its_request_becomes() {
    let mut lab = Lab::new();
    let (response, admitted) = lab.server.upgrade(&upgrade()).unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let (runtime, listener) = rejoin_pump::memory::network();
    let ours = lab.wait(runtime.dial("test".into(), 80, false)).unwrap();
    let theirs = lab.wait(listener.accept_io());
    lab.rig.spawn(lab.server.attend_upgraded(ready(theirs), admitted));
    let mut socket = Raw::over(&mut lab, ours);
    socket.join(&mut lab, "room:1");
    assert_eq!(lab.standing(), [1, 0, 1, 1]);
    socket.close(&mut lab);
    assert_eq!(lab.standing(), [0; 4]);
}

#[test]
fn an_upgrade_that_does_not_come_gives_its_place_back() {
    let mut lab = Lab::with(|endpoint| {
        let mut options = rejoin_pump::server::ServerOptions::default();
        options.connections = 1;
        endpoint.options(options)
    });
    for never in [true, false] {
        let (_, admitted) = lab.server.upgrade(&upgrade()).unwrap();
        assert_eq!(lab.server.upgrade(&upgrade()).map(drop).unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        if never {
            lab.rig.spawn(lab.server.attend_upgraded(pending::<Option<MemoryIo>>(), admitted));
            assert_eq!(lab.standing(), [0, 1, 0, 0]);
            lab.advance(millis(9_999));
            assert_eq!(lab.standing(), [0, 1, 0, 0]);
            lab.advance(millis(1));
        } else {
            lab.rig.spawn(lab.server.attend_upgraded(ready(None::<MemoryIo>), admitted));
        }
        assert_eq!(lab.standing(), [0; 4]);
    }
    assert!(lab.server.upgrade(&upgrade()).is_ok());
}

#[test]
fn whoever_comes_while_the_server_stops_is_told_when_to_come_again_by_any_library() {
    let mut lab = Lab::new();
    let server = lab.server.clone();
    assert_eq!(lab.wait(server.shutdown(secs(1))).told, 0);
    let refused = server.upgrade(&upgrade()).map(drop).unwrap_err();
    let poll = lab.wait(server.long_poll(get("vsn=2.0.0"), whole));
    for (status, headers) in [(refused.status(), refused.headers()), (poll.status(), poll.headers())] {
        assert_eq!((status, &headers["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().unwrap()));
    }
}

#[test]
fn a_body_is_read_as_far_as_its_session_is_worth_and_for_half_a_minute() {
    let mut lab = Lab::new();
    let poller = Poller::new(&mut lab);
    let server = lab.server.clone();
    let post = |token: &str, bytes: usize| {
        Request::post(format!("/?vsn=2.0.0&token={token}")).body(Bytes::from(vec![b'x'; bytes])).unwrap()
    };
    for (token, bytes, expected) in [
        (poller.token.as_str(), 10_000_000, (500, "")),
        (&poller.token, 10_000_001, (413, "")),
        ("guessed", 65_536, (200, r#"{"status":410}"#)),
        ("guessed", 65_537, (200, r#"{"status":410}"#)),
    ] {
        let mut was_read = None;
        let read = |body: Bytes, limit| {
            let body = whole(body, limit);
            was_read = Some(body.clone().into_inner().is_ok());
            body
        };
        let response = lab.wait(server.long_poll(post(token, bytes), read));
        assert_eq!((response.status().as_u16(), &response.body()[..]), (expected.0, expected.1.as_bytes()));
        assert_eq!(was_read, Some(bytes == 65_536 || bytes == 10_000_000), "{token}, {bytes}");
    }

    let mut slow = pin!(server.long_poll(post(&poller.token, 1), |_, _| pending()));
    let mut poll = |lab: &mut Lab, by| {
        lab.advance(by);
        slow.as_mut().now_or_never().map(|response| response.status())
    };
    assert_eq!(poll(&mut lab, secs(0)), None);
    assert_eq!(poll(&mut lab, millis(29_999)), None);
    assert_eq!(poll(&mut lab, millis(1)), Some(StatusCode::REQUEST_TIMEOUT));
}
