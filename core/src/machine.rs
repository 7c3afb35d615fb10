//! The shape that every protocol machine has: inputs, three output lanes and a deadline.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use bytes::Bytes;

use crate::text::Text;
use crate::time::Timestamp;

/// A protocol state machine, as pumps, simulators and fuzzers see it.
///
/// There are four kinds of methods. *Inputs* (`handle_*`) and *commands* (on the concrete types)
/// change state and take the current time first; a time earlier than one already seen counts as
/// that later one. *Outputs* (`poll_*`) are drained until `None`, in any order and at any time:
/// order holds inside a lane, not between lanes, so that a full socket delays no event, a slow
/// reader delays no heartbeat and an HTTP request delays neither. What leaves is decided when the
/// transport lane is polled, which may fill the others even where it gives `None`: before going to
/// sleep, look at those last. *Getters* change nothing.
pub trait Machine {
    /// What the application gets to see.
    type Event;
    /// What must be asked of the world besides the socket; `Infallible` where there is nothing.
    type Request;

    /// Something happened to a connection. Never fails; what is about a connection that the
    /// machine has given up is ignored and counted.
    fn handle_transport(&mut self, now: Timestamp, event: TransportEvent);

    /// Time has passed. Early, late and repeated calls are harmless.
    fn handle_timeout(&mut self, now: Timestamp);

    /// When [`handle_timeout`](Machine::handle_timeout) is wanted next; `None` is never.
    fn poll_timeout(&self) -> Option<Timestamp>;

    /// The next thing to do with the socket.
    fn poll_transport(&mut self) -> Option<TransportAction>;

    /// The next request to the world.
    fn poll_request(&mut self) -> Option<Self::Request>;

    /// The next event for the application.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// The connection that still matters, if there is one. A driver whose socket is stuck watches
    /// this: when it changes, the stuck socket is dropped without waiting for its turn in the lane.
    fn connection(&self) -> Option<ConnId>;

    /// Whether commands should wait because the transport lane is full. Inputs never wait.
    fn is_congested(&self) -> bool {
        false
    }

    /// Whether nothing more will ever come out.
    fn is_finished(&self) -> bool;
}

/// One attempt at a connection, from `Open` to its end. Numbers are never used again, so a late
/// word about an old socket cannot be mistaken for one about the present socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

impl ConnId {
    /// Names a connection. Hosts need this for accepted sockets; clients are given their numbers.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One whole WebSocket message. Fragments, pings and masks stay with the host's WebSocket library.
#[expect(clippy::exhaustive_enums, reason = "RFC 6455 has two kinds of data messages")]
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text message.
    Text(Text),
    /// A binary message.
    Binary(Bytes),
}

impl Frame {
    /// The content, whichever kind it is.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Length of the content in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the content is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Kind and size only: frames carry user data and tokens.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Self::Text(_)) { "Text" } else { "Binary" };
        write!(f, "{kind}({} B)", self.len())
    }
}

/// What the host shall do with a socket.
#[expect(clippy::exhaustive_enums, reason = "a new variant is a new duty that every driver must see")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportAction {
    /// Connect; answer with `Opened` or `OpenFailed`. At most one connection is wanted at a time:
    /// an earlier one that still lingers may be dropped.
    Open(ConnectRequest),
    /// Send one message, after everything sent on this connection before.
    Send {
        /// The connection.
        conn: ConnId,
        /// The message.
        frame: Frame,
    },
    /// Close in peace: send what was sent before, then a close frame; answer with `Closed`.
    Close {
        /// The connection.
        conn: ConnId,
        /// The WebSocket close code.
        code: u16,
        /// The close reason, at most 123 bytes.
        reason: Text,
    },
    /// Drop the connection, or the attempt at it, at once. No answer is wanted.
    Abort {
        /// The connection.
        conn: ConnId,
    },
}

/// Where and how to connect.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectRequest {
    /// The number of this attempt.
    pub conn: ConnId,
    /// What to open: a WebSocket (the default), or the HTTP exchanges of a
    /// [`phoenix::LongPoll`](crate::phoenix::LongPoll).
    pub transport: TransportKind,
    /// `ws://` or `wss://` with path and query; `http://` or `https://` for long-poll.
    pub url: String,
    /// Extra request headers.
    pub headers: Vec<(Text, Text)>,
    /// How long the machine will wait; after that it sends `Abort`.
    pub timeout: Duration,
}

impl ConnectRequest {
    /// A request for a WebSocket, without extra headers.
    #[must_use]
    pub fn new(conn: ConnId, url: impl Into<String>, timeout: Duration) -> Self {
        Self { conn, transport: TransportKind::default(), url: url.into(), headers: Vec::new(), timeout }
    }
}

/// Without the query and without header values: those carry keys and tokens.
impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("conn", &self.conn)
            .field("transport", &self.transport)
            .field("url", &without_query(&self.url))
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// What carries the messages of a connection.
#[expect(clippy::exhaustive_enums, reason = "a further kind is a new duty that every driver must see")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// A WebSocket (the default).
    #[default]
    WebSocket,
    /// HTTP long-poll: a GET that the server holds until it has something to say, and a POST for what
    /// the client says (specification, section 10).
    LongPoll,
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WebSocket => "websocket",
            Self::LongPoll => "longpoll",
        })
    }
}

impl FromStr for TransportKind {
    type Err = UnknownTransport;

    /// Reads what `Display` writes: `websocket` or `longpoll`.
    fn from_str(name: &str) -> Result<Self, UnknownTransport> {
        match name {
            "websocket" => Ok(Self::WebSocket),
            "longpoll" => Ok(Self::LongPoll),
            _ => Err(UnknownTransport(name.chars().take(32).collect())),
        }
    }
}

/// A name that is no transport's; at most 32 characters of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownTransport(pub String);

impl fmt::Display for UnknownTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no transport `{}`; use websocket or longpoll", self.0)
    }
}

impl core::error::Error for UnknownTransport {}

/// A URL up to its query, and without user information: the rest may be secret.
pub(crate) fn without_query(url: &str) -> String {
    let base = url.split(['?', '#']).next().unwrap_or_default();
    match base.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            alloc::format!("{scheme}://{host}{path}")
        }
        None => base.into(),
    }
}

/// What happened to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportEvent {
    /// The connection is open and can be written to.
    Opened {
        /// The connection.
        conn: ConnId,
    },
    /// The attempt failed or was refused.
    OpenFailed {
        /// The connection.
        conn: ConnId,
        /// Why.
        error: OpenError,
    },
    /// A whole message arrived.
    Received {
        /// The connection.
        conn: ConnId,
        /// The message.
        frame: Frame,
    },
    /// The peer has shown that it is alive, without a message: a poll of a long-poll was answered with
    /// nothing. A socket has no such word.
    Alive {
        /// The connection.
        conn: ConnId,
    },
    /// The connection is gone, whoever ended it.
    Closed {
        /// The connection.
        conn: ConnId,
        /// The close code of the peer's close frame; `None` if the stream just ended.
        code: Option<u16>,
        /// The reason of the close frame, or what the I/O error said.
        reason: Text,
    },
}

/// Why a connection could not be opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenError {
    /// The HTTP status, if the server answered with one other than 101.
    pub status: Option<u16>,
    /// What a `Retry-After` header asked for.
    pub retry_after: Option<Duration>,
    /// What went wrong, in words; the start of the body for a refusal.
    pub message: String,
}

impl OpenError {
    /// An error below HTTP: no such host, refused, reset, TLS.
    #[must_use]
    pub fn io(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// The server answered the upgrade with a status other than 101.
    #[must_use]
    pub fn refused(status: u16, retry_after: Option<Duration>, body: impl Into<String>) -> Self {
        Self { status: Some(status), retry_after, message: body.into() }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "the server answered HTTP {status}")?,
            None => return f.write_str(&self.message),
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl core::error::Error for OpenError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_transport_reads_as_that_transport() {
        for kind in [TransportKind::WebSocket, TransportKind::LongPoll] {
            assert_eq!(alloc::format!("{kind}").parse(), Ok(kind));
        }
        let error = "carrier pigeon".parse::<TransportKind>().unwrap_err();
        assert_eq!(alloc::format!("{error}"), "there is no transport `carrier pigeon`; use websocket or longpoll");
    }

    #[test]
    fn debug_of_a_connect_request_shows_no_secret() {
        let mut request = ConnectRequest::new(
            ConnId::new(1),
            "wss://user:secret@host:1/socket/websocket?apikey=secret",
            Duration::from_secs(1),
        );
        request.headers.push((Text::from_static("x-api-key"), Text::from_static("secret")));
        let shown = alloc::format!("{request:?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("wss://host:1/socket/websocket"), "{shown}");
    }
}
