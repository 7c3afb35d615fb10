//! The database changes and the filters of the recorded servers, read by our types.

use std::collections::BTreeMap;

use rejoin_core::supabase::{PostgresChange, PostgresFilter, convert_record};
use rejoin_core::wire::Message;
use rejoin_recording::{Dir, Row};
use rejoin_sim::replay;
use serde_json::Value;
use serde_json::value::RawValue;

/// What both sides said in the conversations about database changes, by recording and connection.
fn conversations() -> Vec<(String, Vec<(Dir, Message)>)> {
    let mut conversations = Vec::new();
    for (name, rows) in replay::recordings("supabase") {
        let mut of_conn: BTreeMap<u64, Vec<Row>> = BTreeMap::new();
        for row in rows.into_iter().filter(|_| name.starts_with("pg_changes_")) {
            of_conn.entry(row.conn.unwrap_or_default()).or_default().push(row);
        }
        for rows in of_conn.into_values() {
            let Some(serializer) = replay::serializer(&rows) else { continue };
            let messages = rows.iter().filter_map(|row| {
                let (dir, frame) = (row.dir?, row.to_frame()?);
                let message = if dir == Dir::ToServer {
                    serializer.decode_from_client(frame)
                } else {
                    serializer.decode_from_server(frame)
                };
                Some((dir, message.unwrap()))
            });
            conversations.push((name.clone(), messages.collect()));
        }
    }
    conversations
}

fn changes() -> Vec<(String, PostgresChange)> {
    let mut changes = Vec::new();
    for (name, messages) in conversations() {
        for (_, message) in messages.iter().filter(|(dir, _)| *dir == Dir::ToClient) {
            if matches!(message.event.as_str(), "postgres_changes" | "INSERT" | "UPDATE" | "DELETE") {
                changes.push((name.clone(), PostgresChange::of(&message.payload).unwrap()));
            }
        }
    }
    changes
}

#[test]
fn every_recorded_change_says_what_its_json_says() {
    let (mut inside, mut legacy) = (0, 0);
    for (name, change) in changes() {
        let whole: Value = change.payload().parse().unwrap();
        let data = whole.get("data").unwrap_or(&whole);
        let ids = whole["ids"].as_array().map_or(vec![], |ids| ids.iter().map(|id| id.as_u64().unwrap()).collect());
        *(if ids.is_empty() { &mut legacy } else { &mut inside }) += 1;
        assert!(change.ids().eq(ids), "{name}");
        assert_eq!(change.kind().as_str(), data["type"], "{name}");

        let details = change.details().unwrap();
        assert_eq!(
            (&*details.schema, &*details.table),
            (data["schema"].as_str().unwrap(), data["table"].as_str().unwrap())
        );
        assert_eq!(details.commit_timestamp.as_deref(), data["commit_timestamp"].as_str(), "{name}");
        let columns = details.columns.iter().map(|c| serde_json::json!({"name": &*c.name, "type": &*c.type_name}));
        assert_eq!(columns.collect::<Value>(), data["columns"], "{name}");

        let rows = [("record", change.raw_record().unwrap()), ("old_record", change.raw_old_record().unwrap())];
        for (key, row) in rows {
            assert_eq!(row.as_ref().map(|row| row.parse::<Value>().unwrap()).as_ref(), data.get(key), "{name}: {key}");
            // Today's servers send JSON of the right types, in which there is nothing to convert.
            let Some(row) = row else { continue };
            let converted = convert_record(&details.columns, &row).unwrap();
            assert_eq!(converted.parse::<Value>(), row.parse(), "{name}: {key}");
        }
    }
    assert!(inside >= 30 && legacy == 5, "{inside} changes of bindings, {legacy} of legacy topics");
}

#[test]
fn the_row_that_was_too_large_is_the_one_that_says_so() {
    let truncated = changes().into_iter().filter(|(_, change)| change.truncated().unwrap());
    let [(name, change)] = <[_; 1]>::try_from(truncated.collect::<Vec<_>>()).unwrap();
    assert_eq!(name, "pg_changes_too_large");
    assert_eq!(change.details().unwrap().errors, ["Error 413: Payload Too Large"]);
    let row: BTreeMap<String, Value> = change.record().unwrap().unwrap();
    assert!(row.contains_key("id") && !row.contains_key("task"), "{row:?}");
}

/// Trap T43 with what the recorded database held.
#[test]
fn recorded_numbers_keep_their_digits() {
    #[derive(serde::Deserialize)]
    struct Numbers<'a> {
        big: Option<i64>,
        #[serde(borrow)]
        num: Option<&'a RawValue>,
    }
    let changes = changes();
    let rows = changes.iter().filter(|(name, _)| name == "pg_changes_types");
    let numbers: Vec<Numbers<'_>> = rows.filter_map(|(_, change)| change.record().unwrap()).collect();
    let exact: Vec<_> = numbers.iter().filter_map(|n| Some((n.big?, n.num?.get()))).collect();
    assert!(exact.contains(&(i64::MAX, "12345.6789")), "{exact:?}");
}

#[test]
fn filters_are_refused_as_the_recorded_servers_refused_them() {
    let (mut read, mut refused) = (0, 0);
    for (name, messages) in conversations() {
        let system = messages.iter().find(|(dir, m)| *dir == Dir::ToClient && m.event == "system");
        let Some((_, system)) = system else { continue };
        let verdict = system.payload.parse::<Value>().unwrap()["message"].as_str().unwrap().to_owned();
        for (_, join) in messages.iter().filter(|(_, message)| message.event == "phx_join") {
            let join: Value = join.payload.parse().unwrap();
            for binding in join["config"]["postgres_changes"].as_array().into_iter().flatten() {
                let Some(text) = binding["filter"].as_str() else { continue };
                match PostgresFilter::parse(text) {
                    Ok(filter) => {
                        assert!(!verdict.starts_with("Error parsing `filter`"), "{name}: {text}: {verdict}");
                        assert_eq!(filter.build().unwrap(), text, "{name}");
                        read += 1;
                    }
                    Err(error) => {
                        assert!(verdict.starts_with("Error parsing `filter`"), "{name}: {text}: {error}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(read >= 20 && refused == 5, "{read} filters read, {refused} refused");
}
