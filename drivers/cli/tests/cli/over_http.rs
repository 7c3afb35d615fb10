//! `send --http`: broadcasts as requests, and what else may answer them.

use rejoin_sim::supabase::{HttpAnswer, PeerConfig, Rest};

use crate::program::Ended;
use crate::realtime::{Realtime, quick};
use crate::supabase::{failed, fresh, run, start};

fn send(url: &str, arguments: &[&str]) -> Ended {
    run(&[&["send", url, "room", "cursor", r#"{"n":1e400}"#, "--http"], arguments].concat())
}

#[test]
fn a_broadcast_over_http_reaches_who_listens_and_joins_nothing() {
    for runtime in ["smol", "tokio"] {
        let project = Realtime::start();
        let mut listening = start(&["listen", &project.url(), "room", "--json", "--count", "2"]);
        listening.event("joined");
        let sent = send(&project.url(), &["--count", "2", "--runtime", runtime]);
        assert_eq!((sent.code, sent.stderr.as_str()), (Some(0), ""), "{sent:?}");
        assert!(sent.stdout.starts_with("sent 2 messages to realtime:room over HTTP in "), "{sent:?}");
        for _ in 0..2 {
            let line = listening.line();
            assert!(line.contains(r#""name":"cursor","payload":{"n":1e400}"#), "{line}");
        }
    }
}

#[test]
fn a_private_channel_is_sent_to_with_a_token() {
    let project = Realtime::start();
    let (url, token) = (project.url(), fresh(3600));
    let mut listening = start(&["listen", &url, "priv:rw", "--json", "--private", "--token", &token]);
    listening.event("joined");
    let sent = run(&["send", &url, "priv:rw", "cursor", "--http", "--private", "--token", &token]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert_eq!(listening.event("broadcast")["name"], "cursor");
}

#[test]
fn what_answers_instead_is_one_sentence() {
    let answering = |answer| Realtime::with(PeerConfig { rest: Rest::Answers(answer), ..quick() }, |_| {});
    for status in [200, 404] {
        let page = send(&answering(HttpAnswer::html(status)).url(), &[]);
        let expected =
            format!("error: URL: the answer (HTTP {status}) is not Realtime's; check that the URL is the project's\n");
        assert_eq!((page.code, page.stderr), (Some(2), expected), "{}", page.stdout);
    }
    let suspended = send(&answering(HttpAnswer::suspended()).url(), &[]);
    failed(&suspended, &["message 1: the server answered HTTP 403: Tenant is suspended"]);
    let silent = Realtime::with(PeerConfig { rest: Rest::Silent, ..quick() }, |_| {});
    failed(&send(&silent.url(), &["--timeout", "500ms"]), &["message 1: "]);
    failed(&send("ws://127.0.0.1:1/socket", &[]), &["message 1: "]);
}
