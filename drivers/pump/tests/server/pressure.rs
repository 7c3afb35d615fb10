//! More than a client reads: a healthy one gets all of it, a stuck one what its topic allows, and nobody
//! else notices.

use rejoin_core::Payload;
use rejoin_core::phoenix::OutboxOverflow;
use rejoin_pump::server::{ServerOptions, TopicOptions};

use crate::app::Room;
use crate::lab::{Lab, Raw, secs};

const MESSAGES: usize = 10_000;

/// With topics of every policy, and an outbox of 256 KiB.
fn lab() -> Lab {
    Lab::with(|endpoint| {
        let policies = [
            ("newest:*", OutboxOverflow::DropNewest),
            ("oldest:*", OutboxOverflow::DropOldest),
            ("latest:*", OutboxOverflow::Latest),
        ];
        let mut options = ServerOptions::default();
        options.session.outbox_bytes = 256 << 10;
        policies.into_iter().fold(endpoint.options(options), |endpoint, (pattern, overflow)| {
            endpoint.channel_with::<Room>(pattern, TopicOptions::default().overflow(overflow))
        })
    })
}

fn member(lab: &mut Lab, topic: &str) -> Raw {
    let mut socket = lab.socket();
    socket.join(lab, topic);
    socket
}

/// The numbers of the messages that have come, and whether the connection has ended.
fn numbers(lab: &mut Lab, socket: &mut Raw) -> (Vec<usize>, bool) {
    let (mut numbers, mut is_over) = (Vec::new(), false);
    for line in socket.hear(lab) {
        match line.strip_prefix(r#"[null,null,"#).and_then(|line| line.rsplit_once(r#""news","#)) {
            Some((_, number)) => numbers.push(number.trim_end_matches(']').parse().unwrap()),
            None => is_over = true,
        }
    }
    (numbers, is_over)
}

/// Says so much to a topic, so many messages at a time before ten members read, who all get it. Tells
/// what another one got who did not read until then.
fn say_past_a_stuck_reader(topic: &str, at_a_time: usize) -> (Lab, Vec<usize>, bool) {
    let mut lab = lab();
    let mut stuck = member(&mut lab, topic);
    let mut healthy: Vec<_> = (0..10).map(|_| member(&mut lab, topic)).collect();
    let mut heard = vec![Vec::new(); 10];
    for n in 0..MESSAGES {
        lab.server.broadcast(topic, "news", Payload::json(&n).unwrap());
        if n % at_a_time == at_a_time - 1 {
            for (healthy, heard) in healthy.iter_mut().zip(&mut heard) {
                heard.extend(numbers(&mut lab, healthy).0);
                assert_eq!(heard.len(), n + 1, "everybody else hears it at once");
            }
        }
    }
    assert!(heard.iter().all(|heard| heard.iter().copied().eq(0..MESSAGES)));
    // What was dropped after the first word about it is told within a second.
    lab.advance(secs(1));
    let (got, is_over) = numbers(&mut lab, &mut stuck);
    (lab, got, is_over)
}

/// How many reached the client before it was stuck.
fn prefix(got: &[usize]) -> usize {
    got.iter().enumerate().take_while(|(n, number)| n == *number).count()
}

#[test]
fn a_burst_reaches_a_healthy_reader_whole_and_in_order() {
    let mut lab = Lab::new();
    let mut reader = member(&mut lab, "room:1");
    for n in 0..MESSAGES {
        assert_eq!(lab.server.broadcast("room:1", "news", Payload::json(&n).unwrap()), 1);
    }
    let (got, is_over) = numbers(&mut lab, &mut reader);
    assert!(!is_over && got.iter().copied().eq(0..MESSAGES));
    assert_eq!(lab.counts().dropped, 0);
}

#[test]
fn a_stuck_reader_is_closed_where_nothing_may_be_missed() {
    let (mut lab, got, is_over) = say_past_a_stuck_reader("room:1", 100);
    assert!(is_over && got.len() < MESSAGES && prefix(&got) == got.len(), "{}", got.len());
    assert_eq!((lab.counts().connections, lab.counts().members, lab.counts().dropped), (10, 10, 0));
    assert!(lab.reports().iter().any(|report| report.ends_with("the client read too slowly")));
    // It comes again and starts from what is true then.
    let mut again = member(&mut lab, "room:1");
    lab.server.broadcast("room:1", "news", Payload::json(&7).unwrap());
    assert_eq!(numbers(&mut lab, &mut again), (vec![7], false));
}

#[test]
fn a_stuck_reader_misses_the_newest_and_their_number_is_told() {
    let (lab, got, is_over) = say_past_a_stuck_reader("newest:1", 100);
    assert!(!is_over && !got.is_empty());
    assert_eq!(prefix(&got), got.len());
    assert_eq!(lab.counts().dropped as usize, MESSAGES - got.len());
    assert_eq!(told(&lab), MESSAGES - got.len());
}

#[test]
fn a_stuck_reader_misses_the_oldest_and_their_number_is_told() {
    let (lab, got, is_over) = say_past_a_stuck_reader("oldest:1", 100);
    assert!(!is_over && got.last() == Some(&(MESSAGES - 1)));
    let before = prefix(&got);
    assert!(got[before..].iter().copied().eq(MESSAGES - (got.len() - before)..MESSAGES));
    assert_eq!(lab.counts().dropped as usize, MESSAGES - got.len());
    assert_eq!(told(&lab), MESSAGES - got.len());
}

#[test]
fn a_stuck_reader_gets_the_latest_of_each_event() {
    let (lab, got, is_over) = say_past_a_stuck_reader("latest:1", 1);
    let before = prefix(&got);
    assert!(!is_over && got[before..] == [MESSAGES - 1], "{:?}", &got[before..]);
    assert_eq!(lab.counts().dropped, 0, "what a later one replaces is not missed");
}

#[test]
fn a_stuck_reader_that_missed_who_came_is_told_anew_who_is_there() {
    for topic in ["newest:1", "oldest:1"] {
        let mut lab = lab();
        let (mut stuck, mut ann) = (member(&mut lab, topic), member(&mut lab, topic));
        for round in 0..2 {
            for n in 0..MESSAGES / 4 {
                lab.server.broadcast(topic, "news", Payload::json(&n).unwrap());
            }
            ann.push(&mut lab, topic, "9", ["track", "update"][round], r#"{"key":"ann","meta":{"said":"hi"}}"#);
            for n in 0..MESSAGES / 4 {
                lab.server.broadcast(topic, "news", Payload::json(&n).unwrap());
            }
            // Long enough for its being stuck to be noticed, and for as many attempts as it takes.
            lab.advance(secs(1));
            let mut heard = stuck.hear(&mut lab);
            lab.advance(secs(1));
            heard.extend(stuck.hear(&mut lab));
            let about_ann = heard.iter().rfind(|line| line.contains(r#""ann""#)).expect("she is there");
            assert!(about_ann.contains(r#""presence_state""#), "{topic}: {about_ann}");
            ann.hear(&mut lab);
        }
    }
}

#[test]
fn a_stuck_reader_that_missed_the_last_one_go_is_told_that_nobody_is_there() {
    for topic in ["newest:1", "oldest:1"] {
        let mut lab = lab();
        let (mut stuck, mut ann) = (member(&mut lab, topic), member(&mut lab, topic));
        ann.push(&mut lab, topic, "9", "track", r#"{"key":"ann","meta":{}}"#);
        stuck.push(&mut lab, topic, "9", "state", "{}");
        assert!(stuck.hear(&mut lab).iter().any(|line| line.contains(r#""presence_state",{"ann""#)));
        let burst = |lab: &Lab| {
            for n in 0..MESSAGES / 4 {
                lab.server.broadcast(topic, "news", Payload::json(&n).unwrap());
            }
        };
        burst(&lab);
        ann.push(&mut lab, topic, "9", "untrack", r#"{"key":"ann"}"#);
        burst(&lab);
        lab.advance(secs(1));
        let mut heard = stuck.hear(&mut lab);
        lab.advance(secs(1));
        heard.extend(stuck.hear(&mut lab));
        let last = heard.iter().rfind(|line| line.contains(r#""presence_"#)).expect("it hears of it");
        assert!(last.contains(r#""presence_state",{}"#), "{topic}: {last}");
    }
}

/// What the reports say was dropped.
fn told(lab: &Lab) -> usize {
    let dropped = lab.reports().into_iter().filter(|report| report.contains("were dropped"));
    dropped.map(|report| report.split(' ').find_map(|word| word.parse::<usize>().ok()).unwrap()).sum()
}
