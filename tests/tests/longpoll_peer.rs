//! The server's half of long-poll alone: which exchange is answered when, and with what.

use rejoin_core::http::HttpId;
use rejoin_core::phoenix::{LongPollBody, LongPollCall, LongPollConfig, LongPollPeer, LongPollResponse, RequestHead};
use rejoin_core::{ConnId, Frame, Text, Timestamp, TransportAction, TransportEvent};

const CONN: ConnId = ConnId::new(3);

const fn secs(s: u64) -> Timestamp {
    Timestamp::from_millis(s * 1_000)
}

const fn get(n: u64) -> HttpId {
    HttpId::new(n)
}

fn peer() -> LongPollPeer {
    LongPollPeer::new(LongPollConfig::default(), CONN, "tok", Timestamp::ZERO)
}

fn text(text: &str) -> Frame {
    Frame::Text(text.into())
}

fn send(peer: &mut LongPollPeer, frame: Frame) {
    peer.handle_action(Timestamp::ZERO, TransportAction::Send { conn: CONN, frame });
}

fn close(peer: &mut LongPollPeer) {
    let reason = "restart".into();
    peer.handle_action(Timestamp::ZERO, TransportAction::Close { conn: CONN, code: 1012, reason });
}

/// Which exchanges are answered, and their bodies.
fn answers(peer: &mut LongPollPeer) -> Vec<(u64, String)> {
    std::iter::from_fn(|| peer.poll_response()).map(|(id, response)| (id.get(), body(&response))).collect()
}

fn body(response: &LongPollResponse) -> String {
    match response.status {
        200 => String::from_utf8(response.body.to_vec()).unwrap(),
        status => format!("HTTP {status}"),
    }
}

fn events(peer: &mut LongPollPeer) -> Vec<TransportEvent> {
    std::iter::from_fn(|| peer.poll_event()).collect()
}

fn says(messages: &[&str]) -> String {
    serde_json::json!({"messages": messages, "status": 200, "token": "tok"}).to_string()
}

const NOTHING: &str = r#"{"messages":[],"status":204,"token":"tok"}"#;
const GONE: &str = r#"{"messages":[],"status":410}"#;

#[test]
fn what_waits_is_answered_at_once_and_in_one_response() {
    let mut peer = peer();
    send(&mut peer, text("[1]"));
    send(&mut peer, text("[\"2\"]"));
    assert!(peer.poll_response().is_none(), "nobody polls");
    peer.poll(secs(1), get(1));
    assert_eq!(answers(&mut peer), [(1, says(&["[1]", "[\"2\"]"]))]);
}

#[test]
fn a_poll_is_held_until_there_is_something_to_say_or_the_window_is_over() {
    let mut peer = peer();
    peer.poll(Timestamp::ZERO, get(1));
    assert!(peer.poll_response().is_none());
    send(&mut peer, text("[1]"));
    assert_eq!(answers(&mut peer), [(1, says(&["[1]"]))]);
    peer.poll(secs(3), get(2));
    assert_eq!(peer.poll_timeout(), Some(secs(13)));
    peer.handle_timeout(secs(12));
    assert!(peer.poll_response().is_none());
    peer.handle_timeout(secs(13));
    assert_eq!(answers(&mut peer), [(2, NOTHING.into())]);
}

#[test]
fn a_second_poll_releases_the_first_one() {
    let mut peer = peer();
    peer.poll(Timestamp::ZERO, get(1));
    peer.poll(secs(1), get(2));
    assert_eq!(answers(&mut peer), [(1, NOTHING.into())]);
    send(&mut peer, text("[1]"));
    assert_eq!(answers(&mut peer), [(2, says(&["[1]"]))]);
}

#[test]
fn a_poll_that_hung_up_takes_no_message_with_it() {
    let mut peer = peer();
    peer.poll(Timestamp::ZERO, get(1));
    peer.hung_up(get(1));
    send(&mut peer, text("[1]"));
    assert!(peer.poll_response().is_none());
    peer.poll(secs(1), get(2));
    assert_eq!(answers(&mut peer), [(2, says(&["[1]"]))]);
}

#[test]
fn a_client_that_does_not_poll_for_one_and_a_half_windows_is_gone() {
    let mut peer = peer();
    peer.poll(secs(2), get(1));
    peer.handle_timeout(secs(12));
    assert_eq!((answers(&mut peer).len(), peer.poll_timeout()), (1, Some(secs(27))));
    peer.handle_timeout(secs(26));
    assert!(events(&mut peer).is_empty());
    peer.handle_timeout(secs(27));
    let reason = Text::from("the client polls no more");
    assert_eq!(events(&mut peer), [TransportEvent::Closed { conn: CONN, code: None, reason }]);
    assert!(peer.is_finished() && peer.poll_timeout().is_none());
}

#[test]
fn a_close_is_told_after_what_was_said_before_it() {
    let mut peer = peer();
    send(&mut peer, text("[1]"));
    close(&mut peer);
    send(&mut peer, text("[2]"));
    assert!(events(&mut peer).is_empty());
    peer.poll(secs(1), get(1));
    assert_eq!(answers(&mut peer), [(1, says(&["[1]"]))]);
    let closed = TransportEvent::Closed { conn: CONN, code: Some(1012), reason: "restart".into() };
    assert_eq!(events(&mut peer), [closed]);
    assert!(!peer.is_finished(), "the client is still to be told");
    peer.push(secs(1), get(2), LongPollBody::Lines, &"[]".into());
    peer.poll(secs(1), get(3));
    assert_eq!(answers(&mut peer), [(2, r#"{"status":410}"#.into()), (3, GONE.into())]);
    assert!(peer.is_finished() && events(&mut peer).is_empty());
}

#[test]
fn an_abort_ends_a_held_poll_and_forgets_what_was_said() {
    let mut peer = peer();
    send(&mut peer, text("[1]"));
    peer.handle_action(secs(1), TransportAction::Abort { conn: CONN });
    assert!(matches!(&*events(&mut peer), [TransportEvent::Closed { code: None, .. }]));
    peer.poll(secs(1), get(1));
    assert_eq!(answers(&mut peer), [(1, GONE.into())]);
}

#[test]
fn a_client_that_is_never_told_is_forgotten_all_the_same() {
    let mut peer = peer();
    close(&mut peer);
    assert_eq!(events(&mut peer).len(), 1);
    peer.handle_timeout(peer.poll_timeout().unwrap());
    assert!(peer.is_finished());
}

#[test]
fn pushes_are_taken_in_order_and_a_body_that_cannot_be_read_not_at_all() {
    let mut peer = peer();
    peer.push(secs(1), get(1), LongPollBody::Lines, &"[1]\nAAH/\n[2]".into());
    peer.push(secs(1), get(2), LongPollBody::Whole, &"{\"a\":1}".into());
    peer.push(secs(1), get(3), LongPollBody::Lines, &"[3]\n{bad json".into());
    peer.push(secs(1), get(4), LongPollBody::Lines, &vec![b' '; 10_000_001].into());
    let taken = || r#"{"status":200}"#.to_owned();
    assert_eq!(answers(&mut peer), [(1, taken()), (2, taken()), (3, "HTTP 500".into()), (4, "HTTP 413".into())]);
    let binary = Frame::Binary(vec![0, 1, 255].into());
    let frames = [text("[1]"), binary, text("[2]"), text("{\"a\":1}")];
    assert_eq!(events(&mut peer), frames.map(|frame| TransportEvent::Received { conn: CONN, frame }));
}

#[test]
fn items_beyond_the_hundredth_are_ignored_and_counted() {
    let mut peer = peer();
    peer.push(secs(1), get(1), LongPollBody::Lines, &["[]"; 120].join("\n").into());
    assert_eq!((events(&mut peer).len(), peer.stats().ignored_items), (100, 20));
}

#[test]
fn a_client_that_polls_too_slowly_is_cut_off() {
    let mut few = LongPollConfig::default();
    few.outbox_messages = 2;
    let mut small = LongPollConfig::default();
    small.outbox_bytes = 8;
    for config in [few, small] {
        let mut peer = LongPollPeer::new(config, CONN, "tok", Timestamp::ZERO);
        send(&mut peer, text("[1]"));
        send(&mut peer, text("[2]"));
        assert!(events(&mut peer).is_empty());
        send(&mut peer, text("[3]"));
        let reason = Text::from("the client polled too slowly");
        assert_eq!(events(&mut peer), [TransportEvent::Closed { conn: CONN, code: None, reason }]);
        peer.poll(secs(1), get(1));
        assert_eq!(answers(&mut peer), [(1, GONE.into())]);
    }
}

#[test]
fn what_fills_a_response_leaves_no_room_until_it_is_polled() {
    let mut few = LongPollConfig::default();
    few.outbox_messages = 2;
    let mut small = LongPollConfig::default();
    small.outbox_bytes = 6;
    for config in [few, small] {
        let mut peer = LongPollPeer::new(config, CONN, "tok", Timestamp::ZERO);
        send(&mut peer, text("[1]"));
        assert!(peer.has_room());
        send(&mut peer, text("[2]"));
        assert!(!peer.has_room());
        peer.poll(secs(1), get(1));
        assert_eq!(answers(&mut peer), [(1, says(&["[1]", "[2]"]))]);
        assert!(peer.has_room());
    }
    let mut peer = peer();
    send(&mut peer, text(&"x".repeat(1 << 20)));
    assert!(!peer.has_room());
}

#[test]
fn binary_frames_travel_as_far_as_they_are_text() {
    let mut peer = peer();
    send(&mut peer, Frame::Binary(b"\x02\n\x03room:lobbybin\x01\x02\x03".to_vec().into()));
    send(&mut peer, Frame::Binary(b"\x02\x01\x01te\xff".to_vec().into()));
    peer.poll(secs(1), get(1));
    // As in recordings/phoenix/longpoll_raw.jsonl.
    assert_eq!(answers(&mut peer), [(1, says(&["\u{2}\n\u{3}room:lobbybin\u{1}\u{2}\u{3}"]))]);
    assert_eq!(peer.stats().unspeakable, 1);
}

#[test]
fn much_to_say_is_said_in_several_responses() {
    let mut peer = peer();
    let large = "x".repeat(700_000);
    (0..3).for_each(|_| send(&mut peer, text(&large)));
    peer.poll(secs(1), get(1));
    peer.poll(secs(1), get(2));
    let lengths: Vec<_> = answers(&mut peer).iter().map(|(id, body)| (*id, body.len() / 700_000)).collect();
    assert_eq!(lengths, [(1, 2), (2, 1)]);
}

#[test]
fn the_head_of_a_request_says_what_is_asked() {
    let call = |method: &str, target: &str, headers: &[(&'static str, &'static str)]| {
        LongPollCall::of(&RequestHead::new(method, target, headers.iter().copied()))
    };
    let poll = |token: Option<&str>| LongPollCall::Poll { token: token.map(Text::from) };
    assert_eq!(call("GET", "/socket/longpoll?vsn=2.0.0&token=a%2Fb", &[]), poll(Some("a/b")));
    assert_eq!(call("GET", "/socket/longpoll", &[]), poll(None));
    let header = [("X-Phoenix-LongPoll-Token", "new")];
    assert_eq!(call("GET", "/socket/longpoll?token=old&vsn=1.0.0", &header), poll(Some("new")));

    let push = |body| LongPollCall::Push { token: Some("t".into()), body };
    let ndjson = [("Content-Type", "application/x-ndjson; charset=utf-8")];
    assert_eq!(call("POST", "/l?vsn=9&token=t", &ndjson), push(LongPollBody::Lines));
    assert_eq!(call("POST", "/l?token=t", &[("content-type", "application/json")]), push(LongPollBody::Whole));

    for method in ["DELETE", "HEAD", "PUT", "get", ""] {
        let LongPollCall::Answered(bad) = call(method, "/l", &[]) else { panic!("no method of ours: {method}") };
        assert_eq!(bad.status, 405);
        assert!(bad.headers.contains(&("allow".into(), "GET, POST, OPTIONS".into())), "{method}");
    }
    let asked = [("Access-Control-Request-Headers", "content-type, x-phoenix-authtoken")];
    let LongPollCall::Answered(preflight) = call("OPTIONS", "/l", &asked) else { panic!("a preflight") };
    let header = |name: &str| preflight.headers.iter().find(|(key, _)| &**key == name).map(|(_, value)| &**value);
    assert_eq!(header("access-control-allow-headers"), Some("content-type, x-phoenix-authtoken"));
    assert_eq!(header("access-control-allow-origin"), Some("*"));
    assert_eq!(header("access-control-max-age"), Some("3600"));
}

#[test]
fn nothing_shows_a_token() {
    let mut peer = LongPollPeer::new(LongPollConfig::default(), CONN, "s3cret", Timestamp::ZERO);
    peer.poll(secs(1), get(1));
    peer.poll(secs(1), get(2));
    let call = LongPollCall::of(&RequestHead::new("GET", "/l?token=s3cret", [("x-api-key", "s3cret")]));
    let shown = format!("{peer:?} {call:?} {:?}", LongPollResponse::opened("s3cret"));
    assert!(!shown.contains("s3cret"), "{shown}");
}
