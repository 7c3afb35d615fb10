//! A Supabase client over real sockets, and a server that lets everybody in and sends everything back.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use async_channel::{Receiver, Sender};
use rejoin_core::phoenix::{LossReason, PushOutcome, ServerConfig, ServerEvent, Status};
use rejoin_core::supabase::{AccessToken, Broadcast, ChannelConfig, Config};
use rejoin_core::{Backoff, ConnId, Payload};
use rejoin_pump::supabase::{ChannelEvent, ConnectOptions, ConnectionEvent, Listen, Listener};
use rejoin_pump::{AcceptOptions, Accepted, Runtime, TokenProviderError, UpgradeRequest, accept, serve};

use super::json;
use super::lab::{Lab, Smol, Tokio, any_port};

on_both_runtimes![
    broadcasts_leave_in_binary_are_acknowledged_and_arrive_in_either_form,
    a_subscription_whose_socket_is_cut_comes_back_and_tells_of_its_gap,
    tokens_of_an_async_function_are_joined_with_and_renewed,
    a_refused_upgrade_is_told_with_its_status_and_its_text,
];

async fn broadcasts_leave_in_binary_are_acknowledged_and_arrive_in_either_form<L: Lab>(lab: L) {
    let (address, seen) = server(&lab).await;
    let client = lab.connect_supabase(config(address), ConnectOptions::default());
    let room = client.channel("room", ChannelConfig::default().broadcast_ack()).unwrap();
    let mut cursors = room.listen(Listen::broadcast("cursor")).await.unwrap();
    room.subscribe().await.unwrap();
    cursors.subscribed().await.unwrap();
    for payload in [json(r#"{"x":1.50,"hello":"wörld 🐎"}"#), Payload::binary(vec![0, 255, 7].into())] {
        let ticket = room.broadcast(Broadcast::new("cursor", payload.clone())).await.unwrap();
        assert_eq!(ticket.await, Ok(PushOutcome::Ok(Payload::EMPTY)));
        assert_eq!(seen.recv().await, Ok(Seen::UserBroadcast(payload.clone())));
        assert_eq!(broadcast(&mut cursors).await, payload);
    }
    // What the server sends as text is the same to whoever listens.
    drop(room.broadcast(Broadcast::new("as text", json("[1,2]"))).await.unwrap());
    assert_eq!(broadcast(&mut cursors).await, json("[1,2]"));
    client.close().await;
}

async fn a_subscription_whose_socket_is_cut_comes_back_and_tells_of_its_gap<L: Lab>(lab: L) {
    let began = SystemTime::now();
    let (address, _seen) = server(&lab).await;
    let client = lab.connect_supabase(config(address), ConnectOptions::default());
    let room = client.channel("room", ChannelConfig::default().broadcast_ack()).unwrap();
    let mut events = room.listen(Listen::everything()).await.unwrap();
    room.subscribe().await.unwrap();
    events.subscribed().await.unwrap();
    for _ in 0..3 {
        let cut = room.broadcast(Broadcast::new("cut", Payload::EMPTY)).await.unwrap();
        assert_eq!(cut.await, Ok(PushOutcome::Unknown));
        assert!(matches!(events.next().await, Some(ChannelEvent::Errored { .. })));
        let waiting = room.broadcast(Broadcast::new("e", json("7"))).await.unwrap();
        assert_eq!(events.next().await, Some(ChannelEvent::Subscribed { again: true }));
        let Some(ChannelEvent::Gap { since, until }) = events.next().await else { panic!("a gap was expected") };
        // The two ends are told by different looks at the clock.
        let tolerance = Duration::from_millis(100);
        assert!(began < since + tolerance && since <= until && until < SystemTime::now() + tolerance);
        assert_eq!(broadcast(&mut events).await, json("7"));
        assert_eq!(waiting.await, Ok(PushOutcome::Ok(Payload::EMPTY)));
    }
    client.close().await;
}

async fn tokens_of_an_async_function_are_joined_with_and_renewed<L: Lab>(lab: L) {
    let (address, seen) = server(&lab).await;
    let (give, given) = async_channel::bounded::<AccessToken>(1);
    let provider = move || {
        let given = given.clone();
        async move { given.recv().await.map(Some).map_err(|_| TokenProviderError::from("the test is over")) }
    };
    let client = lab.connect_supabase(config(address), ConnectOptions::default().token_provider(provider));
    let room = client.channel("room", ChannelConfig::default().private()).unwrap();
    let mut events = room.listen(Listen::status()).await.unwrap();
    room.subscribe().await.unwrap();
    let tokens = [token(1), token(2)];
    give.send(tokens[0].clone()).await.unwrap();
    events.subscribed().await.unwrap();
    assert_eq!(seen.recv().await, Ok(Seen::Token(tokens[0].expose().into())));
    client.refresh_auth().await.unwrap();
    give.send(tokens[1].clone()).await.unwrap();
    assert_eq!(seen.recv().await, Ok(Seen::Token(tokens[1].expose().into())));
    client.close().await;
}

async fn a_refused_upgrade_is_told_with_its_status_and_its_text<L: Lab>(lab: L) {
    let (listener, address) = lab.listen(any_port()).await;
    let mut config = config(address);
    config.phoenix.max_attempts = Some(1);
    let mut options = ConnectOptions::default();
    options.connect = false;
    let client = lab.connect_supabase(config, options);
    let mut events = client.connection_events().await.unwrap();
    client.connect().await.unwrap();
    let request = UpgradeRequest::read(lab.plain(lab.next(&listener).await)).await.unwrap();
    assert!(request.target().starts_with("/socket/websocket?apikey=sb_publishable_key&vsn=2.0.0"));
    drop(request.refuse(401, r#"{"error":"Token has expired"}"#).await);
    let Some(ConnectionEvent::Disconnected { reason: LossReason::Open(error), retry_in: None }) = events.next().await
    else {
        panic!("refused for good");
    };
    assert_eq!((error.status, error.message.as_str()), (Some(401), r#"{"error":"Token has expired"}"#));
    client.close().await;
}

/// Impatient, so that tests are quick.
fn config(address: SocketAddr) -> Config {
    let mut config = Config::new(&format!("ws://{address}/socket"), "sb_publishable_key").unwrap();
    config.phoenix.reconnect = Backoff::Steps(vec![Duration::from_millis(20)]);
    config.phoenix.close_timeout = Duration::from_secs(2);
    config
}

/// A user's token that does not expire while a test runs; those of other users differ.
fn token(user: i64) -> AccessToken {
    AccessToken::new(rejoin_sim::supabase::token("authenticated", 4_102_444_800 + user)).unwrap()
}

async fn broadcast(events: &mut Listener) -> Payload {
    match events.next().await {
        Some(ChannelEvent::Broadcast { payload, .. }) => payload,
        other => panic!("a broadcast was expected, not {other:?}"),
    }
}

/// What the server has noticed.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// In the binary form.
    UserBroadcast(Payload),
    /// Joined with or renewed.
    Token(String),
}

async fn server<L: Lab>(lab: &L) -> (SocketAddr, Receiver<Seen>) {
    let (listener, address) = lab.listen(any_port()).await;
    let (sender, seen) = async_channel::unbounded();
    let hosts = lab.clone();
    lab.spawn(Box::pin(async move {
        loop {
            let io = hosts.plain(hosts.next(&listener).await);
            if let Ok(accepted) = accept(io, &AcceptOptions::default()).await {
                hosts.spawn(Box::pin(host(hosts.clone(), accepted, sender.clone())));
            }
        }
    }));
    (address, seen)
}

/// Serves one socket until it ends: `cut` drops it without a word, `as text` comes back as text and
/// as a `cursor`, every other broadcast as it was.
async fn host<L: Lab>(lab: L, accepted: Accepted<<L::Runtime as Runtime>::Io>, seen: Sender<Seen>) {
    let mut config = ServerConfig::new(accepted.serializer);
    config.user_broadcasts = true;
    let (peer, mut events, pump) = serve(accepted.websocket, ConnId::new(1), config, lab.runtime(None));
    let (cut, cuts) = async_channel::bounded::<()>(1);
    lab.spawn(Box::pin(async move {
        // Dropping the pump drops the socket.
        futures_lite::future::or(pump, async { cuts.recv().await.unwrap_or_default() }).await;
    }));
    while let Some(event) = events.next().await {
        match event {
            ServerEvent::Join { join, payload, .. } => {
                note_token(&seen, &payload);
                let _ = peer.accept_join(join, Payload::EMPTY);
            }
            ServerEvent::Push { payload, .. } => note_token(&seen, &payload),
            ServerEvent::UserBroadcast { event, .. } if event == "cut" => drop(cut.send(()).await),
            ServerEvent::UserBroadcast { channel, event, payload, reply, .. } => {
                let _ = peer.reply(reply, Status::Ok, Payload::EMPTY);
                if event == "as text" {
                    let inner = payload.as_json().expect("JSON").to_owned();
                    let text = format!(r#"{{"type":"broadcast","event":"cursor","payload":{inner}}}"#);
                    let _ = peer.push(channel, "broadcast", json(&text));
                } else {
                    let _ = seen.try_send(Seen::UserBroadcast(payload.clone()));
                    let _ = peer.push_user_broadcast(channel, event, None, payload);
                }
            }
            _ => {}
        }
    }
}

fn note_token(seen: &Sender<Seen>, payload: &Payload) {
    let payload: serde_json::Value = payload.parse().expect("JSON");
    if let Some(token) = payload["access_token"].as_str() {
        let _ = seen.try_send(Seen::Token(token.into()));
    }
}
