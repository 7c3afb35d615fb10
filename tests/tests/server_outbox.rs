//! A client that reads slowly loses what its channels may lose, never a reply, and nothing in silence.

use std::sync::Arc;
use std::time::Duration;

use rejoin_core::phoenix::{
    EndReason, OutboxOverflow, PLACE_BYTES, ServerConfig, ServerEvent, ServerSession, SharedFrame,
};
use rejoin_core::wire::Serializer;
use rejoin_core::{Frame, Machine, Payload, Timestamp};
use rejoin_sim::Host;

/// The size of what [`frame`] makes.
const FRAME_BYTES: usize = 74;

/// A host whose client has joined `room:a` and `room:b`, reads no more, and has room for so many frames.
fn stuck(frames: usize, overflow: OutboxOverflow) -> Host {
    let mut config = ServerConfig::new(Serializer::V2);
    config.outbox_bytes = frames * (FRAME_BYTES + PLACE_BYTES);
    config.overflow = overflow;
    let mut host = Host::with(config);
    for topic in ["a", "b"] {
        host.client(&format!(r#"["{topic}","1","room:{topic}","phx_join",{{}}]"#));
    }
    host.take();
    host.plugged = true;
    assert_eq!(frame(0).frame.len(), FRAME_BYTES);
    host
}

/// A message that says a number.
fn frame(number: usize) -> SharedFrame {
    Frame::Text(format!(r#"[null,null,"room:a","news",{{"n":"{number:0>38}"}}]"#).into()).into()
}

fn push(host: &mut Host, topic: &str, frame: SharedFrame) {
    let id = host.channels[topic];
    host.session.push_encoded(host.now, id, frame).unwrap();
    host.drain();
}

/// The numbers of the frames that arrive once the client reads again; replies are zero.
fn read(host: &mut Host) -> Vec<usize> {
    host.plugged = false;
    host.drain();
    let number = |frame: &String| match frame.split_once(r#""n":""#) {
        Some((_, rest)) => rest[..38].trim_start_matches('0').parse().unwrap(),
        None => 0,
    };
    host.take().iter().map(number).collect()
}

fn dropped(host: &Host, topic: &str) -> u64 {
    let of = |notice: &ServerEvent| match notice {
        ServerEvent::Dropped { channel, messages } if host.channels.get(topic) == Some(channel) => *messages,
        _ => 0,
    };
    host.notices.iter().map(of).sum()
}

#[test]
fn a_channel_that_may_lose_nothing_costs_a_slow_client_its_socket() {
    let mut host = stuck(3, OutboxOverflow::Close);
    (1..=3).for_each(|n| push(&mut host, "room:a", frame(n)));
    assert_eq!(host.ended, None);
    push(&mut host, "room:a", frame(4));
    assert_eq!(read(&mut host), [0; 0]);
    assert_eq!((host.ends.clone(), host.ended.clone()), (vec![None], Some(EndReason::TooSlow)));
    assert_eq!((host.session.stats().unsent, host.left.len()), (4, 2));
}

#[test]
fn the_newest_or_the_oldest_is_dropped_as_the_channel_says() {
    for (overflow, expected) in [(OutboxOverflow::DropNewest, [1, 2, 3]), (OutboxOverflow::DropOldest, [8, 9, 10])] {
        let mut host = stuck(3, overflow);
        (1..=10).for_each(|n| push(&mut host, "room:a", frame(n)));
        assert_eq!(read(&mut host), expected);
        assert_eq!(host.session.stats().dropped, 7);
        host.advance(Duration::from_secs(1));
        assert_eq!((dropped(&host, "room:a"), host.notices.len()), (7, 2), "the first at once, six together");
    }
}

#[test]
fn the_latest_of_a_key_takes_the_place_of_the_one_that_waits() {
    let mut host = stuck(3, OutboxOverflow::Latest);
    for (n, key) in [(1, "x"), (2, "y"), (3, "x"), (4, "x")] {
        push(&mut host, "room:a", frame(n).with_key(key));
    }
    // The same key on another channel is another thing.
    push(&mut host, "room:b", frame(5).with_key("x"));
    // No key, no place to take: the oldest of its channel gives way.
    push(&mut host, "room:a", frame(6));
    assert_eq!(read(&mut host), [2, 5, 6]);
    assert_eq!((host.session.stats().replaced, host.session.stats().dropped, dropped(&host, "room:a")), (2, 1, 1));
    push(&mut host, "room:a", frame(7).with_key("y"));
    assert_eq!(read(&mut host), [7], "what was sent is nothing to replace");
}

#[test]
fn replies_find_room_where_messages_give_way() {
    let mut host = stuck(3, OutboxOverflow::DropNewest);
    host.session.set_overflow(host.channels["room:b"], OutboxOverflow::Close).unwrap();
    push(&mut host, "room:b", frame(1));
    (2..=3).for_each(|n| push(&mut host, "room:a", frame(n)));
    host.client(r#"["a","2","room:a","ping",{}]"#);
    assert_eq!((host.ended.clone(), dropped(&host, "room:a")), (None, 1));
    // So do messages that may not be dropped.
    push(&mut host, "room:b", frame(4));
    assert_eq!(read(&mut host), [1, 0, 4]);
    host.advance(Duration::from_secs(1));
    assert_eq!(dropped(&host, "room:a"), 2);
}

#[test]
fn a_client_that_reads_not_even_its_replies_is_cut_off() {
    let mut host = stuck(3, OutboxOverflow::DropOldest);
    (1..=3).for_each(|n| push(&mut host, "room:a", frame(n)));
    (0..3).for_each(|_| host.client(r#"[null,"2","phoenix","heartbeat",{}]"#));
    assert_eq!((host.ended.clone(), dropped(&host, "room:a")), (None, 1));
    host.client(r#"[null,"2","phoenix","heartbeat",{}]"#);
    assert_eq!(host.ended, Some(EndReason::TooSlow));
    assert_eq!((host.session.stats().dropped, host.session.stats().unsent), (3, 4));
}

#[test]
fn a_join_whose_answer_finds_no_room_leaves_no_channel() {
    let mut config = ServerConfig::new(Serializer::V2);
    config.outbox_bytes = 10;
    let mut host = Host::with(config);
    host.client(r#"["1","1","room:a","phx_join",{}]"#);
    assert!(host.channels.is_empty() && host.session.is_finished());
    assert_eq!(host.ended, Some(EndReason::TooSlow));
}

#[test]
fn a_message_that_fits_no_outbox_is_dropped_alone() {
    let mut host = stuck(3, OutboxOverflow::DropOldest);
    push(&mut host, "room:a", frame(1));
    let id = host.channels["room:a"];
    let large = Payload::json(&"x".repeat(1_000)).unwrap();
    host.session.push(host.now, id, "news", large).unwrap();
    host.drain();
    assert_eq!(read(&mut host), [1]);
    assert_eq!(dropped(&host, "room:a"), 1);
}

#[test]
fn drops_of_a_stuck_client_are_told_seldom_and_completely() {
    let mut host = stuck(10, OutboxOverflow::Latest);
    for n in 0..100_000 {
        push(&mut host, "room:a", frame(n % 10));
        host.now = host.now.saturating_add(Duration::from_micros(20));
    }
    host.session.close(host.now, 1000, "");
    host.drain();
    assert!(host.notices.len() <= 4, "{} events in two seconds", host.notices.len());
    assert_eq!(dropped(&host, "room:a"), 100_000 - 10);
}

#[test]
fn a_burst_to_a_healthy_reader_arrives() {
    let mut host = Host::new(Serializer::V2);
    host.client(r#"["1","1","room:a","phx_join",{}]"#);
    host.take();
    let id = host.channels["room:a"];
    (1..=10_000).for_each(|n| host.session.push_encoded(host.now, id, frame(n)).unwrap());
    host.drain();
    assert_eq!(read(&mut host), (1..=10_000).collect::<Vec<_>>());
    assert_eq!(host.session.stats().dropped, 0);
}

#[test]
fn congestion_is_half_an_outbox() {
    let mut host = stuck(4, OutboxOverflow::Close);
    (1..=2).for_each(|n| push(&mut host, "room:a", frame(n)));
    assert!(!host.session.is_congested());
    push(&mut host, "room:a", frame(3));
    assert!(host.session.is_congested());
    read(&mut host);
    assert!(!host.session.is_congested());
}

#[test]
fn sessions_share_one_configuration() {
    let config = Arc::new(ServerConfig::new(Serializer::V2));
    let sessions: Vec<_> =
        (0..10).map(|_| ServerSession::new(Arc::clone(&config), Host::CONN, Timestamp::ZERO)).collect();
    assert_eq!(Arc::strong_count(&config), 11);
    drop(sessions);
    assert_eq!(Arc::strong_count(&config), 1);
}
