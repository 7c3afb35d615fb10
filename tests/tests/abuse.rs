//! Clients that mean harm, against a server in a process of its own: its memory stays bounded, an honest
//! client is served all the time, and nothing remains of anybody.
#![cfg(target_os = "linux")]

#[path = "abuse/process.rs"]
mod process;
#[path = "abuse/room.rs"]
mod room;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::{Message, WebSocket};
use process::{Abused, HANDSHAKE, hear, say};

/// Not a test: the process that the tests start.
#[test]
#[ignore = "it is the process that the other tests start"]
fn the_server_that_is_abused() {
    process::serve();
}

macro_rules! on_both_runtimes {
    ($($name:ident)*) => {
        mod on_smol {
            $(#[test] fn $name() { super::$name($crate::process::Abused::on("smol")); })*
        }
        mod on_tokio {
            $(#[test] fn $name() { super::$name($crate::process::Abused::on("tokio")); })*
        }
    };
}

on_both_runtimes! {
    handshakes_that_trickle_are_given_up
    half_open_sockets_keep_nobody_out
    heads_that_never_end_are_cut_off
    whoever_has_no_token_is_refused
    frames_that_are_too_large_cost_their_client_its_connection
    noise_costs_its_client_its_connection
    requests_that_are_followed_by_silence_keep_nobody_out
    bodies_of_strangers_are_not_kept
    joins_beyond_the_limit_are_refused
    joins_and_leaves_leave_nothing_behind
    hostile_topics_and_keys_are_words_like_any_others
    a_client_that_asks_and_never_listens_is_cut_off
}

const UPGRADE: &str = "GET /socket/websocket?vsn=2.0.0&token=please HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Reads to the end of a connection that the server ends, one way or another.
fn rest(mut tcp: TcpStream) -> String {
    let mut rest = Vec::new();
    match tcp.read_to_end(&mut rest) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => panic!("it is kept open"),
        _ => String::from_utf8_lossy(&rest).into(),
    }
}

fn handshakes_that_trickle_are_given_up(mut abused: Abused) {
    let mut slow: Vec<_> = (0..200).map(|_| abused.dial()).collect();
    let begin = Instant::now();
    for byte in UPGRADE.as_bytes().chunks(1) {
        if begin.elapsed() > HANDSHAKE {
            break;
        }
        // Whoever was cut off already cannot say more.
        slow.iter_mut().for_each(|tcp| drop(tcp.write_all(byte)));
        std::thread::sleep(Duration::from_millis(50));
    }
    abused.until([1, 0, 1, 1]);
    slow.into_iter().for_each(|tcp| assert_eq!(rest(tcp), ""));
    abused.assert_well();
}

/// 2,000 of them, or as many as this system allows.
fn half_open_sockets_keep_nobody_out(mut abused: Abused) {
    let many = (process::raise_limit() / 2).min(2_000) as usize;
    let silent: Vec<_> = (0..many).map(|_| abused.dial()).collect();
    let mut late = abused.connect();
    say(&mut late, r#"["1","1","late","phx_join",{}]"#);
    assert!(hear(&mut late).contains("ok"));
    let [_, handshakes, ..] = abused.stands();
    assert!(handshakes <= 1_024, "{handshakes}");
    abused.assert_small();
    drop(silent);
    drop(late);
    abused.assert_well();
}

fn heads_that_never_end_are_cut_off(mut abused: Abused) {
    let line = format!("X-Filler: {}\r\n", "x".repeat(1_000));
    for _ in 0..20 {
        let mut tcp = abused.dial();
        tcp.write_all(UPGRADE.trim_end().as_bytes()).unwrap();
        tcp.write_all(b"\r\n").unwrap();
        let written = (0..10_000).take_while(|_| tcp.write_all(line.as_bytes()).is_ok()).count();
        assert!(written < 10_000, "it is read for ever");
    }
    abused.until([1, 0, 1, 1]);
    abused.assert_well();
}

fn whoever_has_no_token_is_refused(abused: Abused) {
    for n in 0..500 {
        let mut tcp = abused.dial();
        tcp.write_all(UPGRADE.replace("&token=please", ["", "&token=me"][n % 2]).as_bytes()).unwrap();
        let answer = rest(tcp);
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
    abused.assert_well();
}

/// A socket whose frames the test writes itself.
fn upgraded(abused: &Abused) -> TcpStream {
    let mut tcp = abused.dial();
    tcp.write_all(UPGRADE.as_bytes()).unwrap();
    let mut head = [0; 129];
    tcp.read_exact(&mut head).unwrap();
    assert!(head.starts_with(b"HTTP/1.1 101 ") && head.ends_with(b"\r\n\r\n"), "{}", String::from_utf8_lossy(&head));
    tcp
}

fn frames_that_are_too_large_cost_their_client_its_connection(mut abused: Abused) {
    let announced = |opcode: u8, len: u64| {
        let mut head = vec![opcode, 0x80 | 127];
        head.extend(len.to_be_bytes());
        head.extend([0; 4]);
        head
    };
    for len in [(16 << 20) + 1, 1 << 40, u64::MAX >> 1] {
        // Announced and never sent: nobody keeps room for it.
        let sockets: Vec<_> = (0..20).map(|_| upgraded(&abused)).collect();
        for mut tcp in sockets {
            tcp.write_all(&announced(0x81, len)).unwrap();
            rest(tcp);
        }
        abused.assert_small();
    }
    // Small frames that make one large message.
    let mut tcp = upgraded(&abused);
    let mebibyte = vec![b'x'; 1 << 20];
    let mut opcode = 0x01;
    let sent = (0..100).take_while(|_| {
        let sent = tcp.write_all(&announced(opcode, 1 << 20)).and_then(|()| tcp.write_all(&mebibyte));
        opcode = 0x00;
        sent.is_ok()
    });
    assert!(sent.count() < 100, "it is read for ever");
    abused.until([1, 0, 1, 1]);
    abused.assert_well();
}

fn noise_costs_its_client_its_connection(mut abused: Abused) {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut noise = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_be_bytes()
    };
    for _ in 0..100 {
        let mut tcp = upgraded(&abused);
        // A client masks what it sends; the first frame here is not masked.
        let mut bytes = vec![0x81, 0x01];
        (0..100).for_each(|_| bytes.extend(noise()));
        let _ = tcp.write_all(&bytes);
        rest(tcp);
        // And before the upgrade.
        let mut tcp = abused.dial();
        let _ = tcp.write_all(&bytes);
        tcp.shutdown(std::net::Shutdown::Write).unwrap();
        rest(tcp);
    }
    for text in ["", "{", "[]", "[1,2,3,4]", "null", r#"["1","1","room","phx_join",{"#, "\u{0}"] {
        let mut socket = abused.connect();
        say(&mut socket, text);
        assert!(matches!(socket.read(), Ok(Message::Close(Some(frame))) if u16::from(frame.code) == 1011), "{text}");
    }
    abused.until([1, 0, 1, 1]);
    abused.assert_well();
}

fn requests_that_are_followed_by_silence_keep_nobody_out(mut abused: Abused) {
    let many = (process::raise_limit() / 4).min(1_000) as usize;
    let silent: Vec<_> = (0..many)
        .map(|_| {
            let mut tcp = abused.dial();
            tcp.write_all(b"GET /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            let mut head = [0; 12];
            tcp.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.1 404");
            tcp
        })
        .collect();
    drop(abused.connect());
    abused.until([1, 0, 1, 1]);
    abused.assert_small();
    drop(silent);
    abused.assert_well();
}

/// Long-polls of sessions that nobody has, with as much to say as may be.
fn bodies_of_strangers_are_not_kept(abused: Abused) {
    let head = b"POST /socket/longpoll?vsn=2.0.0&token=guessed HTTP/1.1\r\nHost: h\r\n";
    let mut strangers: Vec<_> = (0..100).map(|_| abused.dial()).collect();
    let chunk = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
    for (n, stranger) in strangers.iter_mut().enumerate() {
        let framing = ["Content-Length: 9000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"][n % 2];
        stranger.write_all(&[head, framing.as_bytes()].concat()).unwrap();
    }
    for _ in 0..4 {
        // Whoever was told to go already cannot say more.
        strangers.iter_mut().for_each(|stranger| drop(stranger.write_all(&chunk)));
    }
    drop(strangers);
    abused.assert_well();
}

fn joins_beyond_the_limit_are_refused(mut abused: Abused) {
    let mut socket = abused.connect();
    let (mut joined, mut refused) = (0, 0);
    for batch in 0..100 {
        (0..100).for_each(|n| {
            let n = batch * 100 + n;
            socket.write(Message::text(format!(r#"["{n}","{n}","room:{n}","phx_join",{{}}]"#))).unwrap();
        });
        socket.flush().unwrap();
        for _ in 0..100 {
            let answer = hear(&mut socket);
            joined += usize::from(answer.contains(r#""status":"ok""#));
            refused += usize::from(answer.contains("too many channels joined"));
        }
    }
    assert_eq!((joined, refused), (100, 9_900));
    abused.until([2, 0, 101, 101]);
    drop(socket);
    abused.assert_well();
}

fn joins_and_leaves_leave_nothing_behind(mut abused: Abused) {
    let mut socket = abused.connect();
    for batch in 0..50 {
        (0..100).for_each(|n| {
            let n = batch * 100 + n;
            let topic = format!("room:{}", n % 7);
            socket.write(Message::text(format!(r#"["{n}","{n}","{topic}","phx_join",{{}}]"#))).unwrap();
            socket.write(Message::text(format!(r#"["{n}","s","{topic}","show","{n}"]"#))).unwrap();
            socket.write(Message::text(format!(r#"["{n}","l","{topic}","phx_leave",{{}}]"#))).unwrap();
        });
        socket.flush().unwrap();
        // Of each: the join's answer, the diff, the answer to the push, that to the leave, and the end.
        (0..500).for_each(|_| drop(hear(&mut socket)));
    }
    assert_eq!(abused.stands(), [2, 0, 1, 1]);
    drop(socket);
    abused.assert_well();
}

/// Words that mean something to somebody.
fn hostile() -> Vec<String> {
    let mut words: Vec<String> =
        ["__proto__", "constructor", "toString", "hasOwnProperty", "phx_join", "*", "room:*", "../../etc/passwd"]
            .map(str::to_owned)
            .into();
    words.extend(
        ["\0", "\u{1}\u{1f}\u{7f}", "\r\n\r\n", "\"\\\"}]", "🐎", "\u{202e}", "\u{feff}", "é", "e\u{301}"]
            .map(str::to_owned),
    );
    words.extend([" ".into(), "x".repeat(255), "%00".into(), "null".into()]);
    words
}

fn hostile_topics_and_keys_are_words_like_any_others(mut abused: Abused) {
    let mut socket = abused.connect();
    let quoted = |word: &str| serde_json::to_string(word).unwrap();
    let ask = |socket: &mut WebSocket<TcpStream>, topic: &str, reference: &str, event: &str, payload: &str| {
        say(socket, &format!(r#"["1","{reference}",{},"{event}",{payload}]"#, quoted(topic)));
        loop {
            let heard: serde_json::Value = serde_json::from_str(&hear(socket)).expect("what the server says is JSON");
            if heard[1] == reference {
                assert_eq!(heard[2], topic);
                return heard[4].clone();
            }
        }
    };
    for (n, word) in hostile().iter().enumerate() {
        assert_eq!(ask(&mut socket, word, "1", "phx_join", "{}")["status"], "ok", "{word:?}");
        assert_eq!(ask(&mut socket, word, "2", "echo", &quoted(word))["response"], **word, "{word:?}");
        assert_eq!(ask(&mut socket, word, "3", "show", &quoted(word))["status"], "ok", "{word:?}");
        assert_eq!(ask(&mut socket, word, "4", "shout", &quoted(word))["status"], "ok", "{word:?}");
        assert_eq!(abused.stands(), [2, 0, n + 2, n + 2]);
    }
    let refused = [("phoenix", "unmatched topic"), (&"x".repeat(256), "topic too long")];
    for (topic, reason) in refused {
        assert_eq!(ask(&mut socket, topic, "5", "phx_join", "{}")["response"]["reason"], reason, "{topic:?}");
    }
    let too_long = quoted(&"k".repeat(256));
    assert_eq!(ask(&mut socket, "*", "6", "show", &too_long)["status"], "error");
    for word in &hostile() {
        assert_eq!(ask(&mut socket, word, "7", "phx_leave", "{}")["status"], "ok", "{word:?}");
    }
    drop(socket);
    abused.assert_well();
}

fn a_client_that_asks_and_never_listens_is_cut_off(mut abused: Abused) {
    let mut socket = abused.connect();
    say(&mut socket, r#"["1","1","room","phx_join",{}]"#);
    let question = format!(r#"["1","2","room","echo","{}"]"#, "x".repeat(60_000));
    let asked = (0..10_000).take_while(|_| socket.send(Message::text(question.as_str())).is_ok()).count();
    assert!(asked < 10_000, "it is answered for ever");
    abused.until([1, 0, 1, 1]);
    abused.assert_well();
}
