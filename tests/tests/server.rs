//! The server session answers as Phoenix does: refs, orders, refusals and the ends of sockets.

use std::time::Duration;

use rejoin_core::phoenix::{EndReason, OnMalformed, ServerConfig, ServerSession, Status};
use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{ConnId, Frame, Machine, Payload, Timestamp, TransportAction, TransportEvent};
use rejoin_sim::Host;

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn a_heartbeat_is_answered_with_its_ref() {
    let mut host = Host::new(Serializer::V2);
    host.client(r#"[null,"7","phoenix","heartbeat",{}]"#);
    assert_eq!(host.take(), [r#"[null,"7","phoenix","phx_reply",{"status":"ok","response":{}}]"#]);
    host.client(r#"[null,"8","phoenix","unknown",{}]"#);
    let unmatched = r#"[null,"8","phoenix","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]"#;
    assert_eq!(host.take(), [unmatched]);
}

#[test]
fn a_silent_client_is_closed_with_1002_and_only_its_frames_count() {
    let mut host = Host::joined();
    host.advance(secs(59));
    let id = host.channels["room:a"];
    host.session.push(host.now, id, "news", Payload::EMPTY).unwrap();
    host.drain();
    host.advance(secs(1));
    assert_eq!(host.ends, [Some(1002)]);
    host.transport(TransportEvent::Closed { conn: Host::CONN, code: Some(1002), reason: "".into() });
    assert_eq!(host.ended, Some(EndReason::Idle));
    assert_eq!(host.left, [id]);
    assert!(host.session.is_finished());
    assert_eq!(host.session.poll_timeout(), None);
}

#[test]
fn heartbeats_keep_a_client_alive() {
    let mut host = Host::joined();
    for _ in 0..20 {
        host.advance(secs(59));
        host.client(r#"[null,"7","phoenix","heartbeat",{}]"#);
    }
    assert!(host.ends.is_empty());
}

#[test]
fn a_close_that_nobody_answers_becomes_a_drop() {
    let mut host = Host::joined();
    host.session.close(host.now, 1012, "restart");
    host.drain();
    assert_eq!(host.ends, [Some(1012)]);
    host.client(r#"["1","2","room:a","ping",{}]"#);
    assert_eq!(host.take(), Vec::<String>::new(), "nothing follows a close");
    host.advance(secs(2));
    assert_eq!(host.ends, [Some(1012), None]);
    assert_eq!(host.ended, Some(EndReason::Requested));
}

#[test]
fn a_leave_is_answered_before_the_channel_is_closed() {
    let mut host = Host::joined();
    host.client(r#"["1","2","room:a","phx_leave",{}]"#);
    let expected =
        [r#"["1","2","room:a","phx_reply",{"status":"ok","response":{}}]"#, r#"["1","1","room:a","phx_close",{}]"#];
    assert_eq!(host.take(), expected);
    assert!(host.channels.is_empty());
}

#[test]
fn a_leave_of_an_unjoined_topic_is_ok() {
    let mut host = Host::new(Serializer::V2);
    host.client(r#"["9","7","room:nope","phx_leave",{}]"#);
    assert_eq!(host.take(), [r#"["9","7","room:nope","phx_reply",{"status":"ok","response":{}}]"#]);
}

#[test]
fn a_reason_to_close_is_cut_to_what_a_close_frame_can_say() {
    for (reason, said) in [("x".repeat(123), "x".repeat(123)), ("é".repeat(99), "é".repeat(61)), ("".into(), "".into())]
    {
        let mut session = ServerSession::new(ServerConfig::new(Serializer::V2), Host::CONN, Timestamp::ZERO);
        session.close(Timestamp::ZERO, 1012, reason);
        let close = TransportAction::Close { conn: Host::CONN, code: 1012, reason: said.into() };
        assert_eq!(session.poll_transport(), Some(close));
    }
}

#[test]
fn messages_of_an_earlier_lifetime_are_ignored() {
    let mut host = Host::joined();
    host.client(r#"["2","2","room:a","phx_join",{}]"#);
    host.take();
    host.client(r#"["1","3","room:a","ping",{"stale":true}]"#);
    host.client(r#"["1","4","room:a","phx_leave",{}]"#);
    assert_eq!(host.take(), Vec::<String>::new());
    assert_eq!(host.session.stats().stale_messages, 2);
    host.client(r#"[null,"5","room:a","ping",{"n":1}]"#);
    assert_eq!(host.take(), [r#"["2","5","room:a","phx_reply",{"status":"ok","response":{"n":1}}]"#]);
}

#[test]
fn a_push_to_an_unjoined_topic_is_unmatched() {
    let mut host = Host::new(Serializer::V2);
    host.client(r#"["9","6","room:nope","ping",{}]"#);
    let unmatched = r#"[null,"6","room:nope","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]"#;
    assert_eq!(host.take(), [unmatched]);
    assert_eq!(host.session.stats().unmatched_topic, 1);
}

#[test]
fn refs_go_back_as_they_came() {
    let mut host = Host::new(Serializer::V2);
    host.client(r#"[1,1,"room:a","phx_join",{}]"#);
    host.client(r#"[1,2,"room:a","ping",{}]"#);
    host.client(r#"[1,null,"room:a","ping",{}]"#);
    host.client(r#"["1","x y","room:a","ping",{}]"#);
    host.client(r#"[null,3,"phoenix","heartbeat",{}]"#);
    let ok = r#"{"status":"ok","response":{}}"#;
    let expected = [
        format!(r#"[1,1,"room:a","phx_reply",{ok}]"#),
        format!(r#"[1,2,"room:a","phx_reply",{ok}]"#),
        format!(r#"[1,null,"room:a","phx_reply",{ok}]"#),
        format!(r#"[1,"x y","room:a","phx_reply",{ok}]"#),
        format!(r#"[null,3,"phoenix","phx_reply",{ok}]"#),
    ];
    assert_eq!(host.take(), expected);
}

#[test]
fn a_malformed_frame_closes_the_socket_with_1011() {
    let binary = |bytes: &'static [u8]| Frame::Binary(bytes.into());
    for frame in [
        Frame::Text("{not json".into()),
        Frame::Text(r#"["1","1","room:a","phx_join"]"#.into()),
        Frame::Text(r#"{"topic":"room:a","event":"phx_join","payload":{},"ref":"1"}"#.into()),
        Frame::Text(r#"["1","1","room:b","phx_join",{]"#.into()),
        Frame::Text(r#"["1","1","room:a","ping",{"a":}]"#.into()),
        Frame::Text("".into()),
        binary(&[0, 5]),
        binary(&[]),
        binary(&[3, 0, 0, 0, 0, 0, 0]),
        binary(b"\x00\x01\x01\x01\x0111\xffe"),
    ] {
        let mut host = Host::joined();
        host.client_frame(frame.clone());
        assert_eq!((host.malformed, &host.ends[..]), (1, &[Some(1011)][..]), "{:?}", frame.as_bytes());
        assert_eq!(host.session.stats().malformed, 1);
        host.client(r#"["1","2","room:a","ping",{}]"#);
        assert_eq!(host.take(), Vec::<String>::new());
        host.transport(TransportEvent::Closed { conn: Host::CONN, code: Some(1011), reason: "".into() });
        assert_eq!(host.ended, Some(EndReason::Malformed));
    }
}

#[test]
fn a_host_may_ignore_malformed_frames_and_still_hears_of_them() {
    let mut config = ServerConfig::new(Serializer::V2);
    config.malformed = OnMalformed::Ignore;
    let mut host = Host::with(config);
    host.client("{not json");
    host.client_frame(Frame::Binary(vec![3, 1].into()));
    assert_eq!((host.malformed, host.ends.len()), (2, 0));
    host.client(r#"["1","1","room:a","phx_join",{}]"#);
    assert_eq!(host.take(), [r#"["1","1","room:a","phx_reply",{"status":"ok","response":{}}]"#]);
}

#[test]
fn a_host_may_close_silent_clients_with_another_code() {
    let mut config = ServerConfig::new(Serializer::V2);
    config.idle_code = 1000;
    let mut host = Host::with(config);
    host.advance(secs(60));
    assert_eq!(host.ends, [Some(1000)]);
}

/// A host that understands user broadcasts, with `room:a` joined under join_ref 1.
fn understanding(serializer: Serializer) -> Host {
    let mut config = ServerConfig::new(serializer);
    config.user_broadcasts = true;
    let mut host = Host::with(config);
    match serializer {
        Serializer::V1 => host.client(r#"{"topic":"room:a","event":"phx_join","payload":{},"ref":"1","join_ref":"1"}"#),
        _ => host.client(r#"["1","1","room:a","phx_join",{}]"#),
    }
    host.take();
    host
}

#[test]
fn user_broadcasts_are_understood_where_the_host_says_so() {
    let frame = Frame::Binary(b"\x03\x01\x01\x06\x01\x00\x0112room:ae{\"a\":1}"[..].into());
    let mut host = Host::joined();
    host.client_frame(frame.clone());
    assert_eq!((host.malformed, host.ends), (1, vec![Some(1011)]));

    let mut host = understanding(Serializer::V2);
    host.client_frame(frame);
    let (event, payload, reply) = host.pushes.remove(0);
    assert_eq!((&*event, payload.as_json()), ("e", Some(r#"{"a":1}"#)));
    host.session.reply(host.now, reply, Status::Ok, Payload::EMPTY).unwrap();
    host.drain();
    assert_eq!(host.take(), [r#"["1","2","room:a","phx_reply",{"status":"ok","response":{}}]"#]);
}

#[test]
fn a_user_broadcast_that_claims_to_be_json_is_checked() {
    for frame in
        [&b"\x03\x01\x01\x06\x01\x00\x0112room:ae{\"a\":"[..], &b"\x03\x01\x01\x06\x01\x01\x0112room:ae{{\"a\":1}"[..]]
    {
        let mut host = understanding(Serializer::V2);
        host.client_frame(Frame::Binary(frame.into()));
        assert_eq!((host.malformed, host.pushes.len()), (1, 0));
    }
}

#[test]
fn a_user_broadcast_goes_out_in_the_form_that_the_client_reads() {
    let json = || Payload::from_json_text(r#"{"a":1}"#).unwrap();
    let meta = || Some(Payload::from_json_text(r#"{"id":"x"}"#).unwrap());
    let bytes = || Payload::binary(vec![1, 2].into());

    let mut host = understanding(Serializer::V2);
    let id = host.channels["room:a"];
    host.session.push_user_broadcast(host.now, id, "e", meta(), json()).unwrap();
    host.session.push_user_broadcast(host.now, id, "e", None, bytes()).unwrap();
    host.drain();
    let expected: [&[u8]; 2] =
        [b"\x04\x06\x01\x0a\x01room:ae{\"id\":\"x\"}{\"a\":1}", b"\x04\x06\x01\x00\x00room:ae\x01\x02"];
    assert_eq!(host.sent, expected.map(|bytes| Frame::Binary(bytes.into())));

    let mut host = understanding(Serializer::V1);
    let id = host.channels["room:a"];
    host.session.push_user_broadcast(host.now, id, "e", meta(), json()).unwrap();
    assert!(host.session.push_user_broadcast(host.now, id, "e", None, bytes()).is_err());
    host.drain();
    let sent: serde_json::Value = serde_json::from_str(&host.take().concat()).unwrap();
    let payload = serde_json::json!({"type": "broadcast", "event": "e", "payload": {"a": 1}, "meta": {"id": "x"}});
    let expected = serde_json::json!({"ref": null, "topic": "room:a", "event": "broadcast", "payload": payload});
    assert_eq!(sent, expected);
}

#[test]
fn an_oversized_frame_closes_the_socket_with_1009() {
    let mut config = ServerConfig::new(Serializer::V2);
    config.frame_bytes = 64;
    let mut host = Host::with(config);
    host.client(&format!(r#"["1","1","room:a","phx_join",{{"a":"{}"}}]"#, "x".repeat(64)));
    assert_eq!((host.malformed, &host.ends[..]), (0, &[Some(1009)][..]));
    assert_eq!(host.session.stats().too_large, 1);
    host.advance(secs(2));
    assert_eq!(host.ended, Some(EndReason::TooLarge));
}

#[test]
fn a_client_that_reads_too_slowly_is_cut_off() {
    let mut config = ServerConfig::new(Serializer::V2);
    config.outbox_bytes = 1_000;
    let mut host = Host::with(config);
    host.client(r#"["1","1","room:a","phx_join",{}]"#);
    host.take();
    host.plugged = true;
    let id = host.channels["room:a"];
    let mut accepted = 0;
    while host.session.push(host.now, id, "news", Payload::EMPTY).is_ok() {
        accepted += 1;
        assert!(accepted < 1_000, "the queue has no bound");
    }
    host.plugged = false;
    host.drain();
    assert_eq!((host.take().len(), host.ends.clone(), host.ended), (0, vec![None], Some(EndReason::TooSlow)));
}

#[test]
fn a_crash_is_phx_error_and_an_end_is_phx_close_each_with_the_join_ref() {
    for (event, expected) in [
        ("crash", r#"["1","1","room:a","phx_error",{"reason":"channel_crash"}]"#),
        ("stop", r#"["1","1","room:a","phx_close",{}]"#),
    ] {
        let mut host = Host::joined();
        host.client(&format!(r#"["1","2","room:a","{event}",{{}}]"#));
        assert_eq!(host.take(), [expected]);
        host.client(r#"["1","3","room:a","ping",{}]"#);
        assert!(host.take()[0].contains("unmatched topic"));
    }
}

#[test]
fn under_vsn_1_no_join_ref_is_sent_and_none_is_needed() {
    let mut host = Host::new(Serializer::V1);
    host.client(r#"{"topic":"room:a","event":"phx_join","payload":{},"ref":"1"}"#);
    host.client(r#"{"topic":"room:a","event":"ping","payload":{"a":1},"ref":"2"}"#);
    host.client(r#"{"topic":"room:a","event":"shout","payload":{},"ref":"3"}"#);
    host.client(r#"{"topic":"room:a","event":"crash","payload":{},"ref":"4"}"#);
    let expected = [
        r#"{"ref":"1","topic":"room:a","event":"phx_reply","payload":{"status":"ok","response":{}}}"#,
        r#"{"ref":"2","topic":"room:a","event":"phx_reply","payload":{"status":"ok","response":{"a":1}}}"#,
        r#"{"ref":null,"topic":"room:a","event":"shout","payload":{}}"#,
        r#"{"ref":"3","topic":"room:a","event":"phx_reply","payload":{"status":"ok","response":{}}}"#,
        r#"{"ref":null,"topic":"room:a","event":"phx_error","payload":{"reason":"channel_crash"}}"#,
    ];
    assert_eq!(host.take(), expected);
}

#[test]
fn under_vsn_1_a_leave_needs_no_join_ref() {
    let mut host = Host::new(Serializer::V1);
    host.client(r#"{"topic":"room:a","event":"phx_join","payload":{},"ref":"1","join_ref":"1"}"#);
    host.client(r#"{"topic":"room:a","event":"phx_leave","payload":{},"ref":"2"}"#);
    let reply = |n| {
        format!(r#"{{"ref":"{n}","topic":"room:a","event":"phx_reply","payload":{{"status":"ok","response":{{}}}}}}"#)
    };
    let close = r#"{"ref":"1","topic":"room:a","event":"phx_close","payload":{}}"#.to_owned();
    assert_eq!(host.take(), [reply(1), reply(2), close]);
    assert!(host.channels.is_empty());
}

#[test]
fn under_vsn_1_bytes_are_refused_both_ways() {
    let mut host = Host::new(Serializer::V1);
    host.client(r#"{"topic":"room:a","event":"phx_join","payload":{},"ref":"1"}"#);
    host.take();
    let id = host.channels["room:a"];
    assert!(host.session.push(host.now, id, "news", Payload::binary(vec![1].into())).is_err());
    host.client_frame(Frame::Binary(vec![0, 0, 0, 0, 0].into()));
    assert_eq!(host.ends, [Some(1011)]);
}

#[test]
fn binary_pushes_and_replies_keep_their_bytes() {
    let mut host = Host::joined();
    host.client_frame(Frame::Binary(b"\x00\x01\x01\x06\x0412room:apingdata".to_vec().into()));
    assert_eq!(host.sent, [Frame::Binary(b"\x01\x01\x01\x06\x0212room:aokdata".to_vec().into())]);
}

#[test]
fn bytes_go_out_as_a_push_with_a_join_ref_and_as_a_broadcast_without() {
    let mut host = Host::joined();
    let (id, bytes) = (host.channels["room:a"], || Payload::binary(b"data"[..].into()));
    host.session.push(host.now, id, "news", bytes()).unwrap();
    let shared = Serializer::V2.encode_from_server(&Message::new("room:a", "news", bytes())).unwrap();
    host.session.push_encoded(host.now, id, shared).unwrap();
    host.drain();
    let expected: [&[u8]; 2] = [b"\x00\x01\x06\x041room:anewsdata", b"\x02\x06\x04room:anewsdata"];
    assert_eq!(host.sent, expected.map(|bytes| Frame::Binary(bytes.into())));
}

#[test]
fn words_about_other_connections_change_nothing() {
    let mut host = Host::joined();
    let other = ConnId::new(99);
    host.transport(TransportEvent::Closed { conn: other, code: None, reason: "".into() });
    host.transport(TransportEvent::Received { conn: other, frame: Frame::Text("nonsense".into()) });
    assert_eq!((host.ended.is_none(), host.malformed), (true, 0));
    assert_eq!(host.session.stats().stale_connection, 2);
}

#[test]
fn the_end_of_a_socket_ends_its_channels_once() {
    let mut host = Host::joined();
    host.client(r#"["2","2","room:b","phx_join",{}]"#);
    host.transport(TransportEvent::Closed { conn: Host::CONN, code: None, reason: "reset".into() });
    host.transport(TransportEvent::Closed { conn: Host::CONN, code: None, reason: "reset".into() });
    assert_eq!((host.left.len(), host.channels.len()), (2, 0));
    assert!(matches!(host.ended, Some(EndReason::Closed { code: None, .. })));
    assert!(host.session.is_finished());
}

#[test]
fn a_reply_to_a_channel_that_is_over_is_an_error_of_the_host() {
    let mut host = Host::joined();
    host.answers = false;
    host.client(r#"["1","2","room:a","ping",{}]"#);
    host.client(r#"["1","3","room:a","phx_leave",{}]"#);
    host.take();
    let (_, payload, reply) = host.pushes.remove(0);
    assert!(host.session.reply(host.now, reply, Status::Ok, payload).is_err());
    assert_eq!(host.take(), Vec::<String>::new());
}
