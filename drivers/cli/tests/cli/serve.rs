//! `serve` towards clients that this project did not write: raw sockets.

mod access;
mod ending;
mod history;
mod limits;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{DEADLINE, Program, run};

/// Sends an upgrade request and reads the head of the answer.
fn upgrade(address: &str, target: &str) -> (TcpStream, String) {
    upgrade_with(address, target, "")
}

/// The same with more headers, each with its line's end.
fn upgrade_with(address: &str, target: &str, headers: &str) -> (TcpStream, String) {
    upgrade_at(address, address, target, headers)
}

/// The same of a client that takes the server for `host`.
fn upgrade_at(address: &str, host: &str, target: &str, headers: &str) -> (TcpStream, String) {
    let mut tcp = TcpStream::connect(address).expect("it listens");
    tcp.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    );
    tcp.write_all(request.as_bytes()).expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tcp.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    (tcp, String::from_utf8(head).expect("text"))
}

/// A client of vsn 2.0.0 that was let in.
fn client(address: &str) -> TcpStream {
    let (tcp, head) = upgrade(address, "/socket/websocket?vsn=2.0.0");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    tcp
}

/// A masked text frame; the mask is zero, so that the text stays readable.
fn say(tcp: &mut TcpStream, text: &str) {
    let length = match u16::try_from(text.len()).expect("no long text") {
        short if short < 126 => vec![0x80 | short.to_be_bytes()[1]],
        long => [&[0x80 | 126][..], &long.to_be_bytes()].concat(),
    };
    tcp.write_all(&[&[0x81][..], &length, &[0; 4], text.as_bytes()].concat()).expect("it reads");
}

/// Opcode and content of the next frame.
fn hear(tcp: &mut TcpStream) -> (u8, Vec<u8>) {
    hear_if_any(tcp).expect("a frame")
}

/// The same, unless the connection ends before it.
fn hear_if_any(tcp: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    tcp.read_exact(&mut head).ok()?;
    let mut length = usize::from(head[1]);
    assert!(length < 127, "a very long frame");
    if length == 126 {
        let mut long = [0; 2];
        tcp.read_exact(&mut long).ok()?;
        length = u16::from_be_bytes(long).into();
    }
    let mut content = vec![0; length];
    tcp.read_exact(&mut content).ok()?;
    Some((head[0] & 0x0f, content))
}

/// What the server answers to a message.
fn ask(tcp: &mut TcpStream, message: &str) -> Value {
    say(tcp, message);
    let (_, content) = hear(tcp);
    let answer: Value = serde_json::from_slice(&content).expect("JSON");
    assert_eq!(answer[3], "phx_reply", "{answer}");
    answer[4].clone()
}

/// The code of the close frame that comes next.
fn close_code(tcp: &mut TcpStream) -> u16 {
    let (opcode, content) = hear(tcp);
    assert_eq!(opcode, 8, "{}", String::from_utf8_lossy(&content));
    u16::from_be_bytes([content[0], content[1]])
}

#[test]
fn an_unknown_vsn_is_refused_with_403_and_an_empty_body() {
    for runtime in ["smol", "tokio"] {
        let (_server, address) = Program::serve("127.0.0.1:0", runtime);
        for vsn in ["0.9", "2.1.0", "3.0.0", "abc", "2.0.0-rc.1", ""] {
            let (mut tcp, head) = upgrade(&address, &format!("/socket/websocket?vsn={vsn}"));
            assert!(head.starts_with("HTTP/1.1 403 "), "{vsn}: {head}");
            let mut body = Vec::new();
            // The server may close with bytes of ours unread, which some systems report.
            let _ = tcp.read_to_end(&mut body);
            assert_eq!(body, b"", "{vsn}");
        }
        let (_, head) = upgrade(&address, "/elsewhere");
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    }
}

#[test]
fn without_vsn_it_speaks_1_0_0() {
    let (_server, address) = Program::serve("127.0.0.1:0", "smol");
    let (mut tcp, head) = upgrade(&address, "/socket/websocket");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    say(&mut tcp, r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}"#);
    let (_, content) = hear(&mut tcp);
    let answer: serde_json::Value = serde_json::from_slice(&content).expect("JSON");
    assert_eq!((&answer["event"], &answer["ref"]), (&"phx_reply".into(), &"1".into()), "{answer}");
}

#[test]
fn a_vsn_1_member_is_spared_binary_messages_and_protocol_events_stay_out() {
    let (server, address) = Program::serve("127.0.0.1:0", "smol");
    let (mut old, _) = upgrade(&address, "/socket/websocket?vsn=1.0.0");
    say(&mut old, r#"{"topic":"t","event":"phx_join","payload":{},"ref":"1"}"#);
    hear(&mut old);
    let (mut new, _) = upgrade(&address, "/socket/websocket?vsn=2.0.0");
    say(&mut new, r#"["1","1","t","phx_join",{}]"#);
    hear(&mut new);

    // A binary push: kind 0, then the lengths of join_ref, ref, topic and event.
    let push = b"\x00\x01\x01\x01\x03121bin\x09\x08";
    let push = [&push[..7], b"tbin\x09\x08"].concat();
    new.write_all(&[&[0x82, 0x80 | u8::try_from(push.len()).expect("short"), 0, 0, 0, 0], push.as_slice()].concat())
        .expect("it reads");
    assert_eq!(hear(&mut new).1, br#"["1","2","t","phx_reply",{"status":"ok","response":{}}]"#);
    say(&mut new, r#"["1","3","t","phx_close",{}]"#);
    assert_eq!(
        hear(&mut new).1,
        br#"["1","3","t","phx_reply",{"status":"error","response":{"reason":"reserved event"}}]"#
    );
    say(&mut new, r#"["1","4","t","text",{}]"#);
    let heard: serde_json::Value = serde_json::from_slice(&hear(&mut old).1).expect("JSON");
    assert_eq!(heard["event"], "text", "{heard}");

    server.signal("-TERM");
    let ended = server.ended();
    assert!(ended.stderr.starts_with("1 binary message"), "{ended:?}");
}

#[test]
fn sigterm_closes_with_1012_and_ends_in_time_though_a_peer_is_silent() {
    for runtime in ["smol", "tokio"] {
        let (server, address) = Program::serve("127.0.0.1:0", runtime);
        let mut listening = Program::start(&["listen", &format!("ws://{address}/socket"), "t", "--json"]);
        listening.event("joined");
        let (mut silent, _) = upgrade(&address, "/socket/websocket?vsn=2.0.0");
        // One that never even finishes its request.
        let _half = TcpStream::connect(&address).expect("it listens");

        let start = Instant::now();
        // A second one, as `timeout` and others send it, changes nothing.
        server.signal("-TERM");
        server.signal("-TERM");
        let (opcode, content) = hear(&mut silent);
        assert_eq!((opcode, &content[..2]), (8, &1012_u16.to_be_bytes()[..]));
        let lost = listening.event("disconnected");
        assert!(lost["reason"].as_str().is_some_and(|reason| reason.contains("1012")), "{lost}");
        assert_eq!(server.ended().code, Some(0));
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
}

#[test]
fn without_peers_a_signal_ends_it_without_the_wait_for_farewells() {
    let (server, _) = Program::serve("127.0.0.1:0", "tokio");
    let start = Instant::now();
    server.signal("-INT");
    assert_eq!(server.ended().code, Some(0));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_port_in_use_is_bad_input() {
    let (_server, address) = Program::serve("127.0.0.1:0", "smol");
    for runtime in ["smol", "tokio"] {
        let ended = run(&["serve", "--listen", &address, "--runtime", runtime]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.stderr.starts_with("error: --listen: ") && ended.stderr.contains("in use"), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1);
    }
}
