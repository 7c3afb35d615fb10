//! Recorded conversations with Supabase Realtime, told again to a Supabase session of ours.
//!
//! As in [`replay`] the client does what the recorded one did and hears what the
//! recorded server said; here it is also compared what the two clients sent.

mod changes;
mod http;
mod join_payload;
mod members;
mod topic;

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_core::phoenix::{ChannelId, ConnectionState, LossReason, Push, PushId, PushOutcome};
use rejoin_core::supabase::{
    AccessToken, Broadcast, ChannelState, Config, Event, HeartbeatStatus, KeyIn, PostgresFailure, PresenceBudget,
    Session, SubscribeFailure, Trouble, UpgradeRefusal,
};
use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{Backoff, Jitter, OpenError, Payload, Timestamp, TransportEvent};
use rejoin_recording::{Dir, Row};
use serde_json::Value;

use crate::replay::{self, Refs, Seen, shown, since, text};
use crate::supabase_script::SupabaseScript;

pub use http::{http, http_broadcasts};

use changes::{Changes, change_line};
use join_payload::JoinPayload;
use members::{Room, members_line, presence_line};
use topic::{TextBroadcast, Topic, broadcast_line, gone, when};

/// How long the session waits before it joins an errored channel again: until the recorded client
/// does, for no recording is as long.
const REJOIN: Duration = Duration::from_secs(600);

/// The rows of each client: as for [`replay::clients`], but one that has
/// disconnected is not the one that connects after it.
#[must_use]
pub fn clients(rows: &[Row]) -> Vec<Vec<Row>> {
    let mut clients: Vec<Vec<Row>> = Vec::new();
    for rows in replay::clients(rows).into_iter().filter(|rows| rows[0].kind == "upgrade") {
        let (mut client, mut ended_by) = (Vec::new(), None);
        for row in rows {
            match row.kind.as_str() {
                "close" => ended_by = ended_by.or(row.dir),
                "upgrade" if ended_by.take() == Some(Dir::ToServer) => clients.push(std::mem::take(&mut client)),
                _ => {}
            }
            client.push(row);
        }
        clients.push(client);
    }
    clients
}

/// Drives a session through the rows of one client.
///
/// # Errors
/// If the recorded client did what our client cannot do, or our client sent something else.
pub fn drive(rows: &[Row]) -> Result<Seen, String> {
    let mut replay = Replay::new(rows)?;
    for row in rows {
        replay.script.advance(Duration::from_millis(row.t_ms).saturating_sub(since(replay.script.now)));
        let known = (replay.seen.actual.len(), replay.seen.expected.len());
        replay.row(row)?;
        replay.collect();
        if row.kind == "close" {
            // In which order the channels hear of it means nothing.
            replay.seen.actual[known.0..].sort_unstable();
            replay.seen.expected[known.1..].sort_unstable();
        }
    }
    Ok(replay.seen)
}

struct Replay {
    script: SupabaseScript,
    serializer: Serializer,
    refs: Refs,
    /// What the recorded client showed last.
    token: Option<String>,
    topics: BTreeMap<String, Topic>,
    /// Recorded refs of pushes.
    pushes: BTreeMap<String, PushId>,
    names: BTreeMap<ChannelId, String>,
    seen: Seen,
}

impl Replay {
    /// A session that is configured as the recorded client was.
    fn new(rows: &[Row]) -> Result<Self, String> {
        let serializer = replay::serializer(rows).ok_or("a vsn that nobody speaks")?;
        let upgrade = rows.first().ok_or("nothing at all")?;
        let query = upgrade.path.as_deref().and_then(|path| path.split_once('?')).map_or("", |(_, query)| query);
        let in_query = query.split('&').find_map(|pair| pair.strip_prefix("apikey="));
        let in_header = || upgrade.rest.get("headers")?.get("x-api-key")?.as_str();
        let key = in_query.or_else(in_header).unwrap_or_default();
        let mut config = Config::new("ws://sim/socket", key).map_err(|e| e.to_string())?;
        if in_query.is_none() {
            config.key_in = KeyIn::Header;
        }
        config.disconnect_when_empty = None;
        // The recorded clients sent more than they should, and the server told them so.
        config.presence_budget = PresenceBudget::new(u32::MAX, Duration::ZERO);
        let (phoenix, day) = (&mut config.phoenix, Duration::from_secs(86_400));
        phoenix.jitter = Jitter::None;
        phoenix.serializer = serializer;
        phoenix.heartbeat_interval = None;
        // The recording says when things happen; the session connects at once and gives nothing up.
        phoenix.reconnect = Backoff::Steps(vec![Duration::from_millis(1)]);
        phoenix.rejoin = Backoff::Steps(vec![REJOIN]);
        (phoenix.connect_timeout, phoenix.join_timeout, phoenix.heartbeat_timeout) = (day, day, day);
        (phoenix.push_timeout, phoenix.leave_timeout) = (day, day);
        phoenix.limits.joins_in_flight = 1_000;
        config.postgres_ready_timeout = day;
        // Nobody tells it the time of day: what the recorded tokens were, the server is to say.
        let mut script = SupabaseScript::driving(Session::new(config, Timestamp::ZERO), serializer);
        script.answers_heartbeats = false;
        Ok(Self {
            script,
            serializer,
            refs: Refs::default(),
            token: None,
            topics: BTreeMap::new(),
            pushes: BTreeMap::new(),
            names: BTreeMap::new(),
            seen: Seen::default(),
        })
    }

    fn row(&mut self, row: &Row) -> Result<(), String> {
        match (row.kind.as_str(), row.dir) {
            ("upgrade", _) => {
                self.script.with(Session::connect);
                if self.script.session.state() != ConnectionState::Connecting {
                    return Err(format!("a further connection while {:?}", self.script.session.state()));
                }
                let dialled = self.script.dials.last().map_or("", |(_, request)| &request.url);
                let path = row.path.as_deref().unwrap_or_default();
                if path.contains('?') && dialled.strip_prefix("ws://sim") != Some(path) {
                    return Err("another URL than the recorded one is dialled".into());
                }
            }
            ("upgrade_ok", _) => {
                self.script.opened();
                self.expect("connected");
            }
            ("upgrade_rejected", _) => {
                let (status, body) = (row.status.unwrap_or_default(), row.body.as_deref().unwrap_or_default());
                let error = OpenError::refused(status, None, body);
                self.script.transport(TransportEvent::OpenFailed { conn: self.script.conn(), error });
                let said: Value = serde_json::from_str(body).unwrap_or_default();
                let said = said["error"].as_str().unwrap_or(body);
                self.expect(format!("refused with {status}: {said}"));
            }
            ("close", Some(dir)) => self.close(dir, row),
            // What was sent while the connection ended, nobody has heard.
            ("text" | "binary", Some(Dir::ToServer)) if self.script.session.state() == ConnectionState::Connected => {
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

    fn close(&mut self, dir: Dir, row: &Row) {
        if self.script.session.state() != ConnectionState::Connected {
            return;
        }
        // 1005 and 1006 stand for the absence of a code.
        let code = row.code.filter(|code| !matches!(code, 1005 | 1006));
        let reason = row.reason.as_deref().unwrap_or_default();
        if dir == Dir::ToServer {
            self.script.with(Session::disconnect);
            self.expect("disconnected");
        } else {
            let conn = self.script.conn();
            self.script.transport(TransportEvent::Closed { conn, code, reason: reason.into() });
            self.expect(format!("closed with {code:?} {reason}"));
        }
        for (name, topic) in &mut self.topics {
            self.seen.expected.extend(topic.leaving.drain(..).map(|_| gone(name)));
            if topic.joined || topic.joining {
                self.seen.expected.push(format!("{name} errored: {}", Trouble::ConnectionLost));
            }
            (topic.joined, topic.joining) = (false, false);
            topic.changes.lost();
        }
    }

    fn client_said(&mut self, said: &Message) -> Result<(), String> {
        let name = said.topic.as_str();
        let sends = match said.event.as_str() {
            "heartbeat" => {
                self.script.with(Session::probe);
                true
            }
            "phx_join" => self.join(name, said)?,
            "phx_leave" => self.leave(name, text(said.reference.as_ref())),
            "access_token" => {
                let payload: Value = said.payload.parse().map_err(|e| format!("{e}"))?;
                self.show(payload["access_token"].as_str())?;
                true
            }
            _ => self.push(name, said)?,
        };
        self.refs.sent(self.script.take_sent());
        match self.refs.pair(said) {
            Some(ours) => self.compare(said, &ours),
            None if sends => Err(format!("nothing is sent instead of {} {name}", said.event)),
            None => Ok(()),
        }
    }

    /// Whether the recorded join is one that our client sends, too.
    fn join(&mut self, name: &str, said: &Message) -> Result<bool, String> {
        let JoinPayload { config, access_token, .. } = JoinPayload::read(&said.payload)?;
        let config = config.to_channel_config()?;
        let same_token = access_token == self.token;
        if self.topics.get(name).is_some_and(|topic| topic.joined || topic.joining || topic.config != config) {
            // Ours joins a topic once, and with one configuration: another one is another channel.
            self.leave(name, String::new());
        }
        self.show(access_token.as_deref())?;
        let topic = self.topics.entry(name.into()).or_default();
        match topic.id {
            // What was refused is not tried again, and another token is tried at once.
            Some(_) if topic.waits && same_token => return Ok(false),
            Some(id) if self.script.session.channel_state(id) == Some(ChannelState::Errored) => {
                self.script.advance(REJOIN);
            }
            Some(_) => {}
            None => {
                let subscribed = self.script.with(|session, now| session.subscribe(now, name, &config));
                let id = subscribed.map_err(|e| format!("{name}: {e}"))?;
                let room = config.presence.enabled.then(Room::default);
                (topic.id, topic.config, topic.room) = (Some(id), config, room);
                (topic.joined_before, topic.waits, topic.changes) = (false, false, Changes::default());
                self.names.insert(id, name.into());
            }
        }
        topic.changes.asked(&said.payload);
        (topic.join_ref, topic.joining) = (text(said.reference.as_ref()), true);
        Ok(true)
    }

    /// The recorded client shows a token, or none.
    fn show(&mut self, shown: Option<&str>) -> Result<(), String> {
        if self.token.as_deref() == shown {
            return Ok(());
        }
        let shown = shown.ok_or("a join without the token that the client has")?;
        let token = AccessToken::new(shown).map_err(|e| e.to_string())?;
        self.token = Some(shown.into());
        for topic in self.topics.values_mut() {
            topic.joining |= std::mem::take(&mut topic.waits);
        }
        self.script.with(|session, now| session.set_auth(now, token)).map_err(|e| e.to_string())
    }

    fn leave(&mut self, name: &str, reference: String) -> bool {
        let Some(topic) = self.topics.get_mut(name) else { return false };
        let Some(id) = topic.id.take() else { return false };
        let known = topic.joined || topic.joining;
        if known {
            topic.leaving.push((topic.join_ref.clone(), reference));
        } else {
            self.seen.expected.push(gone(name));
        }
        (topic.joined, topic.joining) = (false, false);
        // The channel is there: the topic has its id.
        let _ = self.script.with(|session, now| session.unsubscribe(now, id));
        known
    }

    fn push(&mut self, name: &str, said: &Message) -> Result<bool, String> {
        // What is pushed elsewhere than in a joined channel is in vain; ours would keep it.
        let Some(topic) = self.topics.get(name).filter(|topic| topic.joined) else { return Ok(false) };
        let Some(id) = topic.id else { return Ok(false) };
        let (ack, tracks) = (topic.config.broadcast.ack, topic.room.is_some());
        if said.event == "presence" && tracks && self.wish(id, said)? {
            return Ok(true);
        }
        let broadcast = match &said.user_event {
            Some(user) => Some(Broadcast::new(user.event.clone(), said.payload.clone())),
            None if said.event == "broadcast" => said.payload.parse().ok().and_then(|text: TextBroadcast<'_>| {
                Some(Broadcast::new(text.event, Payload::from_json_text(text.payload.get()).ok()?))
            }),
            None => None,
        };
        let wants_reply = ack || said.event != "broadcast";
        let pushed = self.script.with(|session, now| match broadcast {
            Some(broadcast) => session.broadcast(now, id, broadcast),
            None => {
                let push = Push::new(said.event.clone(), said.payload.clone());
                session.push(now, id, if wants_reply { push } else { push.without_reply() })
            }
        });
        let push = pushed.map_err(|e| e.to_string())?;
        if wants_reply {
            self.pushes.insert(text(said.reference.as_ref()), push);
        }
        Ok(true)
    }

    /// `track` or `untrack`, if the recorded client did one of them as it should be done.
    fn wish(&mut self, id: ChannelId, said: &Message) -> Result<bool, String> {
        let wish: Value = said.payload.parse().map_err(|e| format!("{e}"))?;
        let meta = &wish["payload"];
        let wished = match wish["event"].as_str() {
            Some("track") if meta.is_object() => {
                let meta = Payload::json(meta).map_err(|e| e.to_string())?;
                self.script.with(|session, now| session.track(now, id, meta))
            }
            Some("untrack") => self.script.with(|session, now| session.untrack(now, id)),
            _ => return Ok(false),
        };
        let push = wished.map_err(|e| e.to_string())?;
        self.pushes.insert(text(said.reference.as_ref()), push);
        Ok(true)
    }

    /// What our client sent is what the recorded one did.
    fn compare(&self, said: &Message, ours: &Message) -> Result<(), String> {
        let json = |message: &Message| message.payload.parse::<Value>().unwrap_or_default();
        let bare = |message: &Message| message.clone().with_refs(None, None);
        let same = match said.event.as_str() {
            "phx_join" => JoinPayload::with_defaults(json(said)) == json(ours),
            // Our client writes in binary what raw clients write as text.
            "broadcast" if said.user_event.is_none() && self.serializer == Serializer::V2 => true,
            "broadcast" if said.user_event.is_some() => bare(said) == bare(ours),
            _ => json(said) == json(ours),
        };
        if same {
            Ok(())
        } else {
            Err(format!("sent {:?} instead of {:?}", shown(&ours.payload), shown(&said.payload)))
        }
    }

    fn server_said(&mut self, said: &Message) {
        let expected = self.expected_of(said);
        self.seen.expected.extend(expected);
        if let Ok(frame) = self.serializer.encode_from_server(&self.refs.translate(said)) {
            self.script.receive_frame(frame);
        }
        self.compare_members(said.topic.as_str());
    }

    /// Whoever the server says is there, is shown.
    fn compare_members(&mut self, name: &str) {
        let Some(Topic { id: Some(id), room: Some(room), .. }) = self.topics.get(name) else { return };
        let Some(presence) = self.script.session.presence(*id) else { return };
        let (expected, actual) = (room.members(name), members_line(name, presence));
        self.collect();
        self.seen.expected.push(expected);
        self.seen.actual.push(actual);
    }

    /// What a client should make of a server's message, by the rules of the specification.
    fn expected_of(&mut self, said: &Message) -> Vec<String> {
        let (name, reference) = (said.topic.as_str(), text(said.reference.as_ref()));
        let lifetime = said.join_ref.as_ref().map_or_else(|| reference.clone(), |join_ref| text(Some(join_ref)));
        let Some(topic) = self.topics.get_mut(name) else {
            return if name == "phoenix" { vec!["heartbeat ok".into()] } else { Vec::new() };
        };
        let ends = |(join_ref, leave): &(String, String)| match said.event.as_str() {
            "phx_reply" => *leave == reference,
            "phx_close" => *join_ref == lifetime,
            _ => false,
        };
        if let Some(at) = topic.leaving.iter().position(ends) {
            topic.leaving.remove(at);
            return vec![gone(name)];
        }
        let ours = topic.joined && (said.join_ref.is_none() || lifetime == topic.join_ref);
        match (said.event.as_str(), said.as_reply()) {
            ("phx_reply", Some(reply)) if topic.joining && reference == topic.join_ref => {
                topic.joining = false;
                if reply.status == "ok" {
                    return topic.subscribed(name, &reply.response);
                }
                let reason: Value = reply.response.parse().unwrap_or_default();
                topic.refused(name, reason["reason"].as_str().unwrap_or_default())
            }
            ("phx_reply", Some(reply)) => {
                let push = self.pushes.remove(&reference);
                push.map(|push| format!("{push:?} {} {}", reply.status, shown(&reply.response))).into_iter().collect()
            }
            ("phx_close", _) if topic.joined && lifetime == topic.join_ref => topic.ended(name),
            ("system", _) if ours => topic.told(name, &said.payload),
            ("broadcast", _) if ours => vec![broadcast_line(name, said)],
            ("postgres_changes" | "INSERT" | "UPDATE" | "DELETE", _) if ours => {
                topic.changes.changed(name, said).into_iter().collect()
            }
            ("presence_state" | "presence_diff", _) if ours && topic.room.is_some() => topic.counted(name, said),
            (event, _) if ours => vec![format!("{name} {event} {}", shown(&said.payload))],
            _ => Vec::new(),
        }
    }

    fn expect(&mut self, line: impl Into<String>) {
        self.seen.expected.push(line.into());
    }

    fn collect(&mut self) {
        for event in self.script.take_events() {
            let name = |channel: &ChannelId| &self.names[channel];
            let line = match &event {
                Event::Connected { .. } => "connected".into(),
                Event::Disconnected { reason: LossReason::Requested, .. } => "disconnected".into(),
                Event::Disconnected { reason: LossReason::Open(error), .. } => match UpgradeRefusal::of(error) {
                    Some(refusal) => format!("refused with {}: {}", refusal.status, refusal.text),
                    None => error.to_string(),
                },
                Event::Disconnected { reason: LossReason::Closed { code, reason }, .. } => {
                    format!("closed with {code:?} {reason}")
                }
                Event::Heartbeat(HeartbeatStatus::Ok { .. }) => "heartbeat ok".into(),
                Event::Subscribed { channel, again } => format!("{} subscribed, again: {again}", name(channel)),
                Event::SubscribeFailed { channel, failure: SubscribeFailure::Refused(refusal), retry } => {
                    format!("{} refused: {} {:?} {}", name(channel), refusal.reason, refusal.class, when(*retry))
                }
                Event::ChannelErrored { channel, trouble, .. } => format!("{} errored: {trouble}", name(channel)),
                Event::ChannelClosed { channel, reason } => format!("{} gone: {reason}", name(channel)),
                Event::Gap { channel, .. } => format!("{} has a gap", name(channel)),
                Event::Broadcast { channel, event, payload, meta } => {
                    let meta = meta.as_ref().map(shown);
                    format!("{} broadcast {event} {} {meta:?}", name(channel), shown(payload))
                }
                Event::System { channel, message } => {
                    format!("{} system ok: {} {}", name(channel), message.ok, message.message)
                }
                Event::PostgresChange { channel, bindings, change } => {
                    change_line(name(channel), bindings, change).unwrap_or_else(|error| error.to_string())
                }
                Event::PostgresReady { channel, missed_since } => changes::ready(name(channel), missed_since.is_some()),
                Event::PostgresFailed { channel, failure: PostgresFailure::Refused { message } } => {
                    changes::refused(name(channel), message)
                }
                Event::Presence { channel, change } => presence_line(name(channel), change),
                Event::Message { channel, event, payload } => format!("{} {event} {}", name(channel), shown(payload)),
                Event::PushDone { push, outcome } => match outcome {
                    PushOutcome::Ok(response) => format!("{push:?} ok {}", shown(response)),
                    PushOutcome::Error(response) => format!("{push:?} error {}", shown(response)),
                    // Not on the wire, so the recording cannot say it.
                    _ => continue,
                },
                Event::PushSent { .. } | Event::Heartbeat(HeartbeatStatus::Sent) => continue,
                other => format!("{other:?}"),
            };
            self.seen.actual.push(line);
        }
    }
}
