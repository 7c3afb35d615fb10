//! `listen` and `send` against `serve`, on every pair of runtimes and with both serializers.

use crate::program::{Program, run};

const ANY: &str = "127.0.0.1:0";

/// Digits that no double has, to show that nobody parses and prints them anew.
const NUMBERS: &str = r#"{"big":12345678901234567890.12345678901234567890,"text":"ž\"\\"}"#;

fn a_listener_hears_what_is_sent(server: &str, listener: &str, sender: &str) {
    let (_server, address) = Program::serve(ANY, server);
    let url = format!("http://{address}/socket/");
    for vsn in ["1", "2"] {
        let mut listening = Program::start(&[
            "listen",
            &url,
            "room:lobby",
            "--json",
            "--runtime",
            listener,
            "--vsn",
            vsn,
            "--count",
            "3",
        ]);
        listening.event("connected");
        let joined = listening.event("joined");
        assert_eq!((&joined["topic"], &joined["again"]), (&"room:lobby".into(), &false.into()));

        let sent = run(&[
            "send",
            &url,
            "room:lobby",
            "shout",
            NUMBERS,
            "--runtime",
            sender,
            "--vsn",
            vsn,
            "--count",
            "3",
            "--reply",
        ]);
        assert_eq!(sent.code, Some(0), "{sent:?}");
        let (replies, summary) = sent.stdout.trim_end().rsplit_once('\n').expect("replies and a summary");
        assert_eq!(replies, ["reply ok {}"; 3].join("\n"));
        assert!(summary.starts_with("sent 3 messages to room:lobby, 3 replies ok in "), "{summary}");

        for _ in 0..3 {
            let line = listening.line();
            let expected = format!(r#","event":"message","topic":"room:lobby","name":"shout","payload":{NUMBERS}}}"#);
            assert!(line.starts_with(r#"{"at_ms":"#) && line.ends_with(&expected), "{line}");
        }
        let rest = listening.ended();
        assert_eq!(rest.code, Some(0), "{rest:?}");
        assert!(rest.stdout.lines().last().is_some_and(|last| last.ends_with(r#","event":"closed"}"#)), "{rest:?}");
    }
}

#[test]
fn all_on_smol() {
    a_listener_hears_what_is_sent("smol", "smol", "smol");
}

#[test]
fn all_on_tokio() {
    a_listener_hears_what_is_sent("tokio", "tokio", "tokio");
}

#[test]
fn tokio_clients_of_a_smol_server() {
    a_listener_hears_what_is_sent("smol", "tokio", "smol");
}

#[test]
fn smol_clients_of_a_tokio_server() {
    a_listener_hears_what_is_sent("tokio", "smol", "tokio");
}

#[test]
fn a_burst_reaches_every_listener_complete_and_in_order() {
    let (_server, address) = Program::serve(ANY, "tokio");
    let url = format!("ws://{address}/socket");
    let count = "2000";
    let listen = |vsn: &str, runtime: &str| {
        let mut listening = Program::start(&[
            "listen",
            &url,
            "room:a",
            "room:b",
            "--json",
            "--vsn",
            vsn,
            "--runtime",
            runtime,
            "--count",
            count,
        ]);
        listening.event("joined");
        listening.event("joined");
        listening
    };
    let listeners = [listen("1", "smol"), listen("2", "tokio"), listen("2", "smol")];
    let sent = run(&["send", &url, "room:b", "n", "[1]", "--count", count]);
    assert!(sent.stdout.starts_with("sent 2000 messages to room:b in "), "{sent:?}");
    for listening in listeners {
        let rest = listening.ended();
        assert_eq!(rest.code, Some(0));
        assert_eq!(rest.stdout.matches(r#""event":"message","topic":"room:b""#).count(), 2000);
    }
}

#[test]
fn ping_is_echoed_to_its_sender_alone() {
    let (_server, address) = Program::serve(ANY, "smol");
    let url = format!("ws://{address}/socket");
    let mut listening = Program::start(&["listen", &url, "room:lobby", "--json", "--count", "1"]);
    listening.event("joined");
    let sent = run(&["send", &url, "room:lobby", "ping", r#"{"a": 1.50}"#, "--reply"]);
    assert!(
        sent.stdout.starts_with("reply ok {\"a\": 1.50}\nsent 1 message to room:lobby, 1 reply ok in "),
        "{sent:?}"
    );
    run(&["send", &url, "room:lobby", "after", "-7"]);
    assert_eq!(listening.event("message")["name"], "after");
}

#[test]
fn people_get_text_without_colours_when_it_is_not_for_a_terminal() {
    let (_server, address) = Program::serve(ANY, "smol");
    let url = format!("ws://{address}/socket");
    let mut listening = Program::start(&["listen", &url, "room:lobby", "--count", "1"]);
    assert_eq!(listening.line(), "connected");
    assert_eq!(listening.line(), "joined room:lobby {}");
    run(&["send", &url, "room:lobby", "shout", r#""hello""#]);
    assert_eq!(listening.line(), r#"room:lobby shout "hello""#);
    assert_eq!(listening.ended().stdout, "channel closed room:lobby: the session was closed\nclosed\n");
}

#[test]
fn heartbeats_are_shown_and_time_ends_the_listening() {
    let (_server, address) = Program::serve(ANY, "smol");
    let url = format!("ws://{address}/socket");
    let listening = Program::start(&["listen", &url, "room:lobby", "--json", "--heartbeat", "50ms", "--for", "400ms"]);
    let rest = listening.ended();
    assert_eq!(rest.code, Some(0));
    assert!(rest.stdout.contains(r#""event":"heartbeat","rtt_ms":"#), "{rest:?}");
}

#[test]
fn a_payload_can_come_from_the_standard_input() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let (_server, address) = Program::serve(ANY, "smol");
    let url = format!("ws://{address}/socket");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    command.args(["send", &url, "room:lobby", "ping", "-", "--reply"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(b"[\"in\"]\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("reply ok [\"in\"]\n"), "{output:?}");
}

#[test]
fn a_rate_is_kept() {
    let (_server, address) = Program::serve(ANY, "smol");
    let url = format!("ws://{address}/socket");
    let start = std::time::Instant::now();
    run(&["send", &url, "room:lobby", "shout", "--count", "5", "--rate", "20"]);
    // Four pauses of 50 ms.
    assert!(start.elapsed() >= std::time::Duration::from_millis(200), "{:?}", start.elapsed());
}
