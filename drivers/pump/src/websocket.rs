//! Where tungstenite is told our limits, and its errors are told apart.

use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::client::IntoClientRequest;
use async_tungstenite::tungstenite::error::{CapacityError, UrlError};
use async_tungstenite::tungstenite::handshake::client::Request;
use async_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Response, Uri};
use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use async_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use rejoin_core::{ConnectRequest, Frame, OpenError, Text};

use crate::read_ahead::ReadAhead;

/// Per connection, allocated for as long as it lives; messages larger than this get room of their own.
const READ_BUFFER: usize = 8 * 1024;
/// Small messages are gathered up to this size before they are written.
const WRITE_BUFFER: usize = 16 * 1024;
/// What is kept of the body of a refused upgrade.
const REFUSAL_BODY: usize = 1024;

/// The buffers and limits that every connection gets: an 8 KiB read buffer, a write buffer that
/// holds one largest message besides the gathered ones, and messages of at most `frame_bytes`.
#[must_use]
pub fn websocket_config(frame_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER.saturating_add(frame_bytes).saturating_add(1024))
        .max_message_size(Some(frame_bytes))
        .max_frame_size(Some(frame_bytes))
}

/// Host (without brackets) and port that a request's URL names.
///
/// # Errors
/// If the URL has no host.
pub fn host_and_port(request: &ConnectRequest) -> Result<(String, u16), OpenError> {
    let uri: Uri = request.url.parse().map_err(|_| OpenError::io("the URL cannot be dialled"))?;
    let host = uri.host().ok_or_else(|| OpenError::io("the URL has no host"))?;
    let default = if uri.scheme_str() == Some("wss") { 443 } else { 80 };
    Ok((host.trim_matches(['[', ']']).to_owned(), uri.port_u16().unwrap_or(default)))
}

/// The client's half of the WebSocket handshake over a connected stream.
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
        Err(error) => Err(open_error(error)),
    }
}

/// What a failed handshake means.
#[must_use]
pub fn open_error(error: Error) -> OpenError {
    match error {
        Error::Http(response) => {
            let retry_after = retry_after(&response);
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(&body[..body.len().min(REFUSAL_BODY)]);
            OpenError::refused(response.status().as_u16(), retry_after, body)
        }
        Error::Url(UrlError::UnableToConnect(_)) => OpenError::io("the URL cannot be dialled"),
        Error::Io(error) => OpenError::io(error.to_string()),
        error => OpenError::io(format!("the server did not speak WebSocket: {error}")),
    }
}

fn http_request(request: &ConnectRequest) -> Result<Request, OpenError> {
    let mut http = request.url.as_str().into_client_request().map_err(open_error)?;
    for (name, value) in &request.headers {
        let bad = |what: &str| OpenError::io(format!("the header `{}` has an illegal {what}", name.as_str()));
        let name = HeaderName::try_from(name.as_str()).map_err(|_| bad("name"))?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| bad("value"))?;
        value.set_sensitive(true);
        http.headers_mut().append(name, value);
    }
    Ok(http)
}

/// Seconds only; a date or anything else counts as absent.
fn retry_after<T>(response: &Response<T>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
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

    fn refusal(retry_after: &str, body: &str) -> OpenError {
        let response = Response::builder().status(429).header("retry-after", retry_after);
        open_error(Error::Http(Box::new(response.body(Some(body.as_bytes().to_vec())).unwrap())))
    }

    #[test]
    fn a_refusal_keeps_its_status_a_bounded_body_and_whole_seconds_of_retry_after() {
        let error = refusal("12", &"x".repeat(5_000));
        assert_eq!((error.status, error.retry_after), (Some(429), Some(Duration::from_secs(12))));
        assert_eq!(error.message.len(), REFUSAL_BODY);
        for garbage in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(refusal(garbage, "").retry_after, None, "{garbage}");
        }
    }

    #[test]
    fn text_that_was_wrongly_assumed_to_be_utf8_is_sent_as_legal_text() {
        let text = |bytes: &'static [u8]| to_message(Frame::Text(Text::assume_utf8(Bytes::from_static(bytes))));
        assert_eq!(text("ž".as_bytes()), Message::text("ž"));
        assert_eq!(text(b"a\xff"), Message::text("a\u{fffd}"));
    }

    #[test]
    fn hosts_and_ports_are_taken_from_the_url() {
        let target =
            |url: &str| host_and_port(&ConnectRequest::new(rejoin_core::ConnId::new(1), url, Duration::ZERO)).ok();
        assert_eq!(target("ws://host/socket"), Some(("host".into(), 80)));
        assert_eq!(target("wss://host/socket?a=b"), Some(("host".into(), 443)));
        assert_eq!(target("ws://[::1]:4000/"), Some(("::1".into(), 4000)));
        assert_eq!(target("/socket"), None);
    }
}
