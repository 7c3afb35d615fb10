//! The format of wire recordings and simulation traces: one JSON object a line.
//!
//! Every row has `t_ms` and `kind`; `tests/recordings/README.md` lists the kinds. A row is kept as
//! it is written, unknown kinds included, so that a reader never loses what a newer writer said.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, BufRead, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rejoin_core::{Frame, Text};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One line of a recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Row {
    /// Milliseconds since the recording began.
    pub t_ms: u64,
    /// `meta`, `upgrade`, `upgrade_ok`, `upgrade_rejected`, `text`, `binary`, `close`,
    /// `http_request`, `http_response`, `op` and others.
    pub kind: String,
    /// Which connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// Who sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<Dir>,
    /// A frame's text, or its bytes in base64 (`enc` may say `hex`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The encoding of a binary frame's `data`; base64 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enc: Option<String>,
    /// The code of a `close`; 1005 is a close frame without one, 1006 no close frame at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The reason of a `close`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The request target of an upgrade or an HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The method of an HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// An HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// An HTTP body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Everything else that stands in the row.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Who sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Dir {
    /// Client to server.
    #[serde(rename = "c2s")]
    ToServer,
    /// Server to client.
    #[serde(rename = "s2c")]
    ToClient,
    /// What an application saw on its own side.
    #[serde(rename = "server-internal")]
    ServerInternal,
    /// What an application saw on its own side.
    #[serde(rename = "client-internal")]
    ClientInternal,
}

impl Row {
    /// A row of this kind.
    #[must_use]
    pub fn new(t_ms: u64, kind: &str) -> Self {
        Self { t_ms, kind: kind.into(), ..Self::default() }
    }

    /// The first row.
    #[must_use]
    pub fn meta(scenario: &str, note: &str) -> Self {
        Self::new(0, "meta").with("scenario", scenario).with("note", note)
    }

    /// A frame: `text`, or `binary` in base64.
    #[must_use]
    pub fn frame(t_ms: u64, conn: u64, dir: Dir, frame: &Frame) -> Self {
        let (kind, data) = match frame {
            Frame::Text(text) => ("text", text.as_str().to_owned()),
            Frame::Binary(bytes) => ("binary", STANDARD.encode(bytes)),
        };
        Self { data: Some(data), ..Self::new(t_ms, kind).on(conn, dir) }
    }

    /// The end of a connection.
    #[must_use]
    pub fn close(t_ms: u64, conn: u64, dir: Dir, code: u16, reason: &str) -> Self {
        Self { code: Some(code), reason: Some(reason.into()), ..Self::new(t_ms, "close").on(conn, dir) }
    }

    /// The same row, about this connection and direction.
    #[must_use]
    pub fn on(mut self, conn: u64, dir: Dir) -> Self {
        (self.conn, self.dir) = (Some(conn), Some(dir));
        self
    }

    /// The same row with a further field.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.rest.insert(key.into(), value.into());
        self
    }

    /// The frame of a `text` or `binary` row; `None` for other rows and for unreadable data.
    #[must_use]
    pub fn to_frame(&self) -> Option<Frame> {
        let data = self.data.as_deref()?;
        match (self.kind.as_str(), self.enc.as_deref()) {
            ("text", _) => Some(Frame::Text(data.into())),
            ("binary", Some("hex")) => unhex(data).map(|bytes| Frame::Binary(bytes.into())),
            ("binary", _) => STANDARD.decode(data).ok().map(|bytes| Frame::Binary(bytes.into())),
            _ => None,
        }
    }

    /// Writes the row and a line feed.
    ///
    /// # Errors
    /// If the writer fails.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        out.write_all(&line)
    }
}

/// Reads a whole recording. Empty lines are skipped.
///
/// # Errors
/// If reading fails or a line is not a row; the error says which line.
pub fn read(input: impl BufRead) -> Result<Vec<Row>, RecordingError> {
    let mut rows = Vec::new();
    for (number, line) in (1..).zip(input.lines()) {
        let error = |what: String| RecordingError { line: number, what };
        let line = line.map_err(|e| error(e.to_string()))?;
        if !line.trim().is_empty() {
            rows.push(serde_json::from_str(&line).map_err(|e| error(format!("not a row of a recording: {e}")))?);
        }
    }
    Ok(rows)
}

/// Why a recording could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordingError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for RecordingError {}

/// The names of query parameters and JSON members that hold credentials.
const SECRETS: [&str; 9] =
    ["apikey", "x-api-key", "authorization", "token", "access_token", "user_token", "jwt", "password", "secret"];

/// A request target whose credentials are replaced by `<redacted>`.
#[must_use]
pub fn redact_target(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.into() };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}=<redacted>"),
        _ => pair.into(),
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// A text frame in which string members that hold credentials are replaced by `<redacted>`.
#[must_use]
pub fn redact_text(text: &str) -> Text {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // `"name":"value"`: the name as the protocol's JSON encoders write it, white space aside.
    while let Some(at) = rest.find('"') {
        let (before, string) = rest.split_at(at);
        out.push_str(before);
        rest = string;
        let Some(end) = string_end(string) else { break };
        let (name, after) = string.split_at(end);
        out.push_str(name);
        rest = after;
        let value = after.trim_start().strip_prefix(':').map(str::trim_start);
        if let Some(value) = value.filter(|v| v.starts_with('"') && is_secret(name.trim_matches('"'))) {
            out.push_str(":\"<redacted>\"");
            // One that is cut off ends with the text.
            rest = &value[string_end(value).unwrap_or(value.len())..];
        }
    }
    out.push_str(rest);
    out.into()
}

fn is_secret(name: &str) -> bool {
    SECRETS.iter().any(|secret| secret.eq_ignore_ascii_case(name))
}

/// Behind the closing quote of the JSON string at the start of `text`.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    let closing = |(_, byte): &(usize, u8)| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    };
    text.bytes().enumerate().skip(1).find(closing).map(|(at, _)| at + 1)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |b: u8| char::from(b).to_digit(16);
    let pair = |pair: &[u8]| Some((digit(pair[0])? * 16 + digit(*pair.get(1)?)?) as u8);
    digits.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_writing_and_reading() {
        let row = Row::frame(7, 3, Dir::ToClient, &Frame::Binary(vec![4, 0, 255].into())).with("extra", 1);
        let mut line = Vec::new();
        row.write(&mut line).unwrap();
        let back = read(line.as_slice()).unwrap();
        assert_eq!(back, [row]);
        assert_eq!(back[0].to_frame(), Some(Frame::Binary(vec![4, 0, 255].into())));
        assert_eq!(read("{}\n".as_bytes()).unwrap_err().line, 1);
    }

    #[test]
    fn credentials_are_redacted() {
        assert_eq!(redact_target("/s?apikey=k&vsn=2&Token=t"), "/s?apikey=<redacted>&vsn=2&Token=<redacted>");
        assert_eq!(redact_target("/s"), "/s");
        let text = r#"["1",null,"t","phx_join",{"a":"\"token\"","access_token": "s\"e","n":1}]"#;
        assert_eq!(
            redact_text(text),
            r#"["1",null,"t","phx_join",{"a":"\"token\"","access_token":"<redacted>","n":1}]"#
        );
        assert_eq!(redact_text("a \"unterminated"), "a \"unterminated");
        assert_eq!(redact_text(r#"{"access_token":"cut o"#), r#"{"access_token":"<redacted>""#);
        assert_eq!(redact_text(r#"{"X-Api-Key":"k"}"#), r#"{"X-Api-Key":"<redacted>"}"#);
    }
}
