//! Database changes and filters, each read in two ways that must agree.

use rejoin_core::supabase::{PostgresChange, PostgresFilter, convert_record};
use rejoin_core::wire::Serializer;
use rejoin_core::{Frame, Payload, Text};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Reads a change, whatever it is; where it is one that a parser reads, both say the same.
#[expect(clippy::missing_panics_doc, reason = "panicking is how a fuzz target speaks")]
pub fn postgres_change(data: &[u8]) {
    let frame = [br#"[null,null,"t","postgres_changes","#, data, b"]"].concat();
    let Ok(message) = Serializer::V2.decode_from_server(Frame::Text(Text::assume_utf8(frame.into()))) else { return };
    let change = PostgresChange::of(&message.payload);
    if let Ok(change) = &change {
        read_it_all(change);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    // What has a third member, or one twice, is no server's and may be read in either way.
    let Some((told, ids)) = told(text) else { return };
    let Some(kind) = ["INSERT", "UPDATE", "DELETE"].into_iter().find(|kind| told.kind.eq_ignore_ascii_case(kind))
    else {
        assert!(change.is_err(), "{text}");
        return;
    };
    let change = change.unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(change.kind().as_str(), kind, "{text}");
    assert!(change.ids().eq(ids), "{text}");
    let rows = [change.raw_record(), change.raw_old_record()].map(|row| row.expect("its parser could read it"));
    for (row, expected) in rows.iter().zip([told.record, told.old_record]) {
        assert_eq!(row.as_ref().and_then(Payload::as_json), expected.map(RawValue::get), "{text}");
    }
    if let Ok(details) = change.details() {
        let names = [&details.schema, &details.table].map(|name| Some(name.as_str()).filter(|name| !name.is_empty()));
        let expected = [&told.schema, &told.table].map(|name| name.as_deref().filter(|name| !name.is_empty()));
        assert_eq!(names, expected, "{text}");
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    ids: Option<Vec<u64>>,
}

#[derive(Deserialize)]
struct Told<'a> {
    #[serde(rename = "type")]
    kind: String,
    schema: Option<String>,
    table: Option<String>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    #[serde(borrow)]
    old_record: Option<&'a RawValue>,
}

/// What a parser reads. An array would be taken for a struct by its positions.
fn told(text: &str) -> Option<(Told<'_>, Vec<u64>)> {
    let object = |text: &str| text.trim_ascii_start().starts_with('{');
    let envelope: Envelope<'_> = serde_json::from_str(text).ok().filter(|_| object(text))?;
    let told = serde_json::from_str(envelope.data.get()).ok().filter(|_| object(envelope.data.get()))?;
    Some((told, envelope.ids.unwrap_or_default()))
}

fn read_it_all(change: &PostgresChange) {
    let _ = (change.ids().count(), change.truncated(), change.record::<Value>(), change.old_record::<Value>());
    let Ok(details) = change.details() else { return };
    for record in [change.raw_record(), change.raw_old_record()].into_iter().flatten().flatten() {
        if let Ok(converted) = convert_record(&details.columns, &record) {
            let json = converted.as_json().unwrap_or_default();
            assert!(Payload::from_json_text(json).is_ok(), "{json}");
        }
    }
}

/// Reads a filter; what can be read can be written, and that says the same in one way only.
#[expect(clippy::missing_panics_doc, reason = "panicking is how a fuzz target speaks")]
pub fn postgres_filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let filter = match PostgresFilter::parse(text) {
        Ok(filter) => filter,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(filter.conditions().is_empty(), text.trim().is_empty());
    if filter.conditions().is_empty() {
        return;
    }
    let built = filter.build().unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(PostgresFilter::parse(&built).as_ref(), Ok(&filter), "{text} became {built}");
    assert_eq!(filter.build().as_ref(), Ok(&built));
}
