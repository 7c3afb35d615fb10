//! What was said: whoever was away gets all of it, or learns that it is not there.

use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::phoenix::SharedFrame;

const ROOM: Text = Text::from_static("room");

fn keeping(messages: usize, bytes: usize, idle_topics: usize) -> Hub<u32> {
    within(HistoryLimits { messages, bytes, idle_topics, ..HistoryLimits::default() })
}

fn within(limits: HistoryLimits) -> Hub<u32> {
    Hub::new(HubConfig { history: Some(limits), ..HubConfig::default() }, 7)
}

/// What all histories count, added up.
fn kept_bytes(hub: &Hub<u32>) -> usize {
    let open = hub.topics.iter().filter_map(|(_, topic)| topic.log.as_ref());
    open.chain(hub.archive.logs()).map(Log::bytes).sum()
}

fn say(hub: &mut Hub<u32>, topic: &Text, n: u64) -> Option<u64> {
    hub.broadcast(topic, Broadcast::new("n", Payload::json(&n).unwrap())).offset()
}

fn said(history: &History) -> Vec<u64> {
    let payload = |message: &Recorded| {
        let frame = message.frame(Serializer::V2).unwrap().frame;
        Serializer::V2.decode_from_server(frame).unwrap().payload.parse().unwrap()
    };
    history.messages.iter().map(payload).collect()
}

#[test]
fn whoever_was_away_gets_what_was_said_meanwhile() {
    let mut hub = keeping(100, 1 << 20, 10);
    let ann = hub.join(&ROOM, Serializer::V2, 0).unwrap();
    let start = hub.history_last(&ROOM, 0).unwrap();
    assert_eq!((start.position.offset, start.recovered, &start.messages[..]), (0, false, &[][..]));
    assert_eq!(say(&mut hub, &ROOM, 10), Some(1));
    drop(hub.leave(ann));
    assert_eq!(say(&mut hub, &ROOM, 20), Some(2));
    hub.join(&ROOM, Serializer::V2, 1).unwrap();
    let history = hub.history_after(&ROOM, &start.position).unwrap();
    assert_eq!((history.recovered, said(&history)), (true, vec![10, 20]));
    let now = hub.history_after(&ROOM, &history.position).unwrap();
    assert_eq!((now.recovered, said(&now)), (true, vec![]));
    assert_eq!(said(&hub.history_last(&ROOM, 1).unwrap()), [20]);
}

#[test]
fn a_position_that_is_not_of_this_history_recovers_nothing() {
    let mut hub = keeping(2, 1 << 20, 10);
    hub.join(&ROOM, Serializer::V2, 0).unwrap();
    for n in 1..=4 {
        say(&mut hub, &ROOM, n);
    }
    let epoch = hub.history_last(&ROOM, 0).unwrap().position.epoch;
    for (epoch, offset, expected) in [
        (&*epoch, 2, Some(vec![3, 4])),
        (&epoch, 1, None),
        (&epoch, 5, None),
        (&epoch, u64::MAX, None),
        ("", 4, None),
        ("another", 4, None),
    ] {
        let history = hub.history_after(&ROOM, &Position::new(epoch, offset)).unwrap();
        assert_eq!(history.recovered.then(|| said(&history)), expected, "{epoch:?} {offset}");
        assert!(history.recovered || history.messages.is_empty());
    }
}

#[test]
fn the_history_that_was_without_members_the_longest_is_forgotten_first() {
    let mut hub = keeping(10, 1 << 20, 2);
    let topics = ["a", "b", "c"].map(topic);
    let ids = topics.each_ref().map(|name| hub.join(name, Serializer::V2, 0).unwrap());
    let positions = topics.each_ref().map(|name| hub.history_last(name, 0).unwrap().position);
    for n in [1, 0, 2] {
        say(&mut hub, &topics[n], 1);
        drop(hub.leave(ids[n]));
    }
    assert_eq!((hub.stats().forgotten, hub.history_after(&topics[1], &positions[1])), (1, None));
    for name in &topics {
        hub.join(name, Serializer::V2, 0).unwrap();
    }
    let recovered = [0, 1, 2].map(|n| hub.history_after(&topics[n], &positions[n]).unwrap().recovered);
    assert_eq!(recovered, [true, false, true]);
    assert_eq!((hub.archive.len(), hub.stats().forgotten), (0, 1));
}

#[test]
fn all_histories_together_are_bounded_and_cost_no_topic_with_members_its_own() {
    let message = 128 + r#"[null,null,"a","n",1]"#.len();
    let mut hub = within(HistoryLimits { total_bytes: 3 * message, ..HistoryLimits::default() });
    let [a, b, c, d] = ["a", "b", "c", "d"].map(topic);
    let in_c = hub.join(&c, Serializer::V2, 0).unwrap();
    let of = |hub: &Hub<u32>, topic| hub.history_last(topic, 9).map(|history| said(&history));
    for name in [&a, &b, &c] {
        say(&mut hub, name, 1);
    }
    assert_eq!([&a, &b, &c].map(|name| of(&hub, name)), [(); 3].map(|()| Some(vec![1])));
    say(&mut hub, &c, 2);
    assert_eq!([&a, &b, &c].map(|name| of(&hub, name)), [None, Some(vec![1]), Some(vec![1, 2])]);
    (3..=5).for_each(|n| _ = say(&mut hub, &c, n));
    assert_eq!((of(&hub, &b), of(&hub, &c), hub.stats().forgotten), (None, Some(vec![3, 4, 5]), 2));

    hub.join(&d, Serializer::V2, 0).unwrap();
    assert_eq!((say(&mut hub, &d, 1), of(&hub, &d)), (Some(1), Some(vec![])));
    drop(hub.leave(in_c));
    assert_eq!((say(&mut hub, &d, 2), of(&hub, &d), of(&hub, &c)), (Some(2), Some(vec![2]), None));
}

#[test]
fn the_history_and_those_who_are_there_share_one_frame() {
    let mut hub = keeping(10, 1 << 20, 2);
    hub.join(&ROOM, Serializer::V2, 0).unwrap();
    let live: Vec<_> = hub.broadcast(&ROOM, shout().key("k")).map(|(_, shared)| shared.frame).collect();
    let history = hub.history_last(&ROOM, 9).unwrap();
    let [message] = &history.messages[..] else { panic!("{history:?}") };
    assert_eq!(message.frame(Serializer::V2).unwrap().frame.as_bytes().as_ptr(), live[0].as_bytes().as_ptr());
    let v1 = r#"{"ref":null,"topic":"room","event":"shout","payload":{}}"#;
    let v1 = SharedFrame::from(Frame::Text(v1.into())).with_key("k");
    assert_eq!((message.offset(), message.frame(Serializer::V1)), (1, Some(v1)));
}

#[test]
fn bytes_are_kept_for_those_who_can_read_them() {
    let mut hub = keeping(10, 1 << 20, 2);
    hub.join(&ROOM, Serializer::V1, 0).unwrap();
    assert_eq!(told(hub.broadcast(&ROOM, Broadcast::new("raw", Payload::binary(Bytes::from_static(b"\x01"))))), [0; 0]);
    let history = hub.history_last(&ROOM, 9).unwrap();
    assert_eq!(history.messages[0].frame(Serializer::V1), None);
    let frame = Frame::Binary(Bytes::from_static(b"\x02\x04\x03roomraw\x01"));
    assert_eq!(history.messages[0].frame(Serializer::V2), Some(frame.into()));
}

#[test]
fn presence_is_not_history_and_neither_is_anything_unless_it_is_asked_for() {
    let mut hub = keeping(10, 1 << 20, 2);
    let ann = hub.join(&ROOM, Serializer::V2, 0).unwrap();
    assert_eq!(hub.track(ann, "ann", &Payload::EMPTY).map(|diff| diff.offset()), Ok(None));
    assert_eq!(hub.history_last(&ROOM, 9).map(|history| history.messages.len()), Some(0));
    let mut hub = super::hub();
    hub.join(&ROOM, Serializer::V2, 0).unwrap();
    assert_eq!((say(&mut hub, &ROOM, 1), hub.history_last(&ROOM, 9)), (None, None));
}

#[derive(Clone, Debug)]
enum Op {
    Join { topic: usize },
    Leave { topic: usize },
    Say { topic: usize, len: usize },
    Ask { topic: usize, back: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let topic = 0..4_usize;
    prop_oneof![
        topic.clone().prop_map(|topic| Op::Join { topic }),
        topic.clone().prop_map(|topic| Op::Leave { topic }),
        (topic.clone(), 0..120_usize).prop_map(|(topic, len)| Op::Say { topic, len }),
        (topic, 0..100_usize).prop_map(|(topic, back)| Op::Ask { topic, back }),
    ]
}

proptest! {
    #[test]
    fn a_recovery_is_everything_since_or_nothing(ops in prop::collection::vec(op(), 0..120)) {
        let limits = HistoryLimits { messages: 5, bytes: 800, total_bytes: 1_500, idle_topics: 2 };
        let mut hub = within(limits);
        let topics = ["a", "b", "c", "d"].map(topic);
        let mut ids = [(); 4].map(|()| Vec::new());
        // Every position that there ever was, with how many messages of its topic had been said by then.
        let mut positions = [(); 4].map(|()| Vec::<(Position, usize)>::new());
        let mut spoken = [(); 4].map(|()| Vec::<Frame>::new());
        for op in ops {
            match op {
                Op::Join { topic } => ids[topic].push(hub.join(&topics[topic], Serializer::V2, 0).unwrap()),
                Op::Leave { topic } => drop(ids[topic].pop().map(|id| hub.leave(id).map(|left| left.member))),
                Op::Say { topic, len } => {
                    let message = Broadcast::new("say", Payload::json(&"x".repeat(len)).unwrap());
                    let frame = crate::wire::Message::new(topics[topic].clone(), "say", message.payload.clone());
                    prop_assert!(hub.broadcast(&topics[topic], message).offset().is_some());
                    spoken[topic].push(Serializer::V2.encode_from_server(&frame).unwrap());
                }
                Op::Ask { topic, back } => {
                    let Some((position, said)) = positions[topic].iter().rev().nth(back) else { continue };
                    let Some(history) = hub.history_after(&topics[topic], position) else { continue };
                    let frames = history.messages.iter().map(|message| message.frame(Serializer::V2).unwrap().frame);
                    let frames: Vec<_> = frames.collect();
                    let expected = if history.recovered { &spoken[topic][*said..] } else { &[] };
                    prop_assert_eq!(frames, expected);
                    prop_assert!(history.recovered || history.position != *position);
                }
            }
            for (n, name) in topics.iter().enumerate() {
                if let Some(History { position, messages, .. }) = hub.history_last(name, usize::MAX) {
                    prop_assert!(messages.len() <= 5);
                    prop_assert!(messages.iter().map(|m| m.frame(Serializer::V2).unwrap().frame.len()).sum::<usize>() <= 800);
                    positions[n].push((position, spoken[n].len()));
                }
            }
            prop_assert!(hub.archive.len() <= 2);
            prop_assert!(hub.kept_bytes == kept_bytes(&hub) && hub.kept_bytes <= 1_500);
        }
    }
}
