//! How frames are written into the body of a POST (specification, section 10.3).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use super::MAX_ITEMS;
use crate::machine::Frame;

/// Bytes after which a batch is large enough to leave.
const ENOUGH_BYTES: usize = 1 << 20;

/// The frames that the next POSTs will carry, in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether a further frame may travel in the same POST.
    pub(super) fn has_room(&self) -> bool {
        // Frames that stand alone do not gather: the last one tells.
        self.frames.len() < MAX_ITEMS && self.bytes < ENOUGH_BYTES && self.frames.back().is_none_or(is_line)
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// The next POST's content type and body; `None` if there is nothing to say.
    ///
    /// Servers take an item that does not begin with `[` for base64, so that an object of vsn 1.0.0
    /// is a whole body, of another content type.
    pub(super) fn take(&mut self) -> Option<(&'static str, Bytes)> {
        let alone = !is_line(self.frames.front()?);
        let lines = self.frames.iter().take_while(|frame| is_line(frame)).count();
        let taken = if alone { 1 } else { lines.min(MAX_ITEMS) };
        let taken: Vec<Frame> = self.frames.drain(..taken).collect();
        self.bytes -= taken.iter().map(Frame::len).sum::<usize>();
        Some(match taken.as_slice() {
            [Frame::Text(object)] if alone => ("application/json", object.bytes().clone()),
            [Frame::Text(array)] if !array.as_bytes().contains(&b'\n') => (NDJSON, array.bytes().clone()),
            lines => (NDJSON, joined(lines)),
        })
    }
}

const NDJSON: &str = "application/x-ndjson";

fn joined(frames: &[Frame]) -> Bytes {
    // Base64 is longer by a third.
    let mut body = Vec::with_capacity(frames.iter().map(|frame| frame.len() / 3 * 4 + 5).sum());
    for (n, frame) in frames.iter().enumerate() {
        if n > 0 {
            body.push(b'\n');
        }
        match frame {
            // Inside a JSON string there is no line feed, and between tokens a space means the same.
            Frame::Text(text) => body.extend(text.as_bytes().iter().map(|&b| if b == b'\n' { b' ' } else { b })),
            Frame::Binary(bytes) => body.extend(BASE64.encode(bytes).into_bytes()),
        }
    }
    body.into()
}

/// Whether a frame can be one line among others.
fn is_line(frame: &Frame) -> bool {
    match frame {
        Frame::Text(text) => text.as_bytes().first() == Some(&b'['),
        Frame::Binary(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(frames: impl IntoIterator<Item = Frame>) -> Batch {
        let mut batch = Batch::default();
        frames.into_iter().for_each(|frame| batch.push(frame));
        batch
    }

    fn text(text: &str) -> Frame {
        Frame::Text(text.into())
    }

    #[test]
    fn arrays_and_bytes_share_a_body_and_objects_have_one_each() {
        let binary = Frame::Binary(Bytes::from_static(&[0, 1, 255]));
        let mut batch = batch([text("[1]"), binary, text("{}"), text("{ }"), text("[2]")]);
        let bodies: Vec<_> = core::iter::from_fn(|| batch.take()).collect();
        let expected =
            [(NDJSON, "[1]\nAAH/"), ("application/json", "{}"), ("application/json", "{ }"), (NDJSON, "[2]")];
        assert_eq!(bodies, expected.map(|(kind, body)| (kind, Bytes::from_static(body.as_bytes()))));
        assert!(batch.is_empty() && batch.bytes == 0);
    }

    #[test]
    fn a_line_feed_between_tokens_splits_no_message() {
        let mut batch = batch([text("[\n1,\"a\\nb\"\r\n]")]);
        assert_eq!(batch.take().unwrap().1, "[ 1,\"a\\nb\"\r ]");
    }

    #[test]
    fn one_body_has_at_most_a_hundred_items_and_about_a_mebibyte() {
        let mut many = batch((0..250).map(|_| text("[]")));
        assert!(!many.has_room());
        let counts: Vec<_> =
            core::iter::from_fn(|| many.take()).map(|(_, b)| b.split(|b| *b == b'\n').count()).collect();
        assert_eq!(counts, [100, 100, 50]);
        assert!(many.has_room());
        assert!(!batch([Frame::Binary(alloc::vec![0; ENOUGH_BYTES].into())]).has_room());
        assert!(!batch([text("{}")]).has_room(), "it stands alone");
    }
}
