//! A line of JSON, written member by member.

use std::borrow::Cow;
use std::io::Write as _;

/// An object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
}

/// Writing into memory cannot fail.
impl<'a> Object<'a> {
    pub(super) fn open(out: &'a mut Vec<u8>, at_ms: u128) -> Self {
        let _ = write!(out, "{{\"at_ms\":{at_ms}");
        Self { out }
    }

    pub(super) fn raw(&mut self, key: &str, json: &str) {
        let _ = write!(self.out, ",\"{key}\":{json}");
    }

    pub(super) fn string(&mut self, key: &str, text: &str) {
        let _ = write!(self.out, ",\"{key}\":");
        let _ = serde_json::to_writer(&mut *self.out, text);
    }

    pub(super) fn close(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

/// Between the tokens of checked JSON a line break is white space, and inside of them there is none.
pub(super) fn one_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ").into() } else { json.into() }
}
