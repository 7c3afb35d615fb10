//! A change of a row, written as the real server writes it: the ids last (section 5.3).

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_core::supabase::ChangeKind;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::binding::Binding;
use super::matching;

/// A row of a table that came, changed or went.
#[derive(Clone, Debug)]
pub struct RowChange {
    schema: String,
    table: String,
    kind: ChangeKind,
    record: Option<Row>,
    old_record: Option<Row>,
    columns: Vec<Column>,
    key: Vec<String>,
    error: Option<RowError>,
    commit_timestamp: String,
}

/// The values of a row, each as the text of its JSON.
pub(super) type Row = BTreeMap<String, Box<RawValue>>;

#[derive(Clone, Debug, Serialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    type_name: String,
}

/// Why a change does not tell all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowError {
    /// The table has no primary key: the row is not told.
    NoPrimaryKey,
    /// The subscriber may not read the table: the row is not told.
    Unauthorized,
    /// The row is too large: of its values only the small ones are told.
    TooLarge,
}

impl RowError {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NoPrimaryKey => "Error 400: Bad Request, no primary key",
            Self::Unauthorized => "Error 401: Unauthorized",
            Self::TooLarge => "Error 413: Payload Too Large",
        }
    }
}

impl RowChange {
    /// A new row of a table in `public`. Its columns have the types that its values suggest.
    ///
    /// # Panics
    /// If the record is no JSON object, as below.
    #[must_use]
    pub fn insert(table: &str, record: &impl Serialize) -> Self {
        Self::new(ChangeKind::Insert, table, Some(row(record)), None)
    }

    /// A row that is another now. `old_record` is what the database tells of what it was: the
    /// primary key, or all of it with `REPLICA IDENTITY FULL`.
    #[must_use]
    pub fn update(table: &str, old_record: &impl Serialize, record: &impl Serialize) -> Self {
        Self::new(ChangeKind::Update, table, Some(row(record)), Some(row(old_record)))
    }

    /// A row that is gone, with what the database tells of it.
    #[must_use]
    pub fn delete(table: &str, old_record: &impl Serialize) -> Self {
        Self::new(ChangeKind::Delete, table, None, Some(row(old_record)))
    }

    fn new(kind: ChangeKind, table: &str, record: Option<Row>, old_record: Option<Row>) -> Self {
        let columns = record.iter().chain(&old_record).flatten();
        let columns: BTreeMap<&String, &str> = columns.map(|(name, value)| (name, type_of(value.get()))).collect();
        let columns = columns.into_iter().map(|(name, of)| Column { name: name.clone(), type_name: of.into() });
        Self {
            schema: "public".into(),
            table: table.into(),
            kind,
            columns: columns.collect(),
            record,
            old_record,
            key: vec!["id".into()],
            error: None,
            commit_timestamp: String::new(),
        }
    }

    /// In another schema.
    #[must_use]
    pub fn schema(self, schema: &str) -> Self {
        Self { schema: schema.into(), ..self }
    }

    /// With these columns and types, such as `("n", "int4")`.
    #[must_use]
    pub fn columns(self, columns: &[(&str, &str)]) -> Self {
        let column = |(name, of): &(&str, &str)| Column { name: (*name).into(), type_name: (*of).into() };
        Self { columns: columns.iter().map(column).collect(), ..self }
    }

    /// With this primary key, which every selection of columns includes; otherwise `id`.
    #[must_use]
    pub fn key(self, columns: &[&str]) -> Self {
        Self { key: columns.iter().map(|column| (*column).into()).collect(), ..self }
    }

    /// Told with this error.
    #[must_use]
    pub fn failing(self, error: RowError) -> Self {
        Self { error: Some(error), ..self }
    }

    pub(super) const fn kind(&self) -> ChangeKind {
        self.kind
    }

    /// When it was made, since 1970.
    pub(super) fn committed(&mut self, unix: Duration) {
        self.commit_timestamp = iso(unix);
    }

    /// The ids of the bindings that are to hear of it, by the columns that they select. The real
    /// server names the last first.
    pub(super) fn audience(&self, bindings: &[Binding]) -> BTreeMap<Option<Vec<String>>, Vec<u32>> {
        let mut audience = BTreeMap::<_, Vec<u32>>::new();
        for binding in bindings.iter().rev().filter(|binding| self.is_for(binding)) {
            audience.entry(binding.select.clone()).or_default().push(binding.id);
        }
        audience
    }

    fn is_for(&self, binding: &Binding) -> bool {
        let row = self.record.as_ref().or(self.old_record.as_ref());
        // Of a row that is not told nobody can see whether it is the one.
        let told = row.filter(|_| !self.hides_row());
        binding.is_of(self.kind, &self.schema, &self.table)
            && told.is_none_or(|row| matching::matches(&binding.filter, row))
    }

    fn hides_row(&self) -> bool {
        matches!(self.error, Some(RowError::NoPrimaryKey | RowError::Unauthorized))
    }

    /// The change as JSON, for those who selected these columns.
    pub(super) fn seen_by(&self, select: Option<&[String]>, row_bytes: usize) -> String {
        #[derive(Serialize)]
        struct Data<'a> {
            table: &'a str,
            #[serde(rename = "type")]
            kind: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            record: Option<BTreeMap<&'a str, &'a RawValue>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            columns: Option<Vec<&'a Column>>,
            errors: Option<[&'a str; 1]>,
            schema: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            commit_timestamp: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            old_record: Option<BTreeMap<&'a str, &'a RawValue>>,
        }
        let size = |row: &Option<Row>| row.iter().flatten().map(|(_, value)| value.get().len()).sum::<usize>();
        let too_large = size(&self.record) + size(&self.old_record) > row_bytes;
        let error = self.error.or(too_large.then_some(RowError::TooLarge));
        let told = |row| self.told(row, select, error.is_some());
        let (hidden, columns) = (self.hides_row(), self.columns.iter());
        let data = Data {
            table: &self.table,
            kind: self.kind.as_str(),
            record: self.record.as_ref().filter(|_| !hidden).map(told),
            columns: (!hidden).then(|| columns.filter(|column| self.is_selected(&column.name, select)).collect()),
            errors: error.map(|error| [error.as_str()]),
            schema: &self.schema,
            commit_timestamp: (!hidden).then_some(&self.commit_timestamp),
            old_record: self.old_record.as_ref().filter(|_| !hidden).map(told),
        };
        serde_json::to_string(&data).unwrap_or_default()
    }

    fn told<'a>(&self, row: &'a Row, select: Option<&[String]>, small: bool) -> BTreeMap<&'a str, &'a RawValue> {
        row.iter()
            .filter(|(name, value)| self.is_selected(name, select) && !(small && value.get().len() > SMALL))
            .map(|(name, value)| (name.as_str(), &**value))
            .collect()
    }

    fn is_selected(&self, name: &String, select: Option<&[String]>) -> bool {
        select.is_none_or(|select| select.contains(name) || self.key.contains(name))
    }
}

/// The largest value, in bytes, of a row that is too large.
const SMALL: usize = 64;

fn row(record: &impl Serialize) -> Row {
    let text = to_raw_value(record).expect("a record is JSON");
    serde_json::from_str(text.get()).expect("a record is a JSON object")
}

/// The type that a value suggests.
fn type_of(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b't' | b'f') => "bool",
        Some(b'{' | b'[') => "jsonb",
        Some(b'-' | b'0'..=b'9') if json.parse::<i64>().is_ok() => "int8",
        Some(b'-' | b'0'..=b'9') => "numeric",
        _ => "text",
    }
}

/// `2026-11-20T18:13:58.245Z`.
fn iso(unix: Duration) -> String {
    let (days, secs) = (unix.as_secs() / 86_400, unix.as_secs() % 86_400);
    // Years begin in March here, so that the day that some have comes last; 719 468 days are from
    // the first March of the calendar to 1970.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (secs / 3_600, secs / 60 % 60, secs % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", unix.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_the_calendar_has_them() {
        for (unix, expected) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_795_198_438, "2026-11-20T18:13:58.007Z"),
            (4_107_542_399, "2100-02-28T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(iso(Duration::from_millis(unix * 1_000 + 7)), expected);
        }
    }
}
