//! The way in: what is refused and how, what is given up, and for whom there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::{AsyncWriteExt, FutureExt};
use rejoin_core::phoenix::Transport;
use rejoin_pump::memory::MemoryIo;
use rejoin_pump::server::ServerOptions;

use crate::lab::{Lab, millis, over_both_transports, secs};
use crate::wire::Wire;

const UPGRADE: &str = "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const POLL: &str = "GET /socket/longpoll?vsn=2.0.0 HTTP/1.1\r\nHost: h\r\n\r\n";

over_both_transports! {
    a_client_that_finds_no_room_comes_again_when_it_was_told_to
}

fn with(options: impl FnOnce(&mut ServerOptions)) -> Lab {
    Lab::with(|endpoint| {
        let mut chosen = ServerOptions::default();
        options(&mut chosen);
        endpoint.options(chosen)
    })
}

fn dial(lab: &Lab) -> Wire {
    Wire::dial(&lab.rig.runtime)
}

#[test]
fn a_handshake_that_stalls_is_given_up_after_ten_seconds() {
    for half in ["", "GET", &UPGRADE[..UPGRADE.len() - 2], &POLL[..POLL.len() - 2]] {
        let mut lab = Lab::new();
        let mut wire = dial(&lab);
        lab.rig.settle();
        wire.say(&mut lab.rig, half);
        assert_eq!(lab.standing(), [0, 1, 0, 0], "{half}");
        lab.advance(millis(9_999));
        assert!(!wire.has_ended() && lab.standing() == [0, 1, 0, 0], "{half}");
        lab.advance(millis(1));
        assert!(wire.has_ended() && wire.heard().is_empty(), "{half}");
        assert_eq!((lab.standing(), lab.counts().handshakes_given_up), ([0; 4], 0));
    }
}

#[test]
fn a_client_that_trickles_its_request_is_not_waited_for_any_longer() {
    let mut lab = Lab::new();
    let mut wire = dial(&lab);
    for byte in UPGRADE.split_inclusive(|_: char| true).take(30) {
        wire.say(&mut lab.rig, byte);
        lab.advance(millis(400));
    }
    assert!(wire.has_ended());
    assert_eq!(lab.standing(), [0; 4]);
}

#[test]
fn the_oldest_handshake_gives_way_when_there_are_too_many() {
    let mut lab = with(|options| options.handshakes = 3);
    let mut stalled: Vec<_> = (0..5).map(|_| open(&mut lab)).collect();
    assert_eq!((lab.standing(), lab.counts().handshakes_given_up), ([0, 3, 0, 0], 2));
    assert_eq!(stalled.iter_mut().map(Wire::has_ended).collect::<Vec<_>>(), [true, true, false, false, false]);
    // Whoever says what it wants gets in past them.
    let guest = lab.guest("room:1");
    assert_eq!((lab.standing(), lab.counts().handshakes_given_up), ([1, 2, 1, 1], 3));
    stalled[4].say(&mut lab.rig, UPGRADE);
    assert!(stalled[4].heard().starts_with("HTTP/1.1 101 "));
    assert_eq!(lab.standing(), [2, 1, 1, 1]);
    drop(guest);
}

/// Says it before anybody runs.
fn say_later(wire: &mut Wire, text: &str) {
    wire.0.write_all(text.as_bytes()).now_or_never().expect("there is room").unwrap();
}

fn open(lab: &mut Lab) -> Wire {
    let wire = dial(lab);
    lab.rig.settle();
    wire
}

#[test]
fn a_request_that_is_none_of_the_servers_is_refused_in_its_own_words() {
    for (request, status) in [
        (UPGRADE.replace("/socket/websocket", "/other/websocket"), 404),
        (UPGRADE.replace("vsn=2", "vsn=3"), 403),
        (UPGRADE.replace("Host: h", "Host: h\r\nOrigin: http://elsewhere"), 403),
        (POLL.replace("longpoll", "other"), 404),
        (POLL.replace("vsn=2", "vsn=3"), 200),
        ("\0\r\n\r\n".into(), 400),
    ] {
        let mut lab = Lab::new();
        let mut wire = dial(&lab);
        wire.say(&mut lab.rig, &request);
        let answer = wire.heard();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        drop(wire);
        lab.rig.settle();
        assert_eq!(lab.standing(), [0; 4]);
    }
}

#[test]
fn whoever_finds_the_server_full_is_told_when_to_come_again() {
    for request in [UPGRADE, POLL] {
        let mut lab = with(|options| options.connections = 1);
        let guest = lab.guest("room:1");
        let mut wire = dial(&lab);
        wire.say(&mut lab.rig, request);
        let answer = wire.heard();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 5\r\n"), "{answer}");
        assert_eq!((lab.counts().refused, lab.counts().connections), (1, 1));
        lab.wait(guest.client.close());
        lab.rig.settle();
        let mut wire = dial(&lab);
        wire.say(&mut lab.rig, request);
        let answer = wire.heard();
        assert!(answer.starts_with("HTTP/1.1 101 ") || answer.contains(r#""status":410"#), "{answer}");
    }
}

#[test]
fn a_body_for_a_session_that_is_not_there_is_not_waited_for() {
    let post = "POST /socket/longpoll?vsn=2.0.0&token=guessed HTTP/1.1\r\nHost: h\r\n";
    for (framing, begin) in [("Content-Length: 9000000", ""), ("Transfer-Encoding: chunked", "20000\r\n")] {
        let mut lab = Lab::new();
        let mut wire = dial(&lab);
        wire.say(&mut lab.rig, &format!("{post}{framing}\r\n\r\n{begin}"));
        wire.say(&mut lab.rig, &"x".repeat(100_000));
        let answer = wire.heard();
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with(r#"{"status":410}"#), "{answer}");
    }
    // A client that lost its session by no fault of its own may go on.
    let mut lab = Lab::new();
    let mut wire = dial(&lab);
    for _ in 0..2 {
        wire.say(&mut lab.rig, &format!("{post}Content-Length: 60000\r\n\r\n{}", "x".repeat(60_000)));
        let answer = wire.heard();
        assert!(!answer.contains("connection: close") && answer.ends_with(r#"{"status":410}"#), "{answer}");
    }
}

/// Two that come at the same moment do not both get the last place.
#[test]
fn no_more_are_let_in_than_there_may_be_however_close_they_come() {
    let mut lab = with(|options| options.connections = 3);
    let wires: Vec<_> = (0..10).map(|_| dial(&lab)).collect();
    let mut wires: Vec<_> = wires
        .into_iter()
        .map(|mut wire| {
            say_later(&mut wire, UPGRADE);
            wire
        })
        .collect();
    lab.rig.settle();
    let statuses = wires.iter_mut().map(|wire| wire.heard()[9..12].to_owned()).collect::<Vec<_>>();
    assert_eq!(statuses.iter().filter(|status| *status == "101").count(), 3, "{statuses:?}");
    assert_eq!((lab.counts().connections, lab.counts().refused), (3, 7));
}

#[test]
fn whoever_comes_while_the_server_stops_is_told_when_to_come_again() {
    for request in [UPGRADE, POLL] {
        let mut lab = Lab::new();
        let mut socket = lab.socket();
        socket.join(&mut lab, "room:lingering");
        let mut wire = dial(&lab);
        lab.rig.settle();
        // Both happen before the server looks at either.
        say_later(&mut wire, request);
        let server = lab.server.clone();
        let mut stopping = Box::pin(async move { server.shutdown(secs(3)).await.told });
        assert!(stopping.as_mut().now_or_never().is_none());
        lab.rig.spawn(async move { assert_eq!(stopping.await, 1) });
        let answer = wire.heard();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 5\r\n"), "{answer}");
        let mut late = dial(&lab);
        late.say(&mut lab.rig, request);
        assert!(late.heard().is_empty() && late.has_ended(), "the listener is about to go");
        lab.app.open_gate();
        lab.live(3);
    }
}

fn a_client_that_finds_no_room_comes_again_when_it_was_told_to(lab: Lab) {
    let transport: Transport = lab.transport;
    let mut lab = with(|options| options.connections = 1);
    lab.transport = transport;
    let first = lab.guest("room:1");
    let mut second = lab.joining("room:1");
    lab.advance(millis(4_900));
    assert_eq!(lab.counts().refused, 1);
    lab.advance(millis(200));
    assert_eq!(lab.counts().refused, 2);
    lab.wait(first.client.close());
    // Who polls does not say that it goes, and is missed later.
    lab.live(40);
    assert_eq!(second.hears(), ["joined {}"]);
}

#[test]
fn connections_that_ask_and_become_no_client_are_bounded_too() {
    let mut lab = with(|options| (options.connections, options.handshakes) = (1, 1));
    let ask = |lab: &mut Lab| {
        let mut wire = Wire::dial(&lab.rig.runtime);
        wire.say(&mut lab.rig, "GET /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n");
        wire
    };
    let mut wires = [(); 4].map(|()| ask(&mut lab));
    assert!(wires[0].heard().starts_with("HTTP/1.1 404 "));
    assert_eq!(wires.each_mut().map(Wire::has_ended), [false, false, false, true]);
    // They cost no client its place, and one that goes makes room for another.
    drop(lab.guest("room:1"));
    let [first, ..] = wires;
    drop(first);
    lab.rig.settle();
    let mut wire = ask(&mut lab);
    assert!(wire.heard().starts_with("HTTP/1.1 404 ") && !wire.has_ended());
}

#[test]
fn a_listener_without_sockets_rests_before_it_is_asked_again_and_until_the_shutdown() {
    let mut lab = Lab::new();
    let (server, asked, ended) = (lab.server.clone(), Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let (asks, ends) = (asked.clone(), ended.clone());
    lab.rig.spawn(async move {
        let next = || {
            asks.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Err::<MemoryIo, _>(std::io::Error::other("too many open files")))
        };
        server.accept_all(next).await;
        ends.store(true, Ordering::Relaxed);
    });
    for (passed, times) in [(0, 1), (99, 1), (1, 2), (99, 2), (1, 3)] {
        lab.advance(millis(passed));
        assert_eq!(asked.load(Ordering::Relaxed), times);
    }
    assert!(!ended.load(Ordering::Relaxed));
    let server = lab.server.clone();
    lab.wait(async move { server.shutdown(secs(1)).await });
    lab.rig.settle();
    assert!(ended.load(Ordering::Relaxed));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}
