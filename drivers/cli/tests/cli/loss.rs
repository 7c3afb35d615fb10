//! Servers that die, come back, or were never there.

use std::net::TcpListener;

use crate::program::{Program, run};

fn a_listener_survives(runtime: &str, vsn: &str, transport: &str) {
    let (server, address) = Program::serve("127.0.0.1:0", runtime);
    let url = format!("ws://{address}/socket");
    let how = ["--json", "--count", "1", "--runtime", runtime, "--vsn", vsn, "--transport", transport];
    let mut listening = Program::start(&[&["listen", &url, "room:lobby"][..], &how].concat());
    assert_eq!(listening.event("joined")["again"], false);

    server.kill();
    let lost = listening.event("disconnected");
    assert!(lost["reason"].is_string() && lost["retry_in_ms"].is_u64(), "{lost}");
    assert_eq!(listening.event("channel_errored")["topic"], "room:lobby");

    let (_server, again) = Program::serve(&address, runtime);
    assert_eq!(again, address);
    listening.event("connected");
    assert_eq!(listening.event("joined")["again"], true);
    run(&["send", &url, "room:lobby", "shout", "[]"]);
    assert_eq!(listening.event("message")["name"], "shout");
    assert_eq!(listening.ended().code, Some(0));
}

#[test]
fn a_listener_survives_the_death_of_its_server_on_smol() {
    a_listener_survives("smol", "1", "websocket");
}

#[test]
fn a_listener_survives_the_death_of_its_server_on_tokio() {
    a_listener_survives("tokio", "2", "websocket");
}

#[test]
fn a_listener_by_long_poll_survives_the_death_of_its_server_on_smol() {
    a_listener_survives("smol", "2", "longpoll");
}

#[test]
fn a_listener_by_long_poll_survives_the_death_of_its_server_on_tokio() {
    a_listener_survives("tokio", "1", "longpoll");
}

#[test]
fn a_refused_attempt_names_the_status_and_the_retry() {
    let (_server, address) = Program::serve("127.0.0.1:0", "smol");
    let url = format!("ws://{address}/elsewhere");
    let mut listening = Program::start(&["listen", &url, "room:lobby", "--json", "--for", "500ms"]);
    let lost = listening.event("disconnected");
    assert!(lost["reason"].as_str().is_some_and(|reason| reason.contains("HTTP 404")), "{lost}");
    assert!(lost["retry_in_ms"].as_u64().is_some_and(|ms| (1..=10_000).contains(&ms)), "{lost}");
    assert_eq!(listening.ended().code, Some(0));

    let sent = run(&["send", &url, "room:lobby", "shout", "--timeout", "5s"]);
    assert_eq!((sent.code, sent.stdout.as_str()), (Some(1), ""), "{sent:?}");
    assert_eq!(sent.stderr.lines().count(), 1);
    assert!(sent.stderr.contains("HTTP 404"), "{sent:?}");
}

#[test]
fn a_server_that_never_answers_is_not_waited_for() {
    // The system accepts for it; nobody ever reads.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/socket", silent.local_addr().expect("bound"));
    for runtime in ["smol", "tokio"] {
        let sent = run(&["send", &url, "room:lobby", "shout", "--timeout", "300ms", "--runtime", runtime]);
        assert_eq!((sent.code, sent.stdout.as_str()), (Some(1), ""), "{sent:?}");
        assert!(
            sent.stderr.starts_with("error: room:lobby was not joined: ") && sent.stderr.ends_with('\n'),
            "{sent:?}"
        );
        assert_eq!(sent.stderr.lines().count(), 1, "{sent:?}");
    }
}

#[test]
fn a_signal_ends_a_listener_in_peace() {
    let (_server, address) = Program::serve("127.0.0.1:0", "smol");
    let url = format!("ws://{address}/socket");
    for (signal, runtime) in [("-INT", "smol"), ("-TERM", "tokio")] {
        let mut listening = Program::start(&["listen", &url, "room:lobby", "--json", "--runtime", runtime]);
        listening.event("joined");
        listening.signal(signal);
        listening.event("closed");
        assert_eq!(listening.ended().code, Some(0));
    }
}

#[test]
fn an_output_that_nobody_reads_ends_quietly() {
    use std::io::Read;
    use std::process::{Command, Stdio};
    let (_server, address) = Program::serve("127.0.0.1:0", "smol");
    let url = format!("ws://{address}/socket");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    command.args(["listen", &url, "room:lobby", "--json", "--heartbeat", "20ms", "--for", "10s"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut first = [0];
    child.stdout.take().expect("piped").read_exact(&mut first).expect("it prints");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
