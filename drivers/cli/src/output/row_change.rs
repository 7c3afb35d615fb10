//! A change of a row in the database, as every output shows it.

use rejoin_core::supabase::{Bindings, ChangeDetails, PostgresChange};
use rejoin_core::{Payload, PayloadError};

use super::object::{Object, one_line};
use super::words::shown;

/// The change, read.
#[derive(Debug)]
pub(crate) struct RowChange {
    kind: &'static str,
    details: ChangeDetails,
    record: Option<Payload>,
    old_record: Option<Payload>,
    /// Which of the `--postgres-changes` it is for, from 0.
    bindings: Vec<usize>,
}

impl RowChange {
    pub(super) fn read(change: &PostgresChange, bindings: &Bindings) -> Result<Self, PayloadError> {
        Ok(Self {
            kind: change.kind().as_str(),
            details: change.details()?,
            record: change.raw_record()?,
            old_record: change.raw_old_record()?,
            bindings: bindings.iter().collect(),
        })
    }

    pub(super) fn write_json(&self, object: &mut Object<'_>) {
        let Self { kind, details, record, old_record, bindings } = self;
        object.string("name", kind);
        object.string("schema", &details.schema);
        object.string("table", &details.table);
        for (key, row) in [("record", record), ("old_record", old_record)] {
            if let Some(json) = row.as_ref().and_then(Payload::as_json) {
                object.raw(key, &one_line(json));
            }
        }
        if let Some(time) = &details.commit_timestamp {
            object.string("commit_timestamp", time);
        }
        if !details.errors.is_empty() {
            let errors: Vec<&str> = details.errors.iter().map(|error| error.as_str()).collect();
            object.raw("errors", &serde_json::Value::from(errors).to_string());
        }
        object.raw("bindings", &serde_json::Value::from(bindings.as_slice()).to_string());
    }

    /// The row as it is, or as it was if it is gone.
    pub(super) fn to_text(&self) -> String {
        let Self { kind, details, record, old_record, .. } = self;
        let mut text = format!("{kind} {}.{}", details.schema, details.table);
        if let Some(row) = record.as_ref().or(old_record.as_ref()) {
            text = text + " " + &shown(row);
        }
        for error in &details.errors {
            text = text + ": " + error;
        }
        text
    }
}
