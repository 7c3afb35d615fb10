//! `--transport`: the same conversations over long-poll, and the way there where no WebSocket gets through.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::program::{Program, run};
use crate::realtime::Realtime;
use crate::supabase::KEY;

const ANY: &str = "127.0.0.1:0";

fn long_poll_carries_a_conversation(server: &str, client: &str) {
    let (_server, address) = Program::serve(ANY, server);
    let url = format!("ws://{address}/socket");
    for (hears, says) in [("longpoll", "websocket"), ("websocket", "longpoll"), ("longpoll", "auto")] {
        let listen =
            ["listen", &url, "room:lobby", "--json", "--count", "2", "--runtime", client, "--transport", hears];
        let mut listening = Program::start(&listen);
        listening.event("joined");
        let payload = r#"{"big":12345678901234567890.5,"text":"ž\""}"#;
        let send = ["send", &url, "room:lobby", "shout", payload, "--count", "2", "--reply", "--transport", says];
        let sent = run(&[&send[..], &["--runtime", client]].concat());
        assert_eq!(sent.code, Some(0), "{sent:?}");
        for _ in 0..2 {
            let line = listening.line();
            assert!(line.ends_with(&format!(r#""name":"shout","payload":{payload}}}"#)), "{line}");
        }
        let ended = listening.ended();
        assert!(ended.code == Some(0) && ended.stdout.ends_with(",\"event\":\"closed\"}\n"), "{ended:?}");
    }
}

#[test]
fn long_poll_carries_a_conversation_on_smol() {
    long_poll_carries_a_conversation("tokio", "smol");
}

#[test]
fn long_poll_carries_a_conversation_on_tokio() {
    long_poll_carries_a_conversation("smol", "tokio");
}

#[test]
fn where_no_websocket_gets_through_auto_takes_long_poll_and_says_so() {
    let (_server, address) = Program::serve(ANY, "smol");
    let url = format!("ws://{}/socket", no_upgrades(&address, ""));
    let listen = |runtime: &str, form: &[&str]| {
        Program::start(&[&["listen", &url, "room:lobby", "--transport", "auto", "--runtime", runtime], form].concat())
    };
    let (mut listening, mut reading) = (listen("smol", &["--json"]), listen("tokio", &[]));
    assert_eq!(listening.event("transport_changed")["transport"], "longpoll");
    listening.event("connected");
    listening.event("joined");
    while reading.line() != "transport changed: longpoll is next" {}
    assert_eq!((reading.line(), reading.line()), ("connected".into(), "joined room:lobby {}".into()));
}

#[test]
fn a_proxy_that_refuses_the_upgrade_has_not_the_last_word_where_long_poll_gets_through() {
    let (_server, address) = Program::serve(ANY, "tokio");
    let project = Realtime::start();
    let project = project.url().trim_start_matches("ws://").trim_end_matches("/socket").to_owned();
    let supabase = ["--dialect", "supabase", "--apikey", KEY];
    let cases = [(&address, &[][..], "200 OK"), (&address, &[], "400 Bad Request"), (&project, &supabase, "400 No")];
    let running = cases.map(|(address, dialect, status)| {
        let refusal = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let url = format!("ws://{}/socket", no_upgrades(address, &refusal));
        let auto = [dialect, &["--transport", "auto"]].concat();
        let listening = Program::start(&[&["listen", &url, "room", "--json"], &auto[..]].concat());
        (listening, Program::start(&[&["send", &url, "room", "shout", "--reply"], &auto[..]].concat()))
    });
    for (mut listening, sending) in running {
        assert_eq!(listening.event("transport_changed")["transport"], "longpoll");
        listening.event("joined");
        let sent = sending.ended();
        assert!(sent.code == Some(0) && sent.stdout.contains("1 reply ok"), "{sent:?}");
    }
}

/// A proxy that takes requests through to `address`, but says this to those for a WebSocket.
fn no_upgrades(address: &str, refusal: &str) -> SocketAddr {
    let proxy = TcpListener::bind(ANY).expect("a free port");
    let at = proxy.local_addr().expect("bound");
    let (address, refusal) = (address.to_owned(), refusal.to_owned());
    std::thread::spawn(move || {
        for mut client in proxy.incoming().flatten() {
            let mut first = [0; 4096];
            let Ok(length) = client.read(&mut first) else { continue };
            let head = String::from_utf8_lossy(&first[..length]).to_lowercase();
            if head.contains("upgrade: websocket") {
                // Whoever does not hear it is refused, too.
                let _ = client.write_all(refusal.as_bytes());
                continue;
            }
            let Ok(mut server) = TcpStream::connect(&address) else { continue };
            if server.write_all(&first[..length]).is_err() {
                continue;
            }
            carry(client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
            carry(server, client);
        }
    });
    at
}

/// Takes everything from one socket to the other, until either is gone.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        // That it ends is all there is to know.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}
