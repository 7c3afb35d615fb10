//! What was said before somebody came: `--history`, asked for by a client of ours.

use serde_json::{Value, json};

use crate::program::{Program, run};

#[test]
fn a_listener_hears_first_what_it_asks_for_of_the_past() {
    for runtime in ["smol", "tokio"] {
        let (_server, address) = Program::serve_with("127.0.0.1:0", &["--history", "3", "--runtime", runtime], &[]);
        let url = format!("ws://{address}/socket");
        let sent = |n: u64| assert_eq!(run(&["send", &url, "t", "n", &n.to_string(), "--reply"]).code, Some(0));
        (1..=5).for_each(sent);
        for vsn in ["1", "2"] {
            let (told, heard) = listened(&url, vsn, &json!({"history": {"last": 2}}), 2);
            assert_eq!((told["offset"].as_u64(), told.get("recovered"), heard), (Some(5), None, vec![4, 5]));
            // The newest three are kept: what came after the second is there, after the first is not.
            let after = |offset: u64| json!({"history": {"epoch": told["epoch"], "offset": offset}});
            let (again, heard) = listened(&url, vsn, &after(2), 3);
            assert_eq!((again["recovered"].as_bool(), heard), (Some(true), vec![3, 4, 5]));
            let (again, heard) = listened(&url, vsn, &after(1), 0);
            assert_eq!((again["recovered"].as_bool(), heard), (Some(false), vec![]));
        }
    }
}

/// What a join is told of the history, and so many messages.
fn listened(url: &str, vsn: &str, join: &Value, count: usize) -> (Value, Vec<u64>) {
    let join = join.to_string();
    let mut listening = Program::start(&["listen", url, "t", "--json", "--vsn", vsn, "--join-payload", &join]);
    let told = listening.event("joined")["payload"]["history"].clone();
    let heard = (0..count).map(|_| listening.event("message")["payload"].as_u64().expect("a number")).collect();
    (told, heard)
}
