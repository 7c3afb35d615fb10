//! What the fuzz targets call; `tests/fuzz_smoke.rs` calls it too, with random input.

mod hub;
mod naive_presence;
mod rows;
mod server;
mod token;
mod upgrade;

use std::collections::BTreeSet;
use std::time::Duration;

pub use hub::hub;
pub use naive_presence::{Shown, follow, presence, shown};
use rejoin_core::http::{HttpError, HttpId, HttpMethod, HttpRequest, HttpResponse};
use rejoin_core::phoenix::{JoinOptions, LongPoll, LongPollBody, LongPollConfig, LongPollPeer, Push, Session};
use rejoin_core::wire::{DecodeError, Message, Serializer};
use rejoin_core::{ConnId, ConnectRequest, Frame, Machine, Payload, Text, Timestamp, TransportAction, TransportEvent};
pub use rows::{postgres_change, postgres_filter};
pub use server::server_ops;
pub use token::token;
pub use upgrade::upgrade;

use crate::app::numbered;
use crate::op::{Op, Scrap, Timed, Topic};
use crate::rng::Rng;
use crate::script::config;
use crate::storm::Storm;
use crate::supabase_storm::{SupabaseStorm, Treatment};
use crate::weather::Climate;

/// Reads a text frame of vsn 1.0.0; what can be read survives writing and reading.
pub fn decode_v1(data: &[u8]) {
    survives(Serializer::V1, &text(data));
}

/// The same for vsn 2.0.0.
pub fn decode_v2(data: &[u8]) {
    survives(Serializer::V2, &text(data));
}

/// The same for binary frames.
pub fn decode_binary(data: &[u8]) {
    survives(Serializer::V2, &Frame::Binary(data.to_vec().into()));
}

/// A message that either serializer can say is the same message in both.
#[expect(clippy::missing_panics_doc, reason = "panicking is how a fuzz target speaks")]
pub fn roundtrip_v1_v2(data: &[u8]) {
    // What is not UTF-8 no WebSocket library passes on, and the two scanners need not agree on it.
    let Ok(utf8) = std::str::from_utf8(data) else { return };
    let Ok(message) = Serializer::V2.decode_from_client(Frame::Text(utf8.into())) else { return };
    // The payload was left unread; one that is not JSON is nobody's to write on.
    if Payload::from_json_text(message.payload.as_json().unwrap_or_default()).is_err() {
        return;
    }
    let v1 = Serializer::V1.encode_from_client(&message).expect("JSON fits vsn 1");
    let v2 = Serializer::V2.encode_from_client(&message).expect("JSON fits vsn 2");
    let from_v1 = Serializer::V1.decode_from_client(v1);
    let from_v2 = Serializer::V2.decode_from_client(v2);
    assert_eq!(from_v1, from_v2);
    assert!(from_v1.is_ok_and(|again| same(&again, &message)), "{message:?}");
}

/// A client alone, under any commands, any transport events and any frames.
pub fn session_ops(ops: &[Timed], scraps: &[Scrap]) {
    let mut session = Session::new(config(), Timestamp::ZERO);
    let (mut now, mut conns, mut rng) = (Timestamp::ZERO, 1, Rng::new(ops.len() as u64));
    session.connect(now);
    for (n, Timed { after_ms, op }) in ops.iter().enumerate() {
        now = now.saturating_add(Duration::from_millis((*after_ms).into()));
        command(&mut session, now, op);
        let conn = ConnId::new(1 + rng.below(conns));
        let event = match rng.below(8) {
            0..3 => TransportEvent::Opened { conn: ConnId::new(conns) },
            3 => TransportEvent::Closed { conn, code: Some(rng.number() as u16), reason: Text::EMPTY },
            _ => {
                let scrap = scraps.get(n % scraps.len().max(1)).cloned().unwrap_or(Scrap::Text(Vec::new()));
                TransportEvent::Received { conn: ConnId::new(conns), frame: scrap.frame(Serializer::V2, true) }
            }
        };
        session.handle_transport(now, event);
        if rng.chance(500) {
            session.handle_timeout(now);
            assert!(session.poll_timeout().is_none_or(|at| at > now), "a deadline is left behind");
        }
        while rng.chance(800)
            && let Some(action) = session.poll_transport()
        {
            if let TransportAction::Open(request) = action {
                conns = request.conn.get();
            }
        }
        while rng.chance(900) && session.poll_event().is_some() {}
    }
    session.close(now);
    session.handle_timeout(now.saturating_add(Duration::from_secs(10)));
    while session.poll_transport().is_some() || session.poll_event().is_some() {}
    assert!(session.is_finished(), "{:?}", session.state());
}

/// A client and its servers in hostile weather; a crash is a [`Storm`] to paste into a test.
#[expect(clippy::missing_panics_doc, reason = "panicking is how a fuzz target speaks")]
pub fn pair_ops(seed: u64, ops: &[Timed], lawful: bool) {
    let climate = if lawful { Climate::Lawful } else { Climate::Hostile };
    let storm = Storm { seed, climate, ops: ops.to_vec() };
    if let Err(what) = storm.run() {
        panic!("{what}\n{storm:?}");
    }
}

/// A Supabase session and the scripted Supabase in any weather; each choice is one operation.
#[expect(clippy::missing_panics_doc, reason = "panicking is how a fuzz target speaks")]
pub fn supabase_ops(seed: u64, choices: &[u32], lawful: bool) {
    let climate = if lawful { Climate::Lawful } else { Climate::Hostile };
    let storm = SupabaseStorm::of_choices(seed, climate, choices);
    if let Err(what) = storm.run(Treatment::PLAIN) {
        panic!("{what}\n{storm:?}");
    }
}

/// The two halves of long-poll, each alone: any answers to the client's, any exchanges to the server's.
pub fn longpoll(choices: &[(u8, Vec<u8>)]) {
    let frame = |bytes: &[u8]| match bytes.first() {
        Some(b'[' | b'{') => Frame::Text(String::from_utf8_lossy(bytes).into_owned().into()),
        _ => Frame::Binary(bytes.to_vec().into()),
    };
    client_half(choices, frame);
    server_half(choices, frame);
}

fn client_half(choices: &[(u8, Vec<u8>)], frame: impl Fn(&[u8]) -> Frame) {
    let conn = ConnId::new(1);
    let mut client = LongPoll::new(ConnectRequest::new(conn, "http://sim/longpoll", Duration::ZERO), 1_000);
    let (mut under_way, mut over): (Vec<HttpRequest>, bool) = (Vec::new(), false);
    for (choice, bytes) in choices {
        match choice % 8 {
            0 | 1 => client.send(frame(bytes)),
            2 if *choice > 250 => client.close(),
            _ if under_way.is_empty() => {}
            kind => {
                let request = under_way.remove(usize::from(*choice) % under_way.len());
                client.handle_response(
                    request.id,
                    match (kind, request.method) {
                        (3, _) => Err(HttpError::TimedOut),
                        (4, _) => Ok(HttpResponse::new(u16::from(*choice) * 3, bytes.clone())),
                        (5, _) => Ok(HttpResponse::new(200, bytes.clone())),
                        (_, HttpMethod::Post) => Ok(HttpResponse::new(200, r#"{"status":200}"#)),
                        _ if client.is_ready() || under_way.iter().any(|other| other.method == HttpMethod::Post) => {
                            let messages = [String::from_utf8_lossy(bytes)];
                            let body = serde_json::json!({"status": 200, "messages": messages, "token": "t"});
                            Ok(HttpResponse::new(200, body.to_string()))
                        }
                        _ => Ok(HttpResponse::new(200, r#"{"status":410,"messages":[],"token":"t"}"#)),
                    },
                );
            }
        }
        while let Some(event) = client.poll_event() {
            assert!(!over, "{event:?} after the end");
            over = matches!(event, TransportEvent::Closed { .. } | TransportEvent::OpenFailed { .. });
        }
        while let Some(request) = client.poll_request() {
            assert!(!over, "{request:?} after the end");
            assert!(
                request.body.split(|byte| *byte == b'\n').count() <= 100 || request.headers[0].1 == "application/json"
            );
            under_way.push(request);
        }
        let gets = under_way.iter().filter(|request| request.method == HttpMethod::Get).count();
        assert!(over || (gets <= 1 && under_way.len() <= 2), "{under_way:?}");
    }
}

fn server_half(choices: &[(u8, Vec<u8>)], frame: impl Fn(&[u8]) -> Frame) {
    let (conn, mut now) = (ConnId::new(1), Timestamp::ZERO);
    let mut config = LongPollConfig::default();
    (config.outbox_messages, config.outbox_bytes, config.body_bytes) = (8, 200, 100);
    let mut peer = LongPollPeer::new(config, conn, "t", now);
    let (mut open, mut over) = (BTreeSet::new(), false);
    for (n, (choice, bytes)) in (1..).zip(choices) {
        let id = HttpId::new(n);
        now = now.saturating_add(Duration::from_millis(u64::from(*choice) * 20));
        match choice % 8 {
            0 | 1 => {
                open.insert(id);
                peer.poll(now, id);
            }
            2 | 3 => {
                open.insert(id);
                let kind = if choice % 16 < 8 { LongPollBody::Lines } else { LongPollBody::Whole };
                peer.push(now, id, kind, &bytes.clone().into());
            }
            4 | 5 => peer.handle_action(now, TransportAction::Send { conn, frame: frame(bytes) }),
            6 if *choice > 240 => {
                peer.handle_action(now, TransportAction::Close { conn, code: 1000, reason: Text::EMPTY });
            }
            6 if *choice > 220 => peer.handle_action(now, TransportAction::Abort { conn }),
            6 => {
                let given_up = HttpId::new(n.saturating_sub((*choice / 32).into()));
                open.remove(&given_up);
                peer.hung_up(given_up);
            }
            _ => {
                peer.handle_timeout(now);
                assert!(peer.poll_timeout().is_none_or(|at| at > now), "a deadline is left behind");
            }
        }
        while let Some(event) = peer.poll_event() {
            assert!(!over, "{event:?} after the end");
            over = matches!(event, TransportEvent::Closed { .. });
        }
        while let Some((id, response)) = peer.poll_response() {
            assert!(open.remove(&id), "{id:?} is answered twice, or was never asked");
            let said: Result<serde_json::Value, _> = serde_json::from_slice(&response.body);
            assert!(response.status != 200 || said.is_ok_and(|said| said["status"].is_u64()), "{response:?}");
        }
    }
    peer.handle_action(now, TransportAction::Abort { conn });
    while peer.poll_event().is_some() || peer.poll_response().is_some() {}
    while let Some(at) = peer.poll_timeout() {
        peer.handle_timeout(at);
        while peer.poll_response().is_some() {}
    }
    assert!(peer.is_finished());
}

/// The operations that need nobody but the client.
fn command(session: &mut Session, now: Timestamp, op: &Op) {
    let find = |session: &Session, topic: &Topic| {
        let mut channels = session.channels();
        channels.find(|(_, name, _)| **name == topic.name().as_str()).map(|(id, ..)| id)
    };
    match op {
        Op::Connect => session.connect(now),
        Op::Disconnect => session.disconnect(now),
        Op::Reconnect => session.reconnect(now),
        Op::Probe => session.probe(now),
        Op::Join { topic } => drop(session.join(now, topic.name(), JoinOptions::default())),
        Op::Leave { topic } => {
            if let Some(id) = find(session, topic) {
                let _gone = session.leave(now, id);
            }
        }
        Op::Push { topic, event, reply, binary, .. } => {
            if let Some(id) = find(session, topic) {
                let mut push = Push::new(event.name(), numbered(1, *binary));
                push.wants_reply = *reply;
                drop(session.push(now, id, push).map(|push| {
                    if topic.0 == 1 {
                        session.cancel(push)
                    }
                }));
            }
        }
        Op::Tick { early_ms } => {
            let early = now.as_millis().saturating_sub((*early_ms).into());
            session.handle_timeout(Timestamp::from_millis(early));
        }
        _ => {}
    }
}

fn text(data: &[u8]) -> Frame {
    Frame::Text(Text::assume_utf8(data.to_vec().into()))
}

fn survives(serializer: Serializer, frame: &Frame) {
    type Decode = fn(Serializer, Frame) -> Result<Message, DecodeError>;
    type Encode = fn(Serializer, &Message) -> Result<Frame, rejoin_core::wire::EncodeError>;
    let sides: [(Decode, Encode); 2] = [
        (Serializer::decode_from_client, Serializer::encode_from_client),
        (Serializer::decode_from_server, Serializer::encode_from_server),
    ];
    for (decode, encode) in sides {
        let Ok(mut message) = decode(serializer, frame.clone()) else { continue };
        if message.payload.as_json().is_some_and(|json| Payload::from_json_text(json).is_err()) {
            // Left unread on purpose; whoever writes it on has to look at it first.
            continue;
        }
        if serializer == Serializer::V1 {
            // Servers of vsn 1 send none.
            message.join_ref = None;
        }
        let Ok(frame) = encode(serializer, &message) else { continue };
        let again = decode(serializer, frame);
        assert!(again.as_ref().is_ok_and(|again| same(again, &message)), "{message:?} became {again:?}");
    }
}

/// Equal, texts that are not UTF-8 taken for what they are read as.
fn same(a: &Message, b: &Message) -> bool {
    let refs = |m: &Message| [&m.join_ref, &m.reference].map(|r| r.as_ref().map(|r| r.as_str().to_owned()));
    let utf8 = |text: &Text| std::str::from_utf8(text.as_bytes()).is_ok();
    if !utf8(&b.topic) || !utf8(&b.event) || b.join_ref.iter().chain(&b.reference).any(|r| r.as_str().is_empty()) {
        return true;
    }
    (refs(a), &a.topic, &a.event, &a.status, &a.user_event) == (refs(b), &b.topic, &b.event, &b.status, &b.user_event)
        && a.payload.as_bytes().trim_ascii() == b.payload.as_bytes().trim_ascii()
}
