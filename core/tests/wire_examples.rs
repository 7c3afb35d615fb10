//! The wire by example: the specification's byte vectors (its Appendix A), and one frame for every
//! rule about what is tolerated and what is refused.

use rejoin_core::phoenix::{ChannelState, Config, JoinOptions, Session};
use rejoin_core::wire::{DecodeError, EncodeError, Message, Ref, Serializer, UserEvent};
use rejoin_core::{ConnId, Frame, Machine, Payload, PayloadError, Text, Timestamp, TransportAction, TransportEvent};

const V1: Serializer = Serializer::V1;
const V2: Serializer = Serializer::V2;

fn text(text: &str) -> Frame {
    Frame::Text(text.into())
}

fn binary(bytes: &[u8]) -> Frame {
    Frame::Binary(bytes.to_vec().into())
}

fn json(text: &str) -> Payload {
    Payload::from_json_text(text).unwrap()
}

fn bytes(bytes: &'static [u8]) -> Payload {
    Payload::binary(bytes.into())
}

fn refs(message: Message, join_ref: Option<&str>, reference: Option<&str>) -> Message {
    message.with_refs(join_ref.map(Ref::from), reference.map(Ref::from))
}

/// The vectors' user event with these metadata.
fn about(metadata: &str) -> UserEvent {
    let mut event = UserEvent::new("user-event");
    event.metadata = Some(json(metadata));
    event
}

/// From a client, in both directions of translation.
fn client(serializer: Serializer, message: &Message, frame: &Frame) {
    let encoded = serializer.encode_from_client(message).unwrap();
    assert_eq!(String::from_utf8_lossy(encoded.as_bytes()), String::from_utf8_lossy(frame.as_bytes()));
    assert_eq!(&encoded, frame);
    assert_eq!(serializer.decode_from_client(frame.clone()).as_ref(), Ok(message));
}

fn server(message: &Message, frame: &Frame) {
    assert_eq!(&V2.encode_from_server(message).unwrap(), frame);
    assert_eq!(V2.decode_from_server(frame.clone()).as_ref(), Ok(message));
}

#[test]
fn vector_1_text_push() {
    let message = Message::new("t", "e", json(r#"{"foo":1}"#));
    client(V2, &message, &text(r#"[null,null,"t","e",{"foo":1}]"#));
    client(V2, &refs(message, Some("0"), Some("1")), &text(r#"["0","1","t","e",{"foo":1}]"#));
}

#[test]
fn vectors_2_and_3_binary_push_of_a_client() {
    let message = refs(Message::new("t", "e", bytes(b"\x01")), Some("0"), Some("1"));
    client(V2, &message, &binary(b"\x00\x01\x01\x01\x01\x30\x31\x74\x65\x01"));
    let message = refs(Message::new("top", "ev", bytes(b"\x01")), Some("10"), Some("1"));
    client(V2, &message, &binary(b"\x00\x02\x01\x03\x02101topev\x01"));
}

#[test]
fn vector_4_binary_push_of_a_server() {
    let message = refs(Message::new("top", "some-event", bytes(b"\x01\x01")), Some("123"), None);
    server(&message, &binary(b"\x00\x03\x03\x0a123topsome-event\x01\x01"));
}

#[test]
fn vector_5_binary_reply() {
    let message = refs(Message::reply("top", "ok", &bytes(b"\x01\x01")), Some("100"), Some("12"));
    assert_eq!(message.event, "phx_reply");
    server(&message, &binary(b"\x01\x03\x02\x03\x0210012topok\x01\x01"));
}

#[test]
fn vector_6_binary_broadcast() {
    let message = Message::new("top", "some-event", bytes(b"\x01\x01"));
    server(&message, &binary(b"\x02\x03\x0atopsome-event\x01\x01"));
}

#[test]
fn vectors_7_and_8_user_broadcast_push() {
    let message = Message::user_broadcast("top", UserEvent::new("user-event"), json(r#"{"a":"b"}"#));
    client(V2, &message, &binary(b"\x03\x00\x00\x03\x0a\x00\x01topuser-event{\"a\":\"b\"}"));
    let message = refs(message, Some("10"), Some("1"));
    assert_eq!(message.event, "broadcast");
    client(V2, &message, &binary(b"\x03\x02\x01\x03\x0a\x00\x01101topuser-event{\"a\":\"b\"}"));
}

#[test]
fn vector_9_user_broadcast_push_with_metadata() {
    let message = Message::user_broadcast("top", about(r#"{"extra":"bit"}"#), json(r#"{"a":"b"}"#));
    let frame = b"\x03\x02\x01\x03\x0a\x0f\x01101topuser-event{\"extra\":\"bit\"}{\"a\":\"b\"}";
    client(V2, &refs(message, Some("10"), Some("1")), &binary(frame));
}

#[test]
fn vector_10_user_broadcast_push_of_bytes() {
    let message = Message::user_broadcast("top", UserEvent::new("user-event"), bytes(b"\x01\x04"));
    let frame = binary(b"\x03\x02\x01\x03\x0a\x00\x00101topuser-event\x01\x04");
    client(V2, &refs(message, Some("10"), Some("1")), &frame);
}

#[test]
fn vector_11_user_broadcast() {
    let message = Message::user_broadcast("top", UserEvent::new("user-event"), json(r#"{"a":"b"}"#));
    server(&message, &binary(b"\x04\x03\x0a\x00\x01topuser-event{\"a\":\"b\"}"));
}

#[test]
fn vector_12_user_broadcast_with_metadata() {
    let message = Message::user_broadcast("top", about(r#"{"replayed":true}"#), json(r#"{"a":"b"}"#));
    server(&message, &binary(b"\x04\x03\x0a\x11\x01topuser-event{\"replayed\":true}{\"a\":\"b\"}"));
}

#[test]
fn vector_13_user_broadcast_of_bytes() {
    let message = Message::user_broadcast("top", UserEvent::new("user-event"), bytes(b"\x01\x04"));
    server(&message, &binary(b"\x04\x03\x0a\x00\x00topuser-event\x01\x04"));
}

#[test]
fn vector_14_heartbeat() {
    let message = refs(Message::new("phoenix", "heartbeat", Payload::EMPTY), None, Some("7"));
    client(V2, &message, &text(r#"[null,"7","phoenix","heartbeat",{}]"#));
    // The members of an object may come in any order; we write the payload last.
    let given = text(r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"7"}"#);
    assert_eq!(V1.decode_from_client(given).as_ref(), Ok(&message));
    client(V1, &message, &text(r#"{"ref":"7","topic":"phoenix","event":"heartbeat","payload":{}}"#));
}

#[test]
fn vector_15_user_broadcast_push_beyond_ascii() {
    let message = Message::user_broadcast("top", UserEvent::new("café-🎉"), json(r#"{"a":"b"}"#));
    let frame = "\u{3}\u{2}\u{1}\u{3}\u{a}\u{0}\u{1}101topcafé-🎉{\"a\":\"b\"}";
    client(V2, &refs(message, Some("10"), Some("1")), &binary(frame.as_bytes()));
}

#[test]
fn lengths_count_utf8_bytes() {
    let message = Message::new("top", "café-🎉", bytes(b"x"));
    server(&message, &binary("\u{2}\u{3}\u{a}topcafé-🎉x".as_bytes()));
    // 255 bytes are the most, however many characters they are.
    for (name, fits) in [("é".repeat(127) + "x", true), ("é".repeat(128), false), ("x".repeat(255), true)] {
        let encoded = V2.encode_from_client(&Message::new(name.as_str(), "e", bytes(b"")));
        assert_eq!(encoded.is_ok(), fits, "{} bytes", name.len());
    }
}

#[test]
fn a_field_that_is_too_long_is_named() {
    let (long, plain) = ("é".repeat(128), bytes(b"x"));
    let too_long = |field| Err(EncodeError::FieldTooLong { field, len: 256 });
    let message = || Message::new("t", "e", plain.clone());
    let topic = Message::new(long.as_str(), "e", plain.clone());
    let event = Message::new("t", long.as_str(), plain.clone());
    let join_ref = refs(message(), Some(&long), None);
    let reference = refs(message(), None, Some(&long));
    let status = Message::reply("t", long.as_str(), &plain);
    for (message, field) in [(&topic, "topic"), (&event, "event"), (&join_ref, "join_ref")] {
        assert_eq!(V2.encode_from_client(message), too_long(field));
        assert_eq!(V2.encode_from_server(message), too_long(field));
    }
    assert_eq!(V2.encode_from_client(&reference), too_long("ref"));
    assert_eq!(V2.encode_from_server(&status), too_long("status"));
    let user = |join_ref, reference, topic: &str, event: &str, metadata: &str| {
        let mut event = UserEvent::new(event);
        event.metadata = Some(json(metadata));
        refs(Message::user_broadcast(topic, event, Payload::EMPTY), join_ref, reference)
    };
    let long_json = format!("\"{}\"", "é".repeat(127));
    for (message, field) in [
        (user(Some(&long), None, "t", "e", "{}"), "join_ref"),
        (user(None, Some(&long), "t", "e", "{}"), "ref"),
        (user(None, None, &long, "e", "{}"), "topic"),
        (user(None, None, "t", &long, "{}"), "event"),
        (user(None, None, "t", "e", &long_json), "metadata"),
    ] {
        assert_eq!(V2.encode_from_client(&message), too_long(field));
        if !field.ends_with("ref") {
            assert_eq!(V2.encode_from_server(&message), too_long(field));
        }
    }
    // A text frame has no such limit.
    assert!(V1.encode_from_client(&user(Some(&long), Some(&long), &long, &long, &long_json)).is_ok());
    let message = Message::new(long.as_str(), long.as_str(), Payload::EMPTY);
    for serializer in [V1, V2] {
        let frame = serializer.encode_from_client(&message).unwrap();
        assert_eq!(serializer.decode_from_client(frame).as_ref(), Ok(&message));
    }
}

#[test]
fn binary_needs_vsn_2() {
    let message = Message::new("t", "e", bytes(b""));
    assert_eq!(V1.encode_from_client(&message), Err(EncodeError::BinaryNeedsV2));
    assert_eq!(V1.encode_from_server(&message), Err(EncodeError::BinaryNeedsV2));
    let broadcast = Message::user_broadcast("t", UserEvent::new("e"), bytes(b""));
    assert_eq!(V1.encode_from_client(&broadcast), Err(EncodeError::BinaryNeedsV2));
    assert_eq!(V1.decode_from_server(binary(b"\x04\x01\x01\x00\x01te{}")), Err(DecodeError::UnexpectedBinary));
    assert_eq!(V1.decode_from_server(binary(b"\x02\x01\x01te")), Err(DecodeError::UnexpectedBinary));
    assert_eq!(V1.decode_from_client(binary(b"")), Err(DecodeError::UnexpectedBinary));
}

#[test]
fn unknown_kinds_are_named() {
    for kind in 0..=u8::MAX {
        // Long enough for the header of every kind; all fields are empty.
        let frame = binary(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        // Replies and broadcasts do not come from clients, and only they send kind 3.
        let from_client = V2.decode_from_client(frame.clone());
        assert_eq!(from_client.err(), (!matches!(kind, 0 | 3)).then_some(DecodeError::UnknownKind(kind)));
        let from_server = V2.decode_from_server(frame);
        assert_eq!(from_server.err(), (!matches!(kind, 0..=2 | 4)).then_some(DecodeError::UnknownKind(kind)));
    }
}

#[test]
fn a_header_cut_anywhere_is_truncated() {
    let check = |frame: &[u8], data: usize, decode: fn(Frame) -> Result<Message, DecodeError>| {
        for len in 0..frame.len() - data {
            assert_eq!(decode(binary(&frame[..len])), Err(DecodeError::Truncated), "{len} of {frame:?}");
        }
        for len in frame.len() - data..=frame.len() {
            assert!(decode(binary(&frame[..len])).is_ok(), "{len} of {frame:?}");
        }
    };
    check(b"\x00\x02\x01\x03\x02101topev\x01\x01", 2, |frame| V2.decode_from_client(frame));
    check(b"\x00\x03\x03\x0a123topsome-event\x01\x01", 2, |frame| V2.decode_from_server(frame));
    check(b"\x01\x03\x02\x03\x0210012topok\x01\x01", 2, |frame| V2.decode_from_server(frame));
    check(b"\x02\x03\x0atopsome-event\x01\x01", 2, |frame| V2.decode_from_server(frame));
    check(b"\x03\x02\x01\x03\x02\x02\x01101topev{}[]", 2, |frame| V2.decode_from_client(frame));
    check(b"\x04\x03\x02\x02\x00topev{}\x01\x01", 2, |frame| V2.decode_from_server(frame));
}

#[test]
fn header_fields_must_be_utf8_and_data_need_not() {
    for broken in
        [&b"\x02\x01\x01\xffe"[..], b"\x02\x01\x01t\xff", b"\x00\x01\x01\x01\xffte", b"\x01\x01\x01\x01\x01j\x80to"]
    {
        assert_eq!(V2.decode_from_server(binary(broken)), Err(DecodeError::NotUtf8), "{broken:?}");
    }
    for broken in [&b"\x04\x01\x01\x01\x01\xffem"[..], b"\x04\x01\x01\x01\x01t\xffm", b"\x04\x01\x01\x01\x01te\xff"] {
        assert_eq!(V2.decode_from_server(binary(broken)), Err(DecodeError::NotUtf8), "{broken:?}");
    }
    for at in 7..12 {
        let mut broken = *b"\x03\x01\x01\x01\x01\x01\x00jrtem\xff";
        assert!(V2.decode_from_client(binary(&broken)).is_ok());
        broken[at] = 0xff;
        assert_eq!(V2.decode_from_client(binary(&broken)), Err(DecodeError::NotUtf8), "byte {at}");
    }
    // The two bytes of one character in two fields: neither is text.
    assert_eq!(V2.decode_from_server(binary(b"\x02\x01\x01\xc3\xa9")), Err(DecodeError::NotUtf8));
    let message = V2.decode_from_server(binary(b"\x02\x01\x01te\xff\xfe")).unwrap();
    assert_eq!(message.payload.as_bytes(), b"\xff\xfe");
}

#[test]
fn no_metadata_are_no_bytes_and_not_an_empty_object() {
    let bare = V2.decode_from_server(binary(b"\x04\x01\x01\x00\x01te{}")).unwrap();
    assert_eq!(bare.user_event, Some(UserEvent::new("e")));
    let empty = V2.decode_from_server(binary(b"\x04\x01\x01\x02\x01te{}{}")).unwrap();
    assert_eq!(empty.user_event.unwrap().metadata, Some(Payload::EMPTY));
}

#[test]
fn every_encoding_but_zero_is_json() {
    for encoding in 0..=u8::MAX {
        let from_server = V2.decode_from_server(binary(&[4, 1, 1, 0, encoding, b't', b'e', b'1'])).unwrap();
        let from_client = V2.decode_from_client(binary(&[3, 0, 0, 1, 1, 0, encoding, b't', b'e', b'1'])).unwrap();
        let expected = if encoding == 0 { bytes(b"1") } else { json("1") };
        assert_eq!((&from_server.payload, &from_client.payload), (&expected, &expected), "{encoding}");
    }
}

/// No server looks at what a peer sends as JSON (trap T52).
#[test]
fn json_of_a_user_broadcast_shows_its_faults_only_to_its_reader() {
    for payload in ["", "nonsense", "{} {}", "\u{0}"] {
        let frame = binary(format!("\u{4}\u{1}\u{1}\u{1}\u{1}te{{{payload}").as_bytes());
        let message = V2.decode_from_server(frame.clone()).unwrap();
        assert_eq!(message.payload.as_json(), Some(payload));
        assert!(message.payload.parse::<serde_json::Value>().is_err(), "{payload:?}");
        let metadata = message.user_event.as_ref().unwrap().metadata.as_ref().unwrap();
        assert!(metadata.parse::<serde_json::Value>().is_err());
        // A relay passes it on as it came.
        assert_eq!(V2.encode_from_server(&message), Ok(frame));
    }
    let not_utf8 = V2.decode_from_server(binary(b"\x04\x01\x01\x00\x01te\"\xff\"")).unwrap();
    assert_eq!(not_utf8.payload.as_bytes(), b"\"\xff\"");
    assert!(not_utf8.payload.parse::<serde_json::Value>().is_err());
}

#[test]
fn a_user_broadcast_under_vsn_1_is_an_object_around_its_payload() {
    let message = refs(Message::user_broadcast("t", UserEvent::new("e\""), json("[1 ]")), Some("1"), Some("2"));
    let inner = r#"{"event":"e\"","payload":[1 ],"type":"broadcast"}"#;
    let frame = format!(r#"{{"join_ref":"1","ref":"2","topic":"t","event":"broadcast","payload":{inner}}}"#);
    assert_eq!(V1.encode_from_client(&message), Ok(text(&frame)));
    let frame = format!(r#"{{"ref":"2","topic":"t","event":"broadcast","payload":{inner}}}"#);
    assert_eq!(V1.encode_from_server(&message), Ok(text(&frame)));

    let message = Message::user_broadcast("t", about(r#"{"id":1}"#), Payload::EMPTY);
    let inner = r#"{"event":"user-event","meta":{"id":1},"payload":{},"type":"broadcast"}"#;
    let frame = text(&format!(r#"{{"ref":null,"topic":"t","event":"broadcast","payload":{inner}}}"#));
    assert_eq!(V1.encode_from_server(&message).as_ref(), Ok(&frame));
    // Read back it is a text broadcast like any other.
    assert_eq!(V1.decode_from_server(frame), Ok(Message::new("t", "broadcast", json(inner))));
}

#[test]
fn metadata_must_be_json() {
    let mut event = UserEvent::new("e");
    event.metadata = Some(bytes(b"{}"));
    let message = Message::user_broadcast("t", event, Payload::EMPTY);
    for serializer in [V1, V2] {
        assert_eq!(serializer.encode_from_client(&message), Err(EncodeError::BinaryMetadata));
        assert_eq!(serializer.encode_from_server(&message), Err(EncodeError::BinaryMetadata));
    }
}

#[test]
fn more_than_five_elements_are_tolerated_and_fewer_refused() {
    let expected = Message::new("t", "e", json(r#"{"a":1}"#));
    for extra in [
        r#"[null,null,"t","e",{"a":1},1]"#,
        r#"[null,null,"t","e",{"a":1},null,"x"]"#,
        r#"[null, null, "t", "e", {"a":1}, {}]"#,
    ] {
        assert_eq!(V2.decode_from_server(text(extra)).as_ref(), Ok(&expected), "{extra}");
    }
    for few in ["[]", "[null]", r#"[null,null,"t"]"#, r#"[null,null,"t","e"]"#, r#"[null,null,"t",{}]"#] {
        let error = V2.decode_from_server(text(few)).unwrap_err();
        assert!(matches!(error, DecodeError::Shape { .. }), "{few}: {error:?}");
    }
}

#[test]
fn a_payload_of_null_or_none_is_an_empty_object() {
    let expected = Message::new("t", "e", Payload::EMPTY);
    assert_eq!(V2.decode_from_server(text(r#"[null,null,"t","e",null]"#)).as_ref(), Ok(&expected));
    assert_eq!(V2.decode_from_server(text(r#"[null,null,"t","e", null ]"#)).as_ref(), Ok(&expected));
    for object in [
        r#"{"topic":"t","event":"e"}"#,
        r#"{"topic":"t","event":"e","ref":null}"#,
        r#"{"topic":"t","event":"e","ref":null,"payload":null}"#,
        r#"{"payload":null,"join_ref":null,"topic":"t","event":"e"}"#,
    ] {
        assert_eq!(V1.decode_from_server(text(object)).as_ref(), Ok(&expected), "{object}");
    }
}

#[test]
fn any_json_may_be_a_payload() {
    for payload in ["0", "-1.5e3", "true", "false", r#""text""#, "[]", "[[1],{}]", r#"{"a":"]}\""}"#, r#""\"]""#] {
        let expected = Message::new("t", "e", json(payload));
        let array = text(&format!(r#"[null,null,"t","e",{payload}]"#));
        assert_eq!(V2.decode_from_server(array).as_ref(), Ok(&expected));
        for object in [
            format!(r#"{{"ref":null,"topic":"t","event":"e","payload":{payload}}}"#),
            format!(r#"{{"event":"e","payload":{payload},"ref":null,"topic":"t"}}"#),
        ] {
            assert_eq!(V1.decode_from_server(text(&object)).as_ref(), Ok(&expected), "{object}");
        }
    }
}

#[test]
fn unknown_members_are_ignored_and_known_ones_may_not_come_twice() {
    let expected = Message::new("t", "e", json(r#"{"a":1}"#));
    for object in [
        r#"{"ref":null,"new":[1,{}],"topic":"t","event":"e","payload":{"a":1}}"#,
        r#"{"ref":null,"topic":"t","event":"e","payload":{"a":1},"new":"x"}"#,
    ] {
        assert_eq!(V1.decode_from_server(text(object)).as_ref(), Ok(&expected), "{object}");
    }
    for twice in [
        r#"{"ref":null,"topic":"t","topic":"t","event":"e","payload":{}}"#,
        r#"{"ref":null,"ref":null,"topic":"t","event":"e","payload":{}}"#,
    ] {
        assert!(V1.decode_from_server(text(twice)).is_err(), "{twice}");
    }
}

#[test]
fn what_is_no_message_is_told_by_kind() {
    for (serializer, open) in [(V1, "{"), (V2, "[")] {
        for broken in ["", open, "nonsense", "[}", "{]", "\u{feff}[]"] {
            let error = serializer.decode_from_server(text(broken)).unwrap_err();
            let other_shape = !broken.starts_with(open) && broken.starts_with(['[', '{']);
            assert!(matches!(error, DecodeError::Syntax { .. }) || other_shape, "{broken:?}: {error:?}");
        }
    }
    for shape in
        ["1", r#""x""#, "{}", "null", r#"[1,2,3,4,5]"#, r#"[null,null,null,"e",{}]"#, r#"[{},null,"t","e",{}]"#]
    {
        let error = V2.decode_from_server(text(shape)).unwrap_err();
        assert!(matches!(error, DecodeError::Shape { .. }), "{shape:?}: {error:?}");
    }
    for shape in
        ["1", "null", "[1]", r#"{"topic":"t"}"#, r#"{"topic":1,"event":"e"}"#, r#"{"topic":"t","event":"e","ref":[]}"#]
    {
        let error = V1.decode_from_server(text(shape)).unwrap_err();
        assert!(matches!(error, DecodeError::Shape { .. }), "{shape:?}: {error:?}");
    }
    // No error repeats the frame, which may carry a token.
    let error = V2.decode_from_server(text(r#"[secret"#)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[test]
fn a_nesting_bomb_is_routed_and_fails_only_where_it_is_parsed() {
    const DEPTH: usize = 200_000;
    let arrays = "[".repeat(DEPTH) + &"]".repeat(DEPTH);
    let objects = r#"{"a":"#.repeat(DEPTH) + "1" + &"}".repeat(DEPTH);
    for bomb in [arrays, objects] {
        for (serializer, frame) in [
            (V2, format!(r#"[null,null,"t","e",{bomb}]"#)),
            (V2, format!(r#"[null, null,"t","e",{bomb}]"#)),
            (V1, format!(r#"{{"ref":null,"topic":"t","event":"e","payload":{bomb}}}"#)),
            (V1, format!(r#"{{"payload":{bomb},"ref":null,"topic":"t","event":"e"}}"#)),
        ] {
            let message = serializer.decode_from_server(text(&frame)).unwrap();
            assert_eq!((&message.topic, &message.event), (&Text::from("t"), &Text::from("e")));
            assert_eq!(message.payload.as_json(), Some(bomb.as_str()));
            let parsed = message.payload.parse::<serde_json::Value>();
            assert!(matches!(parsed, Err(PayloadError::Json(_))));
        }
    }
}

#[test]
fn refs_are_written_as_u64_and_echoed_as_they_came() {
    for number in [0, 1, 9, 10, 4_294_967_296, 9_007_199_254_740_993, u64::MAX] {
        let reference = Ref::from(number);
        assert_eq!((reference.as_str(), reference.is_number()), (number.to_string().as_str(), false));
        assert_eq!(reference.to_string(), number.to_string());
    }
    for frame in [
        r#"["7",8,"t","e",{}]"#,
        r#"[9007199254740993,18446744073709551616,"t","e",{}]"#,
        r#"[-1.50e+3,"008","t","e",{}]"#,
        r#"["","\"","t","e",{}]"#,
    ] {
        let message = V2.decode_from_client(text(frame)).unwrap();
        assert_eq!(V2.encode_from_server(&message).unwrap(), text(frame));
    }
}

/// Only our own decimal text names a join; anything that merely resembles it is a stranger's.
#[test]
fn a_reply_is_ours_only_if_its_ref_reads_as_we_wrote_it() {
    let answered_with = |reference: &str| {
        let now = Timestamp::ZERO;
        let mut session = Session::new(Config::new("ws://localhost/socket").unwrap(), now);
        session.connect(now);
        let channel = session.join(now, "t", JoinOptions::default()).unwrap();
        let Some(TransportAction::Open(request)) = session.poll_transport() else { panic!("it dials") };
        session.handle_transport(now, TransportEvent::Opened { conn: request.conn });
        let Some(TransportAction::Send { conn, frame }) = session.poll_transport() else { panic!("it joins") };
        assert_eq!(frame, text(r#"["1","1","t","phx_join",{}]"#));
        let reply = format!(r#"["1",{reference},"t","phx_reply",{{"status":"ok","response":{{}}}}]"#);
        receive(&mut session, conn, &reply);
        session.channel_state(channel) == Some(ChannelState::Joined)
    };
    for ours in [r#""1""#, "1"] {
        assert!(answered_with(ours), "{ours}");
    }
    let two_to_64_plus_1 = r#""18446744073709551617""#;
    for strange in [
        "null",
        r#""""#,
        r#""01""#,
        r#""+1""#,
        r#""-1""#,
        r#"" 1""#,
        r#""1.0""#,
        "1.0",
        "1e0",
        r#""١""#,
        two_to_64_plus_1,
    ] {
        assert!(!answered_with(strange), "{strange}");
    }
}

fn receive(session: &mut Session, conn: ConnId, frame: &str) {
    session.handle_transport(Timestamp::ZERO, TransportEvent::Received { conn, frame: text(frame) });
}
