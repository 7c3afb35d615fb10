//! Servers of channels over real sockets: bursts, readers that are stuck, and restarts, on both runtimes.

#[path = "loopback/lab.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod lab;
#[path = "server_sockets/room.rs"]
mod room;

use std::net::SocketAddr;
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use async_tungstenite::{WebSocketStream, client_async};
use futures_util::StreamExt;
use lab::{Lab, Smol, Tokio, any_port, config};
use rejoin_core::Payload;
use rejoin_core::phoenix::{JoinOptions, OutboxOverflow, Push, PushOutcome};
use rejoin_pump::server::{Endpoint, Server, ServerCounts, ServerOptions, TopicOptions};
use rejoin_pump::{Channel, ChannelEvent, Events, Runtime};
use room::Room;
use serde::{Deserialize, Serialize};

macro_rules! on_both_runtimes {
    ($($name:ident),* $(,)?) => {
        mod on_smol {
            $(#[test] fn $name() { <super::Smol as super::Lab>::run(super::$name); })*
        }
        mod on_tokio {
            $(#[test] fn $name() { <super::Tokio as super::Lab>::run(super::$name); })*
        }
    };
}

on_both_runtimes![
    a_burst_of_10000_arrives_whole_and_in_order,
    a_stuck_reader_is_closed_and_the_others_hear_everything,
    a_stuck_reader_misses_an_exact_number_where_messages_may_be_dropped,
    what_many_tasks_say_at_once_arrives_each_ones_in_order,
    a_sleeping_connection_wakes_for_each_message,
    clients_that_come_and_go_all_at_once_leave_nothing_behind,
    clients_come_back_after_a_restart,
    a_server_that_has_been_shut_down_holds_nothing_any_more,
];

/// Large enough that the buffers of the system hold only a part of what is said.
const FILLER: usize = 8 << 10;
const MESSAGES: usize = 2_000;

#[derive(Serialize, Deserialize)]
struct Numbered<'a> {
    n: usize,
    filler: &'a str,
}

/// A server on a free port, or on the same one again.
async fn serve<L: Lab>(lab: &L, address: SocketAddr) -> (Server<L::Runtime>, SocketAddr) {
    serve_with(lab, address, ServerOptions::default()).await
}

/// A server whose clients have outboxes of a MiB.
async fn serve_impatiently<L: Lab>(lab: &L) -> (Server<L::Runtime>, SocketAddr) {
    let mut options = ServerOptions::default();
    options.session.outbox_bytes = 1 << 20;
    serve_with(lab, any_port(), options).await
}

async fn serve_with<L: Lab>(lab: &L, address: SocketAddr, options: ServerOptions) -> (Server<L::Runtime>, SocketAddr) {
    let dropping = TopicOptions::default().overflow(OutboxOverflow::DropNewest);
    let endpoint = Endpoint::new(()).channel::<Room>("room:*").channel_with::<Room>("news:*", dropping);
    let spawn = lab.clone();
    let server = Server::new(endpoint.options(options), lab.runtime(None), move |task| spawn.spawn(task));
    let (listener, address) = lab.listen(address).await;
    let (hosts, serving) = (lab.clone(), server.clone());
    lab.spawn(Box::pin(async move {
        let accepting = async {
            loop {
                let tcp = hosts.next(&listener).await;
                hosts.spawn(Box::pin(serving.accept(hosts.plain(tcp))));
            }
        };
        futures_lite::future::or(accepting, serving.closing()).await;
    }));
    (server, address)
}

async fn join<L: Lab>(lab: &L, address: SocketAddr, topic: &str) -> (Channel, Events) {
    let client = lab.connect(config(address));
    let (room, mut events) = client.join(topic, JoinOptions::default()).await.unwrap();
    events.joined().await.unwrap();
    (room, events)
}

/// The number of the next message.
async fn number(events: &mut Events) -> usize {
    match events.next().await {
        Some(ChannelEvent::Message { payload, .. }) => payload.parse::<Numbered<'_>>().unwrap().n,
        other => panic!("a message was expected, not {other:?}"),
    }
}

/// A client in a topic that reads nothing of what follows.
async fn stuck<L: Lab>(lab: &L, address: SocketAddr, topic: &str) -> WebSocketStream<<L::Runtime as Runtime>::Io> {
    let io = lab.runtime(None).dial(address.ip().to_string(), address.port(), false).await.unwrap();
    let (mut websocket, _) = client_async(format!("ws://{address}/socket/websocket?vsn=2.0.0"), io).await.unwrap();
    websocket.send(Message::text(format!(r#"["1","1","{topic}","phx_join",{{}}]"#))).await.unwrap();
    assert!(websocket.next().await.unwrap().unwrap().into_text().unwrap().contains("ok"));
    websocket
}

/// Waits until it stands like this.
async fn until<L: Lab>(lab: &L, server: &Server<L::Runtime>, stands: impl Fn(ServerCounts) -> bool) {
    let runtime = lab.runtime(None);
    while !stands(server.counts()) {
        runtime.sleep_until(runtime.now() + Duration::from_millis(5)).await;
    }
}

async fn a_burst_of_10000_arrives_whole_and_in_order<L: Lab>(lab: L) {
    let (server, address) = serve(&lab, any_port()).await;
    let (room, mut events) = join(&lab, address, "room:1").await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(join(&lab, address, "room:1").await);
    }
    // Asked for by the client itself, and read by it while it waits for the answer.
    let ticket = room.push(Push::new("count", Payload::json(&10_000).unwrap())).await.unwrap();
    for n in 0..10_000 {
        assert_eq!(number(&mut events).await, n);
    }
    assert_eq!(ticket.await, Ok(PushOutcome::Ok(Payload::EMPTY)));
    for (_, events) in &mut others {
        for n in 0..10_000 {
            assert_eq!(number(events).await, n);
        }
    }
    assert_eq!((server.counts().dropped, server.counts().connections), (0, 4));
}

/// Says everything at the pace of four members, who get all of it.
async fn say_everything<L: Lab>(
    lab: &L,
    server: &Server<L::Runtime>,
    address: SocketAddr,
    topic: &str,
) -> Vec<(Channel, Events)> {
    let mut healthy = Vec::new();
    for _ in 0..4 {
        healthy.push(join(lab, address, topic).await);
    }
    let filler = "x".repeat(FILLER);
    for n in 0..MESSAGES {
        server.broadcast(topic, "news", Payload::json(&Numbered { n, filler: &filler }).unwrap());
        if n % 50 == 49 {
            for (_, events) in &mut healthy {
                for expected in n - 49..=n {
                    assert_eq!(number(events).await, expected);
                }
            }
        }
    }
    healthy
}

async fn a_stuck_reader_is_closed_and_the_others_hear_everything<L: Lab>(lab: L) {
    let (server, address) = serve_impatiently(&lab).await;
    let mut stuck = stuck(&lab, address, "room:1").await;
    let _healthy = say_everything(&lab, &server, address, "room:1").await;
    assert_eq!((server.counts().connections, server.counts().dropped), (4, 0));
    let mut heard = 0;
    while let Some(Ok(_)) = stuck.next().await {
        heard += 1;
    }
    assert!(0 < heard && heard < MESSAGES, "{heard}");
}

async fn a_stuck_reader_misses_an_exact_number_where_messages_may_be_dropped<L: Lab>(lab: L) {
    let (server, address) = serve_impatiently(&lab).await;
    let mut stuck = stuck(&lab, address, "news:1").await;
    let _healthy = say_everything(&lab, &server, address, "news:1").await;
    // The answer comes behind everything that was not dropped.
    stuck.send(Message::text(r#"["1","2","news:1","echo",{}]"#)).await.unwrap();
    let mut heard = 0;
    loop {
        let text = stuck.next().await.unwrap().unwrap().into_text().unwrap();
        if text.contains("phx_reply") {
            break;
        }
        heard += 1;
    }
    assert!(0 < heard && heard < MESSAGES, "{heard}");
    // Further drops are told together, a second after the first at the latest.
    let dropped = (MESSAGES - heard) as u64;
    until(&lab, &server, |counts| counts.dropped >= dropped).await;
    assert_eq!((server.counts().dropped, server.counts().connections), (dropped, 5));
}

async fn what_many_tasks_say_at_once_arrives_each_ones_in_order<L: Lab>(lab: L) {
    const TASKS: usize = 8;
    const EACH: usize = 1_000;
    let (server, address) = serve(&lab, any_port()).await;
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(join(&lab, address, "room:1").await);
    }
    for task in 0..TASKS {
        let server = server.clone();
        lab.spawn(Box::pin(async move {
            for n in 0..EACH {
                let said = Numbered { n: task * EACH + n, filler: "" };
                assert_eq!(server.broadcast("room:1", "news", Payload::json(&said).unwrap()), 3);
                // The others, and the connections, have their turns in between.
                futures_lite::future::yield_now().await;
            }
        }));
    }
    for (_, events) in &mut members {
        let mut next = [0; TASKS];
        for _ in 0..TASKS * EACH {
            let n = number(events).await;
            assert_eq!(n % EACH, next[n / EACH]);
            next[n / EACH] += 1;
        }
    }
}

/// Each is said when the connection has nothing else to do, from another task than its own.
async fn a_sleeping_connection_wakes_for_each_message<L: Lab>(lab: L) {
    let (server, address) = serve(&lab, any_port()).await;
    let (_room, mut events) = join(&lab, address, "room:1").await;
    for n in 0..3_000 {
        server.broadcast("room:1", "news", Payload::json(&Numbered { n, filler: "" }).unwrap());
        assert_eq!(number(&mut events).await, n);
    }
}

/// Whatever one of them holds, it does not keep another one from going on.
async fn clients_that_come_and_go_all_at_once_leave_nothing_behind<L: Lab>(lab: L) {
    const CLIENTS: usize = 24;
    let (server, address) = serve(&lab, any_port()).await;
    let (done, finished) = async_channel::bounded(CLIENTS);
    for n in 0..CLIENTS {
        let (lab, done) = (lab.clone(), done.clone());
        lab.clone().spawn(Box::pin(async move {
            let mut rounds = 0;
            for round in 0..12 {
                let topic = format!("room:{}", (n + round) % 3);
                let (room, mut events) = join(&lab, address, &topic).await;
                for event in ["show", "shout", "crash"] {
                    let wanted = Push::new(event, Payload::json(&format!("{n}")).unwrap());
                    drop(room.push(wanted).await.unwrap());
                }
                // Everybody hears of everybody, until its own channel has crashed.
                while !matches!(events.next().await, Some(ChannelEvent::Errored { .. }) | None) {}
                rounds += 1;
            }
            done.send(rounds).await.unwrap();
        }));
    }
    let (speaker, speaking) = (server.clone(), finished.clone());
    lab.spawn(Box::pin(async move {
        while !speaking.is_closed() {
            speaker.broadcast("room:1", "news", Payload::EMPTY);
            let _present = speaker.presence_state("room:2");
            futures_lite::future::yield_now().await;
        }
    }));
    for _ in 0..CLIENTS {
        assert_eq!(finished.recv().await, Ok(12));
    }
    finished.close();
    until(&lab, &server, |counts| counts.connections + counts.handshakes + counts.members + counts.topics == 0).await;
    assert_eq!(server.presence_state("room:1"), Payload::EMPTY);
    assert!(server.counts().crashed >= (CLIENTS * 12) as u64);
}

async fn clients_come_back_after_a_restart<L: Lab>(lab: L) {
    let (server, address) = serve(&lab, any_port()).await;
    let mut members = Vec::new();
    for _ in 0..10 {
        members.push(join(&lab, address, "room:1").await);
    }
    let drained = server.shutdown(Duration::from_secs(5)).await;
    assert_eq!((drained.told, drained.cut), (10, 0));
    let (server, _) = serve(&lab, address).await;
    until(&lab, &server, |counts| counts.members == 10).await;
    for (_, events) in &mut members {
        events.joined().await.unwrap();
    }
    let (room, _) = &members[0];
    assert!(matches!(
        room.push(Push::new("count", Payload::json(&1).unwrap())).await.unwrap().await,
        Ok(PushOutcome::Ok(_))
    ));
    for (_, events) in &mut members {
        assert_eq!(number(events).await, 0);
    }
}

async fn a_server_that_has_been_shut_down_holds_nothing_any_more<L: Lab>(lab: L) {
    let (server, address) = serve(&lab, any_port()).await;
    let _stuck = stuck(&lab, address, "room:1").await;
    let silent = lab.runtime(None).dial(address.ip().to_string(), address.port(), false).await.unwrap();
    until(&lab, &server, |counts| (counts.members, counts.handshakes) == (1, 1)).await;
    let drained = server.shutdown(Duration::from_millis(300)).await;
    assert_eq!((drained.told, drained.cut), (1, 1));
    until(&lab, &server, |counts| counts.connections + counts.handshakes + counts.members + counts.topics == 0).await;
    let refused = lab.runtime(None).dial(address.ip().to_string(), address.port(), false).await;
    assert!(refused.is_err(), "nobody listens any more");
    drop(silent);
}
