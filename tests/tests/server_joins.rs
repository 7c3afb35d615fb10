//! Joins: which are answered, refused at once or given up, and what becomes of the channel before.

use std::time::Duration;

use rejoin_core::phoenix::{EndReason, StaleHandle};
use rejoin_core::wire::Serializer;
use rejoin_core::{Frame, Payload};
use rejoin_sim::Host;

#[test]
fn a_second_join_is_answered_before_the_first_one_is_closed() {
    for (new, old) in [("2", "1"), ("9", "1")] {
        let mut host = Host::joined();
        let first = host.channels["room:a"];
        host.client(&format!(r#"["{new}","{new}","room:a","phx_join",{{}}]"#));
        let expected = [
            format!(r#"["{new}","{new}","room:a","phx_reply",{{"status":"ok","response":{{}}}}]"#),
            format!(r#"["{old}","{old}","room:a","phx_close",{{}}]"#),
        ];
        assert_eq!(host.take(), expected);
        assert_eq!(host.left, [first]);
        assert_ne!(host.channels["room:a"], first);
    }
}

#[test]
fn an_unanswered_join_gives_way_to_the_next_one() {
    let mut host = Host::joined();
    host.answers = false;
    host.client(r#"["2","2","room:a","phx_join",{}]"#);
    host.client(r#"["3","3","room:a","phx_join",{}]"#);
    let (second, third) = (host.joins.remove(0), host.joins.remove(0));
    host.accept(second.0, second.1);
    assert_eq!(host.take(), Vec::<String>::new(), "its client has given it up");
    host.accept(third.0, third.1);
    let expected =
        [r#"["3","3","room:a","phx_reply",{"status":"ok","response":{}}]"#, r#"["1","1","room:a","phx_close",{}]"#];
    assert_eq!(host.take(), expected);
}

#[test]
fn a_client_that_leaves_before_its_join_is_answered_is_let_go() {
    let mut host = Host::new(Serializer::V2);
    host.answers = false;
    host.client(r#"["1","1","room:a","phx_join",{}]"#);
    host.client(r#"["1","2","room:a","phx_leave",{}]"#);
    assert_eq!(host.take(), [r#"["1","2","room:a","phx_reply",{"status":"ok","response":{}}]"#]);
    let (topic, join) = host.joins.remove(0);
    host.accept(topic, join);
    assert!(host.channels.is_empty());
    assert_eq!(host.take(), Vec::<String>::new());
}

#[test]
fn a_leave_before_the_second_join_is_answered_closes_the_channel_that_it_would_have_replaced() {
    let mut host = Host::joined();
    host.answers = false;
    host.client(r#"["2","2","room:a","phx_join",{}]"#);
    host.client(r#"[null,"3","room:a","phx_leave",{}]"#);
    let expected =
        [r#"["2","3","room:a","phx_reply",{"status":"ok","response":{}}]"#, r#"["1","1","room:a","phx_close",{}]"#];
    assert_eq!(host.take(), expected);
    assert!(host.channels.is_empty());
}

#[test]
fn a_join_that_was_given_up_is_not_answered_and_the_next_one_is() {
    let mut host = Host::new(Serializer::V2);
    host.answers = false;
    host.client(r#"["4","4","room:a","phx_join",{}]"#);
    host.client(r#"["4","5","room:a","phx_leave",{}]"#);
    host.client(r#"["6","6","room:a","phx_join",{}]"#);
    host.take();
    let (given_up, next) = (host.joins.remove(0), host.joins.remove(0));
    host.accept(given_up.0, given_up.1);
    assert_eq!(host.take(), Vec::<String>::new());
    host.accept(next.0, next.1);
    assert_eq!(host.take(), [r#"["6","6","room:a","phx_reply",{"status":"ok","response":{}}]"#]);
    assert_eq!(host.channels.len(), 1);
}

#[test]
fn joins_that_nobody_answered_count_as_channels() {
    let mut host = Host::new(Serializer::V2);
    host.answers = false;
    for n in 0..101 {
        host.client(&format!(r#"["{n}","{n}","room:{n}","phx_join",{{}}]"#));
    }
    assert_eq!(host.joins.len(), 100);
    assert!(host.take()[0].contains("too many channels joined"));
}

#[test]
fn the_hundred_and_first_channel_is_refused() {
    let mut host = Host::new(Serializer::V2);
    for n in 0..100 {
        host.client(&format!(r#"["{n}","{n}","room:{n}","phx_join",{{}}]"#));
    }
    assert!(host.take().iter().all(|frame| frame.contains(r#""ok""#)));
    host.client(r#"["100","100","room:100","phx_join",{}]"#);
    let refused =
        r#"["100","100","room:100","phx_reply",{"status":"error","response":{"reason":"too many channels joined"}}]"#;
    assert_eq!(host.take(), [refused]);
    host.client(r#"["101","101","room:7","phx_join",{}]"#);
    assert!(host.take()[0].contains(r#""ok""#), "a joined topic may be joined anew");
    host.client(r#"["8","102","room:8","phx_leave",{}]"#);
    host.take();
    host.client(r#"["103","103","room:100","phx_join",{}]"#);
    assert!(host.take()[0].contains(r#""ok""#), "a free place may be taken");
}

#[test]
fn a_join_whose_payload_is_no_object_is_refused_as_a_join_that_crashed() {
    let mut host = Host::joined();
    host.client(r#"["2","2","room:b","phx_join",42]"#);
    host.client_frame(Frame::Binary(b"\x00\x01\x01\x06\x0833room:bphx_join{}"[..].into()));
    let crashed = r#"{"status":"error","response":{"reason":"join crashed"}}"#;
    let expected = ["2", "3"].map(|n| format!(r#"["{n}","{n}","room:b","phx_reply",{crashed}]"#));
    assert_eq!(host.take(), expected);
    assert_eq!((host.session.stats().refused_joins, host.malformed, host.ends.len()), (2, 0, 0));
}

#[test]
fn a_topic_that_does_not_exist_is_refused_without_a_join_ref() {
    let mut host = Host::new(Serializer::V2);
    host.client(r#"["4","5","nosuch:topic","phx_join",{}]"#);
    let unmatched =
        r#"[null,"5","nosuch:topic","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]"#;
    assert_eq!(host.take(), [unmatched]);
    assert_eq!(host.session.stats().unmatched_topic, 1);
}

#[test]
fn a_join_that_is_accepted_after_the_close_lets_nobody_in() {
    let mut host = Host::new(Serializer::V2);
    host.answers = false;
    host.client(r#"["1","1","room:a","phx_join",{}]"#);
    let (_, join) = host.joins.remove(0);
    host.session.close(host.now, 1012, "restart");
    assert_eq!(host.session.accept_join(host.now, join, Payload::EMPTY), Err(StaleHandle::default()));
    host.advance(Duration::from_secs(2));
    assert_eq!((host.left.len(), host.ended), (0, Some(EndReason::Requested)));
}
