//! HTTP over real sockets: long-poll on both sides, and a client that keeps its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rejoin_core::Payload;
use rejoin_core::http::{HttpError, HttpId, HttpRequest};
use rejoin_core::phoenix::{Config, JoinOptions, Push, PushOutcome, Transport};
use rejoin_core::wire::Serializer;
use rejoin_pump::{Http, HttpClient, Incoming, LongPollHub, LongPollOptions, Runtime};

use super::lab::{Lab, Smol, Tokio, any_port, certified, config};
use super::{comes_back_each_time_that_it_is_cut, json, message};

on_both_runtimes![
    a_conversation_by_long_poll_works_under_both_serializers,
    a_long_poll_session_that_is_cut_is_begun_anew,
    long_poll_and_other_requests_work_over_tls_and_share_connections,
    where_no_upgrade_is_answered_auto_falls_back_to_long_poll,
    a_server_that_is_not_there_is_unreachable_and_one_that_is_silent_times_out,
    a_stream_that_is_closed_has_ended_for_its_peer_before_it_is_dropped,
];

async fn a_conversation_by_long_poll_works_under_both_serializers<L: Lab>(lab: L) {
    let address = lab.server().await;
    for serializer in [Serializer::V1, Serializer::V2] {
        let mut config = by_long_poll(config(address));
        config.serializer = serializer;
        let client = lab.connect(config);
        let (room, mut events) = client.join("room:lobby", JoinOptions::default()).await.unwrap();
        events.joined().await.unwrap();
        for payload in [json(r#"{"hello":"wörld 🐎\n"}"#), Payload::json(&"x".repeat(1_000_000)).unwrap()] {
            let reply = room.push(Push::new("echo", payload.clone())).await.unwrap().await;
            assert_eq!(reply, Ok(PushOutcome::Ok(payload)));
        }
        drop(room.push(Push::new("count", json("1000")).without_reply()).await.unwrap());
        for n in 0..1_000 {
            assert_eq!(message(&mut events).await, Payload::json(&n).unwrap());
        }
        client.close().await;
    }
}

async fn a_long_poll_session_that_is_cut_is_begun_anew<L: Lab>(lab: L) {
    let client = lab.connect(by_long_poll(config(lab.server().await)));
    comes_back_each_time_that_it_is_cut(client).await;
}

async fn long_poll_and_other_requests_work_over_tls_and_share_connections<L: Lab>(lab: L) {
    let (server, trusting) = certified();
    let (listener, address) = lab.listen(any_port()).await;
    let connections = Arc::new(AtomicUsize::new(0));
    let (hosts, hub, accepted) = (lab.clone(), LongPollHub::new(LongPollOptions::default()), connections.clone());
    lab.spawn(Box::pin(async move {
        loop {
            let tcp = hosts.next(&listener).await;
            if let Some(io) = hosts.encrypted(server.clone(), tcp).await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let Ok(incoming) = Incoming::read(io).await else { continue };
                hosts.spawn(hosts.visit(incoming, hub.clone()));
            }
        }
    }));

    let http = HttpClient::new(lab.runtime(Some(trusting.clone())));
    let url = format!("https://localhost:{}", address.port());
    for _ in 0..3 {
        let response = http.send(get(&format!("{url}/elsewhere"))).await;
        assert_eq!(response.map(|response| response.status), Ok(404));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1, "the connection is kept");
    let wary = HttpClient::new(lab.runtime(None)).send(get(&url)).await;
    assert!(matches!(&wary, Err(HttpError::Unreachable(what)) if what.contains("TLS")), "{wary:?}");

    let config = by_long_poll(Config::new(&format!("{url}/socket").replace("https", "wss")).unwrap());
    let client = lab.connect_on(lab.runtime(Some(trusting)), config);
    let (room, mut events) = client.join("room:lobby", JoinOptions::default()).await.unwrap();
    events.joined().await.unwrap();
    for n in 0..20 {
        let payload = Payload::json(&n).unwrap();
        let ticket = room.push(Push::new("echo", payload.clone())).await.unwrap();
        assert_eq!(ticket.await, Ok(PushOutcome::Ok(payload)));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3, "one is polled and the other pushed on");
    client.close().await;
}

async fn a_stream_that_is_closed_has_ended_for_its_peer_before_it_is_dropped<L: Lab>(lab: L) {
    let (listener, address) = lab.listen(any_port()).await;
    let dialling = lab.runtime(None).dial(address.ip().to_string(), address.port(), false);
    let (dialled, accepted) = futures_lite::future::zip(dialling, lab.next(&listener)).await;
    let (mut ours, mut theirs) = (dialled.unwrap(), lab.plain(accepted));
    theirs.write_all(b"bye").await.unwrap();
    theirs.close().await.unwrap();
    let mut heard = Vec::new();
    ours.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"bye");
    // The other direction is still open.
    ours.write_all(b"bye").await.unwrap();
    drop(theirs);
}

async fn where_no_upgrade_is_answered_auto_falls_back_to_long_poll<L: Lab>(lab: L) {
    let (listener, address) = lab.listen(any_port()).await;
    let hosts = lab.clone();
    let hub = LongPollHub::new(LongPollOptions::default());
    lab.spawn(Box::pin(async move {
        loop {
            let tcp = hosts.next(&listener).await;
            let (lab, hub) = (hosts.clone(), hub.clone());
            hosts.spawn(Box::pin(async move {
                match Incoming::read(lab.plain(tcp)).await {
                    Ok(Incoming::Upgrade(request)) => drop(request.refuse(502, "no upgrades here").await),
                    Ok(other) => lab.visit(other, hub).await,
                    Err(_) => {}
                }
            }));
        }
    }));
    let mut config = config(address);
    config.transport = Transport::AUTO;
    let client = lab.connect(config);
    let (room, mut events) = client.join("room:lobby", JoinOptions::default()).await.unwrap();
    events.joined().await.unwrap();
    let ticket = room.push(Push::new("echo", json("1"))).await.unwrap();
    assert_eq!(ticket.await, Ok(PushOutcome::Ok(json("1"))));
    client.close().await;
}

async fn a_server_that_is_not_there_is_unreachable_and_one_that_is_silent_times_out<L: Lab>(lab: L) {
    let (listener, address) = lab.listen(any_port()).await;
    let http = HttpClient::new(lab.runtime(None));
    let mut request = get(&format!("http://{address}/"));
    request.timeout = Duration::from_millis(50);
    assert_eq!(http.send(request).await, Err(HttpError::TimedOut));
    drop(listener);
    let gone = http.send(get(&format!("http://{address}/"))).await;
    assert!(matches!(gone, Err(HttpError::Unreachable(_))), "{gone:?}");
}

fn get(url: &str) -> HttpRequest {
    HttpRequest::get(HttpId::new(1), url, Duration::from_secs(10))
}

fn by_long_poll(mut config: Config) -> Config {
    config.transport = Transport::LongPoll;
    config
}
