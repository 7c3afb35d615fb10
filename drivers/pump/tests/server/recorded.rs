//! What recorded clients said to Phoenix is said to a server of ours, which gives the recorded answers:
//! statuses of upgrades, frames of every client in their order, and close codes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use futures_util::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use rejoin_core::Frame;
use rejoin_core::wire::Serializer;
use rejoin_pump::Runtime;
use rejoin_pump::memory::{MemoryIo, MemoryRuntime, network};
use rejoin_pump::server::{Endpoint, Server, ServerOptions};
use rejoin_recording::{Dir, Row};
use rejoin_sim::replay::recordings;
use serde_json::Value;

use crate::lab::{Tasks, secs, serve};
use crate::recorded_app::{Good, Recorded, RecordedRoom};
use crate::rig::Rig;

/// Conversations that a server of ours has otherwise, and why.
const OTHERWISE: [(&str, &str); 4] = [
    ("auth_token_longpoll", "long-poll: rejoin-sim tells it again"),
    ("join_timeout", "Phoenix holds the whole socket up while a join is decided; ours lets a given-up join go"),
    ("longpoll", "long-poll: rejoin-sim tells it again"),
    ("longpoll_raw", "long-poll: rejoin-sim tells it again"),
];

#[test]
fn every_recorded_client_gets_the_recorded_answers() {
    let (mut played, mut lines) = (0, 0);
    for (name, rows) in recordings("phoenix") {
        if OTHERWISE.iter().any(|(otherwise, _)| *otherwise == name) {
            continue;
        }
        let mut player = Player::new(&rows);
        for row in rows.iter().filter(|row| row.conn.is_some()) {
            player.play(&name, row);
        }
        let (said, expected) = player.finish();
        assert_eq!(said, expected, "{name}");
        played += 1;
        lines += expected.values().map(Vec::len).sum::<usize>();
    }
    assert_eq!(played + OTHERWISE.len(), 45);
    assert!(lines > 250, "{lines}");
}

#[test]
fn what_is_otherwise_is_recorded_and_indeed_otherwise() {
    for (name, why) in OTHERWISE {
        let (_, rows) = recordings("phoenix").into_iter().find(|(found, _)| found == name).expect(name);
        let is_socket = rows.iter().any(|row| row.kind == "upgrade");
        assert_eq!(is_socket, !why.starts_with("long-poll"), "{name}");
        if is_socket {
            let mut player = Player::new(&rows);
            rows.iter().filter(|row| row.conn.is_some()).for_each(|row| player.play(name, row));
            let (said, expected) = player.finish();
            assert_ne!(said, expected, "{name} can be played after all ({why})");
        }
    }
}

/// Lines by connection.
type Lines = BTreeMap<u64, Vec<String>>;

struct Player {
    rig: Rig,
    server: Server<MemoryRuntime>,
    app: Recorded,
    path: String,
    /// When this server began, in the recording's milliseconds.
    since: u64,
    now: u64,
    sockets: BTreeMap<u64, Socket>,
    /// Connections whose client has closed: the answer to that says nothing.
    closed: BTreeSet<u64>,
    /// Broadcasts that no client caused.
    broadcast: BTreeSet<String>,
    said: Lines,
    expected: Lines,
    names: [Names; 2],
}

struct Socket {
    websocket: WebSocketStream<MemoryIo>,
    serializer: Serializer,
}

impl Player {
    fn new(rows: &[Row]) -> Self {
        let upgrade =
            rows.iter().find(|row| row.kind == "upgrade").and_then(|row| row.path.clone()).unwrap_or_default();
        let path = ["/short", "/auth"].into_iter().find(|path| upgrade.starts_with(path)).unwrap_or("/socket");
        let is_guarded = path == "/auth" || upgrade.contains("token=");
        let (rig, server, app) = start(path, is_guarded);
        Self {
            rig,
            server,
            app,
            path: path.into(),
            since: 0,
            now: 0,
            sockets: BTreeMap::new(),
            closed: BTreeSet::new(),
            broadcast: BTreeSet::new(),
            said: Lines::new(),
            expected: Lines::new(),
            names: Default::default(),
        }
    }

    fn play(&mut self, name: &str, row: &Row) {
        self.advance(row.t_ms);
        let conn = row.conn.unwrap();
        match (row.kind.as_str(), row.dir.unwrap()) {
            ("upgrade", _) => self.upgrade(conn, row),
            ("upgrade_ok" | "upgrade_rejected", _) => {
                let status = recorded_status(name, conn, row.status.unwrap());
                self.expect(conn, format!("HTTP {status}"));
            }
            ("text" | "binary", Dir::ToServer) => {
                let message = match row.to_frame().unwrap() {
                    Frame::Text(text) => Message::text(text.as_str()),
                    Frame::Binary(bytes) => Message::Binary(bytes),
                };
                self.send(conn, message);
            }
            ("text" | "binary", Dir::ToClient) => self.hear_of(conn, row),
            ("upstream_error", _) if !self.expected.contains_key(&conn) => {
                // The recorded server was still away; this one is back already.
                self.sockets.remove(&conn);
                self.said.remove(&conn);
            }
            ("close", Dir::ToServer) => self.close(name, conn, row),
            ("close", Dir::ToClient) if !self.closed.contains(&conn) && row.code != Some(1006) => {
                let code = row.code.unwrap();
                self.expect(conn, format!("close {code}"));
                if code == 1012 {
                    self.restart();
                }
                self.closed.insert(conn);
            }
            _ => {}
        }
        self.listen();
    }

    fn finish(mut self) -> (Lines, Lines) {
        self.advance(self.now + 3_000);
        self.listen();
        (self.said, self.expected)
    }

    fn advance(&mut self, t_ms: u64) {
        let by = t_ms.saturating_sub(self.now.max(self.since));
        self.rig.advance(Duration::from_millis(by));
        self.now = self.now.max(t_ms);
        self.listen();
    }

    fn upgrade(&mut self, conn: u64, row: &Row) {
        let mut io = self.rig.runtime.dial("recorded".into(), 80, false).now_or_never().unwrap().unwrap();
        let path = row.path.as_deref().unwrap();
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: recorded\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        );
        if let Some(protocols) = row.rest["headers"]["sec-websocket-protocol"].as_str() {
            request += &format!("Sec-WebSocket-Protocol: {protocols}\r\n");
        }
        request += "\r\n";
        io.write_all(request.as_bytes()).now_or_never().unwrap().unwrap();
        self.rig.settle();
        let mut head = [0; 4096];
        let len = io.read(&mut head).now_or_never().expect("it is answered at once").unwrap();
        let head = std::str::from_utf8(&head[..len]).unwrap();
        let status = &head["HTTP/1.1 ".len()..][..3];
        self.said.entry(conn).or_default().push(format!("HTTP {status}"));
        if status == "101" {
            let websocket = WebSocketStream::from_raw_socket(io, Role::Client, None).now_or_never().unwrap();
            let serializer = rejoin_core::phoenix::serializer_of(path).unwrap();
            self.sockets.insert(conn, Socket { websocket, serializer });
        }
    }

    fn send(&mut self, conn: u64, message: Message) {
        let socket = self.sockets.get_mut(&conn).expect("it is connected");
        let mut sending = Box::pin(socket.websocket.send(message));
        for _ in 0..100 {
            // One that the server has closed finds out when it listens.
            if sending.as_mut().now_or_never().is_some() {
                break;
            }
            self.rig.settle();
        }
        drop(sending);
        self.rig.settle();
        self.app.run_later();
    }

    /// The recorded server said something to this client.
    fn hear_of(&mut self, conn: u64, row: &Row) {
        let serializer = self.sockets[&conn].serializer;
        let frame = row.to_frame().unwrap();
        let message = serializer.decode_from_server(frame.clone()).unwrap();
        if ["api", "bin"].contains(&message.event.as_str()) && self.broadcast.insert(message.event.to_string()) {
            // Somebody asked for it who is not recorded.
            self.server.broadcast(message.topic.clone(), message.event.clone(), message.payload.clone());
        }
        if let Some(line) = self.names[1].line(serializer, frame) {
            self.expect(conn, line);
        }
    }

    fn close(&mut self, name: &str, conn: u64, row: &Row) {
        if name == "v1_with_binary_broadcast" {
            // That is what its note says, and that it hears nothing of it.
            let bytes = rejoin_core::Payload::binary(vec![9, 8, 7].into());
            assert_eq!(self.server.broadcast("room:lobby", "bin", bytes), 0);
        }
        if row.code == Some(1006) {
            self.sockets.remove(&conn);
            self.rig.settle();
        } else if self.closed.insert(conn) {
            let code = row.code.filter(|code| *code != 1005);
            let frame = code.map(|code| CloseFrame { code: code.into(), reason: row.reason.clone().unwrap().into() });
            self.send(conn, Message::Close(frame));
        }
    }

    /// The server stops, and another one takes its place.
    fn restart(&mut self) {
        let server = self.server.clone();
        self.rig.spawn(async move { assert_eq!(server.shutdown(secs(3)).await.cut, 0) });
        self.listen();
        self.listen();
        assert_eq!(self.server.counts().connections, 0);
        (self.rig, self.server, self.app) = start(&self.path, false);
        self.since = self.now;
    }

    fn listen(&mut self) {
        self.rig.settle();
        for (conn, Socket { websocket, serializer }) in &mut self.sockets {
            while let Some(Some(Ok(message))) = websocket.next().now_or_never() {
                let frame = match message {
                    Message::Text(text) => Frame::Text(text.as_str().into()),
                    Message::Binary(bytes) => Frame::Binary(bytes),
                    Message::Close(frame) => {
                        let code = frame.map_or(1005, |frame| frame.code.into());
                        if !self.closed.contains(conn) {
                            self.said.entry(*conn).or_default().push(format!("close {code}"));
                        }
                        continue;
                    }
                    _ => continue,
                };
                let line = self.names[0].line(*serializer, frame);
                self.said.entry(*conn).or_default().extend(line);
                self.rig.settle();
            }
        }
        self.rig.settle();
    }

    fn expect(&mut self, conn: u64, line: String) {
        self.expected.entry(conn).or_default().push(line);
    }
}

fn start(path: &str, is_guarded: bool) -> (Rig, Server<MemoryRuntime>, Recorded) {
    let (runtime, listener) = network();
    let app = Recorded::new(runtime.clone());
    let mut options = ServerOptions::default();
    options.path = path.into();
    if path == "/short" {
        options.session.idle_timeout = Some(secs(2));
    }
    let mut endpoint = Endpoint::new(app.clone()).channel::<RecordedRoom>("room:*").options(options);
    if is_guarded {
        endpoint = endpoint.verifier(Good);
    }
    let (rig, server) = serve(endpoint, runtime, listener, &Tasks::new());
    (rig, server, app)
}

/// What was answered, but where ours differs on purpose.
fn recorded_status(name: &str, conn: u64, status: u16) -> u16 {
    match (name, conn) {
        // Phoenix fails on a token that is no base64; to ours there is none.
        ("auth_token_ws_bad", 5) => 403,
        _ => status,
    }
}

/// Names that a server makes up, by the order in which they were first heard.
#[derive(Default)]
struct Names(BTreeMap<String, usize>);

impl Names {
    /// A message without what a server makes up; `None` for what a channel of ours says otherwise.
    fn line(&mut self, serializer: Serializer, frame: Frame) -> Option<String> {
        let said = serializer.decode_from_server(frame).unwrap();
        let (status, payload) = match said.as_reply() {
            Some(reply) => (reply.status.to_string(), reply.response.clone()),
            None => (String::new(), said.payload.clone()),
        };
        let shown = match payload.parse::<Value>() {
            // An answer that came after later ones.
            Ok(value) if value.get("slept").is_some() => return None,
            // What a Phoenix process knows of itself.
            Ok(value) if value.get("serializer").is_some() => "{}".into(),
            Ok(mut value) => {
                self.rename(&mut value);
                value.to_string()
            }
            Err(_) => format!("{:?}", payload.as_bytes()),
        };
        Some(format!("{:?} {:?} {} {} {status} {shown}", said.join_ref, said.reference, said.topic, said.event))
    }

    fn rename(&mut self, value: &mut Value) {
        let Value::Object(members) = value else { return };
        for (name, value) in members {
            match name.as_str() {
                "phx_ref" | "phx_ref_prev" => {
                    let next = self.0.len();
                    let number = *self.0.entry(value.to_string()).or_insert(next);
                    *value = format!("ref {number}").into();
                }
                "online_at" => *value = 0.into(),
                "metas" => value.as_array_mut().into_iter().flatten().for_each(|meta| self.rename(meta)),
                _ => self.rename(value),
            }
        }
    }
}
