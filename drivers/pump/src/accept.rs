//! What a client has come for, over any accepted byte stream, and the server's half of the upgrade.

use std::fmt;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::Error;
use async_tungstenite::tungstenite::handshake::server::{Request, Response, create_response, write_response};
use async_tungstenite::tungstenite::http::StatusCode;
use async_tungstenite::tungstenite::http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, UPGRADE};
use async_tungstenite::tungstenite::protocol::Role;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::AsyncWriteExt as _;
use rejoin_core::phoenix::serializer_of;
use rejoin_core::wire::Serializer;
use ureq_proto::parser::try_parse_request;

use crate::http::{Connection, HEAD_BYTES, HttpConnection, has_token};
use crate::read_ahead::ReadAhead;
use crate::websocket::websocket_config;

/// The most headers that a request may have.
const HEADERS: usize = 128;

/// What an upgrade has to look like.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AcceptOptions {
    /// The path of the socket; default `/socket/websocket`. Another is answered with 404.
    pub path: String,
    /// The largest message to accept, in bytes; default 16 MiB.
    pub frame_bytes: usize,
}

impl Default for AcceptOptions {
    fn default() -> Self {
        Self { path: "/socket/websocket".into(), frame_bytes: 16 << 20 }
    }
}

/// A socket that was let in.
#[derive(Debug)]
#[non_exhaustive]
pub struct Accepted<Io> {
    /// The socket.
    pub websocket: WebSocketStream<ReadAhead<Io>>,
    /// How its client writes messages.
    pub serializer: Serializer,
    /// Path and query of the request. The query may carry credentials.
    pub target: String,
}

/// Reads the upgrade request and answers it: 404 for another path, 403 with an empty body for a
/// `vsn` that nobody speaks, as Phoenix does. [`UpgradeRequest`] leaves the answer to the host.
///
/// Waits for as long as the client takes; put a deadline around it.
///
/// # Errors
/// If the request was refused or is not an upgrade.
pub async fn accept<Io>(io: Io, options: &AcceptOptions) -> Result<Accepted<Io>, AcceptError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    UpgradeRequest::read(io).await?.answer(options).await
}

/// What a client has come for.
#[derive(Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "there is one a connection, and only for a moment")]
pub enum Incoming<Io> {
    /// A WebSocket.
    Upgrade(UpgradeRequest<Io>),
    /// Something else, such as a long-poll: see [`LongPollHub::serve`](crate::LongPollHub::serve).
    Http(HttpConnection<Io>),
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Incoming<Io> {
    /// Reads the head of the first request. Waits for as long as the client takes; put a deadline
    /// around it.
    ///
    /// # Errors
    /// If the stream ended, the head has more than 64 KiB, or the request is for a WebSocket but is
    /// no upgrade.
    pub async fn read(io: Io) -> Result<Self, AcceptError> {
        let mut connection = Connection::new(io);
        let len = connection.read_head(HEAD_BYTES).await.map_err(|error| AcceptError::Handshake(error.to_string()))?;
        let request = match try_parse_request::<HEADERS>(&connection.incoming) {
            Ok(Some((_, request))) if has_token(request.headers(), UPGRADE, "websocket") => request,
            // Whatever is wrong with it is told in HTTP.
            _ => return Ok(Self::Http(HttpConnection::new(connection))),
        };
        if connection.incoming.len() > len {
            // What a client says before it is let in is no part of the conversation.
            return Err(AcceptError::Handshake("the request is followed by something else".into()));
        }
        let response = create_response(&request).map_err(not_an_upgrade)?;
        Ok(Self::Upgrade(UpgradeRequest { io: ReadAhead::new(connection.into_io()), request, response }))
    }
}

/// An upgrade request that was read and waits for its answer, for as long as the host likes.
pub struct UpgradeRequest<Io> {
    io: ReadAhead<Io>,
    request: Request,
    /// What lets it in.
    response: Response,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> UpgradeRequest<Io> {
    /// Reads it. Waits for as long as the client takes; put a deadline around it.
    ///
    /// # Errors
    /// If it is no upgrade request, has a head of more than 64 KiB, or the stream ended.
    pub async fn read(io: Io) -> Result<Self, AcceptError> {
        match Incoming::read(io).await? {
            Incoming::Upgrade(request) => Ok(request),
            Incoming::Http(_) => Err(AcceptError::Handshake("no WebSocket is asked for".into())),
        }
    }

    /// Path and query. The query may carry credentials.
    #[must_use]
    pub fn target(&self) -> String {
        self.request.uri().to_string()
    }

    /// Names, in lower case, and values of the headers that are text, credentials included.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }

    /// Answers as [`accept`] does.
    ///
    /// # Errors
    /// If it was refused, or the stream ended.
    pub async fn answer(self, options: &AcceptOptions) -> Result<Accepted<Io>, AcceptError> {
        if self.request.uri().path() != options.path {
            return Err(self.refuse(404, "not found").await);
        }
        self.accept(options.frame_bytes).await
    }

    /// Lets the client in. `frame_bytes` is the largest message to accept.
    ///
    /// # Errors
    /// If nobody speaks its `vsn`, which is answered with 403 and an empty body, or the stream ended.
    pub async fn accept(self, frame_bytes: usize) -> Result<Accepted<Io>, AcceptError> {
        let target = self.target();
        let Ok(serializer) = serializer_of(&target) else { return Err(self.refuse(403, "").await) };
        let Self { mut io, response, .. } = self;
        answer(&mut io, &response, "").await?;
        let config = websocket_config(frame_bytes);
        let websocket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        Ok(Accepted { websocket, serializer, target })
    }

    /// Answers with this status and body and ends the connection. Tells how that went: usually
    /// [`AcceptError::Refused`]. What is no status is answered as 500.
    pub async fn refuse(mut self, status: u16, body: &str) -> AcceptError {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(());
        *response.status_mut() = status;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        match answer(&mut self.io, &response, body).await {
            Ok(()) => AcceptError::Refused { status: status.as_u16() },
            Err(error) => error,
        }
    }
}

/// Without the credentials that it may carry.
impl<Io> fmt::Debug for UpgradeRequest<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRequest").field("path", &self.request.uri().path()).finish_non_exhaustive()
    }
}

async fn answer<Io>(io: &mut ReadAhead<Io>, response: &Response, body: &str) -> Result<(), AcceptError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = Vec::new();
    write_response(&mut bytes, response).map_err(not_an_upgrade)?;
    bytes.extend_from_slice(body.as_bytes());
    let written = async {
        io.write_all(&bytes).await?;
        io.flush().await
    };
    written.await.map_err(|error| AcceptError::Handshake(error.to_string()))
}

fn not_an_upgrade(error: Error) -> AcceptError {
    AcceptError::Handshake(error.to_string())
}

/// Why a socket was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcceptError {
    /// It was answered with this status.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// It was no upgrade request, or the stream ended.
    Handshake(String),
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status } => write!(f, "the upgrade was answered with HTTP {status}"),
            Self::Handshake(what) => write!(f, "not an upgrade: {what}"),
        }
    }
}

impl std::error::Error for AcceptError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_lite::future::block_on;

    const UPGRADE: &str = "GET /s/websocket?apikey=secret&vsn=2.0.0 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        X-Api-Key: secret\r\n\r\n";

    /// A client that says this, so many bytes at a time, and the server's answer.
    struct Client<'a> {
        says: &'a [u8],
        at_a_time: usize,
        hears: &'a mut Vec<u8>,
    }

    impl AsyncRead for Client<'_> {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            let read = self.at_a_time.min(buf.len()).min(self.says.len());
            let (now, later) = self.says.split_at(read);
            buf[..read].copy_from_slice(now);
            self.says = later;
            Poll::Ready(Ok(read))
        }
    }

    impl AsyncWrite for Client<'_> {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.get_mut().hears.extend_from_slice(buf);
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn read<'a>(
        says: &'a str,
        at_a_time: usize,
        hears: &'a mut Vec<u8>,
    ) -> Result<UpgradeRequest<Client<'a>>, AcceptError> {
        block_on(UpgradeRequest::read(Client { says: says.as_bytes(), at_a_time, hears }))
    }

    #[test]
    fn a_host_sees_the_request_before_it_answers() {
        for at_a_time in [1, 3, 4, 7, 10_000] {
            let mut hears = Vec::new();
            let request = read(UPGRADE, at_a_time, &mut hears).unwrap();
            assert_eq!(request.target(), "/s/websocket?apikey=secret&vsn=2.0.0");
            assert!(request.headers().any(|header| header == ("x-api-key", "secret")));
            assert!(!format!("{request:?}").contains("secret"));
            let refused = block_on(request.refuse(401, r#"{"error":"no"}"#));
            assert_eq!(refused, AcceptError::Refused { status: 401 });
            let answer = String::from_utf8(hears).unwrap();
            assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
            assert!(answer.contains("content-length: 14\r\n"), "{answer}");
            assert!(answer.ends_with("\r\n\r\n{\"error\":\"no\"}"), "{answer}");
        }
    }

    #[test]
    fn a_request_that_is_let_in_is_answered_with_101() {
        let mut hears = Vec::new();
        let accepted = block_on(read(UPGRADE, 100, &mut hears).unwrap().accept(1024)).unwrap();
        assert_eq!(accepted.serializer, Serializer::V2);
        drop(accepted);
        let answer = String::from_utf8(hears).unwrap().to_lowercase();
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{answer}");
    }

    #[test]
    fn what_is_no_upgrade_is_said_to_be_none() {
        let long = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(HEAD_BYTES));
        let followed = format!("{UPGRADE}and more");
        let plain = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        for says in ["", "GET / HTTP/1.1\r\n", "\0\r\n\r\n", plain, &followed, &long] {
            let refused = read(says, 1000, &mut Vec::new()).map(|_| ());
            assert!(matches!(refused, Err(AcceptError::Handshake(_))), "{refused:?}: {says:.40}");
        }
    }
}
