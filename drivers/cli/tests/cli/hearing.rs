//! What `listen --dialect supabase` hears besides broadcasts, and what it says of itself.

use std::time::{Duration, SystemTime};

use rejoin_core::{Payload, Timestamp};
use rejoin_sim::supabase::{Broken, PeerConfig, RowChange, RowError, Stored, SupabasePeer};
use serde_json::{Value, json};

use crate::program::Program;
use crate::realtime::{Realtime, quick};
use crate::supabase::{fresh, run, start};

const TODOS: [&str; 2] = ["--postgres-changes", "public.todos"];

fn listen(project: &Realtime, arguments: &[&str]) -> Program {
    start(&[&["listen", &project.url(), "room", "--json"], arguments].concat())
}

fn unix_ms(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).expect("later than 1970");
    u64::try_from(since_1970.as_millis()).expect("soon")
}

#[test]
fn what_is_to_be_heard_stands_in_the_join() {
    let project = Realtime::start();
    let (url, token) = (project.url(), fresh(3600));
    let ago = || unix_ms(SystemTime::now() - Duration::from_secs(600));
    let before = ago();
    let _listening = start(
        &[
            &["listen", &url, "priv:rw", "--json", "--private", "--token", &token][..],
            &["--postgres-changes", "public.todos:insert:done=eq.false", "--postgres-changes", "*.*"],
            &["--presence", "--presence-key", "ann", "--replay-since", "10m", "--replay-limit", "7"],
        ]
        .concat(),
    );
    let config = &project.joined()["config"];
    let changes = json!([
        {"event": "INSERT", "schema": "public", "table": "todos", "filter": "done=eq.false"},
        {"event": "*", "schema": "*"},
    ]);
    assert_eq!(config["postgres_changes"], changes);
    assert_eq!(config["presence"], json!({"enabled": true, "key": "ann"}));
    let replay = &config["broadcast"]["replay"];
    let since = replay["since"].as_u64().expect("a time");
    assert!((before..=ago()).contains(&since) && replay["limit"] == 7, "{replay}");
}

#[test]
fn rows_are_printed_as_they_come_change_and_go() {
    for runtime in ["smol", "tokio"] {
        let project = Realtime::start();
        let inserts = ["--postgres-changes", "public.todos:insert"];
        let mut listening = listen(&project, &[&TODOS[..], &inserts, &["--runtime", runtime]].concat());
        let mut reading = start(&[&["listen", &project.url(), "room"][..], &TODOS].concat());
        listening.event("postgres_ready");
        while reading.line() != "postgres ready realtime:room" {}

        let row = |task: &str| json!({"id": 9_007_199_254_740_993_u64, "task": task});
        let key = json!({"id": 9_007_199_254_740_993_u64});
        let changes = [
            RowChange::insert("todos", &row("rest")),
            RowChange::update("todos", &key, &row("work")),
            RowChange::delete("todos", &key),
            RowChange::insert("todos", &row("hidden")).failing(RowError::Unauthorized),
        ];
        project.order(move |peer: &mut SupabasePeer, now: Timestamp| {
            changes.iter().for_each(|change| peer.change(now, change));
        });
        for (name, rest, bindings) in [
            ("INSERT", r#""record":{"id":9007199254740993,"task":"rest"},"commit_timestamp":"#, "[0,1]"),
            (
                "UPDATE",
                r#""record":{"id":9007199254740993,"task":"work"},"old_record":{"id":9007199254740993},"#,
                "[0]",
            ),
            ("DELETE", r#""old_record":{"id":9007199254740993},"commit_timestamp":"#, "[0]"),
            ("INSERT", r#""errors":["Error 401: Unauthorized"],"#, "[0,1]"),
        ] {
            let line = listening.line();
            let of_table = format!(r#""name":"{name}","schema":"public","table":"todos",{rest}"#);
            let begins = format!(r#","event":"postgres_change","topic":"realtime:room",{of_table}"#);
            assert!(line.contains(&begins), "{begins} is not in {line}");
            assert!(line.ends_with(&format!(r#","bindings":{bindings}}}"#)), "{line}");
        }
        for expected in [
            r#"postgres change realtime:room INSERT public.todos {"id":9007199254740993,"task":"rest"}"#,
            r#"postgres change realtime:room UPDATE public.todos {"id":9007199254740993,"task":"work"}"#,
            r#"postgres change realtime:room DELETE public.todos {"id":9007199254740993}"#,
            "postgres change realtime:room INSERT public.todos: Error 401: Unauthorized",
        ] {
            assert_eq!(reading.line(), expected);
        }
    }
}

#[test]
fn rows_that_may_be_missing_after_a_loss_are_told_with_the_time() {
    let project = Realtime::start();
    let mut listening = listen(&project, &TODOS);
    assert_eq!(listening.event("postgres_ready").get("missed_since_ms"), None);
    let before = unix_ms(SystemTime::now()) - 60_000;
    project.order(SupabasePeer::cut);
    let since = listening.event("postgres_ready")["missed_since_ms"].as_u64();
    assert!(since.is_some_and(|since| (before..=unix_ms(SystemTime::now())).contains(&since)), "{since:?}");
}

#[test]
fn changes_that_do_not_flow_say_why() {
    let project = Realtime::broken(Broken::PostgresFailed);
    let failed = listen(&project, &TODOS).event("postgres_failed");
    let reason = failed["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("no database changes: Unable to subscribe to changes"), "{failed}");
    let mut reading = start(&[&["listen", &project.url(), "room"][..], &TODOS].concat());
    let expected = "postgres failed realtime:room: no database changes: Unable to subscribe to changes";
    assert!((0..4).any(|_| reading.line().starts_with(expected)));
}

#[test]
fn who_comes_says_something_else_and_goes_is_printed() {
    for runtime in ["smol", "tokio"] {
        let project = Realtime::start();
        let present = ["--presence", "--presence-key", "bob", "--track", r#"{"mood":"calm"}"#, "--runtime", runtime];
        let mut listening = listen(&project, &["--presence", "--runtime", runtime]);
        let mut reading = start(&["listen", &project.url(), "room", "--presence"]);
        listening.event("presence_sync");
        while reading.line() != "presence sync realtime:room" {}
        let mut bob = listen(&project, &present);
        let own = bob.event("presence_join");
        assert_eq!((&own["key"], &own["metas"][0]["mood"]), (&"bob".into(), &"calm".into()), "{own}");

        let joined = listening.event("presence_join");
        assert_eq!((&joined["topic"], &joined["key"]), (&"realtime:room".into(), &"bob".into()), "{joined}");
        assert_eq!((&joined["metas"], &joined["current"]), (&own["metas"], &json!([])), "{joined}");
        listening.event("presence_sync");
        let line = reading.line();
        assert!(line.starts_with("presence join realtime:room bob {") && line.contains("calm"), "{line}");

        let phx_ref = joined["metas"][0]["phx_ref"].clone();
        let diff = json!({
            "joins": {"bob": {"metas": [{"mood": "glad", "phx_ref": "new", "phx_ref_prev": phx_ref}]}},
            "leaves": {"bob": {"metas": joined["metas"]}},
        });
        let diff = Payload::json(&diff).expect("JSON");
        project.order(move |peer: &mut SupabasePeer, now: Timestamp| {
            peer.push(now, "realtime:room", "presence_diff", diff, false);
        });
        let updated = listening.event("presence_update");
        assert_eq!((&updated["key"], &updated["old"]), (&"bob".into(), &joined["metas"][0]), "{updated}");
        assert_eq!(updated["new"]["mood"], "glad");
        let line = (0..3).map(|_| reading.line()).find(|line| line.starts_with("presence update ")).expect("a line");
        assert!(line.starts_with("presence update realtime:room bob {") && line.contains("} → {"), "{line}");

        bob.kill();
        let diff = json!({"leaves": {"bob": {"metas": [updated["new"]]}}, "joins": {}});
        let diff = Payload::json(&diff).expect("JSON");
        project.order(move |peer: &mut SupabasePeer, now: Timestamp| {
            peer.push(now, "realtime:room", "presence_diff", diff, false);
        });
        let left = listening.event("presence_leave");
        assert_eq!((&left["metas"], &left["current"]), (&json!([updated["new"]]), &json!([])), "{left}");
    }
}

#[test]
fn a_presence_that_the_server_does_not_want_is_told() {
    let project = Realtime::start();
    let token = fresh(3600);
    let private = ["--private", "--token", &token, "--presence", "--track", "{}"];
    let mut listening = start(&[&["listen", &project.url(), "priv:bc", "--json"][..], &private].concat());
    let failed = listening.event("track_failed");
    assert_eq!((&failed["topic"], &failed["reason"]), (&"realtime:priv:bc".into(), &"refused with {}".into()));
}

#[test]
fn stored_broadcasts_come_first_and_once() {
    let now = unix_ms(SystemTime::now());
    let stored = |n: u64, ago_ms: u64| Stored {
        topic: "priv:rw".into(),
        event: "note".into(),
        payload: Payload::json(&n).expect("JSON"),
        id: n.to_string(),
        at_unix_ms: i64::try_from(now - ago_ms).expect("a time"),
    };
    let stored = vec![stored(1, 3_600_000), stored(2, 60_000), stored(3, 30_000)];
    let project = Realtime::with(PeerConfig { stored, ..quick() }, |_| {});
    let token = fresh(3600);
    let since = (now - 120_000).to_string();
    let private = ["--private", "--token", &token, "--count", "2", "--replay-since", &since];
    let heard = run(&[&["listen", &project.url(), "priv:rw", "--json"][..], &private].concat());
    assert_eq!(heard.code, Some(0), "{heard:?}");
    let lines = heard.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let broadcasts: Vec<Value> = lines.filter(|line: &Value| line["event"] == "broadcast").collect();
    let told = |at: usize| (broadcasts[at]["payload"].as_u64(), broadcasts[at]["meta"]["replayed"].as_bool());
    assert_eq!((told(0), told(1)), ((Some(2), Some(true)), (Some(3), Some(true))), "{heard:?}");
}
