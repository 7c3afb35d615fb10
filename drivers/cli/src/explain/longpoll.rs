//! Long poll in words: frames travel in the bodies of requests and answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rejoin_core::Frame;
use rejoin_core::wire::Serializer;
use rejoin_recording::{Dir, Row, redact_target};
use serde::Deserialize;

use super::{Said, frames};

/// The request's line, and a line for each frame that a POST publishes.
pub(super) fn request(row: &Row, serializer: Serializer) -> Vec<Said> {
    let target = row.path.as_deref().unwrap_or_default();
    let method = row.method.as_deref().unwrap_or_default();
    let body = row.body.as_deref().unwrap_or_default();
    let head = Said::fine(format!("{method} {}", redact_target(target)));
    if !is_long_poll(target) {
        return vec![head, Said::fine(frames::short_text(Some(body)))]
            .into_iter()
            .filter(|said| !said.text.is_empty())
            .collect();
    }
    let published = body.lines().filter(|line| !line.trim().is_empty());
    let published = published.map(|line| match published_frame(line) {
        Some(frame) => frames::decode(frame, Some(Dir::ToServer), serializer),
        None => Said::malformed("neither JSON nor base64", frames::short_text(Some(line))),
    });
    std::iter::once(head).chain(published).collect()
}

/// The answer's line, and a line for each frame that it brings.
pub(super) fn response(row: &Row, target: &str, serializer: Serializer) -> Vec<Said> {
    #[derive(Deserialize)]
    struct Answer {
        status: u16,
        #[serde(default)]
        messages: Vec<String>,
    }
    let status = row.status.unwrap_or_default();
    let body = row.body.as_deref().unwrap_or_default();
    if !is_long_poll(target) || body.is_empty() {
        return vec![Said::fine(format!("HTTP {status} {}", frames::short_text(Some(body))).trim_end())];
    }
    let answer: Answer = match serde_json::from_str(body) {
        Ok(answer) => answer,
        Err(error) => {
            let error = format!("not the answer to a long poll: {error}");
            return vec![Said::malformed(error, format!("HTTP {status}"))];
        }
    };
    let head = Said::fine(format!("HTTP {status}, status {}", answer.status));
    let brought = answer.messages.into_iter().map(|message| {
        let frame =
            if is_json(&message) { Frame::Text(message.into()) } else { Frame::Binary(message.into_bytes().into()) };
        frames::decode(frame, Some(Dir::ToClient), serializer)
    });
    std::iter::once(head).chain(brought).collect()
}

fn is_long_poll(target: &str) -> bool {
    target.split('?').next().unwrap_or_default().ends_with("/longpoll")
}

/// Binary frames are published in base64, whose alphabet has no brackets.
fn published_frame(line: &str) -> Option<Frame> {
    if is_json(line) {
        return Some(Frame::Text(line.into()));
    }
    STANDARD.decode(line).ok().map(|bytes| Frame::Binary(bytes.into()))
}

/// Frames of both serializers begin with a bracket; a binary frame begins with its small kind.
fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['[', '{'])
}
