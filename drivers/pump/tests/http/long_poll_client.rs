//! A pump whose connection is a long-poll, against a server that says what the test says.

use std::time::Duration;

use futures_util::FutureExt;
use rejoin_core::Payload;
use rejoin_core::phoenix::{Config, JoinOptions, Push, PushOutcome, Transport};
use rejoin_pump::memory::{MemoryListener, network};
use rejoin_pump::{Channel, ChannelEvent, Client, ConnectOptions, Events, Inflow, connect_with};

use crate::rig::Rig;
use crate::wire::Wire;

#[test]
fn a_session_is_opened_polled_and_pushed_to() {
    let mut lab = Lab::new();
    let (mut get, mut post, room, mut events) = lab.joined();
    let ticket = room.push(Push::new("shout", Payload::json("hello").unwrap())).now_or_never().unwrap().unwrap();
    lab.rig.settle();
    let pushed = post.heard();
    assert!(pushed.ends_with(r#"["1","2","room:1","shout","hello"]"#), "{pushed}");
    lab.answer(&mut post, r#"{"status":200}"#);
    lab.answer(&mut get, r#"{"status":204}"#);
    assert!(get.heard().starts_with("GET "), "it is polled on");
    let reply = r#"[\"1\",\"2\",\"room:1\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]"#;
    let news = r#"[null,null,\"room:1\",\"news\",\"too\"]"#;
    lab.answer(&mut get, &format!(r#"{{"status":200,"messages":["{reply}","{news}"]}}"#));
    assert_eq!(ticket.now_or_never(), Some(Ok(PushOutcome::Ok(Payload::EMPTY))));
    let Some(Some(ChannelEvent::Message { event, .. })) = events.next().now_or_never() else { panic!() };
    assert_eq!(event, "news");
    assert!(get.heard().starts_with("GET ") && Wire::accept(&lab.listener).is_none(), "two connections suffice");
}

#[test]
fn what_is_pushed_while_a_post_is_under_way_waits_and_travels_together() {
    let mut lab = Lab::new();
    let (_get, mut post, room, _events) = lab.joined();
    let push = |n: u32| {
        let push = Push::new("count", Payload::json(&n).unwrap());
        let _ticket = room.push(push).now_or_never().unwrap().unwrap();
    };
    push(0);
    push(1);
    lab.rig.settle();
    let pushed = post.heard();
    assert!(pushed.ends_with("\"count\",0]\n[\"1\",\"3\",\"room:1\",\"count\",1]"), "{pushed}");
    (2..150).for_each(|n| {
        push(n);
        lab.rig.settle();
    });
    assert_eq!(post.heard(), "");
    for expected in [100, 48] {
        lab.answer(&mut post, r#"{"status":200}"#);
        assert_eq!(post.heard().matches("\"count\"").count(), expected);
    }
}

#[test]
fn pushes_leave_while_a_reader_that_is_full_keeps_the_pump_from_reading() {
    let mut lab = Lab::new();
    let (mut get, mut idle, room, mut events) = lab.joined();
    let news = vec![r#""[null,null,\"room:1\",\"news\",1]""#; 600].join(",");
    lab.answer(&mut get, &format!(r#"{{"status":200,"messages":[{news}]}}"#));
    assert_eq!(get.heard(), "", "it is not polled on while its messages are unread");
    for _ in 0..150 {
        let _ticket = room.push(Push::new("count", Payload::EMPTY)).now_or_never().unwrap().unwrap();
        lab.rig.settle();
    }
    // Of two idle connections the one that was used last carries the next request.
    let mut post = get;
    for expected in [1, 100, 49] {
        assert_eq!(post.heard().matches("\"count\"").count(), expected);
        lab.answer(&mut post, r#"{"status":200}"#);
    }
    for _ in 0..600 {
        assert!(events.next().now_or_never().is_some());
        lab.rig.settle();
    }
    assert!(post.heard().starts_with("GET ") && idle.heard().is_empty());
}

#[test]
fn a_lost_session_is_opened_anew_and_its_channels_are_joined_again() {
    let mut lab = Lab::new();
    let (mut get, mut post, _room, mut events) = lab.joined();
    lab.answer(&mut get, r#"{"status":410}"#);
    assert!(matches!(events.next().now_or_never(), Some(Some(ChannelEvent::Errored { .. }))));
    lab.rig.advance(Duration::from_secs(1));
    lab.open_session(&mut get);
    let joined = post.heard();
    assert!(joined.contains("phx_join"), "{joined}");
}

#[test]
fn a_poll_or_a_push_that_is_not_answered_for_twenty_seconds_ends_the_connection() {
    for pushes in [false, true] {
        let mut lab = Lab::new();
        let (mut get, mut post, room, mut events) = lab.joined();
        if pushes {
            let push = Push::new("shout", Payload::EMPTY).without_reply();
            let _ticket = room.push(push).now_or_never().unwrap().unwrap();
            lab.rig.settle();
            lab.rig.advance(Duration::from_secs(10));
            lab.answer(&mut get, r#"{"status":204}"#);
            assert!(post.heard().contains("shout"));
        }
        lab.rig.advance(Duration::from_millis(if pushes { 9_999 } else { 19_999 }));
        assert!(events.next().now_or_never().is_none());
        lab.rig.advance(Duration::from_millis(1));
        assert!(matches!(events.next().now_or_never(), Some(Some(ChannelEvent::Errored { .. }))));
        get.heard();
        assert!(get.has_ended() && post.has_ended() == pushes, "what is under way is given up");
    }
}

#[test]
fn a_poll_that_breaks_off_is_not_repeated_in_silence_since_its_answer_may_be_lost() {
    let mut lab = Lab::new();
    let (get, _post, _room, mut events) = lab.joined();
    drop(get);
    lab.rig.settle();
    assert!(matches!(events.next().now_or_never(), Some(Some(ChannelEvent::Errored { .. }))));
}

#[test]
fn a_client_that_closes_sends_what_was_pushed_and_drops_its_poll() {
    let mut lab = Lab::new();
    let (mut get, mut post, room, _events) = lab.joined();
    let _ticket = room.push(Push::new("last", Payload::EMPTY)).now_or_never().unwrap().unwrap();
    lab.client.close().now_or_never().unwrap();
    lab.rig.settle();
    assert!(post.heard().contains("\"last\""));
    assert_eq!(lab.rig.running(), 1);
    lab.answer(&mut post, r#"{"status":200}"#);
    assert_eq!(lab.rig.running(), 0);
    assert!(get.has_ended());
}

#[test]
fn an_attempt_that_is_given_up_drops_its_request() {
    let mut lab = Lab::new();
    let mut get = Wire::accept(&lab.listener).unwrap();
    assert!(get.heard().starts_with("GET "));
    lab.rig.advance(Duration::from_secs(10));
    assert!(get.has_ended());
    lab.rig.advance(Duration::from_secs(1));
    let mut again = Wire::accept(&lab.listener).unwrap();
    lab.open_session(&mut again);
}

struct Lab {
    rig: Rig,
    listener: MemoryListener,
    client: Client,
}

impl Lab {
    fn new() -> Self {
        let (runtime, listener) = network();
        let mut config = Config::new("ws://test/socket").unwrap();
        config.transport = Transport::LongPoll;
        config.jitter = rejoin_core::Jitter::None;
        let (client, pump) = connect_with(config, ConnectOptions::default(), runtime.clone());
        let mut rig = Rig::new(runtime);
        rig.spawn(pump);
        Self { rig, listener, client }
    }

    /// The connections that carry the GETs and the POSTs of a session, and a channel in it.
    fn joined(&mut self) -> (Wire, Wire, Channel, Events) {
        let mut get = Wire::accept(&self.listener).unwrap();
        self.open_session(&mut get);
        let mut joining = Box::pin(self.client.join_with("room:1", JoinOptions::default(), Inflow::default()));
        assert!((&mut joining).now_or_never().is_none());
        self.rig.settle();
        let (room, mut events) = joining.now_or_never().unwrap().unwrap();
        let mut post = Wire::accept(&self.listener).unwrap();
        let joined = post.heard();
        assert!(joined.starts_with("POST /socket/longpoll?vsn=2.0.0&token=t1 HTTP/1.1\r\n"), "{joined}");
        assert!(joined.ends_with("\r\n\r\n[\"1\",\"1\",\"room:1\",\"phx_join\",{}]"), "{joined}");
        self.answer(&mut post, r#"{"status":200}"#);
        let reply = r#"[\"1\",\"1\",\"room:1\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]"#;
        self.answer(&mut get, &format!(r#"{{"status":200,"messages":["{reply}"],"token":"t1"}}"#));
        assert_eq!(events.joined().now_or_never(), Some(Ok(Payload::EMPTY)));
        assert!(get.heard().starts_with("GET /socket/longpoll?vsn=2.0.0&token=t1 "));
        (get, post, room, events)
    }

    fn open_session(&mut self, get: &mut Wire) {
        let asked = get.heard();
        assert!(asked.starts_with("GET /socket/longpoll?vsn=2.0.0 HTTP/1.1\r\n"), "{asked}");
        self.answer(get, r#"{"status":410,"messages":[],"token":"t1"}"#);
        assert!(get.heard().starts_with("GET /socket/longpoll?vsn=2.0.0&token=t1 "));
    }

    fn answer(&mut self, server: &mut Wire, body: &str) {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        server.say(&mut self.rig, &(head + body));
    }
}
