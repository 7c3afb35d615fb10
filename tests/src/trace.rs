//! What happened in a world, as rows of a recording and as hashes; and back again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use rejoin_core::phoenix::{Event, PushOutcome};
use rejoin_core::{Payload, Timestamp, TransportAction, TransportEvent};
use rejoin_recording::{Dir, Row};
use serde_json::json;

use crate::op::{Op, Timed};
use crate::storm::Storm;
use crate::weather::Climate;
use crate::world::direction;

/// Writes down what passes, if asked to, and always keeps the hashes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) rows: Vec<Row>,
    pub(crate) actions: Fingerprint,
    pub(crate) events: Fingerprint,
    pub(crate) event_count: usize,
    on: bool,
}

/// A hash that is the same in every run of one build.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fingerprint(DefaultHasher);

impl Fingerprint {
    pub(crate) fn add(&mut self, now: Timestamp, what: &impl Hash) {
        now.hash(&mut self.0);
        what.hash(&mut self.0);
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0.finish()
    }
}

impl Recorder {
    pub(crate) fn start(&mut self, storm: &Storm) {
        self.on = true;
        let meta = Row::meta("storm", "operations of a simulated storm and what the client's wire carried");
        self.rows.push(meta.with("seed", storm.seed).with("climate", json!(storm.climate)));
    }

    pub(crate) fn op(&mut self, now: Timestamp, op: &Op) {
        if self.on {
            let row = Row::new(now.as_millis(), "op").with("side", op.side());
            self.rows.push(row.with("op", json!(op)));
        }
    }

    pub(crate) fn leaves(&mut self, now: Timestamp, action: &TransportAction) {
        let at = now.as_millis();
        let row = match action {
            TransportAction::Open(request) => {
                self.actions.add(now, &(request.conn, &request.url));
                let row = Row::new(at, "upgrade").on(request.conn.get(), Dir::ToServer);
                row.with("url", request.url.clone())
            }
            TransportAction::Send { conn, frame } => {
                self.actions.add(now, &(conn, frame.as_bytes()));
                Row::frame(at, conn.get(), direction(false), frame)
            }
            TransportAction::Close { conn, code, reason } => {
                self.actions.add(now, &(conn, code, reason));
                Row::close(at, conn.get(), Dir::ToServer, *code, reason)
            }
            TransportAction::Abort { conn } => {
                self.actions.add(now, &(conn, "abort"));
                Row::new(at, "abort").on(conn.get(), Dir::ToServer)
            }
        };
        if self.on {
            self.rows.push(row);
        }
    }

    pub(crate) fn arrives(&mut self, now: Timestamp, event: &TransportEvent) {
        if !self.on {
            return;
        }
        let at = now.as_millis();
        let row = match event {
            TransportEvent::Opened { conn } => Row::new(at, "upgrade_ok").on(conn.get(), Dir::ToClient),
            TransportEvent::OpenFailed { conn, error } => {
                let mut row = Row::new(at, "upgrade_rejected").on(conn.get(), Dir::ToClient);
                row.status = error.status;
                row
            }
            TransportEvent::Received { conn, frame } => Row::frame(at, conn.get(), direction(true), frame),
            TransportEvent::Closed { conn, code, reason } => {
                Row::close(at, conn.get(), Dir::ToClient, code.unwrap_or(1006), reason)
            }
            _ => return,
        };
        self.rows.push(row);
    }

    pub(crate) fn reports(&mut self, now: Timestamp, event: &Event) {
        self.event_count += 1;
        // The debug form says everything but payloads.
        let said = format!("{event:?}");
        let payload = match event {
            Event::Joined { response: payload, .. }
            | Event::Message { payload, .. }
            | Event::PushDone { outcome: PushOutcome::Ok(payload) | PushOutcome::Error(payload), .. } => {
                payload.as_bytes()
            }
            _ => Payload::EMPTY.as_json().map_or(b"".as_slice(), |_| b"{}"),
        };
        self.events.add(now, &(&said, payload));
        if self.on {
            let row = Row::new(now.as_millis(), "event").with("event", said);
            self.rows.push(row);
        }
    }
}

/// The storm that a trace tells of.
#[must_use]
pub fn read_trace(rows: &[Row]) -> Option<Storm> {
    let meta = rows.iter().find(|row| row.kind == "meta")?;
    let seed = meta.rest.get("seed")?.as_u64()?;
    let climate: Climate = serde_json::from_value(meta.rest.get("climate")?.clone()).ok()?;
    let (mut ops, mut before) = (Vec::new(), 0);
    for row in rows.iter().filter(|row| row.kind == "op") {
        let op: Op = serde_json::from_value(row.rest.get("op")?.clone()).ok()?;
        let after_ms = u16::try_from(row.t_ms.checked_sub(before)?).ok()?;
        before = row.t_ms;
        ops.push(Timed { after_ms, op });
    }
    Some(Storm { seed, climate, ops })
}

/// Writes the trace of a storm into the directory for temporary files and says where.
///
/// # Errors
/// If that fails.
pub fn write_trace(storm: &Storm) -> std::io::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("rejoin-storm-{}.jsonl", storm.seed));
    let mut out = std::io::BufWriter::new(std::fs::File::create(&path)?);
    for row in storm.trace() {
        row.write(&mut out)?;
    }
    Ok(path)
}
