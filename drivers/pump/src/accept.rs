//! The server's half of the upgrade, over any accepted byte stream.

use std::fmt;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::Error;
use async_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use async_tungstenite::tungstenite::http::StatusCode;
use futures_io::{AsyncRead, AsyncWrite};
use rejoin_core::phoenix::serializer_of;
use rejoin_core::wire::Serializer;

use crate::read_ahead::ReadAhead;
use crate::websocket::websocket_config;

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
/// `vsn` that nobody speaks, as Phoenix does.
///
/// Waits for as long as the client takes; put a deadline around it.
///
/// # Errors
/// If the request was refused or is not an upgrade.
pub async fn accept<Io>(io: Io, options: &AcceptOptions) -> Result<Accepted<Io>, AcceptError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut seen = None;
    #[expect(clippy::result_large_err, reason = "tungstenite's callback asks for this type")]
    let inspect = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        if request.uri().path() != options.path {
            return Err(refusal(StatusCode::NOT_FOUND, "not found"));
        }
        let target = request.uri().to_string();
        let Ok(serializer) = serializer_of(&target) else {
            return Err(refusal(StatusCode::FORBIDDEN, ""));
        };
        seen = Some((serializer, target));
        Ok(response)
    };
    let config = websocket_config(options.frame_bytes);
    let websocket = async_tungstenite::accept_hdr_async_with_config(ReadAhead::new(io), inspect, Some(config)).await;
    match (websocket, seen) {
        (Ok(websocket), Some((serializer, target))) => Ok(Accepted { websocket, serializer, target }),
        (Ok(_), None) => Err(AcceptError::Refused { status: 400 }),
        (Err(Error::Http(response)), _) => Err(AcceptError::Refused { status: response.status().as_u16() }),
        (Err(error), _) => Err(AcceptError::Handshake(error.to_string())),
    }
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

fn refusal(status: StatusCode, body: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new((!body.is_empty()).then(|| body.to_owned()));
    *response.status_mut() = status;
    response
}
