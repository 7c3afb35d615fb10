//! The server's half: requests in, responses out, one after the other on one connection.

use std::fmt;
use std::io;

use async_tungstenite::tungstenite::handshake::server::write_response;
use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use rejoin_core::Text;
use ureq_proto::http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use ureq_proto::http::{HeaderName, Method, Request, Response, StatusCode, Version};
use ureq_proto::server::state::RecvBody;
use ureq_proto::server::{RecvRequestResult, Reply};

use super::body::{self, BodyError, Decoded};
use super::connection::Connection;

/// The largest head of a request; proxies and credentials add to it.
pub(crate) const HEAD_BYTES: usize = 64 << 10;

/// A connection that a client has opened for something else than a WebSocket.
pub struct HttpConnection<Io> {
    connection: Connection<Io>,
}

/// A whole request.
pub(crate) struct Asked {
    pub(crate) request: Request<Bytes>,
    /// Whether the client may ask again on this connection.
    pub(crate) keep_alive: bool,
}

/// Why there is no request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AskError {
    /// Nobody is there any more.
    Gone,
    /// The answer is this status and the end of the connection.
    Unfit(StatusCode),
}

impl<Io: AsyncRead + AsyncWrite + Unpin> HttpConnection<Io> {
    /// A connection of which something may have been read already.
    pub(crate) const fn new(connection: Connection<Io>) -> Self {
        Self { connection }
    }

    /// Waits for the beginning of a request; false if the client hangs up instead.
    pub(crate) async fn is_asked(&mut self) -> bool {
        !self.connection.incoming.is_empty() || matches!(self.connection.fill().await, Ok(1..))
    }

    /// The next request, with a body of at most as many bytes as its head is worth. The body of one
    /// that has another method than long-poll is not read.
    pub(crate) async fn next(&mut self, body_limit: impl FnOnce(&Request<()>) -> usize) -> Result<Asked, AskError> {
        self.connection.read_head(HEAD_BYTES).await.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => AskError::Unfit(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            _ => AskError::Gone,
        })?;
        let mut reply = Reply::new().map_err(unfit)?;
        let (used, request) = reply.try_request(&self.connection.incoming).map_err(unfit)?;
        let request = request.ok_or(AskError::Unfit(StatusCode::BAD_REQUEST))?;
        self.connection.consume(used);
        let body_limit = body_limit(&request);
        check_framing(request.method(), request.headers(), request.version(), body_limit).map_err(AskError::Unfit)?;
        let has_body = request.method() == Method::POST;
        let body = match reply.proceed() {
            Some(RecvRequestResult::RecvBody(reply)) if has_body => self.read_body(reply, body_limit).await?,
            Some(RecvRequestResult::Send100(reply)) if has_body => {
                let mut line = [0; 64];
                let (len, reply) = reply.accept(&mut line).map_err(unfit)?;
                self.connection.send(&line[..len]);
                self.read_body(reply, body_limit).await?
            }
            Some(_) => Vec::new(),
            None => return Err(AskError::Unfit(StatusCode::BAD_REQUEST)),
        };
        let is_known = has_body || [Method::GET, Method::OPTIONS].contains(request.method());
        let goes_on = request.version() == Version::HTTP_11 && !has_token(request.headers(), CONNECTION, "close");
        let keep_alive = is_known && goes_on;
        Ok(Asked { request: request.map(|()| body.into()), keep_alive })
    }

    async fn read_body(&mut self, mut reply: Reply<RecvBody>, limit: usize) -> Result<Vec<u8>, AskError> {
        let decode = |input: &[u8], output: &mut [u8]| {
            let (consumed, written) = reply.read(input, output)?;
            Ok(Decoded { consumed, written, ended: reply.is_ended() })
        };
        body::read(&mut self.connection, limit, decode).await.map_err(|error| match error {
            BodyError::TooLarge => AskError::Unfit(StatusCode::PAYLOAD_TOO_LARGE),
            BodyError::Malformed(_) => AskError::Unfit(StatusCode::BAD_REQUEST),
            BodyError::HungUp(_) | BodyError::Io(_) => AskError::Gone,
        })
    }

    /// Answers the request. Without `keep_alive` that was the last one; see `finish`.
    pub(crate) async fn answer(&mut self, response: Response<Bytes>, keep_alive: bool) -> io::Result<()> {
        let (mut head, body) = response.into_parts();
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if !keep_alive {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let mut bytes = Vec::new();
        write_response(&mut bytes, &Response::from_parts(head, ())).map_err(io::Error::other)?;
        self.connection.send(&bytes);
        self.connection.send(&body);
        self.connection.flush().await
    }

    /// Resolves once the client has hung up. What it says meanwhile is kept for `next`.
    pub(crate) async fn hung_up(&mut self) {
        while self.connection.incoming.is_empty() {
            if !matches!(self.connection.fill().await, Ok(1..)) {
                return;
            }
        }
        // A client that speaks again is still there; it is not listened to before its answer.
        std::future::pending().await
    }

    /// Ends the connection, and waits for as long as the client still speaks: closing a socket
    /// with unread bytes in it would take the last answer away from it.
    pub(crate) async fn finish(mut self) {
        if self.connection.end().await.is_ok() {
            while matches!(self.connection.fill().await, Ok(1..)) {
                self.connection.incoming.clear();
            }
        }
    }
}

impl<Io> fmt::Debug for HttpConnection<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConnection").finish_non_exhaustive()
    }
}

/// Whether it is clear where the body ends, so that nobody's body is another's request.
fn check_framing(method: &Method, headers: &HeaderMap, version: Version, limit: usize) -> Result<(), StatusCode> {
    // Any other coding, or several, would leave it to a guess where the body ends.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(StatusCode::BAD_REQUEST),
    };
    let length = headers.get(CONTENT_LENGTH).map(|value| value.to_str().unwrap_or_default().trim());
    let length = length.map(|digits| digits.parse::<u64>().map_err(|_| StatusCode::BAD_REQUEST)).transpose()?;
    match (method, length) {
        (&Method::GET | &Method::OPTIONS, None | Some(0)) if !chunked => Ok(()),
        (&Method::POST, Some(length)) if !chunked && length > limit as u64 => Err(StatusCode::PAYLOAD_TOO_LARGE),
        (&Method::POST, Some(_)) if !chunked => Ok(()),
        (&Method::POST, None) if chunked && version == Version::HTTP_11 => Ok(()),
        (&Method::POST, None) if !chunked => Err(StatusCode::LENGTH_REQUIRED),
        (&Method::GET | &Method::OPTIONS | &Method::POST, _) => Err(StatusCode::BAD_REQUEST),
        // After its answer nothing more is read.
        _ => Ok(()),
    }
}

/// A response as the core wants it. A status that is none is 500, and a header that is none is left out.
pub(crate) fn response<B>(status: u16, headers: &[(Text, Text)], body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Whether a header that is a list has this word, in any case.
pub(crate) fn has_token(headers: &HeaderMap, name: impl ureq_proto::http::header::AsHeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

fn unfit(_: ureq_proto::Error) -> AskError {
    AskError::Unfit(StatusCode::BAD_REQUEST)
}
