//! What no table of examples can show of the wire: any message survives its frame, the hand scan
//! and the JSON parser agree, and no bytes make decoding panic.

use proptest::prelude::*;
use proptest::sample::Index;
use rejoin_core::wire::{DecodeError, EncodeError, Message, Ref, Serializer, UserEvent};
use rejoin_core::{Frame, Payload, Text};
use serde_json::Value;

const SERIALIZERS: [Serializer; 2] = [Serializer::V1, Serializer::V2];

#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    Client,
    Server,
}

const SIDES: [From; 2] = [From::Client, From::Server];

fn decode(serializer: Serializer, from: From, frame: Frame) -> Result<Message, DecodeError> {
    match from {
        From::Client => serializer.decode_from_client(frame),
        From::Server => serializer.decode_from_server(frame),
    }
}

fn encode(serializer: Serializer, from: From, message: &Message) -> Result<Frame, EncodeError> {
    match from {
        From::Client => serializer.encode_from_client(message),
        From::Server => serializer.encode_from_server(message),
    }
}

fn text_frame(text: &str) -> Frame {
    Frame::Text(text.into())
}

/// Plain names, and everything that needs an escape or more than one byte.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z:_*]{0,16}",
        2 => proptest::collection::vec(prop_oneof![any::<char>(), proptest::char::range('\0', '\u{7f}')], 0..12)
            .prop_map(|chars| chars.into_iter().collect::<String>()),
        1 => Just("café-🎉\u{2028}\"\\/\n".to_owned()),
    ]
}

/// A name that fits the one length byte of a binary header.
fn short(name: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    name.prop_filter("over 255 bytes", |name| name.len() <= 255)
}

fn text_ref() -> impl Strategy<Value = Option<Ref>> {
    prop_oneof![
        Just(None),
        any::<u64>().prop_map(|number| Some(Ref::from(number))),
        name().prop_map(|text| Some(Ref::from(text.as_str()))),
    ]
}

/// A binary header cannot tell an empty ref from none.
fn binary_ref() -> impl Strategy<Value = Option<Ref>> {
    text_ref().prop_filter("empty", |r| r.as_ref().is_none_or(|r| !r.as_str().is_empty()))
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        name().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((name(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Everything but `null`, which stands for `{}`.
fn json_payload() -> impl Strategy<Value = Payload> {
    json().prop_filter("null", |value| !value.is_null()).prop_map(|value| Payload::json(&value).unwrap())
}

fn binary_payload() -> impl Strategy<Value = Payload> {
    proptest::collection::vec(any::<u8>(), 0..64).prop_map(|bytes| Payload::binary(bytes.into()))
}

prop_compose! {
    fn text_message()(
        refs in (text_ref(), text_ref()), topic in name(), event in name(), payload in json_payload(),
    ) -> Message {
        Message::new(topic.as_str(), event.as_str(), payload).with_refs(refs.0, refs.1)
    }
}

prop_compose! {
    fn binary_message()(
        refs in (binary_ref(), binary_ref()), topic in short(name()), event in short(name()),
        payload in binary_payload(),
    ) -> Message {
        Message::new(topic.as_str(), event.as_str(), payload).with_refs(refs.0, refs.1)
    }
}

prop_compose! {
    fn user_broadcast()(
        refs in (binary_ref(), binary_ref()), topic in short(name()), event in short(name()),
        metadata in proptest::option::of(json_payload().prop_filter("over 255 bytes", |json| json.len() <= 255)),
        payload in prop_oneof![json().prop_map(|value| Payload::json(&value).unwrap()), binary_payload()],
    ) -> Message {
        let mut user_event = UserEvent::new(event.as_str());
        user_event.metadata = metadata;
        Message::user_broadcast(topic.as_str(), user_event, payload).with_refs(refs.0, refs.1)
    }
}

/// A string as JSON: as serde writes it, or with every UTF-16 unit escaped.
fn quote(text: &str, escape_all: bool) -> String {
    if escape_all {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        format!("\"{units}\"")
    } else {
        serde_json::to_string(text).unwrap()
    }
}

/// A ref as it stands in a frame, and what it must be read as: text and whether it is a number.
type WrittenRef = (String, Option<(String, bool)>);

fn written_ref() -> impl Strategy<Value = WrittenRef> {
    prop_oneof![
        Just(("null".to_owned(), None)),
        (name(), any::<bool>()).prop_map(|(text, escape)| (quote(&text, escape), Some((text, false)))),
        any::<i64>().prop_map(|number| (number.to_string(), Some((number.to_string(), true)))),
        any::<u64>().prop_map(|number| (number.to_string(), Some((number.to_string(), true)))),
        Just(("1.50e+3".to_owned(), Some(("1.50e+3".to_owned(), true)))),
    ]
}

fn read_ref(reference: Option<&Ref>) -> Option<(String, bool)> {
    reference.map(|r| (r.as_str().to_owned(), r.is_number()))
}

/// White space for every gap of a frame.
fn gaps() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[ \t\r\n]{0,3}", 32)
}

fn with_gaps(tokens: &[String], gaps: &[String]) -> String {
    let spaced = tokens.iter().zip(gaps.iter().cycle()).map(|(token, gap)| format!("{gap}{token}"));
    spaced.chain(gaps.first().cloned()).collect()
}

/// The five fields as JSON and what must come out.
#[derive(Clone, Debug)]
struct Fields {
    join_ref: WrittenRef,
    reference: WrittenRef,
    topic: (String, bool),
    event: (String, bool),
    payload: Payload,
}

prop_compose! {
    fn fields()(
        join_ref in written_ref(), reference in written_ref(),
        topic in (name(), any::<bool>()), event in (name(), any::<bool>()), payload in json_payload(),
    ) -> Fields {
        Fields { join_ref, reference, topic, event, payload }
    }
}

impl Fields {
    fn v2(&self) -> Vec<String> {
        let (topic, event) = (quote(&self.topic.0, self.topic.1), quote(&self.event.0, self.event.1));
        let payload = self.payload.as_json().unwrap();
        ["[", &self.join_ref.0, ",", &self.reference.0, ",", &topic, ",", &event, ",", payload, "]"]
            .map(str::to_owned)
            .into()
    }

    /// The fields in the order of `order`; a null join_ref may as well be left out.
    fn v1(&self, order: &[usize], omit_null: bool) -> Vec<String> {
        let members = [
            ("join_ref", self.join_ref.0.clone()),
            ("ref", self.reference.0.clone()),
            ("topic", quote(&self.topic.0, self.topic.1)),
            ("event", quote(&self.event.0, self.event.1)),
            ("payload", self.payload.as_json().unwrap().to_owned()),
        ];
        let mut tokens = vec!["{".to_owned()];
        for (key, value) in order.iter().map(|i| &members[*i]) {
            if !(omit_null && *key == "join_ref" && value == "null") {
                tokens.extend([format!("\"{key}\""), ":".to_owned(), value.clone(), ",".to_owned()]);
            }
        }
        tokens.pop();
        tokens.push("}".to_owned());
        tokens
    }

    fn check(&self, message: &Message) -> Result<(), TestCaseError> {
        prop_assert_eq!(read_ref(message.join_ref.as_ref()), self.join_ref.1.clone());
        prop_assert_eq!(read_ref(message.reference.as_ref()), self.reference.1.clone());
        prop_assert_eq!(&message.topic, self.topic.0.as_str());
        prop_assert_eq!(&message.event, self.event.0.as_str());
        prop_assert_eq!(message.payload.as_json(), self.payload.as_json());
        prop_assert_eq!(&message.status, &None);
        Ok(())
    }
}

/// What decoding must never do is panic, nor may looking at the result.
fn exercise(serializer: Serializer, from: From, frame: Frame) -> Result<(), TestCaseError> {
    let message = match decode(serializer, from, frame) {
        Ok(message) => message,
        Err(error) => {
            prop_assert!(!error.to_string().is_empty());
            return Ok(());
        }
    };
    let _ = (format!("{message:?}"), message.as_reply(), message.payload.parse::<Value>().is_ok());
    // Whatever was let in can be passed on and is still the same: a relay changes nothing.
    let mut expected = message.clone();
    if serializer == Serializer::V1 && from == From::Server {
        expected.join_ref = None;
    }
    let again = encode(serializer, from, &message).expect("what came out of a frame fits one");
    prop_assert_eq!(decode(serializer, from, again), Ok(expected));
    Ok(())
}

fn exercise_all(bytes: &[u8]) -> Result<(), TestCaseError> {
    for serializer in SERIALIZERS {
        for from in SIDES {
            exercise(serializer, from, Frame::Text(Text::assume_utf8(bytes.to_vec().into())))?;
            exercise(serializer, from, Frame::Binary(bytes.to_vec().into()))?;
        }
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Truncate(Index),
    Repeat(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = prop_oneof![any::<u8>(), proptest::sample::select(&b"[]{}\",:\\ nu01-"[..])];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), byte).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        any::<Index>().prop_map(Mutation::Remove),
        any::<Index>().prop_map(Mutation::Truncate),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match mutation {
        Mutation::Set(at, byte) => bytes[at.index(len)] = *byte,
        Mutation::Insert(at, byte) => bytes.insert(at.index(len), *byte),
        Mutation::Remove(at) => drop(bytes.remove(at.index(len))),
        Mutation::Truncate(at) => bytes.truncate(at.index(len)),
        Mutation::Repeat(from, to) => {
            let (from, to) = (from.index(len), to.index(len));
            bytes.extend_from_within(from.min(to)..from.max(to));
        }
    }
}

proptest! {
    #[test]
    fn any_text_message_survives_its_frame(message in text_message()) {
        for serializer in SERIALIZERS {
            for from in SIDES {
                let mut expected = message.clone();
                // vsn 1.0.0 servers send no join_ref.
                if serializer == Serializer::V1 && from == From::Server {
                    expected.join_ref = None;
                }
                let frame = encode(serializer, from, &message).unwrap();
                prop_assert!(serde_json::from_slice::<Value>(frame.as_bytes()).is_ok());
                prop_assert_eq!(decode(serializer, from, frame), Ok(expected));
            }
        }
    }

    #[test]
    fn any_binary_push_survives_its_frame(message in binary_message()) {
        let frame = encode(Serializer::V2, From::Client, &message).unwrap();
        prop_assert_eq!(frame.as_bytes()[0], 0);
        prop_assert_eq!(decode(Serializer::V2, From::Client, frame), Ok(message.clone()));

        // On its way back a push has no ref, and one without a join_ref is a broadcast.
        let message = message.clone().with_refs(message.join_ref, None);
        let frame = encode(Serializer::V2, From::Server, &message).unwrap();
        prop_assert_eq!(frame.as_bytes()[0], if message.join_ref.is_some() { 0 } else { 2 });
        prop_assert_eq!(decode(Serializer::V2, From::Server, frame), Ok(message));
    }

    #[test]
    fn any_binary_reply_survives_its_frame(message in binary_message(), status in short(name())) {
        let reply = Message::reply(message.topic, status.as_str(), &message.payload)
            .with_refs(message.join_ref, message.reference);
        let frame = encode(Serializer::V2, From::Server, &reply).unwrap();
        prop_assert_eq!(frame.as_bytes()[0], 1);
        let back = decode(Serializer::V2, From::Server, frame).unwrap();
        prop_assert_eq!(&back, &reply);
        let read = back.as_reply().unwrap();
        prop_assert_eq!((read.status, read.response), (Text::from(status), message.payload));
    }

    #[test]
    fn any_user_broadcast_survives_its_frame(message in user_broadcast()) {
        let frame = encode(Serializer::V2, From::Client, &message).unwrap();
        prop_assert_eq!(frame.as_bytes()[0], 3);
        prop_assert_eq!(decode(Serializer::V2, From::Client, frame), Ok(message.clone()));

        // On its way back it has no refs.
        let message = message.with_refs(None, None);
        let frame = encode(Serializer::V2, From::Server, &message).unwrap();
        prop_assert_eq!(frame.as_bytes()[0], 4);
        prop_assert_eq!(decode(Serializer::V2, From::Server, frame), Ok(message));
    }

    #[test]
    fn a_user_broadcast_under_vsn_1_says_the_same_in_json(message in user_broadcast()) {
        for from in SIDES {
            let encoded = encode(Serializer::V1, from, &message);
            if message.payload.is_binary() {
                prop_assert_eq!(encoded, Err(EncodeError::BinaryNeedsV2));
                continue;
            }
            let text = decode(Serializer::V1, from, encoded.unwrap()).unwrap();
            prop_assert_eq!((&text.topic, &text.event, &text.user_event), (&message.topic, &message.event, &None));
            let user = message.user_event.as_ref().unwrap();
            let mut expected = serde_json::json!({
                "event": user.event.as_str(), "payload": message.payload.parse::<Value>().unwrap(), "type": "broadcast",
            });
            if let Some(metadata) = &user.metadata {
                expected["meta"] = metadata.parse().unwrap();
            }
            prop_assert_eq!(text.payload.parse::<Value>().unwrap(), expected);
        }
    }

    #[test]
    fn any_text_reply_can_be_read(status in name(), response in json()) {
        let response = Payload::json(&response).unwrap();
        let message = Message::reply("t", status.as_str(), &response).with_refs(Some(1.into()), Some(2.into()));
        for serializer in SERIALIZERS {
            let frame = encode(serializer, From::Server, &message).unwrap();
            let reply = decode(serializer, From::Server, frame).unwrap().as_reply().unwrap();
            prop_assert_eq!((&reply.status, &reply.response), (&Text::from(status.as_str()), &response));
        }
    }

    #[test]
    fn white_space_changes_nothing_in_an_array(fields in fields(), gaps in gaps()) {
        let tokens = fields.v2();
        for frame in [tokens.concat(), with_gaps(&tokens, &gaps)] {
            for from in SIDES {
                fields.check(&decode(Serializer::V2, from, text_frame(&frame)).unwrap())?;
            }
        }
    }

    #[test]
    fn neither_white_space_nor_order_changes_anything_in_an_object(
        fields in fields(), gaps in gaps(), omit in any::<bool>(),
        order in Just(vec![0, 1, 2, 3, 4]).prop_shuffle(),
    ) {
        let tokens = fields.v1(&order, omit);
        for frame in [tokens.concat(), with_gaps(&tokens, &gaps)] {
            for from in SIDES {
                fields.check(&decode(Serializer::V1, from, text_frame(&frame)).unwrap())?;
            }
        }
    }

    #[test]
    fn random_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        exercise_all(&bytes)?;
    }

    #[test]
    fn random_binary_frames_are_survived(
        kind in 0u8..6, lengths in proptest::collection::vec(0u8..6, 6),
        rest in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        exercise_all(&[&[kind][..], &lengths, &rest].concat())?;
    }

    #[test]
    fn mutated_frames_are_survived(
        fields in fields(), message in binary_message(), broadcast in user_broadcast(), order in Just(vec![0, 1, 2, 3, 4]).prop_shuffle(),
        mutations in proptest::collection::vec(mutation(), 1..6),
    ) {
        let mut reply = Message::reply(message.topic.clone(), "ok", &message.payload);
        reply.join_ref = message.join_ref.clone();
        let frames = [
            fields.v2().concat().into_bytes(),
            fields.v1(&order, true).concat().into_bytes(),
            encode(Serializer::V2, From::Client, &message).unwrap().as_bytes().to_vec(),
            encode(Serializer::V2, From::Server, &message).unwrap().as_bytes().to_vec(),
            encode(Serializer::V2, From::Server, &reply).unwrap().as_bytes().to_vec(),
            encode(Serializer::V2, From::Client, &broadcast).unwrap().as_bytes().to_vec(),
            encode(Serializer::V2, From::Server, &broadcast).unwrap().as_bytes().to_vec(),
        ];
        for mut frame in frames {
            for mutation in &mutations {
                mutate(&mut frame, mutation);
                exercise_all(&frame)?;
            }
        }
    }
}
