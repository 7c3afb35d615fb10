//! Readers that do not keep up.

use rejoin_core::Payload;
use rejoin_core::phoenix::PushOutcome;
use rejoin_core::supabase::{Broadcast, ChannelConfig};
use rejoin_pump::Inflow;
use rejoin_pump::supabase::{Channel, ChannelEvent, Client, ConnectionEvent, InboxEvent, Listen, Listener};

use crate::lab::{Lab, heard, secs, story};

/// Numbered messages.
fn count(lab: &mut Lab, numbers: std::ops::Range<u32>) {
    lab.order(move |peer, now| {
        for n in numbers {
            peer.push(now, "realtime:room", "n", Payload::json(&n).unwrap(), false);
        }
    });
}

/// Reads until there is nothing more.
fn numbers(lab: &mut Lab, listener: &mut Listener) -> Vec<u32> {
    let mut numbers = Vec::new();
    loop {
        lab.rig.settle();
        let events = heard(listener);
        if events.is_empty() {
            return numbers;
        }
        numbers.extend(events.iter().filter_map(|event| match event {
            ChannelEvent::Message { payload, .. } => Some(payload.parse::<u32>().unwrap()),
            _ => None,
        }));
    }
}

fn listen(lab: &mut Lab, room: &Channel, inflow: Inflow) -> Listener {
    lab.wait(room.listen_with(Listen::everything(), inflow)).unwrap()
}

fn in_room() -> (Lab, Client, Channel, Listener) {
    let (mut lab, client) = Lab::new();
    let (room, ears) = lab.join(&client, "room", ChannelConfig::default());
    (lab, client, room, ears)
}

#[test]
fn a_slow_reader_that_blocks_stops_the_reading_and_nobody_loses_anything() {
    let (mut lab, _client, room, mut quick) = in_room();
    let mut slow = listen(&mut lab, &room, Inflow::Block { capacity: 4 });
    count(&mut lab, 0..1_000);
    lab.rig.poll_all();
    let mut heard_by_quick = numbers(&mut lab, &mut quick);
    assert!(heard_by_quick.len() < 10, "the socket is not read");
    let mut heard_by_slow = Vec::new();
    while heard_by_slow.len() < 1_000 {
        let count = heard_by_slow.len();
        heard_by_slow.extend(numbers(&mut lab, &mut slow));
        heard_by_quick.extend(numbers(&mut lab, &mut quick));
        assert!(heard_by_slow.len() > count, "nothing more comes after {count}");
    }
    let all: Vec<u32> = (0..1_000).collect();
    assert_eq!((&heard_by_slow, &heard_by_quick), (&all, &all));
}

/// Whatever piles up meanwhile, as the outcomes of pushes do: it is a message of this channel that a
/// session would drop first.
#[test]
fn a_slow_reader_that_blocks_loses_nothing_behind_many_other_events() {
    let mut config = crate::lab::config();
    config.phoenix.limits.events = 16;
    let (mut lab, client) = Lab::with(config, Default::default());
    let (room, ears) = lab.join(&client, "room", ChannelConfig::default());
    drop(ears);
    let mut slow = listen(&mut lab, &room, Inflow::Block { capacity: 1 });
    count(&mut lab, 0..100);
    let tickets: Vec<_> =
        (0..100).map(|_| lab.wait(room.broadcast(Broadcast::new("e", Payload::EMPTY))).unwrap()).collect();
    count(&mut lab, 100..200);
    let all: Vec<u32> = (0..200).collect();
    assert_eq!(numbers(&mut lab, &mut slow), all);
    for ticket in tickets {
        assert_eq!(lab.wait(ticket), Ok(PushOutcome::Sent));
    }
}

#[test]
fn a_slow_reader_that_drops_the_oldest_hears_exactly_how_many_and_holds_nobody_up() {
    let (mut lab, _client, room, mut quick) = in_room();
    let mut slow = listen(&mut lab, &room, Inflow::DropOldest { capacity: 10 });
    heard(&mut slow);
    for n in 0..10 {
        count(&mut lab, n * 100..(n + 1) * 100);
        assert_eq!(numbers(&mut lab, &mut quick).len(), 100);
    }
    let events = heard(&mut slow);
    assert_eq!(events[0], ChannelEvent::Lagged { missed: 990 });
    assert_eq!(events.len(), 11);
    lab.order(|peer, now| peer.crash(now, "realtime:room"));
    count(&mut lab, 0..1);
    lab.live(2);
    count(&mut lab, 0..100);
    let kept = story(&heard(&mut slow));
    assert_eq!(kept[..4], ["lagged 93", "errored", "subscribed again", "gap"], "what happened to the channel is kept");
    assert_eq!(kept.len(), 11);
}

#[test]
fn an_inbox_that_nobody_reads_stops_the_reading_or_loses_the_oldest_messages() {
    let (mut lab, client, room, mut ears) = in_room();
    let (dropping, mut inbox) = lab.wait(client.inbox(Inflow::DropOldest { capacity: 4 })).unwrap();
    lab.wait(room.listen_into(dropping, Listen::everything())).unwrap();
    count(&mut lab, 0..100);
    assert_eq!(numbers(&mut lab, &mut ears).len(), 100);
    let events = heard(&mut inbox);
    assert!(matches!(events[..2], [InboxEvent::Lagged { missed: 97 }, InboxEvent::Channel { .. }]), "{events:?}");

    let (blocking, inbox) = lab.wait(client.inbox(Inflow::Block { capacity: 4 })).unwrap();
    lab.wait(room.listen_into(blocking, Listen::everything())).unwrap();
    count(&mut lab, 0..100);
    assert!(numbers(&mut lab, &mut ears).len() < 10);
    drop(inbox);
    assert!(numbers(&mut lab, &mut ears).len() > 90, "whoever leaves holds nobody up");
}

#[test]
fn a_reader_of_the_connection_that_does_not_read_loses_the_oldest_and_hears_how_many() {
    let (mut lab, client, _room, mut ears) = in_room();
    let mut unread = lab.wait(client.connection_events()).unwrap();
    for _ in 0..300 {
        lab.live(25);
    }
    count(&mut lab, 0..3);
    assert_eq!(numbers(&mut lab, &mut ears), [0, 1, 2]);
    let events = heard(&mut unread);
    let ConnectionEvent::Unread { missed } = events[0] else { panic!("{:?}", events[0]) };
    assert_eq!((missed, events.len()), (600 - 256, 257));
    lab.advance(secs(25));
    assert_eq!(heard(&mut unread).len(), 2, "sent and answered");
}
