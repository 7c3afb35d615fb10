//! Reads a body, however it is framed and whichever side it comes from.

use std::io;

use futures_io::{AsyncRead, AsyncWrite};
use ureq_proto::Error;

use super::connection::Connection;

/// The most that may be read without understanding it: the line before a chunk is short.
const LINE_BYTES: usize = 16 * 1024;

/// What a decoder made of its input.
pub(super) struct Decoded {
    pub(super) consumed: usize,
    pub(super) written: usize,
    /// The body is complete.
    pub(super) ended: bool,
}

/// Why there is no whole body.
pub(super) enum BodyError {
    /// The stream ended first, after these bytes.
    HungUp(Vec<u8>),
    TooLarge,
    Malformed(String),
    Io(io::Error),
}

/// Reads until the decoder has seen the end. It gets what has arrived, and room for as much.
pub(super) async fn read<Io>(
    connection: &mut Connection<Io>,
    limit: usize,
    mut decode: impl FnMut(&[u8], &mut [u8]) -> Result<Decoded, Error>,
) -> Result<Vec<u8>, BodyError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut body = Vec::new();
    loop {
        let before = body.len();
        body.resize(before + connection.incoming.len(), 0);
        let decoded = decode(&connection.incoming, &mut body[before..]);
        let decoded = decoded.map_err(|error| BodyError::Malformed(error.to_string()))?;
        body.truncate(before + decoded.written);
        connection.consume(decoded.consumed);
        if body.len() > limit {
            return Err(BodyError::TooLarge);
        }
        if decoded.ended {
            return Ok(body);
        }
        if decoded.consumed > 0 && !connection.incoming.is_empty() {
            continue;
        }
        if connection.incoming.len() > LINE_BYTES {
            return Err(BodyError::Malformed("a chunk has no length".into()));
        }
        match connection.fill().await {
            Ok(0) => return Err(BodyError::HungUp(body)),
            Ok(_) => {}
            Err(error) => return Err(BodyError::Io(error)),
        }
    }
}
