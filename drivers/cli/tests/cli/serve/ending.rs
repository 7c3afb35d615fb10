//! The end of a server, and what its clients make of it.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{client, close_code};
use crate::program::Program;

#[test]
fn clients_of_a_server_that_is_replaced_are_told_1012_and_come_back() {
    for runtime in ["smol", "tokio"] {
        let (server, address) = Program::serve("127.0.0.1:0", runtime);
        let url = format!("ws://{address}/socket");
        let mut listening = ["websocket", "longpoll"].map(|transport| {
            let mut listening = Program::start(&["listen", &url, "t", "--json", "--transport", transport]);
            assert_eq!(listening.event("joined")["again"], false);
            listening
        });
        server.signal("-INT");
        let lost = listening[0].event("disconnected");
        assert!(lost["reason"].as_str().is_some_and(|reason| reason.contains("1012")), "{lost}");
        let ended = server.ended();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        let (_server, _) = Program::serve(&address, runtime);
        for listening in &mut listening {
            assert_eq!(listening.event("joined")["again"], true);
        }
    }
}

#[test]
fn whoever_does_not_leave_in_time_is_cut_off_and_counted() {
    for runtime in ["smol", "tokio"] {
        let options = ["--drain", "200ms", "--runtime", runtime];
        let (server, address) = Program::serve_with("127.0.0.1:0", &options, &[]);
        let mut silent = client(&address);
        let start = Instant::now();
        server.signal("-TERM");
        assert_eq!(close_code(&mut silent), 1012);
        let ended = server.ended();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), "1 client did not leave in time\n"));
        assert!(start.elapsed() < Duration::from_millis(1_500), "{:?}", start.elapsed());
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (server, address) = Program::serve_with("127.0.0.1:0", &["--drain", "1h"], &[]);
    let mut silent = client(&address);
    let start = Instant::now();
    server.signal("-INT");
    assert_eq!(close_code(&mut silent), 1012);
    // What comes together with the first is the first, and the silent one is given up after 2 s.
    while !is_over(&silent) {
        assert!(start.elapsed() < Duration::from_secs(2), "it is still there");
        server.signal("-INT");
    }
    assert_eq!(server.ended().code, Some(0));
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
}

/// Whether nobody is there any more, within a moment.
fn is_over(tcp: &TcpStream) -> bool {
    tcp.set_read_timeout(Some(Duration::from_millis(50))).expect("a moment");
    match tcp.peek(&mut [0]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}
