//! Both drivers over real sockets: one test body each, run on smol and on tokio.

#[path = "loopback/lab.rs"]
mod lab;

use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt};
use lab::{Lab, Smol, Tokio, any_port, certified, config};
use rejoin_core::phoenix::{JoinOptions, LossReason, Push, PushOutcome, TroubleCause};
use rejoin_core::wire::Serializer;
use rejoin_core::{OpenError, Payload};
use rejoin_pump::{
    AcceptOptions, ChannelEvent, Client, ConnectionEvent, Events, Inbox, InboxEvent, Inflow, PushState, accept,
};

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

#[path = "loopback/http.rs"]
mod http;
#[path = "loopback/supabase.rs"]
mod supabase;

on_both_runtimes![
    a_conversation_works_under_both_serializers,
    a_client_whose_socket_is_cut_comes_back_and_sends_what_waited,
    a_server_that_falls_silent_is_noticed_within_interval_and_deadline,
    a_server_that_never_answers_the_upgrade_is_given_up_and_dialled_again,
    a_refused_upgrade_names_the_status,
    a_frame_in_the_segment_of_the_upgrade_is_not_lost,
    a_blocking_reader_loses_nothing,
    a_dropping_reader_hears_exactly_how_much_it_missed,
    a_reader_that_panics_or_leaves_stops_nobody_else,
    dropping_the_last_channel_handle_leaves_after_what_was_pushed,
    closing_ends_every_stream_with_a_reason,
    a_message_over_the_limit_is_refused_here_and_one_below_it_passes,
    wss_works_with_a_trusted_certificate_and_only_with_one,
    bursts_arrive_whole_and_in_order,
];

async fn a_conversation_works_under_both_serializers<L: Lab>(lab: L) {
    let address = lab.server().await;
    for serializer in [Serializer::V1, Serializer::V2] {
        let mut config = config(address);
        config.serializer = serializer;
        let client = lab.connect(config);
        let payload = json(r#"{"hello":"wörld 🐎"}"#);
        let options = JoinOptions::with_payload(payload.clone());
        let (room, mut events) = client.join("room:lobby", options).await.unwrap();
        assert_eq!(events.joined().await, Ok(payload));

        let reply = room.push(Push::new("echo", json("[1,2.50,null]"))).await.unwrap().await;
        assert_eq!(reply, Ok(PushOutcome::Ok(json("[1,2.50,null]"))));

        let binary = Payload::binary(vec![0, 255, 7].into());
        let reply = room.push(Push::new("echo", binary.clone())).await.unwrap().await;
        match serializer {
            Serializer::V2 => assert_eq!(reply, Ok(PushOutcome::Ok(binary))),
            _ => assert!(reply.is_err(), "vsn 1 has no binary"),
        }

        let quiet = room.push(Push::new("quiet", Payload::EMPTY).timeout(Duration::from_millis(50))).await.unwrap();
        assert_eq!(quiet.await, Ok(PushOutcome::TimedOut));

        let mut ticket = room.push(Push::new("count", json("2")).without_reply()).await.unwrap();
        assert_eq!((&mut ticket).await, Ok(PushOutcome::Sent));
        assert_eq!(ticket.state(), PushState::Done);
        assert_eq!(message(&mut events).await, json("0"));
        assert_eq!(message(&mut events).await, json("1"));

        room.leave().await.unwrap();
        assert!(matches!(events.next().await, Some(ChannelEvent::Closed { .. })));
        assert_eq!(events.next().await, None);
        client.close().await;
    }
}

async fn a_client_whose_socket_is_cut_comes_back_and_sends_what_waited<L: Lab>(lab: L) {
    let client = lab.connect(config(lab.server().await));
    comes_back_each_time_that_it_is_cut(client).await;
}

/// Whatever carries the client's frames.
async fn comes_back_each_time_that_it_is_cut(client: Client) {
    let (room, mut events) = client.join("room:lobby", JoinOptions::default()).await.unwrap();
    events.joined().await.unwrap();
    for _ in 0..3 {
        drop(room.push(Push::new("cut", Payload::EMPTY).without_reply()).await.unwrap());
        let errored = events.next().await;
        assert!(matches!(errored, Some(ChannelEvent::Errored { cause: TroubleCause::ConnectionLost, .. })));
        // The connection is gone, so this one waits for the next.
        let ticket = room.push(Push::new("echo", json("7"))).await.unwrap();
        assert!(matches!(events.next().await, Some(ChannelEvent::Joined { again: true, .. })));
        assert_eq!(ticket.await, Ok(PushOutcome::Ok(json("7"))));
    }
    client.close().await;
}

async fn a_server_that_falls_silent_is_noticed_within_interval_and_deadline<L: Lab>(lab: L) {
    let (listener, address) = lab.listen(any_port()).await;
    let mut config = config(address);
    config.heartbeat_interval = Some(Duration::from_millis(60));
    config.heartbeat_timeout = Duration::from_millis(60);
    let (client, mut inbox) = lab.connect_watched(config).await;
    // Shakes hands and then neither reads nor writes nor closes.
    let silent = accept(lab.plain(lab.next(&listener).await), &AcceptOptions::default()).await.unwrap();
    assert_eq!(connection(&mut inbox).await, ConnectionEvent::Connected);
    let lost = connection(&mut inbox).await;
    assert!(matches!(lost, ConnectionEvent::Disconnected { reason: LossReason::HeartbeatTimeout, .. }), "{lost:?}");
    // And the client dials again, although nobody has confirmed the old socket's end.
    let again = accept(lab.plain(lab.next(&listener).await), &AcceptOptions::default()).await.unwrap();
    drop((silent, again));
    client.close().await;
}

async fn a_server_that_never_answers_the_upgrade_is_given_up_and_dialled_again<L: Lab>(lab: L) {
    let (listener, address) = lab.listen(any_port()).await;
    let mut config = config(address);
    config.connect_timeout = Duration::from_millis(50);
    let (client, mut inbox) = lab.connect_watched(config).await;
    let mute = lab.next(&listener).await;
    for _ in 0..2 {
        let lost = connection(&mut inbox).await;
        assert!(matches!(lost, ConnectionEvent::Disconnected { reason: LossReason::ConnectTimeout, .. }), "{lost:?}");
    }
    drop(mute);
    client.close().await;
}

async fn a_refused_upgrade_names_the_status<L: Lab>(lab: L) {
    let (listener, address) = lab.listen(any_port()).await;
    let mut config = config(address);
    config.max_attempts = Some(1);
    let (client, mut inbox) = lab.connect_watched(config).await;
    let mut io = lab.plain(lab.next(&listener).await);
    read_head(&mut io).await;
    io.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnope").await.unwrap();
    let ConnectionEvent::Disconnected { reason: LossReason::Open(error), .. } = connection(&mut inbox).await else {
        panic!("refused");
    };
    assert_eq!(error.status, Some(403));
    assert_eq!(connection(&mut inbox).await, ConnectionEvent::GaveUp { attempts: 1 });

    // Nobody listens there any more.
    drop((listener, io));
    client.connect().await.unwrap();
    let lost = connection(&mut inbox).await;
    assert!(
        matches!(&lost, ConnectionEvent::Disconnected { reason: LossReason::Open(OpenError { status: None, .. }), .. }),
        "{lost:?}"
    );
    client.close().await;
}

/// Trap T94: there are no handlers to attach too late.
async fn a_frame_in_the_segment_of_the_upgrade_is_not_lost<L: Lab>(lab: L) {
    let (listener, address) = lab.listen(any_port()).await;
    let (client, mut inbox) = lab.connect_watched(config(address)).await;
    let mut io = lab.plain(lab.next(&listener).await);
    let head = read_head(&mut io).await;
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = async_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    // A text frame whose content is not a message, so that it shows without a join.
    answer.extend_from_slice(b"\x81\x05hello");
    io.write_all(&answer).await.unwrap();
    assert_eq!(connection(&mut inbox).await, ConnectionEvent::Connected);
    assert!(matches!(connection(&mut inbox).await, ConnectionEvent::Malformed { .. }));
    client.close().await;
}

async fn a_blocking_reader_loses_nothing<L: Lab>(lab: L) {
    let client = lab.connect(config(lab.server().await));
    let inflow = Inflow::Block { capacity: 4 };
    let (room, mut events) = client.join_with("room:lobby", JoinOptions::default(), inflow).await.unwrap();
    events.joined().await.unwrap();
    drop(room.push(Push::new("count", json("5000")).without_reply()).await.unwrap());
    for expected in 0..5000 {
        let got: u32 = message(&mut events).await.parse().unwrap();
        assert_eq!(got, expected);
    }
    client.close().await;
}

async fn a_dropping_reader_hears_exactly_how_much_it_missed<L: Lab>(lab: L) {
    let client = lab.connect(config(lab.server().await));
    let inflow = Inflow::DropOldest { capacity: 10 };
    let (room, mut events) = client.join_with("room:lobby", JoinOptions::default(), inflow).await.unwrap();
    events.joined().await.unwrap();
    drop(room.push(Push::new("count", json("1000")).without_reply()).await.unwrap());
    // The reply comes behind the thousand messages, so they have all been delivered.
    room.push(Push::new("echo", json("1"))).await.unwrap().await.unwrap();
    assert_eq!(events.next().await, Some(ChannelEvent::Lagged { missed: 990 }));
    for expected in 990..1000 {
        let got: u32 = message(&mut events).await.parse().unwrap();
        assert_eq!(got, expected);
    }
    client.close().await;
}

async fn a_reader_that_panics_or_leaves_stops_nobody_else<L: Lab>(lab: L) {
    let client = lab.connect(config(lab.server().await));
    let inflow = Inflow::Block { capacity: 1 };
    let (one, events) = client.join_with("room:one", JoinOptions::default(), inflow).await.unwrap();
    drop(events);
    let (two, mut events) = client.join("room:two", JoinOptions::default()).await.unwrap();
    events.joined().await.unwrap();
    for room in [&one, &two] {
        drop(room.push(Push::new("count", json("100")).without_reply()).await.unwrap());
        assert_eq!(room.push(Push::new("echo", json("1"))).await.unwrap().await, Ok(PushOutcome::Ok(json("1"))));
    }
    client.close().await;
}

async fn dropping_the_last_channel_handle_leaves_after_what_was_pushed<L: Lab>(lab: L) {
    let client = lab.connect(config(lab.server().await));
    let (room, mut events) = client.join("room:lobby", JoinOptions::default()).await.unwrap();
    events.joined().await.unwrap();
    let ticket = room.push(Push::new("echo", json("1"))).await.unwrap();
    drop(room.clone());
    drop(room);
    // It was sent; whether the reply overtakes the leave is the server's business.
    assert!(matches!(ticket.await, Ok(PushOutcome::Ok(_) | PushOutcome::Unknown)));
    assert!(matches!(events.next().await, Some(ChannelEvent::Closed { .. })));
    assert!(client.join("room:lobby", JoinOptions::default()).await.is_ok(), "the topic is free again");
    client.close().await;
}

async fn closing_ends_every_stream_with_a_reason<L: Lab>(lab: L) {
    let (client, mut inbox) = lab.connect_watched(config(lab.server().await)).await;
    let (room, mut events) = client.join("room:lobby", JoinOptions::default()).await.unwrap();
    events.joined().await.unwrap();
    client.close().await;
    assert!(matches!(events.next().await, Some(ChannelEvent::Closed { .. })));
    assert_eq!(events.next().await, None);
    while let Some(event) = inbox.next().await {
        if event == InboxEvent::Connection(ConnectionEvent::Closed) {
            break;
        }
    }
    assert_eq!(inbox.next().await, None, "nothing comes after Closed");
    assert!(room.push(Push::new("echo", json("1"))).await.is_err());
    assert!(client.state().await.is_err());
}

async fn a_message_over_the_limit_is_refused_here_and_one_below_it_passes<L: Lab>(lab: L) {
    let mut config = config(lab.server().await);
    config.limits.frame_bytes = 4096;
    let client = lab.connect(config);
    let (room, mut events) = client.join("room:lobby", JoinOptions::default()).await.unwrap();
    events.joined().await.unwrap();
    let big = Payload::json(&"x".repeat(5000)).unwrap();
    assert!(room.push(Push::new("echo", big)).await.unwrap().await.is_err(), "refused here, so never sent");
    let fits = Payload::json(&"x".repeat(3900)).unwrap();
    assert_eq!(room.push(Push::new("echo", fits.clone())).await.unwrap().await, Ok(PushOutcome::Ok(fits)));
    client.close().await;
}

async fn wss_works_with_a_trusted_certificate_and_only_with_one<L: Lab>(lab: L) {
    let (server, trusting) = certified();
    let (listener, address) = lab.listen(any_port()).await;
    let hosts = lab.clone();
    lab.spawn(Box::pin(async move {
        loop {
            let tcp = hosts.next(&listener).await;
            if let Some(io) = hosts.encrypted(server.clone(), tcp).await
                && let Ok(accepted) = accept(io, &AcceptOptions::default()).await
            {
                hosts.host(accepted).await;
            }
        }
    }));
    let url = format!("wss://localhost:{}/socket", address.port());
    let mut secure = rejoin_core::phoenix::Config::new(&url).unwrap();
    secure.max_attempts = Some(1);

    let (wary, mut inbox) = lab.connect_watched(secure.clone()).await;
    let ConnectionEvent::Disconnected { reason: LossReason::Open(error), .. } = connection(&mut inbox).await else {
        panic!("a certificate that nobody vouches for is refused");
    };
    assert!(error.message.contains("TLS"), "{error}");
    wary.close().await;

    let client = lab.connect_on(lab.runtime(Some(trusting)), secure);
    let (room, mut events) = client.join("room:lobby", JoinOptions::default()).await.unwrap();
    events.joined().await.unwrap();
    let long = Payload::json(&"x".repeat(100_000)).unwrap();
    assert_eq!(room.push(Push::new("echo", long.clone())).await.unwrap().await, Ok(PushOutcome::Ok(long)));
    client.close().await;
}

async fn bursts_arrive_whole_and_in_order<L: Lab>(lab: L) {
    let client = lab.connect(config(lab.server().await));
    let (room, mut events) = client.join("room:lobby", JoinOptions::default()).await.unwrap();
    events.joined().await.unwrap();
    // More than the queues of commands, frames and replies hold together.
    let sender = room.clone();
    let (tickets, sent) = async_channel::bounded(2000);
    lab.spawn(Box::pin(async move {
        for n in 0..20_000 {
            let ticket = sender.push(Push::new("echo", Payload::json(&n).unwrap())).await.unwrap();
            tickets.send((n, ticket)).await.unwrap();
        }
    }));
    let mut count = 0;
    while let Ok((n, ticket)) = sent.recv().await {
        assert_eq!(ticket.await, Ok(PushOutcome::Ok(Payload::json(&n).unwrap())));
        count += 1;
    }
    assert_eq!(count, 20_000);
    let mebibyte = Payload::json(&"ž".repeat(1 << 19)).unwrap();
    assert_eq!(room.push(Push::new("echo", mebibyte.clone())).await.unwrap().await, Ok(PushOutcome::Ok(mebibyte)));
    client.close().await;
}

fn json(text: &str) -> Payload {
    Payload::from_json_text(text).unwrap()
}

async fn message(events: &mut Events) -> Payload {
    match events.next().await {
        Some(ChannelEvent::Message { payload, .. }) => payload,
        other => panic!("a message was expected, not {other:?}"),
    }
}

async fn connection(inbox: &mut Inbox) -> ConnectionEvent {
    match inbox.next().await {
        Some(InboxEvent::Connection(event)) => event,
        other => panic!("a connection event was expected, not {other:?}"),
    }
}

async fn read_head(io: &mut (impl futures_util::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        io.read_exact(&mut byte).await.unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}
