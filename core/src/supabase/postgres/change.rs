//! A change of a row, of which only what its reader asks for is parsed.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::columns::{Column, Str};
use super::envelope::{ChangeEnvelope, ChangeKind};
use crate::payload::{Payload, PayloadError};
use crate::text::Text;

/// A row that came, changed or went (specification, section 5.3).
///
/// Its parts are slices of the frame. What is missing is `None` or empty, as in a change that the
/// server could not read ([`ChangeDetails::errors`]); only what is asked for can fail to parse.
///
/// Numbers are as exact as the type that they are read into: an `int8` fits an `i64`, a `numeric`
/// needs a [`RawValue`], as an `f64` has no more than 15 digits.
///
/// ```
/// use rejoin_core::Payload;
/// use rejoin_core::supabase::{ChangeKind, PostgresChange};
///
/// #[derive(serde::Deserialize)]
/// struct Todo { id: i64, task: String }
///
/// let payload = Payload::from_json_text(
///     r#"{"data":{"table":"todos","type":"INSERT","record":{"id":7,"task":"rest"},"columns":[],
///         "errors":null,"schema":"public","commit_timestamp":"2026-11-20T18:10:44.738Z"},"ids":[68883293]}"#,
/// )?;
/// let change = PostgresChange::of(&payload)?;
/// assert_eq!(change.kind(), ChangeKind::Insert);
/// assert!(change.ids().eq([68_883_293]));
/// let todo: Todo = change.record()?.expect("an insert has a record");
/// assert_eq!((todo.id, todo.task.as_str()), (7, "rest"));
/// assert_eq!(change.details()?.table, "todos");
/// # Ok::<(), rejoin_core::PayloadError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresChange {
    payload: Payload,
    envelope: ChangeEnvelope,
}

impl PostgresChange {
    /// The change that the payload of a `postgres_changes` message tells of, or that of an `INSERT`,
    /// `UPDATE` or `DELETE` on a topic of the legacy API, which is the bare change without ids.
    ///
    /// # Errors
    /// If the payload is binary, no JSON, or tells of no insert, update or delete. What is wrong
    /// inside of the row may show only when that is read.
    pub fn of(payload: &Payload) -> Result<Self, PayloadError> {
        let envelope = ChangeEnvelope::of(payload)?;
        Ok(Self { payload: payload.clone(), envelope })
    }

    /// Whether the row came, changed or went.
    #[must_use]
    pub const fn kind(&self) -> ChangeKind {
        self.envelope.kind
    }

    /// The ids of the bindings that it is for, as the join's answer gave them: in no order, some
    /// perhaps twice. None at all if the server named none.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        let ids = self.payload.as_bytes().get(self.envelope.ids.clone()).unwrap_or_default();
        ids.split(|&byte| byte == b',').filter_map(|id| core::str::from_utf8(id.trim_ascii()).ok()?.parse().ok())
    }

    /// The row as it is now: of an insert or an update.
    ///
    /// An update's record lacks large values that did not change, unless the table has
    /// `REPLICA IDENTITY FULL`; see also [`truncated`](Self::truncated).
    ///
    /// # Errors
    /// If the record is not the JSON of a `T`.
    pub fn record<'de, T: Deserialize<'de>>(&'de self) -> Result<Option<T>, PayloadError> {
        #[derive(Deserialize)]
        #[serde(bound(deserialize = "T: Deserialize<'de>"))]
        struct New<T> {
            #[serde(default = "none")]
            record: Option<T>,
        }
        match self.envelope.record {
            Some(at) => self.read_at(at),
            None => Ok(self.read_at::<New<T>>(self.envelope.data)?.record),
        }
    }

    /// The row as it was: of an update or a delete. It has the primary key only, unless the table
    /// has `REPLICA IDENTITY FULL`, and under row level security that does not help a delete.
    ///
    /// # Errors
    /// If the record is not the JSON of a `T`.
    pub fn old_record<'de, T: Deserialize<'de>>(&'de self) -> Result<Option<T>, PayloadError> {
        #[derive(Deserialize)]
        #[serde(bound(deserialize = "T: Deserialize<'de>"))]
        struct Old<T> {
            #[serde(default = "none")]
            old_record: Option<T>,
        }
        Ok(self.read_at::<Old<T>>(self.envelope.data)?.old_record)
    }

    /// The JSON of [`record`](Self::record).
    ///
    /// # Errors
    /// If the payload is broken before the record ends.
    pub fn raw_record(&self) -> Result<Option<Payload>, PayloadError> {
        Ok(self.record::<&RawValue>()?.map(|raw| self.payload.slice(raw.get())))
    }

    /// The JSON of [`old_record`](Self::old_record).
    ///
    /// # Errors
    /// If the payload is broken before the record ends.
    pub fn raw_old_record(&self) -> Result<Option<Payload>, PayloadError> {
        Ok(self.old_record::<&RawValue>()?.map(|raw| self.payload.slice(raw.get())))
    }

    /// What else is told of the change, in one pass over it.
    ///
    /// # Errors
    /// If it is no JSON, or of other types than servers send.
    pub fn details(&self) -> Result<ChangeDetails, PayloadError> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow, default)]
            schema: Option<Str<'a>>,
            #[serde(borrow, default)]
            table: Option<Str<'a>>,
            #[serde(borrow, default)]
            commit_timestamp: Option<Str<'a>>,
            #[serde(borrow, default)]
            columns: Option<Vec<WireColumn<'a>>>,
            #[serde(borrow, default)]
            errors: Option<Vec<Str<'a>>>,
        }
        #[derive(Deserialize)]
        struct WireColumn<'a> {
            #[serde(borrow)]
            name: Str<'a>,
            #[serde(borrow, rename = "type")]
            type_name: Str<'a>,
        }
        let wire: Wire<'_> = self.read_at(self.envelope.data)?;
        let text = |text: Str<'_>| match (text.0, self.payload.as_text()) {
            (Cow::Borrowed(text), Some(frame)) => frame.slice_ref(text),
            (text, _) => text.as_ref().into(),
        };
        let column = |column: WireColumn<'_>| Column { name: text(column.name), type_name: text(column.type_name) };
        Ok(ChangeDetails {
            schema: wire.schema.map(text).unwrap_or_default(),
            table: wire.table.map(text).unwrap_or_default(),
            commit_timestamp: wire.commit_timestamp.map(text),
            columns: wire.columns.unwrap_or_default().into_iter().map(column).collect(),
            errors: wire.errors.unwrap_or_default().into_iter().map(text).collect(),
        })
    }

    /// Whether the row was over the server's limit of 1 MiB, so that its records lack all values of
    /// more than 64 bytes: fetch it from the database.
    ///
    /// # Errors
    /// Those of [`details`](Self::details).
    pub fn truncated(&self) -> Result<bool, PayloadError> {
        #[derive(Deserialize)]
        struct Errors<'a> {
            #[serde(borrow, default)]
            errors: Option<Vec<Str<'a>>>,
        }
        let errors = self.read_at::<Errors<'_>>(self.envelope.data)?.errors.unwrap_or_default();
        Ok(errors.iter().any(|error| error.0.contains("Payload Too Large")))
    }

    /// The whole message.
    #[must_use]
    pub const fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The value that begins here, whatever follows it.
    fn read_at<'de, T: Deserialize<'de>>(&'de self, at: usize) -> Result<T, PayloadError> {
        let bytes = self.payload.as_bytes().get(at..).unwrap_or_default();
        Ok(T::deserialize(&mut serde_json::Deserializer::from_slice(bytes))?)
    }
}

/// What is told of a change besides its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangeDetails {
    /// Of which schema.
    pub schema: Text,
    /// Of which table.
    pub table: Text,
    /// When the transaction was committed, such as `2026-11-20T18:10:44.738Z`; missing with most errors.
    pub commit_timestamp: Option<Text>,
    /// The columns of the table, or the selected ones; empty with most errors.
    pub columns: Vec<Column>,
    /// Why there is no complete row, such as `Error 401: Unauthorized`; empty if nothing is wrong.
    pub errors: Vec<Text>,
}

/// For a field whose type need not have a default.
const fn none<T>() -> Option<T> {
    None
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn unread(text: impl Into<Text>) -> Payload {
        Payload::unread_json(text.into())
    }

    fn change(text: &str) -> PostgresChange {
        PostgresChange::of(&unread(text)).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    const UPDATE: &str = concat!(
        r#"{"data":{"table":"todos","type":"UPDATE","record":{"id": 1, "s": "},\"ids\":[7]}"},"#,
        r#""columns":[{"name": "id", "type": "int8"}, {"name": "s", "type": "text"}],"errors":null,"#,
        r#""schema":"public","commit_timestamp":"2026-11-20T18:10:46.091Z","old_record":{"id": 1}},"ids":[3,12,3]}"#,
    );

    /// What the parser would refuse shows that it was not asked.
    #[test]
    fn the_row_is_not_read_to_tell_whose_change_it_is() {
        let row = "[\\xff".repeat(1_000);
        for data in [
            format!(r#""table":"t","type":"INSERT","record":{row},"x":1"#),
            format!(r#""record":{row},"type":"INSERT""#),
        ] {
            let change = change(&format!(r#"{{"data":{{{data}}},"ids":[5,6]}}"#));
            assert_eq!(change.kind(), ChangeKind::Insert);
            assert!(change.ids().eq([5, 6]));
            assert!(change.record::<Value>().is_err() && change.raw_record().is_err());
            assert!(change.raw_old_record().is_err() && change.details().is_err() && change.truncated().is_err());
        }
    }

    #[test]
    fn every_part_is_a_slice_of_the_frame() {
        let change = change(UPDATE);
        let frame = change.payload().as_bytes().as_ptr_range();
        let details = change.details().unwrap();
        assert_eq!((details.schema.as_str(), details.table.as_str()), ("public", "todos"));
        assert_eq!(details.columns, [Column::new("id", "int8"), Column::new("s", "text")]);
        let parts = [change.raw_record(), change.raw_old_record()].map(|part| part.unwrap().unwrap());
        assert_eq!(parts[1].as_json(), Some(r#"{"id": 1}"#));
        let texts = [&details.schema, &details.table, &details.commit_timestamp.unwrap(), &details.columns[1].name];
        for part in parts.iter().map(Payload::as_bytes).chain(texts.map(Text::as_bytes)) {
            assert!(frame.contains(&part.as_ptr()));
        }
    }

    /// Trap T43.
    #[test]
    fn numbers_are_exact() {
        #[derive(Deserialize)]
        struct Row<'a> {
            big: i64,
            #[serde(borrow)]
            num: &'a RawValue,
        }
        for big in [i64::MIN, -i64::MAX, 9_007_199_254_740_993, i64::MAX] {
            for order in [r#""table":"t","type":"INSERT","#, r#""type":"INSERT","table":"t","#] {
                let change = change(&format!(
                    r#"{{"data":{{{order}"record":{{"big":{big},"num":0.1000000000000000055}}}},"ids":[1]}}"#
                ));
                let row: Row<'_> = change.record().unwrap().unwrap();
                assert_eq!((row.big, row.num.get()), (big, "0.1000000000000000055"));
            }
        }
    }

    /// Trap T42 and row 39 of the failure modes: what a server cannot read, or the database does not tell.
    #[test]
    fn missing_parts_are_none_or_empty() {
        for error in ["Error 400: Bad Request, no primary key", "Error 401: Unauthorized"] {
            let change = change(
                &json!({"data": {"schema": "s", "table": "t", "type": "INSERT", "errors": [error]}, "ids": [1]})
                    .to_string(),
            );
            let details = change.details().unwrap();
            assert_eq!(
                (details.errors, details.commit_timestamp, details.columns),
                ([error.into()].into(), None, [].into())
            );
            assert_eq!((change.record::<Value>(), change.old_record::<Value>()), (Ok(None), Ok(None)));
            assert_eq!(change.truncated(), Ok(false));
        }
        let deleted = change(r#"{"data":{"table":"t","type":"DELETE","record":null,"old_record":{"id":1}},"ids":[]}"#);
        assert_eq!(deleted.record::<Value>(), Ok(None));
        assert_eq!(deleted.old_record::<Value>(), Ok(Some(json!({"id": 1}))));
        assert_eq!((deleted.ids().count(), deleted.details().unwrap().schema), (0, Text::EMPTY));
    }

    /// Row 40 of the failure modes.
    #[test]
    fn a_truncated_row_says_so() {
        let data = json!({"type": "UPDATE", "record": {"id": 1}, "errors": ["Error 413: Payload Too Large"]});
        assert_eq!(change(&json!({"data": data, "ids": [1]}).to_string()).truncated(), Ok(true));
        assert_eq!(change(UPDATE).truncated(), Ok(false));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let mut text = UPDATE.as_bytes().to_vec();
            let at = at.index(text.len());
            text[at] = byte;
            text.truncate(if cut { at } else { text.len() });
            if let Ok(change) = PostgresChange::of(&unread(Text::assume_utf8(text.into()))) {
                let _ = (change.ids().count(), change.details(), change.truncated(), change.raw_record());
                let _ = (change.record::<Value>(), change.old_record::<Value>());
            }
        }
    }

    #[test]
    fn a_nesting_bomb_is_an_error_of_its_reader_only() {
        let bomb = "[".repeat(100_000);
        let record = change(&format!(r#"{{"data":{{"table":"t","type":"INSERT","record":{bomb}}},"ids":[1]}}"#));
        assert!(record.record::<Value>().is_err() && record.raw_record().is_err() && record.details().is_err());
        assert!(PostgresChange::of(&unread(format!(r#"{{"data":{bomb}"#))).is_err());
    }
}
