//! Topics, members and fan-out.

mod history;
mod presence;

use alloc::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::machine::Frame;
use crate::payload::Payload;

fn hub() -> Hub<u32> {
    Hub::new(HubConfig::default(), 7)
}

fn topic(name: &str) -> Text {
    Text::from(name)
}

fn told(fanout: Fanout<'_, u32>) -> Vec<u32> {
    fanout.map(|(member, _)| *member).collect()
}

fn shout() -> Broadcast {
    Broadcast::new("shout", Payload::EMPTY)
}

#[test]
fn everybody_is_told_in_the_order_of_joining_whoever_left_between() {
    let mut hub = hub();
    let room = topic("room");
    let ids: Vec<_> = (0..6).map(|n| hub.join(&room, Serializer::V2, n).unwrap()).collect();
    for (gone, rest) in [(2, &[0, 1, 3, 4, 5][..]), (0, &[1, 3, 4, 5]), (5, &[1, 3, 4])] {
        assert_eq!(hub.leave(ids[gone]).map(|left| left.member), Some(gone as u32));
        assert_eq!(told(hub.broadcast(&room, shout())), rest);
        assert_eq!(hub.members(&room).map(|(_, n)| *n).collect::<Vec<_>>(), rest);
    }
    hub.join(&room, Serializer::V2, 9).unwrap();
    assert_eq!(told(hub.broadcast(&room, shout().except(ids[3]))), [1, 4, 9]);
    assert_eq!(hub.member_count(&room), 4);
}

#[test]
fn a_topic_hears_nothing_of_another() {
    let mut hub = hub();
    let (a, b) = (topic("a"), topic("b"));
    for n in 0..4 {
        hub.join(if n % 2 == 0 { &a } else { &b }, Serializer::V2, n).unwrap();
    }
    assert_eq!(told(hub.broadcast(&a, shout())), [0, 2]);
    assert_eq!(told(hub.broadcast(&b, shout())), [1, 3]);
    assert_eq!(told(hub.broadcast(&topic("c"), shout())), [0; 0]);
}

#[test]
fn the_members_of_a_serializer_share_one_frame() {
    let mut hub = hub();
    let room = topic("room");
    for (n, serializer) in [Serializer::V2, Serializer::V1, Serializer::V2, Serializer::V1].into_iter().enumerate() {
        hub.join(&room, serializer, n as u32).unwrap();
    }
    let frames: Vec<_> = hub.broadcast(&room, shout()).map(|(_, shared)| shared.frame).collect();
    assert_eq!(frames[0], Frame::Text(r#"[null,null,"room","shout",{}]"#.into()));
    assert_eq!(frames[1], Frame::Text(r#"{"ref":null,"topic":"room","event":"shout","payload":{}}"#.into()));
    let at = |n: usize| frames[n].as_bytes().as_ptr();
    assert_eq!((at(0), at(1)), (at(2), at(3)));
}

#[test]
fn bytes_pass_over_members_that_have_none_and_are_counted() {
    let mut hub = hub();
    let room = topic("room");
    for (n, serializer) in [Serializer::V1, Serializer::V2, Serializer::V1].into_iter().enumerate() {
        hub.join(&room, serializer, n as u32).unwrap();
    }
    let bytes = Payload::binary(Bytes::from_static(b"\x01"));
    let fanout = hub.broadcast(&room, Broadcast::new("raw", bytes));
    let frames: Vec<_> = fanout.map(|(member, shared)| (member, shared.frame)).collect();
    assert_eq!(frames, [(&1, Frame::Binary(Bytes::from_static(b"\x02\x04\x03roomraw\x01")))]);
    assert_eq!(hub.stats().skipped, 2);
}

#[test]
fn a_member_that_has_left_stays_gone_when_its_place_is_taken() {
    let mut hub = hub();
    let room = topic("room");
    let old = hub.join(&room, Serializer::V2, 1).unwrap();
    assert_eq!(hub.leave(old).map(|left| left.member), Some(1));
    let new = hub.join(&room, Serializer::V2, 2).unwrap();
    assert!(hub.leave(old).is_none());
    assert_eq!((hub.get(old), hub.topic_of(old)), (None, None));
    assert_eq!((hub.get(new), hub.topic_of(new)), (Some(&2), Some(&room)));
    assert_ne!(old, new);
}

#[test]
fn churn_leaves_nothing_behind() {
    let mut hub = hub();
    for n in 0..10_000 {
        let id = hub.join(&topic(&alloc::format!("room:{n}")), Serializer::V2, n).unwrap();
        assert_eq!((id.0.slot, hub.topics.at(0).map(|(_, topic)| topic.roll.len())), (0, Some(1)));
        assert_eq!(told(hub.leave(id).unwrap().diff), [0; 0]);
    }
    assert_eq!((hub.total_members(), hub.topic_count(), hub.names.len()), (0, 0, 0));
}

#[test]
fn a_full_hub_lets_nobody_in_until_somebody_leaves() {
    let mut hub = Hub::new(HubConfig { members: 2, ..HubConfig::default() }, 7);
    let ids = ["a", "b"].map(|name| hub.join(&topic(name), Serializer::V2, 0).unwrap());
    assert_eq!(hub.join(&topic("c"), Serializer::V2, 0), Err(HubFull { limit: 2 }));
    assert_eq!((hub.topic_count(), hub.is_full()), (2, true));
    drop(hub.leave(ids[0]));
    assert!(!hub.is_full());
    assert!(hub.join(&topic("c"), Serializer::V2, 0).is_ok());
}

#[test]
fn a_key_goes_with_the_frame_to_everybody() {
    let mut hub = hub();
    let room = topic("room");
    for serializer in [Serializer::V1, Serializer::V2] {
        hub.join(&room, serializer, 0).unwrap();
    }
    let keys: Vec<_> = hub.broadcast(&room, shout().key("cursor:ann")).map(|(_, shared)| shared.key).collect();
    assert_eq!(keys, [Some(topic("cursor:ann")), Some(topic("cursor:ann"))]);
    assert!(hub.broadcast(&room, shout()).all(|(_, shared)| shared.key.is_none()));
}

#[test]
fn a_key_keeps_nothing_alive_that_it_was_cut_out_of() {
    let mut hub = hub();
    let room = topic("room");
    hub.join(&room, Serializer::V2, 0).unwrap();
    let inbound = Bytes::from(alloc::vec![b'x'; 1_000]);
    let key = Text::assume_utf8(inbound.slice(..3));
    let told: Vec<_> = hub.broadcast(&room, shout().key(key)).collect();
    assert_eq!((told[0].1.key.as_deref(), inbound.is_unique()), (Some("xxx"), true));
}
