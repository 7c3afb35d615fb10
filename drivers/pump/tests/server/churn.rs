//! Clients that come and go as they like: what the server counts is what a model counts, and nothing
//! remains of anybody.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rejoin_core::phoenix::Transport;

use crate::lab::{Lab, Raw, secs};

const SLOTS: usize = 6;
const TOPICS: [&str; 3] = ["room:1", "room:2", "room:kept"];

/// What a client does, or what is done to it.
#[derive(Clone, Copy, Debug)]
enum Op {
    Connect,
    Join(usize),
    Leave(usize),
    Crash(usize),
    Panic(usize),
    CloseChannel(usize),
    Track(usize),
    Untrack(usize),
    Shout(usize),
    Say(usize),
    Malformed,
    Close,
    Hangup,
    Disconnect(usize),
}

fn ops() -> impl Strategy<Value = Vec<(usize, Op)>> {
    let topic = 0..TOPICS.len();
    let op = prop_oneof![
        6 => Just(Op::Connect),
        8 => topic.clone().prop_map(Op::Join),
        3 => topic.clone().prop_map(Op::Leave),
        1 => topic.clone().prop_map(Op::Crash),
        1 => topic.clone().prop_map(Op::Panic),
        1 => topic.clone().prop_map(Op::CloseChannel),
        4 => topic.clone().prop_map(Op::Track),
        2 => topic.clone().prop_map(Op::Untrack),
        2 => topic.clone().prop_map(Op::Shout),
        2 => topic.clone().prop_map(Op::Say),
        1 => Just(Op::Malformed),
        1 => Just(Op::Close),
        1 => Just(Op::Hangup),
        1 => topic.prop_map(Op::Disconnect),
    ];
    prop::collection::vec((0..SLOTS, op), 1_000)
}

/// What a client is in, and where it is present.
#[derive(Default)]
struct Model {
    joined: BTreeSet<usize>,
    present: BTreeSet<usize>,
}

impl Model {
    fn out(&mut self, topic: usize) {
        self.joined.remove(&topic);
        self.present.remove(&topic);
    }
}

fn obey(lab: &mut Lab, clients: &mut BTreeMap<usize, (Raw, Model)>, slot: usize, op: Op) {
    if matches!(op, Op::Connect) {
        clients.entry(slot).or_insert_with(|| (lab.socket(), Model::default()));
        return;
    }
    let Some((socket, model)) = clients.get_mut(&slot) else { return };
    let (mut is_over, key) = (false, format!(r#"{{"key":"{slot}","meta":{{"slot":{slot}}}}}"#));
    let mut push = |lab: &mut Lab, topic: usize, event, payload: &str| {
        socket.push(lab, TOPICS[topic], "1", event, payload);
    };
    match op {
        Op::Connect => unreachable!("it is connected"),
        Op::Join(topic) => {
            let name = TOPICS[topic];
            socket.say(lab, &format!(r#"["{name}","{name}","{name}","phx_join",{{}}]"#));
            model.out(topic);
            model.joined.insert(topic);
        }
        Op::Leave(topic) => {
            push(lab, topic, "phx_leave", "{}");
            model.out(topic);
        }
        Op::Crash(topic) | Op::Panic(topic) | Op::CloseChannel(topic) => {
            let event = match op {
                Op::Crash(_) => "crash",
                Op::Panic(_) => "panic",
                _ => "close",
            };
            push(lab, topic, event, "{}");
            model.out(topic);
        }
        Op::Track(topic) => {
            push(lab, topic, "track", &key);
            if model.joined.contains(&topic) {
                model.present.insert(topic);
            }
        }
        Op::Untrack(topic) => {
            push(lab, topic, "untrack", &key);
            model.present.remove(&topic);
        }
        Op::Shout(topic) => push(lab, topic, "shout", "{}"),
        Op::Say(topic) => drop(lab.server.broadcast(TOPICS[topic], "news", rejoin_core::Payload::EMPTY)),
        Op::Malformed => {
            socket.say(lab, "{");
            is_over = true;
        }
        Op::Close => {
            socket.close(lab);
            is_over = true;
        }
        Op::Hangup => is_over = true,
        Op::Disconnect(topic) => {
            push(lab, topic, "disconnect", "{}");
            is_over = model.joined.contains(&topic);
        }
    }
    socket.hear(lab);
    if is_over {
        clients.remove(&slot);
        lab.rig.settle();
    }
}

fn agree(lab: &Lab, clients: &BTreeMap<usize, (Raw, Model)>) {
    let joined = || clients.values().flat_map(|(_, model)| &model.joined);
    let topics = joined().collect::<BTreeSet<_>>().len();
    assert_eq!(lab.standing(), [clients.len(), 0, topics, joined().count()]);
    for (topic, name) in TOPICS.iter().enumerate() {
        let present = clients.iter().filter(|(_, (_, model))| model.present.contains(&topic));
        let present: Vec<_> = present.map(|(slot, _)| slot.to_string()).collect();
        let state: BTreeMap<String, serde_json::Value> = lab.server.presence_state(*name).parse().unwrap();
        assert_eq!(state.into_keys().collect::<Vec<_>>(), present, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn the_server_counts_what_a_model_counts_and_nothing_remains(ops in ops()) {
        let mut lab = Lab::new();
        let mut clients = BTreeMap::new();
        for (slot, op) in ops {
            obey(&mut lab, &mut clients, slot, op);
            agree(&lab, &clients);
        }
        drop(clients);
        lab.rig.settle();
        prop_assert_eq!(lab.standing(), [0; 4]);
        let log = lab.app.log();
        let count = |begin: &str| log.iter().filter(|line| line.starts_with(begin)).count();
        // Every channel that was let in has left, but for those whose code panicked.
        prop_assert_eq!(count("joined "), count("leave ") + count("panic "));
    }

    #[test]
    fn clients_that_poll_leave_nothing_behind_either(topics in prop::collection::vec(0..TOPICS.len(), 1..12)) {
        let mut lab = Lab::over(Transport::LongPoll);
        let guests: Vec<_> = topics.iter().map(|topic| lab.guest(TOPICS[*topic])).collect();
        prop_assert_eq!((lab.counts().connections, lab.counts().members), (topics.len(), topics.len()));
        for (n, guest) in guests.iter().enumerate() {
            if n % 2 == 0 {
                lab.wait(guest.room.leave()).unwrap();
            }
        }
        lab.rig.settle();
        prop_assert_eq!(lab.counts().members, topics.len() / 2);
        for guest in &guests {
            lab.wait(guest.client.close());
        }
        lab.live(40);
        prop_assert_eq!(lab.standing(), [0; 4]);
    }
}

/// A join that is not decided yet, an event that is not finished and a farewell: none of them keeps a
/// dropped connection alive.
#[test]
fn whatever_is_under_way_ends_with_a_task_that_is_dropped() {
    let mut lab = Lab::new();
    let mut sockets: Vec<_> = (0..3).map(|_| lab.socket()).collect();
    sockets[0].say(&mut lab, r#"["1","1","room:slow","phx_join",{}]"#);
    sockets[1].join(&mut lab, "room:1");
    sockets[1].push(&mut lab, "room:1", "1", "wait", "{}");
    sockets[2].join(&mut lab, "room:lingering");
    sockets[2].leave(&mut lab, "room:lingering");
    assert_eq!(lab.standing(), [3, 0, 1, 1]);
    lab.abort_tasks();
    assert_eq!(lab.standing(), [0; 4]);
    (0..3).for_each(|_| lab.app.open_gate());
    lab.advance(secs(10));
    assert_eq!(lab.standing(), [0; 4]);
    let mut again = lab.socket();
    again.join(&mut lab, "room:1");
    assert_eq!(lab.standing(), [1, 0, 1, 1]);
}
