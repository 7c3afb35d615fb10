//! Database changes of the scripted Supabase: what a join is told, when changes begin, and who hears of which.

use std::time::Duration;

use rejoin_core::ConnId;
use rejoin_core::supabase::PostgresChange;
use rejoin_sim::supabase::{Desk, Echo, LATE, PeerConfig, Readiness, RowChange, RowError, token};
use serde_json::{Value, json};

const ROOM: &str = "realtime:a";

fn config() -> PeerConfig {
    PeerConfig { join_time: Duration::ZERO, ..PeerConfig::default() }
}

/// Joins with these wishes, and gives what was sent at once.
fn joins(desk: &mut Desk, conn: u64, wishes: &Value) -> (ConnId, Vec<Value>) {
    let conn = desk.client(conn);
    desk.hears(conn, &json!(["1", "1", ROOM, "phx_join", { "config": { "postgres_changes": wishes } }]).to_string());
    let sent = desk.read(conn);
    (conn, sent)
}

/// A channel that hears of what it wished for, and the ids of its wishes.
fn subscribed(desk: &mut Desk, conn: u64, wishes: &Value) -> (ConnId, Vec<u64>) {
    let (conn, sent) = joins(desk, conn, wishes);
    desk.advance(300);
    assert_eq!(desk.read(conn), [system("ok", "Subscribed to PostgreSQL")]);
    let echoed = sent[0][4]["response"]["postgres_changes"].as_array().unwrap();
    (conn, echoed.iter().map(|echoed| echoed["id"].as_u64().unwrap()).collect())
}

fn system(status: &str, message: &str) -> Value {
    let payload = json!({ "message": message, "status": status, "extension": "postgres_changes", "channel": "a" });
    json!(["1", null, ROOM, "system", payload])
}

/// The payloads of what is sent, which must be changes.
fn changes(desk: &mut Desk, conn: ConnId) -> Vec<Value> {
    let sent = desk.read(conn);
    assert!(sent.iter().all(|message| message[0].is_null() && message[3] == "postgres_changes"), "{sent:?}");
    sent.into_iter().map(|mut message| message[4].take()).collect()
}

#[test]
fn wishes_come_back_with_ids_that_are_equal_for_equal_wishes() {
    let mut desk = Desk::new(config());
    let wishes = json!([
        { "event": "insert", "schema": "public", "table": "todos" },
        { "event": "*", "schema": "public", "select": ["id"], "table": "todos" },
    ]);
    let (_, first) = joins(&mut desk, 1, &wishes);
    let (_, second) = joins(&mut desk, 2, &json!([null, wishes[1]]));
    let mut echoed = first[0][4]["response"]["postgres_changes"].clone();
    assert_eq!(second[0][4]["response"]["postgres_changes"][0], echoed[1]);
    for wish in echoed.as_array_mut().unwrap() {
        let id = wish.as_object_mut().unwrap().remove("id").unwrap();
        assert!(id.as_u64().is_some_and(|id| id < 1 << 27), "{id}");
    }
    assert_eq!(echoed, wishes);
}

#[test]
fn the_echo_varies_as_configured() {
    let wishes =
        json!([{ "event": "insert", "schema": "s", "table": "*", "select": ["n"] }, { "event": "*", "schema": "t" }]);
    for (echo, expected) in [
        (
            Echo::Nulls,
            json!([
                { "event": "insert", "schema": "s", "table": "*", "filter": null, "select": ["n"] },
                { "event": "*", "schema": "t", "table": null, "filter": null, "select": null },
            ]),
        ),
        (Echo::NoStars, json!([{ "event": "insert", "schema": "s", "select": ["n"] }, wishes[1]])),
        (Echo::UpperCase, json!([{ "event": "INSERT", "schema": "s", "table": "*", "select": ["n"] }, wishes[1]])),
        (Echo::NoSelect, json!([{ "event": "insert", "schema": "s", "table": "*" }, wishes[1]])),
        (Echo::Reversed, json!([wishes[1], wishes[0]])),
        (
            Echo::OtherSchema,
            json!([
                { "event": "insert", "schema": "other", "table": "*", "select": ["n"] },
                { "event": "*", "schema": "other" },
            ]),
        ),
        (Echo::Fewer, json!([wishes[0]])),
        (Echo::Absent, Value::Null),
    ] {
        let mut desk = Desk::new(PeerConfig { echo, ..config() });
        let (_, mut sent) = joins(&mut desk, 1, &wishes);
        let mut echoed = sent[0][4]["response"]["postgres_changes"].take();
        echoed.as_array_mut().into_iter().flatten().for_each(|wish| drop(wish.as_object_mut().unwrap().remove("id")));
        assert_eq!(echoed, expected, "{echo:?}");
    }
}

#[test]
fn changes_flow_once_the_subscription_has_come_about_and_a_new_token_brings_it_again() {
    let mut desk = Desk::new(config());
    let (conn, _) = joins(&mut desk, 1, &json!([{ "event": "*", "schema": "public" }]));
    desk.advance(299);
    desk.change(&RowChange::insert("todos", &json!({ "id": 1 })));
    assert_eq!(desk.read(conn), [] as [Value; 0]);
    desk.advance(1);
    assert_eq!(desk.read(conn), [system("ok", "Subscribed to PostgreSQL")]);
    desk.change(&RowChange::insert("todos", &json!({ "id": 2 })));
    assert_eq!(changes(&mut desk, conn)[0]["data"]["record"], json!({ "id": 2 }));
    let renewed = json!({ "access_token": token("anon", LATE - 1) });
    desk.hears(conn, &json!(["1", "2", ROOM, "access_token", renewed]).to_string());
    desk.advance(300);
    assert_eq!(desk.read(conn), [system("ok", "Subscribed to PostgreSQL")]);
}

#[test]
fn a_subscription_comes_early_or_never_or_fails_as_configured() {
    let wishes = json!([{ "event": "*", "schema": "public" }]);
    let told = |readiness| {
        let mut desk = Desk::new(PeerConfig { readiness, ..config() });
        let (conn, mut sent) = joins(&mut desk, 1, &wishes);
        desk.advance(30_000);
        sent.extend(desk.read(conn));
        desk.change(&RowChange::insert("todos", &json!({ "id": 1 })));
        let flows = !changes(&mut desk, conn).is_empty();
        (sent.into_iter().filter(|message| message[3] == "system").collect::<Vec<_>>(), flows)
    };
    let mut desk = Desk::new(PeerConfig { readiness: Readiness::Early, ..config() });
    let (_, sent) = joins(&mut desk, 1, &wishes);
    assert_eq!((&sent[0], &sent[1][3]), (&system("ok", "Subscribed to PostgreSQL"), &"phx_reply".into()));
    assert_eq!(told(Readiness::Early), (vec![system("ok", "Subscribed to PostgreSQL")], true));
    assert_eq!(told(Readiness::Never), (vec![], false));
    assert_eq!(told(Readiness::Failing("no".into())), (vec![system("error", "no")], false));
}

#[test]
fn a_join_may_wait_for_its_subscription_on_newer_servers() {
    let waiting = |readiness| {
        let mut desk = Desk::new(PeerConfig { readiness, honours_wait: true, ..config() });
        let conn = desk.client(1);
        let wishes = json!([{ "event": "*", "schema": "public" }]);
        let config =
            json!({ "postgres_changes": wishes, "postgres_changes_options": { "wait": true, "timeout": 1000 } });
        desk.hears(conn, &json!(["1", "1", ROOM, "phx_join", { "config": config }]).to_string());
        desk.advance(299);
        assert_eq!(desk.read(conn), [] as [Value; 0]);
        desk.advance(1);
        let soon = desk.read(conn);
        desk.advance(5_700);
        (soon, desk.read(conn))
    };
    let (soon, _) = waiting(Readiness::Ready);
    assert_eq!((&soon[0][4]["status"], &soon[1]), (&"ok".into(), &system("ok", "Subscribed to PostgreSQL")));
    let (soon, later) = waiting(Readiness::Never);
    let reason = later[0][4]["response"]["reason"].as_str().unwrap();
    assert!(soon.is_empty() && reason.starts_with("PostgresChangesSubscribeTimeout: "), "{reason}");
}

#[test]
fn each_channel_hears_once_of_what_one_of_its_bindings_is_for() {
    let mut desk = Desk::new(config());
    let wishes = json!([
        { "event": "*", "schema": "*" },
        { "event": "UPDATE", "schema": "public", "table": "todos" },
        { "event": "insert", "schema": "public", "table": "todos", "filter": "n=gt.1" },
        { "event": "*", "table": "todos", "schema": "public", "filter": "n=in.(1,2)" },
    ]);
    let (conn, ids) = subscribed(&mut desk, 1, &wishes);
    let (other, _) = subscribed(&mut desk, 2, &json!([{ "event": "DELETE", "schema": "other", "table": "todos" }]));
    for (change, matching) in [
        (RowChange::insert("todos", &json!({ "id": 1, "n": 2 })), &[3, 2, 0][..]),
        (RowChange::insert("todos", &json!({ "id": 1, "n": 1 })), &[3, 0]),
        (RowChange::update("todos", &json!({ "id": 1 }), &json!({ "id": 1, "n": 9 })), &[1, 0]),
        (RowChange::delete("todos", &json!({ "id": 1 })), &[0]),
        (RowChange::insert("todos", &json!({ "n": 2 })).schema("other"), &[0]),
    ] {
        desk.change(&change);
        let told = changes(&mut desk, conn);
        let matching: Vec<u64> = matching.iter().map(|at| ids[*at]).collect();
        assert_eq!((told.len(), &told[0]["ids"]), (1, &json!(matching)), "{change:?}");
    }
    assert!(changes(&mut desk, other).is_empty());
}

#[test]
fn a_change_is_written_as_the_server_writes_it_with_the_ids_last() {
    let mut desk = Desk::new(config());
    let (conn, ids) = subscribed(&mut desk, 1, &json!([{ "event": "*", "schema": "public" }]));
    let record: Box<serde_json::value::RawValue> = serde_json::from_str(r#"{"id":1,"big":1.50e300}"#).unwrap();
    let columns = [("id", "int8"), ("big", "numeric")];
    desk.change(&RowChange::update("todos", &json!({ "id": 1 }), &record).columns(&columns));
    let expected = format!(
        r#"[null,null,"realtime:a","postgres_changes",{{"data":{{"table":"todos","type":"UPDATE","record":{{"big":1.50e300,"id":1}},"columns":[{{"name":"id","type":"int8"}},{{"name":"big","type":"numeric"}}],"errors":null,"schema":"public","commit_timestamp":"2027-01-15T08:00:00.300Z","old_record":{{"id":1}}}},"ids":{ids:?}}}]"#
    );
    assert_eq!(desk.take(conn), [expected]);
}

#[test]
fn selected_columns_and_the_key_are_told() {
    let mut desk = Desk::new(config());
    let wish = json!({ "event": "*", "schema": "public", "table": "todos", "select": ["n"] });
    let (conn, _) = subscribed(&mut desk, 1, &json!([wish]));
    desk.change(&RowChange::insert("todos", &json!({ "id": 1, "n": 2, "task": "t" })));
    let told = changes(&mut desk, conn).remove(0);
    let columns = json!([{ "name": "id", "type": "int8" }, { "name": "n", "type": "int8" }]);
    assert_eq!((&told["data"]["record"], &told["data"]["columns"]), (&json!({ "id": 1, "n": 2 }), &columns));
}

#[test]
fn what_cannot_be_told_comes_with_an_error() {
    let mut desk = Desk::new(PeerConfig { row_bytes: 200, ..config() });
    let filtered = json!({ "event": "*", "schema": "public", "table": "todos", "filter": "id=eq.1" });
    let (conn, _) = subscribed(&mut desk, 1, &json!([filtered]));
    for (error, text) in [
        (RowError::NoPrimaryKey, "Error 400: Bad Request, no primary key"),
        (RowError::Unauthorized, "Error 401: Unauthorized"),
    ] {
        desk.change(&RowChange::insert("todos", &json!({ "id": 2 })).failing(error));
        let data = changes(&mut desk, conn)[0]["data"].take();
        assert_eq!(data, json!({ "table": "todos", "type": "INSERT", "schema": "public", "errors": [text] }));
    }
    desk.change(&RowChange::insert("todos", &json!({ "id": 1, "task": "x".repeat(250) })));
    let data = changes(&mut desk, conn)[0]["data"].take();
    assert_eq!((&data["record"], &data["errors"]), (&json!({ "id": 1 }), &json!(["Error 413: Payload Too Large"])));
}

#[test]
fn topics_of_the_legacy_api_are_bindings_and_their_changes_come_bare() {
    let mut desk = Desk::new(config());
    let conn = desk.client(1);
    desk.hears(conn, r#"["1","1","realtime:public:todos:n=eq.1","phx_join",{}]"#);
    desk.advance(300);
    let wish = desk.read(conn)[0][4]["response"]["postgres_changes"][0].take();
    assert_eq!(
        (&wish["schema"], &wish["table"], &wish["filter"]),
        (&"public".into(), &"todos".into(), &"n=eq.1".into())
    );
    desk.change(&RowChange::insert("todos", &json!({ "id": 1, "n": 2 })));
    desk.change(&RowChange::insert("todos", &json!({ "id": 2, "n": 1 })));
    let sent = desk.read(conn);
    assert_eq!((sent.len(), &sent[0][3], &sent[0][4]["record"]["id"]), (1, &"INSERT".into(), &2.into()));
    let payload = rejoin_core::Payload::json(&sent[0][4]).unwrap();
    assert!(PostgresChange::of(&payload).is_ok());
}
