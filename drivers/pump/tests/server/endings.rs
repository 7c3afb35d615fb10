//! The end of a channel, whatever brings it about: told once, with its reason, and nothing remains.

use futures_util::FutureExt;
use rejoin_core::phoenix::PushOutcome;
use rejoin_core::{Payload, Text};
use rejoin_pump::server::{Answer, Channel, Crash, Joined, Refusal, Socket};

use crate::app::App;
use crate::lab::{Lab, ended, joined, json, ok, over_both_transports, secs};

over_both_transports! {
    a_client_that_leaves_has_left_once
    a_client_that_is_gone_has_left_every_topic
    a_shutdown_ends_every_channel
    a_task_that_is_dropped_leaves_no_member_behind
    a_connection_that_is_dropped_has_left
    what_was_pushed_before_a_leave_is_heard_before_it
}

fn a_client_that_leaves_has_left_once(mut lab: Lab) {
    let guest = lab.guest("room:1");
    lab.wait(guest.room.leave()).unwrap();
    lab.rig.settle();
    assert_eq!(lab.app.log(), ["join room:1", "joined room:1", "leave room:1 Left"]);
    assert_eq!(lab.standing(), [1, 0, 0, 0]);
    lab.wait(guest.client.close());
    lab.live(30);
    assert!(lab.app.log().is_empty());
    assert_eq!(lab.standing(), [0; 4]);
}

fn a_client_that_is_gone_has_left_every_topic(mut lab: Lab) {
    let client = lab.client();
    let _guests = ["room:1", "room:2"].map(|topic| lab.joining_by(client.clone(), topic));
    lab.rig.settle();
    assert_eq!((lab.app.log().len(), lab.standing()), (4, [1, 0, 2, 2]));
    lab.wait(client.close());
    // Who polls says nothing when it goes: it is missed.
    lab.live(30);
    assert_eq!(lab.app.log(), ["leave room:1 Left", "leave room:2 Left"]);
    assert_eq!(lab.standing(), [0; 4]);
}

fn a_shutdown_ends_every_channel(mut lab: Lab) {
    let guest = lab.guest("room:1");
    lab.app.log();
    let server = lab.server.clone();
    lab.rig.spawn(async move { assert_eq!(server.shutdown(secs(10)).await.cut, 0) });
    lab.live(10);
    assert_eq!(lab.app.log(), ["leave room:1 Left"]);
    assert_eq!(lab.standing(), [0; 4]);
    drop(guest);
}

fn a_task_that_is_dropped_leaves_no_member_behind(mut lab: Lab) {
    let _guests = ["room:1", "room:kept", "room:1"].map(|topic| lab.guest(topic));
    assert_eq!(lab.standing(), [3, 0, 2, 3]);
    lab.abort_tasks();
    // Even where the application keeps a socket.
    assert_eq!(lab.app.kept().len(), 1);
    assert_eq!(lab.standing(), [0; 4]);
    for socket in lab.app.kept() {
        assert!(socket.push("news", json("1")).is_err() && socket.track("a", json("{}")).is_err());
        assert!(socket.close().is_err() && socket.broadcast("news", json("1")) == 0);
        socket.disconnect(1000, "");
        assert!(socket.ready().now_or_never().is_some(), "nobody waits for who is gone");
    }
}

fn a_connection_that_is_dropped_has_left(mut lab: Lab) {
    let mut guest = lab.guest("room:1");
    lab.app.log();
    lab.server.abort_all();
    lab.rig.settle();
    assert_eq!(lab.app.log(), ["leave room:1 Left"]);
    assert_eq!(lab.standing(), [0; 4]);
    lab.live(10);
    assert_eq!(guest.hears(), ["errored", "joined again"]);
    assert_eq!(lab.standing(), [1, 0, 1, 1]);
}

fn what_was_pushed_before_a_leave_is_heard_before_it(mut lab: Lab) {
    let guest = lab.guest("room:1");
    lab.app.log();
    let _tickets = ["wait", "echo"].map(|event| guest.start(&mut lab, event, "1"));
    lab.wait(guest.room.leave()).unwrap();
    lab.rig.settle();
    assert_eq!((lab.app.log(), lab.counts().members), (vec!["wait 1".to_owned()], 0));
    lab.app.open_gate();
    lab.rig.settle();
    assert_eq!(lab.app.log(), ["waited", "echo 1", "leave room:1 Left"]);
}

#[test]
fn a_second_join_of_a_topic_ends_the_first() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:1");
    socket.say(&mut lab, r#"["2","2","room:1","phx_join",{}]"#);
    let answer = r#"["2","2","room:1","phx_reply",{"status":"ok","response":{}}]"#;
    assert_eq!(socket.hear(&mut lab), [answer.into(), ended("room:1", "phx_close")]);
    let log = ["join room:1", "joined room:1", "leave room:1 Left", "join room:1", "joined room:1"];
    assert_eq!((lab.app.log(), lab.standing()), (log.map(str::to_owned).to_vec(), [1, 0, 1, 1]));
}

#[test]
fn a_channel_that_the_application_closes_stays_closed() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:1");
    socket.push(&mut lab, "room:1", "1", "close", "{}");
    assert_eq!(socket.hear(&mut lab), [ended("room:1", "phx_close")], "its answer comes too late");
    assert_eq!(lab.app.log(), ["join room:1", "joined room:1", "close {}", "leave room:1 Left"]);
    assert_eq!(lab.standing(), [1, 0, 0, 0]);
    socket.join(&mut lab, "room:1");

    let mut guest = lab.guest("room:2");
    let _unanswered = guest.start(&mut lab, "close", "{}");
    lab.live(60);
    let heard = guest.hears();
    assert!(heard.len() == 1 && heard[0].contains("ServerClosed"), "{heard:?}");
}

#[test]
fn a_connection_that_the_application_closes_hears_its_code() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:1");
    socket.push(&mut lab, "room:1", "1", "disconnect", "{}");
    let heard = socket.hear(&mut lab);
    assert!(heard.contains(&"close 4001".to_owned()), "{heard:?}");
    assert_eq!(lab.standing(), [0; 4]);
    assert!(lab.reports().iter().any(|report| report.ends_with("closed by the host")));
}

#[test]
fn a_client_that_closes_is_gone_and_one_that_is_silent_is_closed() {
    let mut lab = Lab::new();
    let (mut one, mut two) = (lab.socket(), lab.socket());
    one.join(&mut lab, "room:1");
    two.join(&mut lab, "room:1");
    one.close(&mut lab);
    assert_eq!(lab.standing(), [1, 0, 1, 1]);
    lab.advance(secs(59));
    assert_eq!(two.hear(&mut lab), Vec::<String>::new());
    lab.advance(secs(1));
    assert_eq!(two.hear(&mut lab), ["close 1002"]);
    assert_eq!(lab.standing(), [0; 4]);
    let left = lab.app.log().iter().filter(|line| line.starts_with("leave")).count();
    assert_eq!(left, 2);
}

#[test]
fn a_connection_counts_until_the_application_has_said_its_farewells() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:lingering");
    socket.close(&mut lab);
    says_farewell(&mut lab);
}

#[test]
fn a_farewell_is_said_whole_wherever_the_end_comes_from() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:lingering");
    socket.push(&mut lab, "room:lingering", "1", "cut", "{}");
    lab.app.open_gate();
    assert_eq!(socket.hear(&mut lab).last().map(String::as_str), Some("end"));
    says_farewell(&mut lab);
}

/// A client that has gone counts until its channel in `room:lingering` is through the gate.
fn says_farewell(lab: &mut Lab) {
    assert_eq!(lab.standing(), [1, 0, 0, 0]);
    lab.app.open_gate();
    lab.rig.settle();
    assert_eq!(lab.standing(), [0; 4]);
    assert_eq!(lab.app.log().last().map(String::as_str), Some("leave room:lingering Left"));
}

/// Its channel has more to hear than it is read for, and is in no hurry.
#[test]
fn a_client_that_is_gone_is_in_no_topic_however_much_its_channel_is_yet_to_hear() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:1");
    for _ in 0..300 {
        socket.push(&mut lab, "room:1", "1", "wait", "{}");
    }
    drop(socket);
    lab.advance(secs(59));
    assert_eq!(lab.standing(), [1, 0, 1, 1], "nobody reads that it has gone");
    lab.live(4);
    assert_eq!(lab.standing(), [1, 0, 0, 0]);
    (0..300).for_each(|_| lab.app.open_gate());
    lab.rig.settle();
    assert_eq!(lab.standing(), [0; 4]);
    assert_eq!(lab.app.log().last().map(String::as_str), Some("leave room:1 Left"));
}

#[test]
fn a_leave_of_a_busy_channel_is_answered_at_once() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:1");
    socket.push(&mut lab, "room:1", "1", "wait", "{}");
    socket.leave(&mut lab, "room:1");
    assert_eq!(socket.hear(&mut lab), [ok("room:1", "leave", "{}"), ended("room:1", "phx_close")]);
    socket.say(&mut lab, r#"["2","2","room:1","phx_join",{}]"#);
    assert_eq!(socket.hear(&mut lab), [joined("2").replacen(r#","2","phx"#, r#","room:1","phx"#, 1)]);
    lab.app.open_gate();
    assert!(socket.hear(&mut lab).is_empty(), "nobody answers for the channel that is gone");
    socket.say(&mut lab, r#"["2","3","room:1","echo",3]"#);
    let answer = r#"["2","3","room:1","phx_reply",{"status":"ok","response":3}]"#;
    assert_eq!(socket.hear(&mut lab), [answer]);
    let guest = lab.guest("room:1");
    assert_eq!(guest.push(&mut lab, "echo", "4"), PushOutcome::Ok(json("4")));
}

/// A channel that cannot even be dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the drop panics, as the test wants");
    }
}

impl Channel for Bomb {
    type App = App;

    async fn join(_: &Text, _: Payload, _: &Socket<App>) -> Result<Joined<Self>, Refusal> {
        Ok(Joined::new(Self))
    }

    async fn event(&mut self, _: Text, _: Payload, _: &Socket<App>) -> Result<Answer, Crash> {
        Err(Crash::new("as the test wants"))
    }
}

#[test]
fn a_channel_that_panics_when_it_is_dropped_harms_nobody_else() {
    let mut lab = Lab::with(|endpoint| endpoint.channel::<Bomb>("bomb:*"));
    let (mut socket, mut other) = (lab.socket(), lab.socket());
    for topic in ["room:1", "bomb:left", "bomb:crashed", "bomb:1", "bomb:2", "bomb:3", "room:2"] {
        socket.join(&mut lab, topic);
        other.join(&mut lab, topic);
    }
    socket.leave(&mut lab, "bomb:left");
    assert_eq!(socket.hear(&mut lab).len(), 2, "the answer and the end");
    socket.push(&mut lab, "bomb:crashed", "1", "crash", "{}");
    assert_eq!(socket.hear(&mut lab).len(), 1, "the end");
    socket.push(&mut lab, "room:1", "2", "echo", "7");
    assert_eq!(socket.hear(&mut lab), [ok("room:1", "2", "7")]);
    assert_eq!(lab.standing(), [2, 0, 7, 12]);
    socket.close(&mut lab);
    assert_eq!(lab.standing(), [1, 0, 7, 7]);
    lab.abort_tasks();
    assert_eq!(lab.standing(), [0; 4]);
}

#[test]
fn a_leave_that_panics_is_told_to_whoever_runs_the_server_and_ends_nothing_else() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    for topic in ["room:1", "room:haunted"] {
        socket.join(&mut lab, topic);
    }
    lab.reports();
    socket.leave(&mut lab, "room:haunted");
    assert_eq!(socket.hear(&mut lab).len(), 2, "the answer and the end");
    let reports = lab.reports();
    assert_eq!(reports, ["#1: the channel room:haunted crashed: it panicked when its client had left"]);
    assert_eq!((lab.counts().crashed, lab.standing()), (1, [1, 0, 1, 1]));
}
