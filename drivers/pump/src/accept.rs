//! What a client has come for, over any accepted byte stream, and the server's half of the upgrade.

use std::fmt;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::handshake::server::{Request, write_response};
use async_tungstenite::tungstenite::http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_KEY, UPGRADE};
use async_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use async_tungstenite::tungstenite::protocol::Role;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::AsyncWriteExt as _;
use rejoin_core::phoenix::{Admission, Decision, Params, RequestHead, ResponseHead, Token, UpgradeConfig};
use rejoin_core::wire::Serializer;
use ureq_proto::parser::try_parse_request;

use crate::http::{Connection, HEAD_BYTES, HttpConnection, has_token, request_head, response, target};
use crate::read_ahead::ReadAhead;
use crate::websocket::server_websocket_config;

/// The most headers that a request may have.
const HEADERS: usize = 128;

/// What an upgrade has to look like.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AcceptOptions {
    /// The path of the socket; default `/socket/websocket`. Another is answered with 404.
    pub path: String,
    /// Who may come in.
    pub upgrade: UpgradeConfig,
    /// The largest message to accept, in bytes; default 16 MiB.
    pub frame_bytes: usize,
}

impl Default for AcceptOptions {
    fn default() -> Self {
        Self { path: "/socket/websocket".into(), upgrade: UpgradeConfig::default(), frame_bytes: 16 << 20 }
    }
}

/// A socket that was let in.
#[non_exhaustive]
pub struct Accepted<Io> {
    /// The socket.
    pub websocket: WebSocketStream<ReadAhead<Io>>,
    /// How its client writes messages.
    pub serializer: Serializer,
    /// The token of its client, which nobody has verified here.
    pub token: Option<Token>,
    /// The parameters of the request. They may carry credentials.
    pub params: Params,
    /// Path and query of the request. The query may carry credentials.
    pub target: String,
}

/// Without the credentials that it may carry.
impl<Io> fmt::Debug for Accepted<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted")
            .field("serializer", &self.serializer)
            .field("token", &self.token)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

/// Reads the request and answers it as [`UpgradeConfig::decide`] says, or with 404 for another path.
/// [`UpgradeRequest`] leaves the answer to the host.
///
/// Waits for as long as the client takes; put a deadline around it.
///
/// # Errors
/// If the request was refused, cannot be read, or the stream ended.
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
    /// A WebSocket, or what is left of such a request behind a proxy that drops the header `Upgrade`.
    Upgrade(UpgradeRequest<Io>),
    /// Something else, such as a long-poll: see [`LongPollHub::serve`](crate::LongPollHub::serve).
    Http(HttpConnection<Io>),
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Incoming<Io> {
    /// Reads the head of the first request. Waits for as long as the client takes; put a deadline
    /// around it.
    ///
    /// # Errors
    /// If the stream ended, the head has more than 64 KiB, or a request for a WebSocket is followed
    /// by something else.
    pub async fn read(io: Io) -> Result<Self, AcceptError> {
        let (connection, len) = read_head(io).await?;
        match parse(&connection.incoming) {
            Some(request) if is_for_websocket(&request) => {
                UpgradeRequest::of(connection, len, request).map(Self::Upgrade)
            }
            // Whatever is wrong with it is told in HTTP.
            _ => Ok(Self::Http(HttpConnection::new(connection))),
        }
    }
}

/// A request that was read and waits for its answer, for as long as the host likes.
///
/// ```
/// use rejoin_pump::core::phoenix::{Decision, ResponseHead, Token};
/// use rejoin_pump::{AcceptError, AcceptOptions, Accepted, UpgradeRequest};
/// # use futures_util::{AsyncRead, AsyncWrite};
///
/// async fn welcome<Io>(io: Io, is_good: impl Fn(&Token) -> bool) -> Result<Accepted<Io>, AcceptError>
/// where
///     Io: AsyncRead + AsyncWrite + Unpin,
/// {
///     let (request, options) = (UpgradeRequest::read(io).await?, AcceptOptions::default());
///     let decision = match request.decide(&options) {
///         Decision::Accept(upgrade) if !upgrade.admission.token.as_ref().is_some_and(is_good) => {
///             Decision::Refuse(ResponseHead::forbidden())
///         }
///         decision => decision,
///     };
///     request.answer_with(decision, options.frame_bytes).await
/// }
/// ```
pub struct UpgradeRequest<Io> {
    io: ReadAhead<Io>,
    request: Request,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> UpgradeRequest<Io> {
    /// Reads it, whatever it asks for. Waits for as long as the client takes; put a deadline around
    /// it.
    ///
    /// # Errors
    /// If it is no HTTP request, has a head of more than 64 KiB, is followed by something else, or
    /// the stream ended.
    pub async fn read(io: Io) -> Result<Self, AcceptError> {
        let (connection, len) = read_head(io).await?;
        let request = parse(&connection.incoming).ok_or_else(|| AcceptError::Handshake("it is no HTTP".into()))?;
        Self::of(connection, len, request)
    }

    fn of(connection: Connection<Io>, len: usize, request: Request) -> Result<Self, AcceptError> {
        if connection.incoming.len() > len {
            // What a client says before it is let in is no part of the conversation.
            return Err(AcceptError::Handshake("the request is followed by something else".into()));
        }
        Ok(Self { io: ReadAhead::server(connection.into_io()), request })
    }

    /// Path and query. The query may carry credentials.
    #[must_use]
    pub fn target(&self) -> &str {
        target(&self.request)
    }

    /// Names, in lower case, and values of the headers that are text, credentials included.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }

    /// The whole head, for [`UpgradeConfig::decide`].
    #[must_use]
    pub fn head(&self) -> RequestHead<'_> {
        request_head(&self.request)
    }

    /// What [`answer`](Self::answer) would answer, and who asks.
    pub fn decide(&self, options: &AcceptOptions) -> Decision {
        if self.request.uri().path() == options.path {
            options.upgrade.decide(&self.head())
        } else {
            Decision::Refuse(ResponseHead::new(404))
        }
    }

    /// Answers as [`accept`] does.
    ///
    /// # Errors
    /// If it was refused, or the stream ended.
    pub async fn answer(self, options: &AcceptOptions) -> Result<Accepted<Io>, AcceptError> {
        let decision = self.decide(options);
        self.answer_with(decision, options.frame_bytes).await
    }

    /// Lets the client in or refuses it, as was decided. `frame_bytes` is the largest message to
    /// accept.
    ///
    /// # Errors
    /// If it was refused, or the stream ended.
    pub async fn answer_with(self, decision: Decision, frame_bytes: usize) -> Result<Accepted<Io>, AcceptError> {
        let upgrade = match decision {
            Decision::Accept(upgrade) => upgrade,
            Decision::Refuse(head) => return Err(self.end(&head, "").await),
        };
        let Self { mut io, request } = self;
        write(&mut io, &upgrade.response, None).await?;
        let websocket = server_websocket(io, frame_bytes).await;
        let Admission { serializer, token, params, .. } = upgrade.admission;
        Ok(Accepted { websocket, serializer, token, params, target: target(&request).into() })
    }

    /// Answers with this status and body and ends the connection. Tells how that went: usually
    /// [`AcceptError::Refused`]. What is no status is answered as 500.
    pub async fn refuse(self, status: u16, body: &str) -> AcceptError {
        self.end(&ResponseHead::new(status), body).await
    }

    async fn end(mut self, head: &ResponseHead, body: &str) -> AcceptError {
        match write(&mut self.io, head, Some(body)).await {
            Ok(status) => AcceptError::Refused { status: status.as_u16() },
            Err(error) => error,
        }
    }
}

/// The server's end of a stream on which the upgrade has been answered.
pub(crate) async fn server_websocket<Io>(io: ReadAhead<Io>, frame_bytes: usize) -> WebSocketStream<ReadAhead<Io>>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    WebSocketStream::from_raw_socket(io, Role::Server, Some(server_websocket_config(frame_bytes))).await
}

/// Without the credentials that it may carry.
impl<Io> fmt::Debug for UpgradeRequest<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRequest").field("path", &self.request.uri().path()).finish_non_exhaustive()
    }
}

/// Reads up to the end of the first request's head, and tells its length.
async fn read_head<Io>(io: Io) -> Result<(Connection<Io>, usize), AcceptError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = Connection::new(io);
    let len = connection.read_head(HEAD_BYTES).await.map_err(|error| AcceptError::Handshake(error.to_string()))?;
    Ok((connection, len))
}

fn is_for_websocket(request: &Request) -> bool {
    has_token(request.headers(), UPGRADE, "websocket") || request.headers().contains_key(SEC_WEBSOCKET_KEY)
}

fn parse(head: &[u8]) -> Option<Request> {
    let (_, request) = try_parse_request::<HEADERS>(head).ok()??;
    Some(request)
}

/// Writes the head, and the body if the connection ends with it.
async fn write<Io>(io: &mut ReadAhead<Io>, head: &ResponseHead, body: Option<&str>) -> Result<StatusCode, AcceptError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut response = response(head.status, &head.headers, ());
    if let Some(body) = body {
        response.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let mut bytes = Vec::new();
    write_response(&mut bytes, &response).map_err(|error| AcceptError::Handshake(error.to_string()))?;
    bytes.extend_from_slice(body.unwrap_or_default().as_bytes());
    let written = async {
        io.write_all(&bytes).await?;
        io.flush().await
    };
    written.await.map_err(|error| AcceptError::Handshake(error.to_string()))?;
    Ok(response.status())
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
    /// It was no request that could be answered, or the stream ended.
    Handshake(String),
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status } => write!(f, "the upgrade was answered with HTTP {status}"),
            Self::Handshake(what) => write!(f, "the upgrade cannot be answered: {what}"),
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
            let Decision::Accept(upgrade) = UpgradeConfig::default().decide(&request.head()) else {
                panic!("it is good")
            };
            assert_eq!(upgrade.admission.token.as_ref().map(|token| token.expose()), Some("secret"));
            assert_eq!(upgrade.admission.params.get("vsn").as_deref(), Some("2.0.0"));
            assert!(!format!("{upgrade:?}").contains("secret"));
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
        let options = AcceptOptions { path: "/s/websocket".into(), ..AcceptOptions::default() };
        let offers =
            UPGRADE.replace("X-Api-Key: secret", "Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx.c2VjcmV0");
        let accepted = block_on(read(&offers, 100, &mut hears).unwrap().answer(&options)).unwrap();
        assert_eq!(accepted.serializer, Serializer::V2);
        assert_eq!(accepted.token.as_ref().map(|token| token.expose()), Some("secret"));
        assert_eq!(accepted.params.get("apikey").as_deref(), Some("secret"));
        assert!(!format!("{accepted:?}").contains("secret"));
        drop(accepted);
        let answer = String::from_utf8(hears).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
        assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert!(answer.contains("sec-websocket-protocol: phoenix\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(!answer.contains("c2VjcmV0"), "{answer}");
    }

    #[test]
    fn a_request_that_is_refused_hears_why_and_the_end() {
        let (switch, other) = (("upgrade: websocket", 426), UPGRADE.replace("/s/", "/socket/"));
        for (says, (header, status)) in [
            (UPGRADE.to_owned(), ("", 404)),
            (other.replace("GET", "PUT"), ("allow: GET", 405)),
            (other.replace("Connection: Upgrade\r\n", ""), switch),
            (other.replace("HTTP/1.1", "HTTP/1.0"), switch),
            ("GET /socket/websocket HTTP/1.1\r\nHost: h\r\n\r\n".into(), switch),
            (other.replace(": 13", ": 12"), ("sec-websocket-version: 13", 426)),
            (other.replace("dGhl", "dG"), ("", 400)),
            (other.replace("X-Api-Key: secret", "Origin: http://elsewhere"), ("", 403)),
            (other.replace("vsn=2", "vsn=9"), ("", 403)),
            (other.replace("secret", "%"), ("", 400)),
        ] {
            let mut hears = Vec::new();
            let refused = block_on(accept(
                Client { says: says.as_bytes(), at_a_time: 100, hears: &mut hears },
                &AcceptOptions::default(),
            ));
            assert_eq!(refused.map(|_| ()), Err(AcceptError::Refused { status }), "{says}");
            let answer = String::from_utf8(hears).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(answer.contains(&format!("\r\n{header}")), "{answer}");
            assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
            assert!(answer.ends_with("\r\ncontent-length: 0\r\n\r\n"), "{answer}");
        }
    }

    #[test]
    fn a_request_that_a_proxy_has_taken_the_upgrade_from_is_told_so() {
        let stripped = UPGRADE.replace("Upgrade: websocket\r\n", "").replace("Connection: Upgrade\r\n", "");
        let mut hears = Vec::new();
        let client = Client { says: stripped.as_bytes(), at_a_time: 100, hears: &mut hears };
        let Ok(Incoming::Upgrade(request)) = block_on(Incoming::read(client)) else { panic!("it has a key") };
        let options = AcceptOptions { path: "/s/websocket".into(), ..AcceptOptions::default() };
        assert_eq!(block_on(request.answer(&options)).map(|_| ()), Err(AcceptError::Refused { status: 426 }));
    }

    #[test]
    fn what_cannot_be_answered_is_said_to_be_no_request() {
        let long = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(HEAD_BYTES));
        let followed = format!("{UPGRADE}and more");
        for says in ["", "GET / HTTP/1.1\r\n", "\0\r\n\r\n", &followed, &long] {
            let refused = read(says, 1000, &mut Vec::new()).map(|_| ());
            assert!(matches!(refused, Err(AcceptError::Handshake(_))), "{refused:?}: {says:.40}");
        }
    }
}
