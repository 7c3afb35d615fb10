//! Recorded conversations, told again to a client session and to a server session of ours.
//!
//! The client does what the recorded client did (joins, pushes, leaves, disconnects) and hears what
//! the recorded server said. Its refs are its own, so those in the recorded frames are mapped.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rejoin_core::phoenix::{
    ChannelId, ChannelState, ConnectionState, Event, JoinOptions, Push, PushId, ServerConfig, serializer_of,
};
use rejoin_core::wire::{Message, Ref, Serializer};
use rejoin_core::{Backoff, Frame, Payload, Timestamp};
use rejoin_recording::{Dir, Row, read};

use crate::host::Host;
use crate::script::{Script, config};
use crate::scripted::Sent;
use crate::wirelog::number;

/// The recordings of one folder by their names.
///
/// # Panics
/// If they cannot be read.
#[must_use]
pub fn recordings(folder: &str) -> Vec<(String, Vec<Row>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings").join(folder);
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let load = |path: &PathBuf| {
        let name = path.file_stem()?.to_str()?.to_owned();
        let rows = read(BufReader::new(File::open(path).unwrap())).unwrap();
        (path.extension()? == "jsonl").then_some((name, rows))
    };
    paths.iter().filter_map(load).collect()
}

/// The serializer of a conversation: what the first upgrade asked for, if anybody speaks it.
#[must_use]
pub fn serializer(rows: &[Row]) -> Option<Serializer> {
    let upgrade = rows.iter().find(|row| row.kind == "upgrade")?;
    serializer_of(upgrade.path.as_deref()?).ok()
}

/// The rows of each client: connections that follow one another are one client's, those that
/// overlap are different clients'.
#[must_use]
pub fn clients(rows: &[Row]) -> Vec<Vec<Row>> {
    let mut clients: Vec<(u64, bool, Vec<Row>)> = Vec::new();
    for row in rows {
        let Some(conn) = row.conn else { continue };
        let known = clients.iter().position(|(current, ..)| *current == conn);
        let client = known.or_else(|| clients.iter().position(|(_, over, _)| *over)).unwrap_or_else(|| {
            clients.push((conn, false, Vec::new()));
            clients.len() - 1
        });
        let (current, over, rows) = &mut clients[client];
        *over = matches!(row.kind.as_str(), "close" | "upgrade_rejected" | "upstream_error");
        *current = conn;
        rows.push(row.clone());
    }
    clients.into_iter().map(|(.., rows)| rows).collect()
}

/// What a client saw of a conversation, one line each, and what it should have seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// What the session reported.
    pub actual: Vec<String>,
    /// What the recording says.
    pub expected: Vec<String>,
}

/// Drives a client session through the rows of one client.
///
/// # Errors
/// If the recorded client did what our client cannot do.
pub fn drive(rows: &[Row], serializer: Serializer) -> Result<Seen, String> {
    let mut replay = Replay::new(serializer);
    for row in rows {
        replay.script.advance(Duration::from_millis(row.t_ms).saturating_sub(since(replay.script.now)));
        replay.row(row)?;
        replay.collect();
    }
    Ok(replay.seen)
}

/// Recorded refs, and what they are in our session.
#[derive(Debug, Default)]
pub(crate) struct Refs {
    ours: BTreeMap<String, String>,
    /// What our client sent and the recorded one has not sent yet.
    ahead: VecDeque<Message>,
}

impl Refs {
    /// Our client has sent these.
    pub(crate) fn sent(&mut self, sent: Vec<Sent>) {
        self.ahead.extend(sent.into_iter().map(|sent| sent.message));
    }

    /// What our client sent where the recorded one sent this.
    pub(crate) fn pair(&mut self, said: &Message) -> Option<Message> {
        let same = |ours: &Message| ours.topic == said.topic && ours.event == said.event;
        let ours = self.ahead.iter().position(same).and_then(|at| self.ahead.remove(at))?;
        self.ours.insert(text(said.reference.as_ref()), text(ours.reference.as_ref()));
        Some(ours)
    }

    /// A message of the recorded server as it would have been sent to our client.
    pub(crate) fn translate(&self, said: &Message) -> Message {
        let mapped = |theirs: &Option<Ref>| {
            // One that stands for nothing of ours stays without meaning.
            theirs.as_ref().map(|r| Ref::from(self.ours.get(&text(Some(r))).map_or("unknown", String::as_str)))
        };
        said.clone().with_refs(mapped(&said.join_ref), mapped(&said.reference))
    }
}

/// How long the session waits before it joins an errored channel again: until the recorded client
/// does, for no recording is as long.
const REJOIN: Duration = Duration::from_secs(600);

struct Replay {
    script: Script,
    serializer: Serializer,
    refs: Refs,
    /// The recorded server's view of each topic.
    topics: BTreeMap<String, Topic>,
    /// Recorded refs of pushes.
    pushes: BTreeMap<String, PushId>,
    names: BTreeMap<ChannelId, String>,
    seen: Seen,
}

/// What a channel of the recorded client looks like from its frames alone.
#[derive(Debug, Default)]
struct Topic {
    id: Option<ChannelId>,
    /// How many channels were joined before it.
    serial: usize,
    join_ref: String,
    joined: bool,
    joining: bool,
    /// The join_refs of lifetimes that are being left, and the refs of their `phx_leave`.
    leaving: Vec<(String, String)>,
}

impl Replay {
    fn new(serializer: Serializer) -> Self {
        let mut config = config();
        let day = Duration::from_secs(86_400);
        config.serializer = serializer;
        config.heartbeat_interval = None;
        // The recording says when things happen; the session connects at once and gives nothing up.
        config.reconnect = Backoff::Steps(vec![Duration::from_millis(1)]);
        config.rejoin = Backoff::Steps(vec![REJOIN]);
        (config.connect_timeout, config.join_timeout, config.heartbeat_timeout) = (day, day, day);
        (config.push_timeout, config.leave_timeout) = (day, day);
        config.limits.joins_in_flight = 1_000;
        let mut script = Script::new(config);
        script.answers_heartbeats = false;
        Self {
            script,
            serializer,
            refs: Refs::default(),
            topics: BTreeMap::new(),
            pushes: BTreeMap::new(),
            names: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    fn row(&mut self, row: &Row) -> Result<(), String> {
        match (row.kind.as_str(), row.dir) {
            ("upgrade", _) => {
                self.script.advance(Duration::from_millis(1));
                if self.script.session.state() == ConnectionState::Idle {
                    self.script.connect();
                }
                if self.script.session.state() != ConnectionState::Connecting {
                    return Err(format!("a further connection while {:?}", self.script.session.state()));
                }
            }
            ("upgrade_ok", _) => {
                self.script.opened();
                self.seen.expected.push("connected".into());
            }
            ("upgrade_rejected" | "upstream_error", _)
                if self.script.session.state() == ConnectionState::Connecting =>
            {
                self.script.refused(row.status.unwrap_or(502), None);
                self.seen.expected.push("disconnected".into());
            }
            ("close", Some(dir)) => self.close(dir, row.code),
            ("text" | "binary", Some(Dir::ToServer)) => {
                let frame = row.to_frame().ok_or("an unreadable row")?;
                let said = self.serializer.decode_from_client(frame).map_err(|e| format!("malformed: {e}"))?;
                self.client_said(&said)?;
            }
            ("text" | "binary", Some(Dir::ToClient)) => {
                let frame = row.to_frame().ok_or("an unreadable row")?;
                let said = self.serializer.decode_from_server(frame).map_err(|e| format!("malformed: {e}"))?;
                self.server_said(&said);
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, dir: Dir, code: Option<u16>) {
        if self.script.session.state() != ConnectionState::Connected {
            return;
        }
        self.seen.expected.push("disconnected".into());
        let mut by_age: Vec<_> = self.topics.iter_mut().collect();
        by_age.sort_by_key(|(_, topic)| topic.serial);
        for (name, topic) in by_age {
            // What the loss of a connection does to channels that were there or nearly there.
            let closed = topic.leaving.drain(..).map(|_| format!("{name} closed"));
            self.seen.expected.extend(closed);
            if topic.joined || topic.joining {
                self.seen.expected.push(format!("{name} errored"));
            }
            (topic.joined, topic.joining) = (false, false);
        }
        match dir {
            Dir::ToServer => self.script.with(|session, now| session.disconnect(now)),
            _ => self.script.closed(code),
        }
    }

    fn client_said(&mut self, said: &Message) -> Result<(), String> {
        let name = said.topic.to_string();
        let session = &mut self.script;
        match &*said.event {
            "heartbeat" => session.with(|session, now| session.probe(now)),
            "phx_join" => {
                let topic = self.topics.entry(name.clone()).or_default();
                if topic.joined || topic.joining {
                    return Err(format!("{name} is joined twice, which our client does not do"));
                }
                let known = topic.id.filter(|id| session.session.topic(*id).is_some());
                let id = match known {
                    Some(id) => {
                        if session.session.channel_state(id) == Some(ChannelState::Errored) {
                            session.advance(REJOIN);
                        }
                        id
                    }
                    None => {
                        let options = JoinOptions::with_payload(said.payload.clone());
                        let joined = session.with(|session, now| session.join(now, &*name, options));
                        joined.map_err(|e| format!("{name}: {e}"))?
                    }
                };
                if self.names.insert(id, name).is_none() {
                    topic.serial = self.names.len();
                }
                let join_ref = text(said.reference.as_ref());
                (topic.id, topic.join_ref, topic.joining) = (Some(id), join_ref, true);
            }
            "phx_leave" => {
                let topic = self.topics.get_mut(&name);
                let Some(topic) = topic.filter(|topic| topic.joined || topic.joining || topic.id.is_some()) else {
                    return Ok(());
                };
                if let Some(id) = topic.id.take() {
                    session.leave(id);
                    if topic.joined || topic.joining {
                        topic.leaving.push((topic.join_ref.clone(), text(said.reference.as_ref())));
                    } else {
                        self.seen.expected.push(format!("{name} closed"));
                    }
                    (topic.joined, topic.joining) = (false, false);
                }
            }
            event => {
                let id = self.topics.get(&name).filter(|topic| topic.joined).and_then(|topic| topic.id);
                let Some(id) = id else { return Err(format!("a push of {event} to {name}, which is not joined")) };
                let push = Push::new(event, said.payload.clone());
                let push = session.with(|session, now| session.push(now, id, push)).map_err(|e| e.to_string())?;
                self.pushes.insert(text(said.reference.as_ref()), push);
            }
        }
        self.refs.sent(self.script.take_sent());
        self.refs.pair(said);
        Ok(())
    }

    fn server_said(&mut self, said: &Message) {
        self.expect(said);
        if let Ok(frame) = self.serializer.encode_from_server(&self.refs.translate(said)) {
            self.script.receive_frame(frame);
        }
    }

    /// What a client should make of a server's message, by the rules of the specification.
    fn expect(&mut self, said: &Message) {
        let (name, reference) = (said.topic.to_string(), text(said.reference.as_ref()));
        let expected = &mut self.seen.expected;
        let topic = self.topics.entry(name.clone()).or_default();
        match (&*said.event, said.as_reply()) {
            ("phx_reply", Some(_)) if name == "phoenix" => expected.push("heartbeat answered".into()),
            ("phx_reply", Some(reply)) => {
                if topic.joining && reference == topic.join_ref {
                    topic.joining = false;
                    topic.joined = reply.status == "ok";
                    expected.push(format!("{name} {}", if topic.joined { "joined" } else { "refused" }));
                    // The server has taken the topic from whoever had it before.
                    expected.extend(topic.leaving.drain(..).map(|_| format!("{name} closed")));
                } else if let Some(at) = topic.leaving.iter().position(|(_, leave)| *leave == reference) {
                    topic.leaving.remove(at);
                    expected.push(format!("{name} closed"));
                } else if let Some(push) = self.pushes.remove(&reference) {
                    expected.push(format!("{push:?} {} {}", reply.status, shown(&reply.response)));
                }
            }
            ("phx_error" | "phx_close", _) => {
                let lifetime = if said.join_ref.is_some() { text(said.join_ref.as_ref()) } else { reference };
                if let Some(at) = topic.leaving.iter().position(|(join_ref, _)| *join_ref == lifetime) {
                    topic.leaving.remove(at);
                    expected.push(format!("{name} closed"));
                } else if (topic.joined || topic.joining) && (lifetime == topic.join_ref || lifetime == "null") {
                    (topic.joined, topic.joining) = (false, false);
                    if &*said.event == "phx_close" {
                        topic.id = None;
                        expected.push(format!("{name} closed"));
                    } else {
                        expected.push(format!("{name} errored"));
                        self.pushes.clear();
                    }
                }
            }
            (event, _) => {
                let lifetime = text(said.join_ref.as_ref());
                if topic.joined && (lifetime == "null" || lifetime == topic.join_ref) {
                    expected.push(format!("{name} {event} {}", shown(&said.payload)));
                }
            }
        }
    }

    fn collect(&mut self) {
        for event in self.script.take_events() {
            let line = match &event {
                Event::Connected { .. } => "connected".into(),
                Event::Disconnected { .. } => "disconnected".into(),
                Event::Joined { channel, .. } => format!("{} joined", self.names[channel]),
                Event::JoinFailed { channel, .. } => format!("{} refused", self.names[channel]),
                Event::ChannelErrored { channel, .. } => format!("{} errored", self.names[channel]),
                Event::ChannelClosed { channel, .. } => format!("{} closed", self.names[channel]),
                Event::Message { channel, event, payload } => {
                    format!("{} {event} {}", self.names[channel], shown(payload))
                }
                Event::PushDone { push, outcome } => {
                    use rejoin_core::phoenix::PushOutcome as O;
                    match outcome {
                        O::Ok(response) => format!("{push:?} ok {}", shown(response)),
                        O::Error(response) => format!("{push:?} error {}", shown(response)),
                        O::Other { status, response } => format!("{push:?} {status} {}", shown(response)),
                        // Not on the wire, so the recording cannot say it.
                        _ => continue,
                    }
                }
                Event::HeartbeatAnswered { .. } => "heartbeat answered".into(),
                Event::PushSent { .. } => continue,
                other => format!("{other:?}"),
            };
            self.seen.actual.push(line);
        }
    }
}

/// Plays the recorded client of one connection to a server session. What it said and what the
/// recorded server said: refs, topic, event and status of each message, and how it closed.
///
/// # Errors
/// If the recorded server's frames do not decode.
pub fn serve(rows: &[Row], serializer: Serializer) -> Result<Seen, String> {
    let mut config = ServerConfig::new(serializer);
    if rows.iter().any(|row| row.path.as_deref().is_some_and(|path| path.starts_with("/short/"))) {
        // The recorded server's other socket.
        config.idle_timeout = Some(Duration::from_secs(2));
    }
    let mut host = Host::with(config);
    let mut seen = Seen::default();
    for row in rows {
        host.advance(Duration::from_millis(row.t_ms).saturating_sub(since(host.now)));
        match (row.kind.as_str(), row.dir) {
            ("text" | "binary", Some(Dir::ToServer)) => host.client_frame(row.to_frame().ok_or("an unreadable row")?),
            ("text" | "binary", Some(Dir::ToClient)) => {
                seen.expected.push(shape(serializer, row.to_frame().ok_or("an unreadable row")?)?);
            }
            ("close", Some(Dir::ToClient)) if host.ended.is_none() && row.code.is_some_and(|code| code != 1000) => {
                seen.expected.push(format!("close {}", row.code.unwrap_or_default()));
            }
            _ => {}
        }
        for frame in std::mem::take(&mut host.sent) {
            seen.actual.push(shape(serializer, frame)?);
        }
        for code in std::mem::take(&mut host.ends) {
            seen.actual.push(format!("close {}", code.unwrap_or_default()));
        }
    }
    Ok(seen)
}

fn shape(serializer: Serializer, frame: Frame) -> Result<String, String> {
    let said = serializer.decode_from_server(frame).map_err(|e| format!("malformed: {e}"))?;
    let status = said.as_reply().map(|reply| reply.status.to_string()).unwrap_or_default();
    Ok(format!("{:?} {:?} {} {} {status}", said.join_ref, said.reference, said.topic, said.event))
}

pub(crate) fn shown(payload: &Payload) -> String {
    String::from_utf8_lossy(payload.as_bytes()).into()
}

pub(crate) fn text(reference: Option<&Ref>) -> String {
    // Refs that read the same are the same, whatever their JSON type.
    number(reference).map_or_else(|| reference.map_or("null", Ref::as_str).into(), |n| n.to_string())
}

pub(crate) fn since(now: Timestamp) -> Duration {
    now.saturating_since(Timestamp::ZERO)
}
