//! A server of channels inside of an HTTP server that is somebody else's, over real sockets.

#[path = "loopback/lab.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod lab;
#[path = "server_sockets/room.rs"]
mod room;

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{any, get};
use futures_lite::future::poll_once;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use lab::{Lab, Tokio, any_port, config};
use rejoin_core::Payload;
use rejoin_core::auth::{AuthError, Claims, TokenVerifier};
use rejoin_core::phoenix::{JoinOptions, LossReason, Push, PushOutcome, Transport};
use rejoin_core::wire::Serializer;
use rejoin_pump::{ChannelEvent, ConnectionEvent, InboxEvent, Runtime};
use rejoin_tokio::TokioRuntime;
use rejoin_tokio::server::{self, Endpoint, Server, ServerOptions};
use room::Room;
use serde::Deserialize;

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// The server, where it is, and the HTTP server around it.
struct Site {
    server: Server,
    address: SocketAddr,
    /// What becomes of every exchange.
    steps: Receiver<Step>,
    /// Closed to stop the HTTP server, and closed once it has stopped.
    stop: Sender<()>,
    stopped: Receiver<()>,
}

#[derive(Debug, PartialEq)]
enum Step {
    /// It waits for something to say.
    Held,
    Answered,
    GivenUp,
}

/// Says what becomes of an exchange, for as long as the test listens.
struct Exchange {
    steps: Sender<Step>,
    is_answered: bool,
}

impl Exchange {
    async fn watch<T>(mut self, answering: impl Future<Output = T>) -> T {
        let mut answering = pin!(answering);
        let at_once = poll_once(&mut answering).await;
        let answer = match at_once {
            Some(answer) => answer,
            None => {
                let _ = self.steps.try_send(Step::Held);
                answering.await
            }
        };
        self.is_answered = true;
        answer
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let _ = self.steps.try_send(if self.is_answered { Step::Answered } else { Step::GivenUp });
    }
}

/// The sockets beside a page, and once more in a part of the site.
async fn site(endpoint: Endpoint<()>) -> Site {
    let server = server::new(endpoint.channel::<Room>("room:*"));
    let (watch, steps) = async_channel::unbounded();
    let sockets = server.clone();
    let sockets = any(move |request: Request| {
        let exchange = Exchange { steps: watch.clone(), is_answered: false };
        exchange.watch(rejoin_tokio::hyper::serve(&sockets, request))
    });
    let part = Router::new().route("/socket/{*transport}", sockets.clone());
    let app = Router::new().route("/", get(|| async { "a page" })).nest("/part", part);
    let app = app.route("/socket/{*transport}", sockets);

    let listener = tokio::net::TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let ((stop, stopping), (has_stopped, stopped)) = (async_channel::bounded(1), async_channel::bounded(1));
    let stopping = async move { stopping.recv().await.unwrap_or_default() };
    tokio::spawn(async move {
        axum::serve(listener, app).with_graceful_shutdown(stopping).await.unwrap();
        has_stopped.close();
    });
    Site { server, address, steps, stop, stopped }
}

/// Says something on a connection of its own and hears everything until the server ends it.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut io = dial(address).await;
    io.write_all(request.replacen("\r\n", "\r\nHost: h\r\nConnection: close\r\n", 1).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn dial(address: SocketAddr) -> rejoin_tokio::Io {
    TokioRuntime::default().dial(address.ip().to_string(), address.port(), false).await.unwrap()
}

#[derive(Deserialize)]
struct Said {
    status: u16,
    #[serde(default)]
    messages: Vec<String>,
    token: Option<String>,
}

/// An exchange of a client that polls.
async fn exchange(address: SocketAddr, method: &str, query: &str, body: &str) -> Said {
    let length = body.len();
    let head = format!("{method} /socket/longpoll?vsn=2.0.0&{query} HTTP/1.1\r\nContent-Length: {length}");
    let answer = ask(address, &format!("{head}\r\n\r\n{body}")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).unwrap()
}

/// The query of a session that is in the topic, and has heard so.
async fn polling(address: SocketAddr, topic: &str) -> String {
    let opened = exchange(address, "GET", "", "").await;
    let query = format!("token={}", opened.token.unwrap());
    let join = format!(r#"["1","1","{topic}","phx_join",{{}}]"#);
    assert_eq!(exchange(address, "POST", &query, &join).await.status, 200);
    assert!(exchange(address, "GET", &query, "").await.messages[0].contains("ok"));
    query
}

/// Runs a test to its end, or panics.
fn run<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Tokio) -> F) {
    Tokio::run(test);
}

#[test]
fn clients_of_every_transport_and_serializer_meet_wherever_the_router_has_put_the_socket() {
    run(|lab| async move {
        let site = site(Endpoint::new(())).await;
        let mut members = Vec::new();
        for path in ["socket", "part/socket"] {
            for transport in [Transport::WebSocket, Transport::LongPoll] {
                for serializer in [Serializer::V1, Serializer::V2] {
                    let mut config =
                        rejoin_core::phoenix::Config::new(&format!("ws://{}/{path}", site.address)).unwrap();
                    (config.transport, config.serializer) = (transport, serializer);
                    let (room, mut events) = lab.connect(config).join("room:1", JoinOptions::default()).await.unwrap();
                    events.joined().await.unwrap();
                    members.push((room, events));
                }
            }
        }
        let megabyte = Payload::json(&"ž".repeat(500_000)).unwrap();
        for (room, _) in &members {
            for payload in [Payload::json(&"wörld 🐎\n").unwrap(), megabyte.clone()] {
                let ticket = room.push(Push::new("echo", payload.clone())).await.unwrap();
                assert_eq!(ticket.await, Ok(PushOutcome::Ok(payload)));
            }
        }
        assert_eq!(site.server.broadcast("room:1", "news", Payload::json(&1).unwrap()), 8);
        for (_, events) in &mut members {
            let heard = events.next().await;
            assert!(matches!(heard, Some(ChannelEvent::Message { .. })), "{heard:?}");
        }
    });
}

#[test]
fn a_burst_arrives_whole_and_in_order_by_either_transport() {
    run(|lab| async move {
        let site = site(Endpoint::new(())).await;
        for transport in [Transport::WebSocket, Transport::LongPoll] {
            let mut config = config(site.address);
            config.transport = transport;
            let (room, mut events) = lab.connect(config).join("room:1", JoinOptions::default()).await.unwrap();
            events.joined().await.unwrap();
            let ticket = room.push(Push::new("count", Payload::json(&10_000).unwrap())).await.unwrap();
            for n in 0..10_000 {
                let Some(ChannelEvent::Message { payload, .. }) = events.next().await else { panic!("a message") };
                assert_eq!(payload, Payload::json(&serde_json::json!({ "n": n, "filler": "" })).unwrap());
            }
            assert_eq!(ticket.await, Ok(PushOutcome::Ok(Payload::EMPTY)));
        }
    });
}

struct OnlyGood;

impl TokenVerifier for OnlyGood {
    fn verify(&self, token: &str, _: Duration) -> Result<Claims, AuthError> {
        if token == "good" { Ok(Claims::new("ann")) } else { Err(AuthError::Refused) }
    }
}

#[test]
fn whoever_may_not_come_in_is_refused_as_without_a_host() {
    run(|_| async move {
        let site = site(Endpoint::new(()).verifier(OnlyGood)).await;
        let websocket =
            |query: &str, more: &str| format!("GET /socket/websocket?{query} HTTP/1.1\r\n{UPGRADE}{more}\r\n");
        for (request, status, end) in [
            (websocket("vsn=2.0.0&token=bad", ""), 403, ""),
            (websocket("vsn=2.0.0", ""), 403, ""),
            (websocket("vsn=3.0.0&token=good", ""), 403, ""),
            (websocket("vsn=2.0.0&token=good", "Origin: http://elsewhere\r\n"), 403, ""),
            ("GET /socket/websocket?token=good HTTP/1.1\r\n\r\n".into(), 426, ""),
            ("POST /socket/websocket HTTP/1.1\r\nContent-Length: 0\r\n\r\n".into(), 405, ""),
            ("GET /socket/longpoll?vsn=2.0.0&token=bad HTTP/1.1\r\n\r\n".into(), 200, r#"{"status":403}"#),
            (
                "GET /socket/longpoll?token=good HTTP/1.1\r\nOrigin: http://elsewhere\r\n\r\n".into(),
                200,
                r#"{"status":403}"#,
            ),
            ("DELETE /socket/longpoll HTTP/1.1\r\n\r\n".into(), 405, ""),
            ("GET /socket/other HTTP/1.1\r\n\r\n".into(), 404, ""),
            ("GET /websocket HTTP/1.1\r\n\r\n".into(), 404, ""),
            ("GET / HTTP/1.1\r\n\r\n".into(), 200, "a page"),
        ] {
            let answer = ask(site.address, &request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
            assert!(answer.ends_with(&format!("\r\n\r\n{end}")), "{request}{answer}");
        }
    });
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_there() {
    run(|_| async move {
        let mut options = ServerOptions::default();
        options.long_poll.body_bytes = 1_000;
        let site = site(Endpoint::new(()).options(options)).await;
        let query = polling(site.address, "room:1").await;
        for (framing, begin, bytes, status) in [
            ("Content-Length: 1001", "", 0, 413),
            ("Transfer-Encoding: chunked", "3e9\r\n", 1_001, 413),
            // One that is no larger is read, and no message.
            ("Content-Length: 1000", "", 1_000, 500),
        ] {
            let body = "x".repeat(bytes);
            let request = format!("POST /socket/longpoll?{query} HTTP/1.1\r\n{framing}\r\n\r\n{begin}{body}");
            let answer = ask(site.address, &request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{framing}: {answer}");
        }
    });
}

#[test]
fn a_poll_whose_client_hangs_up_loses_nothing() {
    run(|_| async move {
        let site = site(Endpoint::new(())).await;
        let query = polling(site.address, "room:1").await;
        for n in 0..10 {
            let mut io = dial(site.address).await;
            let poll = format!("GET /socket/longpoll?{query} HTTP/1.1\r\nHost: h\r\n\r\n");
            while site.steps.try_recv().is_ok() {}
            io.write_all(poll.as_bytes()).await.unwrap();
            assert_eq!(site.steps.recv().await, Ok(Step::Held));
            drop(io);
            assert_eq!(site.steps.recv().await, Ok(Step::GivenUp));
            assert_eq!(site.server.broadcast("room:1", "news", Payload::json(&n).unwrap()), 1);
            let said = exchange(site.address, "GET", &query, "").await;
            assert_eq!(said.messages, [format!(r#"[null,null,"room:1","news",{n}]"#)]);
        }
    });
}

#[test]
fn a_shutdown_tells_everybody_and_the_http_server_ends_with_it() {
    run(|lab| async move {
        let site = site(Endpoint::new(())).await;
        let mut watched = Vec::new();
        for transport in [Transport::WebSocket, Transport::LongPoll] {
            let mut config = config(site.address);
            config.transport = transport;
            let (client, mut inbox) = lab.connect_watched(config).await;
            while !matches!(inbox.next().await, Some(InboxEvent::Connection(ConnectionEvent::Connected))) {}
            watched.push((client, inbox));
        }
        // Until both are let in and one of them polls.
        let (mut answered, mut is_held) = (0, false);
        while !(answered == 2 && is_held) {
            is_held = site.steps.recv().await == Ok(Step::Held);
            answered += u32::from(!is_held);
        }
        let drained = site.server.shutdown(Duration::from_secs(5)).await;
        assert_eq!((drained.told, drained.cut), (2, 0));
        for ((_, inbox), expected) in watched.iter_mut().zip([1012, 3410]) {
            match inbox.next().await {
                Some(InboxEvent::Connection(ConnectionEvent::Disconnected {
                    reason: LossReason::Closed { code, .. },
                    ..
                })) => assert_eq!(code, Some(expected)),
                other => panic!("it is told, and not {other:?}"),
            }
        }
        site.stop.close();
        assert!(site.stopped.recv().await.is_err());
        assert_eq!(site.server.counts().connections, 0);
    });
}

#[test]
fn a_websocket_that_the_host_cannot_give_away_is_not_promised() {
    run(|_| async move {
        let server = server::new(Endpoint::new(()));
        let mut request = Request::get("/socket/websocket?vsn=2.0.0").header("host", "h");
        for line in UPGRADE.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let response = rejoin_tokio::hyper::serve(&server, request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 501);
        assert_eq!(server.counts().connections, 0);
        assert_eq!(server.shutdown(Duration::from_secs(5)).await.cut, 0);
    });
}
