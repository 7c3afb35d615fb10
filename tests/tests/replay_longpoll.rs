//! The recorded long-poll conversations, lived through again by both halves.
//!
//! The client's half is asked for each recorded request and hears the recorded answer; what comes out of
//! it is the conversation of a socket, which a session is driven through. The server's half hears each
//! recorded request and has to answer as recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rejoin_core::http::{HttpError, HttpId, HttpMethod, HttpRequest, HttpResponse};
use rejoin_core::phoenix::{
    LongPoll, LongPollCall, LongPollConfig, LongPollPeer, LongPollResponse, RequestHead, ServerConfig, UpgradeConfig,
};
use rejoin_core::wire::Serializer;
use rejoin_core::{ConnId, ConnectRequest, Frame, Machine, Text, Timestamp, TransportAction, TransportEvent};
use rejoin_recording::{Dir, Row};
use rejoin_sim::supabase::{PeerConfig, SupabasePeer};
use rejoin_sim::{Host, replay, replay_supabase};
use serde_json::Value;

/// All that there are, the one of Supabase last.
const RECORDINGS: [(&str, &str); 4] = [
    ("phoenix", "auth_token_longpoll"),
    ("phoenix", "longpoll"),
    ("phoenix", "longpoll_raw"),
    ("supabase", "longpoll_realtime"),
];

fn recording(folder: &str, name: &str) -> Vec<Row> {
    let (_, rows) = replay::recordings(folder).into_iter().find(|(found, _)| found == name).unwrap();
    rows.into_iter().filter(|row| row.kind != "meta").collect()
}

#[test]
fn every_recording_of_long_poll_is_replayed() {
    for folder in ["phoenix", "supabase"] {
        let is_long_poll = |row: &Row| row.path.as_deref().is_some_and(|path| path.contains("/longpoll?"));
        let found = replay::recordings(folder).into_iter().filter(|(_, rows)| rows.iter().any(is_long_poll));
        let listed = RECORDINGS.iter().filter(|(of, _)| *of == folder).map(|(_, name)| (*name).to_owned());
        assert!(found.map(|(name, _)| name).eq(listed));
    }
}

/// Path and query of a request, without the token and in an order that means nothing.
fn target(path: &str) -> (String, Vec<String>, Option<String>) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut pairs: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
    let token = pairs.iter().find_map(|pair| pair.strip_prefix("token=").map(str::to_owned));
    pairs.retain(|pair| !pair.starts_with("token="));
    pairs.sort_unstable();
    (path.to_owned(), pairs, token)
}

fn header<'r>(row: &'r Row, name: &str) -> Option<&'r str> {
    row.rest.get("headers")?.get(name)?.as_str()
}

/// The frames of a recorded POST; `None` for one that is no such thing.
fn published(row: &Row) -> Option<Vec<Frame>> {
    let body = row.body.as_deref().unwrap_or_default();
    if header(row, "content-type") != Some("application/x-ndjson") {
        return Some(vec![Frame::Text(body.into())]);
    }
    let frame = |line: &str| match line.starts_with('[') {
        true => Some(Frame::Text(line.into())),
        false => STANDARD.decode(line).ok().map(|bytes| Frame::Binary(bytes.into())),
    };
    body.split('\n').map(frame).collect()
}

const CONN: ConnId = ConnId::new(1);

/// A client as it was when it sent this request: open if there is a token.
fn client(request: &Row) -> LongPoll {
    let (path, pairs, token) = target(request.path.as_deref().unwrap());
    let url = format!("http://sim{path}?{}", pairs.join("&"));
    let mut connect = ConnectRequest::new(CONN, url, Duration::from_secs(10));
    let auth = header(request, "x-phoenix-authtoken");
    connect.headers.extend(auth.map(|token| ("x-phoenix-authtoken".into(), token.into())));
    let mut client = LongPoll::new(connect, 16 << 20);
    if let Some(token) = token {
        let get = client.poll_request().unwrap();
        let body = serde_json::json!({"status": 410, "messages": [], "token": token}).to_string();
        client.handle_response(get.id, Ok(HttpResponse::new(200, body)));
        assert_eq!(client.poll_event(), Some(TransportEvent::Opened { conn: CONN }));
    }
    client
}

fn assert_same(ours: &HttpRequest, theirs: &Row) {
    let method = ours.method.as_str();
    assert_eq!(Some(method), theirs.method.as_deref());
    let path = ours.url.strip_prefix("http://sim").unwrap();
    let percent = |(path, pairs, token): (String, Vec<String>, Option<String>)| {
        // The recorded client left what base64 has in it as it is.
        (path, pairs, token.map(|token| token.replace("%3D", "=")))
    };
    assert_eq!(percent(target(path)), target(theirs.path.as_deref().unwrap()));
    // phoenix.js shows its auth token to polls alone; we do not tell the requests apart.
    for name in if method == "GET" { ["content-type", "x-phoenix-authtoken"].as_slice() } else { &["content-type"] } {
        let sent = ours.headers.iter().find(|(key, _)| &**key == *name).map(|(_, value)| &**value);
        assert_eq!(sent, header(theirs, name), "{name} of {method} {path}");
    }
    assert_eq!(std::str::from_utf8(&ours.body).ok(), Some(theirs.body.as_deref().unwrap_or_default()));
}

/// What became of a recorded request.
fn result(rows: &[Row], conn: u64) -> Option<Result<HttpResponse, HttpError>> {
    let answer = rows.iter().find(|row| row.conn == Some(conn) && row.dir == Some(Dir::ToClient))?;
    Some(match answer.kind.as_str() {
        "http_response" => {
            Ok(HttpResponse::new(answer.status.unwrap(), answer.body.clone().unwrap_or_default().into_bytes()))
        }
        _ => Err(HttpError::Broken(answer.data.clone().unwrap_or_default())),
    })
}

/// What a client should make of an answer, by the table of the specification's section 10.2.
fn meaning(opened: bool, result: &Result<HttpResponse, HttpError>) -> Vec<String> {
    let Ok(response) = result else { return vec!["closed None".into()] };
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let messages = body["messages"].as_array().into_iter().flatten().map(|m| format!("{:?}", m.as_str().unwrap()));
    match (response.status, body["status"].as_u64(), opened) {
        (200, Some(200), true) => messages.collect(),
        (200, Some(204), true) => vec!["alive".into()],
        (200, Some(410), false) => vec!["opened".into()],
        (200, Some(403), false) => vec!["refused Some(403)".into()],
        (200, Some(410), true) => vec!["closed Some(3410)".into()],
        _ => vec!["closed Some(1011)".into()],
    }
}

fn seen(event: &TransportEvent) -> String {
    match event {
        TransportEvent::Opened { .. } => "opened".into(),
        TransportEvent::Alive { .. } => "alive".into(),
        TransportEvent::OpenFailed { error, .. } => format!("refused {:?}", error.status),
        TransportEvent::Received { frame, .. } => format!("{:?}", std::str::from_utf8(frame.as_bytes()).unwrap()),
        TransportEvent::Closed { code, .. } => format!("closed {code:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_clients_half_asks_what_was_asked_and_understands_every_recorded_answer() {
    let (mut exchanges, mut unspeakable) = (0, 0);
    for (folder, name) in RECORDINGS {
        let rows = recording(folder, name);
        for request in rows.iter().filter(|row| row.kind == "http_request") {
            let is_post = request.method.as_deref() == Some("POST");
            // A token that the server refuses is no session of ours, but a parameter.
            let bad = request.path.as_deref().is_some_and(|path| path.ends_with("token=bad"));
            if bad || (is_post && published(request).is_none()) {
                unspeakable += 1;
                continue;
            }
            let mut client = client(request);
            let opened = client.is_ready();
            if is_post {
                published(request).unwrap().into_iter().for_each(|frame| client.send(frame));
            }
            let ours = client.poll_request().unwrap();
            assert_same(&ours, request);
            let Some(result) = result(&rows, request.conn.unwrap()) else { continue };
            let expected = meaning(opened, &result);
            client.handle_response(ours.id, result);
            let events: Vec<_> = std::iter::from_fn(|| client.poll_event()).map(|event| seen(&event)).collect();
            assert_eq!(events, expected, "{name}, connection {:?}", request.conn);
            exchanges += 1;
        }
    }
    assert!(exchanges >= 40 && unspeakable == 2, "{exchanges} exchanges, {unspeakable} left out");
}

/// A client's half that lives through a whole conversation, and the rows of the socket that it stands
/// for.
struct Conversation {
    client: LongPoll,
    polling: Option<HttpRequest>,
    /// Our requests by the recorded connections.
    ids: BTreeMap<u64, HttpId>,
    rows: Vec<Row>,
}

impl Conversation {
    fn ask(&mut self, method: HttpMethod) -> HttpRequest {
        if method == HttpMethod::Get
            && let Some(request) = self.polling.take()
        {
            return request;
        }
        let request = self.client.poll_request().expect("a request as recorded");
        if request.method != method {
            // We poll at once; the recorded client did a little later.
            self.polling = Some(request);
            return self.client.poll_request().expect("a request as recorded");
        }
        request
    }

    fn events(&mut self, t_ms: u64) {
        while let Some(event) = self.client.poll_event() {
            self.rows.push(match event {
                TransportEvent::Opened { .. } => Row::new(t_ms, "upgrade_ok").on(1, Dir::ToClient),
                TransportEvent::Received { frame, .. } => Row::frame(t_ms, 1, Dir::ToClient, &frame),
                TransportEvent::Closed { .. } => Row::close(t_ms, 1, Dir::ToServer, 1000, ""),
                // A socket has no such word.
                TransportEvent::Alive { .. } => continue,
                other => panic!("{other:?}"),
            });
        }
    }
}

/// The conversation as it would have been over a socket.
fn as_socket(rows: &[Row]) -> Vec<Row> {
    let mut upgrade = Row::new(rows[0].t_ms, "upgrade").on(1, Dir::ToServer);
    let (path, pairs, _) = target(rows[0].path.as_deref().unwrap());
    upgrade.path = Some(format!("{}?{}", path.replace("/longpoll", "/websocket"), pairs.join("&")));
    let mut it = Conversation { client: client(&rows[0]), polling: None, ids: BTreeMap::new(), rows: vec![upgrade] };
    for row in rows {
        let conn = row.conn.unwrap();
        match (row.kind.as_str(), row.method.as_deref()) {
            ("http_request", Some("POST")) => {
                for frame in published(row).unwrap() {
                    it.rows.push(Row::frame(row.t_ms, 1, Dir::ToServer, &frame));
                    it.client.send(frame);
                }
                let request = it.ask(HttpMethod::Post);
                assert_same(&request, row);
                it.ids.insert(conn, request.id);
            }
            ("http_request", _) => {
                let request = it.ask(HttpMethod::Get);
                assert_same(&request, row);
                it.ids.insert(conn, request.id);
            }
            _ => {
                let result = result(rows, conn).unwrap();
                it.client.handle_response(it.ids[&conn], result);
                it.events(row.t_ms);
            }
        }
    }
    it.client.close();
    it.events(rows.last().unwrap().t_ms);
    it.rows
}

#[test]
fn a_session_over_the_clients_half_reaches_the_recorded_outcomes() {
    let raw = recording("phoenix", "longpoll_raw");
    // Its first conversation ends where the raw client says nonsense; its last one is of vsn 1.0.0.
    let nonsense = raw.iter().position(|row| row.body.as_deref() == Some("{bad json")).unwrap();
    let vsn_1 = raw.iter().position(|row| row.path.as_deref() == Some("/short/longpoll?vsn=1.0.0")).unwrap();
    let mut lines = 0;
    for (rows, serializer) in [
        (recording("phoenix", "auth_token_longpoll"), Serializer::V2),
        (recording("phoenix", "longpoll"), Serializer::V2),
        (raw[..nonsense].to_vec(), Serializer::V2),
        (raw[vsn_1..].to_vec(), Serializer::V1),
    ] {
        let socket = as_socket(&rows);
        assert_eq!(replay::serializer(&socket), Some(serializer));
        let told = replay::drive(&socket, serializer).unwrap();
        assert_eq!(told.actual, told.expected);
        lines += told.actual.len();
    }
    let told = replay_supabase::drive(&as_socket(&recording("supabase", "longpoll_realtime"))).unwrap();
    assert_eq!(told.actual, told.expected);
    assert!(lines + told.actual.len() >= 30, "{lines}");
}

/// A server of ours where the recorded one was.
struct Server {
    window: Duration,
    sessions: BTreeMap<Text, (LongPollPeer, Host)>,
    answers: BTreeMap<u64, LongPollResponse>,
}

impl Server {
    fn request(&mut self, now: Timestamp, row: &Row, opened_as: Option<&str>) {
        let (number, path) = (row.conn.unwrap(), row.path.as_deref().unwrap());
        let headers = row.rest.get("headers").and_then(Value::as_object).into_iter().flatten();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
        let session = |token: Option<Text>| token.filter(|token| self.sessions.contains_key(token));
        let head = RequestHead::new(row.method.as_deref().unwrap(), path, headers);
        let answer = match LongPollCall::of(&head) {
            LongPollCall::Answered(response) => response,
            // What the recorded application refuses.
            LongPollCall::Poll { token: Some(token) } if token == "bad" => LongPollResponse::forbidden(),
            LongPollCall::Poll { token } => match session(token) {
                Some(token) => return self.exchange(&token, |peer| peer.poll(now, HttpId::new(number))),
                None => match UpgradeConfig::default().admit(&head) {
                    Ok(admission) => {
                        let token = Text::from(opened_as.unwrap());
                        let mut config = LongPollConfig::default();
                        config.window = self.window;
                        let peer = LongPollPeer::new(config, Host::CONN, token.clone(), now);
                        let mut host = ServerConfig::new(admission.serializer);
                        host.idle_timeout = None;
                        self.sessions.insert(token.clone(), (peer, Host::with(host)));
                        LongPollResponse::opened(&token)
                    }
                    Err(refused) => refused,
                },
            },
            LongPollCall::Push { token, body } => match session(token) {
                Some(token) => {
                    let bytes = row.body.clone().unwrap_or_default().into_bytes().into();
                    return self.exchange(&token, |peer| peer.push(now, HttpId::new(number), body, &bytes));
                }
                None => LongPollResponse::gone(),
            },
            other => panic!("{other:?}"),
        };
        self.answers.insert(number, answer);
    }

    fn exchange(&mut self, token: &Text, call: impl FnOnce(&mut LongPollPeer)) {
        let (peer, host) = self.sessions.get_mut(token).unwrap();
        call(peer);
        while let Some(event) = peer.poll_event() {
            host.transport(event);
        }
        for frame in std::mem::take(&mut host.sent) {
            peer.handle_action(host.now, TransportAction::Send { conn: Host::CONN, frame });
        }
        self.answers.extend(std::iter::from_fn(|| peer.poll_response()).map(|(id, response)| (id.get(), response)));
    }

    fn advance(&mut self, now: Timestamp) {
        let tokens: Vec<_> = self.sessions.keys().cloned().collect();
        for token in tokens {
            self.exchange(&token, |peer| peer.handle_timeout(now));
        }
    }
}

/// The messages of an answer, each by its head alone.
fn messages(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let messages = body["messages"].as_array().into_iter().flatten().map(|message| message.as_str().unwrap());
    messages.filter_map(head).collect()
}

/// Refs, topic, event and status; `None` for what the recorded application said on its own account.
fn head(message: &str) -> Option<String> {
    let serializer = if message.starts_with('[') { Serializer::V2 } else { Serializer::V1 };
    let said = serializer.decode_from_server(Frame::Text(message.into())).ok()?;
    let status = said.as_reply().map(|reply| reply.status);
    // A broadcast to all has no join_ref; the host of the tests tells its one client.
    let join_ref = said.join_ref.filter(|_| said.event.starts_with("phx_"));
    let head = format!("{join_ref:?} {:?} {} {} {status:?}", said.reference, said.topic, said.event);
    (said.event != "greeting").then_some(head)
}

#[test]
fn the_servers_half_gives_the_recorded_answers() {
    // The application behind the last one is Supabase's: see below.
    for (folder, name) in &RECORDINGS[..3] {
        let rows = recording(folder, name);
        let window = Duration::from_secs(if *name == "longpoll_raw" { 1 } else { 10 });
        let mut server = Server { window, sessions: BTreeMap::new(), answers: BTreeMap::new() };
        let mut expected = Vec::new();
        for row in &rows {
            let now = Timestamp::from_millis(row.t_ms);
            server.advance(now);
            let number = row.conn.unwrap();
            match row.kind.as_str() {
                "http_request" => {
                    let opened_as = result(&rows, number).and_then(Result::ok).and_then(|response| {
                        let body: Value = serde_json::from_slice(&response.body).ok()?;
                        Some(body["token"].as_str()?.to_owned())
                    });
                    server.request(now, row, opened_as.as_deref());
                }
                "http_response" => {
                    expected.extend(messages(row.body.as_deref().unwrap_or_default().as_bytes()));
                    let recorded: Value =
                        serde_json::from_str(row.body.as_deref().unwrap_or_default()).unwrap_or_default();
                    let is_message = recorded["messages"].as_array().is_some_and(|messages| !messages.is_empty());
                    if !is_message {
                        let ours =
                            server.answers.get(&number).unwrap_or_else(|| panic!("{name}: no answer to {number}"));
                        let body: Value = serde_json::from_slice(&ours.body).unwrap_or_default();
                        assert_eq!((Some(ours.status), body), (row.status, recorded), "{name}: {number}");
                    }
                }
                _ => {}
            }
        }
        let said: Vec<_> = server.answers.values().flat_map(|response| messages(&response.body)).collect();
        assert_eq!(said, expected, "{name}");
        assert!(!said.is_empty());
    }
}

/// An answer with its messages read, in which the order of members means nothing.
fn understood(body: &[u8]) -> Value {
    let mut body: Value = serde_json::from_slice(body).unwrap();
    for message in body["messages"].as_array_mut().into_iter().flatten() {
        *message = serde_json::from_str(message.as_str().unwrap()).unwrap();
    }
    body
}

#[test]
fn the_servers_half_lets_the_scripted_supabase_give_the_recorded_answers() {
    let rows = recording("supabase", "longpoll_realtime");
    let unix_epoch = Duration::from_secs(1_795_198_218);
    let config = PeerConfig { unix_epoch, join_time: Duration::ZERO, ..PeerConfig::default() };
    let token = understood(rows[1].body.as_deref().unwrap().as_bytes())["token"].as_str().unwrap().to_owned();
    let path = rows[0].path.as_deref().unwrap();
    let upgrade = config.check_upgrade(path, &[], Timestamp::ZERO).unwrap();
    let mut supabase = SupabasePeer::new(config, upgrade, CONN, Timestamp::ZERO);
    let mut polls = LongPollPeer::new(LongPollConfig::default(), CONN, token.as_str(), Timestamp::ZERO);
    let (mut answers, mut messages) = (BTreeMap::new(), 0);
    for row in &rows {
        let (now, number) = (Timestamp::from_millis(row.t_ms), row.conn.unwrap());
        let body = row.body.clone().unwrap_or_default().into_bytes();
        if row.kind == "http_response" {
            let ours: LongPollResponse = answers.remove(&number).unwrap_or_else(|| panic!("no answer to {number}"));
            let (ours, recorded) = (understood(&ours.body), understood(&body));
            assert_eq!(ours, recorded, "{number}");
            messages += recorded["messages"].as_array().map_or(0, Vec::len);
            continue;
        }
        let headers = row.rest.get("headers").and_then(Value::as_object).into_iter().flatten();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
        let head = RequestHead::new(row.method.as_deref().unwrap(), row.path.as_deref().unwrap(), headers);
        match LongPollCall::of(&head) {
            LongPollCall::Poll { token: None } => {
                answers.insert(number, LongPollResponse::opened(&token));
            }
            LongPollCall::Poll { token: Some(shown) } if token == shown.as_str() => {
                polls.poll(now, HttpId::new(number));
            }
            LongPollCall::Push { token: Some(shown), body: kind } if token == shown.as_str() => {
                polls.push(now, HttpId::new(number), kind, &body.into());
            }
            other => panic!("{other:?}"),
        }
        while let Some(event) = polls.poll_event() {
            supabase.handle_transport(now, event);
        }
        supabase.handle_timeout(now);
        while let Some(action) = supabase.poll_transport() {
            polls.handle_action(now, action);
        }
        answers.extend(std::iter::from_fn(|| polls.poll_response()).map(|(id, response)| (id.get(), response)));
    }
    assert_eq!(messages, 3);
}
