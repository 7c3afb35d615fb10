//! Recorded clients, played to a project of ours: does it say what the real server said?

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rejoin_core::wire::{Message, Ref, Serializer};
use rejoin_core::{ConnId, Frame, Payload, Text, Timestamp, TransportAction, TransportEvent};
use rejoin_recording::{Dir, Row};
use serde_json::{Value, json};

use super::config::PeerConfig;
use super::postgres::{RowChange, RowError};
use super::project::Project;

/// What the server said on one connection, in order, with the times in milliseconds.
pub type Said = Vec<(u64, Value)>;

/// What was said on every connection: by the project, and by the recorded server.
#[derive(Debug, Default)]
pub struct Conversations {
    /// What the project said.
    pub actual: BTreeMap<u64, Said>,
    /// What the recording says.
    pub expected: BTreeMap<u64, Said>,
}

/// Plays the clients of a recording to a project of this configuration.
///
/// Its database does what it was seen to do. Messages are JSON values in which the ages of tokens are N; closing handshakes that the client
/// begins are left out.
///
/// # Errors
/// If a row cannot be read.
pub fn play(rows: &[Row], config: PeerConfig) -> Result<Conversations, String> {
    let mut replay = Replay { project: Project::new(config), ..Replay::default() };
    for row in rows {
        let Some(number) = row.conn else { continue };
        let conn = ConnId::new(number);
        replay.run_until(Timestamp::from_millis(row.t_ms))?;
        match (row.kind.as_str(), row.dir) {
            ("upgrade", _) => replay.upgrade(conn, row),
            ("text" | "binary", Some(Dir::ToServer)) => {
                let frame = row.to_frame().ok_or("an unreadable row")?;
                replay.tell(conn, TransportEvent::Received { conn, frame })?;
            }
            ("close", Some(Dir::ToServer)) => {
                replay.closed.insert(number);
                let closed = TransportEvent::Closed { conn, code: row.code, reason: Text::EMPTY };
                replay.tell(conn, closed)?;
            }
            ("close", Some(Dir::ToClient)) if replay.closed.insert(number) => {
                replay.expects(row, json!({ "close": row.code }));
            }
            ("text" | "binary", Some(Dir::ToClient)) => {
                let said = replay.value(conn, row.to_frame().ok_or("an unreadable row")?)?;
                replay.change(&said["payload"])?;
                replay.expects(row, said);
            }
            ("http_request", _) => replay.request(conn, row).ok_or("an unreadable request")?,
            ("http_response", _) => replay.expects(row, json!({ "status": row.status, "body": row.body })),
            ("upgrade_rejected", _) => {
                let body: Value =
                    row.body.as_deref().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
                replay.expects(row, json!({ "status": row.status, "body": body }));
            }
            _ => {}
        }
    }
    Ok(replay.said)
}

#[derive(Default)]
struct Replay {
    now: Timestamp,
    project: Project,
    serializers: BTreeMap<ConnId, Serializer>,
    /// Changes of the database that were told to somebody.
    changes: BTreeSet<String>,
    /// Connections whose closing handshake has begun.
    closed: BTreeSet<u64>,
    said: Conversations,
}

impl Replay {
    fn upgrade(&mut self, conn: ConnId, row: &Row) {
        match self.project.check_upgrade(self.now, row.path.as_deref().unwrap_or_default(), &headers(row)) {
            Ok(upgrade) => {
                self.serializers.insert(conn, upgrade.serializer);
                self.project.open(self.now, conn, upgrade);
            }
            Err(refused) => {
                let body: Value = serde_json::from_str(&refused.body).unwrap_or_default();
                let at = self.now.saturating_add(refused.delay).as_millis();
                let said = json!({ "status": refused.status, "body": body });
                self.said.actual.entry(conn.get()).or_default().push((at, said));
            }
        }
    }

    fn request(&mut self, conn: ConnId, row: &Row) -> Option<()> {
        let body = match row.rest.get("body_b64") {
            Some(encoded) => STANDARD.decode(encoded.as_str()?).ok()?,
            None => row.body.as_deref()?.into(),
        };
        let (method, target) = (row.method.as_deref()?, row.path.as_deref()?);
        let answer = self.project.handle_http(self.now, method, target, &headers(row), &body)?;
        let said = json!({ "status": answer.status, "body": answer.body });
        self.said.actual.entry(conn.get()).or_default().push((self.now.as_millis(), said));
        self.drain().ok()
    }

    fn tell(&mut self, conn: ConnId, event: TransportEvent) -> Result<(), String> {
        self.project.handle_transport(self.now, conn, event);
        self.drain()
    }

    fn run_until(&mut self, until: Timestamp) -> Result<(), String> {
        while let Some(at) = self.project.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.project.handle_timeout(self.now);
            self.drain()?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    fn drain(&mut self) -> Result<(), String> {
        while let Some(action) = self.project.poll_transport() {
            let (conn, said) = match action {
                TransportAction::Send { conn, frame } => (conn, self.value(conn, frame)?),
                TransportAction::Close { conn, code, .. } => (conn, json!({ "close": code })),
                TransportAction::Abort { conn } => (conn, json!({ "close": 1006 })),
                TransportAction::Open(_) => return Err("a server that dials".into()),
            };
            self.said.actual.entry(conn.get()).or_default().push((self.now.as_millis(), said));
        }
        Ok(())
    }

    /// What the recorded database told one client happens to ours, once for all that were told.
    fn change(&mut self, payload: &Value) -> Result<(), String> {
        let data = payload.get("data").unwrap_or(payload);
        let (Some(kind), Some(table)) = (data["type"].as_str(), data["table"].as_str()) else { return Ok(()) };
        let change = match kind {
            "INSERT" => RowChange::insert(table, &data["record"]),
            "UPDATE" => RowChange::update(table, &data["old_record"], &data["record"]),
            "DELETE" => RowChange::delete(table, &data["old_record"]),
            _ => return Ok(()),
        };
        if !self.changes.insert(data.to_string()) {
            return Ok(());
        }
        let columns = data["columns"].as_array().into_iter().flatten();
        let columns: Vec<_> =
            columns.filter_map(|column| Some((column["name"].as_str()?, column["type"].as_str()?))).collect();
        let change = change.columns(&columns).schema(data["schema"].as_str().unwrap_or_default());
        let change = if data["errors"].is_null() { change } else { change.failing(RowError::TooLarge) };
        self.project.change(self.now, &change);
        self.drain()
    }

    fn expects(&mut self, row: &Row, said: Value) {
        self.said.expected.entry(row.conn.unwrap_or_default()).or_default().push((row.t_ms, said));
    }

    fn value(&self, conn: ConnId, frame: Frame) -> Result<Value, String> {
        let serializer = *self.serializers.get(&conn).ok_or("a frame before the upgrade")?;
        let binary = matches!(frame, Frame::Binary(_));
        let message = serializer.decode_from_server(frame).map_err(|error| format!("malformed: {error}"))?;
        let Message { join_ref, reference, topic, event, payload, user_event, .. } = message;
        let text = |reference: Option<Ref>| reference.map(|reference| reference.to_string());
        let (name, metadata) = user_event.map(|user| (user.event, user.metadata)).unzip();
        Ok(json!({
            "binary": binary,
            "join_ref": text(join_ref),
            "ref": text(reference),
            "topic": topic.as_str(),
            "event": event.as_str(),
            "user_event": name.as_deref(),
            "metadata": metadata.flatten().map(|metadata| content(&metadata)),
            "payload": content(&payload),
        }))
    }
}

fn headers(row: &Row) -> Vec<(Text, Text)> {
    let headers = row.rest.get("headers").and_then(Value::as_object);
    let headers = headers.into_iter().flatten();
    headers.filter_map(|(name, value)| Some((name.as_str().into(), value.as_str()?.into()))).collect()
}

fn content(payload: &Payload) -> Value {
    match payload.parse::<Value>() {
        Ok(json) => ageless(json),
        Err(_) => json!(payload.as_bytes()),
    }
}

/// "Token has expired 4711 seconds ago", whenever that was.
fn ageless(value: Value) -> Value {
    match value {
        Value::String(text) if text.ends_with(" seconds ago") => text
            .split(' ')
            .map(|word| if word.parse::<u64>().is_ok() { "N" } else { word })
            .collect::<Vec<_>>()
            .join(" ")
            .into(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, ageless(value))).collect(),
        Value::Array(items) => items.into_iter().map(ageless).collect(),
        other => other,
    }
}
