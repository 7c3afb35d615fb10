//! The client's upgrade: where tungstenite is told our limits, and its errors are told apart.

use std::future::Future;
use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::client::IntoClientRequest;
use async_tungstenite::tungstenite::error::{CapacityError, UrlError};
use async_tungstenite::tungstenite::handshake::client::Request;
use async_tungstenite::tungstenite::http::header::HOST;
use async_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use async_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use rejoin_core::{ConnectRequest, Frame, OpenError, Text};

use crate::clock::unix_time;
use crate::http::Origin;
use crate::read_ahead::ReadAhead;
use crate::retry_after::retry_after;
use crate::runtime::Runtime;

/// Per connection, allocated for as long as it lives; messages larger than this get room of their own.
const READ_BUFFER: usize = 8 * 1024;
const SERVER_READ_BUFFER: usize = 2 * 1024;
/// Small messages are gathered up to this size before they are written.
const WRITE_BUFFER: usize = 16 * 1024;
/// What is kept of the body of a refused upgrade.
const REFUSAL_BODY: usize = 1024;

/// The buffers and limits that every connection gets: an 8 KiB read buffer, a write buffer that
/// holds one largest message besides the gathered ones, and messages of at most `frame_bytes`.
#[must_use]
pub fn websocket_config(frame_bytes: usize) -> WebSocketConfig {
    with_read_buffer(READ_BUFFER, frame_bytes)
}

/// The same for a server, whose connections are many and mostly idle: a 2 KiB read buffer.
#[must_use]
pub fn server_websocket_config(frame_bytes: usize) -> WebSocketConfig {
    with_read_buffer(SERVER_READ_BUFFER, frame_bytes)
}

fn with_read_buffer(read_buffer: usize, frame_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(read_buffer)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER.saturating_add(frame_bytes).saturating_add(1024))
        .max_message_size(Some(frame_bytes))
        .max_frame_size(Some(frame_bytes))
}

/// Dials and upgrades. Dropping the future gives the attempt up. `frame_bytes` is the largest
/// message to accept.
pub(crate) fn connect<R: Runtime>(
    runtime: &R,
    request: ConnectRequest,
    frame_bytes: usize,
) -> impl Future<Output = Result<WebSocketStream<ReadAhead<R::Io>>, OpenError>> + Send + use<R> {
    let origin = request.url.parse().map_err(|_| cannot_be_dialled()).and_then(|uri| Origin::of(&uri));
    let dialling = origin.map(|Origin { host, port, secure }| runtime.dial(host, port, secure));
    async move { open_websocket(&request, frame_bytes, dialling?.await?).await }
}

/// The client's half of the WebSocket handshake over a connected stream.
///
/// A header `host` of the request replaces the one that its URL asks for: a server behind a proxy
/// may tell its tenants apart by it. Every other header is added to those of the handshake.
///
/// # Errors
/// If the server refuses or does not speak WebSocket.
pub async fn open_websocket<Io>(
    request: &ConnectRequest,
    frame_bytes: usize,
    io: Io,
) -> Result<WebSocketStream<ReadAhead<Io>>, OpenError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let config = websocket_config(frame_bytes);
    match async_tungstenite::client_async_with_config(http_request(request)?, ReadAhead::new(io), Some(config)).await {
        Ok((websocket, _response)) => Ok(websocket),
        Err(error) => Err(open_error(error, unix_time())),
    }
}

/// What a failed handshake means. A refusal's `Retry-After` may be a date, so the time since the
/// Unix epoch is asked for.
fn open_error(error: Error, unix_time: Duration) -> OpenError {
    match error {
        Error::Http(response) => {
            let retry_after = retry_after(response.headers(), unix_time);
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(&body[..body.len().min(REFUSAL_BODY)]);
            OpenError::refused(response.status().as_u16(), retry_after, body)
        }
        Error::Url(UrlError::UnableToConnect(_)) => cannot_be_dialled(),
        Error::Io(error) => OpenError::io(error.to_string()),
        error => OpenError::io(format!("the server did not speak WebSocket: {error}")),
    }
}

fn http_request(request: &ConnectRequest) -> Result<Request, OpenError> {
    let mut http = request.url.as_str().into_client_request().map_err(|_| cannot_be_dialled())?;
    for (name, value) in &request.headers {
        let bad = |what: &str| OpenError::io(format!("the header `{}` has an illegal {what}", name.as_str()));
        let name = HeaderName::try_from(name.as_str()).map_err(|_| bad("name"))?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| bad("value"))?;
        value.set_sensitive(true);
        if name == HOST {
            http.headers_mut().insert(name, value);
        } else {
            http.headers_mut().append(name, value);
        }
    }
    Ok(http)
}

fn cannot_be_dialled() -> OpenError {
    OpenError::io("the URL cannot be dialled")
}

pub(crate) fn to_message(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => {
            let bytes = text.into_bytes();
            Message::Text(match Utf8Bytes::try_from(Bytes::clone(&bytes)) {
                Ok(utf8) => utf8,
                // A name that was only assumed to be UTF-8: the peer must not be sent an illegal frame.
                Err(_) => String::from_utf8_lossy(&bytes).into_owned().into(),
            })
        }
        Frame::Binary(bytes) => Message::Binary(bytes),
    }
}

/// The frame of a data message; control messages are tungstenite's business.
pub(crate) fn to_frame(message: Message) -> Option<Frame> {
    match message {
        // tungstenite has checked it.
        Message::Text(text) => Some(Frame::Text(Text::assume_utf8(Bytes::from(text)))),
        Message::Binary(bytes) => Some(Frame::Binary(bytes)),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => None,
    }
}

/// The close code that tells the peer why its last message was the last one.
pub(crate) fn close_code_for(error: &Error) -> Option<u16> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(1009),
        Error::Utf8(_) => Some(1007),
        Error::Protocol(_) => Some(1002),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::pipe;
    use async_tungstenite::tungstenite::http::Response;
    use futures_lite::AsyncReadExt;
    use futures_lite::future::{block_on, zip};
    use rejoin_core::ConnId;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110, section 5.6.7.
    const EXAMPLE: Duration = Duration::from_secs(784_111_777);

    fn request(url: &str) -> ConnectRequest {
        ConnectRequest::new(ConnId::new(1), url, Duration::ZERO)
    }

    fn refusal(status: u16, retry_after: &str, unix_time: Duration) -> OpenError {
        let response = Response::builder().status(status).header("retry-after", retry_after);
        let body = Some(vec![b'x'; 5_000]);
        open_error(Error::Http(Box::new(response.body(body).unwrap())), unix_time)
    }

    #[test]
    fn a_refusal_keeps_its_status_and_a_bounded_body() {
        let error = refusal(429, "12", EXAMPLE);
        assert_eq!(error.status, Some(429));
        assert_eq!(error.message, "x".repeat(REFUSAL_BODY));
    }

    /// Trap T95.
    #[test]
    fn retry_after_is_seconds_or_a_date_and_garbage_is_no_answer() {
        let minute_before = EXAMPLE - Duration::from_secs(60);
        let minute_after = EXAMPLE + Duration::from_secs(60);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (value, unix_time, expected) in [
            ("0", EXAMPLE, seconds(0)),
            ("12", EXAMPLE, seconds(12)),
            (" 12 ", EXAMPLE, seconds(12)),
            ("18446744073709551615", EXAMPLE, seconds(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", minute_before, seconds(60)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", minute_before, seconds(60)),
            ("Sun Nov  6 08:49:37 1994", minute_before, seconds(60)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE, seconds(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", minute_after, seconds(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Duration::ZERO, seconds(253_402_300_799)),
            ("", EXAMPLE, None),
            ("-1", EXAMPLE, None),
            ("+1", EXAMPLE, None),
            ("1.5", EXAMPLE, None),
            ("soon", EXAMPLE, None),
            ("99999999999999999999999", EXAMPLE, None),
            ("Sun, 06 Nov 1994 08:49:37", minute_before, None),
            ("Sun, 06 Nov 1994 08:49:37 +0200", minute_before, None),
            ("Sun, 36 Nov 1994 08:49:37 GMT", minute_before, None),
            ("1994-11-06T08:49:37Z", minute_before, None),
        ] {
            for status in [408, 429, 503] {
                assert_eq!(refusal(status, value, unix_time).retry_after, expected, "{status} with `{value}`");
            }
        }
    }

    #[test]
    fn a_header_named_host_replaces_the_one_of_the_url_and_others_are_added() {
        let mut request = request("ws://localhost:4000/socket");
        for (name, value) in [("Host", "tenant.example"), ("x-one", "1"), ("x-one", "2")] {
            request.headers.push((Text::from_static(name), Text::from_static(value)));
        }
        let (ours, mut theirs) = pipe();
        let server = async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                theirs.read_exact(&mut byte).await.unwrap();
                head.extend(byte);
            }
            String::from_utf8(head).unwrap().to_lowercase()
        };
        let (opened, head) = block_on(zip(open_websocket(&request, 1024, ours), server));
        assert!(opened.is_err(), "the server hangs up without an answer");
        let with = |prefix: &str| head.lines().filter(|line| line.starts_with(prefix)).collect::<Vec<_>>();
        assert_eq!(with("host:"), ["host: tenant.example"]);
        assert_eq!(with("x-one:"), ["x-one: 1", "x-one: 2"]);
    }

    #[test]
    fn text_that_was_wrongly_assumed_to_be_utf8_is_sent_as_legal_text() {
        let text = |bytes: &'static [u8]| to_message(Frame::Text(Text::assume_utf8(Bytes::from_static(bytes))));
        assert_eq!(text("ž".as_bytes()), Message::text("ž"));
        assert_eq!(text(b"a\xff"), Message::text("a\u{fffd}"));
    }
}
