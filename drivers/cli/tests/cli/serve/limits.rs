//! How much of anything: each limit has its outcome, and the others never notice.

use std::net::TcpStream;

use serde_json::{Value, json};

use super::{ask, client, close_code, hear, hear_if_any, say, upgrade};
use crate::program::Program;

fn served(options: &[&str]) -> (Program, String) {
    Program::serve_with("127.0.0.1:0", options, &[])
}

fn join(tcp: &mut TcpStream, topic: &str) -> Value {
    ask(tcp, &json!(["1", "1", topic, "phx_join", {}]).to_string())
}

fn refused(reason: &str) -> Value {
    json!({"status": "error", "response": {"reason": reason}})
}

#[test]
fn beyond_the_channels_the_topics_and_the_joins_of_a_client_joins_are_refused() {
    for runtime in ["smol", "tokio"] {
        let limits = ["--max-channels", "2", "--max-topic-bytes", "5", "--joins-per-second", "4"];
        let (server, address) = served(&[&limits[..], &["--runtime", runtime]].concat());
        let mut tcp = client(&address);
        assert_eq!(join(&mut tcp, "abcdef"), refused("topic too long"));
        assert_eq!(join(&mut tcp, "a")["status"], "ok");
        assert_eq!(join(&mut tcp, "b")["status"], "ok");
        assert_eq!(join(&mut tcp, "c"), refused("too many channels joined"));
        let mut other = client(&address);
        assert_eq!(join(&mut other, "a")["status"], "ok");
        let mut hasty = (0..100).map(|n| join(&mut other, &n.to_string()));
        assert!(hasty.any(|answer| answer == refused("too many joins")));
        server.signal("-TERM");
        let ended = server.ended();
        assert!(
            ended.stderr.contains(" over the limit: joins\n") && ended.stderr.contains("over a limit"),
            "{ended:?}"
        );
    }
}

#[test]
fn messages_beyond_the_rate_are_refused_and_not_passed_on() {
    let (_server, address) = served(&["--messages-per-second", "3"]);
    let [mut one, mut other] = [(); 2].map(|()| {
        let mut tcp = client(&address);
        assert_eq!(join(&mut tcp, "t")["status"], "ok");
        tcp
    });
    let answers: Vec<Value> =
        (0..10).map(|n| ask(&mut one, &json!(["1", format!("{n}"), "t", "n", n]).to_string())).collect();
    let passed: Vec<usize> = (0..10).filter(|n| answers[*n]["status"] == "ok").collect();
    assert!(passed.len() < 10 && passed.starts_with(&[0, 1, 2]), "{answers:?}");
    assert!(answers.iter().all(|answer| answer["status"] == "ok" || *answer == refused("too many messages")));
    for n in passed {
        let heard: Value = serde_json::from_slice(&hear(&mut other).1).expect("JSON");
        assert_eq!(heard[4], n, "{heard}");
    }
}

#[test]
fn bytes_beyond_the_rate_are_refused() {
    let (_server, address) = served(&["--bytes-per-second", "1KiB"]);
    let mut tcp = client(&address);
    assert_eq!(join(&mut tcp, "t")["status"], "ok");
    let large = json!(["1", "2", "t", "e", "x".repeat(2_000)]).to_string();
    assert_eq!(ask(&mut tcp, &large), refused("too many bytes"));
    assert_eq!(ask(&mut tcp, r#"["1","3","t","ping",{}]"#)["status"], "ok");
}

#[test]
fn a_message_over_the_limit_closes_with_1009_and_a_silent_client_is_closed() {
    for runtime in ["smol", "tokio"] {
        let (_server, address) =
            served(&["--max-message-bytes", "1KiB", "--idle-timeout", "300ms", "--runtime", runtime]);
        let (mut loud, mut silent) = (client(&address), client(&address));
        say(&mut loud, &"x".repeat(1_025));
        assert_eq!(close_code(&mut loud), 1009);
        assert_eq!(close_code(&mut silent), 1002);
    }
}

#[test]
fn a_malformed_frame_closes_with_1011_and_is_counted() {
    let (server, address) = served(&[]);
    let mut tcp = client(&address);
    say(&mut tcp, "no message");
    assert_eq!(close_code(&mut tcp), 1011);
    server.signal("-TERM");
    let ended = server.ended();
    assert_eq!(ended.stderr, "#1: a malformed frame: not JSON (column 2)\n1 malformed frame came\n");
}

#[test]
fn whoever_finds_no_room_is_answered_503_and_told_when_to_come_again() {
    let (server, address) = served(&["--max-connections", "1"]);
    let mut first = client(&address);
    assert_eq!(join(&mut first, "t")["status"], "ok");
    let (_, head) = upgrade(&address, "/socket/websocket");
    assert!(head.starts_with("HTTP/1.1 503 ") && head.to_lowercase().contains("\r\nretry-after: "), "{head}");
    assert_eq!(ask(&mut first, r#"["1","2","t","ping",{}]"#)["status"], "ok");
    server.signal("-TERM");
    let ended = server.ended();
    assert!(
        ended.stderr.starts_with("refused with HTTP 503: ") && ended.stderr.contains("\n1 client was"),
        "{ended:?}"
    );
}

/// Says more than any system takes for a reader that does not read, which reads only then. The
/// numbers that it hears, whether it is cut off, and what the server says of it.
fn a_stuck_reader_hears(options: &[&str]) -> (Vec<u64>, bool, String) {
    const MESSAGES: u64 = 1_000;
    let (server, address) = served(&[options, &["--outbox-bytes", "256KiB"]].concat());
    let (mut speaker, mut stuck, mut healthy) = (client(&address), client(&address), client(&address));
    for tcp in [&mut speaker, &mut stuck, &mut healthy] {
        assert_eq!(join(tcp, "t")["status"], "ok");
    }
    let text = "x".repeat(30_000);
    for n in 0..MESSAGES {
        assert_eq!(ask(&mut speaker, &json!(["1", "2", "t", "n", [n, text]]).to_string())["status"], "ok");
        assert_eq!(number(&hear(&mut healthy).1), n);
    }
    let mut heard = Vec::new();
    let is_cut = loop {
        if heard.last() == Some(&(MESSAGES - 1)) {
            break false;
        }
        let Some((opcode, content)) = hear_if_any(&mut stuck) else { break true };
        if opcode != 1 {
            break true;
        }
        heard.push(number(&content));
    };
    server.signal("-TERM");
    (heard, is_cut, server.ended().stderr)
}

fn number(content: &[u8]) -> u64 {
    let heard: Value = serde_json::from_slice(content).expect("JSON");
    heard[4][0].as_u64().unwrap_or_else(|| panic!("{heard}"))
}

#[test]
fn a_stuck_reader_is_cut_off_unless_its_messages_may_be_dropped() {
    let (heard, is_cut, said) = a_stuck_reader_hears(&["--runtime", "tokio"]);
    assert!(is_cut && heard.len() < 999, "{heard:?}");
    assert!(said.contains("the client read too slowly") && said.ends_with("1 client was cut off\n"), "{said}");
}

#[test]
fn a_stuck_reader_misses_the_oldest_messages_in_order_and_in_numbers() {
    let (heard, is_cut, said) = a_stuck_reader_hears(&["--overflow", "drop-oldest"]);
    assert!(!is_cut && heard.is_sorted() && heard.len() < 1_000, "{heard:?}");
    let dropped = 1_000 - heard.len();
    assert!(said.ends_with(&format!("{dropped} messages were dropped for slow readers\n")), "{dropped}: {said}");
}

#[test]
fn a_stuck_reader_hears_the_latest_state_last() {
    let (heard, is_cut, _) = a_stuck_reader_hears(&["--overflow", "latest", "--runtime", "tokio"]);
    assert!(!is_cut && heard.is_sorted() && heard.len() < 1_000, "{heard:?}");
    // Nothing but the last one waited; the others had room for several.
    assert!(heard[heard.len() - 2] < 990, "{heard:?}");
}
