//! What a client should make of database changes, read off the recording alone.

use rejoin_core::supabase::{Bindings, PostgresChange};
use rejoin_core::wire::Message;
use rejoin_core::{Payload, PayloadError};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The database changes of a recorded channel: what its join asked for, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The event of each binding that the recorded client asked for.
    asked: Vec<String>,
    /// The id that the server gave to each of them.
    ids: Vec<u64>,
    flow: Flow,
    /// Whether changes flowed once and then did not.
    missed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Untold,
    Flowing,
    Refused,
}

/// A change as it stands on the wire, and also the whole message on a topic of the legacy API.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type")]
    kind: String,
    schema: String,
    table: String,
    commit_timestamp: Option<String>,
    #[serde(default)]
    columns: Vec<WireColumn>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    #[serde(borrow)]
    old_record: Option<&'a RawValue>,
    errors: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct WireColumn {
    name: String,
    #[serde(rename = "type")]
    type_name: String,
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    data: Wire<'a>,
    ids: Vec<u64>,
}

impl Changes {
    /// The recorded client joins with this payload.
    pub(super) fn asked(&mut self, join: &Payload) {
        let join: Value = join.parse().unwrap_or_default();
        let bindings = join["config"]["postgres_changes"].as_array().cloned().unwrap_or_default();
        let event = |binding: &Value| binding["event"].as_str().unwrap_or("*").to_uppercase();
        self.asked = bindings.iter().map(event).collect();
        (self.ids, self.flow) = (Vec::new(), Flow::Untold);
    }

    /// The server has accepted the join: it names the bindings in the order in which they were asked for.
    pub(super) fn answered(&mut self, response: &Payload) {
        let response: Value = response.parse().unwrap_or_default();
        let bindings = response["postgres_changes"].as_array().cloned().unwrap_or_default();
        self.ids = bindings.iter().filter_map(|binding| binding["id"].as_u64()).collect();
    }

    /// The channel is no longer joined.
    pub(super) fn lost(&mut self) {
        self.missed |= std::mem::take(&mut self.flow) == Flow::Flowing;
    }

    /// A `system` message: the first of a join that says that changes flow makes them ready, and each
    /// that says that they do not is told.
    pub(super) fn told(&mut self, name: &str, system: &Value) -> Option<String> {
        if system["extension"] != "postgres_changes" || self.asked.is_empty() {
            return None;
        }
        let before = self.flow;
        if system["status"] == "ok" {
            self.flow = Flow::Flowing;
            let missed = (before != Flow::Flowing).then(|| std::mem::take(&mut self.missed))?;
            return Some(ready(name, missed));
        }
        self.lost();
        self.flow = Flow::Refused;
        Some(refused(name, system["message"].as_str().unwrap_or_default()))
    }

    /// A message with a change, for the bindings whose ids it names and whose event it is; `None` if
    /// it is for none of them.
    pub(super) fn changed(&self, name: &str, said: &Message) -> Option<String> {
        if said.event != "postgres_changes" {
            let change: Wire<'_> = said.payload.parse().ok()?;
            return Some(change.line(name, &[]));
        }
        let WireMessage { data, ids } = said.payload.parse().ok()?;
        let named = |(place, id): (usize, &u64)| ids.contains(id).then_some(place);
        let admits = |place: &usize| self.asked.get(*place).is_some_and(|event| *event == "*" || *event == data.kind);
        let places: Vec<_> = self.ids.iter().enumerate().filter_map(named).filter(admits).collect();
        (!places.is_empty()).then(|| data.line(name, &places))
    }
}

impl Wire<'_> {
    fn line(&self, name: &str, places: &[usize]) -> String {
        let Self { kind, schema, table, commit_timestamp, columns, record, old_record, errors } = self;
        let columns: Vec<_> = columns.iter().map(|column| format!("{} {}", column.name, column.type_name)).collect();
        let (record, old) = (record.map(RawValue::get), old_record.map(RawValue::get));
        let errors = errors.as_deref().unwrap_or_default();
        format!(
            "{name} changed for {places:?}: {kind} {schema}.{table} {record:?} {old:?} {commit_timestamp:?} {columns:?} {errors:?}"
        )
    }
}

/// What a session reports of a change, in the words of the recording.
pub(super) fn change_line(name: &str, bindings: &Bindings, change: &PostgresChange) -> Result<String, PayloadError> {
    let details = change.details()?;
    let places: Vec<_> = bindings.iter().collect();
    let columns: Vec<_> =
        details.columns.iter().map(|column| format!("{} {}", column.name, column.type_name)).collect();
    let (record, old) = (change.raw_record()?, change.raw_old_record()?);
    let [record, old] = [&record, &old].map(|row| row.as_ref().and_then(Payload::as_json));
    Ok(format!(
        "{name} changed for {places:?}: {} {}.{} {record:?} {old:?} {:?} {columns:?} {:?}",
        change.kind().as_str(),
        details.schema,
        details.table,
        details.commit_timestamp.as_deref(),
        details.errors,
    ))
}

pub(super) fn ready(name: &str, missed: bool) -> String {
    format!("{name} changes flow, some missed: {missed}")
}

pub(super) fn refused(name: &str, message: &str) -> String {
    format!("{name} changes do not flow: {message}")
}
