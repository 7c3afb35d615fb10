//! What a server tells whoever runs it.

use std::fmt;

use rejoin_core::phoenix::{EndReason, Limit};
use rejoin_core::wire::{DecodeError, EncodeError};
use rejoin_core::{ConnId, Text};

/// Something that whoever runs a server may want to log or count; see
/// [`Endpoint::report_to`](super::Endpoint::report_to). It carries no payload and no credential.
#[derive(Debug)]
#[non_exhaustive]
pub enum Report {
    /// A client was refused before it was let in.
    Refused {
        /// The HTTP status that it was answered.
        status: u16,
        /// Why.
        why: Refused,
    },
    /// A client is connected.
    Connected {
        /// Its connection.
        conn: ConnId,
    },
    /// A connection is over.
    Ended {
        /// Its number.
        conn: ConnId,
        /// Why.
        reason: EndReason,
    },
    /// A channel of the application failed; its client, if it was still in it, will join again.
    Crashed {
        /// The connection.
        conn: ConnId,
        /// The topic.
        topic: Text,
        /// What the application said, or that it panicked.
        error: String,
    },
    /// An answer of the application cannot be said to its client, who waits for it in vain: bytes under
    /// vsn 1.0.0, above all.
    Unanswered {
        /// The connection.
        conn: ConnId,
        /// Why not.
        error: EncodeError,
    },
    /// A client reads too slowly, and did not get messages that its topic allows to drop.
    Dropped {
        /// The connection.
        conn: ConnId,
        /// The topic, if the client is still in it.
        topic: Option<Text>,
        /// How many.
        messages: u64,
    },
    /// A client asked for more than a limit allows.
    Limited {
        /// The connection.
        conn: ConnId,
        /// Which limit.
        limit: Limit,
        /// How many messages or joins.
        messages: u64,
    },
    /// A client sent what is no message.
    Malformed {
        /// The connection.
        conn: ConnId,
        /// What is wrong with it.
        error: DecodeError,
    },
}

/// Why a client was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The request is not one that the endpoint answers.
    Request,
    /// Its token is missing, or was not accepted.
    Token(String),
    /// There are as many connections as there may be.
    Full,
    /// The server is about to stop.
    Closing,
}

/// One line, which begins with the number of the connection where there is one.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status, why } => write!(f, "refused with HTTP {status}: {why}"),
            Self::Connected { conn } => write!(f, "#{conn}: connected"),
            Self::Ended { conn, reason } => write!(f, "#{conn}: {reason}"),
            Self::Crashed { conn, topic, error } => write!(f, "#{conn}: the channel {topic} crashed: {error}"),
            Self::Unanswered { conn, error } => write!(f, "#{conn}: an answer could not be sent: {error}"),
            Self::Dropped { conn, topic: Some(topic), messages } => {
                write!(f, "#{conn}: {messages} messages of {topic} were dropped: the client reads too slowly")
            }
            Self::Dropped { conn, topic: None, messages } => {
                write!(f, "#{conn}: {messages} messages were dropped: the client reads too slowly")
            }
            Self::Limited { conn, limit, messages } => write!(f, "#{conn}: {messages} over the limit: {limit}"),
            Self::Malformed { conn, error } => write!(f, "#{conn}: a malformed frame: {error}"),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("no request that this endpoint answers"),
            Self::Token(why) => f.write_str(why),
            Self::Full => f.write_str("there are as many connections as there may be"),
            Self::Closing => f.write_str("the server is about to stop"),
        }
    }
}
