//! What `listen --dialect supabase` hears besides broadcasts.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::realtime::Realtime;
use crate::supabase::{fresh, start};

#[test]
fn what_is_to_be_heard_stands_in_the_join() {
    let project = Realtime::start();
    let (url, token) = (project.url(), fresh(3600));
    let ago = || SystemTime::now() - Duration::from_secs(600);
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
    let millis = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).expect("later than 1970").as_millis();
    let since = replay["since"].as_u64().map(u128::from).expect("a time");
    assert!((millis(before)..=millis(ago())).contains(&since) && replay["limit"] == 7, "{replay}");
}
