//! Who is let in, who is not, and what else goes on meanwhile.

use rejoin_core::Payload;
use rejoin_core::phoenix::{JoinOptions, PushOutcome};

use crate::lab::{Lab, ended, joined, json, ok, over_both_transports};

over_both_transports! {
    a_client_is_let_in_with_the_response_of_the_application
    a_client_that_is_refused_hears_why_and_tries_again
    a_topic_that_nobody_has_is_unmatched
    a_join_that_panics_is_refused_and_harms_nobody_else
    the_application_is_told_of_the_join_before_it_hears_an_event
    a_channel_that_fails_when_it_is_joined_crashes
}

fn a_client_is_let_in_with_the_response_of_the_application(mut lab: Lab) {
    let client = lab.client();
    let mut guest = lab.joining_by(client.clone(), "room:1");
    assert_eq!(guest.hears(), ["joined {}"]);
    let options = JoinOptions::with_payload(json(r#"{"name":"é"}"#));
    let (_room, mut events) = lab.wait(client.join("room:2", options)).unwrap();
    assert_eq!(lab.wait(events.joined()), Ok(json(r#"{"name":"é"}"#)));
    assert_eq!(lab.standing(), [1, 0, 2, 2]);
    assert_eq!(lab.app.log(), ["join room:1", "joined room:1", "join room:2", "joined room:2"]);
}

fn a_client_that_is_refused_hears_why_and_tries_again(mut lab: Lab) {
    let mut guest = lab.joining("room:refused");
    assert_eq!(guest.hears(), ["refused: unauthorized"]);
    assert_eq!(lab.standing(), [1, 0, 0, 0]);
    lab.live(1);
    assert_eq!(guest.hears(), ["refused: unauthorized"]);
    assert_eq!(lab.app.log(), ["join room:refused"; 2]);
}

fn a_topic_that_nobody_has_is_unmatched(mut lab: Lab) {
    for topic in ["roomy", "room", "Room:1", "room:unmatched"] {
        let mut guest = lab.joining(topic);
        assert_eq!(guest.hears(), ["refused: unmatched topic"], "{topic}");
    }
    assert_eq!(lab.app.log(), ["join room:unmatched"]);
}

fn a_join_that_panics_is_refused_and_harms_nobody_else(mut lab: Lab) {
    let client = lab.client();
    let good = lab.joining_by(client.clone(), "room:1");
    let mut broken = lab.joining_by(client, "room:broken");
    assert_eq!(broken.hears(), ["refused: join crashed"]);
    assert_eq!(good.push(&mut lab, "echo", "1"), PushOutcome::Ok(json("1")));
    assert_eq!((lab.counts().crashed, lab.counts().members), (1, 1));
    assert!(lab.reports().iter().any(|report| report.contains("room:broken crashed")));
}

fn the_application_is_told_of_the_join_before_it_hears_an_event(mut lab: Lab) {
    let guest = lab.guest("room:greeting");
    let ticket = guest.start(&mut lab, "echo", "1");
    lab.rig.settle();
    assert_eq!(lab.app.log(), ["join room:greeting"], "it is not ready");
    lab.app.open_gate();
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::Ok(json("1"))));
    assert_eq!(lab.app.log(), ["joined room:greeting", "echo 1"]);
}

fn a_channel_that_fails_when_it_is_joined_crashes(mut lab: Lab) {
    let mut guest = lab.joining("room:stillborn");
    assert_eq!(guest.hears(), ["joined {}", "errored"]);
    assert_eq!(lab.app.log(), ["join room:stillborn", "leave room:stillborn Crashed"]);
    assert_eq!(lab.standing(), [1, 0, 0, 0]);
}

#[test]
fn a_join_that_takes_its_time_holds_nothing_else_up() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.say(&mut lab, r#"["1","1","room:slow","phx_join",{}]"#);
    assert!(socket.hear(&mut lab).is_empty());
    socket.say(&mut lab, r#"[null,"2","phoenix","heartbeat",{}]"#);
    assert_eq!(socket.hear(&mut lab), [r#"[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]"#]);
    socket.join(&mut lab, "room:1");
    socket.push(&mut lab, "room:1", "3", "echo", "3");
    assert_eq!(socket.hear(&mut lab), [ok("room:1", "3", "3")]);
    // Not in the topic until it is let in.
    assert_eq!(lab.server.broadcast("room:slow", "news", Payload::EMPTY), 0);
    lab.app.open_gate();
    assert_eq!(socket.hear(&mut lab), [ok("1", "1", "{}").replacen(r#","1","phx"#, r#","room:slow","phx"#, 1)]);
    assert_eq!(lab.server.broadcast("room:slow", "news", Payload::EMPTY), 1);
}

#[test]
fn nobody_is_let_in_who_has_left_or_joined_anew_meanwhile() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.say(&mut lab, r#"["1","1","room:slow","phx_join",{}]"#);
    socket.say(&mut lab, r#"["2","2","room:slow","phx_join",{}]"#);
    socket.hear(&mut lab);
    lab.app.open_gate();
    assert!(socket.hear(&mut lab).is_empty(), "of the first join nothing is left");
    assert_eq!(lab.app.log(), ["join room:slow", "join room:slow", "leave room:slow Left"]);
    socket.say(&mut lab, r#"["2","3","room:slow","phx_leave",{}]"#);
    assert_eq!(
        socket.hear(&mut lab),
        [r#"["2","3","room:slow","phx_reply",{"status":"ok","response":{}}]"#],
        "the second one is taken back"
    );
    lab.app.open_gate();
    assert!(socket.hear(&mut lab).is_empty());
    assert_eq!(lab.app.log(), ["leave room:slow Left"]);
    assert_eq!(lab.standing(), [1, 0, 0, 0]);
}

#[test]
fn the_router_keeps_its_own_topic_whatever_the_patterns_say() {
    let mut lab = Lab::with(|endpoint| endpoint.channel::<crate::app::Room>("*"));
    let mut socket = lab.socket();
    socket.say(&mut lab, r#"["1","1","phoenix","phx_join",{}]"#);
    let unmatched = r#"{"status":"error","response":{"reason":"unmatched topic"}}"#;
    assert_eq!(socket.hear(&mut lab), [format!(r#"[null,"1","phoenix","phx_reply",{unmatched}]"#)]);
    socket.join(&mut lab, "Phoenix");
    socket.leave(&mut lab, "Phoenix");
    assert_eq!(socket.hear(&mut lab), [ok("Phoenix", "leave", "{}"), ended("Phoenix", "phx_close")]);
}

#[test]
fn the_first_pattern_that_fits_counts() {
    let mut lab = Lab::with(|endpoint| endpoint.channel::<Other>("room:1").channel::<Other>("other:*"));
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:1");
    socket.say(&mut lab, r#"["1","1","other:1","phx_join",{}]"#);
    assert!(socket.hear(&mut lab)[0].contains("another channel"));
    assert_eq!(joined("room:1"), ok("room:1", "room:1", "{}"));
}

struct Other;

impl rejoin_pump::server::Channel for Other {
    type App = crate::app::App;

    async fn join(
        _: &rejoin_core::Text,
        _: Payload,
        _: &rejoin_pump::server::Socket<Self::App>,
    ) -> Result<rejoin_pump::server::Joined<Self>, rejoin_pump::server::Refusal> {
        Err(rejoin_pump::server::Refusal::reason("another channel"))
    }

    async fn event(
        &mut self,
        _: rejoin_core::Text,
        _: Payload,
        _: &rejoin_pump::server::Socket<Self::App>,
    ) -> Result<rejoin_pump::server::Answer, rejoin_pump::server::Crash> {
        unreachable!("nobody is let in")
    }
}

#[test]
fn a_join_that_is_not_decided_ends_with_its_client() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.say(&mut lab, r#"["1","1","room:slow","phx_join",{}]"#);
    assert_eq!(lab.standing(), [1, 0, 0, 0]);
    socket.close(&mut lab);
    assert_eq!(lab.standing(), [0; 4], "nobody waits for an answer that nobody hears");
    assert_eq!(lab.app.log(), ["join room:slow"]);
}

#[test]
fn joins_that_are_taken_back_do_not_pile_up_while_the_application_is_slow() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    for n in 0..1_000 {
        socket.says_at_once(&format!(r#"["{n}","{n}","room:slow","phx_join",{{}}]"#));
        lab.rig.settle();
        socket.says_at_once(&format!(r#"["{n}","x","room:slow","phx_leave",{{}}]"#));
        lab.rig.settle();
    }
    let begun = lab.app.log().len();
    assert!((200..300).contains(&begun), "{begun}: then the socket is not read");
    drop(socket);
    lab.live(70);
    assert_eq!(lab.standing(), [0; 4]);
}
