//! `listen --record`: a recording that can be read, followed and shared.

use std::path::PathBuf;

use rejoin_recording::{Dir, Row};

use crate::program::{Program, run};

/// A file that is gone after the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("rejoin-{}-{name}", std::process::id())))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }

    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(&self.0).expect("it was written")
    }

    /// Replaces what is in it in one step, as whoever keeps a token does.
    pub(crate) fn write(&self, text: &str) {
        let draft = self.0.with_extension("draft");
        std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &self.0)).expect("it can be written");
    }

    fn rows(&self) -> Vec<Row> {
        rejoin_recording::read(std::fs::read(&self.0).expect("it was written").as_slice()).expect("rows")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_conversation_is_recorded_both_ways_without_credentials() {
    let (server, address) = Program::serve("127.0.0.1:0", "smol");
    let (url, file) = (format!("ws://{address}/socket"), Scratch::new("both-ways.jsonl"));
    let mut listening = Program::start(&[
        "listen",
        &url,
        "room:lobby",
        "--json",
        "--record",
        file.path(),
        "--param",
        "token=secret-1",
        "--param",
        "apikey=secret-3",
        "--param",
        "a=b",
        "--join-payload",
        r#"{"access_token":"secret-2"}"#,
    ]);
    listening.event("joined");
    run(&["send", &url, "room:lobby", "shout", r#"{"n":1}"#]);
    listening.event("message");
    server.kill();
    listening.event("disconnected");
    let (_server, _) = Program::serve(&address, "tokio");
    listening.event("joined");
    listening.signal("-TERM");
    assert_eq!(listening.ended().code, Some(0));

    let rows = file.rows();
    assert_eq!(rows[0].kind, "meta");
    let kinds: Vec<(&str, Option<u64>, Option<Dir>)> =
        rows.iter().skip(1).map(|row| (row.kind.as_str(), row.conn, row.dir)).filter(|row| row.1 == Some(1)).collect();
    let (out, back) = (Some(Dir::ToServer), Some(Dir::ToClient));
    let one = Some(1);
    assert_eq!(
        kinds,
        [
            ("upgrade", one, out),
            ("upgrade_ok", one, back),
            ("text", one, out),
            ("text", one, back),
            ("text", one, back),
            ("close", one, back)
        ]
    );
    assert_eq!(rows[1].path.as_deref(), Some("/socket/websocket?token=<redacted>&apikey=<redacted>&a=b&vsn=2.0.0"));
    let last = rows.last().expect("rows");
    assert_eq!((last.kind.as_str(), last.code), ("close", Some(1000)), "{last:?}");
    assert!(rows.iter().any(|row| row.conn > one), "{rows:?}");
    assert!(!file.text().contains("secret"));

    let explained = run(&["explain", file.path()]);
    assert_eq!(explained.code, Some(0), "{explained:?}");
    assert!(explained.stdout.contains("← shout room:lobby {\"n\":1} [-/-]"), "{explained:?}");
}

#[test]
fn attempts_that_fail_are_recorded() {
    let (_server, address) = Program::serve("127.0.0.1:0", "smol");
    let file = Scratch::new("refused.jsonl");
    let url = format!("ws://{address}/elsewhere");
    let mut listening = Program::start(&["listen", &url, "t", "--json", "--record", file.path(), "--vsn", "1"]);
    listening.event("disconnected");
    listening.signal("-INT");
    assert_eq!(listening.ended().code, Some(0));
    let rows = file.rows();
    assert_eq!((rows[2].kind.as_str(), rows[2].status), ("upgrade_rejected", Some(404)), "{rows:?}");
    assert_eq!(run(&["explain", file.path()]).code, Some(0));
}
