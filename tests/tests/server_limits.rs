//! What a client may do is bounded, and what is beyond a bound is answered, told to the host and counted.

use std::time::Duration;

use rejoin_core::phoenix::{Limit, OutboxOverflow, RateLimit, ServerConfig, ServerEvent};
use rejoin_core::wire::Serializer;
use rejoin_core::{Frame, Machine, Payload, Timestamp};
use rejoin_sim::Host;

fn host(limit: impl FnOnce(&mut ServerConfig)) -> Host {
    let mut config = ServerConfig::new(Serializer::V2);
    limit(&mut config);
    Host::with(config)
}

fn join(host: &mut Host, number: usize, topic: &str) {
    host.client(&format!(r#"["{number}","{number}","{topic}","phx_join",{{}}]"#));
}

fn refused(number: usize, topic: &str, reason: &str) -> String {
    let payload = format!(r#"{{"status":"error","response":{{"reason":"{reason}"}}}}"#);
    format!(r#"["{number}","{number}","{topic}","phx_reply",{payload}]"#)
}

#[test]
fn a_topic_that_is_too_long_is_never_joined() {
    let mut host = host(|_| {});
    let (longest, longer) = (format!("room:{}", "é".repeat(125)), format!("room:{}", "x".repeat(251)));
    assert_eq!((longest.len(), longer.len()), (255, 256));
    join(&mut host, 1, &longest);
    assert!(host.take()[0].contains(r#""ok""#));
    join(&mut host, 2, &longer);
    assert_eq!(host.take(), [refused(2, &longer, "topic too long")]);
    host.client(&format!(r#"["2","3","{longer}","ping",{{}}]"#));
    assert!(host.take()[0].contains("unmatched topic"));
    assert_eq!((host.session.stats().refused_joins, host.session.stats().unmatched_topic), (1, 1));
}

#[test]
fn a_ref_that_is_too_long_is_never_kept() {
    let mut host = host(|_| {});
    let (longest, longer) = ("x".repeat(255), "x".repeat(256));
    host.client(&format!(r#"["{longest}","{longest}","room:a","phx_join",{{}}]"#));
    assert!(host.take()[0].contains(r#""ok""#));
    let refusal = r#"{"status":"error","response":{"reason":"ref too long"}}"#;
    for (join_ref, reference) in [(&*longer, "2"), ("2", &longer)] {
        host.client(&format!(r#"["{join_ref}","{reference}","room:b","phx_join",{{}}]"#));
        assert_eq!(host.take(), [format!(r#"["{join_ref}","{reference}","room:b","phx_reply",{refusal}]"#)]);
    }
    assert_eq!((host.channels.len(), host.session.stats().refused_joins), (1, 2));
}

#[test]
fn joins_beyond_the_rate_are_refused_and_hurt_no_channel() {
    let mut host = host(|config| config.joins = Some(RateLimit::per_second(2).with_burst(3)));
    (1..=3).for_each(|n| join(&mut host, n, &format!("room:{n}")));
    assert!(host.take().iter().all(|frame| frame.contains(r#""ok""#)));
    join(&mut host, 4, "room:4");
    // Not even a join of a topic that is joined ends that channel.
    join(&mut host, 5, "room:1");
    assert_eq!(host.take(), [refused(4, "room:4", "too many joins"), refused(5, "room:1", "too many joins")]);
    assert_eq!((host.channels.len(), host.left.len(), host.session.stats().limited), (3, 0, 2));
    host.advance(Duration::from_millis(500));
    join(&mut host, 6, "room:4");
    assert!(host.take()[0].contains(r#""ok""#));
}

#[test]
fn pushes_beyond_the_rate_are_refused_heartbeats_and_leaves_are_not() {
    let mut host = host(|config| config.messages = Some(RateLimit::per_second(1)));
    join(&mut host, 1, "room:a");
    host.client(r#"["1","2","room:a","ping",{}]"#);
    host.take();
    host.client(r#"["1","3","room:a","ping",{}]"#);
    host.client(r#"["1",null,"room:a","ping",{}]"#);
    host.client_frame(Frame::Binary(b"\x00\x01\x01\x06\x0414room:apingdata"[..].into()));
    let too_many = r#"{"status":"error","response":{"reason":"too many messages"}}"#;
    assert_eq!(host.take(), ["3", "4"].map(|n| format!(r#"["1","{n}","room:a","phx_reply",{too_many}]"#)));
    host.client(r#"[null,"5","phoenix","heartbeat",{}]"#);
    host.client(r#"["1","6","room:a","phx_leave",{}]"#);
    assert_eq!(host.take().len(), 3, "a heartbeat's answer, a leave's, and a phx_close");
    assert_eq!(host.session.stats().limited, 3);
    host.advance(Duration::from_secs(1));
    host.client(r#"["1","7","room:a","ping",{}]"#);
    assert!(host.take()[0].contains("unmatched topic"), "it is heard again");
}

#[test]
fn bytes_beyond_the_rate_are_refused_and_take_nothing_from_the_other_limits() {
    let mut host = host(|config| {
        config.bytes = Some(RateLimit::per_second(100));
        config.messages = Some(RateLimit::per_second(1));
    });
    let large = format!(r#"["1","1","room:a","phx_join",{{"x":"{}"}}]"#, "x".repeat(100));
    host.client(&large);
    assert_eq!(host.take(), [refused(1, "room:a", "too many bytes")]);
    join(&mut host, 2, "room:a");
    assert!(host.take()[0].contains(r#""ok""#));
    host.client(&format!(r#"["2","3","room:a","ping",{{"x":"{}"}}]"#, "x".repeat(100)));
    assert!(host.take()[0].contains("too many bytes"));
    host.client(r#"["2","4","room:a","ping",{}]"#);
    assert!(host.take()[0].contains(r#""ok""#));
    assert_eq!(host.notices[0], ServerEvent::Limited { limit: Limit::Bytes, messages: 1 });
}

#[test]
fn a_flood_beyond_a_limit_is_told_once_a_second_and_completely() {
    let mut host = host(|config| config.messages = Some(RateLimit::per_second(1)));
    join(&mut host, 1, "room:a");
    for _ in 0..1_000 {
        host.client(r#"["1",null,"room:a","ping",{}]"#);
        host.advance(Duration::from_micros(100));
    }
    let told = |host: &Host| -> Vec<u64> {
        let of = |notice: &ServerEvent| match notice {
            ServerEvent::Limited { limit: Limit::Messages, messages } => *messages,
            other => panic!("{other:?}"),
        };
        host.notices.iter().map(of).collect()
    };
    assert_eq!(told(&host), [1]);
    host.advance(Duration::from_secs(1));
    assert_eq!(told(&host), [1, 998]);
    host.advance(Duration::from_secs(10));
    assert_eq!(host.notices.len(), 2, "there was nothing more to tell");

    host.client(r#"["1",null,"room:a","ping",{}]"#);
    (0..5).for_each(|_| host.client(r#"["1",null,"room:a","ping",{}]"#));
    host.session.close(host.now, 1000, "");
    host.drain();
    assert_eq!(told(&host), [1, 998, 1, 4], "what was not told yet is told before the end");
    assert_eq!(host.session.stats().limited, 1_004);
}

#[test]
fn what_comes_after_a_close_is_counted_both_ways() {
    let mut host = host(|_| {});
    join(&mut host, 1, "room:a");
    host.take();
    let id = host.channels["room:a"];
    host.session.close(host.now, 1000, "");
    host.client(r#"["1","2","room:a","ping",{}]"#);
    let late = host.session.push(host.now, id, "news", Payload::EMPTY);
    host.drain();
    assert_eq!((late, host.take().len()), (Ok(()), 0));
    assert_eq!((host.session.stats().unheard, host.session.stats().unsent), (1, 1));
    host.advance(Duration::from_secs(2));
    assert!(host.session.is_finished());
}

#[test]
fn a_host_may_set_no_limit_at_all() {
    let all = usize::MAX;
    let without_end = Some(RateLimit::per_second(u32::MAX));
    let mut host = host(|config| {
        (config.idle_timeout, config.auth_timeout) = (Some(Duration::MAX), Some(Duration::MAX));
        (config.close_timeout, config.expiry_warning) = (Duration::MAX, Duration::MAX);
        (config.held_frames, config.held_bytes, config.channels, config.topic_bytes) = (all, all, all, all);
        (config.frame_bytes, config.outbox_bytes) = (all, all);
        (config.joins, config.messages, config.bytes) = (without_end, without_end, without_end);
    });
    join(&mut host, 1, "room:a");
    host.session.authenticate(host.now, Some(Timestamp::MAX));
    host.drain();
    host.client(r#"["1","2","room:a","ping",{}]"#);
    assert_eq!(host.take().len(), 2);
    let channel = host.channels["room:a"];
    for overflow in [OutboxOverflow::Close, OutboxOverflow::DropNewest, OutboxOverflow::DropOldest] {
        host.session.set_overflow(channel, overflow).unwrap();
        host.session.push(host.now, channel, "news", Payload::EMPTY).unwrap();
    }
    host.drain();
    assert_eq!((host.take().len(), host.notices.len(), host.ends.len()), (3, 1, 0), "it was warned from the start");
}
