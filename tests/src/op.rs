//! What a storm does to the world: operations on the client, on the server and on the network.

use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{Frame, Payload, Text};
use serde::{Deserialize, Serialize};

use crate::app::Policy;
use crate::rng::Rng;
use crate::weather::Dial;

/// One operation. Any of them is allowed at any time; many are refused or do nothing, and that is
/// part of what is tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Client: `connect`.
    Connect,
    /// Client: `disconnect`.
    Disconnect,
    /// Client: `reconnect`.
    Reconnect,
    /// Client: `probe`.
    Probe,
    /// Client: `close`.
    Close,
    /// Client: `join`.
    Join {
        /// What to join.
        topic: Topic,
    },
    /// Client: `set_join_payload`.
    JoinPayload {
        /// Whose payload.
        topic: Topic,
        /// What it says from now on.
        n: u16,
    },
    /// Client: `leave`.
    Leave {
        /// What to leave.
        topic: Topic,
    },
    /// Client: `push`.
    Push {
        /// Where.
        topic: Topic,
        /// What the server shall make of it.
        event: PushEvent,
        /// Whether a reply is wanted.
        reply: bool,
        /// Whether the payload is bytes.
        binary: bool,
        /// A timeout of its own.
        timeout_ms: Option<u16>,
    },
    /// Client: `cancel` the push accepted `back` pushes ago.
    Cancel {
        /// How far back.
        back: u8,
    },
    /// Client: a `handle_timeout` that nobody asked for, with a time `early_ms` in the past.
    Tick {
        /// How far in the past.
        early_ms: u16,
    },
    /// Server: what happens to joins of a topic from now on.
    Policy {
        /// Which topic.
        topic: Topic,
        /// What happens.
        policy: Policy,
    },
    /// Server: a message to the topic's channel.
    Broadcast {
        /// Where.
        topic: Topic,
        /// Whether the payload is bytes.
        binary: bool,
    },
    /// Server: the topic's channel crashes.
    Crash {
        /// Which.
        topic: Topic,
    },
    /// Server: the topic's channel ends gracefully.
    End {
        /// Which.
        topic: Topic,
    },
    /// Server: closes the socket.
    Kick {
        /// The close code.
        code: u16,
    },
    /// Network: how long everything takes from now on.
    Latency {
        /// One way.
        ms: u16,
    },
    /// Network: what happens to attempts to connect from now on.
    Dialling {
        /// What.
        dial: Dial,
    },
    /// Network: the open connection holds back whatever travels on it.
    Stall,
    /// Network: what was held back travels on.
    Resume,
    /// Network: both ends are told that the connection is over, after the first `keep` messages that
    /// were travelling.
    Cut {
        /// How many still arrive.
        keep: u8,
    },
    /// Network: the connection is over and nobody is told.
    Vanish,
    /// Network: a late word about the connection opened `back` connections ago.
    LateWord {
        /// How far back; 0 is the present one, for which this does nothing.
        back: u8,
        /// What is said.
        word: Word,
    },
    /// The client's transport takes nothing for a while.
    Plug {
        /// How long.
        ms: u16,
    },
    /// Nobody reads the client's events for a while.
    Unread {
        /// How long.
        ms: u16,
    },
    /// Hostile weather: a frame that nobody sent arrives.
    Nonsense {
        /// At the client, or else at the server.
        to_client: bool,
        /// The frame.
        scrap: Scrap,
    },
}

/// An operation and when it is applied, counted from the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Timed {
    /// Milliseconds after the operation before.
    pub after_ms: u16,
    /// The operation.
    pub op: Op,
}

/// One of a few topics, written `room:0`, `room:1` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic(pub u8);

impl Topic {
    /// How many there are.
    pub const COUNT: u8 = 6;

    /// The topic's name.
    #[must_use]
    pub fn name(self) -> String {
        format!("room:{}", self.0 % Self::COUNT)
    }
}

impl Serialize for Topic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let number = name.strip_prefix("room:").and_then(|n| n.parse().ok());
        number.map(Topic).ok_or_else(|| serde::de::Error::custom("a topic is room:NUMBER"))
    }
}

#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for Topic {
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self(u.int_in_range(0..=Self::COUNT - 1)?))
    }
}

/// What the server's host app makes of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum PushEvent {
    /// Replies `ok` with the payload.
    Echo,
    /// Replies `error` with the payload.
    Fail,
    /// Replies with a status of its own.
    Odd,
    /// Replies nothing.
    Noreply,
    /// Sends the payload back as a message, then replies `ok`.
    Shout,
    /// The channel crashes.
    Crash,
    /// The channel ends.
    Stop,
}

impl PushEvent {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Fail => "fail",
            Self::Odd => "odd",
            Self::Noreply => "noreply",
            Self::Shout => "shout",
            Self::Crash => "crash",
            Self::Stop => "stop",
        }
    }
}

/// What a late word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It opened after all.
    Opened,
    /// It could not be opened.
    OpenFailed,
    /// It closed.
    Closed,
    /// A message arrived on it.
    Message,
}

/// A frame that nobody sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum Scrap {
    /// Any bytes, as a binary frame.
    Binary(Vec<u8>),
    /// Any bytes, as a text frame, UTF-8 or not.
    Text(Vec<u8>),
    /// A well-formed message about a topic with any refs.
    Message {
        /// The topic.
        topic: Topic,
        /// Which event: see [`Scrap::event`].
        event: u8,
        /// The join_ref, if any.
        join_ref: Option<u8>,
        /// The ref, if any.
        reference: Option<u8>,
        /// Whether a reply says `ok`.
        ok: bool,
    },
}

impl Scrap {
    /// The event of a message's number.
    #[must_use]
    pub const fn event(number: u8) -> &'static str {
        match number % 8 {
            0 => "phx_reply",
            1 => "phx_close",
            2 => "phx_error",
            3 => "phx_join",
            4 => "phx_leave",
            5 => "heartbeat",
            6 => "phx_unheard_of",
            _ => "echo",
        }
    }
}

impl Op {
    /// Who it is done to, as traces say it.
    #[must_use]
    pub const fn side(&self) -> &'static str {
        match self {
            Self::Policy { .. }
            | Self::Broadcast { .. }
            | Self::Crash { .. }
            | Self::End { .. }
            | Self::Kick { .. } => "server",
            Self::Latency { .. }
            | Self::Dialling { .. }
            | Self::Stall
            | Self::Resume
            | Self::Cut { .. }
            | Self::Vanish
            | Self::LateWord { .. }
            | Self::Nonsense { .. } => "network",
            _ => "client",
        }
    }

    /// Any operation, the interesting ones more often.
    pub fn random(rng: &mut Rng) -> Self {
        let topic = Topic(rng.below(Topic::COUNT.into()) as u8);
        match rng.below(100) {
            0..8 => Self::Connect,
            // Nothing much can happen after a close, so it is rare.
            8 if rng.chance(100) => Self::Close,
            8..10 => Self::Disconnect,
            10..12 => Self::Reconnect,
            12..14 => Self::Probe,
            14..30 => Self::Join { topic },
            30..32 => Self::JoinPayload { topic, n: rng.number() as u16 },
            32..37 => Self::Leave { topic },
            37..60 => Self::random_push(rng, topic),
            60..63 => Self::Cancel { back: rng.below(8) as u8 },
            63..65 => Self::Tick { early_ms: rng.below(2000) as u16 },
            65..69 => Self::Policy { topic, policy: Policy::random(rng) },
            69..76 => Self::Broadcast { topic, binary: rng.chance(250) },
            76..78 => Self::Crash { topic },
            78..79 => Self::End { topic },
            79..80 => Self::Kick { code: rng.pick(&[1000, 1001, 1011, 1012, 4000]) },
            80..82 => Self::Latency { ms: rng.pick(&[0, 1, 20, 300, 3000]) },
            82..85 => Self::Dialling { dial: Dial::random(rng) },
            85..87 => Self::Stall,
            87..90 => Self::Resume,
            90..92 => Self::Cut { keep: rng.below(4) as u8 },
            92..93 => Self::Vanish,
            93..95 => {
                let word = rng.pick(&[Word::Opened, Word::OpenFailed, Word::Closed, Word::Message]);
                Self::LateWord { back: rng.below(4) as u8, word }
            }
            95..96 => Self::Plug { ms: rng.below(20_000) as u16 },
            96..97 => Self::Unread { ms: rng.below(20_000) as u16 },
            _ => Self::Nonsense { to_client: rng.chance(700), scrap: Scrap::random(rng) },
        }
    }

    fn random_push(rng: &mut Rng, topic: Topic) -> Self {
        use PushEvent::{Crash, Echo, Fail, Noreply, Odd, Shout, Stop};
        let event = rng.pick(&[Echo, Echo, Echo, Echo, Echo, Shout, Shout, Fail, Odd, Noreply, Crash, Stop]);
        Self::Push {
            topic,
            event,
            reply: rng.chance(700),
            binary: rng.chance(200),
            timeout_ms: rng.chance(200).then(|| rng.below(3000) as u16),
        }
    }
}

impl Scrap {
    /// The frame, from the server or from the client.
    #[must_use]
    pub fn frame(&self, serializer: Serializer, to_client: bool) -> Frame {
        let (topic, event, join_ref, reference, ok) = match self {
            Self::Binary(bytes) => return Frame::Binary(bytes.clone().into()),
            Self::Text(bytes) => return Frame::Text(Text::assume_utf8(bytes.clone().into())),
            Self::Message { topic, event, join_ref, reference, ok } => (topic, event, join_ref, reference, ok),
        };
        let topic = if *event % 16 == 5 { "phoenix".into() } else { topic.name() };
        let message = match (Self::event(*event), ok) {
            ("phx_reply", true) => Message::reply(topic, "ok", &Payload::EMPTY),
            ("phx_reply", false) => Message::reply(topic, "error", &Payload::EMPTY),
            (event, _) => Message::new(topic, event, Payload::EMPTY),
        };
        let message = message.with_refs(join_ref.map(|r| u64::from(r).into()), reference.map(|r| u64::from(r).into()));
        let frame =
            if to_client { serializer.encode_from_server(&message) } else { serializer.encode_from_client(&message) };
        frame.unwrap_or_else(|_| Frame::Text(Text::EMPTY))
    }

    /// Any frame.
    pub fn random(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 => Self::Binary(rng.bytes(24)),
            1 => Self::Text(rng.bytes(24)),
            _ => Self::Message {
                topic: Topic(rng.below(Topic::COUNT.into()) as u8),
                event: rng.number() as u8,
                join_ref: rng.chance(700).then(|| rng.below(40) as u8),
                reference: rng.chance(700).then(|| rng.below(40) as u8),
                ok: rng.chance(600),
            },
        }
    }
}

impl Timed {
    /// Any operation after any time, mostly a short one.
    pub fn random(rng: &mut Rng) -> Self {
        let after_ms = match rng.below(20) {
            0..8 => 0,
            8..15 => rng.below(200),
            15..19 => rng.below(5_000),
            _ => rng.below(60_000),
        } as u16;
        Self { after_ms, op: Op::random(rng) }
    }
}
