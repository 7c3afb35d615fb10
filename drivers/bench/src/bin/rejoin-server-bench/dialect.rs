//! What is said to each server, and what its answers mean.

/// A protocol with rooms.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dialect {
    /// Phoenix channels, vsn 1.0.0.
    PhoenixV1,
    /// Phoenix channels, vsn 2.0.0.
    PhoenixV2,
    /// Socket.IO 5 over a WebSocket of Engine.IO 4.
    SocketIo,
}

/// What a server's text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A message of somebody in the room.
    Message,
    /// The answer to a join or to a message.
    Answer,
    /// A refusal.
    Refused,
    /// Engine.IO is there.
    Opened,
    /// The namespace is there.
    Connected,
    /// To be answered.
    Ping,
    Other,
}

/// What is next on the way into the room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Say(&'static str),
    Wait,
    Joined,
}

/// A message is recognised near its beginning, however large it is.
const BEGINNING: usize = 96;

impl Dialect {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::PhoenixV1 => "/socket/websocket",
            Self::PhoenixV2 => "/socket/websocket?vsn=2.0.0",
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket",
        }
    }

    pub(crate) fn hear(self, text: &[u8]) -> Heard {
        match self {
            Self::PhoenixV1 | Self::PhoenixV2 => {
                let beginning = &text[..text.len().min(BEGINNING)];
                let says = |word: &[u8]| beginning.windows(word.len()).any(|window| window == word);
                if says(b"\"shout\"") {
                    Heard::Message
                } else if says(b"\"phx_reply\"") {
                    if says(b"\"ok\"") { Heard::Answer } else { Heard::Refused }
                } else {
                    Heard::Other
                }
            }
            Self::SocketIo => match text {
                [b'4', b'2', ..] => Heard::Message,
                [b'4', b'3', ..] => Heard::Answer,
                [b'4', b'4', ..] => Heard::Refused,
                [b'4', b'0', ..] => Heard::Connected,
                [b'0', ..] => Heard::Opened,
                [b'2'] => Heard::Ping,
                _ => Heard::Other,
            },
        }
    }

    /// The way into the room, beginning with `None`: the WebSocket is open.
    pub(crate) const fn next(self, heard: Option<Heard>) -> Next {
        match (self, heard) {
            (_, Some(Heard::Answer)) => Next::Joined,
            (Self::PhoenixV1, None) => {
                Next::Say(r#"{"join_ref":"1","ref":"1","topic":"bench","event":"phx_join","payload":{}}"#)
            }
            (Self::PhoenixV2, None) => Next::Say(r#"["1","1","bench","phx_join",{}]"#),
            (Self::SocketIo, Some(Heard::Opened)) => Next::Say("40"),
            (Self::SocketIo, Some(Heard::Connected)) => Next::Say(r#"420["join"]"#),
            _ => Next::Wait,
        }
    }

    /// A message to the room, to be answered, with a payload of so many bytes.
    pub(crate) fn shout(self, size: usize) -> String {
        let pad = "x".repeat(size.saturating_sub(r#"{"d":""}"#.len()));
        let payload = format!(r#"{{"d":"{pad}"}}"#);
        match self {
            Self::PhoenixV1 => {
                format!(r#"{{"join_ref":"1","ref":"2","topic":"bench","event":"shout","payload":{payload}}}"#)
            }
            Self::PhoenixV2 => format!(r#"["1","2","bench","shout",{payload}]"#),
            Self::SocketIo => format!(r#"421["shout",{payload}]"#),
        }
    }

    /// What a client says that has nothing to say; a Socket.IO server asks instead.
    pub(crate) const fn heartbeat(self) -> Option<&'static str> {
        match self {
            Self::PhoenixV1 => {
                Some(r#"{"join_ref":null,"ref":"3","topic":"phoenix","event":"heartbeat","payload":{}}"#)
            }
            Self::PhoenixV2 => Some(r#"[null,"3","phoenix","heartbeat",{}]"#),
            Self::SocketIo => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_answers_are_told_apart_in_every_dialect() {
        for (dialect, text, heard) in [
            (Dialect::PhoenixV2, r#"[null,null,"bench","shout",{"d":"phx_reply"}]"#, Heard::Message),
            (Dialect::PhoenixV2, r#"["1","2","bench","phx_reply",{"status":"ok","response":{}}]"#, Heard::Answer),
            (Dialect::PhoenixV2, r#"["1","2","bench","phx_reply",{"status":"error"}]"#, Heard::Refused),
            (Dialect::PhoenixV1, r#"{"topic":"bench","event":"shout","payload":{},"ref":null}"#, Heard::Message),
            (Dialect::SocketIo, r#"42["shout",{"d":""}]"#, Heard::Message),
            (Dialect::SocketIo, "430[]", Heard::Answer),
            (Dialect::SocketIo, "2", Heard::Ping),
        ] {
            assert_eq!(dialect.hear(text.as_bytes()), heard, "{text}");
        }
    }

    #[test]
    fn a_payload_has_the_size_that_was_asked_for() {
        for dialect in [Dialect::PhoenixV1, Dialect::PhoenixV2, Dialect::SocketIo] {
            let difference = dialect.shout(1024).len() - dialect.shout(64).len();
            assert_eq!(difference, 960);
        }
        assert!(Dialect::SocketIo.shout(64).ends_with(&format!(r#",{{"d":"{}"}}]"#, "x".repeat(56))));
    }
}
