//! What the application sends: to whom, in which order, and from which moment on.

use rejoin_core::Payload;
use rejoin_core::phoenix::{Config, PushOutcome};

use crate::lab::{Lab, json, ok, over_both_transports, version_1};

over_both_transports! {
    a_broadcast_reaches_everybody_in_the_topic_and_nobody_else
    a_broadcast_from_somebody_reaches_everybody_else
    a_push_reaches_one_client
    what_is_said_after_the_answer_to_a_join_is_heard_and_nothing_before_it
    the_server_itself_can_speak
}

fn a_broadcast_reaches_everybody_in_the_topic_and_nobody_else(mut lab: Lab) {
    let mut guests = ["room:1", "room:1", "room:2"].map(|topic| lab.guest(topic));
    assert_eq!(guests[0].push(&mut lab, "shout", r#"{"n":1}"#), PushOutcome::Ok(json("{}")));
    let heard = guests.each_mut().map(|guest| guest.hears());
    assert_eq!(heard, [vec![r#"news {"n":1}"#], vec![r#"news {"n":1}"#], vec![]]);
}

fn a_broadcast_from_somebody_reaches_everybody_else(mut lab: Lab) {
    let mut guests = ["room:1", "room:1", "room:1", "room:2"].map(|topic| lab.guest(topic));
    guests[1].push(&mut lab, "shout_from", "1");
    let heard = guests.each_mut().map(|guest| guest.hears().len());
    assert_eq!(heard, [1, 0, 1, 0]);
}

fn a_push_reaches_one_client(mut lab: Lab) {
    let mut guests = ["room:1", "room:1"].map(|topic| lab.guest(topic));
    guests[0].push(&mut lab, "whisper", "1");
    assert_eq!((guests[0].hears(), guests[1].hears()), (vec!["news 1".to_owned()], vec![]));
}

fn what_is_said_after_the_answer_to_a_join_is_heard_and_nothing_before_it(mut lab: Lab) {
    let teller = lab.guest("room:slow_news");
    let mut slow = lab.joining("room:slow");
    for n in 0..3 {
        assert_eq!(lab.server.broadcast("room:slow", "news", Payload::json(&n).unwrap()), 0);
    }
    lab.app.open_gate();
    lab.rig.settle();
    // In the same step as the answer, before the client has read anything.
    assert_eq!(lab.server.broadcast("room:slow", "news", json("3")), 1);
    lab.rig.settle();
    assert_eq!(slow.hears(), ["joined {}", "news 3"]);
    drop(teller);
}

fn the_server_itself_can_speak(mut lab: Lab) {
    let mut guest = lab.guest("room:1");
    assert_eq!(lab.server.broadcast("room:1", "news", json("1")), 1);
    assert_eq!(lab.server.broadcast("room:nobody", "news", json("1")), 0);
    lab.rig.settle();
    assert_eq!(guest.hears(), ["news 1"]);
    let mut teller = lab.guest("room:1");
    let counting = teller.start(&mut lab, "count", "1000");
    let expected: Vec<_> = (0..1000).map(|n| format!("news {n}")).collect();
    let mut heard = Vec::new();
    while heard.len() < 1000 {
        let more = guest.hears();
        assert!(!more.is_empty(), "{} have come", heard.len());
        heard.extend(more);
        teller.hears();
        lab.rig.settle();
    }
    assert_eq!(lab.wait(counting), Ok(PushOutcome::Ok(json("{}"))));
    assert_eq!(heard, expected);
}

#[test]
fn bytes_reach_those_who_can_read_them() {
    let mut lab = Lab::new();
    let mut config = Config::new("ws://test/socket").unwrap();
    version_1(&mut config);
    let old = lab.client_with(config);
    let (mut old, mut new) = (lab.joining_by(old, "room:1"), lab.guest("room:1"));
    assert_eq!(old.hears(), ["joined {}"]);
    assert_eq!(new.push(&mut lab, "bytes", "{}"), PushOutcome::Ok(json("{}")));
    new.push(&mut lab, "shout", "1");
    assert_eq!(new.hears(), ["news [1, 2, 3]", "news 1"]);
    assert_eq!(old.hears(), ["news 1"], "version 1 has no bytes");
}

#[test]
fn bytes_that_are_pushed_are_answered_with_bytes() {
    let mut lab = Lab::new();
    let guest = lab.guest("room:1");
    let bytes = Payload::binary(vec![0, 255].into());
    let push = rejoin_core::phoenix::Push::new("echo", bytes.clone());
    let ticket = lab.wait(guest.room.push(push)).unwrap();
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::Ok(bytes)));
}

#[test]
fn an_answer_that_a_client_cannot_read_is_reported() {
    let mut lab = Lab::new();
    let mut old = lab.socket_at("");
    old.say(&mut lab, r#"{"topic":"room:1","event":"phx_join","payload":{},"ref":"1","join_ref":"1"}"#);
    old.hear(&mut lab);
    old.say(&mut lab, r#"{"topic":"room:1","event":"answer_bytes","payload":{},"ref":"2","join_ref":"1"}"#);
    assert!(old.hear(&mut lab).is_empty());
    assert!(lab.reports().iter().any(|report| report.contains("an answer could not be sent")), "{:?}", lab.reports());
}

#[test]
fn both_versions_hear_one_broadcast_each_in_its_own_words() {
    let mut lab = Lab::new();
    let (mut old, mut new) = (lab.socket_at(""), lab.socket());
    old.say(&mut lab, r#"{"topic":"room:1","event":"phx_join","payload":{},"ref":"1","join_ref":"1"}"#);
    assert_eq!(old.hear(&mut lab).len(), 1);
    new.join(&mut lab, "room:1");
    new.push(&mut lab, "room:1", "1", "shout", "1");
    assert_eq!(new.hear(&mut lab), [r#"[null,null,"room:1","news",1]"#.to_owned(), ok("room:1", "1", "{}")]);
    let heard: serde_json::Value = serde_json::from_str(&old.hear(&mut lab)[0]).unwrap();
    assert_eq!((&heard["topic"], &heard["event"], &heard["payload"]), (&"room:1".into(), &"news".into(), &1.into()));
}
