//! What the project on a socket does that its peers do not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use rejoin_core::Payload;
use rejoin_sim::supabase::Broken;

use super::Realtime;
use crate::program::{DEADLINE, Program};

fn listen(project: &Realtime) -> Program {
    let url = project.url();
    Program::start(&["listen", &url, "room", "--json", "--dialect", "supabase", "--apikey", "sb_publishable_1"])
}

fn dial(project: &Realtime) -> TcpStream {
    let tcp = TcpStream::connect(project.address).expect("it listens");
    tcp.set_read_timeout(Some(DEADLINE)).expect("a socket");
    tcp
}

#[test]
fn broadcasts_over_http_are_answered_on_the_port_of_the_sockets() {
    let project = Realtime::start();
    let mut listening = listen(&project);
    listening.event("joined");
    let mut tcp = dial(&project);
    let mut post = |target: &str, body: &str| {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: h\r\nApikey: sb_publishable_1\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        tcp.write_all(format!("{head}{body}").as_bytes()).expect("it reads");
        let mut answer = String::new();
        let mut reader = BufReader::new(&tcp);
        while !answer.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut answer).expect("it writes"), 0, "{answer}");
        }
        answer
    };
    for target in ["/api/broadcast/room/events/first", "/api/broadcast/room/events/second"] {
        let answer = post(target, "{}");
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    }
    assert_eq!(listening.event("broadcast")["name"], "first");
    assert_eq!(listening.event("broadcast")["name"], "second");
}

#[test]
fn what_the_database_sends_reaches_the_sockets() {
    let project = Realtime::start();
    let mut listening = listen(&project);
    listening.event("joined");
    project.send("room", false, "e", Payload::json(&[1, 2]).expect("JSON"));
    assert_eq!(listening.event("broadcast")["payload"], serde_json::json!([1, 2]));
}

#[test]
fn a_project_may_be_broken_from_the_first_byte_on() {
    let mut listening = listen(&Realtime::broken(Broken::Upgrade(404)));
    assert_eq!(listening.event("disconnected")["http_status"], 404);
    let mut tcp = dial(&Realtime::broken(Broken::Unanswered));
    tcp.write_all(b"GET /socket/websocket HTTP/1.1\r\n\r\n").expect("it reads");
    tcp.shutdown(Shutdown::Write).expect("a socket");
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).expect("it closes");
    assert_eq!(answer, b"");
}

#[test]
fn clients_that_poll_hear_what_the_sockets_say() {
    let project = Realtime::start();
    let url = project.url();
    for runtime in ["smol", "tokio"] {
        let supabase = ["--dialect", "supabase", "--apikey", "sb_publishable_1"];
        let listen = ["listen", &url, "room", "--json", "--transport", "longpoll", "--runtime", runtime];
        let mut polling = Program::start(&[&listen[..], &supabase].concat());
        polling.event("joined");
        for transport in ["websocket", "longpoll"] {
            let send = ["send", &url, "room", "said", r#"{"n":1}"#, "--transport", transport, "--runtime", runtime];
            let sent = Program::start(&[&send[..], &supabase].concat()).ended();
            assert_eq!(sent.code, Some(0), "{sent:?}");
            assert_eq!(polling.event("broadcast")["payload"], serde_json::json!({ "n": 1 }));
        }
    }
}
