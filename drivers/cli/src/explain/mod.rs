//! `rejoin explain`: a recorded conversation in words, a line a frame, with what is malformed marked.

mod frames;
mod longpoll;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;

use rejoin_core::phoenix::serializer_of;
use rejoin_core::wire::Serializer;
use rejoin_recording::{Dir, Row, redact_target};

use crate::failure::Failure;
use crate::output::{printable, say};

/// Prints the file; what is malformed in it makes this fail.
pub(crate) fn explain(file: &str) -> Result<(), Failure> {
    let unreadable = |what: String| {
        let fix = "choose a recording of `rejoin listen --record`";
        Failure::usage("FILE", format!("{file}: {what}; {fix}"))
    };
    let input = File::open(file).map_err(|error| unreadable(error.to_string()))?;
    let rows = rejoin_recording::read(BufReader::new(input)).map_err(|error| unreadable(error.to_string()))?;
    if rows.is_empty() {
        return Err(unreadable("it is empty".into()));
    }
    let mut reader = Reader::default();
    for row in &rows {
        for said in reader.explain(row) {
            let mark = if said.error.is_some() { "MALFORMED: " } else { "" };
            let error = said.error.map_or(String::new(), |error| format!("{error}: "));
            let line = format!("{} {mark}{error}{}", stamp(row), said.text);
            if say(&printable(&line)).is_err() {
                return Ok(());
            }
        }
    }
    match reader.malformed {
        0 => Ok(()),
        number => Err(Failure::broken(format!("{file}: malformed: {number}"))),
    }
}

/// One line, and what is malformed about it.
#[derive(Debug, Default)]
struct Said {
    text: String,
    error: Option<String>,
}

impl Said {
    fn fine(text: impl Into<String>) -> Self {
        Self { text: text.into(), error: None }
    }

    fn malformed(error: impl ToString, text: impl Into<String>) -> Self {
        Self { text: text.into(), error: Some(error.to_string()) }
    }
}

/// What the rows so far have said about the rows to come.
#[derive(Debug, Default)]
struct Reader {
    /// Which request target a connection began with.
    targets: BTreeMap<u64, String>,
    malformed: usize,
}

impl Reader {
    fn explain(&mut self, row: &Row) -> Vec<Said> {
        if let (Some(conn), Some(path)) = (row.conn, &row.path) {
            self.targets.insert(conn, path.clone());
        }
        let said = match row.kind.as_str() {
            "text" | "binary" => vec![self.frame(row)],
            "http_request" => longpoll::request(row, self.serializer(row)),
            "http_response" => longpoll::response(row, self.target(row), self.serializer(row)),
            _ => vec![Said::fine(event(row))],
        };
        self.malformed += said.iter().filter(|said| said.error.is_some()).count();
        said
    }

    fn frame(&self, row: &Row) -> Said {
        match row.to_frame() {
            Some(frame) => frames::decode(frame, row.dir, self.serializer(row)),
            None => Said::malformed("the row's data cannot be read", row.kind.as_str()),
        }
    }

    fn target(&self, row: &Row) -> &str {
        row.conn.and_then(|conn| self.targets.get(&conn)).map_or("", String::as_str)
    }

    /// What the connection's upgrade asked for. A trace without upgrades is of our own making and
    /// speaks our default; so does a socket that was let in with a vsn that we do not know.
    fn serializer(&self, row: &Row) -> Serializer {
        match self.target(row) {
            "" => Serializer::default(),
            target => serializer_of(target).unwrap_or_default(),
        }
    }
}

/// When, which connection and which way.
fn stamp(row: &Row) -> String {
    let conn = row.conn.map_or(String::new(), |conn| format!("#{conn}"));
    let arrow = match row.dir {
        Some(Dir::ToServer) => "→",
        Some(Dir::ToClient) => "←",
        _ => "·",
    };
    format!("{:>8} ms {conn:>4} {arrow}", row.t_ms)
}

/// Everything that is no frame.
fn event(row: &Row) -> String {
    let text = |key: &str| row.rest.get(key).and_then(|value| value.as_str()).unwrap_or_default();
    let with = |what: &str, detail: &str| if detail.is_empty() { what.into() } else { format!("{what}: {detail}") };
    let path = redact_target(row.path.as_deref().unwrap_or_default());
    let status = row.status.unwrap_or_default();
    match row.kind.as_str() {
        "meta" => with(&format!("recording {}", text("scenario")), text("note")),
        "upgrade" => format!("upgrade {path}"),
        "upgrade_ok" => "upgraded".into(),
        "upgrade_rejected" => {
            with(&format!("upgrade refused with HTTP {status}"), &frames::short_text(row.body.as_deref()))
        }
        "close" => with(&format!("close {}", row.code.unwrap_or(1005)), row.reason.as_deref().unwrap_or_default()),
        "op" => {
            let op = row.rest.get("op").map(ToString::to_string).unwrap_or_default();
            format!("op {} {op}", text("side"))
        }
        kind => with(kind, &frames::short_text(row.data.as_deref())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_core::Frame;

    fn lines(rows: &[Row]) -> Vec<String> {
        let mut reader = Reader::default();
        rows.iter().flat_map(|row| reader.explain(row)).map(|said| said.error.unwrap_or(said.text)).collect()
    }

    fn upgrade(path: &str) -> Row {
        let mut row = Row::new(0, "upgrade").on(1, Dir::ToServer);
        row.path = Some(path.into());
        row
    }

    fn text(dir: Dir, text: &str) -> Row {
        Row::frame(0, 1, dir, &Frame::Text(text.into()))
    }

    #[test]
    fn the_upgrade_decides_how_frames_are_read() {
        let v1 = r#"{"topic":"t","event":"e","payload":{"a":1},"ref":"7"}"#;
        let v2 = r#"["1","7","t","e",{"a":1}]"#;
        let said =
            lines(&[upgrade("/s?apikey=k"), text(Dir::ToServer, v1), upgrade("/s?vsn=2.0.0"), text(Dir::ToServer, v2)]);
        assert_eq!(
            said,
            ["upgrade /s?apikey=<redacted>", "e t {\"a\":1} [-/7]", "upgrade /s?vsn=2.0.0", "e t {\"a\":1} [1/7]"]
        );
        assert!(lines(&[upgrade("/s"), text(Dir::ToServer, v2)])[1].starts_with("JSON, but not a message"));
    }

    #[test]
    fn a_payload_that_is_not_json_is_malformed_though_its_frame_can_be_routed() {
        let said = lines(&[upgrade("/s?vsn=2.0.0"), text(Dir::ToClient, r#"[null,null,"t","e",{oops}]"#)]);
        assert!(said[1].starts_with("the payload is not JSON"), "{said:?}");
    }

    #[test]
    fn operations_of_a_simulation_are_shown() {
        let mut row = Row::new(120, "op").with("side", "client");
        row.rest.insert("op".into(), serde_json::json!({"push": {"topic": "t"}}));
        assert_eq!(lines(&[row]), [r#"op client {"push":{"topic":"t"}}"#]);
    }
}
