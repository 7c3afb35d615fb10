//! One JSON object a line. Written by hand, so that a payload's text passes as it came: a number
//! with more digits than a double has keeps them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use rejoin_core::Payload;

use super::line::Detail;
use super::object::{Object, one_line};
use super::{Line, Retry, epoch_millis, presence};

/// Appends the line. The order of the fields is part of the contract.
pub(super) fn write(out: &mut Vec<u8>, line: &Line<'_>, at_ms: u128) {
    let mut object = Object::open(out, at_ms);
    object.string("event", line.event);
    for (key, text) in [("topic", line.topic), ("name", line.name)] {
        if let Some(text) = text {
            object.string(key, text);
        }
    }
    if let Some(payload) = line.payload {
        match payload.as_json() {
            Some(json) => object.raw("payload", &one_line(json)),
            None => {
                object.string("payload", &STANDARD.encode(payload.as_bytes()));
                object.string("encoding", "base64");
            }
        }
    }
    if let Some(json) = line.meta.and_then(Payload::as_json) {
        object.raw("meta", &one_line(json));
    }
    match &line.detail {
        None => {}
        Some(Detail::Row(row)) => row.write_json(&mut object),
        Some(Detail::Presence(change)) => presence::change_json(change, &mut object),
        Some(Detail::Members(members)) => presence::members_json(members, &mut object),
    }
    if let Some(system) = line.system {
        object.string("extension", &system.extension);
        object.string("status", if system.ok { "ok" } else { "error" });
        object.string("message", &system.message);
    }
    if let Some(reason) = &line.reason {
        object.string("reason", reason);
    }
    if let Some(transport) = line.transport {
        object.string("transport", &transport.to_string());
    }
    if let Some(status) = line.http_status {
        object.raw("http_status", &status.to_string());
    }
    for (key, text) in [("class", line.class), ("advice", line.advice)] {
        if let Some(text) = text {
            object.string(key, text);
        }
    }
    if let Some(again) = line.again {
        object.raw("again", if again { "true" } else { "false" });
    }
    match line.retry {
        None => {}
        Some(Retry::In(time)) => object.raw("retry_in_ms", &time.as_millis().to_string()),
        Some(Retry::OnConnection) => object.string("retry", "on_connection"),
        Some(Retry::OnToken) => object.string("retry", "on_token"),
        Some(Retry::Never) => object.string("retry", "never"),
    }
    if let Some(time) = line.rtt {
        object.raw("rtt_ms", &format!("{:.3}", time.as_secs_f64() * 1e3));
    }
    if let Some((since, until)) = line.gap {
        object.raw("since_ms", &epoch_millis(since).to_string());
        object.raw("until_ms", &epoch_millis(until).to_string());
    }
    if let Some(since) = line.missed_since {
        object.raw("missed_since_ms", &epoch_millis(since).to_string());
    }
    if let Some(time) = line.expires_at {
        object.raw("expires_at_ms", &epoch_millis(time).to_string());
    }
    object.close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn line(line: &Line<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, line, 7);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_keep_their_order_and_absent_ones_are_left_out() {
        assert_eq!(line(&Line { event: "closed", ..Line::default() }), "{\"at_ms\":7,\"event\":\"closed\"}\n");
        let payload = Payload::EMPTY;
        let full = Line {
            event: "joined",
            topic: Some("a\"b"),
            name: Some("n"),
            payload: Some(&payload),
            reason: Some("r".into()),
            again: Some(true),
            retry: Some(Retry::In(Duration::from_millis(5))),
            ..Line::default()
        };
        let expected = r#"{"at_ms":7,"event":"joined","topic":"a\"b","name":"n","payload":{},"reason":"r","again":true,"retry_in_ms":5}"#;
        assert_eq!(line(&full).trim_end(), expected);
    }

    #[test]
    fn a_payload_passes_verbatim_but_for_line_breaks() {
        let payload =
            Payload::from_json_text("{\n\"n\":123456789012345678901234567890.10, \"s\":\"\\n\"\r\n}").unwrap();
        let line = line(&Line { event: "message", payload: Some(&payload), ..Line::default() });
        assert!(
            line.ends_with(",\"payload\":{ \"n\":123456789012345678901234567890.10, \"s\":\"\\n\"  }}\n"),
            "{line}"
        );
    }

    #[test]
    fn bytes_are_base64() {
        let payload = Payload::binary(vec![0, 255].into());
        let line = line(&Line { event: "message", payload: Some(&payload), ..Line::default() });
        assert!(line.ends_with(",\"payload\":\"AP8=\",\"encoding\":\"base64\"}\n"), "{line}");
    }
}
