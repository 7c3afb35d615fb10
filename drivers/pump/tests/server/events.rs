//! What clients push: in which order it is heard, what it is answered, and what a failure costs.

use std::sync::Mutex;

use futures_lite::future::yield_now;
use rejoin_core::phoenix::PushOutcome;
use rejoin_core::{Payload, Text};
use rejoin_pump::server::{Answer, Channel, Crash, Joined, Refusal, ServerOptions, Socket};

use crate::app::App;
use crate::lab::{Lab, json, ok, over_both_transports, secs};

over_both_transports! {
    a_push_is_answered_as_the_application_says
    a_slow_event_keeps_the_order_of_its_channel_and_holds_no_other_up
    a_channel_that_crashes_is_joined_again
    what_waits_behind_a_crash_is_heard_by_nobody
}

fn a_push_is_answered_as_the_application_says(mut lab: Lab) {
    let guest = lab.guest("room:1");
    assert_eq!(guest.push(&mut lab, "echo", r#"{"a":1}"#), PushOutcome::Ok(json(r#"{"a":1}"#)));
    assert_eq!(guest.push(&mut lab, "fail", "1"), PushOutcome::Error(json(r#"{"reason":"it fails"}"#)));
    let odd = PushOutcome::Other { status: "odd".into(), response: json("2") };
    assert_eq!(guest.push(&mut lab, "odd", "2"), odd);
    let quiet = guest.start(&mut lab, "quiet", "3");
    lab.live(10);
    assert_eq!(lab.wait(quiet), Ok(PushOutcome::TimedOut));
    assert_eq!(lab.app.log(), ["join room:1", "joined room:1", r#"echo {"a":1}"#, "fail 1", "odd 2", "quiet 3"]);
}

fn a_slow_event_keeps_the_order_of_its_channel_and_holds_no_other_up(mut lab: Lab) {
    let client = lab.client();
    let (one, two) = (lab.joining_by(client.clone(), "room:1"), lab.joining_by(client, "room:2"));
    lab.rig.settle();
    lab.app.log();
    let tickets: Vec<_> =
        ["wait", "echo", "wait", "echo"].iter().map(|event| one.start(&mut lab, event, r#""one""#)).collect();
    assert_eq!(two.push(&mut lab, "echo", r#""two""#), PushOutcome::Ok(json(r#""two""#)));
    assert_eq!(lab.app.log(), [r#"wait "one""#, r#"echo "two""#]);
    lab.app.open_gate();
    lab.rig.settle();
    assert_eq!(lab.app.log(), ["waited", r#"echo "one""#, r#"wait "one""#]);
    lab.app.open_gate();
    for ticket in tickets {
        assert_eq!(lab.wait(ticket), Ok(PushOutcome::Ok(json(r#""one""#))));
    }
    assert_eq!(lab.app.log(), ["waited", r#"echo "one""#]);
}

fn a_channel_that_crashes_is_joined_again(mut lab: Lab) {
    let mut guest = lab.guest("room:1");
    for (event, left) in [("crash", Some("leave room:1 Crashed")), ("panic", None)] {
        lab.app.log();
        let ticket = guest.start(&mut lab, event, "1");
        assert_eq!(lab.wait(ticket), Ok(PushOutcome::Unknown), "nobody can tell whether it was heard");
        assert_eq!((guest.hears(), lab.counts().members), (vec!["errored".to_owned()], 0));
        lab.live(1);
        assert_eq!(guest.hears(), ["joined again"]);
        assert_eq!(guest.push(&mut lab, "echo", "1"), PushOutcome::Ok(json("1")));
        let mut expected = vec![format!("{event} 1")];
        expected.extend(left.map(str::to_owned));
        expected.extend(["join room:1", "joined room:1", "echo 1"].map(str::to_owned));
        assert_eq!(lab.app.log(), expected);
    }
    assert_eq!((lab.counts().crashed, lab.standing()), (2, [1, 0, 1, 1]));
    let reports = lab.reports();
    for why in ["as the test wants", "it panicked"] {
        assert!(reports.iter().any(|report| report.ends_with(why)), "{reports:?}");
    }
}

fn what_waits_behind_a_crash_is_heard_by_nobody(mut lab: Lab) {
    let mut guest = lab.guest("room:1");
    lab.app.log();
    let tickets = ["slow_crash", "echo", "echo"].map(|event| guest.start(&mut lab, event, "1"));
    lab.app.open_gate();
    for ticket in tickets {
        assert_eq!(lab.wait(ticket), Ok(PushOutcome::Unknown));
    }
    assert_eq!(guest.hears(), ["errored"]);
    assert_eq!(lab.app.log(), ["slow_crash 1", "leave room:1 Crashed"]);
    lab.live(1);
    assert_eq!(guest.push(&mut lab, "echo", "2"), PushOutcome::Ok(json("2")), "its successor hears well");
}

#[test]
fn a_crash_is_told_with_the_lifetime_that_it_ends() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:1");
    socket.join(&mut lab, "room:2");
    socket.push(&mut lab, "room:1", "1", "crash", "{}");
    let crashed = r#"["room:1","room:1","room:1","phx_error",{"reason":"channel_crash"}]"#;
    assert_eq!(socket.hear(&mut lab), [crashed]);
    socket.push(&mut lab, "room:1", "2", "echo", "{}");
    let unmatched = r#"{"status":"error","response":{"reason":"unmatched topic"}}"#;
    assert_eq!(socket.hear(&mut lab), [format!(r#"[null,"2","room:1","phx_reply",{unmatched}]"#)]);
    socket.push(&mut lab, "room:2", "3", "echo", "{}");
    assert_eq!(socket.hear(&mut lab), [ok("room:2", "3", "{}")]);
}

/// 256 wait for a channel that is busy; the rest stays in the pipe, and beyond that with the client.
#[test]
fn a_client_that_pushes_more_than_its_channel_hears_is_not_read_and_loses_nothing() {
    let mut lab = Lab::new();
    let mut socket = lab.socket();
    socket.join(&mut lab, "room:1");
    socket.push(&mut lab, "room:1", "w", "wait", "{}");
    let filler = "x".repeat(1000);
    let (mut said, mut is_read) = (0, true);
    while is_read {
        assert!(said < 10_000, "it is read for ever");
        let frame = format!(r#"["room:1","{said}","room:1","echo",{{"n":{said},"filler":"{filler}"}}]"#);
        is_read = socket.says_at_once(&frame);
        // The last one has begun; it is on its way as soon as there is room.
        said += 1;
        lab.rig.settle();
    }
    assert!(said > 256, "{said}");
    let heard = lab.app.log();
    assert_eq!(heard, ["join room:1", "joined room:1", "wait {}"], "the channel is busy");
    lab.advance(secs(20));
    assert!(lab.app.log().is_empty() && socket.hear(&mut lab).is_empty());

    lab.app.open_gate();
    let mut replies = Vec::new();
    while replies.len() < said {
        let before = replies.len();
        let _ = socket.says_at_once(r#"["room:1",null,"room:1","quiet",{}]"#);
        replies.extend(socket.hear(&mut lab).into_iter().map(|reply| reply[..reply.len().min(40)].to_owned()));
        assert!(replies.len() > before, "{before} of {said}");
    }
    assert!(replies[0].contains(r#""w""#), "{}", replies[0]);
    for (n, reply) in replies[1..].iter().enumerate() {
        assert!(reply.starts_with(&format!(r#"["room:1","{n}","#)), "{n}: {reply}");
    }
}

/// Where on the stack each event was heard.
static HEARD_AT: Mutex<Vec<usize>> = Mutex::new(Vec::new());

struct Diver;

impl Channel for Diver {
    type App = App;

    async fn join(_: &Text, _: Payload, _: &Socket<App>) -> Result<Joined<Self>, Refusal> {
        Ok(Joined::new(Self))
    }

    async fn event(&mut self, event: Text, _: Payload, _: &Socket<App>) -> Result<Answer, Crash> {
        if event == "wait" {
            yield_now().await;
        }
        let here = 0u8;
        HEARD_AT.lock().unwrap().push(std::ptr::from_ref(&here).addr());
        Ok(Answer::None)
    }
}

#[test]
fn events_that_waited_take_no_more_of_the_stack_the_more_they_are() {
    let mut lab = Lab::with(|endpoint| endpoint.channel::<Diver>("deep"));
    let mut socket = lab.socket();
    socket.join(&mut lab, "deep");
    for event in std::iter::once("wait").chain([""; 100]) {
        assert!(socket.says_at_once(&format!(r#"["deep","1","deep","{event}",{{}}]"#)));
    }
    lab.rig.settle();
    let heard_at = HEARD_AT.lock().unwrap();
    assert_eq!(heard_at.len(), 101);
    let depth = heard_at[1].abs_diff(heard_at[100]);
    assert!(depth < 10_000, "the last one was heard {depth} bytes deeper than the second");
}

/// 32 MiB of unfinished business, or two of the largest messages, and nothing on top of them.
#[test]
fn large_messages_for_channels_that_are_busy_are_not_read_without_end() {
    for (largest, read) in [(1 << 20, 32 << 20), (24 << 20, 48 << 20)] {
        let mut options = ServerOptions::default();
        options.session.frame_bytes = largest;
        let mut lab = Lab::with(|endpoint| endpoint.options(options));
        let mut socket = lab.socket();
        for topic in ["room:1", "room:2"] {
            socket.join(&mut lab, topic);
            socket.push(&mut lab, topic, "w", "wait", "{}");
        }
        let large = format!(r#"["room:1",null,"room:1","quiet","{}"]"#, "x".repeat(1_000_000));
        let said = std::iter::repeat_n((), 256).take_while(|()| socket.says(&mut lab, &large)).count();
        assert_eq!(said, read / 1_000_000 + 1);
        lab.app.log();
        lab.app.open_gate();
        lab.app.open_gate();
        lab.rig.settle();
        let heard = lab.app.log();
        assert_eq!(heard.iter().filter(|line| line.starts_with("quiet")).count(), said, "nothing is lost");
        assert!(socket.says(&mut lab, r#"["room:2","e","room:2","echo",1]"#), "it is read again");
        assert_eq!(socket.hear(&mut lab).last(), Some(&ok("room:2", "e", "1")));
    }
}
