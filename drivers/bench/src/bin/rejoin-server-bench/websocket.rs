//! As much of a WebSocket client as a load needs: the upgrade, and frames in buffers that all
//! connections share.

use std::net::SocketAddr;

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A frame as a server sends it: unmasked.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
    /// With its header.
    pub(crate) len: usize,
}

impl<'a> Frame<'a> {
    /// The first frame, if all of it is there.
    pub(crate) fn first(bytes: &'a [u8]) -> Option<Self> {
        let (header, len) = match *bytes.get(1)? {
            126 => (4, u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize),
            127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?),
            len => (2, len as usize),
        };
        let payload = bytes.get(header..)?.get(..len)?;
        Some(Self { opcode: bytes[0] & 0x0f, payload, len: header + len })
    }
}

/// Appends a client's frame. Its masking key is zero, which is a legal one: masking costs the
/// client nothing, and the server what every key costs.
pub(crate) fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    const FINAL: u8 = 0x80;
    const MASKED: u8 = 0x80;
    out.push(FINAL | opcode);
    match payload.len() {
        len @ ..126 => out.push(MASKED | len as u8),
        len @ ..65_536 => {
            out.push(MASKED | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(MASKED | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(payload);
}

pub(crate) fn upgrade(path: &str, address: SocketAddr) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// The length of the response's head, once it is there, and whether it lets the client in.
pub(crate) fn upgraded(bytes: &[u8]) -> Option<(usize, bool)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((end + 4, bytes.starts_with(b"HTTP/1.1 101 ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_once_all_of_it_is_there_whatever_its_length() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let mut sent = Vec::new();
            write(&mut sent, TEXT, &vec![b'x'; len]);
            // What a server would send: no mask bit, no key.
            sent[1] &= 0x7f;
            let key = sent.len() - len - 4;
            sent.drain(key..key + 4);

            assert_eq!(Frame::first(&sent[..sent.len() - 1]), None);
            let whole = sent.len();
            sent.push(0);
            let frame = Frame::first(&sent).unwrap();
            assert_eq!((frame.opcode, frame.payload.len(), frame.len), (TEXT, len, whole));
        }
    }

    #[test]
    fn only_101_lets_a_client_in() {
        assert_eq!(upgraded(b"HTTP/1.1 101 Switching Protocols\r\n\r"), None);
        assert_eq!(upgraded(b"HTTP/1.1 101 Switching Protocols\r\n\r\n!"), Some((36, true)));
        assert_eq!(upgraded(b"HTTP/1.1 403 Forbidden\r\n\r\n"), Some((26, false)));
    }
}
